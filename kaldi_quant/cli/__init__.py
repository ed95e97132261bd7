"""The ``kaldi-quant`` command: one thin file per verb, which parses, calls and prints."""
