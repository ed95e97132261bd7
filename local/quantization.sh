# Sourced by the recipes that quantize after training, after local/parse_options.sh and before local/forward_pass.sh: how
# they make their model. A recipe sets before:
#   preset             a named configuration, or nothing
#   engine             what runs the integer model
#   quantize_options   more options of "kaldi-quant quantize"
case $config in "" | /*) ;; *) config=$here/$config ;; esac

check_model() {
  [ -s "$calibration_dir/feats.scp" ] ||
    fail "$PWD/$calibration_dir/feats.scp is missing or empty: give the data to calibrate on with --calibration-dir"
  [ ! "$calibration_dir" -ef "$data_dir" ] ||
    fail "$calibration_dir is the data that is scored: calibrate on other data, or the result says nothing"
  [ -z "$config" ] || [ -s "$config" ] || fail "the configuration $config is missing or empty"
}

make_model() {
  local options ivectors calibration=scp:$calibration_dir/feats.scp
  ivectors=$(ivector_options "$calibration_dir" "$calibration_ivector_dir" --calibration-ivector-dir)
  mapfile -t ivectors < <(printf %s "$ivectors")
  options=("${chunks[@]}" "${ivectors[@]}" ${bits:+--bits="$bits"} ${act_bits:+--act-bits="$act_bits"}
    ${preset:+--preset="$preset"} ${config:+--config="$config"} "${quantize_options[@]}"
    --max-utterances="$calibration_utterances")
  model=$out_dir/quantized.safetensors
  loglike_options=(--engine="$engine")
  if is_done "$model" "${options[*]} $calibration" "$model_dir/final.mdl" "${calibration#scp:}" ${config:+"$config"}; then
    echo "$0: stage 2, the integer model $model is kept"
  else
    echo "$0: stage 2, quantization of $model_dir/final.mdl on $calibration_dir"
    python3 -m kaldi_quant --log "$out_dir/log/quantize.log" quantize "${options[@]}" \
      --batch-seconds="$batch_seconds" --allow-pipes="$allow_pipes" "$model_dir/final.mdl" "$calibration" "$out_dir"
    echo "${options[*]} $calibration" >"$model.options"
  fi
  if [ "$formats" != none ]; then
    python3 -m kaldi_quant --log "$out_dir/log/export.log" export ${formats:+--formats="$formats"} --frames="$fixed_frames" \
      "$model" "$out_dir"
  fi
}

KALDI_QUANT_EXTRAS="onnx ${KALDI_QUANT_EXTRAS:-}"
