#!/usr/bin/env bash
# Runs the tests, a file at a time on each core, with pytest's own options.
# e.g.: bash tests/run.sh
#       bash tests/run.sh -k tables -x
set -euo pipefail
cd "$(dirname "$0")/.."
KALDI_QUANT_EXTRAS=test
# shellcheck disable=SC1091
. ./path.sh
exec python3 -m pytest -n auto --dist loadfile "$@"
