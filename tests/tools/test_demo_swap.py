"""The demonstration finds nothing to complain of, and would complain of what is wrong."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.models import Repository
from tests.support.server_process import ServerProcess
from tests.support.wire import Client
from tools import demo_swap
from tools.demo_swap import MODEL, Loading, Outcome, Polling, Requests, Story, slope, table
from tools.environment import ROOT
from tools.publishing import Folder, Kind, plan_changes

CHANGES = plan_changes(12, 1, settle_s=demo_swap.SETTLE_S)
GOOD = Outcome(
    mode="poll",
    changes={"rename": 200},
    seconds=100.0,
    before=Requests(1000, 5.0, 9.0, 10.0),
    during=Requests(20_000, 7.0, 19.0, 20.0),
    failed=(),
    disagreeing=(),
    disagreeing_answers=0,
    overlooked=(),
    files_seen=200,
    memory_before_bytes=100_000_000,
    memory_after_bytes=101_000_000,
    slope_kb_a_change=3.0,
    is_slope_judged=True,
)


@pytest.mark.parametrize("mode", ["poll", "explicit"])
def test_no_client_notices_what_happens_to_the_repository(mode: str) -> None:
    outcome = demo_swap.run(mode, CHANGES, unary_clients=4, streams=4, at_rest_s=0.2)

    assert outcome.is_good, (outcome.failed, outcome.disagreeing, outcome.overlooked)
    assert set(outcome.changes) == {kind.value for kind in Kind}
    good = [change for change in CHANGES if not change.kind.is_bad and change.kind is not Kind.GONE]
    assert outcome.files_seen == 1 + len(good)
    assert outcome.during.sent > 100


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Folder, Client]]:
    """A server that follows nothing by itself."""
    repository = Repository(tmp_path / "models")
    demo_swap.write_first(repository)
    with (
        ServerProcess.start(demo_swap.flags_of("explicit", repository.root)) as process,
        Client(process.address) as client,
    ):
        yield Folder(repository.root / MODEL, tmp_path / "aside"), client


@pytest.mark.parametrize("kind", [Kind.RENAME, Kind.WRONG, Kind.GONE])
def test_a_change_that_nobody_follows_is_found(server: tuple[Folder, Client], kind: Kind) -> None:
    folder, client = server
    story = Story()
    second, *_ = (change for change in CHANGES if change.kind is Kind.RENAME)
    second = replace(second, number=90, version=2, constant=90, in_place=False)
    story.follow(second, folder, Loading(client))
    assert story.overlooked == []

    (change,) = [change for change in CHANGES if change.kind is kind][:1]
    change = replace(change, version=2, in_place=True, pauses_s=(0.0,), then_sweep=None)
    story.follow(change, folder, Polling(client, within_s=0.1))

    (text,) = story.overlooked
    assert text.startswith(f"{change}: ")


@pytest.mark.parametrize(
    "outcome",
    [
        replace(GOOD, failed=("UNAVAILABLE: no",)),
        replace(GOOD, disagreeing=("an answer",)),
        replace(GOOD, overlooked=("a change",)),
        replace(GOOD, slope_kb_a_change=100.0),
    ],
)
def test_what_is_not_as_it_must_be_fails_the_run(outcome: Outcome) -> None:
    assert GOOD.is_good
    assert not outcome.is_good


def test_too_few_changes_tell_nothing_of_the_memory() -> None:
    assert replace(GOOD, slope_kb_a_change=900.0, is_slope_judged=False).is_good


def test_the_slope_is_that_of_the_straight_line() -> None:
    assert slope([5.0, 7.0, 9.0]) == pytest.approx(2.0)
    assert slope([5.0]) == 0.0


def test_the_table_has_a_column_for_each_mode() -> None:
    lines = table([GOOD, replace(GOOD, mode="explicit")]).splitlines()

    assert lines[0].split() == ["mode", "poll", "explicit"]
    assert "requests sent                               21,000        21,000" in lines
    assert "  a change, the last 100                    3.0 kB        3.0 kB" in lines


def test_explains_itself() -> None:
    done = subprocess.run(
        [ROOT / "tools" / "demo-swap", "--help"], capture_output=True, text=True, check=False
    )

    if done.returncode == 2:  # where the development environment is another one
        assert done.stderr == (
            "tools/demo-swap: no development environment; run tools/test once to make it\n"
        )
    else:
        assert done.stdout.startswith("usage: tools/demo-swap ")
