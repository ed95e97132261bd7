# Sourced by a recipe: turns the --some-option value (or --some-option=value) at the front of its arguments into the
# variable some_option. What may be set are the variables that the recipe, or a file …_options.sh that it sources, assigns
# at the beginning of a line before it sources this file, those that are computed, $(…), left out: their values are the
# defaults, and the comments behind them are what --help shows.
# A recipe may define a function `usage` before, which prints how it is called.

# Prints the lines of a recipe before it sources this file, those of other files of options in their places.
_po_lines() {
  local line
  while IFS= read -r line; do
    case $line in
      ". "*/parse_options.sh*) return ;;
      ". "*_options.sh*) cat "$(dirname "${BASH_SOURCE[0]}")/$(basename "${line%\"}")" ;;
      *) printf '%s\n' "$line" ;;
    esac
  done <"$1"
}
declare -A _po_defaults=()
_po_list=""

while IFS= read -r _po_line; do
  _po_name=${_po_line%%=*}
  _po_defaults[$_po_name]=${!_po_name-}
  _po_comment=""
  [[ $_po_line == *" # "* ]] && _po_comment="  # ${_po_line##* \# }"
  # A recipe may say more of an option that it shares with others: the last line counts.
  _po_list=$(grep -v "^  --${_po_name//_/-} " <<<"$_po_list")${_po_list:+$'\n'}
  _po_list+=$(printf '  --%-28s (default: %s)%s' "${_po_name//_/-}" "${!_po_name:-none}" "$_po_comment")$'\n'
done < <(_po_lines "${BASH_SOURCE[1]}" | sed -n -e '/=\$(/d' -e '/^[a-z][a-z0-9_]*=/p')

_po_fail() {
  printf '%s: %s\nallowed options:\n%s' "$0" "$1" "$_po_list" >&2
  exit 1
}

while [[ ${1-} == -* && $1 != - ]]; do
  case $1 in
    --) shift; break ;;
    --help | -h)
      if declare -F usage >/dev/null; then usage; else echo "Usage: $0 [options] <arguments>"; fi
      printf 'options:\n%s' "$_po_list"
      exit 0
      ;;
    --?*) ;;
    *) _po_fail "expected an option that begins with --, found $1" ;;
  esac
  _po_option=${1%%=*}
  _po_name=${_po_option#--}
  _po_name=${_po_name//-/_}
  # Only what the recipe names: an option must never reach PATH or the like.
  [[ $_po_name =~ ^[a-z][a-z0-9_]*$ && -n ${_po_defaults[$_po_name]+known} ]] || _po_fail "unknown option $_po_option"
  _po_boolean=false
  [[ ${_po_defaults[$_po_name]} == true || ${_po_defaults[$_po_name]} == false ]] && _po_boolean=true
  if [[ $1 == *=* ]]; then
    _po_value=${1#*=}
    shift
  elif $_po_boolean && [[ ${2-} != true && ${2-} != false ]]; then
    _po_value=true
    shift
  elif (($# < 2)); then
    _po_fail "the option $_po_option needs a value"
  else
    _po_value=$2
    shift 2
  fi
  if $_po_boolean && [[ $_po_value != true && $_po_value != false ]]; then
    _po_fail "the option $_po_option expects true or false, found $_po_value"
  fi
  printf -v "$_po_name" %s "$_po_value"
done

unset _po_defaults _po_list _po_line _po_name _po_comment _po_option _po_value _po_boolean
unset -f _po_fail _po_lines
