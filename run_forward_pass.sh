#!/usr/bin/env bash
# A Kaldi model's word error rate, computed in PyTorch: features, log-likelihoods, lattices, scores.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
here=$(pwd)
# shellcheck source=local/forward_pass_options.sh
. "$root/local/forward_pass_options.sh"
model_file=""           # the model that computes, also an integer one; by default final.mdl in <model-dir>
device=cpu              # cpu or cuda

usage() {
  echo "Usage: $0 [options] [<exp-folder>]"
  echo "<exp-folder> is the root of a Kaldi recipe; without it the embedded example egs/alphadigits is used."
  echo "e.g.: $0"
  echo "      $0 --nj 8 ~/kaldi/egs/librispeech/s5"
  echo "      $0 --model-dir exp/chain/tdnn1k_sp --graph-dir exp/chain/tree_sp/graph --data-dir data/eval_hires ~/s5"
  echo "Results go to --out-dir, by default <model-dir>/decode_<data><affix>."
}

# shellcheck source=local/parse_options.sh
. "$root/local/parse_options.sh"

make_model() { loglike_options=(--device="$device"); }

# shellcheck source=local/forward_pass.sh
. "$root/local/forward_pass.sh"
