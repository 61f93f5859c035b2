"""Domain errors as gRPC status, and texts as they can travel."""

import grpc
import pytest

from interlock.domain import errors
from interlock.domain.errors import InvalidRequestError, ServiceError
from interlock.frontend.status import code_of, text_of


class SpecialError(InvalidRequestError):
    """A kind of error that the table does not name."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ServiceError, grpc.StatusCode.UNKNOWN),
        (errors.InternalError, grpc.StatusCode.INTERNAL),
        (errors.NotFoundError, grpc.StatusCode.NOT_FOUND),
        (errors.InvalidRequestError, grpc.StatusCode.INVALID_ARGUMENT),
        (errors.UnavailableError, grpc.StatusCode.UNAVAILABLE),
        (errors.UnsupportedError, grpc.StatusCode.UNIMPLEMENTED),
        (errors.AlreadyExistsError, grpc.StatusCode.ALREADY_EXISTS),
        (errors.RequestCancelledError, grpc.StatusCode.CANCELLED),
        (errors.ExhaustedError, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (SpecialError, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_each_error_has_its_status(error: type[ServiceError], code: grpc.StatusCode) -> None:
    assert code_of(error("why")) is code


def test_every_class_of_error_is_in_the_table() -> None:
    codes = [
        code_of(kind("why"))
        for kind in ServiceError.__subclasses__()
        if kind.__module__ == errors.__name__
    ]

    assert len(codes) == len(set(codes))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("plain words", id="ASCII"),
        pytest.param("line one\n  line two ^", id="several lines"),
        pytest.param("größer als 100 %", id="not ASCII"),
        pytest.param("x" * 6000, id="as long as can be"),
    ],
)
def test_a_text_that_fits_stays_as_it_is(text: str) -> None:
    assert text_of(InvalidRequestError(text)) == text


@pytest.mark.parametrize(
    ("character", "kept"),
    [
        pytest.param("x", 6000, id="printable"),
        pytest.param("%", 2000, id="the escape itself"),
        pytest.param("\n", 2000, id="a control"),
        pytest.param("é", 1000, id="two bytes"),
        pytest.param("語", 666, id="three bytes"),
    ],
)
def test_a_text_that_no_trailer_holds_is_cut(character: str, kept: int) -> None:
    assert text_of(InvalidRequestError(character * 7000)) == character * kept + " [...]"


def test_a_file_name_that_is_no_text_can_be_sent() -> None:
    assert text_of(InvalidRequestError("no file 'a\udcff'")) == "no file 'a?'"


def test_only_our_own_errors_have_a_status() -> None:
    with pytest.raises(TypeError, match=r"^KeyError is not a ServiceError$"):
        code_of(KeyError("x"))  # type: ignore[arg-type]  # what a careless caller might do
