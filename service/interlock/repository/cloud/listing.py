"""List a remote repository, in spite of keys of which no path can be made.

One such key makes the listing of everything around it fail. So where that happens each model
is listed for itself: it then costs the model that it lies in, and no other.
"""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field

from interlock.repository.cloud.objects import RemoteObject
from interlock.repository.cloud.store import ObjectStore, OddKeyError
from interlock.repository.layout import is_ignored


@dataclass(slots=True)
class Listed:
    """What was listed, and of which models nothing could be.

    `odd` says why, by model; the empty name is for the repository, of which models that
    nobody knows yet may be lacking.
    """

    objects: list[RemoteObject] = field(default_factory=list)
    odd: dict[str, str] = field(default_factory=dict)


def list_all(store: ObjectStore, known: Collection[str]) -> Listed:
    """List every object; `known` are models to look for by their names. Raise StoreError."""
    try:
        return Listed(list(store.list()))
    except OddKeyError as error:
        return _list_one_by_one(store, known, error)


def list_names(store: ObjectStore) -> frozenset[str]:
    """Return the names of the models that are there. Raise StoreError."""
    try:
        folders = store.folders()
    except OddKeyError:
        folders = store.folders_but_odd_ones()
    return frozenset(name for name in folders if not is_ignored(name))


def _list_one_by_one(store: ObjectStore, known: Collection[str], odd: OddKeyError) -> Listed:
    listed = Listed()
    names: Collection[str] = ()
    try:
        names = store.folders()
    except OddKeyError:
        listed.odd[""] = str(odd)
        with suppress(OddKeyError):
            names = store.folders_but_odd_ones()
    for name in sorted({*names, *known}):
        try:
            listed.objects.extend(store.list(name))
        except OddKeyError as error:
            listed.odd[name] = str(error)
    return listed
