"""``python -m kaldi_quant.cli.recipes RECIPE …``: what the scripts in the project's folder and in ``local/`` call."""

import importlib
import sys

from kaldi_quant.cli.main import run_recipe
from kaldi_quant.cores import prepare_libraries

#: script → the module and the name of its command
RECIPES = {
    "run_forward_pass.sh": ("forward_pass", "run_forward_pass"),
    "run_forward_pass_quantization.sh": ("quantization", "run_quantization"),
    "run_forward_pass_quantization_w_torch.sh": ("quantization", "run_torch_quantization"),
    "run_qat.sh": ("qat", "run_qat"),
    "run_mixed.sh": ("mixed", "run_mixed"),
    "run_enhanced.sh": ("enhanced", "run_enhanced"),
    "run_tdnn.py": ("training", "run_tdnn"),
    "run_tdnn_qat.py": ("quantized_training", "run_tdnn_qat"),
    "egs/keywords/main.py": ("keywords", "main"),
    "egs/keywords/evaluate.py": ("keywords", "evaluate"),
    "egs/keywords/m5.py": ("keywords", "m5"),
    "egs/keywords/results.py": ("keywords_results", "results"),
    "egs/keywords/nsnet2.py": ("suppression", "nsnet2"),
    "egs/keywords/wav2vec2.py": ("wav2vec2", "wav2vec2"),
    "egs/enhancement/mbqat/model.py": ("mbqat", "model"),
    "egs/enhancement/mbqat/quantize.py": ("mbqat", "quantize"),
    "egs/enhancement/stm32/stm32ai_main.py": ("stm32", "stm32ai_main"),
    "egs/enhancement/results.py": ("enhancement_results", "results"),
    "egs/enhancement/train.py": ("enhancement", "train"),
    "egs/enhancement/cells.py": ("enhancement", "cells"),
    "egs/enhancement/noisy.py": ("enhancement", "noisy"),
    "egs/separation/float.py": ("separation", "train_float"),
    "egs/separation/cells.py": ("separation", "cells"),
    "egs/separation/train.py": ("fqss", "train"),
    "egs/separation/val.py": ("fqss", "val"),
    "egs/separation/infer.py": ("fqss", "infer"),
    "egs/separation/results.py": ("separation_results", "results"),
}


def main(arguments: list[str]) -> int:
    """Runs the recipe that the first argument names."""
    recipe, *words = arguments
    module, name = RECIPES[recipe]
    command = getattr(importlib.import_module(f"kaldi_quant.cli.recipes.{module}"), name)
    return run_recipe(command, recipe, words)


if __name__ == "__main__":
    prepare_libraries()
    sys.exit(main(sys.argv[1:]))
