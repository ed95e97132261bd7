"""``egs/enhancement/stm32/stm32ai_main.py``: the services of the STM32 model zoo for speech enhancement."""

from __future__ import annotations

import logging
import os
from datetime import datetime

import click

from kaldi_quant.cli.main import log_file
from kaldi_quant.cli.options import KaldiCommand, num_threads_option, set_threads
from kaldi_quant.cli.recipes.stages import ROOT
from kaldi_quant.errors import KaldiQuantError

_log = logging.getLogger(__name__)
_SCRIPT = ROOT / "egs" / "enhancement" / "stm32"
#: This project's folder, for configurations that name its data.
ROOT_VARIABLE = "KALDI_QUANT_ROOT"


@click.command(cls=KaldiCommand)
@click.option("--config-path", metavar="FOLDER", help="Of the configuration; by default here, or beside the script.")
@click.option("--config-name", default="user_config", show_default=True, metavar="NAME", help="Of its file.")
@num_threads_option()
@click.argument("overrides", nargs=-1)
def stm32ai_main(config_path: str | None, config_name: str, num_threads: int, overrides: tuple[str, ...]) -> None:
    """Train, evaluate, quantize, measure or deploy a network for speech enhancement, as a YAML file says.

    OVERRIDES are values in the place of the file's: section.key=value, +section.key=value, ~section.key. The folder of
    the run is printed.

    e.g.: stm32ai_main.py

    stm32ai_main.py --config-path conf --config-name chain_tqe training.epochs=3 model_specific.tcn_latent_dim=64
    """
    from kaldi_quant.frontends.enhancement.zoo.config_file import find_config, read_zoo_config
    from kaldi_quant.frontends.enhancement.zoo.run_folder import LOG_NAME, make_run_folder
    from kaldi_quant.frontends.enhancement.zoo.services import run_services

    set_threads(num_threads)
    now = datetime.now()
    path = find_config(config_path, config_name, _SCRIPT)
    config = read_zoo_config(path, overrides, {ROOT_VARIABLE: str(ROOT), **os.environ}, now)
    folder = make_run_folder(config, now)
    words = ["stm32ai_main.py", "--config-path", str(path.parent), "--config-name", path.name, *overrides]
    with log_file(folder / LOG_NAME, words):
        try:
            run_services(config, folder)
        except KaldiQuantError as error:
            # On the screen it is reported as of any command.
            _log.debug("%s", error)
            raise
    click.echo(folder)
