#!/usr/bin/env bash
# Keyword networks, each in float, quantized after training, with training, and weights only, with size, accuracy and speed.
# Stages: 0 float, 1 ptq, 2 qat, 3 awq, 4 rivals, 5 sensitivity (these of M5), 6 NSNet2, 7 Wav2Vec2, 8 results.
# --help says more.
set -euo pipefail

usage() {
  cat <<'USAGE'
Usage: egs/keywords/run.sh [OPTIONS]
Makes a folder for each network and method below --exp-dir, and RESULTS of all of them; logs are in EXP-DIR/log. What is there and
was made from the same data in the same way is kept, so that an interrupted run goes on.

  --stage N            begin with this stage: 0 float, 1 ptq, 2 qat, 3 awq, 4 rivals, 5 sensitivity, 6 nsnet2, 7 wav2vec2,
                       8 results  (default: 0)
  --stop-stage N       end with this one  (default: 8)
  --data-dir FOLDER    recordings: Speech Commands, spoken digits, or a table (default: the embedded ones)
  --exp-dir FOLDER     results  (default: egs/keywords/exp)
  --conf-dir FOLDER    configurations  (default: egs/keywords/conf)
  --networks LIST      of m5, nsnet2, wav2vec2, with commas between them  (default: all)
  --nj N               stages that run at the same time, where they do not depend on each other  (default: all cores)

e.g.: egs/keywords/run.sh
      egs/keywords/run.sh --stage 2 --stop-stage 3 --data-dir SpeechCommands/speech_commands_v0.02 --exp-dir exp/commands
USAGE
}

fail() { echo "egs/keywords/run.sh: $*" >&2; exit 1; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
stage=0 stop_stage=8 data_dir=$here/data exp_dir=$here/exp conf_dir=$here/conf networks=m5,nsnet2,wav2vec2 nj=$(env -u OMP_NUM_THREADS nproc)

while [ $# -gt 0 ]; do
  option=${1%%=*}
  case $option in
    --help | -h) usage; exit 0 ;;
    --stage | --stop-stage | --data-dir | --exp-dir | --conf-dir | --networks | --nj) ;;
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
[[ $nj =~ ^[1-9][0-9]*$ ]] || fail "--nj $nj: expected a number of 1 or more"
[ -d "$data_dir" ] || fail "--data-dir $data_dir does not exist: expected recordings of keywords"
for network in ${networks//,/ }; do
  case $network in m5 | nsnet2 | wav2vec2) ;; *) fail "--networks: $network is not one of m5, nsnet2, wav2vec2" ;; esac
done
for network in ${networks//,/ }; do
  names=(fp32 ptq qat awq)
  [ "$network" = m5 ] || names+=(onnxruntime torch)
  [ "$network" != nsnet2 ] || names+=(ptq_dynamic)
  for name in "${names[@]}"; do
    file=${network/m5/cnn}_$name.yaml
    [ -f "$conf_dir/$file" ] || fail "--conf-dir $conf_dir has no $file"
  done
done

runs() { [[ ,$networks, == *,$1,* ]]; }
begins() { [ "$stage" -le "$1" ] && [ "$1" -le "$stop_stage" ]; }

KALDI_QUANT_EXTRAS="keywords ${KALDI_QUANT_EXTRAS:-}"
! runs nsnet2 || KALDI_QUANT_EXTRAS="nsnet2 speech-quality $KALDI_QUANT_EXTRAS"
! runs wav2vec2 || KALDI_QUANT_EXTRAS="wav2vec2 $KALDI_QUANT_EXTRAS"
# shellcheck source=../../path.sh
. "$here/../../path.sh"

# What runs side by side has a core each.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
log_dir=$exp_dir/log
mkdir -p "$log_dir"
declare -A running # name of a stage → its process

# Waits for a stage that runs: finish NAME
finish() {
  [ -n "${running[$1]:-}" ] || return 0
  local status=0
  wait "${running[$1]}" || status=$?
  unset "running[$1]"
  [ "$status" -eq 0 ] || fail "$1 failed: $(tail -n 1 "$log_dir/$1.log") (the log is $log_dir/$1.log)"
}

# Runs a stage beside others: start NAME COMMAND...
start() {
  local name=$1 other
  shift
  while [ "$(jobs -rp | wc -l)" -ge "$nj" ]; do sleep 0.2; done
  for other in "${!running[@]}"; do
    kill -0 "${running[$other]}" 2>/dev/null || finish "$other"
  done
  echo "egs/keywords/run.sh: $name: $log_dir/$name.log" >&2
  "$@" >"$log_dir/$name.log" 2>&1 &
  running[$name]=$!
}
trap 'jobs -p | xargs -r kill 2>/dev/null || true' EXIT

recipe() { python3 -m kaldi_quant.cli.recipes "$@"; }
m5() {
  runs m5 && begins "$1" || return 0
  start "m5_$2" recipe egs/keywords/m5.py --data-dir "$data_dir" --exp-dir "$exp_dir" --conf-dir "$conf_dir" "$2"
}
# One after the other, as all begin with the float network.
methods_of() {
  local method
  for method in $2; do
    recipe "egs/keywords/$1.py" --config "$conf_dir/$1_$method.yaml" --data-dir "$data_dir" --exp-dir "$exp_dir"
  done
}
other() {
  runs "$2" && begins "$1" || return 0
  start "$2" methods_of "$2" "$3"
}

m5 0 float
other 6 nsnet2 "fp32 ptq ptq_dynamic qat awq onnxruntime torch"
other 7 wav2vec2 "fp32 ptq qat awq onnxruntime torch"
finish m5_float
m5 2 qat
m5 1 ptq
m5 3 awq
m5 4 rivals
m5 5 sensitivity
for name in "${!running[@]}"; do finish "$name"; done

if begins 8; then
  recipe egs/keywords/results.py --exp-dir "$exp_dir"
fi
