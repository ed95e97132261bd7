"""``python -m kaldi_quant`` is ``kaldi-quant``."""

from kaldi_quant.cli.main import main

if __name__ == "__main__":
    main()
