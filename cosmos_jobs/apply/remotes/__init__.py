"""Where outputs are published, as `outputs` in cosmos-jobs.yaml says: a bucket or a host."""

from __future__ import annotations

from collections.abc import Callable

from cosmos_jobs.apply.remotes.base import Shelf
from cosmos_jobs.config.project import Project

MAX_MANIFEST = 4 << 20
"""How many bytes a manifest has at most."""

AWAY = "all else goes on; a later apply or fetch publishes what is not published yet"


def shelf(project: Project, say: Callable[[str], None]) -> Shelf | None:
    """Return where a project's outputs are published; None when they are not."""
    if not project.published:
        return None
    # Either takes long to import, and most projects publish nothing.
    if project.published.url:
        from cosmos_jobs.apply.remotes.s3 import ObjectShelf

        return ObjectShelf(project.published.url, project.connect_timeout_s, say)
    from cosmos_jobs.apply.remotes.host import RemoteShelf
    from cosmos_jobs.targets.hosts.ssh.host import SSHHost

    target = project.targets[project.published.target]
    host = SSHHost(
        target.hosts[0],
        connect_timeout_s=target.patience_s(),
        say=say,
        identity=project.identity,
        locks=project.locks,
    )
    return RemoteShelf(host, target.root)
