#!/usr/bin/env bash
# Keyword networks, each in float, quantized after training, with training, and weights only, with size, accuracy and speed.
# Stages: 0 float, 1 ptq, 2 qat, 3 awq, 4 rivals, 5 sensitivity (these of M5), 6 NSNet2, 7 Wav2Vec2, 8 evaluation and table.
# --help says more.
set -euo pipefail

usage() {
  cat <<'USAGE'
Usage: egs/keywords/run.sh [OPTIONS]
Makes a folder for each network and method below --exp-dir, and a table of them. What is there and was made from the same
data in the same way is kept, so that an interrupted run goes on.

  --stage N            begin with this stage: 0 float, 1 ptq, 2 qat, 3 awq, 4 rivals, 5 sensitivity, 6 nsnet2, 7 wav2vec2,
                       8 evaluation and table  (default: 0)
  --stop-stage N       end with this one  (default: 8)
  --data-dir FOLDER    recordings: Speech Commands, spoken digits, or a table (default: the embedded ones)
  --exp-dir FOLDER     results  (default: egs/keywords/exp)
  --conf-dir FOLDER    configurations of M5  (default: egs/keywords/conf)
  --networks LIST      of m5, nsnet2, wav2vec2, with commas between them  (default: all)

e.g.: egs/keywords/run.sh
      egs/keywords/run.sh --stage 2 --stop-stage 3 --data-dir SpeechCommands/speech_commands_v0.02 --exp-dir exp/commands
USAGE
}

fail() { echo "egs/keywords/run.sh: $*" >&2; exit 1; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
stage=0 stop_stage=8 data_dir=$here/data exp_dir=$here/exp conf_dir=$here/conf networks=m5,nsnet2,wav2vec2

while [ $# -gt 0 ]; do
  option=${1%%=*}
  case $option in
    --help | -h) usage; exit 0 ;;
    --stage | --stop-stage | --data-dir | --exp-dir | --conf-dir | --networks) ;;
    *) usage >&2; fail "there is no option $option" ;;
  esac
  if [ "$option" != "$1" ]; then value=${1#*=}; shift
  elif [ $# -gt 1 ]; then value=$2; shift 2
  else fail "$option needs a value"; fi
  name=${option#--}
  printf -v "${name//-/_}" %s "$value"
done

# Inputs first.
for name in stage stop_stage; do
  [[ ${!name} =~ ^[0-8]$ ]] || fail "--${name/_/-} ${!name} is not one of 0 to 8"
done
[ -d "$data_dir" ] || fail "--data-dir $data_dir does not exist: expected recordings of keywords"
for network in ${networks//,/ }; do
  case $network in m5 | nsnet2 | wav2vec2) ;; *) fail "--networks: $network is not one of m5, nsnet2, wav2vec2" ;; esac
done
for name in fp32 ptq qat awq; do
  [ -f "$conf_dir/cnn_$name.yaml" ] || fail "--conf-dir $conf_dir has no cnn_$name.yaml"
done

runs() { [[ ,$networks, == *,$1,* ]]; }
begins() { [ "$stage" -le "$1" ] && [ "$1" -le "$stop_stage" ]; }

KALDI_QUANT_EXTRAS="keywords ${KALDI_QUANT_EXTRAS:-}"
! runs nsnet2 || KALDI_QUANT_EXTRAS="nsnet2 $KALDI_QUANT_EXTRAS"
! runs wav2vec2 || KALDI_QUANT_EXTRAS="wav2vec2 $KALDI_QUANT_EXTRAS"
# shellcheck source=../../path.sh
. "$here/../../path.sh"

recipe() { python3 -m kaldi_quant.cli.recipes "$@"; }
m5() { recipe egs/keywords/m5.py --data-dir "$data_dir" --exp-dir "$exp_dir" --conf-dir "$conf_dir" "$@"; }

number=0
for cells in float ptq qat awq rivals sensitivity; do
  if runs m5 && begins "$number"; then
    echo "$0: stage $number, M5, $cells" >&2
    m5 "$cells"
  fi
  number=$((number + 1))
done

number=6
for network in nsnet2 wav2vec2; do
  if runs "$network" && begins "$number"; then
    echo "$0: stage $number, $network" >&2
    "$here/$network.py" --data-dir "$data_dir" --exp-dir "$exp_dir"
  fi
  number=$((number + 1))
done

if begins 8; then
  echo "$0: stage 8, evaluation and table" >&2
  recipe egs/keywords/table.py --exp-dir "$exp_dir"
fi
