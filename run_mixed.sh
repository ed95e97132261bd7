#!/usr/bin/env bash
# The best widths of a model's layers under a budget, trained in fake integers, exported, decoded, scored and compared;
# the last line names the page that shows it all.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
here=$(pwd)
# shellcheck source=local/forward_pass_options.sh
. "$root/local/forward_pass_options.sh"
# shellcheck source=local/calibration_options.sh
. "$root/local/calibration_options.sh"
# shellcheck source=local/training_options.sh
. "$root/local/training_options.sh"
stage=0                 # 0 search, 1 float scores, 2 quantization, 3 training, 4 its scores, 5 comparison, 6 report
budget="3 bits"         # such as "3 bits" for each weight on average, "300 kB", "0.02 nats"
config=""               # a configuration in YAML for all but the widths; by default the preset w4a8
widths=""               # of weights, that layers may have; by default those of "kaldi-quant search"
act_widths=""           # of layers' inputs
refine=0                # so many allocations are quantized and decoded on dev_dir, for the one with fewest word errors
dev_dir=""              # data folder that widths are chosen on, with feats.scp; never the one that is scored
dev_ivector_dir=""      # its i-vectors; by default the first of exp/nnet3*/ivectors_<development data>

usage() {
  echo "Usage: $0 [options] [<exp-folder>]"
  echo "<exp-folder> is the root of a Kaldi recipe; without it the embedded example egs/alphadigits is used."
  echo "e.g.: $0 --budget '2.3 bits'"
  echo "      $0 --budget '1 MB' --dev-dir data/dev_hires --model-dir exp/chain/tdnn1a_sp ~/s5"
  echo "Results go to --out-dir, by default <model-dir>_mixed<affix>."
}

# shellcheck source=local/parse_options.sh
. "$root/local/parse_options.sh"
# shellcheck source=local/experiment.sh
. "$root/local/experiment.sh"
[[ $stage =~ ^[0-6]$ ]] || fail "--stage $stage is not one of 0 1 2 3 4 5 6"
case $out_dir in
  "") out_dir=$PWD/${model_dir}_mixed$affix ;;
  /*) ;;
  *) out_dir=$here/$out_dir ;;
esac
case $config in "" | /*) ;; *) config=$here/$config ;; esac
dev_dir=${dev_dir:-data/dev_hires}
[ -s "$dev_dir/feats.scp" ] || fail "$PWD/$dev_dir/feats.scp is missing or empty: give the data to choose widths on with --dev-dir"
[ ! "$dev_dir" -ef "$data_dir" ] || fail "$dev_dir is the data that is scored: choose widths on other data, or the result says nothing"

KALDI_QUANT_EXTRAS="onnx report ${KALDI_QUANT_EXTRAS:-}"
# shellcheck source=path.sh
. "$root/path.sh" || exit 1
make_out_dir
mapfile -t computing < <(given batch_seconds frames_per_chunk extra_left_context extra_right_context \
  extra_left_context_initial extra_right_context_final allow_pipes)
# One table of the i-vectors of both data folders: the search reads both, with one set of options.
ivectors=$(ivector_options "$calibration_dir" "$calibration_ivector_dir" --calibration-ivector-dir)
if [ -n "$ivectors" ]; then
  dev_ivectors=$(ivector_options "$dev_dir" "$dev_ivector_dir" --dev-ivector-dir)
  [ "${ivectors##*=}" = "${dev_ivectors##*=}" ] || fail "the i-vectors of $calibration_dir and $dev_dir have different periods"
  for table in "$ivectors" "$dev_ivectors"; do cat "$(sed -n 's/^--online-ivectors=scp://p' <<<"$table")"; done |
    sort -u >"$out_dir/ivector_online.scp"
  computing+=(--online-ivectors "scp:$out_dir/ivector_online.scp" --online-ivector-period "${ivectors##*=}")
fi
if [ "$stage" -le 0 ]; then
  mapfile -t search < <(given budget widths act_widths config)
  if [ "$refine" != 0 ] || [[ ${budget,,} == *%wer* ]]; then
    search+=(--refine "$refine" --graph-dir "$graph_dir" --data-dir "$dev_dir" --nj "$nj")
  fi
  echo "$0: stage 0, widths for $budget, chosen on $dev_dir"
  python3 -m kaldi_quant --log "$out_dir/log/search.log" search "${search[@]}" "${computing[@]}" \
    --max-utterances "$calibration_utterances" "$model_dir/final.mdl" "scp:$calibration_dir/feats.scp" \
    "scp:$dev_dir/feats.scp" "$out_dir"
fi
if [ "$stage" -le 5 ]; then
  mapfile -t options < <(given nj cmd model_dir graph_dir data_dir mfcc_config online_ivector_dir batch_seconds \
    frames_per_chunk extra_left_context extra_right_context extra_left_context_initial extra_right_context_final \
    ignore_cmvn allow_pipes calibration_dir calibration_ivector_dir calibration_utterances formats egs_dir num_epochs \
    minibatch_size lr_initial lr_final warm_up method teacher distillation vtlp filter_augment)
  bash "$root/run_qat.sh" --stage "$((stage > 0 ? stage - 1 : 0))" --config "$out_dir/allocation.yaml" \
    --out-dir "$out_dir" "${options[@]}" "$PWD"
fi
python3 -m kaldi_quant --log "$out_dir/log/report.log" report --search "$out_dir" --features "scp:$dev_dir/feats.scp" \
  "${computing[@]}" "$out_dir/report.html" "float=$out_dir/decode_${data}_float" \
  "PTQ=$out_dir/decode_${data}_ptq" "QAT=$out_dir/decode_$data"
echo "$0: stage 6, report in $out_dir/report.html"
