"""The error that the commands report in one line, without a traceback."""

import json
import os
import time
from pathlib import Path


class BadInput(ValueError):
    """The user's input cannot be used. The message says what is wrong, where, and what to do."""


def tell_launcher(line: str) -> None:
    """Let ``accelerate launch`` or ``torchrun``, if one started this process, end with `line`.

    The launcher reports many lines of its own when a process fails. The last of them is what stands
    in the file that it names to the process, in this form (torch.distributed.elastic).
    """
    if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        line = f"process {os.environ.get('RANK')}: {line}"
        more = {"py_callstack": line, "timestamp": str(int(time.time()))}
        Path(file).write_text(json.dumps({"message": {"message": line, "extraInfo": more}}))
