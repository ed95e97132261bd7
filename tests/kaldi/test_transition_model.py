"""The transition model and the topology, read and written."""

from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import FormatError
from kaldi_quant.kaldi.reader import BinaryReader, Reader, TextReader, open_reader
from kaldi_quant.kaldi.transition_model import TransitionModel, read_transition_model
from kaldi_quant.kaldi.writer import BinaryWriter, TextWriter, make_writer

# Two phones with Kaldi's old three-state topology (<Triples>) and one with a single emitting state.
OLD = b"""<TransitionModel> 
<Topology> 
<TopologyEntry> 
<ForPhones> 
1 2 
</ForPhones> 
<State> 0 <PdfClass> 0 <Transition> 0 0.75 <Transition> 1 0.25 </State> 
<State> 1 <PdfClass> 1 <Transition> 1 0.75 <Transition> 2 0.25 </State> 
<State> 2 </State> 
</TopologyEntry> 
<TopologyEntry> 
<ForPhones> 
4 
</ForPhones> 
<State> 0 <PdfClass> 0 <Transition> 1 1 </State> 
<State> 1 </State> 
</TopologyEntry> 
</Topology> 
<Triples> 5 
1 0 3 
1 1 0 
2 0 1 
2 1 2 
4 0 4 
</Triples> 
<LogProbs> 
 [ 0 -0.2876821 -1.386294 -0.2876821 -1.386294 -0.2876821 -1.386294 -0.2876821 -1.386294 0 ]
</LogProbs> 
</TransitionModel> 
"""  # noqa: W291 - the spaces before the newlines are Kaldi's


def read_text(text: bytes) -> TransitionModel:
    return TransitionModel.read(TextReader(text, "model"))


def written(model: TransitionModel, binary: bool) -> bytes:
    writer = make_writer(binary)
    model.write(writer)
    return writer.getvalue()


def test_example_is_written_back_byte_for_byte(example: Path) -> None:
    folder = example / "exp" / "chain" / "tdnn1a_sp"
    text = (folder / "0.trans_mdl").read_bytes()
    model = read_transition_model(folder / "0.trans_mdl")
    assert written(model, binary=False) == text
    whole = (folder / "final.mdl").read_bytes()
    reader = open_reader(folder / "final.mdl")
    from_binary = TransitionModel.read(reader)
    binary = written(from_binary, binary=True)
    assert whole.startswith(binary)
    assert reader.position == len(binary) - len(BinaryWriter.header), "the reader stands right behind the model"
    assert whole[len(binary) :].startswith(b"<Nnet3> ")
    assert written(from_binary, binary=False) == text


def test_example_maps_transition_ids_to_pdfs(example: Path) -> None:
    model = read_transition_model(example / "exp" / "chain" / "tdnn1a_sp" / "final.mdl")
    assert (model.num_transition_ids, model.num_transition_states, model.num_pdfs) == (852, 426, 208)
    pdfs = model.transition_id_to_pdf
    assert pdfs.dtype == np.int32 and len(pdfs) == 853 and pdfs[0] == -1
    # The first transition-state is (phone 1, state 0, forward pdf 0, self-loop pdf 31), and its self-loop comes first.
    assert pdfs[1:3].tolist() == [31, 0] and model.is_self_loop[1:3].tolist() == [True, False]
    assert set(pdfs[1:]) == set(range(208))
    assert model.transition_id_to_phone[[0, 1, 852]].tolist() == [-1, 1, 122 if 122 in model.topology.phones else -2]
    assert model.is_final[1:3].tolist() == [False, True]


def test_old_form_round_trip_and_self_loops() -> None:
    model = read_text(OLD)
    assert model.topology.is_hmm()
    assert model.transition_id_to_pdf.tolist() == [-1, 3, 3, 0, 0, 1, 1, 2, 2, 4]
    assert np.flatnonzero(model.is_self_loop).tolist() == [1, 3, 5, 7]
    assert np.flatnonzero(model.is_final).tolist() == [4, 8, 9]
    assert model.transition_id_to_phone.tolist() == [-1, 1, 1, 1, 1, 2, 2, 2, 2, 4]
    assert model.transition_id_to_transition_state.tolist() == [-1, 1, 1, 2, 2, 3, 3, 4, 4, 5]
    assert written(model, binary=False) == OLD
    binary = written(model, binary=True)
    again = TransitionModel.read(BinaryReader(binary[2:], "model", 2))
    assert b"<Triples> " in binary and written(again, binary=True) == binary and written(again, binary=False) == OLD
    assert model.topology.phone2idx.tolist() == [-1, 0, 0, -1, 1]


def test_double_width_is_kept() -> None:
    model = read_text(OLD)
    model.log_probs = model.log_probs.astype(np.float64)
    binary = written(model, binary=True)
    again = TransitionModel.read(BinaryReader(binary[2:], "model", 2))
    assert again.log_probs.dtype == np.float64 and written(again, binary=True) == binary


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b"4 0 4 \n", b"3 0 4 \n", "phone 3.*does not have this phone"),
        (b"4 0 4 \n", b"4 7 4 \n", "HMM state 7.*2 states"),
        (b"4 0 4 \n", b"4 0 -4 \n", "pdf is out of range"),
        (b"4 0 4 \n", b"4 0 999999999 \n", "pdf is out of range"),
        (b"1 1 0 \n", b"1 0 3 \n", "not in increasing order"),
        (b"<Triples> 5", b"<Triples> 500000000", "cannot follow"),
        (b"-1.386294 0 ]", b"-1.386294 ]", "expected 10 transition log-probabilities, found 9"),
        (b"-1.386294 0 ]", b"-1.386294 nan ]", "not finite"),
        (b"-1.386294 0 ]", b"-1.386294 5 ]", "is positive"),
        (b"<Transition> 1 1 </State>", b"<Transition> 9 1 </State>", "state that is not there"),
        (b"<Transition> 1 1 </State>", b"<Transition> 1 0 </State>", "probability is not positive"),
        (b"<State> 1 </State>", b"", "2 states|at least two"),
        (b"4 \n</ForPhones>", b"2 \n</ForPhones>", "phone 2 is in two topology entries"),
        (b"4 \n</ForPhones>", b"2000000000 \n</ForPhones>", "expected a phone"),
        (b"</LogProbs>", b"</LogProb>", "expected </LogProbs>"),
        (b"<PdfClass> 1", b"<PdfClass> 2", "pdf-classes"),
    ],
)
def test_inconsistent_models_are_refused_with_the_byte(old: bytes, new: bytes, expected: str) -> None:
    assert OLD.count(old) >= 1
    with pytest.raises(FormatError, match=expected) as error:
        read_text(OLD.replace(old, new, 1))
    assert error.value.offset is not None and str(error.value).startswith("model, byte ")


@pytest.mark.parametrize("binary", [True, False])
def test_truncated_models_are_refused(binary: bool) -> None:
    data = written(read_text(OLD), binary)
    header = len(BinaryWriter.header if binary else TextWriter.header)
    for end in range(header, len(data) - len("</TransitionModel> \n"), 7):
        reader: Reader = BinaryReader(data[header:end], "m", header) if binary else TextReader(data[:end], "m")
        with pytest.raises(FormatError):
            TransitionModel.read(reader)


def test_a_product_of_tuples_and_transitions_is_not_allocated_before_it_is_checked() -> None:
    # 2000 states with 1000 transitions each are two million transition-ids, for which the file has no probabilities.
    states = "".join(f"<Transition> {state} 0.001 " for state in range(1000))
    entry = "".join(f"<State> {n} <PdfClass> 0 {states}</State> \n" for n in range(2)) + "".join(
        f"<State> {n} <PdfClass> 0 <Transition> {n + 1} 1 </State> \n" for n in range(2, 999)
    )
    entry = f"<TopologyEntry> <ForPhones> 1 </ForPhones> {entry}<State> 999 </State> </TopologyEntry> "
    topology = f"<Topology> {entry}</Topology> "
    tuples = "".join(f"1 0 {pdf} \n" for pdf in range(2000))
    text = f"<TransitionModel> {topology}<Triples> 2000 {tuples}</Triples> <LogProbs> [ 0 ]\n"
    with pytest.raises(FormatError, match="expected 2000001 transition log-probabilities, found 1"):
        read_text(text.encode())


def test_a_missing_file_has_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"absent.mdl: cannot be read: No such file"):
        read_transition_model(tmp_path / "absent.mdl")
    (tmp_path / "wrong").write_bytes(b"hello there\n")
    with pytest.raises(FormatError, match="expected <TransitionModel>, found 'hello'"):
        read_transition_model(tmp_path / "wrong")


def test_every_reference_model(shared: Path) -> None:
    for folder in sorted((shared / "parity").iterdir()):
        if folder.is_dir():
            binary, text = (folder / "final.mdl").read_bytes(), (folder / "final.txt").read_bytes()
            model = read_transition_model(folder / "final.mdl")
            assert binary.startswith(written(model, binary=True)) and text.startswith(written(model, binary=False))
