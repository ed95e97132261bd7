#!/usr/bin/env bash
# Scores the lattices of a decode folder: wer_LMWT_WIP and scoring_kaldi, as score_kaldi_wer.sh of Kaldi's recipes leaves
# them. The last line printed is the best WER. The options are those of 'kaldi-quant score'.
# e.g.: local/decode/score.sh --min-lmwt 7 --max-lmwt 17 data/test_hires exp/chain/tdnn1a_sp/graph exp/chain/tdnn1a_sp/decode
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
# shellcheck source=path.sh
. "$root/path.sh"
# shellcheck source=cmd.sh
. "$root/cmd.sh"
[ -z "${KALDI_ROOT:-}" ] || set -- --cmd "$decode_cmd" "$@"
exec python3 -m kaldi_quant score "$@"
