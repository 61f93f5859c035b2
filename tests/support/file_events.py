"""A source of file events that is told what happens."""

import os
from pathlib import Path

from watchdog.events import (
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import ObservedWatch


class FakeEventSource:
    """Implements `repository.watcher.EventSource`; `fails` are paths that cannot be watched."""

    def __init__(self) -> None:
        self.is_started = False
        self.is_joined = False
        self.fails: dict[str, int] = {}
        self.scheduled: list[str] = []
        self.handlers: dict[ObservedWatch, FileSystemEventHandler] = {}

    def start(self) -> None:
        self.is_started = True

    def schedule(
        self,
        event_handler: FileSystemEventHandler,
        path: str,
        *,
        recursive: bool,
        event_filter: list[type[FileSystemEvent]],
    ) -> ObservedWatch:
        if path in self.fails:
            raise OSError(self.fails[path], os.strerror(self.fails[path]))
        watch = ObservedWatch(path, recursive=recursive, event_filter=event_filter)
        assert watch not in self.handlers
        self.handlers[watch] = event_handler
        self.scheduled.append(path)
        return watch

    def unschedule(self, watch: ObservedWatch) -> None:
        del self.handlers[watch]

    def stop(self) -> None:
        self.is_started = False

    def join(self) -> None:
        self.is_joined = True

    @property
    def watched(self) -> set[tuple[str, bool]]:
        """Which paths are watched, and whether with all that is below."""
        return {(watch.path, watch.is_recursive) for watch in self.handlers}

    def happen(self, path: Path, dest: Path | None = None) -> None:
        """Something happens to a path: every watch that covers it hears of it."""
        event: FileSystemEvent = FileCreatedEvent(str(path))
        if dest is not None:
            event = FileMovedEvent(str(path), str(dest))
        for watch, handler in list(self.handlers.items()):
            is_inside = path.is_relative_to(watch.path)
            if is_inside and (watch.is_recursive or str(path.parent) == watch.path):
                handler.dispatch(event)
