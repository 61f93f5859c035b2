"""The mirrors that the settings ask for."""

import stat
from pathlib import Path

import pytest

from interlock.domain.cloud_location import parse_location
from interlock.repository.cloud.root import CloudError, always_used
from interlock.repository.cloud.roots import open_roots
from interlock.repository.scratch import Scratch
from interlock.runtime.clock import monotonic
from interlock.settings import CloudSettings


def test_each_location_has_a_mirror_that_nobody_else_may_enter(tmp_path: Path) -> None:
    locations = tuple(map(parse_location, ("memory://one", "memory://two/models")))
    scratch = Scratch(tmp_path)

    roots = open_roots(
        CloudSettings(locations), scratch, clock=monotonic, settle_s=0.0, is_used=always_used
    )

    assert [root.url for root in roots] == ["memory://one", "memory://two/models"]
    assert roots[1].directory.parts[-2:] == ("two", "models")
    for root in roots:
        assert not root.names()
        (place,) = (one for one in root.directory.parents if one.name.startswith("cloud-"))
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    scratch.close()
    assert not list(tmp_path.iterdir())


def test_credentials_are_looked_for_when_the_store_is_asked(tmp_path: Path) -> None:
    settings = CloudSettings(
        (parse_location("s3://bucket"),),
        environment={"TRITON_CLOUD_CREDENTIAL_PATH": "/nowhere.json"},
    )
    scratch = Scratch(tmp_path)
    (root,) = open_roots(settings, scratch, clock=monotonic, settle_s=0.0, is_used=always_used)

    with pytest.raises(CloudError, match="s3://bucket: TRITON_CLOUD_CREDENTIAL_PATH: /nowhere"):
        root.names()
    scratch.close()


def test_without_a_location_nothing_is_made(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path)

    assert not open_roots(
        CloudSettings(), scratch, clock=monotonic, settle_s=0.0, is_used=always_used
    )
    assert not list(tmp_path.iterdir())
