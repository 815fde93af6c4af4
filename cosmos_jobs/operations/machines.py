"""Look at the machines of targets."""

from __future__ import annotations

from cosmos_jobs.operations.session import Session, wait
from cosmos_jobs.targets.doctor import Examined, examine


def doctor(
    session: Session,
    target: str = "",
    *,
    accept_new_host_key: bool = False,
    connect_timeout_s: float | None = None,
) -> tuple[Examined, ...]:
    """Return what is there and what is missing on the machines of a target, or of all."""
    session = session.trying(connect_timeout_s)
    return wait(
        examine(
            session.project,
            session.targets(target),
            accept_new_host_key=accept_new_host_key,
        )
    )
