"""For how long digests are remembered."""

from interlock.control.digest_book import _MIN_MODELS, SPARE, DigestBook
from interlock.control.index import GenerationView, ModelView
from interlock.domain.ids import Generation, GenerationKey, ModelName, Version
from interlock.domain.readiness import Readiness
from interlock.domain.transition import Phase, VersionState

M = ModelName("m")
ONE = Version(1)


class Views:
    """What is loaded: fingerprints of version 1, by model."""

    def __init__(self) -> None:
        self.loaded: dict[str, list[str]] = {}

    def view(self, model: str) -> ModelView | None:
        if model not in self.loaded:
            return None
        generations = tuple(
            GenerationView(
                VersionState(
                    GenerationKey(ModelName(model), ONE, Generation(number)),
                    Phase.READY,
                    Readiness.READY,
                ),
                fingerprint,
            )
            for number, fingerprint in enumerate(self.loaded[model], start=1)
        )
        return ModelView(ModelName(model), (), generations=generations)


def test_a_digest_belongs_to_one_content_of_one_version() -> None:
    book = DigestBook(Views().view)
    book.write(M, ONE, "a", "digest of a")

    assert book.digest_of(M, ONE, "a") == "digest of a"
    assert book.digest_of(M, ONE, "b") == ""
    assert book.digest_of(M, Version(2), "a") == ""
    assert book.digest_of(ModelName("other"), ONE, "a") == ""


def test_what_is_loaded_is_remembered_whatever_comes() -> None:
    views = Views()
    views.loaded["m"] = ["served"]
    book = DigestBook(views.view)
    book.write(M, ONE, "served", "digest")
    for number in range(2 * SPARE):
        book.write(M, ONE, f"never served {number}", str(number))

    assert book.digest_of(M, ONE, "served") == "digest"
    assert book.digest_of(M, ONE, f"never served {2 * SPARE - 1}") == str(2 * SPARE - 1)
    assert book.digest_of(M, ONE, f"never served {SPARE - 1}") == ""


def test_models_that_have_gone_are_forgotten_in_the_end() -> None:
    views = Views()
    views.loaded["m"] = ["served"]
    book = DigestBook(views.view)
    book.write(M, ONE, "served", "digest")
    for number in range(_MIN_MODELS):
        book.write(ModelName(f"gone {number}"), ONE, "a", "b")

    assert book.digest_of(ModelName("gone 0"), ONE, "a") == ""
    assert book.digest_of(M, ONE, "served") == "digest"
