# Sourced by every recipe: makes python3 and its packages ready, and puts Kaldi's programs on the PATH where KALDI_ROOT is
# set. An active environment (venv or conda) that holds the packages of setup.py is used as it is; otherwise one is made
# beside this file on first use: .venv-<versions>, with <versions> a digest of constraints.txt, and .venv is a link to it.
# Packages are only ever added to it: a recipe that runs keeps what it began with, and new versions go into a new environment.
#
#   . ./path.sh                             what all recipes need
#   KALDI_QUANT_EXTRAS=test . ./path.sh     and what the tests need: extras of setup.py, separated by spaces
#
# Of an active environment no more is asked than features, decoding and the extras that are named.

_kq_say() { echo "path.sh: $*" >&2; }

# Prints the requirements of setup.py that a Python does not hold, one a line: _kq_missing PYTHON ROOT EXTRA...
# Status 2 and a sentence in place of them: the extras are not those of setup.py. Status 3: this Python is too old.
_kq_missing() {
  "$1" - "${@:2}" <<'PYTHON'
import sys

sys.path = [folder for folder in sys.path if folder]  # a module in the current folder must not hide Python's own
if sys.version_info < (3, 11):
    sys.exit(3)
import ast, os, re
from importlib.metadata import PackageNotFoundError, distribution

root, *extras = sys.argv[1:]
lists = {}
with open(f"{root}/setup.py", encoding="utf-8") as source:
    for statement in ast.parse(source.read()).body:
        if isinstance(statement, ast.Assign) and statement.targets[0].id in ("REQUIRES", "EXTRAS"):
            lists[statement.targets[0].id] = ast.literal_eval(statement.value)

wanted = lists["REQUIRES"]
for extra in extras:
    if extra not in lists["EXTRAS"]:
        print(f"KALDI_QUANT_EXTRAS: there is no extra {extra!r} in setup.py, only {', '.join(lists['EXTRAS'])}")
        sys.exit(2)
    for requirement in lists["EXTRAS"][extra]:
        included = re.fullmatch(r"kaldi_quant\[(.+)\]", requirement)
        if included:
            extras += included[1].split(",")
        else:
            wanted.append(requirement)

made_by_path_sh = os.path.exists(f"{sys.prefix}/kaldi_quant.made")


def is_held(requirement):
    try:
        found = distribution(re.match(r"[\w.-]+", requirement)[0])
    except PackageNotFoundError:
        return False
    # pip writes INSTALLER after a package's other files: without it, pip was killed in between.
    return not made_by_path_sh or found.read_text("METADATA") is None or found.read_text("INSTALLER") is not None


print(*(requirement for requirement in dict.fromkeys(wanted) if not is_held(requirement)), sep="\n")
PYTHON
}

# Prints the first Python of version 3.11 or later that can make an environment.
_kq_find_python() {
  local python found=""
  for python in python3 python3.11 python3.12 python3.13 python3.14; do
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

# Makes an environment that can install packages: _kq_make_venv ENVIRONMENT
_kq_make_venv() {
  local environment=$1 python options=()
  python=$(_kq_find_python) || return 1
  if [ -e "$environment/kaldi_quant.made" ]; then
    _kq_say "the Python of $environment does not work any more: $python takes its place"
    [ -x "$environment/bin/python3" ] || rm -f "$environment"/bin/python* # links to what is gone
  else
    _kq_say "making the Python environment $environment with $python, once (some minutes)"
    options=(--clear) # nothing can run in an environment that was never finished
  fi
  if ! "$python" -m venv "${options[@]}" "$environment"; then
    _kq_say "$python -m venv failed, as it says above"
    return 1
  fi
  touch "$environment/kaldi_quant.made"
}

# Makes or completes an environment: _kq_complete ROOT ENVIRONMENT EXTRA... Runs with the lock held.
_kq_complete() {
  local root=$1 environment=$2 python=$2/bin/python3 listed missing=() folder quiet=-q
  shift 2
  [ ! -t 2 ] || quiet=--progress-bar=on
  if [ ! -e "$environment/kaldi_quant.made" ] || ! "$python" -m pip --version >/dev/null 2>&1; then
    _kq_make_venv "$environment" || return 1
  fi
  listed=$(_kq_missing "$python" "$root" "$@") || { _kq_say "$listed"; return 1; }
  [ -z "$listed" ] || mapfile -t missing <<<"$listed"
  if [ "${#missing[@]}" -gt 0 ]; then
    _kq_say "adding packages to $environment: ${missing[*]}"
    # What pip was killed in the middle of, it would take for installed.
    for folder in "$environment"/lib/python3*/site-packages/*.dist-info; do
      [ -e "$folder/INSTALLER" ] || rm -rf "$folder"
    done
  fi
  if { [ "${#missing[@]}" -eq 0 ] ||
    "$python" -m pip install --disable-pip-version-check "$quiet" -c "$root/constraints.txt" "${missing[@]}"; } &&
    { [ -x "$environment/bin/kaldi-quant" ] ||
      "$python" -m pip install --disable-pip-version-check "$quiet" --no-deps -e "$root"; }; then
    return 0
  fi
  _kq_say "pip could not install the packages, as it says above; what it did install is kept, and the next run goes on"
  return 1
}

# Makes the link .venv, and says which environments are left of earlier versions: _kq_link ROOT ENVIRONMENT
_kq_link() {
  local root=$1 environment=$2 other
  # A folder of that name is the user's.
  if [ "$root/.venv" -ef "$environment" ] || { [ -e "$root/.venv" ] && [ ! -L "$root/.venv" ]; }; then return 0; fi
  ln -sfn "${environment##*/}" "$root/.venv"
  for other in "$root"/.venv-*/; do
    other=${other%/}
    [ "$other" = "$environment" ] ||
      _kq_say "$other holds the packages of another constraints.txt: remove it when nothing runs in it any more"
  done
}

# True when a Python holds the packages: _kq_holds PYTHON ROOT EXTRA...
_kq_holds() {
  local missing
  [ -x "$1" ] && missing=$(_kq_missing "$@" 2>/dev/null) && [ -z "$missing" ]
}

# Makes the environment ready and active: _kq_environment ROOT EXTRA...
_kq_environment() {
  local root=$1 active missing environment status=0
  shift
  active=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
  environment=$(sha256sum <"$root/constraints.txt") || return 1
  environment=$root/.venv-${environment:0:10}
  if [ -n "$active" ] && [ ! "$active" -ef "$environment" ]; then
    missing=$(_kq_missing "$active/bin/python3" "$root" "$@" 2>/dev/null) || status=$?
    case $status in
      0)
        if [ -z "$missing" ]; then
          PATH=$active/bin:$PATH
          return 0
        fi
        missing="lacks ${missing//$'\n'/, }"
        ;;
      2) _kq_say "$missing"; return 1 ;;
      3) missing="has a Python older than 3.11" ;;
      *) missing="has no Python that works" ;;
    esac
    _kq_say "the active environment $active $missing: using $environment"
  fi
  set -- recipes "$@" # all of them, at once: the next recipe then finds what it needs
  unset PYTHONHOME
  if ! _kq_holds "$environment/bin/python3" "$root" "$@" || [ ! -x "$environment/bin/kaldi-quant" ]; then
    if ! { [ -w "$root" ] && : >>"$root/.venv.lock"; }; then
      _kq_say "cannot write $root to make .venv there: activate an environment that holds kaldi_quant"
      return 1
    fi
    # One recipe at a time; the lock goes with the process that holds it.
    (
      if command -v flock >/dev/null 2>&1 && ! flock -n 9; then
        _kq_say "waiting for another recipe, which adds packages to $environment"
        flock 9 || exit 1
      fi
      _kq_complete "$root" "$environment" "$@" && _kq_link "$root" "$environment"
    ) 9>"$root/.venv.lock" >&2 || return 1
  fi
  export VIRTUAL_ENV=$environment
  PATH=$environment/bin:$PATH
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
unset -f _kq_say _kq_missing _kq_find_python _kq_make_venv _kq_complete _kq_link _kq_holds _kq_environment _kq_kaldi
