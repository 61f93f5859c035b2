"""Both transports keep the same contract; what runs here runs on each."""

import queue
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from interlock.frontend.completion_queue import self_test
from interlock.frontend.transport import IncomingCall
from tests.support.carried import (
    TIMEOUT_S,
    RecordingHandler,
    RecordingService,
    carried,
    stream_of,
    unary_of,
)

pytestmark = pytest.mark.parametrize("kind", ["queue", "public"])


def answer(handler: RecordingHandler, message: bytes | None) -> None:
    handler.call.finish(grpc.StatusCode.OK, "", message)


def echo_each(handler: RecordingHandler, message: bytes | None) -> None:
    if message is None:
        handler.call.finish(grpc.StatusCode.OK, "")
    else:
        handler.call.send(message)


def echo_on(handler: RecordingHandler, message: bytes | None) -> None:
    """Echo, and leave the call open after a half-close, as one does that has work in hand."""
    if message is not None:
        handler.call.send(message)


def keep_waiting(_handler: RecordingHandler, _message: bytes | None) -> None:
    """Leave the call open."""


def test_a_unary_call_gets_its_answer(kind: str) -> None:
    service = RecordingService(answer)
    with carried(kind, unary=service, stream=RecordingService(echo_each)) as (channel, _):
        answers = [unary_of(channel)(text, timeout=TIMEOUT_S) for text in (b"a", b"b" * 200_000)]
        assert service.handlers[-1].ended.wait(TIMEOUT_S)

    assert answers == [b"a", b"b" * 200_000]
    assert [handler.cancelled for handler in service.handlers] == [False, False]


def test_an_empty_message_is_not_a_half_close(kind: str) -> None:
    service = RecordingService(answer)
    with carried(kind, unary=service, stream=RecordingService(echo_each)) as (channel, _):
        assert unary_of(channel)(b"", timeout=TIMEOUT_S) == b""

    assert service.handlers[0].messages == [b""]


def test_an_error_has_its_code_and_its_text(kind: str) -> None:
    def refuse(handler: RecordingHandler, _message: bytes | None) -> None:
        handler.call.finish(grpc.StatusCode.NOT_FOUND, "no model 'größe'")

    service = RecordingService(refuse)
    with (
        carried(kind, unary=service, stream=service) as (channel, _),
        pytest.raises(grpc.RpcError) as refused,
    ):
        unary_of(channel)(b"x", timeout=TIMEOUT_S)

    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert refused.value.details() == "no model 'größe'"


def test_metadata_and_peer_reach_the_service(kind: str) -> None:
    seen: list[tuple[str, dict[str, str | bytes]]] = []

    def look(handler: RecordingHandler, message: bytes | None) -> None:
        seen.append((handler.call.peer, dict(handler.call.metadata)))
        answer(handler, message)

    service = RecordingService(look)
    with carried(kind, unary=service, stream=service) as (channel, _):
        unary_of(channel)(b"x", timeout=TIMEOUT_S, metadata=(("x-key", "1"), ("b-bin", b"\xff")))

    peer, metadata = seen[0]
    assert peer.startswith("ipv4:127.0.0.1:")
    assert metadata["x-key"] == "1"
    assert metadata["b-bin"] == b"\xff"


def test_the_end_of_a_call_is_heard_once_when_the_client_cancels(kind: str) -> None:
    service = RecordingService(keep_waiting)
    with carried(kind, unary=service, stream=service) as (channel, _):
        future = unary_of(channel).future(b"x")
        handler = service.wait_for_call()
        future.cancel()

        assert handler.ended.wait(TIMEOUT_S)
        assert handler.cancelled is True
        assert handler.call.finish(grpc.StatusCode.OK, "", b"late") is False


def test_a_deadline_is_heard_as_a_cancellation(kind: str) -> None:
    service = RecordingService(keep_waiting)
    with carried(kind, unary=service, stream=service) as (channel, _):
        with pytest.raises(grpc.RpcError) as expired:
            unary_of(channel)(b"x", timeout=1)
        handler = service.wait_for_call()

        assert handler.ended.wait(TIMEOUT_S)

    assert expired.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert handler.cancelled is True


def test_an_answer_may_come_from_any_thread(kind: str) -> None:
    def later(handler: RecordingHandler, message: bytes | None) -> None:
        threading.Timer(0.01, answer, (handler, message)).start()

    service = RecordingService(later)
    with carried(kind, unary=service, stream=service) as (channel, _):
        futures = [unary_of(channel).future(b"%d" % n, timeout=TIMEOUT_S) for n in range(6)]

        assert [future.result() for future in futures] == [b"%d" % n for n in range(6)]


def test_a_stream_keeps_its_order_and_ends_after_the_half_close(kind: str) -> None:
    service = RecordingService(echo_each)
    sent = [b"%d" % n for n in range(50)]
    with carried(kind, unary=RecordingService(answer), stream=service) as (channel, _):
        received = list(stream_of(channel)(iter(sent), timeout=TIMEOUT_S))
        handler = service.handlers[0]
        assert handler.ended.wait(TIMEOUT_S)

    assert received == sent
    assert handler.messages == [*sent, None]
    assert handler.sent == len(sent)
    assert handler.cancelled is False


def test_an_empty_stream_ends_well(kind: str) -> None:
    service = RecordingService(echo_each)
    with carried(kind, unary=RecordingService(answer), stream=service) as (channel, _):
        assert list(stream_of(channel)(iter(()), timeout=TIMEOUT_S)) == []


def test_a_stream_can_be_ended_from_our_side(kind: str) -> None:
    service = RecordingService(keep_waiting)
    never = threading.Event()

    def messages() -> Iterator[bytes]:
        yield b"first"
        never.wait(TIMEOUT_S)

    with carried(kind, unary=RecordingService(answer), stream=service) as (channel, _):
        responses = stream_of(channel)(messages(), timeout=TIMEOUT_S)
        handler = service.wait_for_call()
        handler.call.finish(grpc.StatusCode.UNAVAILABLE, "going down")
        with pytest.raises(grpc.RpcError) as ended:
            next(responses)
        never.set()

        assert handler.ended.wait(TIMEOUT_S)
        assert handler.call.send(b"late") is False

    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert ended.value.details() == "going down"


def test_a_stream_that_is_cancelled_between_two_messages_is_heard_of(kind: str) -> None:
    # grpcio's own handlers may tell of a half-close first, and of the cancellation after it.
    service = RecordingService(echo_on)
    feed: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    with carried(kind, unary=RecordingService(answer), stream=service) as (channel, _):
        responses = stream_of(channel)(iter(feed.get, b""), timeout=TIMEOUT_S)
        feed.put(b"one")
        assert next(responses) == b"one"
        responses.cancel()
        handler = service.handlers[0]

        assert handler.ended.wait(TIMEOUT_S)
        # The client's thread that feeds the stream ends only now: no half-close before.
        feed.put(b"")
        assert handler.cancelled is True


def test_one_broken_event_does_not_end_the_transport(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def break_once(handler: RecordingHandler, message: bytes | None) -> None:
        if message == b"break":
            raise RuntimeError("a bug")
        answer(handler, message)

    service = RecordingService(break_once)
    with carried(kind, unary=service, stream=service) as (channel, _):
        with pytest.raises(grpc.RpcError):
            unary_of(channel)(b"break", timeout=1)

        assert unary_of(channel)(b"still there", timeout=TIMEOUT_S) == b"still there"


def test_many_calls_at_once_are_all_answered(kind: str) -> None:
    service = RecordingService(answer)
    with carried(kind, unary=service, stream=service) as (channel, _):
        calls = [unary_of(channel).future(b"%d" % n, timeout=TIMEOUT_S) for n in range(500)]
        results = [call.result() for call in calls]

    assert results == [b"%d" % n for n in range(500)]


def test_calls_that_race_with_the_servers_stop_end_all_the_same(kind: str) -> None:
    ended: list[str] = []

    def call_until_refused(call: grpc.UnaryUnaryMultiCallable) -> None:
        for _ in range(100_000):
            try:
                call(b"x", timeout=TIMEOUT_S)
            except grpc.RpcError as error:
                ended.append(error.code().name)
                return

    service = RecordingService(answer)
    with carried(kind, unary=service, stream=service) as (channel, server):
        threads = [
            threading.Thread(target=call_until_refused, args=(unary_of(channel),)) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for _ in range(20):
            assert service.opened.acquire(timeout=TIMEOUT_S)
        server.stop(0).wait(TIMEOUT_S)
        for thread in threads:
            thread.join(TIMEOUT_S)

    assert len(ended) == len(threads)
    assert set(ended) <= {"UNAVAILABLE", "CANCELLED"}


def test_nothing_is_sent_after_the_status(kind: str) -> None:
    late: list[bool] = []

    def end_twice(handler: RecordingHandler, _message: bytes | None) -> None:
        handler.call.finish(grpc.StatusCode.OK, "")
        late.append(handler.call.send(b"late"))
        late.append(handler.call.finish(grpc.StatusCode.INTERNAL, "late"))

    service = RecordingService(end_twice)
    with carried(kind, unary=RecordingService(answer), stream=service) as (channel, _):
        assert list(stream_of(channel)(iter([b"x"]), timeout=TIMEOUT_S)) == []

    assert late == [False, False]


def test_a_handler_whose_message_broke_it_hears_of_the_end(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def break_down(_handler: RecordingHandler, _message: bytes | None) -> None:
        raise RuntimeError("a bug")

    service = RecordingService(break_down)
    with carried(kind, unary=service, stream=service) as (channel, _):
        with pytest.raises(grpc.RpcError):
            unary_of(channel)(b"x", timeout=1)

        assert service.handlers[0].ended.wait(TIMEOUT_S)


@pytest.mark.parametrize("folder", ["nowhere", "x" * 120])
def test_the_self_test_needs_no_folder(
    kind: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only container has none to write to, and a long name is too long for a socket."""
    if folder != "nowhere":
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / folder))

    assert kind in {"queue", "public"}
    assert self_test() == ""


def test_the_self_test_finds_this_grpcio_fit(kind: str) -> None:
    assert kind in {"queue", "public"}
    assert self_test() == ""


def test_a_call_is_an_incoming_call(kind: str) -> None:
    kept: list[IncomingCall] = []

    def keep(handler: RecordingHandler, message: bytes | None) -> None:
        kept.append(handler.call)
        answer(handler, message)

    service = RecordingService(keep)
    with carried(kind, unary=service, stream=service) as (channel, _):
        unary_of(channel)(b"x", timeout=TIMEOUT_S)

    assert kept[0].send(b"after the end") is False
