# Sourced by the recipes that quantize after training, before local/parse_options.sh: the options that they have in
# common, with their defaults.
bits=""                 # width of the weights; 8 by default
act_bits=""             # width of layers' inputs; 8 by default
config=""               # a configuration in YAML, instead of a preset
calibration_dir=""      # data folder to calibrate on, with feats.scp; never the one that is scored
calibration_ivector_dir=""   # its i-vectors; by default the first of exp/nnet3*/ivectors_<calibration data>
calibration_utterances=500   # at most so many of its utterances, evenly chosen
formats=""              # what is exported beside the integer model: mdl,onnx; none for nothing; by default all it has
fixed_frames=150        # frames of the ONNX model with a fixed length
