"""The errors a caller can cause or fix.

    EnlivenError
    ├── ConfigError     a setting, flag or run file that does not fit      exit 2
    ├── RequestError    a request that cannot be served as asked           exit 2
    ├── MediaError      a picture, sound or video that cannot be used      exit 2
    ├── WeightsError    weights missing, truncated or of another network   exit 1
    ├── MissingExtra    an optional dependency is not installed            exit 1
    ├── StorageError    the disk refused: full, read-only, not allowed     exit 2
    ├── BatchFailed     some videos of a list were not made                exit 1
    ├── NotFinite       a loss or gradient became no number in training    exit 1
    ├── SmokeError      a training did not do what it should               exit 1
    └── Cancelled       the user stopped the run                           exit 130

Every message names the offending value and what was expected; ``hint`` says what to do about it.
Any other exception is a bug and keeps its traceback.
"""


class EnlivenError(Exception):
    """Anything a caller can cause or fix."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(EnlivenError):
    """A setting, flag or run file that does not fit."""

    exit_code = 2


class RequestError(EnlivenError):
    """A request that cannot be served as asked."""

    exit_code = 2


class MediaError(EnlivenError):
    """A picture, sound or video that cannot be used."""

    exit_code = 2


class WeightsError(EnlivenError):
    """Weights that are missing, truncated or belong to another network."""


class MissingExtra(EnlivenError):
    """An optional dependency that is not installed."""


class StorageError(EnlivenError):
    """The disk refused a write."""

    exit_code = 2


class BatchFailed(EnlivenError):
    """Some videos of a list were not made; the others were."""


class NotFinite(EnlivenError, FloatingPointError):
    """A loss or a gradient became infinite or no number at all."""


class SmokeError(EnlivenError):
    """A training did not do what it should."""


class Cancelled(EnlivenError):
    """The user stopped the run."""

    exit_code = 130
