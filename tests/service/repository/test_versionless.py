"""Which models lie still without any version."""

from pathlib import Path

from interlock.repository.fingerprint import Fingerprint
from interlock.repository.listing import FILE, Entry
from interlock.repository.scan import FoundModel, FoundVersion, Scan
from interlock.repository.versionless import Versionless

SETTLE_S = 2.0


def scan(*versions: int, size: int = 1) -> Scan:
    """One model `m`, of a configuration and these versions."""
    entries = (Entry("config.pbtxt", FILE, size, 1, 1, 1, 1),)
    found = {version: FoundVersion(version, "", (), 0) for version in versions}
    return Scan({"m": FoundModel("m", Path("m"), entries, Fingerprint({}, ""), found, None)})


def test_what_has_lain_still_for_long_enough_is_told_of() -> None:
    versionless = Versionless(SETTLE_S)
    versionless.look(scan(), (), 10.0)
    assert versionless.models == {}
    assert versionless.next_look() == 12.0

    versionless.look(scan(), (), 12.0)
    assert list(versionless.models) == ["m"]
    assert versionless.next_look() is None


def test_what_moves_begins_anew() -> None:
    versionless = Versionless(SETTLE_S)
    versionless.look(scan(), (), 10.0)
    versionless.look(scan(size=2), (), 11.0)
    versionless.look(scan(size=2), (), 12.0)

    assert versionless.models == {}
    assert versionless.next_look() == 13.0


def test_what_has_a_version_or_had_one_just_now_is_none() -> None:
    versionless = Versionless(SETTLE_S)
    versionless.look(scan(1), (), 10.0)
    versionless.look(scan(), {"m"}, 20.0)
    assert versionless.models == {}
    assert versionless.next_look() is None

    versionless.look(scan(), (), 21.0)
    versionless.look(Scan(), (), 30.0)
    assert versionless.models == {}
