#!/usr/bin/env bash
# Networks for source separation, of speech and of music, each in float, by FQSS and beside it, with sizes and scores.
# Stages: 0 training in float, 1 float, 2 quantized, 3 results. --help says more.
set -euo pipefail

usage() {
  cat <<'USAGE'
Usage: egs/separation/run.sh [OPTIONS]
Makes a folder for each seed, network and method below --exp-dir, and RESULTS of all of them; logs are in EXP-DIR/log. What is there
and was made from the same data in the same way is kept, so that an interrupted run goes on.

  --stage N            begin with this stage: 0 training in float, 1 float, 2 quantized, 3 results
                       (default: 1, with the float networks of --checkpoints)
  --stop-stage N       end with this one  (default: 3)
  --data-dir FOLDER    for networks of speech: the voices that are mixed, LibriMix, or another layout
                       (default: egs/enhancement/data)
  --music-dir FOLDER   for networks of music: MUSDB18-HQ, or band, which plays from seeds  (default: band)
  --exp-dir FOLDER     results  (default: egs/separation/exp)
  --conf-dir FOLDER    configurations  (default: egs/separation/conf)
  --checkpoints FOLDER float networks, SEED/NETWORK.pth  (default: egs/separation/checkpoints; stage 0 writes into
                       EXP-DIR/checkpoints, which is the default then)
  --networks LIST      with commas between them  (default: conv-tasnet-small,dptnet-small,sepformer-small,
                       conv-tasnet-music-small,htdemucs-small)
  --seeds LIST         with commas between them  (default: 0)
  --nj N               networks that are worked on at the same time  (default: all cores)

e.g.: egs/separation/run.sh
      egs/separation/run.sh --stage 0 --seeds 0,1,2 --exp-dir exp/separation
USAGE
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
recipe=egs/separation/run.sh
# shellcheck source=../side_by_side.sh
. "$here/../side_by_side.sh"
stage=1 stop_stage=3 data_dir=$here/../enhancement/data music_dir=band exp_dir=$here/exp conf_dir=$here/conf checkpoints=
# The one that takes longest comes first.
known="htdemucs-small dptnet-small conv-tasnet-music-small conv-tasnet-small sepformer-small"
networks=${known// /,} seeds=0 nj=$(env -u OMP_NUM_THREADS nproc)

read_options "--stage --stop-stage --data-dir --music-dir --exp-dir --conf-dir --checkpoints --networks --seeds --nj" "$@"

# Inputs first.
check_stages 3
check_seeds
[ -d "$data_dir" ] || fail "--data-dir $data_dir does not exist: expected speech"
[ "$music_dir" = band ] || [ -d "$music_dir" ] || fail "--music-dir $music_dir does not exist: expected music, or band"
# shellcheck disable=SC2086
check_networks $known
for network in ${networks//,/ }; do check_configurations "$network.yaml" "cells/$network.yaml"; done
find_checkpoints 2

KALDI_QUANT_EXTRAS="separation ${KALDI_QUANT_EXTRAS:-}"
# shellcheck source=../../path.sh
. "$here/../../path.sh"

prepare

recipe() { python3 -m kaldi_quant.cli.recipes "egs/separation/$1.py" "${@:2}"; }

# All stages of one network and seed, one after the other.
of_network() {
  local network=$1 seed=$2 cells=() data=$data_dir
  local file=$checkpoints/$seed/$network.pth
  case $network in *music* | htdemucs*) data=$music_dir ;; esac
  if begins 0; then
    recipe float --data-dir "$data" --config "$conf_dir/$network.yaml" --seed "$seed" --output "$file"
  fi
  ! begins 1 || cells+=(float)
  ! begins 2 || cells+=(vanilla-qat fqss ours-w8a8 ours-w4a8)
  [ ${#cells[@]} -eq 0 ] ||
    recipe cells --data-dir "$data" --config "$conf_dir/cells/$network.yaml" --seed "$seed" --network "$file" \
      --exp-dir "$exp_dir/$seed" "${cells[@]}"
}

if [ "$stage" -le 2 ]; then
  for network in $known; do
    [[ ,$networks, == *,$network,* ]] || continue
    for seed in ${seeds//,/ }; do start "$network-$seed" of_network "$network" "$seed"; done
  done
  finish_all
fi

if begins 3; then
  python3 -m kaldi_quant.cli.recipes egs/separation/results.py --exp-dir "$exp_dir"
fi
