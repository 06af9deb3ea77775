"""Every error that vsearch raises on purpose.

One root, and each class also inherits the builtin a careful caller would already catch, so that
``except ValueError`` keeps working in code that has never heard of vsearch. Messages follow one grammar:
"`k` must be an int in [1, 65536]; got 0.", then, where there is one, a second sentence with the way out.
"""

from __future__ import annotations


class VsearchError(Exception):
    """Root of all errors raised by vsearch."""


class ParameterError(VsearchError, ValueError):
    """A parameter has the right type but a value that is not allowed."""


class DimensionError(ParameterError):
    """Vectors do not have the shape or the dimension that the index expects."""


class DuplicateIdError(ParameterError):
    """An id is given twice, or is already in the index."""


class DTypeError(VsearchError, TypeError):
    """A value or an array has a type that cannot be used here."""


class UnknownIdError(VsearchError, KeyError):
    """An id is not in the index."""

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0]) if self.args else ""


class NotFittedError(VsearchError, ValueError, AttributeError):
    """The index or quantizer has to be fitted first (scikit-learn's convention of two bases)."""


class FormatError(VsearchError, ValueError):
    """A file is not what it should be; the subclasses say in which way."""


class ForeignFileError(FormatError):
    """The file was not written by vsearch."""


class CorruptFileError(FormatError):
    """The file was written by vsearch and has been damaged since."""


class NewerFormatError(FormatError):
    """The file was written by a newer version of vsearch."""


class LockedError(VsearchError, OSError):
    """Another process is writing here."""


class ReadOnlyError(VsearchError, PermissionError):
    """Something was opened for reading only and cannot be written."""


class ClosedError(VsearchError, ValueError):
    """Something was closed and cannot be used any more (the builtin is that of closed files)."""


class DownloadError(VsearchError, OSError):
    """A data set could not be downloaded or does not match its checksum."""


class MissingExtraError(VsearchError, ImportError):
    """An optional dependency is needed; the message names the extra that installs it."""
