"""What the control plane says as it is put together."""

from pathlib import Path

from structlog.testing import capture_logs

from interlock.control_plane import catalog_of
from interlock.settings import AgentSettings


def test_directories_of_agents_that_are_not_there_are_told_of_at_the_start(tmp_path: Path) -> None:
    settings = AgentSettings(
        directory=tmp_path, key_directory=tmp_path / "keys", signer_directory=tmp_path / "signers"
    )

    with capture_logs() as logs:
        catalog_of(settings)

    told = [(line["flag"], line["directory"]) for line in logs if "flag" in line]
    assert told == [
        ("--key-directory", str(tmp_path / "keys")),
        ("--signer-directory", str(tmp_path / "signers")),
    ]
