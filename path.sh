# Sourced by every recipe: makes python3 and its packages ready, and puts Kaldi's programs on the PATH where KALDI_ROOT is
# set. An active environment (venv or conda) that holds the packages is used as it is; otherwise .venv beside this file is
# used, and made on first use.
#
#   . ./path.sh                             what the recipes need
#   KALDI_QUANT_EXTRAS=test . ./path.sh     and what the tests need: extras of setup.py, separated by spaces

_kq_say() { echo "path.sh: $*" >&2; }

# The packages that must be importable, for the extras given.
_kq_modules() {
  local extra
  echo torch numpy scipy yaml click rich
  for extra in "$@"; do
    case $extra in
      decode) echo kaldi_decoder kaldifst kaldialign ;;
      mfcc) echo kaldi_native_fbank ;;
      onnx) echo onnx onnxruntime ;;
      report) echo matplotlib ;;
      torchao) echo torchao ;;
      vosk) echo vosk ;;
      test) echo pytest hypothesis kaldiio ;;
      dev) echo ruff mypy ;;
    esac
  done
}

# True when a Python holds the packages for the extras: _kq_holds PYTHON EXTRA...
_kq_holds() {
  local python=$1
  shift
  # shellcheck disable=SC2046
  "$python" - $(_kq_modules "$@") 2>/dev/null <<'PYTHON'
import importlib.util, sys
sys.exit(sys.version_info < (3, 11) or any(importlib.util.find_spec(name) is None for name in sys.argv[1:]))
PYTHON
}

# Prints the first Python of version 3.11 or later that can make an environment.
_kq_find_python() {
  local python found=""
  for python in python3 python3.11 python3.12 python3.13; do
    command -v "$python" >/dev/null 2>&1 || continue
    found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || continue
    if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
      _kq_say "$python cannot make a virtual environment: install the package for it (Debian: apt install python3-venv)"
      return 1
    fi
    echo "$python"
    return 0
  done
  _kq_say "Python 3.11 or later is needed, found ${found:-none} (Debian: apt install python3 python3-venv)"
  return 1
}

# Makes or completes the environment: _kq_make ROOT EXTRA... Runs with the lock held.
# .venv.unfinished lies there while the environment is in the making, so that a killed run is begun again.
_kq_make() {
  local root=$1 python extras quiet=-q
  shift
  [ -t 2 ] && quiet=--progress-bar=on
  extras=$(IFS=,; echo "$*")
  if [ ! -e "$root/.venv.unfinished" ] && [ -x "$root/.venv/bin/python3" ] \
    && _kq_holds "$root/.venv/bin/python3" "$@" && cmp -s "$root/constraints.txt" "$root/.venv/constraints.txt"; then
    return 0 # another recipe made it while this one waited
  fi
  if [ -e "$root/.venv.unfinished" ] || [ ! -x "$root/.venv/bin/python3" ]; then
    python=$(_kq_find_python) || return 1
    _kq_say "making the Python environment $root/.venv with $python, once (some minutes)"
    touch "$root/.venv.unfinished" || return 1
    "$python" -m venv --clear "$root/.venv" || { _kq_say "$python -m venv failed, as it says above"; return 1; }
  else
    _kq_say "adding packages to $root/.venv (extras: $extras)"
    touch "$root/.venv.unfinished" || return 1
  fi
  python=$root/.venv/bin/python3
  # torch first and by itself: it is the largest, and its pin alone decides which build pip's index gives.
  "$python" -m pip install --disable-pip-version-check "$quiet" -c "$root/constraints.txt" torch \
    && "$python" -m pip install --disable-pip-version-check "$quiet" -c "$root/constraints.txt" -e "$root[$extras]" \
    && cp "$root/constraints.txt" "$root/.venv/constraints.txt" \
    && rm -f "$root/.venv.unfinished" && return 0
  _kq_say "pip could not install the packages, as it says above; the next run tries again"
  return 1
}

# Makes the environment ready and active: _kq_environment ROOT EXTRA...
_kq_environment() {
  local root=$1 active
  shift
  active=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
  if [ -n "$active" ] && [ "$active" != "$root/.venv" ]; then
    if [ -x "$active/bin/python3" ] && _kq_holds "$active/bin/python3" "$@"; then
      PATH=$active/bin:$PATH
      return 0
    fi
    _kq_say "the active environment $active lacks packages of kaldi_quant: using $root/.venv"
  fi
  if [ -e "$root/.venv.unfinished" ] || ! cmp -s "$root/constraints.txt" "$root/.venv/constraints.txt" \
    || ! _kq_holds "$root/.venv/bin/python3" "$@"; then
    if ! { [ -w "$root" ] && : >>"$root/.venv.lock"; }; then
      _kq_say "cannot write $root to make .venv there: activate an environment that holds kaldi_quant"
      return 1
    fi
    # One recipe at a time; the lock goes with the process that holds it.
    (
      if command -v flock >/dev/null 2>&1; then flock 9 || exit 1; fi
      _kq_make "$root" "$@"
    ) 9>"$root/.venv.lock" >&2 || return 1
  fi
  export VIRTUAL_ENV=$root/.venv
  PATH=$root/.venv/bin:$PATH
  unset PYTHONHOME
}

_kq_kaldi() {
  [ -n "${KALDI_ROOT:-}" ] || return 0
  if [ ! -d "$KALDI_ROOT/src" ]; then
    _kq_say "KALDI_ROOT=$KALDI_ROOT is not Kaldi's folder (it has no src): correct it, or unset it to decode without Kaldi"
    return 1
  fi
  local folder
  for folder in bin chainbin featbin fgmmbin fstbin gmmbin ivectorbin latbin lmbin nnet3bin online2bin; do
    PATH=$KALDI_ROOT/src/$folder:$PATH
  done
  PATH=$KALDI_ROOT/egs/wsj/s5/utils:$KALDI_ROOT/tools/openfst/bin:$PATH
}

_kq_root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P) || return 1
# Kaldi first, so that the environment's folder comes before all of Kaldi's: those may hold a python3 of their own.
_kq_kaldi || return 1
# shellcheck disable=SC2086
_kq_environment "$_kq_root" decode mfcc ${KALDI_QUANT_EXTRAS:-} || return 1
# An environment of the user's need not hold this project itself.
export PYTHONPATH=$_kq_root${PYTHONPATH:+:$PYTHONPATH}
export PATH
command -v kaldi-quant >/dev/null 2>&1 || kaldi-quant() { python3 -m kaldi_quant "$@"; }
# Kaldi's programs expect the order of bytes.
export LC_ALL=C
unset _kq_root
unset -f _kq_say _kq_modules _kq_holds _kq_find_python _kq_make _kq_environment _kq_kaldi
