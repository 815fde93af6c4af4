"""The machines of targets, ready to work: how each is reached, and how work is queued there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from cosmos_jobs.config.project import Project, Target
from cosmos_jobs.core.batch import Batch
from cosmos_jobs.errors import HostError
from cosmos_jobs.targets import executors
from cosmos_jobs.targets.executors.base import Executor, Swept
from cosmos_jobs.targets.executors.batch_dir import BatchDirectory
from cosmos_jobs.targets.hosts.base import Host
from cosmos_jobs.targets.hosts.local import LocalHost

GIVE_UP = "put it back, or give the runs up: cosmos-jobs cancel --all"
MAX_AHEAD = 32
"""How many batches wait on a machine at most, beside those at work."""


@dataclass(slots=True, eq=False, kw_only=True)
class Machine:
    """A machine of a target: its host, its folders of `batches`, and what queues them.

    `ahead` batches wait there beside those at work, so that no GPU waits for
    us. `trouble` is why it gets no more of them, if it does not; one that
    `is_silent` cannot even be asked what became of the others.
    """

    target: Target
    host: Host
    batches: BatchDirectory
    executor: Executor
    ahead: int
    secrets: frozenset[str] = frozenset()
    trouble: HostError | None = None
    is_silent: bool = False

    @property
    def name(self) -> str:
        """What the machine is called in the store."""
        return self.host.name

    @property
    def is_here(self) -> bool:
        """Whether it is the machine that we are on, and what works there is our own process."""
        return executors.is_here(self.target)

    async def sweep(self, needed: Collection[str], *, delete: bool) -> Sequence[Swept]:
        """Return the batches and inputs that nobody needs any more; with `delete` they go."""
        return await self.batches.sweep(needed, self.executor.judge, delete=delete)


@dataclass(frozen=True, slots=True)
class Access:
    """How machines are reached: whom to tell of trouble on the way."""

    say: Callable[[str], None]


def open_machines(project: Project, target: Target, access: Access) -> tuple[Machine, ...]:
    """Return the machines of a target; none is connected to yet."""
    return tuple(
        _open(project, target, host, access) for host in open_hosts(project, target, access)
    )


def _open(project: Project, target: Target, host: Host, access: Access) -> Machine:
    secrets = frozenset(
        value
        for installation in target.engines.values()
        for value in project.secrets(installation).values()
    )
    batches = BatchDirectory(
        host, target.root, client=project.client, owner=project.owner, secrets=secrets
    )
    executor = executors.of(target).open(batches, target, access.say)
    traits = executor.traits
    return Machine(
        target=target,
        host=host,
        batches=batches,
        executor=executor,
        # A scheduler takes all that there is.
        ahead=sys.maxsize if traits.queues_elsewhere else traits.slots,
        secrets=secrets,
    )


def open_hosts(project: Project, target: Target, access: Access) -> tuple[Host, ...]:
    """Return how the machines of a target are reached."""
    if not target.hosts:
        return (LocalHost(),)
    from cosmos_jobs.targets.hosts.ssh.host import SSHHost

    return tuple(
        SSHHost(
            address,
            connect_timeout_s=target.patience_s(),
            say=access.say,
            identity=project.identity,
            locks=project.locks,
        )
        for address in target.hosts
    )


class Fleet:
    """The machines of a project's targets, each opened once, when it is first needed."""

    def __init__(self, project: Project, access: Access) -> None:
        self._project = project
        self._access = access
        self._machines: dict[str, tuple[Machine, ...]] = {}

    def of(self, target: str) -> tuple[Machine, ...]:
        """Return the machines of a target; HostError when the project no longer has it."""
        if target not in self._machines:
            found = self._project.targets.get(target)
            if found is None:
                raise HostError(
                    f"the target `{target}` is no longer in cosmos-jobs.yaml, but runs wait there",
                    hint=GIVE_UP,
                )
            self._machines[target] = open_machines(self._project, found, self._access)
        return self._machines[target]

    def machine_of(self, batch: Batch) -> Machine | None:
        """Return the machine that has a batch; None while it is any of several."""
        machines = self.of(batch.target)
        if not batch.host:
            return machines[0] if len(machines) == 1 else None
        for machine in machines:
            if machine.name == batch.host:
                return machine
        raise HostError(
            f"`{batch.host}` is no longer a host of `{batch.target}`, but runs are there",
            hint=GIVE_UP,
        )

    def all(self) -> tuple[Machine, ...]:
        """Return the machines that were needed so far."""
        return tuple(machine for machines in self._machines.values() for machine in machines)

    def leave(self, machine: Machine, error: HostError, *, silent: bool) -> None:
        """Give a machine nothing more, and say why; until it answers again, if it is `silent`."""
        # Where there is no other machine, it is what the whole command ends with.
        if machine.trouble is None and len(self.of(machine.target.name)) > 1:
            self._access.say(error.message)
        machine.trouble = error
        machine.is_silent = silent

    def welcome(self, machine: Machine) -> None:
        """Note that a machine has answered."""
        if machine.is_silent:
            machine.trouble, machine.is_silent = None, False

    async def close(self) -> None:
        """Let go of all machines."""
        for machine in self.all():
            await machine.host.close()
