"""Where a project keeps its state, as cosmos-jobs.yaml says."""

from __future__ import annotations

from collections.abc import Callable

from cosmos_jobs.config.project import FILE, Project
from cosmos_jobs.errors import StoreError
from cosmos_jobs.state.backends.base import StateFile
from cosmos_jobs.state.backends.cache import Copied
from cosmos_jobs.state.backends.local import LocalFile
from cosmos_jobs.state.backends.migrate import MOVED, Moving

COPY = "state.copy"
OFFLINE_TIMEOUT_S = 10.0
"""How long those try who only read: they may have a copy to go on with."""


def state_file(
    project: Project,
    say: Callable[[str], None],
    *,
    offline: bool = False,
    asking: bool = True,
) -> StateFile:
    """Return the project's state file; `say` gets lines for people.

    With `offline` readers of a shared one that is out of reach get the last copy,
    without `asking` in any case.
    """
    if not project.state:
        return _local(project)
    path = project.cache / COPY
    told = say if offline else None
    shared = Copied(_shared(project, say), path, told, asking=asking)
    return Moving(shared, project.store, say)


def _shared(project: Project, say: Callable[[str], None]) -> StateFile:
    # Either takes long to import, and most projects have a local state.
    if project.state.url:
        from cosmos_jobs.state.backends.s3 import ObjectFile

        return ObjectFile(project.state.url, project.connect_timeout_s, say)
    from cosmos_jobs.state.backends.host import RemoteFile
    from cosmos_jobs.targets.hosts.ssh.host import SSHHost

    target = project.targets[project.state.target]
    host = SSHHost(target.hosts[0], connect_timeout_s=target.patience_s(), say=say)
    return RemoteFile(host, target.root, project.client)


def _local(project: Project) -> LocalFile:
    moved = project.store.with_name(project.store.name + MOVED)
    if moved.exists() and not project.store.exists():
        raise StoreError(
            f"the state of this project was moved, and `state` is no longer in {FILE}",
            hint=f"put it back; to keep the state here again, then type\n"
            f"  cosmos-jobs state pull > {project.store}; after that remove `state`",
        )
    return LocalFile(project.store)
