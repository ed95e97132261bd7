#!/usr/bin/env bash
# The best widths of a model's layers under a budget, trained in fake integers, exported, decoded, scored and compared;
# the last line names the page that shows it all.
# --help lists the options; what the stages do stands in kaldi_quant/cli/recipes/mixed.py.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
KALDI_QUANT_EXTRAS="onnx report ${KALDI_QUANT_EXTRAS:-}"
# shellcheck source=path.sh
. "$root/path.sh"
# shellcheck source=cmd.sh
. "$root/cmd.sh"
exec python3 -m kaldi_quant.cli.recipes "$(basename "$0")" "$@"
