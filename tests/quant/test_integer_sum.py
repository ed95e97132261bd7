from fractions import Fraction

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_sum import IntegerSum, fused_multiply_add, integer_sum, term_scale
from kaldi_quant.quant.spec import QSpec

PAIRS = torch.cartesian_prod(torch.arange(256), torch.arange(256)).to(torch.int32)


def grid(scale: float, zero_point: int, bits: int = 8) -> Grid:
    return Grid(QSpec(bits, signed=False, symmetric=False), torch.tensor(scale), torch.tensor(zero_point).int())


def onnxruntime_sum(terms: list[Grid], coefficients: list[float], output: Grid, a: np.ndarray, b: np.ndarray):
    constants = {}
    for name, one, scale in (
        ("a", terms[0], term_scale(terms[0], coefficients[0])),
        ("b", terms[1], term_scale(terms[1], coefficients[1])),
        ("y", output, output.scale),
    ):
        constants |= {f"{name}_scale": scale.numpy(), f"{name}_zero": one.zero_point.numpy().astype(np.uint8)}
    inputs = ["a", "a_scale", "a_zero", "b", "b_scale", "b_zero", "y_scale", "y_zero"]
    graph = helper.make_graph(
        [helper.make_node("QLinearAdd", inputs, ["y"], domain="com.microsoft")],
        "sum",
        [helper.make_tensor_value_info(name, TensorProto.UINT8, ["n"]) for name in "ab"],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, ["n"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"a": a, "b": b})[0]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("dyadic", [False, True])
def test_two_terms_are_added_as_the_integer_kernel_adds_them(seed: int, dyadic: bool) -> None:
    # Scales with few bits make ties.
    random = np.random.default_rng(seed)
    scales = (random.integers(1, 64, 3) / 1024 if dyadic else random.uniform(0.002, 0.02, 3)).tolist()
    zeros = random.integers(0, 256, 3).tolist() if seed % 2 else [0, 0, 0]
    terms, output = [grid(scales[0], zeros[0]), grid(scales[1], zeros[1])], grid(scales[2], zeros[2])
    coefficients = [0.66, 1.0] if seed % 3 else [1.0, -0.5]
    columns = list(PAIRS.unbind(1))
    ours = integer_sum(columns, terms, coefficients, output).numpy()
    a, b = (column.numpy().astype(np.uint8) for column in columns)
    kernel = onnxruntime_sum(terms, coefficients, output, a, b)
    np.testing.assert_array_equal(ours, kernel)
    # Those that do not fill a vector.
    np.testing.assert_array_equal(ours[:13], onnxruntime_sum(terms, coefficients, output, a[:13], b[:13]))


def test_the_sum_is_what_exact_arithmetic_gives_up_to_rounding() -> None:
    terms, output = [grid(0.02, 3), grid(0.01, 200)], grid(0.03, 17)
    integers = list(PAIRS.unbind(1))
    values = 0.66 * terms[0].dequantize(integers[0]).double() + terms[1].dequantize(integers[1]).double()
    steps = (values / 0.03 + 17).clamp(0, 255)
    assert (integer_sum(integers, terms, [0.66, 1.0], output) - steps).abs().max() < 0.501


def test_a_narrow_sum_stays_on_its_grid() -> None:
    result = integer_sum(list(PAIRS.unbind(1)), [grid(0.02, 0), grid(0.02, 0)], [1.0, 1.0], grid(0.1, 0, bits=4))
    assert result.min() == 0 and result.max() == 15


def test_sums_that_are_looked_up_are_those_that_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    terms, output = [grid(0.02, 3, bits=4), grid(0.013, 100)], grid(0.03, 17)
    random = torch.Generator().manual_seed(0)
    integers = [torch.randint(0, 2**bits, (5, 7, 200), generator=random, dtype=torch.int32) for bits in (4, 8)]
    expected = integer_sum(integers, terms, [0.66, -1.0], output)
    rows = [x.transpose(0, 1)[:, ::3] for x in integers]
    # Rows that no output depends on may hold anything.
    strange = [integers[0].clone().index_fill_(0, torch.tensor([2]), -(2**31)), integers[1]]
    of_strange = integer_sum(strange, terms, [0.66, -1.0], output)
    total = IntegerSum(terms, [0.66, -1.0], output)
    assert torch.equal(total(integers), expected)
    computed: list[int] = []

    def counted(integers: list[torch.Tensor], *others: object) -> torch.Tensor:
        computed.append(integers[0].numel())
        return integer_sum(integers, *others)  # type: ignore[arg-type]

    monkeypatch.setattr("kaldi_quant.quant.integer_sum.integer_sum", counted)
    assert torch.equal(total(integers), expected) and not computed
    # Sums of few are computed.
    assert torch.equal(total(rows), expected.transpose(0, 1)[:, ::3]) and computed == [2800]
    assert torch.equal(total(strange), of_strange) and computed == [2800, 7000]


def test_one_term_and_three_terms_are_rounded_from_floats() -> None:
    terms = [grid(0.02, 3), grid(0.01, 200), grid(0.05, 0)]
    integers = [PAIRS[:, 0], PAIRS[:, 1], PAIRS[:, 0]]
    output = grid(0.07, 9)
    for count in (1, 3):
        parts = [one.dequantize(x) for one, x in zip(terms[:count], integers, strict=False)]
        expected = output.quantize(parts[0] if count == 1 else parts[0] + parts[1] + parts[2])
        assert torch.equal(integer_sum(integers[:count], terms[:count], [1.0] * count, output), expected)


def test_fused_multiply_add_rounds_once() -> None:
    random = np.random.default_rng(0)
    numbers = random.integers(-(2**24), 2**24, (3, 2000)).astype(np.float64) * 2.0 ** random.integers(-40, 3, (3, 2000))
    # The product is half a unit of the third number's last place, less what float64 cannot hold beside it.
    numbers[:, 0] = [1 + 2**-23, (1 - 2**-23) * 2**-24, 1 + 2**-23]
    a, b, c = torch.from_numpy(numbers).float()
    ours = fused_multiply_add(a, b, c)
    assert ours[0] != (a.double() * b.double() + c.double()).float()[0]
    for x, y, z, result in zip(a.tolist(), b.tolist(), c.tolist(), ours.tolist(), strict=True):
        exact = Fraction(x) * Fraction(y) + Fraction(z)
        below, above = (np.nextafter(np.float32(result), np.float32(end)) for end in (-np.inf, np.inf))
        distance = abs(Fraction(result) - exact)
        assert distance <= abs(Fraction(float(below)) - exact) and distance <= abs(Fraction(float(above)) - exact)
