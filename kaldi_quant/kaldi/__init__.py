"""Kaldi's files, read and written: nnet3 models, transition model, tree, tables, features. numpy only, no torch."""
