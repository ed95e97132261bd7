# Sourced by the recipes that quantize, before local/parse_options.sh: on what, and what is exported, with defaults.
calibration_dir=""      # data folder to calibrate on, with feats.scp; never the one that is scored
calibration_ivector_dir=""   # its i-vectors; by default the first of exp/nnet3*/ivectors_<calibration data>
calibration_utterances=500   # at most so many of its utterances, evenly chosen
formats=""              # what is exported beside the integer model: mdl,onnx; none for nothing; by default all it has
fixed_frames=150        # frames of the ONNX model with a fixed length
