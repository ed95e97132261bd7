"""``python -m kaldi_quant.cli.recipes RECIPE …``: what the scripts in the project's folder and in ``local/`` call."""

import importlib
import sys

from kaldi_quant.cli.main import run_recipe

# script → where its command is
_RECIPES = {
    "run_forward_pass.sh": ("forward_pass", "run_forward_pass"),
    "run_forward_pass_quantization.sh": ("quantization", "run_quantization"),
    "run_forward_pass_quantization_w_torch.sh": ("quantization", "run_torch_quantization"),
    "run_qat.sh": ("qat", "run_qat"),
    "run_mixed.sh": ("mixed", "run_mixed"),
    "run_tdnn.py": ("training", "run_tdnn"),
    "run_tdnn_qat.py": ("quantized_training", "run_tdnn_qat"),
}


def main() -> int:
    """Runs the recipe that the first argument names."""
    recipe = sys.argv.pop(1)
    module, name = _RECIPES[recipe]
    return run_recipe(getattr(importlib.import_module(f"kaldi_quant.cli.recipes.{module}"), name), recipe)


if __name__ == "__main__":
    sys.exit(main())
