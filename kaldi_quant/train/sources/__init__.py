"""Where the minibatches of training come from: Kaldi's examples, or audio without labels."""
