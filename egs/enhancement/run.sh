#!/usr/bin/env bash
# Networks for speech enhancement, each in float, by MBQAT's schemes and by this project's own, with sizes and scores.
# Stages: 0 training in float, 1 float, 2 after training, 3 with training, 4 results. --help says more.
set -euo pipefail

usage() {
  cat <<'USAGE'
Usage: egs/enhancement/run.sh [OPTIONS]
Makes a folder for each seed, network and method below --exp-dir, and RESULTS of all of them; logs are in EXP-DIR/log. What is there
and was made from the same data in the same way is kept, so that an interrupted run goes on.

  --stage N            begin with this stage: 0 training in float, 1 float, 2 quantized after training, 3 with training,
                       4 results  (default: 1, with the float networks of --checkpoints)
  --stop-stage N       end with this one  (default: 4)
  --data-dir FOLDER    speech: the embedded table, a Valentini tree, or another layout  (default: the embedded ones)
  --exp-dir FOLDER     results  (default: egs/enhancement/exp)
  --conf-dir FOLDER    configurations  (default: egs/enhancement/conf)
  --checkpoints FOLDER float networks, SEED/NETWORK.pth  (default: egs/enhancement/checkpoints; stage 0 writes into
                       EXP-DIR/checkpoints, which is the default then)
  --networks LIST      of crn-100k, tcn-100k, stft-tcnn, crn, with commas between them  (default: all but crn, the CRN of
                       17.5 million parameters, of which there is no checkpoint)
  --seeds LIST         with commas between them  (default: 0)
  --nj N               stages that run at the same time, where they do not depend on each other  (default: all cores)

e.g.: egs/enhancement/run.sh
      egs/enhancement/run.sh --stage 0 --seeds 0,1,2 --exp-dir exp/enhancement
USAGE
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
recipe=egs/enhancement/run.sh
# shellcheck source=../side_by_side.sh
. "$here/../side_by_side.sh"
stage=1 stop_stage=4 data_dir=$here/data exp_dir=$here/exp conf_dir=$here/conf checkpoints=
networks=crn-100k,tcn-100k,stft-tcnn seeds=0 nj=$(env -u OMP_NUM_THREADS nproc)

read_options "--stage --stop-stage --data-dir --exp-dir --conf-dir --checkpoints --networks --seeds --nj" "$@"

# Inputs first.
check_stages 4
check_seeds
[ -d "$data_dir" ] || fail "--data-dir $data_dir does not exist: expected speech for enhancement"
check_networks crn-100k tcn-100k stft-tcnn crn
for network in ${networks//,/ }; do check_configurations "$network.yaml" "cells/$network.yaml"; done
find_checkpoints 3

KALDI_QUANT_EXTRAS="enhancement ${KALDI_QUANT_EXTRAS:-}"
# shellcheck source=../../path.sh
. "$here/../../path.sh"

prepare

recipe() { python3 -m kaldi_quant.cli.recipes "egs/enhancement/$1.py" --data-dir "$data_dir" "${@:2}"; }

# All stages of one network and seed, one after the other.
of_network() {
  local network=$1 seed=$2 cells=()
  local file=$checkpoints/$seed/$network.pth
  if begins 0; then
    recipe train --config "$conf_dir/$network.yaml" --seed "$seed" --output "$file"
  fi
  ! begins 1 || cells+=(float)
  ! begins 2 || cells+=(ours-w8a8 onnxruntime-ptq)
  ! begins 3 || cells+=(standard-qat general-qat mbqat ours-w4a8)
  if begins 3 && [ "$network" = tcn-100k ]; then cells+=(mbqat-tcn); fi
  [ ${#cells[@]} -eq 0 ] ||
    recipe cells --config "$conf_dir/cells/$network.yaml" --seed "$seed" --network "$file" --exp-dir "$exp_dir/$seed" "${cells[@]}"
}
of_noisy() { ! begins 1 || recipe noisy --exp-dir "$exp_dir/$1"; }

if [ "$stage" -le 3 ]; then
  # The one that takes longest comes first.
  for network in crn stft-tcnn crn-100k tcn-100k; do
    [[ ,$networks, == *,$network,* ]] || continue
    for seed in ${seeds//,/ }; do start "$network-$seed" of_network "$network" "$seed"; done
  done
  for seed in ${seeds//,/ }; do start "noisy-$seed" of_noisy "$seed"; done
  finish_all
fi

if begins 4; then
  python3 -m kaldi_quant.cli.recipes egs/enhancement/results.py --exp-dir "$exp_dir"
fi
