"""The error that the commands report in one line, without a traceback."""


class BadInput(ValueError):
    """The user's input cannot be used. The message says what is wrong, where, and what to do."""
