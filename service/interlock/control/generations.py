"""One generation of a version: what it is made of, how far it is, and what became of it.

`records` keeps those of a model, and is what changes them.
"""

from dataclasses import dataclass
from typing import Final

from interlock.control.adjusting import Adjustment, Stage
from interlock.control.index import GenerationView
from interlock.control.lateness import is_late
from interlock.control.lifecycle import ON_THE_WAY, Phase, Transition, readiness_of
from interlock.control.reports import Report
from interlock.control.rollback import Content
from interlock.domain.cause import A_LOAD, Cause
from interlock.domain.errors import ServiceError
from interlock.domain.ids import GenerationKey
from interlock.domain.transition import VersionState
from interlock.serving.load_job import LoadJob
from interlock.serving.served_model import ServedModel

KEPT: Final = ON_THE_WAY | {Phase.PROVING, Phase.READY, Phase.STANDBY}
"""The phases in which a generation goes on where a load finds the same content."""


@dataclass(slots=True, eq=False)
class Record:
    """One generation of one version.

    `served` is set from the moment it has been built until it has been unloaded. `reason`
    is the index's; `last_move` has its own. `origin` says what it has in the place of the
    repository's own. `moved` says that its files changed under the load, which tells
    nothing of their content; `hung`, that its load was written off, and may hold a thread.
    `refusal` is why its repository agents, or what they left behind, kept it from being
    loaded at all. `failures` is how often its content has failed so far. `standby_until` is
    the end of its rollback window. `body` stands for the files but for the configuration;
    `adjustment` is what is to become of the instances of what serves, or failed to. `remark`
    is what the policy has against it though it serves; one that is contested is not what a
    load of its content leaves alone, one that is renewed never stands by, one that is banned goes
    at once, and its heir is there to say why. `cause` is why it was begun.
    """

    job: LoadJob
    fingerprint: str
    origin: str = ""
    phase: Phase = Phase.NEW
    reason: str = ""
    served: ServedModel | None = None
    refusal: ServiceError | None = None
    last_move: Transition | None = None
    moved: bool = False
    hung: bool = False
    failures: int = 0
    standby_until: float | None = None
    body: str = ""
    adjustment: Adjustment | None = None
    cause: Cause = A_LOAD
    remark: str = ""
    is_contested: bool = False
    is_renewed: bool = False
    is_banned: bool = False
    is_banned_heir: bool = False

    @property
    def content(self) -> Content:
        """What loading it again takes."""
        return Content(self.job, self.fingerprint, self.origin, self.body)

    @property
    def key(self) -> GenerationKey:
        return self.job.key

    @property
    def planned_phase(self) -> Phase:
        """The phase as the planner takes it: PROVING is built, and waits for the others.

        While its golden requests still run it is not that far.
        """
        if self.phase is Phase.PROVING and self.served is None:
            return Phase.WARMING
        return self.phase

    @property
    def built(self) -> ServedModel:
        """What was built. Raise LookupError in a phase in which there is nothing."""
        if self.served is None:
            raise LookupError(f"{self.key} is {self.phase.value}, nothing of it is loaded")
        return self.served

    @property
    def may_stay(self) -> bool:
        """Whether a load of the same content leaves it as it is."""
        return self.phase in KEPT and not (self.is_contested or self.is_banned)

    @property
    def has_failed_late(self) -> bool:
        """Whether it failed though its repository agents had let it pass."""
        return self.phase is Phase.FAILED and self.refusal is None

    @property
    def is_open(self) -> bool:
        """Whether it is on its way, or other instances for what serves are, with no end yet."""
        if self.phase is Phase.READY and self.adjustment is not None:
            return self.adjustment.stage is not Stage.FAILED
        return self.phase in ON_THE_WAY

    @property
    def why_unchanged(self) -> str:
        """Why its instances are still what they were, "" where nobody wanted others."""
        if self.phase is not Phase.READY or self.adjustment is None:
            return ""
        return self.adjustment.reason

    def is_past(self, report: Report) -> bool:
        """Whether the report comes too late to change anything."""
        return is_late(report, self.phase, built=self.served is not None)

    def view(self, next_try: float | None = None) -> GenerationView:
        """Return what others may see of it now; `next_try` is when it is tried again."""
        move = self.last_move
        reason = self.reason if self.phase is Phase.FAILED else move.reason if move else ""
        return GenerationView(
            VersionState(
                self.key,
                self.phase,
                readiness_of(self.phase),
                reason=reason,
                since=None if move is None else move.moment,
                failures=self.failures,
                next_try=next_try,
            ),
            self.fingerprint,
            None if self.served is None else self.served.leases,
            instances=0 if self.served is None else self.served.instances.count,
            body=self.body,
            config=self.job.config,
        )

    def become(self, job: LoadJob, fingerprint: str, origin: str) -> None:
        """Stand for other files that come to the same, but perhaps for its instances."""
        self.job, self.fingerprint, self.origin = job, fingerprint, origin
        self.adjustment = None

    def change_again(self) -> None:
        """Try once more to get the instances that could not be had."""
        if self.adjustment is not None:
            self.adjustment = self.adjustment.again()

    def adjusted(self) -> str:
        """Let what was prepared take over; return what has changed, in a few words."""
        made = self.adjustment
        if made is None or made.update is None:
            raise LookupError(f"nothing is prepared for {self.key}")
        self.served = made.update.apply()
        self.become(made.job, made.fingerprint, made.origin)
        return made.update.summary
