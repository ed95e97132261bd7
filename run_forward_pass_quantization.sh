#!/usr/bin/env bash
# A Kaldi model quantized after training, run in integers, decoded, scored, and written in forms that can be deployed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
here=$(pwd)
# shellcheck source=local/forward_pass_options.sh
. "$root/local/forward_pass_options.sh"
bits=""                 # width of the weights, 2 to 16; 8 by default
act_bits=""             # width of layers' inputs, 2 to 16; 8 by default
preset=""               # a named configuration; by default the one tuned for the widths
config=""               # a configuration in YAML, instead of a preset
calibration_dir=""      # data folder to calibrate on, with feats.scp; never the one that is scored
calibration_ivector_dir=""   # its i-vectors; by default the first of exp/nnet3*/ivectors_<calibration data>
calibration_utterances=500   # at most so many of its utterances, evenly chosen
engine=auto             # onnxruntime, reference, or auto: onnxruntime where it gives the same integers
formats=mdl,onnx        # what is exported beside the integer model; none for nothing
fixed_frames=150        # frames of the ONNX model with a fixed length

usage() {
  echo "Usage: $0 [options] [<exp-folder>]"
  echo "<exp-folder> is the root of a Kaldi recipe; without it the embedded example egs/alphadigits is used."
  echo "e.g.: $0 --bits 4"
  echo "      $0 --preset baseline --nj 8 --calibration-dir data/train_hires ~/kaldi/egs/librispeech/s5"
  echo "Results go to --out-dir, by default <model-dir>/decode_<data>_<preset or widths><affix>."
}

# shellcheck source=local/parse_options.sh
. "$root/local/parse_options.sh"
case $config in "" | /*) ;; *) config=$here/$config ;; esac
model_name=${preset:-$(basename "${config%.yaml}")}
model_name=${model_name:-w${bits:-8}a${act_bits:-8}}

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
    ${preset:+--preset="$preset"} ${config:+--config="$config"} --max-utterances="$calibration_utterances")
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
    python3 -m kaldi_quant --log "$out_dir/log/export.log" export --formats="$formats" --frames="$fixed_frames" \
      "$model" "$out_dir"
  fi
}

KALDI_QUANT_EXTRAS="onnx ${KALDI_QUANT_EXTRAS:-}"
# shellcheck source=local/forward_pass.sh
. "$root/local/forward_pass.sh"
