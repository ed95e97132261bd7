"""``python -m kaldi_quant.cli.recipes RECIPE …``: what the Python scripts in ``local/`` call."""

import sys

from kaldi_quant.cli.main import run_recipe


def main() -> int:
    """Runs the recipe that the first argument names."""
    recipe = sys.argv.pop(1)
    if recipe == "run_tdnn.py":
        from kaldi_quant.cli.recipes.training import run_tdnn

        return run_recipe(run_tdnn, recipe)
    from kaldi_quant.cli.recipes.quantized_training import run_tdnn_qat

    return run_recipe(run_tdnn_qat, recipe)


if __name__ == "__main__":
    sys.exit(main())
