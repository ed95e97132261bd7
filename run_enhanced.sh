#!/usr/bin/env bash
# Noisy speech, enhanced or not, recognised by a float and by an integer acoustic model: word error rates in one table.
# --help lists the options; what the stages do stands in kaldi_quant/cli/recipes/enhanced.py.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
KALDI_QUANT_EXTRAS="enhancement ${KALDI_QUANT_EXTRAS:-}"
# shellcheck source=path.sh
. "$root/path.sh"
# shellcheck source=cmd.sh
. "$root/cmd.sh"
exec python3 -m kaldi_quant.cli.recipes "$(basename "$0")" "$@"
