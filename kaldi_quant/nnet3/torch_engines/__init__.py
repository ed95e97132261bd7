"""nnet3 networks that PyTorch quantizes, and that its integer kernels run; the route ``pt2e`` is for them alone."""

from kaldi_quant.backends.torch_engines.routes import ROUTES

ROUTES.declare("pt2e", "kaldi_quant.nnet3.torch_engines.pt2e")
