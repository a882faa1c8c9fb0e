"""Errors that end at the user: each message is a sentence naming what was wrong, where, and what to do."""


class DyadError(Exception):
    """A problem that the user can act on; shown without a traceback."""


class MediaError(DyadError):
    """A media file cannot be read, or holds nothing to recognise."""


class InputError(DyadError):
    """A table, a settings file or an argument is not of the expected form."""


class EmptyTableError(InputError):
    """A table without rows: the command was right, and there was nothing to do; the exit code is 1."""


class WeightsError(DyadError):
    """Weights are missing, corrupt, or of another architecture."""


class ServerError(DyadError):
    """A server that a model runs on does not answer, or rejects what it is asked."""
