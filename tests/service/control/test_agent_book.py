"""How long verdicts are kept."""

import pytest

from interlock.control.agent_book import VerdictBook
from interlock.control.agent_hearing import Judged
from interlock.control.agent_policy import Candidate
from interlock.control.agent_verdicts import Heard, Verdict
from interlock.control.lifecycle import Phase, Transition
from interlock.domain.ids import Generation, GenerationKey
from tests.support.control import key

FIRST = Judged(Verdict((Heard("checksum", {}),)), Candidate("m"), None)
SECOND = Judged(Verdict((Heard("checksum", {}, refusal="no"),)), Candidate("m"), None)
ONE, TWO = key(1), key(2)
AGAIN = GenerationKey(ONE.model, ONE.version, Generation(ONE.generation + 1))


def moved(book: VerdictBook, of: GenerationKey, after: Phase) -> None:
    book.moved(Transition(of, Phase.NEW, after, "", 0.0))


def book_of(verdict: Judged, *keys: GenerationKey) -> VerdictBook:
    book = VerdictBook()
    book.write(keys, verdict)
    return book


def test_all_that_is_loaded_together_has_one_verdict() -> None:
    book = book_of(FIRST, ONE, TWO)

    assert book.judged(ONE) is book.judged(TWO) is FIRST
    assert book.judged(AGAIN) is None


def test_a_new_verdict_takes_the_place_of_the_old_one() -> None:
    book = book_of(FIRST, ONE)

    book.write([ONE], SECOND)

    assert book.judged(ONE) is SECOND


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.UNLOADED])
def test_a_verdict_is_kept_while_there_is_something_to_tell(phase: Phase) -> None:
    book = book_of(FIRST, ONE)

    moved(book, ONE, phase)

    assert book.judged(ONE) is FIRST


def test_what_is_gone_has_none() -> None:
    book = book_of(FIRST, ONE, TWO)

    moved(book, ONE, Phase.UNLOADED)

    assert book.judged(ONE) is None
    assert book.judged(TWO) is FIRST


def test_what_failed_has_one_until_another_generation_does() -> None:
    book = book_of(SECOND, ONE)
    moved(book, ONE, Phase.FAILED)

    book.write([TWO], FIRST)
    assert book.judged(ONE) is SECOND
    book.write([AGAIN], FIRST)

    assert book.judged(ONE) is None
    assert book.judged(AGAIN) is FIRST


def test_what_serves_keeps_its_own_beside_its_successor() -> None:
    book = book_of(FIRST, ONE)
    moved(book, ONE, Phase.READY)

    book.write([AGAIN], SECOND)

    assert book.judged(ONE) is FIRST


def test_what_failed_without_a_verdict_leaves_nothing() -> None:
    book = VerdictBook()
    moved(book, ONE, Phase.FAILED)

    book.write([ONE], FIRST)
    book.write([AGAIN], FIRST)

    assert book.judged(ONE) is FIRST


def test_a_verdict_is_amended_where_nobody_has_given_another_meanwhile() -> None:
    book = book_of(FIRST, ONE)

    book.amend(ONE, SECOND, FIRST)
    assert book.judged(ONE) is FIRST
    book.amend(TWO, FIRST, SECOND)
    assert book.judged(TWO) is None
    book.amend(ONE, FIRST, SECOND)

    assert book.entries() == {ONE: SECOND}
