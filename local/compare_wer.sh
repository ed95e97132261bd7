#!/usr/bin/env bash
# Compares scored decode folders, this project's or Kaldi's: word error rates with their significance against the first
# folder, size and speed. Rows begin as in Kaldi's RESULTS: ... | grep WER | sort -k2n, or ... | utils/best_wer.sh. The
# options are those of 'kaldi-quant compare'.
# e.g.: local/compare_wer.sh --html compare.html float=exp/tdnn/decode_test w8=exp/tdnn/decode_test_w8
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
KALDI_QUANT_EXTRAS="report ${KALDI_QUANT_EXTRAS:-}"
# shellcheck source=path.sh
. "$root/path.sh"
exec python3 -m kaldi_quant compare "$@"
