# Sourced by the recipes that compute log-likelihoods, decode and score: their stages, after local/parse_options.sh.
# A recipe that runs another model than <model-dir>/final.mdl defines before:
#   model_file     the model, if it is another file
#   model_name     what is appended to the name of the output folder
#   check_model    says what is wrong with its options, in stage 0
#   make_model     makes the model in stage 2, in $out_dir; sets `model` (it computes), and `loglike_options`
# root and here are set: the project's folder, and the one the recipe was called in.

# shellcheck source=local/experiment.sh
. "$root/local/experiment.sh"
[[ $stage =~ ^[0-4]$ ]] || fail "--stage $stage is not one of 0 1 2 3 4"
case $out_dir in
  "") out_dir=$model_dir/decode_$data${model_name:+_$model_name}$affix ;;
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
  for file in "$model_dir/final.mdl" "${model_file:-$model_dir/final.mdl}" "$graph_dir/HCLG.fst" "$graph_dir/words.txt" \
    "$data_dir/text"; do
    [ -s "$file" ] || fail "$PWD/$file is missing or empty"
  done
  [ -s "$data_dir/feats.scp" ] || [ -s "$data_dir/wav.scp" ] || fail "$PWD/$data_dir has neither feats.scp nor wav.scp"
  if [ "$ignore_cmvn" = false ] && grep -Eqs -- '--norm-(means|vars)=true' "$model_dir/cmvn_opts"; then
    fail "$model_dir/cmvn_opts asks for normalised features, which are not made here: give a data folder whose" \
      "features apply-cmvn has normalised, and --ignore-cmvn true"
  fi
  ! declare -F check_model >/dev/null || check_model
fi
make_out_dir

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

model=${model_file:-$model_dir/final.mdl}
loglikes=$out_dir/loglikes.ark
chunks=(--frames-per-chunk="$frames_per_chunk" --extra-left-context="$extra_left_context"
  --extra-right-context="$extra_right_context" --extra-left-context-initial="$extra_left_context_initial"
  --extra-right-context-final="$extra_right_context_final")
if [ "$stage" -le 2 ]; then
  loglike_options=()
  ! declare -F make_model >/dev/null || make_model
  ivectors=$(ivector_options "$data_dir" "$online_ivector_dir" --online-ivector-dir)
  mapfile -t ivectors < <(printf %s "$ivectors")
  options=("${chunks[@]}" "${ivectors[@]}")
  if is_done "$loglikes" "${options[*]} $features" "$model" "${features#scp:}"; then
    echo "$0: stage 2, the log-likelihoods in $loglikes are kept"
  else
    echo "$0: stage 2, log-likelihoods of $data_dir with $model"
    python3 -m kaldi_quant --log "$out_dir/log/forward.log" forward "${options[@]}" "${loglike_options[@]}" \
      --record="$out_dir" --batch-seconds="$batch_seconds" --allow-pipes="$allow_pipes" "$model" "$features" \
      "ark:$loglikes"
    echo "${options[*]} $features" >"$loglikes.options"
  fi
fi

if [ "$stage" -le 3 ]; then
  echo "$0: stage 3, lattices with $graph_dir/HCLG.fst"
  bash "$root/local/decode/generate_lattices.sh" --nj "$nj" ${cmd:+--cmd "$cmd"} --allow-pipes "$allow_pipes" \
    "$graph_dir/words.txt" "$model_dir/final.mdl" "$graph_dir/HCLG.fst" "ark:$loglikes" "$out_dir"
fi

if [ "$stage" -le 4 ]; then
  echo "$0: stage 4, scores in $out_dir"
  bash "$root/local/decode/score.sh" ${cmd:+--cmd "$cmd"} "$data_dir" "$graph_dir" "$out_dir"
fi
