"""The family of exceptions for everything a user can cause.

Each carries one sentence: what, where (file, byte offset, utterance or node), what was expected and what was found.
The command prints the sentence and exits with status 1; ``--debug`` adds the traceback.
"""


class KaldiQuantError(Exception):
    """The base of the family: catch it to catch every error that a user's input or machine can cause."""


class FormatError(KaldiQuantError):
    """A file does not hold what its format requires.

    Args:
        path: the file.
        offset: the byte offset at which reading failed; None where no offset applies.
        message: what was expected and what was found.
    """

    def __init__(self, path: str, offset: int | None, message: str) -> None:
        self.path = path
        self.offset = offset
        self._message = message
        place = path if offset is None else f"{path}, byte {offset}"
        super().__init__(f"{place}: {message}")

    def __reduce__(self) -> tuple[type, tuple[str, int | None, str]]:
        """Goes from process to process as what it was made of."""
        return type(self), (self.path, self.offset, self._message)


class ModelError(KaldiQuantError):
    """A network is inconsistent, or asks for something that is not supported; names the node or component."""


class DataError(KaldiQuantError):
    """Features, log-likelihoods or transcripts that cannot be used; names the utterance or the table."""


class UsageError(KaldiQuantError):
    """Options that contradict each other or name something that does not exist."""


class MissingDependencyError(KaldiQuantError):
    """An optional package or program is absent; says what to install and for which feature."""


def out_of_memory(error: BaseException) -> str | None:
    """The sentence about memory that was refused, by the machine or by a GPU; None for any other error.

    torch has no exception of its own for the machine's memory, but for a GPU's; both are told by their words, so that
    the command need not import torch.
    """
    advice = "use fewer jobs or smaller batches"
    if isinstance(error, MemoryError):
        return f"not enough memory: {str(error) or advice}"
    if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):
        return f"not enough memory: {advice}"
    if isinstance(error, RuntimeError) and "out of memory" in str(error):
        return f"not enough memory on the GPU: {advice}"
    return None
