"""The enhancers: how prompts are written in more detail. None knows another."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cosmos_jobs.config.project import EnhancerSettings, Project
from cosmos_jobs.core.errand import Messenger
from cosmos_jobs.enhancers.base import Enhancer
from cosmos_jobs.errors import CosmosJobsError, EngineError

GROUP = "cosmos_jobs.enhancers"
"""The entry points of other packages: each makes an enhancer of settings and a messenger."""


def _template(settings: EnhancerSettings, messenger: Messenger) -> Enhancer:
    from cosmos_jobs.enhancers.template import TemplateEnhancer

    return TemplateEnhancer()


def _openai(settings: EnhancerSettings, messenger: Messenger) -> Enhancer:
    from cosmos_jobs.enhancers.openai import OpenAIEnhancer

    return OpenAIEnhancer(settings)


def _pixtral(settings: EnhancerSettings, messenger: Messenger) -> Enhancer:
    from cosmos_jobs.enhancers.pixtral import PixtralEnhancer

    return PixtralEnhancer(settings, messenger)


_KINDS: Mapping[str, Callable[[EnhancerSettings, Messenger], Enhancer]] = {
    "template": _template,
    "openai": _openai,
    "pixtral": _pixtral,
}


def enhancer_of(project: Project, wanted: str, messenger: Messenger) -> Enhancer:
    """Return the enhancer NAME or NAME:MODEL, or the project's own; EngineError for none."""
    return get(project.enhancing(wanted), messenger)


def get(settings: EnhancerSettings, messenger: Messenger) -> Enhancer:
    """Return the enhancer of a project's settings.

    Raises EngineError when nobody provides its kind, or what does cannot be
    made of these settings.
    """
    if made := _KINDS.get(settings.kind):
        return made(settings, messenger)
    # Looking for what is installed takes long, and most need none of it.
    from importlib.metadata import entry_points

    found = {each.name: each for each in entry_points(group=GROUP)}
    if settings.kind not in found:
        known = ", ".join(dict.fromkeys((*_KINDS, *found)))
        raise EngineError(
            f"there is no enhancer `{settings.kind}`",
            hint=f"there is {known}; others are named under `enhancers` in cosmos-jobs.yaml",
        )
    try:
        enhancer: Enhancer = found[settings.kind].load()(settings, messenger)
    except CosmosJobsError:
        raise
    except Exception as error:
        # Code of others may raise anything; what it raises says most.
        raise EngineError(
            f"the enhancer `{settings.kind}` cannot be used: {type(error).__name__}: {error}",
            hint=f"it comes from the package {found[settings.kind].dist}",
        ) from error
    return enhancer
