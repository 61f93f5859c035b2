"""The runtime tells nobody what it loads, and writes nothing down."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support import onnx_small

PROGRAM = """
import sys
from interlock.backends.onnxruntime import session
import onnxruntime
onnxruntime.InferenceSession(sys.stdin.buffer.read())
try:
    onnxruntime.InferenceSession(b"nothing that it knows")
except Exception:
    print("refused")
"""


def test_a_model_that_is_loaded_leaves_no_trace(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORT_")}
    places = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(tmp_path))

    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=onnx_small.add_constant(1.0),
        env={**environment, **places},
        capture_output=True,
        check=True,
    )

    assert ran.stdout == b"refused\n"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
