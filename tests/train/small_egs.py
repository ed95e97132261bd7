"""A folder of few of the example's training examples."""

from pathlib import Path

from kaldi_quant.kaldi.egs import example_writer, read_examples


def small_egs(example: Path, folder: Path, number: int) -> Path:
    """Two archives of so many training examples each, and as many held-out ones, in a folder, which is returned."""
    source = example / "exp/chain/tdnn1a_sp/egs"
    train = list(read_examples(f"ark:{source / 'train_diagnostic.cegs'}"))
    valid = list(read_examples(f"ark:{source / 'valid_diagnostic.cegs'}"))
    parts = {"cegs.1.ark": train, "cegs.2.ark": train[number:], "valid_diagnostic.cegs": valid}
    for name, examples in parts.items():
        with example_writer(f"ark:{folder / name}") as writer:
            for key, found in examples[:number]:
                writer.write(key, found)
    return folder
