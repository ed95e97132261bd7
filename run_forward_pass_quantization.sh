#!/usr/bin/env bash
# A Kaldi model quantized after training, run in integers, decoded, scored, and written in forms that can be deployed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
here=$(pwd)
# shellcheck source=local/forward_pass_options.sh
. "$root/local/forward_pass_options.sh"
# shellcheck source=local/quantization_options.sh
. "$root/local/quantization_options.sh"
# shellcheck source=local/calibration_options.sh
. "$root/local/calibration_options.sh"
preset=""               # a named configuration; by default the one tuned for the widths
engine=auto             # onnxruntime, reference, or auto: onnxruntime where it gives the same integers

usage() {
  echo "Usage: $0 [options] [<exp-folder>]"
  echo "<exp-folder> is the root of a Kaldi recipe; without it the embedded example egs/alphadigits is used."
  echo "e.g.: $0 --bits 4"
  echo "      $0 --preset baseline --nj 8 --calibration-dir data/train_hires ~/kaldi/egs/librispeech/s5"
  echo "Results go to --out-dir, by default <model-dir>/decode_<data>_<preset, configuration or widths><affix>."
}

# shellcheck source=local/parse_options.sh
. "$root/local/parse_options.sh"
model_name=${preset:-$(basename "${config%.yaml}")}
model_name=${model_name:-w${bits:-8}a${act_bits:-8}}
quantize_options=()
# shellcheck source=local/quantization.sh
. "$root/local/quantization.sh"
# shellcheck source=local/forward_pass.sh
. "$root/local/forward_pass.sh"
