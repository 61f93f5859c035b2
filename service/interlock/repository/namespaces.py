"""Tell models of one name apart by the repository that they lie in: `--model-namespacing`.

A name that is in one repository only stays as it is; of one that is in several, each model
is called `<namespace>::<name>`. The protocol has no place for a namespace, but any model
name can be written this way.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SEPARATOR: Final = "::"
_TOP: Final = "root"


def qualified(namespace: str, name: str) -> str:
    """Return the name of a model whose bare name is in several repositories."""
    return f"{namespace}{SEPARATOR}{name}" if namespace else name


@dataclass(frozen=True, slots=True)
class OtherNames:
    """What models are called where their bare name is in one repository, and where in several.

    `namespaces` are those of the roots; none where repositories have none.
    """

    namespaces: Mapping[Path, str]

    def of(self, identifier: str, directory: Path) -> tuple[str, ...]:
        """Return the other name of a model in a directory; none for one outside of every root.

        That, which came with a request, has another name if it is qualified.
        """
        namespace = self.namespaces.get(directory.parent)
        if namespace is not None and not identifier.startswith(namespace + SEPARATOR):
            return (qualified(namespace, identifier),)
        return self._bare(identifier)

    def any_of(self, identifier: str) -> tuple[tuple[str, ...], ...]:
        """Return the other names of a model, for each place where it may lie."""
        qualifying = {qualified(one, identifier) for one in self.namespaces.values()}
        return (self._bare(identifier), *((one,) for one in sorted(qualifying)))

    def _bare(self, identifier: str) -> tuple[str, ...]:
        namespaces = self.namespaces.values()
        found = (one + SEPARATOR for one in namespaces if identifier.startswith(one + SEPARATOR))
        return tuple(sorted({identifier.removeprefix(one) for one in found}))


def ambiguity(name: str, count: int) -> str:
    """Return what is said to whoever names one of several models by its bare name."""
    return (
        f"There are {count} identifiers of model '{name}' in global map, model namespace must be "
        "provided to resolve ambiguity."
    )


def namespaces_of(roots: Sequence[Path]) -> Mapping[Path, str]:
    """Return the namespace of each root: the end of its path, as short as tells them apart.

    A name of a model has no slashes, so the folders of a longer end are joined by dots.
    """
    parts = {root: root.absolute().parts[1:] for root in roots}
    different = set(parts.values())
    longest = max(map(len, different), default=0)
    for length in range(1, longest + 1):
        labels = {one: _label(one, length) for one in different}
        if len(set(labels.values())) == len(different):
            return {root: labels[one] for root, one in parts.items()}
    numbers = {one: number for number, one in enumerate(sorted(different), start=1)}
    return {root: f"{_label(one, longest)}-{numbers[one]}" for root, one in parts.items()}


def qualified_names(names: Iterable[str]) -> Mapping[str, Sequence[str]]:
    """Return those of the names that are qualified, by the bare name."""
    found: dict[str, list[str]] = {}
    for name in names:
        namespace, _, bare = name.rpartition(SEPARATOR)
        if namespace:
            found.setdefault(bare, []).append(name)
    return found


def _label(parts: Sequence[str], length: int) -> str:
    return ".".join(parts[-length:]) or _TOP
