#!/usr/bin/env bash
# Runs the tests, a file at a time on each core, with pytest's own options. The packages that they need are installed first.
# e.g.: bash tests/run.sh
#       bash tests/run.sh -k tables -x
#       KALDI_QUANT_EXTRAS="torchao vosk" bash tests/run.sh    # with the tests of optional packages, too
set -euo pipefail
cd "$(dirname "$0")/.."
KALDI_QUANT_EXTRAS="test ${KALDI_QUANT_EXTRAS:-}"
# shellcheck disable=SC1091
. ./path.sh
exec python3 -m pytest -n auto --dist loadfile "$@"
