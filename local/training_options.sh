# Sourced by the recipes that train, before local/parse_options.sh: their options, with their defaults.
egs_dir=""              # chain examples; by default <model-dir>/egs. Where there are none, the float model alone teaches
num_epochs=""           # passes over the examples or utterances; by default 1, or 20 where the float model alone teaches
minibatch_size=16       # examples, or pieces of utterances
lr_initial=1e-4         # learning rate at the beginning
lr_final=1e-5           # and at the end
method=lsq              # lsq: scales are learned; fixed: they stay as calibration found them
teacher=""              # whose outputs are learned; by default the float model's
distillation=""         # share of the teacher in the loss; by default 0.5, or 1 without examples
