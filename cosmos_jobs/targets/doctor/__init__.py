"""Look at the machines of targets: what is there, what is missing, what to type."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cosmos_jobs.config.project import Project, Target
from cosmos_jobs.errors import HostError, NoContact
from cosmos_jobs.targets.doctor import machine as machine_checks
from cosmos_jobs.targets.doctor.machine import Trip
from cosmos_jobs.targets.findings import Check, Verdict, facts
from cosmos_jobs.targets.fleet import Access, open_hosts
from cosmos_jobs.targets.hosts.base import Host

CONNECT_TIMEOUT_S = 20
SCRIPT_TIMEOUT_S = 180


@dataclass(frozen=True, slots=True)
class Examined:
    """A machine of a target, and what was found there."""

    target: str
    host: str
    checks: tuple[Check, ...]

    @property
    def lacks(self) -> int:
        """How many things are missing."""
        return sum(each.verdict is Verdict.MISSING for each in self.checks)


async def examine(
    project: Project,
    targets: Sequence[Target],
    *,
    accept_new_host_key: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Examined, ...]:
    """Look at every machine of the targets, at all of them at once.

    A machine that cannot be reached is one with a failed check. With
    `accept_new_host_key` host keys that are not known are written to
    known_hosts; one that has changed is refused all the same. `say` is told
    when contact is sought.
    """
    access = Access(say)
    impatient = (
        replace(each, connect_timeout_s=each.patience_s(CONNECT_TIMEOUT_S)) for each in targets
    )
    machines = [
        (target, host) for target in impatient for host in open_hosts(project, target, access)
    ]
    return tuple(
        await asyncio.gather(
            *(_examine(project, *machine, accept_new_host_key) for machine in machines)
        )
    )


async def _examine(project: Project, target: Target, host: Host, accept: bool) -> Examined:
    try:
        keys = await _host_keys(host, accept)
        found = (*keys, *await _asked(project, target, host))
    except HostError as error:
        found = (_unreachable(error, host),)
    finally:
        await host.close()
    return Examined(target.name, host.name, found)


async def _host_keys(host: Host, accept: bool) -> tuple[Check, ...]:
    from cosmos_jobs.targets.hosts.ssh.host import SSHHost

    if not isinstance(host, SSHHost):
        return ()
    accepted = await host.accept_new_host_key() if accept else ()
    said = f"accepted {', '.join(accepted)}" if accepted else "the one in known_hosts"
    return (Check("host key", Verdict.OK, said),)


async def _asked(project: Project, target: Target, host: Host) -> tuple[Check, ...]:
    secrets = {
        engine: frozenset(project.secrets(installation))
        for engine, installation in machine_checks.installed(target).items()
    }
    sent = time.time()
    done = await host.run(machine_checks.script(target), timeout_s=SCRIPT_TIMEOUT_S)
    trip, found = Trip(sent, time.time()), facts(done.stdout)
    address = host.name if target.hosts else ""
    return machine_checks.judged(target, address, found, trip, secrets)


def _unreachable(error: HostError, host: Host) -> Check:
    hint = error.hint
    if isinstance(error, NoContact):
        # Its own hint leads here.
        hint = f"try it by hand: {machine_checks.ssh_command(host.name)}"
    return Check("ssh", Verdict.MISSING, error.message, hint)
