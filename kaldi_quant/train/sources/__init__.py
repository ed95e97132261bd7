"""Where the minibatches of training come from: Kaldi's examples, audio without labels, or both."""
