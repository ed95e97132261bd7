"""Opens what the lines of an scp point to; one archive that many lines point into is opened once."""

from kaldi_quant.errors import DataError, FormatError
from kaldi_quant.kaldi.script_file import ScriptEntry
from kaldi_quant.kaldi.streams import ByteStream, is_pipe, open_stream, require_pipes


class ScriptStreams:
    """Opens entries of an scp one after the other; a file that the next entry points into stays open.

    Args:
        allow_pipes: whether commands run.
    """

    def __init__(self, allow_pipes: bool) -> None:
        self._allow_pipes = allow_pipes
        self._filename = ""
        self._stream: ByteStream | None = None

    def open(self, entry: ScriptEntry) -> ByteStream:
        """The stream that an entry names, at the entry's offset; it is good until the next call.

        Raises:
            DataError: the file cannot be opened, or ends before the offset; names the utterance.
            UsageError: the entry is a command and commands may not run.
        """
        if is_pipe(entry.filename):
            require_pipes(entry.filename, self._allow_pipes, f"{entry.where}: ")
        try:
            reusable = self._filename == entry.filename and not is_pipe(entry.filename) and entry.filename != "-"
            if self._stream is None or not reusable:
                self.close()
                self._stream = open_stream(entry.filename, self._allow_pipes)
                self._filename = entry.filename
            if entry.offset is not None or self._stream.position:
                self._stream.seek(entry.offset or 0)
        except FormatError as error:
            raise DataError(f"utterance {entry.key} ({entry.where}): {error}") from error
        return self._stream

    def close(self) -> None:
        """Closes whatever is open."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
