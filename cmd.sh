# How jobs are run where Kaldi's programs do the decoding (KALDI_ROOT is set), in Kaldi's manner: run.pl on this machine,
# queue.pl "--mem 4G" on Grid Engine, slurm.pl on Slurm. Set the variables before, or pass --cmd to a recipe.
# The embedded decoder runs --nj worker processes on this machine and does not ask this file.

export train_cmd="${train_cmd:-run.pl}"
export decode_cmd="${decode_cmd:-run.pl}"
