#!/usr/bin/env bash
# Decodes log-likelihoods into lattices, <out-dir>/lat.JOB.gz, with Kaldi's programs where KALDI_ROOT is set, with the
# embedded decoder otherwise. Jobs that were done before with the same inputs and options are kept.
set -euo pipefail

nj=4                   # number of jobs
cmd=                   # how jobs run, such as "slurm.pl --mem 4G"; with Kaldi's programs decode_cmd of cmd.sh by default
backend=auto           # auto, kaldi or embedded
beam=15                # decoding beam
lattice_beam=8         # word sequences that are worse by more leave the lattice
max_active=7000        # most active states, Kaldi's programs only
min_active=200         # fewest active states, Kaldi's programs only
acoustic_scale=1.0     # 1.0 for chain models
post_decode_acwt=10.0  # scales the lattices' acoustic costs; 10.0 for chain models
allow_partial=true     # keep utterances that reach no final state
max_bad_share=0.1      # fail if more utterances cannot be decoded
allow_pipes=false      # run the commands (… |) that <loglikes> holds

usage() {
  echo "Usage: $0 [options] <words.txt> <trans-model> <HCLG.fst> <loglikes> <out-dir>"
  echo "<loglikes> is a rspecifier, or the name of an archive or scp file."
  echo "e.g.: $0 --nj 4 graph/words.txt final.mdl graph/HCLG.fst ark:loglikes.ark exp/decode_test"
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck disable=SC1091
. "$root/local/parse_options.sh"
if [ $# -ne 5 ]; then
  usage >&2
  exit 1
fi
words=$1 trans_model=$2 graph=$3 loglikes=$4 out_dir=$5
for file in "$words" "$trans_model" "$graph"; do
  [ -f "$file" ] || { echo "$0: no such file $file" >&2; exit 1; }
done

# A file's name stands for its rspecifier.
case $loglikes in
  *.scp) [ ! -f "$loglikes" ] || loglikes=scp:$loglikes ;;
  *) [ ! -f "$loglikes" ] || loglikes=ark:$loglikes ;;
esac

# shellcheck disable=SC1091
. "$root/path.sh"
# shellcheck disable=SC1091
. "$root/cmd.sh"
[ -n "$cmd" ] || [ -z "${KALDI_ROOT:-}" ] || cmd=$decode_cmd

exec python3 -m kaldi_quant decode --word-symbol-table "$words" --nj "$nj" ${cmd:+--cmd "$cmd"} --backend "$backend" \
  --beam "$beam" --lattice-beam "$lattice_beam" --max-active "$max_active" --min-active "$min_active" \
  --acoustic-scale "$acoustic_scale" --post-decode-acwt "$post_decode_acwt" --allow-partial="$allow_partial" \
  --max-bad-share "$max_bad_share" --allow-pipes="$allow_pipes" \
  -- "$trans_model" "$graph" "$loglikes" "$out_dir"
