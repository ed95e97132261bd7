# Sourced by the recipes that train, before local/parse_options.sh: their options, with their defaults.
egs_dir=""              # chain examples; by default <model-dir>/egs. Where there are none, the float model alone teaches
num_epochs=""           # passes over the examples or utterances; by default 1, with --teacher 2, without examples 20
minibatch_size=16       # examples, or pieces of utterances
lr_initial=""           # learning rate at the beginning; by default 1e-4, with --teacher 3e-4
lr_final=""             # and at the end; by default 1e-5
warm_up=""              # over so many steps at the beginning the learning rate grows; by default 0
method=lsq              # lsq: scales are learned; fixed: they stay as calibration found them
teacher=""              # a model whose outputs are learned; by default the float model itself
vtlp=""                 # features as of other speakers: frequencies stretched at random by up to so much, such as 0.1
filter_augment=""       # and through other channels: amplified at random by up to so many decibels, such as 4
distillation=""         # share of the teacher in the loss; by default 0.5, with --teacher 0.9, without examples 1
