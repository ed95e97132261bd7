#!/usr/bin/env bash
# A Kaldi model's word error rate, computed in PyTorch: features, log-likelihoods, lattices, scores. --help lists the
# options; what the stages do stands in kaldi_quant/cli/recipes/forward_pass.py.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=path.sh
. "$root/path.sh"
# shellcheck source=cmd.sh
. "$root/cmd.sh"
exec python3 -m kaldi_quant.cli.recipes "$(basename "$0")" "$@"
