"""Operations on the machines of targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cosmos_jobs.core.batch import CONNECT_TIMEOUT_S
from cosmos_jobs.errors import UsageError
from cosmos_jobs.operations.base import Base, wait
from cosmos_jobs.targets.executors import is_here

if TYPE_CHECKING:
    from cosmos_jobs.targets.doctor import Examined
    from cosmos_jobs.targets.executors.base import Swept


class Machines(Base):
    """What can be done with machines."""

    def doctor(
        self,
        target: str = "",
        *,
        accept_new_host_key: bool = False,
        connect_timeout_s: float | None = None,
    ) -> tuple[Examined, ...]:
        """Return what is there and what is missing on the machines of a target, or of all."""
        from cosmos_jobs.targets import doctor

        return wait(
            doctor.examine(
                self.project,
                self._targets(target),
                accept_new_host_key=accept_new_host_key,
                connect_timeout_s=connect_timeout_s or doctor.CONNECT_TIMEOUT_S,
            )
        )

    def prune_remote(
        self, target: str, *, delete: bool, connect_timeout_s: float = CONNECT_TIMEOUT_S
    ) -> Mapping[str, Sequence[Swept]]:
        """Return, by machine, what nobody needs there any more; with `delete` it goes.

        Needed are the batches in flight of this store and those that other
        clients have marked, with their inputs.
        """
        from cosmos_jobs.state import prune

        targets = [each for each in self._targets(target) if not is_here(each)]
        if not targets:
            raise UsageError(
                "no target of this project has hosts" if not target else f"{target} has no hosts",
                hint="this machine's own working files: cosmos-jobs prune",
            )
        return wait(
            prune.remote(
                self.project,
                self.store,
                targets,
                connect_timeout_s=connect_timeout_s,
                delete=delete,
            )
        )
