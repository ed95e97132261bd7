"""What the training recipes in ``local/`` do: stages of verbs, and of Kaldi's own scripts where KALDI_ROOT is set."""
