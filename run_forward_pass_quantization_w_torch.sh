#!/usr/bin/env bash
# A Kaldi model quantized after training by PyTorch's own functions, run on PyTorch's integer kernels, decoded and scored.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
here=$(pwd)
# shellcheck source=local/forward_pass_options.sh
. "$root/local/forward_pass_options.sh"
# shellcheck source=local/quantization_options.sh
. "$root/local/quantization_options.sh"
# shellcheck source=local/calibration_options.sh
. "$root/local/calibration_options.sh"
preset=torch-static     # torch-static, torch-dynamic (ranges found anew for each utterance), torch-pt2e (needs torchao)
engine=auto             # onednn, x86, fbgemm, qnnpack, or auto: the fastest that this machine has
observer=""             # minmax, moving-average or histogram; by default the preset's
per_channel=""          # true or false: whether weights have a scale for each output channel; by default the preset's

usage() {
  echo "Usage: $0 [options] [<exp-folder>]"
  echo "<exp-folder> is the root of a Kaldi recipe; without it the embedded example egs/alphadigits is used."
  echo "e.g.: $0 --engine fbgemm"
  echo "      $0 --preset torch-dynamic --nj 8 --calibration-dir data/train_hires ~/kaldi/egs/librispeech/s5"
  echo "Results go to --out-dir, by default <model-dir>/decode_<data>_<preset or configuration>[_<engine>]<affix>."
}

# shellcheck source=local/parse_options.sh
. "$root/local/parse_options.sh"
[ -z "$config" ] || preset=""
model_name=${preset:-$(basename "${config%.yaml}")}
[ "$engine" = auto ] || model_name=${model_name}_$engine
quantize_options=(--engine="$engine" ${observer:+--observer="$observer"} ${per_channel:+--per-channel="$per_channel"})
# shellcheck source=local/quantization.sh
. "$root/local/quantization.sh"
[ "$preset" != torch-pt2e ] || KALDI_QUANT_EXTRAS="torchao $KALDI_QUANT_EXTRAS"
# shellcheck source=local/forward_pass.sh
. "$root/local/forward_pass.sh"
