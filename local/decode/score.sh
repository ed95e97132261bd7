#!/usr/bin/env bash
# Scores the lattices of a decode folder: wer_LMWT_WIP and scoring_kaldi, as score_kaldi_wer.sh of Kaldi's recipes leaves
# them. The last line printed is the best WER.
set -euo pipefail

cmd=                          # how Kaldi's programs run; decode_cmd of cmd.sh by default
backend=auto                  # auto, kaldi or embedded
min_lmwt=7                    # lowest language-model weight
max_lmwt=17                   # highest language-model weight
word_ins_penalty=0.0,0.5,1.0  # word insertion penalties
stats=true                    # make scoring_kaldi/wer_details

usage() {
  echo "Usage: $0 [options] <data-dir> <graph-dir> <decode-dir>"
  echo "e.g.: $0 --min-lmwt 7 --max-lmwt 17 data/test_hires exp/chain/tdnn1a_sp/graph exp/chain/tdnn1a_sp/decode_test"
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck disable=SC1091
. "$root/local/parse_options.sh"
if [ $# -ne 3 ]; then
  usage >&2
  exit 1
fi
data_dir=$1 graph_dir=$2 decode_dir=$3
for file in "$data_dir/text" "$graph_dir/words.txt" "$decode_dir/lat.1.gz"; do
  [ -f "$file" ] || { echo "$0: no such file $file" >&2; exit 1; }
done

# shellcheck disable=SC1091
. "$root/path.sh"
# shellcheck disable=SC1091
. "$root/cmd.sh"
[ -n "$cmd" ] || [ -z "${KALDI_ROOT:-}" ] || cmd=$decode_cmd

exec python3 -m kaldi_quant score --min-lmwt "$min_lmwt" --max-lmwt "$max_lmwt" --word-ins-penalty "$word_ins_penalty" \
  --stats="$stats" --backend "$backend" ${cmd:+--cmd "$cmd"} -- "$data_dir" "$graph_dir" "$decode_dir"
