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

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
recipe=egs/keywords/run.sh
# shellcheck source=../side_by_side.sh
. "$here/../side_by_side.sh"
stage=0 stop_stage=8 data_dir=$here/data exp_dir=$here/exp conf_dir=$here/conf networks=m5,nsnet2,wav2vec2 nj=$(env -u OMP_NUM_THREADS nproc)

read_options "--stage --stop-stage --data-dir --exp-dir --conf-dir --networks --nj" "$@"

# Inputs first.
check_stages 8
[ -d "$data_dir" ] || fail "--data-dir $data_dir does not exist: expected recordings of keywords"
check_networks m5 nsnet2 wav2vec2
for network in ${networks//,/ }; do
  names=(fp32 ptq qat awq)
  [ "$network" = m5 ] || names+=(onnxruntime torch)
  [ "$network" != nsnet2 ] || names+=(ptq_dynamic)
  for name in "${names[@]}"; do check_configurations "${network/m5/cnn}_$name.yaml"; done
done

runs() { [[ ,$networks, == *,$1,* ]]; }

KALDI_QUANT_EXTRAS="keywords ${KALDI_QUANT_EXTRAS:-}"
! runs nsnet2 || KALDI_QUANT_EXTRAS="nsnet2 speech-quality $KALDI_QUANT_EXTRAS"
! runs wav2vec2 || KALDI_QUANT_EXTRAS="wav2vec2 $KALDI_QUANT_EXTRAS"
# shellcheck source=../../path.sh
. "$here/../../path.sh"

prepare
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
finish_all

if begins 8; then
  recipe egs/keywords/results.py --exp-dir "$exp_dir"
fi
