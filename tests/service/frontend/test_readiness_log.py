"""Which lines the log gets when readiness changes."""

from collections.abc import Iterator

from structlog.testing import capture_logs

from interlock.frontend.readiness_log import ReadinessLog


class Server:
    """A server with objections that a test changes; `lines` looks and returns what was logged."""

    def __init__(self, *objections: str) -> None:
        self.found = list(objections)
        self.log = ReadinessLog(self._objections)

    def _objections(self) -> Iterator[str]:
        yield from self.found

    def lines(self, *objections: str) -> list[tuple[str, str]]:
        self.found = list(objections)
        with capture_logs() as logs:
            self.log.look()
        return [(line["log_level"], line["event"]) for line in logs]


def test_becoming_ready_is_told_once() -> None:
    server = Server("the first loads have not ended")

    assert server.lines() == [("info", "ready")]
    assert server.lines() == []


def test_ceasing_to_be_ready_says_why() -> None:
    server = Server()

    assert server.lines("required model 'x' was not loaded") == [
        ("warning", "not ready: required model 'x' was not loaded")
    ]
    assert server.lines("required model 'x' was not loaded") == []


def test_another_reason_is_told_while_it_stays_unready() -> None:
    server = Server("a")

    assert server.lines("b") == [("warning", "not ready: b")]
    assert server.lines("b", "c") == [("warning", "not ready: b; c")]


def test_what_is_known_from_the_beginning_is_not_told() -> None:
    assert Server("the first loads have not ended").lines("the first loads have not ended") == []


def test_a_line_names_a_few_reasons_and_counts_the_rest() -> None:
    server = Server()

    assert server.lines(*"abcde") == [("warning", "not ready: a; b; c; and 2 more")]
    # The ones that are not named make no line of their own.
    assert server.lines(*"abcd") == []
