"""Training of nnet3 networks: Kaldi's examples and objective, distillation on features."""
