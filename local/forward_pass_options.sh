# Sourced by the recipes that compute log-likelihoods, decode and score, before local/parse_options.sh: the options that
# they have in common, with their defaults.
stage=0                 # 0 checks, 1 features, 2 log-likelihoods, 3 lattices, 4 scores
nj=4                    # jobs of the decoding
affix=""                # appended to the name of the output folder
model_dir=""            # folder of final.mdl, from <exp-folder>
graph_dir=""            # folder of HCLG.fst and words.txt
data_dir=""             # data folder, with feats.scp or wav.scp
out_dir=""              # output folder, from the current one; by default <model-dir>/decode_<data>… as --help says
cmd=""                  # how jobs run where KALDI_ROOT is set, such as "queue.pl --mem 4G"; by default as cmd.sh says
mfcc_config=""          # how features were made, or are; by default conf/mfcc_hires.conf
online_ivector_dir=""   # for models with an i-vector input; by default the first of exp/nnet3*/ivectors_<data>
batch_seconds=60        # speech that is computed at once
frames_per_chunk=0      # 0 for whole utterances
extra_left_context=0    # these four as in Kaldi's steps/nnet3/decode.sh
extra_right_context=0
extra_left_context_initial=-1
extra_right_context_final=-1
ignore_cmvn=false       # true when the features are normalised already
allow_pipes=false       # run the shell commands that scp files hold
