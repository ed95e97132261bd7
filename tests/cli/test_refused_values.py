"""Values that cannot be are refused before anything is read: the files that are named here do not exist."""

import shlex
from pathlib import Path

import pytest

from kaldi_quant.cli.main import run

_PLACES = {
    "quantize": "no.mdl scp:no.scp out",
    "calibrate": "no.mdl scp:no.scp ranges.json",
    "sensitivity": "no.mdl scp:no.scp scp:no.scp out",
    "search": "no.mdl scp:no.scp scp:no.scp out",
    "qat": "no.mdl scp:no.scp out",
    "train": "no.mdl no-egs out",
    "forward": "no.mdl scp:no.scp ark:out.ark",
    "export": "no.safetensors out",
}
_INFERENCE = [
    ("--batch-seconds nan", "--batch-seconds must be positive, found nan"),
    ("--batch-seconds -3", "--batch-seconds must be positive, found -3"),
    ("--max-bad-share nan", "--max-bad-share must be from 0 to 1, found nan"),
    ("--max-bad-share 1.5", "--max-bad-share must be from 0 to 1, found 1.5"),
    ("--num-threads -1", "--num-threads must be from 0 to 1024, found -1"),
    ("--frames-per-chunk -1", "--frames-per-chunk at least 0"),
    ("--frame-subsampling-factor 0", "'--frame-subsampling-factor': 0 is not in the range"),
    ("--extra-left-context -5", "cannot be negative"),
    ("--online-ivector-period -1", "--online-ivector-period cannot be negative"),
    ("--online-ivector-period 10", "--online-ivector-period has no effect without --online-ivectors"),
    ("--ivectors ark:a --online-ivectors ark:b", "exclude each other"),
]
_QUANTIZATION = [
    ("--preset best", "there is no preset 'best'; the presets are awq-w4"),
    ("--bits 1", "a width of 1 bits is not possible: 2 to 16"),
    ("--act-bits 17", "a width of 17 bits is not possible: 2 to 16"),
    ("--observer eye", "observer 'eye' is not one of minmax"),
    ("--max-utterances -1", "--max-utterances cannot be negative, found -1"),
    ("--config no.yaml", "no.yaml: cannot be read as YAML"),
    ("--preset w8a8 --config no.yaml", "--preset and --config exclude each other"),
    ("--engine x86", "--engine x86 is for models that PyTorch quantizes"),
    ("--preset torch-static --engine neon", "PyTorch on this machine has no engine neon; it has"),
    ("--preset torch-static --bits 12", "bits must be at most 8, found 12"),
]
_TRAINING = [
    ("--lr-initial nan", "--lr-initial nan"),
    ("--lr-final 1", "expected 0 < final <= initial"),
    ("--num-epochs -1", "--num-epochs -1: expected 0 or more"),
    ("--clip-norm nan", "--clip-norm nan"),
    ("--average-last 0", "--average-last 0: expected 1 or more"),
    ("--leaky-hmm-coefficient 0", "--leaky-hmm-coefficient=0"),
    ("--l2-regularize -1", "--l2-regularize=-1"),
    ("--warm-up -1", "--warm-up -1"),
    ("--lr-schedule linear", "'linear' is not one of 'exponential', 'constant', 'step', 'cosine', 'plateau'"),
    ("--lr-schedule constant --lr-initial 0", "--lr-initial 0: expected a number above 0"),
    (
        "--lr-schedule step --lr-final 1e-6",
        "--lr-final 1e-06 has an effect only with --lr-schedule expo",
    ),
    ("--lr-schedule step --lr-every 0", "--lr-every 0: expected 1 or more"),
    ("--lr-schedule plateau --lr-patience 0", "--lr-patience 0: expected 1 or more"),
    ("--lr-schedule plateau --lr-factor 1", "--lr-factor 1: expected a number between 0 and 1"),
    ("--lr-factor 0.5", "--lr-factor 0.5 has an effect only with --lr-schedule step or plateau"),
    ("--early-stopping -1", "--early-stopping -1: expected a number of iterations"),
    ("--optimizer nadam", "'nadam' is not one of 'adam', 'sgd'"),
    ("--optimizer sgd --amsgrad", "--amsgrad has an effect only with --optimizer adam"),
    ("--optimizer sgd --weight-decay 0.1", "--weight-decay 0.1 has an effect only with --optimizer adam"),
    ("--weight-decay nan", "--weight-decay nan: expected 0 or more"),
    ("--num-jobs 0", "--num-jobs 0: expected 1 or more"),
    ("--vtlp 0.1", "--vtlp and --filter-augment need --mfcc-config"),
    ("--mfcc-config no.conf", "--mfcc-config has no effect without --vtlp or --filter-augment"),
    ("--device tpu", "--device tpu: expected cpu or cuda"),
    ("--num-threads -1", "--num-threads must be from 0 to 1024, found -1"),
]
_DEVICE = [
    ("--device tpu", "--device tpu: expected cpu or cuda"),
    ("--device cuda --preset torch-static", "PyTorch's own quantization is calibrated on the CPU"),
]
_MEMORY = [(f"--memory {value}", f"--memory {value}: expected 0 or more gigabytes") for value in ("-1", "nan", "inf")]
_OWN = {
    "quantize": [*_DEVICE, *_MEMORY, ("--ranges no.json", "no.json is not a file of activation ranges")],
    "calibrate": _DEVICE,
    "search": [
        ("--budget '1 frog'", "the budget '1 frog' is not understood"),
        ("--budget '1.5 bits'", "meets the budget of 1.5 bits: the least width is 2"),
        ("--budget '3.5 bits' --widths 4,8", "no allocation of 4 or 8 bits meets the budget of 3.5 bits"),
        ("--budget '3 bits' --widths 1,2", "a width of 1 bits is not possible"),
        ("--budget '3 bits' --base-bits 1", "a width of 1 bits is not possible"),
        ("--budget '3 bits' --method guess", "method 'guess' is not one of"),
        ("--budget '3 bits' --max-bit-operations nan", "--max-bit-operations must be positive, found nan"),
        ("--budget '3 bits' --max-dev-utterances -1", "--max-dev-utterances cannot be negative"),
        ("--budget '3 bits' --max-utterances -1", "--max-utterances cannot be negative"),
        ("--budget '3 bits' --preset best", "there is no preset 'best'"),
        ("--budget '3 bits' --preset torch-static", "PyTorch's own quantization knows 8 bits alone"),
        ("--budget '3 bits' --nj 0", "--nj must be positive, found 0"),
        ("--budget '3 bits' --device tpu", "--device tpu: expected cpu or cuda"),
        ("--budget '3 bits' --memory nan", "--memory nan: expected 0 or more gigabytes"),
    ],
    "sensitivity": [
        *_DEVICE,
        *_MEMORY,
        ("--nj 0", "--nj must be positive, found 0"),
        ("--plot .", ". is a folder: give a file"),
    ],
    "qat": [
        ("--temperature nan", "--temperature nan: expected a number above 0"),
        ("--distillation 2", "--distillation 2: expected a share from 0 to 1"),
        ("--hard-weight -1", "--hard-weight -1: expected 0 or more"),
        ("--method guess", "--method 'guess' is not one of"),
        ("--weights guess", "--weights 'guess' is not one of steps, values"),
        ("--freeze-after nan", "--freeze-after nan: expected a share from 0 to 1"),
        ("--minibatch-size 64,32", "--minibatch-size 64,32: expected a single number when there is no --egs-dir"),
        ("--learn-widths '1 bits'", "meets the budget of 1 bits: the least width is 2"),
        ("--learn-widths '3 bits' --optimizer sgd", "widths are learned by adam alone"),
        (
            "--learn-widths '3 bits' --lr-schedule plateau",
            "plateau cannot be combined with --learn-widths",
        ),
        ("--early-stopping 3", "--early-stopping 3 needs held-out examples"),
        ("--lr-schedule plateau", "--lr-schedule plateau needs held-out examples"),
        ("--feature-weight 1 --teacher other.mdl", "--feature-weight: hidden layers"),
    ],
    "forward": [("--acoustic-scale nan", "--acoustic-scale must be a finite number, found nan")],
    "export": [
        ("--frames 0", "--frames must be at least 1, found 0"),
        ("--formats doc", "--formats doc: expected a list from mdl, onnx"),
        ("--extra-left-context -1", "cannot be negative"),
    ],
}
_CASES = [
    *[
        (verb, *case)
        for verb in ("quantize", "calibrate", "sensitivity", "qat", "search", "forward")
        for case in _INFERENCE
    ],
    *[(verb, *case) for verb in ("quantize", "calibrate", "sensitivity", "qat") for case in _QUANTIZATION],
    *[(verb, *case) for verb in ("train", "qat") for case in _TRAINING],
    *[(verb, *case) for verb, cases in _OWN.items() for case in cases],
]


@pytest.mark.parametrize(("verb", "options", "sentence"), _CASES, ids=[f"{case[0]} {case[1]}" for case in _CASES])
def test_impossible_values_are_refused_before_anything_is_read(
    verb: str,
    options: str,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    more = ["--budget=3 bits"] if verb == "search" and "--budget" not in options else []
    assert run([verb, *shlex.split(options), *more, *_PLACES[verb].split()]) in (1, 2)
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
