"""Schemes of quantization on small networks of each kind: what is in integers, how wide, and that it learns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import kaldi_quant as kq
from kaldi_quant.api.quantization import Quantized
from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.enhancement.networks.crn import CRN
from kaldi_quant.frontends.enhancement.networks.known import NETWORKS, Kind
from kaldi_quant.frontends.enhancement.networks.stft_tcnn import STFTTCNN
from kaldi_quant.frontends.enhancement.networks.tcn import TCN
from kaldi_quant.frontends.enhancement.schemes.dynamic import dynamic_by_own, dynamic_by_torch
from kaldi_quant.frontends.enhancement.schemes.quantization import quantize_by
from kaldi_quant.frontends.enhancement.schemes.registered import SCHEMES
from kaldi_quant.frontends.schemes import CELLS, SETTLING
from kaldi_quant.quant.integer_linear import DynamicLinear, IntegerLinear
from kaldi_quant.quant.layer_kinds import layer_kinds

torch.set_num_threads(1)

BINS = 17
CRN_KIND = Kind(lambda: CRN(BINS, (2, 3), 1, (2, 1)), NETWORKS["crn-100k"].around)
TCN_KIND = Kind(lambda: TCN(BINS, (6, 8)), NETWORKS["tcn-100k"].around)
ZOO_KIND = Kind(lambda: STFTTCNN(BINS, 8, 1, 2), NETWORKS["stft-tcnn"].around)
KINDS = {"crn": CRN_KIND, "tcn": TCN_KIND, "stft-tcnn": ZOO_KIND}


def magnitudes(kind: Kind, number: int, seed: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    found = [torch.rand(2, 20, BINS, generator=random) ** 2 * 3 for _ in range(number)]
    return found if kind.around.layout == "frames-bins" else [x.transpose(1, 2).contiguous() for x in found]


def network_of(kind: Kind) -> nn.Module:
    torch.manual_seed(3)
    network = kind.build()
    with torch.no_grad():
        # Normalizations know what they get, and layers differ in size.
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        network.train()
        for x in magnitudes(kind, 4, 1):
            network(x)
    return network.eval()


def made(name: str, kind: Kind, network: nn.Module, folder: Path | None = None, epochs: int = 6) -> Quantized:
    batches = [(x, network(x).detach() ** 1.5) for x in magnitudes(kind, 4, 2)]
    return quantize_by(
        name, kind, network, magnitudes(kind, 3, 1), batches, functional.mse_loss, epochs=epochs, folder=folder
    )


def scales(found: Quantized, layer: str) -> int:
    return len(found.network.layers[layer].weight.scale.unique())


@pytest.fixture(scope="module")
def crn() -> nn.Module:
    return network_of(CRN_KIND)


#: For each scheme the bits of convolutions and of cells, the kind of cells, and whether a weight has one scale.
EXPECTED = {
    "standard-qat": (8, 8, IntegerLinear, True),
    "general-qat": (8, 8, DynamicLinear, True),
    "mbqat": (4, 8, DynamicLinear, True),
    "mbqat-tcn": (8, 8, DynamicLinear, True),
    "ours-w8a8": (8, 8, IntegerLinear, False),
    "ours-w4a8": (4, 4, IntegerLinear, False),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_schemes_end_in_integers_of_their_widths(name: str, crn: nn.Module, tmp_path: Path) -> None:
    # The rates of MBQAT are low.
    found = made(name, CRN_KIND, crn, tmp_path, epochs=24 if name.startswith("mbqat") else 6)
    assert not found.float_layers and not found.float_matmuls
    bits, of_cells, kind_of_cells, one_scale = EXPECTED[name]
    kinds = layer_kinds(found.network.host.nodes)
    for layer, integers in found.network.layers.items():
        is_cell = "cell" in kinds[layer]
        assert isinstance(integers, kind_of_cells if is_cell else IntegerLinear), layer
        assert integers.weight.spec.bits == (of_cells if is_cell else bits), layer
        assert integers.weight.spec.symmetric or name == "ours-w4a8"
        assert (scales(found, layer) == 1) == one_scale or len(integers.weight.scale) == 1, layer
    grids = found.network.activations
    # Magnitudes of spectra need a finer grid than what layers make of them.
    of_input = {grid.spec.bits for node, grid in grids.items() if found.network.host.nodes[node].op == "input"}
    assert of_input == {12 if name.startswith("ours") else 8}
    assert {grid.spec.bits for grid in grids.values()} == {8} | of_input
    assert {grid.spec.centred for grid in grids.values()} == {name == "standard-qat"}
    assert ("snapping" in found.notes) == name.startswith("mbqat")
    # What is trained is nearer to what is wanted than quantization after training alone.
    x = magnitudes(CRN_KIND, 4, 2)[0]
    wanted = crn(x).detach() ** 1.5
    lost = functional.mse_loss(found.network.model()(x), wanted)
    untrained = functional.mse_loss(crn(x), wanted)
    if SCHEMES[name].training is None:
        assert lost < 1.2 * untrained
    else:
        assert lost < 0.95 * untrained
        # Cells are trained, too, whether in float or not.
        weight = found.network.host.weight("lstm.l0.hh") if kind_of_cells is DynamicLinear else None
        assert weight is None or not torch.equal(weight, crn.lstm.weight_hh_l0)
    if name == "mbqat":
        check_movement(found, kq.quantize(crn, SCHEMES[name].config, calibration=magnitudes(CRN_KIND, 3, 1)))
    kq.save(found, tmp_path / "saved.safetensors")
    again = kq.load(tmp_path / "saved.safetensors")
    assert torch.equal(again.network.model()(x), found.network.model()(x))


def check_movement(found: Quantized, start: Quantized) -> None:
    """Scales and offsets began at what fits the data, and were learned."""
    for name, layer in start.network.layers.items():
        before, after = (float(one.weight.scale[0, 0]) for one in (layer, found.network.layers[name]))
        assert before != 1 and abs(after / before - 1) > 1e-3, name
    for name, grid in start.network.activations.items():
        assert abs(float(found.network.activations[name].scale / grid.scale) - 1) > 1e-4, name
    grids = {id(grid) for grid in start.network.activations.values() if grid.spec.is_fitted}
    assert found.notes["snapping"]["offsets"] == len(grids) > 0


def test_offsets_become_integers_before_the_second_half_of_training(tmp_path: Path) -> None:
    kind = KINDS["tcn"]
    made("mbqat-tcn", kind, network_of(kind), tmp_path)
    rates = []
    for folder in (tmp_path, tmp_path / SETTLING):
        passes = json.loads((folder / "progress.json").read_text())["iterations"]
        rates.append([entry["learning_rate"] for entry in passes if entry["train"]])
    assert [len(each) for each in rates] == [3, 3]
    assert [(each[0], each[-1]) for each in rates] == [pytest.approx(ends) for ends in ((3e-4, 1e-4), (1e-4, 1e-5))]
    # Fewer passes than two are not divided.
    made("mbqat-tcn", kind, network_of(kind), tmp_path / "one", epochs=1)
    assert not (tmp_path / "one" / SETTLING).exists()


@pytest.mark.parametrize(("kind", "name"), [("tcn", "mbqat-tcn"), ("stft-tcnn", "general-qat")])
def test_networks_without_cells(kind: str, name: str) -> None:
    found = made(name, KINDS[kind], network_of(KINDS[kind]))
    assert not found.float_layers
    assert all(isinstance(layer, IntegerLinear) for layer in found.network.layers.values())
    assert found.origin.columns == (-1 if kind == "tcn" else 1)


def test_cells_may_have_other_widths_and_ranges(crn: nn.Module) -> None:
    scheme = SCHEMES["ours-w8a8"].with_cells(ranges="dynamic", bits=6)
    quantized = quantize_by(scheme, CRN_KIND, crn, magnitudes(CRN_KIND, 2, 1), [], functional.mse_loss, epochs=0)
    for name, layer in quantized.network.layers.items():
        is_cell = name.startswith("lstm")
        assert isinstance(layer, DynamicLinear) == is_cell
        assert layer.weight.spec.bits == (6 if is_cell else 8)
    assert scheme.config.layers["@input"] == SCHEMES["ours-w8a8"].config.layers["@input"]
    assert SCHEMES["mbqat"].with_cells(bits=4).afterwards == {CELLS: {"bits": 4, "ranges": "dynamic"}}
    with pytest.raises(UsageError, match="ranges 'sometimes' is not one of static, dynamic"):
        SCHEMES["mbqat"].with_cells(ranges="sometimes")
    with pytest.raises(UsageError, match="the scheme of quantization 'qat' is not one of standard-qat, general-qat"):
        made("qat", CRN_KIND, crn)


def test_dynamic_quantization_by_torch_and_by_own(crn: nn.Module) -> None:
    x, other = magnitudes(CRN_KIND, 2, 5)
    expected = crn(x).detach()
    for others in ("static", "float"):
        found = dynamic_by_own(CRN_KIND, crn, [x, other], others=others)
        of_cells = [isinstance(layer, DynamicLinear) for layer in found.network.layers.values()]
        assert sum(of_cells) == 2 and all(of_cells) == (others == "float") == bool(found.float_layers)
        assert (found.network.model()(x) - expected).norm() < 0.03 * expected.norm()
    by_torch = dynamic_by_torch(crn)
    assert not any(isinstance(module, nn.LSTM) for module in by_torch.modules())
    assert 0 < (by_torch(x) - expected).norm() < 0.03 * expected.norm()
    with pytest.raises(UsageError, match="others 'none' is not one of static, float"):
        dynamic_by_own(CRN_KIND, crn, [x], others="none")
