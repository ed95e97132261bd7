# shellcheck shell=bash
# Sourced by recipes, which set $recipe, their name in messages, and have a function usage: options into variables, and
# stages that run side by side. Of --stage and --stop-stage the latter is the last that runs, of --nj how many run at once.

fail() { echo "$recipe: $*" >&2; exit 1; }

# Options into variables of their names: read_options "--stage --data-dir" "$@"
read_options() {
  local known=" $1 " option name value
  shift
  while [ $# -gt 0 ]; do
    option=${1%%=*}
    case $option in --help | -h) usage; exit 0 ;; esac
    [[ $known == *" $option "* ]] || { usage >&2; fail "there is no option $option"; }
    if [ "$option" != "$1" ]; then value=${1#*=}; shift
    elif [ $# -gt 1 ]; then value=$2; shift 2
    else fail "$option needs a value"; fi
    name=${option#--}
    printf -v "${name//-/_}" %s "$value"
  done
}

# Refuses stages that do not exist, and no jobs: check_stages LAST
check_stages() {
  local name
  for name in stage stop_stage; do
    [[ ${!name} =~ ^[0-$1]$ ]] || fail "--${name/_/-} ${!name} is not one of 0 to $1"
  done
  # shellcheck disable=SC2154
  [[ $nj =~ ^[1-9][0-9]*$ ]] || fail "--nj $nj: expected a number of 1 or more"
}

# Refuses networks that do not exist: check_networks KNOWN...
# shellcheck disable=SC2154
check_networks() {
  local network known="$*"
  for network in ${networks//,/ }; do
    [[ " $known " == *" $network "* ]] || fail "--networks: $network is not one of ${known// /, }"
  done
}

# Refuses a folder of configurations without these files: check_configurations FILE...
# shellcheck disable=SC2154
check_configurations() {
  local file
  for file in "$@"; do
    [ -f "$conf_dir/$file" ] || fail "--conf-dir $conf_dir has no $file"
  done
}

# Refuses seeds that are no numbers.
# shellcheck disable=SC2154
check_seeds() { [[ $seeds =~ ^[0-9]+(,[0-9]+)*$ ]] || fail "--seeds $seeds: expected numbers with commas between them"; }

# Where float networks lie, SEED/NETWORK.pth: stage 0 writes them; refuses a folder without those that later stages up to
# LAST take: find_checkpoints LAST
# shellcheck disable=SC2154
find_checkpoints() {
  local seed network
  if [ "$stage" -eq 0 ]; then
    : "${checkpoints:=$exp_dir/checkpoints}"
    return
  fi
  : "${checkpoints:=$here/checkpoints}"
  [ "$stage" -le "$1" ] || return 0
  for seed in ${seeds//,/ }; do
    for network in ${networks//,/ }; do
      [ -f "$checkpoints/$seed/$network.pth" ] ||
        fail "--checkpoints $checkpoints has no $seed/$network.pth: --stage 0 trains it"
    done
  done
}

# What runs side by side has a core each, and a log.
prepare() {
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
  log_dir=$exp_dir/log
  mkdir -p "$log_dir"
}

# Whether a stage is wanted: begins NUMBER
# shellcheck disable=SC2154
begins() { [ "$stage" -le "$1" ] && [ "$1" -le "$stop_stage" ]; }

declare -A running # name of what runs → its process

# Waits for what runs: finish NAME
# shellcheck disable=SC2154
finish() {
  [ -n "${running[$1]:-}" ] || return 0
  local status=0
  wait "${running[$1]}" || status=$?
  unset "running[$1]"
  [ "$status" -eq 0 ] || fail "$1 failed: $(tail -n 1 "$log_dir/$1.log") (the log is $log_dir/$1.log)"
}

# Runs something beside others, with a log in $log_dir: start NAME COMMAND...
start() {
  local name=$1 other
  shift
  while [ "$(jobs -rp | wc -l)" -ge "$nj" ]; do sleep 0.2; done
  for other in "${!running[@]}"; do
    kill -0 "${running[$other]}" 2>/dev/null || finish "$other"
  done
  echo "$recipe: $name: $log_dir/$name.log" >&2
  "$@" >"$log_dir/$name.log" 2>&1 &
  running[$name]=$!
}

# Waits for all of it.
finish_all() {
  local name
  for name in "${!running[@]}"; do finish "$name"; done
}
trap 'jobs -p | xargs -r kill 2>/dev/null || true' EXIT
