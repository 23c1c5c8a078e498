"""The one exception of this package."""


class CheckpointError(OSError):
    """A checkpoint cannot be loaded or saved: what, where, and what to do, in one line."""
