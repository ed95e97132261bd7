#!/usr/bin/env bash
# A Kaldi model quantized after training by PyTorch's own functions, run on PyTorch's kernels, decoded and scored.
# --help lists the options; what the stages do stands in kaldi_quant/cli/recipes/quantization.py.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
KALDI_QUANT_EXTRAS="onnx ${KALDI_QUANT_EXTRAS:-}"
# shellcheck source=path.sh
. "$root/path.sh"
# shellcheck source=cmd.sh
. "$root/cmd.sh"
exec python3 -m kaldi_quant.cli.recipes "$(basename "$0")" "$@"
