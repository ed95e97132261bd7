"""Divides a table of log-likelihoods among jobs."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from kaldi_quant.atomic import atomic_write
from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.kaldi.script_file import ScriptEntry, read_script
from kaldi_quant.kaldi.specifiers import parse_rspecifier
from kaldi_quant.kaldi.streams import is_pipe, open_stream, require_pipes
from kaldi_quant.kaldi.table_entry import read_entry, read_key
from kaldi_quant.kaldi.text import read_text, split_lines

JOB = "JOB"
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class SplitTable:
    """What each job reads.

    Attributes:
        rspecifier: with JOB in it where there is more than one job.
        jobs: number of jobs.
        utterances: those of each job, in order; empty where they are not known beforehand.
        files: what the table consists of, to see later whether it has changed.
        repeatable: False where commands or standard input are read, which may give something else the next time.
    """

    rspecifier: str
    jobs: int
    utterances: list[list[str]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    repeatable: bool = True

    def of(self, job: int) -> str:
        """The rspecifier of one job."""
        return self.rspecifier.replace(JOB, str(job))


def split_table(rspecifier: str, jobs: int, folder: Path, allow_pipes: bool) -> SplitTable:
    """Divides a table into runs of consecutive utterances, one scp file for each job.

    An rspecifier with JOB in it is divided already. What cannot be read from the middle (a command, standard input,
    a gzip file) makes one job.

    Args:
        rspecifier: of the whole table.
        jobs: how many jobs are wanted; there are never more than utterances.
        folder: where the scp files are put.
        allow_pipes: whether commands in the rspecifier and in the scp run.

    Raises:
        UsageError: the rspecifier is malformed.
        FormatError, DataError: the table is missing, empty or malformed.
    """
    parsed = parse_rspecifier(rspecifier)
    if JOB in parsed.filename:
        files = [parsed.filename.replace(JOB, str(job)) for job in range(1, jobs + 1)]
        missing = [name for name in files if not is_pipe(name) and not Path(name).exists()]
        if missing:
            raise UsageError(
                f"{rspecifier}: {missing[0]} does not exist; --nj must be the number of parts, and is {jobs}"
            )
        if is_pipe(parsed.filename):
            require_pipes(parsed.filename, allow_pipes)
        return SplitTable(rspecifier, jobs, files=files, repeatable=not is_pipe(parsed.filename))
    if (is_pipe(parsed.filename) and not parsed.script) or parsed.filename == "-":
        if is_pipe(parsed.filename):
            require_pipes(parsed.filename, allow_pipes)
        return SplitTable(rspecifier, 1, repeatable=False)
    if parsed.script:
        places = {key: _place(entry, allow_pipes) for key, entry in read_script(parsed.filename, allow_pipes).items()}
    elif _is_gzip(parsed.filename):
        return SplitTable(rspecifier, 1, files=[parsed.filename])
    else:
        places = _index_archive(parsed.filename)
    kind = "scp,p" if parsed.permissive else "scp"
    scp = f"{kind}:{folder}/loglikes.{JOB}.scp"
    repeatable = not any(is_pipe(place) for place in [parsed.filename, *places.values()])
    return _write_parts(places, jobs, SplitTable(scp, jobs, [], _distinct_files(parsed.filename, places), repeatable))


def leave_out(table: SplitTable, utterances: set[str]) -> SplitTable:
    """Divides a split table anew, without some utterances.

    Raises:
        DataError: nothing is left.
    """
    if not utterances:
        return table
    places = {}
    for job in range(1, table.jobs + 1):
        for line in split_lines(read_text(parse_rspecifier(table.of(job)).filename)):
            utterance, _, place = line.partition(" ")
            if utterance not in utterances:
                places[utterance] = place
    if not places:
        raise DataError(f"none of the {len(utterances)} utterances can be decoded")
    return _write_parts(places, table.jobs, table)


def _write_parts(places: dict[str, str], jobs: int, table: SplitTable) -> SplitTable:
    parts = _consecutive(list(places), min(jobs, len(places)))
    table = replace(table, jobs=len(parts), utterances=parts)
    for job, part in enumerate(parts, 1):
        with atomic_write(parse_rspecifier(table.of(job)).filename, "w") as stream:
            stream.writelines(f"{utterance} {places[utterance]}\n" for utterance in part)
    return table


def _place(entry: ScriptEntry, allow_pipes: bool) -> str:
    if is_pipe(entry.filename):
        require_pipes(entry.filename, allow_pipes, f"{entry.where}: ")
    offset = "" if entry.offset is None else f":{entry.offset}"
    return entry.filename + offset + ("" if entry.range is None else f"[{entry.range}]")


def _is_gzip(filename: str) -> bool:
    try:
        with open(filename, "rb") as stream:
            return stream.read(2) == _GZIP_MAGIC
    except OSError as error:
        raise DataError(f"{filename}: cannot be read: {error.strerror or error}") from error


def _index_archive(filename: str) -> dict[str, str]:
    """Where each utterance of an archive begins, as an scp says it."""
    places: dict[str, str] = {}
    stream = open_stream(filename)
    try:
        while (key := read_key(stream)) is not None:
            if key in places:
                raise DataError(f"utterance {key} appears twice in {filename}")
            places[key] = f"{filename}:{stream.position}"
            read_entry(stream, key)
        if not places:
            stream.fail("the archive is empty")
    finally:
        stream.close()
    return places


def _consecutive(items: list[str], parts: int) -> list[list[str]]:
    """Runs of nearly equal length; the first ones are the longer, as utils/split_scp.pl makes them."""
    size, longer = divmod(len(items), parts)
    ends = [size * (part + 1) + min(part + 1, longer) for part in range(parts)]
    return [items[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def _distinct_files(table: str, places: dict[str, str]) -> list[str]:
    names = (place.partition("[")[0] for place in places.values() if not is_pipe(place))
    return [table, *dict.fromkeys(name.rpartition(":")[0] or name for name in names)]
