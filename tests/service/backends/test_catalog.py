"""Which backends there are."""

import pytest

from interlock.backends.builtin.identity import IdentityBackend
from interlock.backends.catalog import Catalog, built_in
from interlock.domain.errors import InvalidRequestError


def test_identity_and_onnxruntime_are_built_in() -> None:
    catalog = built_in()

    assert catalog.names == ("identity", "onnxruntime")
    assert [catalog.find(name, model="m").name for name in catalog.names] == list(catalog.names)


def test_an_unknown_backend_is_refused_with_what_there_is_and_what_is_missing() -> None:
    catalog = Catalog({"identity": IdentityBackend()})

    with pytest.raises(InvalidRequestError) as caught:
        catalog.find("python", model="m")

    assert str(caught.value) == (
        "unable to find backend library for backend 'python' of model 'm': this server has "
        "identity; python, tensorrt, pytorch, openvino, tensorflow, ensemble are not available "
        "in this version"
    )


def test_a_backend_s_own_options_win_over_those_of_every_backend() -> None:
    catalog = built_in({"": {"a": "1", "b": "1"}, "identity": {"b": "2"}})

    assert catalog.options_of("identity") == {"a": "1", "b": "2"}
    assert catalog.options_of("onnxruntime") == {"a": "1", "b": "1"}


def test_a_bad_option_of_the_runtime_is_refused_at_once() -> None:
    options = {"onnxruntime": {"enable-global-threadpool": "1", "intra_op_thread_count": "many"}}

    with pytest.raises(InvalidRequestError, match="intra_op_thread_count=many"):
        built_in(options)
