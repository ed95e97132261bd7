#!/usr/bin/env bash
# Makes what lies beside this file, with Kaldi's programs and recipes, from the embedded example.
# e.g.: KALDI_ROOT=/opt/kaldi bash tests/data/decode/make.sh
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
example=$(cd "$here/../../../egs/alphadigits" && pwd)
bin=$KALDI_ROOT/src/bin
latbin=$KALDI_ROOT/src/latbin
recipe=$KALDI_ROOT/egs/wsj/s5
export PATH=$bin:$latbin:$recipe/utils:$PATH LC_ALL=C

model=$example/exp/chain/tdnn1a_sp
graph=$model/graph_alphadigits
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
ln -s "$recipe/utils" "$recipe/steps" .

# Lattices of four utterances, and what Kaldi's scoring makes of them.
mkdir data decode
head -n 4 "$example/data/test_hires/text" >data/text
cp "$example/data/test_hires/utt2spk" data
latgen-faster-mapped --acoustic-scale=1.0 --beam=15 --lattice-beam=8 --max-active=7000 --min-active=200 \
  --allow-partial=true --word-symbol-table="$graph/words.txt" "$model/0.trans_mdl" "$graph/HCLG.fst" \
  "ark:$example/reference/nnet3_compute.test_first4.ark" \
  "ark:| lattice-scale --acoustic-scale=10 ark:- ark:- | gzip -nc > decode/lat.1.gz"
bash steps/scoring/score_kaldi_wer.sh --word_ins_penalty 0.0,0.5,1.0 --min_lmwt 7 --max_lmwt 17 data "$graph" decode
for file in $(ls -v decode/wer_*); do echo "$(basename "$file") $(grep WER "$file")"; done >"$here/kaldi_wer.txt"
cp decode/lat.1.gz "$here"

# What Kaldi's scripts say of all 400 utterances at the best point.
align-text --special-symbol="***" "ark:$example/data/test_hires/text" \
  "ark:$example/reference/kaldi_hyp_lmwt16_wip1.0.txt" ark,t:- \
  | utils/scoring/wer_per_utt_details.pl --special-symbol "***" >per_utt
utils/scoring/wer_per_spk_details.pl "$example/data/test_hires/utt2spk" <per_utt >"$here/per_spk"
utils/scoring/wer_ops_details.pl --special-symbol "***" <per_utt | sort -b -i -k 1,1 -k 4,4rn -k 2,2 -k 3,3 >"$here/ops"
gzip -nc per_utt >"$here/per_utt.gz"

copy-tree --binary=false "$model/tree" "$here/tree.txt"

# One lattice in the other forms in which Kaldi writes it.
echo test000-000 >one
lattice-copy --include=one "ark:gunzip -c decode/lat.1.gz|" ark,t:"$here/compact.txt"
lattice-copy --include=one "ark:gunzip -c decode/lat.1.gz|" ark:"$here/compact.ark"
lattice-copy --include=one --write-compact=false "ark:gunzip -c decode/lat.1.gz|" ark,t:"$here/plain.txt"
lattice-copy --include=one --write-compact=false "ark:gunzip -c decode/lat.1.gz|" ark:"$here/plain.ark"
