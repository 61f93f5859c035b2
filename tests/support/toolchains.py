"""Programs in other languages that tests use where their tool chain is present.

What is built is kept in the user's cache, so that only the first run pays for it.
"""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

GRPCURL: Final = "github.com/fullstorydev/grpcurl/cmd/grpcurl"
GRPCURL_VERSION: Final = "v1.9.3"
BUILD_TIMEOUT_S: Final = 900


def cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "interlock" / "tools"


def grpcurl() -> str:
    """Return the program: the one on the path, or else one that Go builds.

    Skip the test where there is neither.
    """
    if found := shutil.which("grpcurl"):
        return found
    go = shutil.which("go")
    if go is None:
        pytest.skip("no grpcurl and no go here")
    return str(_go_install(go, GRPCURL, GRPCURL_VERSION))


def _go_install(go: str, package: str, version: str) -> Path:
    folder = cache_folder() / f"{Path(package).name}-{version}"
    program = folder / Path(package).name
    folder.mkdir(parents=True, exist_ok=True)
    # Two runs of the tests may want it at the same time.
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            subprocess.run(
                [go, "install", f"{package}@{version}"],
                env={**os.environ, "GOBIN": str(folder), "GOFLAGS": "-buildvcs=false"},
                timeout=BUILD_TIMEOUT_S,
                check=True,
            )
    return program
