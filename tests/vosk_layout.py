"""The example's online model, whose Kaldi folder lies in ``egs``, in the folders that Vosk's models have."""

import shutil
from pathlib import Path

#: As Kaldi's recipes decode chain models.
MODEL_CONF = """--min-active=200
--max-active=7000
--beam=15.0
--lattice-beam=8.0
--acoustic-scale=1.0
--frame-subsampling-factor=3
--endpoint.silence-phones=1:2:3:4:5:6:7:8:9:10
"""


def online_folder(example: Path) -> Path:
    """Kaldi's folder."""
    return example / "exp/chain/tdnnf1c_sp_online"


def vosk_layout(folder: Path, example: Path, old: bool = False) -> Path:
    """Makes a folder of Vosk's.

    Args:
        folder: where.
        example: the example's folder.
        old: all in one folder, without ``model.conf``.
    """
    online = online_folder(example)
    am, conf, graph = (folder if old else folder / name for name in ("am", "conf", "graph"))
    phones = graph if old else graph / "phones"
    for place in (am, conf, phones, folder / "ivector"):
        place.mkdir(parents=True, exist_ok=True)
    shutil.copy(online / "final.mdl", am)
    # Without dither, whose noise would differ from one run to the next.
    (conf / "mfcc.conf").write_text((online / "conf/mfcc.conf").read_text() + "--dither=0\n")
    for name, place in (("HCLG.fst", graph), ("words.txt", graph), ("phones/word_boundary.int", phones)):
        shutil.copy(online / "graph_alphadigits" / name, place)
    for name in ("final.ie", "final.dubm", "final.mat", "global_cmvn.stats"):
        shutil.copy(online / "ivector_extractor" / name, folder / "ivector")
    for name in ("splice.conf", "online_cmvn.conf"):
        shutil.copy(online / "conf" / name, folder / "ivector")
    if not old:
        (conf / "model.conf").write_text(MODEL_CONF)
    return folder
