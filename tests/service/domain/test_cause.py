"""What a load is called."""

import pytest

from interlock.domain.cause import Deed, load_deed


@pytest.mark.parametrize(
    ("has_config", "has_files", "deed"),
    [
        (False, False, Deed.LOAD),
        (True, False, Deed.CONFIG_OVERRIDE),
        (True, True, Deed.FILE_OVERRIDE),
        (False, True, Deed.FILE_OVERRIDE),
    ],
)
def test_a_load_is_called_after_what_it_brings(
    *, has_config: bool, has_files: bool, deed: Deed
) -> None:
    assert load_deed(has_config=has_config, has_files=has_files) is deed
