#!/usr/bin/env bash
# A Kaldi model trained in fake integers: its float word error rate, that of the integer model that quantization after
# training gives, that of the trained one, and all three in a table.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
here=$(pwd)
# shellcheck source=local/forward_pass_options.sh
. "$root/local/forward_pass_options.sh"
# shellcheck source=local/quantization_options.sh
. "$root/local/quantization_options.sh"
# shellcheck source=local/calibration_options.sh
. "$root/local/calibration_options.sh"
# shellcheck source=local/training_options.sh
. "$root/local/training_options.sh"
stage=0                 # 0 float scores, 1 quantization after training, 2 training, 3 its scores, 4 comparison
bits=4                  # width of the weights
act_bits=8              # width of layers' inputs
preset=""               # a named configuration; by default the one tuned for the widths

usage() {
  echo "Usage: $0 [options] [<exp-folder>]"
  echo "<exp-folder> is the root of a Kaldi recipe; without it the embedded example egs/alphadigits is used."
  echo "e.g.: $0 --bits 2"
  echo "      $0 --bits 4 --nj 8 --model-dir exp/chain/tdnn1a_sp --graph-dir exp/chain/tree_sp/graph ~/s5"
  echo "Results go to --out-dir, by default <model-dir>_qat_<widths><affix>."
}

# shellcheck source=local/parse_options.sh
. "$root/local/parse_options.sh"
# shellcheck source=local/experiment.sh
. "$root/local/experiment.sh"
[[ $stage =~ ^[0-4]$ ]] || fail "--stage $stage is not one of 0 1 2 3 4"
for width in "$bits" "$act_bits"; do
  [[ $width =~ ^([2-9]|1[0-6])$ ]] || fail "a width of '$width': --bits and --act-bits are numbers from 2 to 16"
done
case $out_dir in
  "") out_dir=$PWD/${model_dir}_qat_w${bits}a$act_bits$affix ;;
  /*) ;;
  *) out_dir=$here/$out_dir ;;
esac
case $config in "" | /*) ;; *) config=$here/$config ;; esac
# A configuration has widths of its own.
[ -z "$config" ] || bits="" act_bits=""
egs_dir=${egs_dir:-$model_dir/egs}
if [ -n "$example" ] && [ -z "$teacher" ] && [ "$stage" -le 2 ]; then
  # Its examples are few: they are heard often, each time as of other speakers. Coarse weights bear smaller steps.
  teacher=exp/chain/tdnnf1b_sp/final.mdl
  if [[ ${bits:-2} == [23] ]]; then
    num_epochs=${num_epochs:-75} lr_initial=${lr_initial:-5e-4} vtlp=${vtlp:-0.1} filter_augment=${filter_augment:-4}
  else
    num_epochs=${num_epochs:-75} vtlp=${vtlp:-0.12} filter_augment=${filter_augment:-6}
    [ -n "$lr_initial" ] || lr_initial=8e-3 lr_final=${lr_final:-1e-4} warm_up=${warm_up:-300}
  fi
  echo "$0: the example's larger model teaches: $teacher; --teacher $model_dir/final.mdl is the model itself"
fi
# Of another model there is more to learn than of the one that training begins with.
if [ -z "$teacher" ] || [ "$teacher" -ef "$model_dir/final.mdl" ]; then
  lr_initial=${lr_initial:-1e-4} epochs=1 share=""
else
  lr_initial=${lr_initial:-3e-4} epochs=2 share=0.9
fi

if [ -n "$vtlp$filter_augment" ] && [ "$stage" -le 2 ]; then
  # How features were made matters where they are changed.
  mfcc_config=${mfcc_config:-conf/mfcc_hires.conf}
  [ -f "$mfcc_config" ] ||
    fail "to change features, one must know how they were made: $mfcc_config does not exist: see --mfcc-config"
fi

mapfile -t decoding < <(given model_dir graph_dir data_dir nj cmd mfcc_config online_ivector_dir batch_seconds \
  frames_per_chunk extra_left_context extra_right_context extra_left_context_initial extra_right_context_final \
  ignore_cmvn allow_pipes)
mapfile -t quantization < <(given bits act_bits preset config)
mapfile -t calibration < <(given calibration_dir calibration_ivector_dir)

if [ "$stage" -le 0 ]; then
  bash "$root/run_forward_pass.sh" "${decoding[@]}" --out-dir "$out_dir/decode_${data}_float" "$PWD"
fi
if [ "$stage" -le 1 ]; then
  bash "$root/run_forward_pass_quantization.sh" "${decoding[@]}" "${quantization[@]}" "${calibration[@]}" \
    --calibration-utterances "$calibration_utterances" --formats none --out-dir "$out_dir/decode_${data}_ptq" "$PWD"
fi
if [ "$stage" -le 2 ]; then
  if compgen -G "$egs_dir/cegs.*.ark" >/dev/null || [ -s "$egs_dir/train_diagnostic.cegs" ]; then
    distillation=${distillation:-$share} distil=()
  else
    echo "$0: stage 2, there are no examples in $egs_dir: ${teacher:-the float model} alone teaches, on $calibration_dir"
    epochs=20 distil=(--distil)
  fi
  mapfile -t training < <(given minibatch_size lr_initial lr_final warm_up method teacher distillation vtlp \
    filter_augment mfcc_config)
  python3 "$root/local/run_tdnn_qat.py" --stage 5 --stop-stage 6 --kaldi-model-dir "$model_dir" --egs-dir "$egs_dir" \
    --dir "$out_dir" --num-epochs "${num_epochs:-$epochs}" --max-utterances "$calibration_utterances" \
    ${formats:+--formats "$formats"} "${quantization[@]}" "${calibration[@]}" "${training[@]}" "${distil[@]}" "$PWD"
fi
if [ "$stage" -le 3 ]; then
  bash "$root/run_forward_pass.sh" "${decoding[@]}" --model-file "$out_dir/quantized.safetensors" \
    --out-dir "$out_dir/decode_$data" "$PWD"
fi
echo "$0: stage 4, comparison in $out_dir/compare.html"
bash "$root/local/compare_wer.sh" --html "$out_dir/compare.html" --json "$out_dir/compare.json" \
  "float=$out_dir/decode_${data}_float" "PTQ=$out_dir/decode_${data}_ptq" \
  "QAT=$out_dir/decode_$data"
