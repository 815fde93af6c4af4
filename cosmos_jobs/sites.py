"""The machines of a target, ready to work: how each is reached, and how work is queued there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cosmos_jobs.errors import HostError
from cosmos_jobs.executors.process import ProcessExecutor
from cosmos_jobs.hosts.local import LocalHost
from cosmos_jobs.project import Project, Target
from cosmos_jobs.protocols import Executor, Host

MAX_AHEAD = 32
"""How many batches wait on a machine at most, beside those at work."""


@dataclass(slots=True, eq=False)
class Site:
    """A machine of a target.

    `ahead` batches wait there beside those at work, so that no GPU waits for
    us. `trouble` is why it is left alone from now on, if it is.
    """

    target: Target
    host: Host
    executor: Executor
    ahead: int
    trouble: HostError | None = None

    @property
    def name(self) -> str:
        """What the machine is called in the store."""
        return self.host.name

    @property
    def is_here(self) -> bool:
        """Whether it is the machine that we are on."""
        return not self.target.hosts


@dataclass(frozen=True, slots=True)
class Access:
    """How machines are reached: how long to try, and whom to tell of trouble on the way."""

    say: Callable[[str], None]
    connect_timeout_s: float


def open_sites(project: Project, target: Target, access: Access) -> tuple[Site, ...]:
    """Return the machines of a target; none is connected to yet."""
    return tuple(
        Site(
            target,
            host,
            ProcessExecutor(host, target, project.client, project.identity),
            target.slots,
        )
        for host in open_hosts(project, target, access)
    )


def open_hosts(project: Project, target: Target, access: Access) -> tuple[Host, ...]:
    """Return how the machines of a target are reached."""
    if not target.hosts:
        return (LocalHost(),)
    from cosmos_jobs.hosts.ssh import SSHHost

    return tuple(
        SSHHost(
            address,
            connect_timeout_s=access.connect_timeout_s,
            say=access.say,
            identity=project.identity,
        )
        for address in target.hosts
    )
