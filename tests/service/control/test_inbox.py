"""Where messages wait for the next step."""

from interlock.control.inbox import Inbox
from interlock.runtime.threads import spawn


def test_takes_everything_oldest_first_and_once() -> None:
    inbox: Inbox[int] = Inbox()
    inbox.put(1)
    inbox.put(2)

    assert inbox.take() == [1, 2]
    assert inbox.take() == []


def test_waits_until_something_is_there() -> None:
    inbox: Inbox[int] = Inbox()
    assert not inbox.wait(0)

    thread = spawn("sender", lambda: inbox.put(1))

    assert inbox.wait(30)
    thread.join(30)
