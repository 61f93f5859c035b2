"""How names lead to versions where models of one name are told apart.

What a look-up answers otherwise the tests of the wire say.
"""

import pytest

from interlock.domain.errors import InvalidRequestError, NotFoundError
from interlock.serving.table import ModelEntry, ServingTable
from tests.support.boundary import entry, loaded


def table(*models: str, namespacing: bool = True) -> ServingTable:
    shown = ServingTable(namespacing=namespacing)
    shown.show({model: entry(loaded(model)) for model in models})
    return shown


def test_a_qualified_name_leads_to_its_model() -> None:
    assert table("a::m", "b::m").find("b::m", "").key.model == "b::m"


def test_a_bare_name_leads_to_the_only_model_of_it() -> None:
    assert table("a::m", "b::n").find("m", "1").key.model == "a::m"


def test_a_bare_name_of_several_models_is_refused() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        table("a::m", "b::m", "c::m").lease("m", "")

    assert str(caught.value) == (
        "There are 3 identifiers of model 'm' in global map, model namespace must be provided to "
        "resolve ambiguity."
    )


def test_a_model_of_exactly_this_name_goes_first() -> None:
    assert table("m", "a::m", "b::m").find("m", "").key.model == "m"


def test_a_name_of_which_nothing_is_known_but_a_failed_poll_is_not_in_the_way() -> None:
    shown = table("a::m")
    shown.show({"a::m": entry(loaded("a::m")), "m": ModelEntry()})

    assert shown.find("m", "").key.model == "a::m"


def test_without_namespacing_a_name_is_a_name() -> None:
    with pytest.raises(NotFoundError):
        table("a::m", namespacing=False).find("m", "")


def test_a_bare_name_is_forgotten_with_its_model() -> None:
    shown = table("a::m")
    shown.show({"n": ModelEntry()})

    with pytest.raises(NotFoundError):
        shown.find("m", "")
