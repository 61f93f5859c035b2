"""Whatever happens to a repository, half files, failures and restarts: what is served is right."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from interlock.domain.errors import ServiceError
from interlock.serving.served_model import ServedModel
from tests.support.followed_repository import FILES, GOOD, MODEL, Follower

versions = st.integers(1, 2)
picks = st.integers(0, 3)
kinds = st.sampled_from([GOOD, GOOD, "bad!"])


class Following(RuleBasedStateMachine):
    """Somebody changes files while a server follows them; each content is published once."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp())
        self.root = self.home / "models"
        self.away = self.home / "unmounted"
        (self.root / MODEL).mkdir(parents=True)
        (self.root / MODEL / "config.pbtxt").write_text('backend: "identity"')
        self.count = 0
        self.published: set[str] = set()
        self.copying: dict[int, str] = {}
        self.leased: list[ServedModel] = []
        # What there was when a rollback came true, and what has served since.
        self.held: tuple[dict[int, str], dict[int, str]] | None = None
        self.follower = Follower(self.root)

    def teardown(self) -> None:
        for model in self.leased:
            model.leases.give_back()
        shutil.rmtree(self.home)

    # What people do to the files.

    @rule(version=versions, kind=kinds)
    def rename_into_place(self, version: int, kind: str) -> None:
        """A version that is complete from the first moment."""
        self.delete(version)
        aside = self.home / "aside"
        _write(aside, self._publish(kind))
        aside.rename(self._path(version))

    @rule(version=versions, kind=kinds)
    def write_anew(self, version: int, kind: str) -> None:
        _write(self._path(version), self._publish(kind))
        self.copying.pop(version, None)

    @rule(version=versions, is_first_done=st.booleans())
    def begin_to_copy(self, version: int, is_first_done: bool) -> None:
        text = self._new(GOOD)
        half = text[: len(text) // 2]
        _write(self._path(version), *([text, half] if is_first_done else [half, ""]))
        self.copying[version] = text

    @precondition(lambda self: self.copying)
    @rule(pick=picks)
    def end_the_copy(self, pick: int) -> None:
        version = sorted(self.copying)[pick % len(self.copying)]
        text = self.copying.pop(version)
        self.published.add(text)
        _write(self._path(version), text)

    @rule(version=versions)
    def touch(self, version: int) -> None:
        if (path := self._path(version) / FILES[0]).exists():
            path.touch()

    @rule(version=versions)
    def delete(self, version: int) -> None:
        shutil.rmtree(self._path(version), ignore_errors=True)
        self.copying.pop(version, None)

    @precondition(lambda self: not self.away.exists())
    @rule()
    def unmount(self) -> None:
        self.root.rename(self.away)

    @precondition(lambda self: self.away.exists())
    @rule()
    def mount(self) -> None:
        self.away.rename(self.root)

    # What the server does, in any order.

    @rule(seconds=st.sampled_from([0.5, 2.1, 20.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        self.follower.pass_time(seconds)

    @rule()
    def the_poller_looks(self) -> None:
        self.follower.tick()

    @rule()
    def the_background_works(self) -> None:
        self.follower.work()

    @rule()
    def the_manager_steps(self) -> None:
        self.follower.step()

    @precondition(lambda self: self.follower.executor.loads)
    @rule(pick=picks)
    def a_load_runs(self, pick: int) -> None:
        self.follower.executor.run_load(pick)

    @precondition(lambda self: self.follower.executor.loads)
    @rule()
    def a_load_runs_while_its_files_move(self) -> None:
        version = self.follower.executor.loads[0].key.version
        self.follower.loader.meanwhile = lambda: self.rename_into_place(version, GOOD)
        self.follower.executor.run_load()

    @rule()
    def drains_end(self) -> None:
        self.follower.executor.run_drains()
        self.follower.executor.run_unloads()

    @rule(version=st.sampled_from(["", "1", "2"]))
    def a_request_arrives(self, version: str) -> None:
        try:
            found = self.follower.table.lease(MODEL, version)
        except ServiceError:
            return
        assert self.follower.loader.contents[found.key] in self._good()
        self.leased.append(found)

    @precondition(lambda self: self.leased)
    @rule()
    def a_request_ends(self) -> None:
        self.leased.pop(0).leases.give_back()

    @precondition(lambda self: not self.away.exists())
    @rule(version=st.sampled_from([None, 1, 2]))
    def roll_back(self, version: int | None) -> None:
        self.come_to_rest()
        before = (self.follower.shown, self.follower.hold)
        failure = self.follower.roll_back(version)
        if failure is None:
            self.held = (self._there(), self.follower.shown)
            assert self.follower.shown != {}
            assert self.follower.hold is not None
        else:
            assert (self.follower.shown, self.follower.hold) == before

    @precondition(lambda self: not self.away.exists())
    @rule(version=versions)
    def roll_back_what_has_just_come(self, version: int) -> None:
        """Without it few walks come far enough to have something to go back to."""
        self.come_to_rest()
        self.rename_into_place(version, GOOD)
        self.roll_back(None)

    @rule()
    def release(self) -> None:
        self.follower.release()
        self.held = None

    @rule()
    def restart(self) -> None:
        """As after a kill: nothing is kept, nobody is told."""
        self.leased.clear()
        self.held = None
        self.follower = Follower(self.root)

    # What has to come of it.

    @rule()
    def come_to_rest(self) -> None:
        before = self.follower.shown
        self.follower.come_to_rest()
        after = self.follower.shown
        if self.away.exists():
            assert after == before
            return
        there = self._there()
        if self.held is not None and self.held[0] == there:
            assert self.follower.hold is not None
            assert after == self.held[1]
            return
        self.held = None
        assert self.follower.hold is None
        good = {version: text for version, text in there.items() if text in self._good()}
        if not there:
            assert after == {}
        elif max(there) in good:
            assert after == {max(there): good[max(there)]}
        elif before:
            assert after != {}
        elif good:
            assert after == {max(good): good[max(good)]}
        else:
            assert after == {}

    @invariant()
    def what_serves_was_published_whole_and_is_good(self) -> None:
        assert set(self.follower.shown.values()) <= self._good()

    @invariant()
    def what_is_leased_is_loaded(self) -> None:
        assert all(model.key in self.follower.loader.contents for model in self.leased)

    def _good(self) -> set[str]:
        """Return what versions that are whole and good answer."""
        return {text * len(FILES) for text in self.published if text.startswith(GOOD)}

    def _new(self, kind: str) -> str:
        """Return a content that there was none like; its size is not that of the one before."""
        self.count += 1
        return f"{kind} {self.count}{'.' * (self.count % 40)}\n"

    def _publish(self, kind: str) -> str:
        text = self._new(kind)
        self.published.add(text)
        return text

    def _path(self, version: int) -> Path:
        root = self.away if self.away.exists() else self.root
        return root / MODEL / str(version)

    def _there(self) -> dict[int, str]:
        """Return what the files of each version say now."""
        return {
            version: "".join(
                path.read_text() for file in FILES if (path := self._path(version) / file).exists()
            )
            for version in (1, 2)
            if any(self._path(version).glob("*"))
        }


def _write(directory: Path, text: str, second: str | None = None) -> None:
    """Write both files, the second one shorter where that is asked for."""
    directory.mkdir(exist_ok=True)
    (directory / FILES[0]).write_text(text)
    (directory / FILES[1]).write_text(text if second is None else second)


Following.TestCase.settings = settings(max_examples=120, stateful_step_count=60)
TestFollowing = Following.TestCase
