# Sourced by the recipes after local/parse_options.sh: goes to the Kaldi recipe that is meant, and gives the folders that no
# option named their defaults: model_dir, graph_dir, data_dir, calibration_dir; data is the name of data_dir.
# root and here are set: the project's folder, and the one the recipe was called in. example is empty but for the embedded one.

fail() { echo "$0: $*" >&2; exit 1; }

[[ $nj =~ ^[1-9][0-9]*$ ]] || fail "--nj $nj is not a number of jobs"
if [ $# -gt 1 ]; then
  usage >&2
  exit 1
fi
exp=${1:-$root/egs/alphadigits}
[ -d "$exp" ] || fail "the experiment folder $exp does not exist: give the root of a Kaldi recipe"
# The paths in Kaldi's scp files are relative to the recipe's root.
cd "$exp"
example=""
if [ "$(pwd -P)" = "$root/egs/alphadigits" ]; then
  example=alphadigits
  defaults=(exp/chain/tdnn1a_sp graph_alphadigits data/test_hires data/train_sub_hires)
else
  defaults=(exp/chain_cleaned/tdnn_7k_1a_sp graph_tgsmall data/test_clean_hires data/train_960_cleaned_sp_hires)
fi
model_dir=${model_dir:-${defaults[0]}}
graph_dir=${graph_dir:-$model_dir/${defaults[1]}}
data_dir=${data_dir:-${defaults[2]}}
calibration_dir=${calibration_dir:-${defaults[3]}}
data=$(basename "$data_dir")

# The options among those named that have a value, as words: given NAME...
given() {
  local name
  for name in "$@"; do [ -z "${!name}" ] || printf '%s\n' "--${name//_/-}" "${!name}"; done
}

make_out_dir() {
  mkdir -p "$out_dir/log" 2>/dev/null && [ -w "$out_dir" ] || fail "cannot write $out_dir: choose another folder with --out-dir"
}

# Prints the options that give the i-vectors of a data folder, one a line, nothing for models without that input:
# ivector_options DATA-DIR IVECTOR-DIR OPTION, IVECTOR-DIR may be empty, OPTION is what sets it.
ivector_options() {
  local folder found=$2
  [ "$(python3 -m kaldi_quant info "$model_dir/final.mdl" | awk '$1 == "ivector-dim:" { print $2 }')" -gt 0 ] || return 0
  for folder in exp/nnet3*/ivectors_"$(basename "$1")"; do
    [ -n "$found" ] || [ ! -d "$folder" ] || found=$folder
  done
  [ -s "${found:-.}/ivector_online.scp" ] && [ -s "$found/ivector_period" ] ||
    fail "$model_dir/final.mdl has an i-vector input: give $3, the folder of ivector_online.scp and ivector_period"
  printf '%s\n' "--online-ivectors=scp:$found/ivector_online.scp" "--online-ivector-period=$(cat "$found/ivector_period")"
}
