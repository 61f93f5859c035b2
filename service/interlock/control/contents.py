"""Tell whether files that differ from before still contain the same.

A digest belongs to a version with one fingerprint. It is made in the background, once a
version has been loaded, so that there is something to compare a later one with. What a
decision waits for does not wait for those.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from interlock.control.wishes import Candidate
from interlock.repository.digest import CancelledError, ChangedError, digest_files, version_digest
from interlock.repository.layout import is_config
from interlock.repository.scan import FoundModel, FoundVersion, Scan
from interlock.repository.stager import StagedVersion

Task = Callable[[], None]
Key = tuple[StagedVersion, str]
OnDigest = Callable[[StagedVersion, str, str], None]
"""Told the digest of a version with a fingerprint; quick, never blocking."""


@dataclass(slots=True)
class _Content:
    """What is known of a version with one fingerprint; a digest is "" where it has none.

    `body` is the digest without the configuration; it comes with the other one.
    """

    directory: Path
    files: FoundVersion
    digest: str | None = None
    body: str = ""
    is_asked: bool = False

    @property
    def shape(self) -> list[tuple[str, str, int]]:
        return [(file.path, file.kind, file.size) for file in self.files.files]

    @property
    def body_shape(self) -> list[tuple[str, str, int]]:
        return [part for part in self.shape if not is_config(part[0])]


class Contents:
    """Remembers digests. One thread at a time; `submit` does a task in another, `urgent` too.

    `done` is called there when a digest has been made that a decision waits for, `on_digest`
    with each one.
    """

    def __init__(
        self,
        submit: Callable[[Task], None],
        *,
        urgent: Callable[[Task], None],
        done: Callable[[], None],
        is_cancelled: Callable[[], bool],
        on_digest: OnDigest | None = None,
    ) -> None:
        self._submit = submit
        self._urgent = urgent
        self._done = done
        self._is_cancelled = is_cancelled
        self._on_digest = on_digest or _nobody_asks
        self._seen: dict[str, FoundModel] = {}
        self._contents: dict[str, dict[Key, _Content]] = {}
        self._made: SimpleQueue[tuple[Key, str, str]] = SimpleQueue()

    def see(self, scan: Scan, kept: Callable[[str], Collection[str]]) -> None:
        """Take in what there is now; `kept` are the fingerprints to remember of a model."""
        self._take_in()
        for name in self._seen.keys() - scan.models.keys():
            self._forget(name, set(kept(name)))
            del self._seen[name]
        for name, model in scan.models.items():
            if self._seen.get(name) is not model:
                self._seen[name] = model
                now = {one.fingerprint for one in model.versions.values()}
                self._forget(name, now | set(kept(name)))
                known = self._contents.setdefault(name, {})
                for version, files in model.versions.items():
                    key = (StagedVersion(name, version), files.fingerprint)
                    known.setdefault(key, _Content(model.directory, files))

    def is_same(self, version: StagedVersion, before: str, after: str) -> bool | None:
        """Return whether the content is the same; `None` where that is being found out."""
        old = self._content(version, before)
        new = self._content(version, after)
        if old is None or new is None or not old.digest or old.shape != new.shape:
            return False
        if new.digest is None:
            self._hurry((version, after), new)
            return None
        return new.digest == old.digest

    def body_of(self, version: StagedVersion, before: Candidate | None, after: str) -> str | None:
        """Return what the files with a fingerprint stand for, but for the configuration.

        The same as before where they have the same content; `None` where that is being found
        out.
        """
        new = self._content(version, after)
        if new is None:
            return ""
        old = None if before is None else self._content(version, before.observed)
        if before is None or old is None:
            return new.files.body
        same = old.files.body == new.files.body
        if not same and old.digest and old.body_shape == new.body_shape:
            if new.digest is None:
                self._hurry((version, after), new)
                return None
            same = new.body == old.body
        return before.body if same else new.files.body

    def ask(self, version: StagedVersion, fingerprint: str) -> None:
        """Have a digest made, once."""
        key = (version, fingerprint)
        content = self._content(version, fingerprint)
        if content is not None and not content.is_asked:
            content.is_asked = True
            self._submit(lambda: self._make(key, content, _nothing))

    def digest(self, version: StagedVersion, fingerprint: str) -> str | None:
        """Return the digest, `None` until it is made, "" where there is none. Any thread."""
        content = self._content(version, fingerprint)
        return "" if content is None else content.digest

    def _hurry(self, key: Key, content: _Content) -> None:
        """Have a digest made that a decision waits for."""
        if not content.is_asked:
            content.is_asked = True
            self._urgent(lambda: self._make(key, content, self._done))

    def _make(self, key: Key, content: _Content, done: Callable[[], None]) -> None:
        try:
            files = digest_files(
                content.directory, content.files.files, is_cancelled=self._is_cancelled
            )
        except (OSError, ChangedError, CancelledError):
            self._made.put((key, "", ""))
        else:
            body = {path: file for path, file in files.items() if not is_config(path)}
            digest = version_digest(files)
            self._made.put((key, digest, version_digest(body)))
            self._on_digest(*key, digest)
        done()

    def _take_in(self) -> None:
        while True:
            try:
                key, digest, body = self._made.get_nowait()
            except Empty:
                return
            if content := self._content(*key):
                content.digest, content.body = digest, body

    def _forget(self, model: str, kept: Collection[str]) -> None:
        known = self._contents.get(model, {})
        left = {key: content for key, content in known.items() if key[1] in kept}
        if left:
            self._contents[model] = left
        else:
            self._contents.pop(model, None)

    def _content(self, version: StagedVersion, fingerprint: str) -> _Content | None:
        return self._contents.get(version.model, {}).get((version, fingerprint))


def _nothing() -> None:
    """Nobody waits for it."""


def _nobody_asks(_version: StagedVersion, _fingerprint: str, _digest: str) -> None:
    """Nobody wants to know."""
