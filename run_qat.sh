#!/usr/bin/env bash
# A Kaldi model trained in fake integers: its float word error rate, that of the integer model that quantization after
# training gives, that of the trained one, and all three in a table.
# --help lists the options; what the stages do stands in kaldi_quant/cli/recipes/qat.py.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
KALDI_QUANT_EXTRAS="onnx report ${KALDI_QUANT_EXTRAS:-}"
# shellcheck source=path.sh
. "$root/path.sh"
# shellcheck source=cmd.sh
. "$root/cmd.sh"
exec python3 -m kaldi_quant.cli.recipes "$(basename "$0")" "$@"
