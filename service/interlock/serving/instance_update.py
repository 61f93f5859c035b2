"""Other instances for a version that serves, built beside those that run."""

from dataclasses import dataclass

from interlock.backends.instance_group import Instances
from interlock.scheduling.base import TakeOver
from interlock.serving.load_job import LoadJob
from interlock.serving.served_model import ServedModel


@dataclass(slots=True, eq=False)
class InstanceUpdate:
    """What a new configuration changes of a version, ready to be applied in one step.

    `job` has that configuration and `served` is the version with it: the same scheduler, the
    same statistics, the same leases. One thread at a time; `close` is called once, in any
    case, at the end.
    """

    job: LoadJob
    served: ServedModel
    before: Instances
    after: Instances
    take_over: TakeOver
    is_applied: bool = False

    @property
    def summary(self) -> str:
        """What changes, in a few words."""
        gone, come = self.before.without(self.after), self.after.without(self.before)
        if not gone.placed and not come.placed:
            return f"{len(self.after.placed)} instances as before"
        before, after = len(self.before.placed), len(self.after.placed)
        return f"instances {before} -> {after} ({len(come.placed)} new, {len(gone.placed)} gone)"

    def apply(self) -> ServedModel:
        """Let the new instances take over and return the version as it is now.

        The version must be one that serves. Neither blocks nor fails; what runs on an
        instance that goes is let finish.
        """
        self.served.instances.replace(self.after)
        self.take_over.apply()
        self.is_applied = True
        return self.served

    def close(self) -> None:
        """Close what the update has left over: what it built, or what it has replaced; blocks.

        An instance that was replaced while it ran is closed by its own thread.
        """
        try:
            if self.is_applied:
                Instances(
                    tuple(
                        one for one in self.before.without(self.after).placed if one.place.passive
                    )
                ).close()
            else:
                self.take_over.discard()
                self.after.without(self.before).close()
        finally:
            self.served.instances.let_go()
