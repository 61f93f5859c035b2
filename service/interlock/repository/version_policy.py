"""Decide which of the versions that are there are served."""

from collections.abc import Sequence
from dataclasses import dataclass

from interlock.domain.config import VersionPolicy, VersionPolicyKind


@dataclass(frozen=True, slots=True)
class Selection:
    """The versions to serve, and those that the policy names but are not there; ascending."""

    versions: tuple[int, ...]
    missing: tuple[int, ...] = ()


def select(policy: VersionPolicy, available: Sequence[int]) -> Selection:
    """Return what the policy selects, which may be nothing: that is for the caller to refuse."""
    present = sorted(set(available))
    if policy.kind is VersionPolicyKind.ALL:
        return Selection(tuple(present))
    if policy.kind is VersionPolicyKind.LATEST:
        return Selection(tuple(present[max(0, len(present) - policy.num_versions) :]))
    wanted = sorted(set(policy.versions))
    return Selection(
        versions=tuple(version for version in wanted if version in present),
        missing=tuple(version for version in wanted if version not in present),
    )
