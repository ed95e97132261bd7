#!/usr/bin/env bash
# Makes everything in this folder but this script and the README: KALDI_ROOT=/path/to/kaldi bash tests/data/features/make.sh
set -euo pipefail
cd "$(dirname "$0")"
PATH=$KALDI_ROOT/src/featbin:$KALDI_ROOT/src/online2bin:$KALDI_ROOT/src/bin:$PATH

# Features of two speakers: 40 + 7 + 26 frames of one, 33 + 58 frames of the other, with means and variances that differ.
python3 - <<'PYTHON'
import numpy as np

draw = np.random.default_rng(16)
with open("feats.txt", "w") as stream:
    for name, frames, speaker in [("a1", 40, 0), ("a2", 7, 0), ("a3", 26, 0), ("b1", 33, 1), ("b2", 58, 1)]:
        rows = draw.normal([85 - 9 * speaker, -12 + speaker, 3 * speaker, 0.5], [9, 14 + 5 * speaker, 6, 0.2], (frames, 4))
        stream.write(f"{name}  [\n" + "\n".join("  " + " ".join(f"{x:.3f}" for x in row) for row in rows) + " ]\n")
    for name, rows in [("lda.mat", draw.normal(0, 0.5, (3, 16))), ("lda_affine.mat", draw.normal(0, 0.5, (3, 17)))]:
        with open(name, "w") as matrix:
            matrix.write(" [\n" + "\n".join("  " + " ".join(f"{x:.4f}" for x in row) for row in rows) + " ]\n")
with open("fmllr.txt", "w") as stream:
    for name in ("alice", "bob"):
        rows = np.hstack([np.eye(4) + draw.normal(0, 0.1, (4, 4)), draw.normal(0, 2, (4, 1))])
        stream.write(f"{name}  [\n" + "\n".join("  " + " ".join(f"{x:.4f}" for x in row) for row in rows) + " ]\n")
PYTHON
copy-feats ark,t:feats.txt ark:feats.ark
copy-feats ark,t:fmllr.txt ark:fmllr.ark
rm feats.txt fmllr.txt

# In spk2utt, which decides on what a speaker said before, the first speaker's utterances stand in an order of their own.
printf 'a1 alice\na2 alice\na3 alice\nb1 bob\nb2 bob\n' >utt2spk
printf 'alice a3 a1 a2\nbob b1 b2\n' >spk2utt
printf -- '# a window that is shorter than some utterances\n--cmn-window=30   # frames\n--Norm_Vars\n' >window30.conf

compute-cmvn-stats --spk2utt=ark:spk2utt ark:feats.ark ark,scp:cmvn.ark,cmvn.scp
compute-cmvn-stats ark:feats.ark ark:cmvn_utterances.ark
matrix-sum --binary=false scp:cmvn.scp global_cmvn.stats

speakers=(--utt2spk=ark:utt2spk scp:cmvn.scp ark:feats.ark)
apply-cmvn "${speakers[@]}" ark:means.ark
apply-cmvn --norm-vars "${speakers[@]}" ark:vars.ark
apply-cmvn --norm-vars=true --skip-dims=0:2 "${speakers[@]}" ark:skip.ark
apply-cmvn --reverse "${speakers[@]}" ark:reverse_means.ark
apply-cmvn --reverse --norm-vars "${speakers[@]}" ark:reverse_vars.ark
apply-cmvn --norm-vars ark:cmvn_utterances.ark ark:feats.ark ark:utterances.ark
apply-cmvn global_cmvn.stats ark:feats.ark ark:global.ark

online=(--spk2utt=ark:spk2utt global_cmvn.stats ark:feats.ark)
apply-cmvn-online "${online[@]}" ark:online.ark
apply-cmvn-online --config=window30.conf "${online[@]}" ark:online_window.ark
apply-cmvn-online --config=window30.conf --speaker-frames=12 --global-frames=5 --skip-dims=1 "${online[@]}" ark:online_few.ark
apply-cmvn-online --norm-vars --global-frames=900 "${online[@]}" ark:online_global.ark
apply-cmvn-online --config=window30.conf global_cmvn.stats ark:feats.ark ark:online_utterances.ark

add-deltas ark:feats.ark ark:deltas.ark
add-deltas --delta-order=1 --delta-window=3 --truncate=3 ark:feats.ark ark:deltas_first.ark
splice-feats --left-context=2 --right-context=1 ark:means.ark ark:- | transform-feats lda.mat ark:- ark:lda.ark
splice-feats --left-context=2 --right-context=1 ark:means.ark ark:- | transform-feats lda_affine.mat ark:- ark:lda_affine.ark
transform-feats --utt2spk=ark:utt2spk ark:fmllr.ark ark:means.ark ark:fmllr_means.ark
splice-feats --left-context=1 --right-context=0 ark:means.ark ark:splice.ark
