"""The networks that can be trained: built as ``model_specific`` says, from a state dict where there is one, as ONNX."""

from __future__ import annotations

import logging
import re
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from kaldi_quant.atomic import atomic_write
from kaldi_quant.backends.onnx.writer import require_onnx
from kaldi_quant.errors import ModelError
from kaldi_quant.frontends.checkpoints import load_parameters, parameters_of, read_content
from kaldi_quant.frontends.enhancement.networks.stft_tcnn import STFTTCNN
from kaldi_quant.frontends.enhancement.zoo.config import ZooConfig
from kaldi_quant.frontends.enhancement.zoo.mask_file import BATCH

#: Names in ONNX files.
INPUT, OUTPUT, FRAMES = "input", "output", "seq_len"
# Of the example that is exported.
_EXAMPLE_FRAMES = 10
# The zoo's own names: block, residual layer, and the part of it.
_ZOO_NAME = re.compile(r"tcn\.tcn_block_(\d+)\.network\.(\d+)\.TCM_net\.(0|1|3\.net\.[013])\.(\w+)")
_PARTS = {
    "0": "inner",
    "1": "inner_norm",
    "3.net.0": "depthwise",
    "3.net.1": "depthwise_norm",
    "3.net.3": "outer",
}


def build_network(config: ZooConfig) -> nn.Module:
    """The network of a configuration, with the parameters of ``state_dict_path`` or random ones by the seed.

    Raises:
        FormatError: the file is no state dict.
        ModelError: it is one of another network.
    """
    shape = config.model_specific
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.dataset.random_seed)
        network = STFTTCNN(
            config.bins,
            shape.tcn_latent_dim,
            shape.n_blocks,
            shape.num_layers,
            shape.kernel_size,
            shape.init_dilation,
            shape.mask_activation,  # type: ignore[arg-type]
        )
    if config.model.state_dict_path:
        path = Path(config.model.state_dict_path).expanduser()
        parameters = _by_own_names(parameters_of(path, read_content(path)), shape.num_layers)
        load_parameters(path, network, parameters, "STFTTCNN with the sizes of model_specific")
    return network.eval()


def _by_own_names(parameters: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Parameters as the zoo's program names them, by the names that they have here; others stay as they are."""
    found = {}
    for name, value in parameters.items():
        if match := _ZOO_NAME.fullmatch(name):
            place = int(match[1]) * layers + int(match[2])
            name = f"layers.{place}.{_PARTS[match[3]]}.{match[4]}"
        found[name] = value
    return found


def export_network(network: nn.Module, path: Path, bins: int, opset: int) -> None:
    """Writes a network as ONNX, for batches of any size and any number of frames; normalizations are folded.

    Args:
        network: (N, bins, T) → (N, bins, T).
        path: of the file.
        bins: of a spectrum.
        opset: version of the operators.

    Raises:
        ModelError: torch cannot write it in this version.
        MissingDependencyError: onnx is not installed.
    """
    require_onnx("writing ONNX files")
    free = {0: BATCH, 2: FRAMES}
    example = torch.ones(1, bins, _EXAMPLE_FRAMES)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # torch's newer exporter needs onnxscript, and names axes as it likes.
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        made = Path(folder) / "network.onnx"
        try:
            torch.onnx.export(
                network.eval(),
                (example,),
                str(made),
                dynamo=False,
                opset_version=opset,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: free, OUTPUT: free},
            )
        except (ValueError, RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            reason = (str(error).splitlines() or ["no reason"])[0]
            raise ModelError(f"the network cannot be written as ONNX with opset_version {opset}: {reason}") from error
        finally:
            logger.setLevel(level)
        with atomic_write(path) as stream:
            stream.write(made.read_bytes())
