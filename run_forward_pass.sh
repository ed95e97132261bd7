#!/usr/bin/env bash
# A Kaldi model's word error rate, computed in PyTorch: features, log-likelihoods, lattices, scores.
set -euo pipefail

stage=0                 # 0 checks, 1 features, 2 log-likelihoods, 3 lattices, 4 scores
nj=4                    # jobs of the decoding
affix=""                # appended to the name of the output folder
model_dir=""            # folder of final.mdl, from <exp-folder>
graph_dir=""            # folder of HCLG.fst and words.txt
data_dir=""             # data folder, with feats.scp or wav.scp
out_dir=""              # output folder, from the current one; by default <model-dir>/decode_<data><affix>
cmd=""                  # how jobs run where KALDI_ROOT is set, such as "queue.pl --mem 4G"; by default as cmd.sh says
mfcc_config=""          # for data without feats.scp; by default conf/mfcc_hires.conf
online_ivector_dir=""   # for models with an i-vector input; by default the first of exp/nnet3*/ivectors_<data>
device=cpu              # cpu or cuda
batch_seconds=60        # speech that is computed at once
frames_per_chunk=0      # 0 for whole utterances
extra_left_context=0    # these four as in Kaldi's steps/nnet3/decode.sh
extra_right_context=0
extra_left_context_initial=-1
extra_right_context_final=-1
ignore_cmvn=false       # true when the features are normalised already
allow_pipes=false       # run the shell commands that scp files hold

usage() {
  echo "Usage: $0 [options] [<exp-folder>]"
  echo "<exp-folder> is the root of a Kaldi recipe; without it the embedded example egs/alphadigits is used."
  echo "e.g.: $0"
  echo "      $0 --nj 8 ~/kaldi/egs/librispeech/s5"
  echo "      $0 --model-dir exp/chain/tdnn1k_sp --graph-dir exp/chain/tree_sp/graph --data-dir data/eval_hires ~/s5"
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
here=$(pwd)
# shellcheck source=local/parse_options.sh
. "$root/local/parse_options.sh"

fail() { echo "$0: $*" >&2; exit 1; }

[[ $stage =~ ^[0-4]$ ]] || fail "--stage $stage is not one of 0 1 2 3 4"
[[ $nj =~ ^[1-9][0-9]*$ ]] || fail "--nj $nj is not a number of jobs"
if [ $# -gt 1 ]; then
  usage >&2
  exit 1
fi
exp=${1:-$root/egs/alphadigits}
[ -d "$exp" ] || fail "the experiment folder $exp does not exist: give the root of a Kaldi recipe"
# The paths in Kaldi's scp files are relative to the recipe's root.
cd "$exp"
if [ "$(pwd -P)" = "$root/egs/alphadigits" ]; then
  defaults=(exp/chain/tdnn1a_sp graph_alphadigits data/test_hires)
else
  defaults=(exp/chain_cleaned/tdnn_7k_1a_sp graph_tgsmall data/test_clean_hires)
fi
model_dir=${model_dir:-${defaults[0]}}
graph_dir=${graph_dir:-$model_dir/${defaults[1]}}
data_dir=${data_dir:-${defaults[2]}}
data=$(basename "$data_dir")
case $out_dir in
  "") out_dir=$model_dir/decode_$data$affix ;;
  /*) ;;
  *) out_dir=$here/$out_dir ;;
esac

# True when an output is there, made with the same options, and newer than its inputs: is_done OUTPUT OPTIONS INPUT...
is_done() {
  local output=$1 options=$2 input
  shift 2
  [ -s "$output" ] && [ "$(cat "$output.options" 2>/dev/null)" = "$options" ] || return 1
  for input in "$@"; do [ "$output" -nt "$input" ] || return 1; done
}

if [ "$stage" -le 0 ]; then
  for folder in "$model_dir" "$graph_dir" "$data_dir"; do
    [ -d "$folder" ] || fail "there is no folder $folder in $PWD: see --model-dir, --graph-dir and --data-dir"
  done
  for file in "$model_dir/final.mdl" "$graph_dir/HCLG.fst" "$graph_dir/words.txt" "$data_dir/text"; do
    [ -s "$file" ] || fail "$PWD/$file is missing or empty"
  done
  [ -s "$data_dir/feats.scp" ] || [ -s "$data_dir/wav.scp" ] || fail "$PWD/$data_dir has neither feats.scp nor wav.scp"
  if [ "$ignore_cmvn" = false ] && grep -Eqs -- '--norm-(means|vars)=true' "$model_dir/cmvn_opts"; then
    fail "$model_dir/cmvn_opts asks for normalised features, which are not made here: give a data folder whose" \
      "features apply-cmvn has normalised, and --ignore-cmvn true"
  fi
fi
mkdir -p "$out_dir/log" 2>/dev/null && [ -w "$out_dir" ] || fail "cannot write $out_dir: choose another folder with --out-dir"

# shellcheck source=path.sh
. "$root/path.sh" || exit 1

features=scp:$data_dir/feats.scp
if [ ! -s "$data_dir/feats.scp" ]; then
  features=scp:$out_dir/feats.scp
  mfcc_config=${mfcc_config:-conf/mfcc_hires.conf}
  options=(--config="$mfcc_config")
  [ ! -s "$data_dir/segments" ] || options+=(--segments="$data_dir/segments")
  if [ "$stage" -le 1 ] && ! is_done "$out_dir/feats.scp" "${options[*]}" "$data_dir/wav.scp" "$mfcc_config"; then
    echo "$0: stage 1, features of $data_dir/wav.scp"
    python3 -m kaldi_quant --log "$out_dir/log/make_mfcc.log" make-mfcc "${options[@]}" --allow-pipes="$allow_pipes" \
      "scp:$data_dir/wav.scp" "ark,scp:$out_dir/feats.ark,$out_dir/feats.scp"
    echo "${options[*]}" >"$out_dir/feats.scp.options"
  fi
fi

model=$model_dir/final.mdl
loglikes=$out_dir/loglikes.ark
if [ "$stage" -le 2 ]; then
  options=(--frames-per-chunk="$frames_per_chunk" --extra-left-context="$extra_left_context"
    --extra-right-context="$extra_right_context" --extra-left-context-initial="$extra_left_context_initial"
    --extra-right-context-final="$extra_right_context_final")
  ivector_dim=$(python3 -m kaldi_quant info "$model" | awk '$1 == "ivector-dim:" { print $2 }')
  if [ "${ivector_dim:--1}" -gt 0 ]; then
    for folder in exp/nnet3*/ivectors_"$data"; do
      [ -n "$online_ivector_dir" ] || [ ! -d "$folder" ] || online_ivector_dir=$folder
    done
    [ -s "${online_ivector_dir:-.}/ivector_online.scp" ] && [ -s "$online_ivector_dir/ivector_period" ] ||
      fail "$model has an i-vector input: give --online-ivector-dir, the folder of ivector_online.scp and ivector_period"
    options+=(--online-ivectors="scp:$online_ivector_dir/ivector_online.scp"
      --online-ivector-period="$(cat "$online_ivector_dir/ivector_period")")
  fi
  if is_done "$loglikes" "${options[*]} $features" "$model" "${features#scp:}"; then
    echo "$0: stage 2, the log-likelihoods in $loglikes are kept"
  else
    echo "$0: stage 2, log-likelihoods of $data_dir with $model"
    python3 -m kaldi_quant --log "$out_dir/log/forward.log" forward "${options[@]}" --device="$device" \
      --batch-seconds="$batch_seconds" --allow-pipes="$allow_pipes" "$model" "$features" "ark:$loglikes"
    echo "${options[*]} $features" >"$loglikes.options"
  fi
fi

if [ "$stage" -le 3 ]; then
  echo "$0: stage 3, lattices with $graph_dir/HCLG.fst"
  bash "$root/local/decode/generate_lattices.sh" --nj "$nj" ${cmd:+--cmd "$cmd"} --allow-pipes "$allow_pipes" \
    "$graph_dir/words.txt" "$model" "$graph_dir/HCLG.fst" "ark:$loglikes" "$out_dir"
fi

if [ "$stage" -le 4 ]; then
  echo "$0: stage 4, scores in $out_dir"
  bash "$root/local/decode/score.sh" ${cmd:+--cmd "$cmd"} "$data_dir" "$graph_dir" "$out_dir"
fi
