#!/usr/bin/env python3
"""Makes small nnet3 models and Kaldi's answers to them.

Everything is made by Kaldi's programs from random numbers with fixed seeds: running it twice gives the same files.

    KALDI_ROOT=/path/to/kaldi python3 tests/data/make/fixtures.py [--out DIR] [NAME ...]

NAME ... limits the work to those models; ``components`` is the folder of single components,
``info`` that of what is printed about them. Needs numpy and, from
Kaldi, src/nnet3bin and egs/wsj/s5/steps.
"""

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from archives import make_features
from component_models import component_models, nonlinearity_models
from components import make_components
from context_models import attention_models, ivector_models, rate_models, stats_models
from convolution_models import conv_models, residual_models
from descriptor_models import descriptor_models
from infos import make_infos
from kaldi_programs import Kaldi
from model_folder import make_model
from recurrent_models import blstm_models, gru_models, lstm_models

_GROUPS = (
    lstm_models,
    blstm_models,
    gru_models,
    attention_models,
    stats_models,
    conv_models,
    descriptor_models,
    nonlinearity_models,
    residual_models,
    component_models,
    ivector_models,
    rate_models,
)


def main() -> int:
    """Makes what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("names", nargs="*", help="models, components or info; by default all")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1])
    args = parser.parse_args()
    if "KALDI_ROOT" not in os.environ:
        parser.error("KALDI_ROOT must name a compiled Kaldi")
    kaldi = Kaldi(os.environ["KALDI_ROOT"])
    folder = args.out / "nnet3"
    folder.mkdir(parents=True, exist_ok=True)
    make_features(folder)
    models = [model for group in _GROUPS for model in group()]
    jobs: dict[str, Callable[[], str]] = {model.name: partial(make_model, model, folder, kaldi) for model in models}
    jobs["components"] = partial(make_components, args.out, kaldi)
    jobs["info"] = partial(make_infos, args.out, kaldi)
    unknown = set(args.names) - set(jobs)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}, only {', '.join(jobs)}")
    for name in args.names or jobs:
        print(jobs[name](), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
