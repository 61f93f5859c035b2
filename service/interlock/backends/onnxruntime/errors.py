"""Turn what ONNX Runtime raises into the service's words."""

import re
from typing import Final

from interlock.domain.errors import InternalError

_FAIL: Final = 1
_INVALID_ARGUMENT: Final = 2
_STATUS: Final = re.compile(r"\[ONNXRuntimeError\] : (\d+) : \w+ : (.*)", re.DOTALL)


def translate(error: Exception) -> InternalError:
    """Return the error that a client sees: the runtime's own code and text, no traceback.

    What the runtime's Python layer raises has no code; it complains of arguments by ValueError.
    """
    match = _STATUS.match(str(error))
    if match is not None:
        code, text = int(match[1]), match[2]
    else:
        code = _INVALID_ARGUMENT if isinstance(error, ValueError) else _FAIL
        text = str(error)
    return InternalError(f"onnx runtime error {code}: {text.strip()}")
