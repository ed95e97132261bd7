#!/usr/bin/env bash
# Compares scored decode folders, this project's or Kaldi's: word error rates with their significance against the first
# folder, size and speed. Rows begin as in Kaldi's RESULTS: ... | grep WER | sort -k2n, or ... | utils/best_wer.sh.
set -euo pipefail

lmwt=                 # language-model weight for all; by default each folder's best point
wip=                  # word insertion penalty for all
utt2spk=              # speakers, which the bootstrap then draws in place of utterances
replications=10000    # draws of the bootstrap
seed=0                # of the draws
text=                 # file for the table as text, which else is printed
markdown=             # file for the tables in Markdown
json=                 # file for all numbers in JSON
html=                 # file for a page with plots
speed=                # features, such as scp:data/test/feats.scp, on which the models' speed is measured
speed_rounds=7        # measurements of each model
speed_seconds=30      # speech in each measurement
float_model=          # what speed is relative to; by default the first folder's model

usage() {
  echo "Usage: $0 [options] [<name>=]<decode-dir> ..."
  echo "The first folder is what the others are compared with."
  echo "e.g.: $0 exp/chain/tdnn1a_sp/decode_test exp/chain/tdnnf1b_sp/decode_test"
  echo "      $0 --html compare.html float=exp/tdnn/decode_test w8=exp/tdnn/decode_test_w8 w4=exp/tdnn/decode_test_w4"
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC1091
. "$root/local/parse_options.sh"
if [ $# -eq 0 ]; then
  usage >&2
  exit 1
fi

[ -z "$html" ] || KALDI_QUANT_EXTRAS="${KALDI_QUANT_EXTRAS:-} report"
# shellcheck disable=SC1091
. "$root/path.sh"

exec python3 -m kaldi_quant compare ${lmwt:+--lmwt "$lmwt"} ${wip:+"--wip=$wip"} ${utt2spk:+--utt2spk "$utt2spk"} \
  --replications "$replications" --seed "$seed" ${text:+--text "$text"} ${markdown:+--markdown "$markdown"} \
  ${json:+--json "$json"} ${html:+--html "$html"} ${speed:+--speed "$speed"} --speed-rounds "$speed_rounds" \
  --speed-seconds "$speed_seconds" ${float_model:+--float-model "$float_model"} -- "$@"
