"""Any job through the preview engine: the same combinations, with what it lacks as a note."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cosmos_jobs.config import schema
from cosmos_jobs.core import identity
from cosmos_jobs.core.job import Contract, Desired, Expansion, Source
from cosmos_jobs.core.run import RUN, InputFile, Scalar


def previewed(expansion: Expansion, original: Contract, contract: Contract, job: str) -> Expansion:
    """Return the same combinations as runs of the preview engine, under another job name.

    Parameters that preview lacks, or whose value it does not know, become the
    `note` of its caption, unless they have their default in the `original` engine.
    """
    runs: dict[str, Desired] = {}
    sources: dict[str, Source] = {}
    now: dict[str, str] = {}
    for each in expansion.runs:
        own = original if each.run.engine == original.engine else schema.contract(each.run.engine)
        shared = {
            name: value
            for name, value in each.run.params.items()
            if name in contract.schemas and _known(value, contract.schemas[name])
        }
        others = {
            name: _in_words(name, value, each.files)
            for name, value in each.run.params.items()
            if name not in shared and value != own.defaults.get(name)
        }
        note = ", ".join(f"{name} {value}" for name, value in others.items())
        params = {**shared, "note": f"{each.run.engine}: {note}" if note else each.run.engine}
        if _known(each.run.engine, contract.schemas["model"]):
            params["model"] = each.run.engine
        source = _following(expansion.prompts[each.run.prompt_id], now.get(each.after))
        run = identity.run(source.prompt.id, contract, each.run.weights, params)
        now[each.run.id] = run.id
        sources.setdefault(source.prompt.id, source)
        after = now.get(each.after, "")
        runs.setdefault(run.id, replace(each, run=run, job=job, files={}, after=after))
    return Expansion(sources, tuple(runs.values()))


def _following(source: Source, run: str | None) -> Source:
    """Return the source with the output of `run` as its input, where there is one."""
    if run is None:
        return source
    words, negative = source.prompt.text, source.prompt.negative
    return replace(source, prompt=identity.prompt(words, negative, {RUN: run}))


def _in_words(name: str, value: Scalar, files: Mapping[str, InputFile]) -> Scalar:
    """Return the value of a parameter as a reader knows it: a file by its name, no digest."""
    if name in files:
        return files[name].path.name
    if name == "regions":
        return str(value).count('"prompt"')
    return value


def _known(value: Scalar, known: Mapping[str, object]) -> bool:
    allowed = known.get("enum")
    return not isinstance(allowed, list) or value in allowed
