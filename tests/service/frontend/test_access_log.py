from collections.abc import Iterator

from structlog.testing import capture_logs

from interlock.frontend.access_log import AccessLog


def record(access_log: AccessLog) -> None:
    access_log.record(
        rpc="ModelInfer",
        id="7",
        model="digits",
        version="1",
        status="OK",
        duration_us=1500,
        peer="ipv4:127.0.0.1:5",
        request_bytes=300,
        response_bytes=80,
    )


def test_there_is_none_where_it_is_off() -> None:
    assert AccessLog.of(0.0) is None


def test_writes_one_line_for_each_request() -> None:
    access_log = AccessLog.of(1.0)
    assert access_log is not None
    with capture_logs() as lines:
        record(access_log)

    assert lines == [
        {
            "event": "request",
            "log_level": "info",
            "rpc": "ModelInfer",
            "id": "7",
            "model": "digits",
            "version": "1",
            "status": "OK",
            "duration_us": 1500,
            "peer": "ipv4:127.0.0.1:5",
            "request_bytes": 300,
            "response_bytes": 80,
        }
    ]


def test_writes_the_share_of_requests_on_which_the_lot_falls() -> None:
    draws: Iterator[float] = iter([0.0, 0.24, 0.25, 0.9])
    access_log = AccessLog(0.25, draw=lambda: next(draws))
    with capture_logs() as lines:
        for _ in range(4):
            record(access_log)

    assert len(lines) == 2
