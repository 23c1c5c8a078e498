"""The one error that a command answers with a line instead of a traceback."""


class BadInput(ValueError):
    """What was asked for cannot be done. The message says what, where, and what to do about it."""
