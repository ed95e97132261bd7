#!/usr/bin/env bash
# Decodes log-likelihoods into lattices, <out-dir>/lat.JOB.gz, with Kaldi's programs where KALDI_ROOT is set, with the
# embedded decoder otherwise. Jobs that were done before with the same inputs and options are kept.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
# shellcheck source=path.sh
. "$root/path.sh"
# shellcheck source=cmd.sh
. "$root/cmd.sh"
if [ $# -lt 5 ]; then
  echo "Usage: $0 [options] <words.txt> <trans-model> <HCLG.fst> <loglikes> <out-dir>"
  echo "<loglikes> is a rspecifier, or the name of an archive or scp file. The options are those of 'kaldi-quant decode':"
  echo "e.g.: $0 --nj 4 graph/words.txt final.mdl graph/HCLG.fst ark:loglikes.ark exp/decode_test"
  python3 -m kaldi_quant decode --help
  [ "${1-}" = --help ] && exit 0 || exit 1
fi >&2
options=("${@:1:$#-5}")
set -- "${@: -5}"
for file in "$1" "$2" "$3"; do
  [ -f "$file" ] || { echo "$0: no such file $file" >&2; exit 1; }
done
# A file's name stands for its rspecifier.
case $4 in
  *.scp) [ ! -f "$4" ] || set -- "$1" "$2" "$3" "scp:$4" "$5" ;;
  *) [ ! -f "$4" ] || set -- "$1" "$2" "$3" "ark:$4" "$5" ;;
esac
[ -z "${KALDI_ROOT:-}" ] || options=(--cmd "$decode_cmd" "${options[@]}")
exec python3 -m kaldi_quant decode --word-symbol-table "$1" "${options[@]}" -- "$2" "$3" "$4" "$5"
