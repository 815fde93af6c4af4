"""Exported job files: what they ask for is, run by run, what they were made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cosmos_jobs.config import schema
from cosmos_jobs.core import identity
from cosmos_jobs.core.job import Expansion, JobInputs
from cosmos_jobs.core.record import PromptRecord, Record, State
from cosmos_jobs.core.run import InputFile, Scalar
from cosmos_jobs.core.snapshot import Snapshot
from cosmos_jobs.jobs import expand, export_text, parse
from tests.support.examples import file, inputs, parsed

EDGE = {"edge": 0.7}
EVEN = dict.fromkeys(("vis", "edge", "depth", "seg"), 0.25)
FILES = {path: file(path, path) for path in ("masks/pier.mp4", "masks/street.mp4", "refs/dusk.jpg")}


def store(expansion: Expansion) -> Snapshot:
    """Return the store after everything of an expansion was made."""
    prompts = {
        key: PromptRecord(
            prompt=source.prompt,
            name=source.name,
            video=source.video,
            files={role: str(one.path) for role, one in source.files.items() if role != "run"},
            frames=121,
        )
        for key, source in expansion.prompts.items()
    }
    runs = {
        each.run.id: Record(
            each.run,
            {each.job: each.place},
            State.SUCCEEDED,
            files={name: str(one.path) for name, one in each.files.items()},
        )
        for each in expansion.runs
    }
    states = {key: each.state for key, each in runs.items()}
    return Snapshot(runs, states, prompts, {})


def made(body: str) -> Snapshot:
    job = parsed(body)
    expansion, found = expand.expand(job, inputs(files=FILES), schema.contract(job.engine))
    assert expansion is not None, [each.message for each in found]
    return store(expansion)


def exported(known: Snapshot, ids: Iterable[str] = ()) -> list[str]:
    found, refused = export_text.parts(list(ids) or list(known.states), known)
    assert not refused
    return [export_text.text(part, known.prompts, "again") for part in found]


def asked(text: str, engine: str = "preview") -> dict[str, str]:
    """Return the runs that a job file asks for, each with its place; it must have no problem."""
    job, found = parse.parse(text.encode(), "j", engine=engine, target="local", targets=["local"])
    assert job is not None, [each.message for each in found]
    assert not found, [each.message for each in found]
    videos: dict[str, Mapping[str, InputFile]] = {
        name: {role: file(path.removesuffix(".mp4")) for role, path in source.files.items()}
        for name, source in job.videos.items()
    }
    expansion, found = expand.expand(job, JobInputs(videos, {}, FILES), schema.contract(job.engine))
    assert expansion is not None, [each.message for each in found]
    assert not found, [each.message for each in found]
    return {each.run.id: each.place for each in expansion.runs}


JOBS = {
    "one of all": "prompts: {golden: A pier at golden hour}\n",
    "weights": (
        "prompts: {a: A pier}\nweights: {grid: {edge: [0.1, 0.5], vis: [0, 0.3]}, x: {seg: 1}}\n"
    ),
    "parameters": (
        'prompts: {a: A pier}\nparams: {seed: [1, 2], num_steps: 50, resolution: ["480", "720"]}\n'
    ),
    "a default among others": "prompts: {a: A pier}\nparams: {seed: [1, 2025]}\n",
    "variables": (
        "prompts: {a: 'A {w} pier', b: {text: B, negative: cartoon, videos: [pier]}}\n"
        "variables: {w: [wet, dry]}\n"
    ),
    "zip": "prompts: {a: A pier}\nparams: {seed: [1, 2]}\nzip: [[video, seed]]\n",
    "exclude": ("prompts: {a: A, b: B}\nparams: {seed: [1, 2]}\nexclude: [{prompt: a, seed: 1}]\n"),
    "include": (
        "prompts: {a: A}\ninclude: [{prompt: a, video: pier, weights: {edge: 1}, num_steps: 9}]\n"
    ),
    "4K": "prompts: {a: A}\nupscale: {weight: 0.3}\n",
    "4K with words": "prompts: {a: A, b: B}\nupscale: {prompt: 'very {fine}'}\n",
    "files": (
        "engine: transfer2.5\nprompts: {a: A}\nweights: {e: {edge: 0.8, seg: 0.2}}\n"
        "params: {masks: {edge: [masks/pier.mp4, masks/street.mp4]}, mask_prompt: {seg: road},"
        " image_context: refs/dusk.jpg}\nzip: [[video, masks.edge]]\n"
    ),
    "regions": (
        "engine: transfer1\nprompts: {a: A}\nregions:\n"
        "  - {prompt: 'a red {car}', box: [0.1, 0.25, 0.5, 0.9]}\n"
        "  - {prompt: a road, mask_prompt: the road}\n"
    ),
    "numbers and no values": (
        "engine: cosmos3\nprompts: {a: A}\nweights: {e: {edge: 1}}\n"
        "params: {guidance: [2.5, 3], control_guidance: [null, 1.25], guardrails: [true, false]}\n"
    ),
}


@pytest.mark.parametrize("body", JOBS.values(), ids=JOBS.keys())
def test_what_was_made_comes_out_with_its_ids(body: str) -> None:
    known = made(body)

    (text,) = exported(known)

    assert asked(text).keys() == known.states.keys()


@pytest.mark.parametrize("body", JOBS.values(), ids=JOBS.keys())
def test_any_part_of_it_comes_out_alone(body: str) -> None:
    known = made(body)
    prompts = {each: known.prompts[known.runs[each].run.prompt_id] for each in known.states}
    ids = [each for each, prompt in prompts.items() if "run" not in prompt.prompt.inputs]

    for kept in (ids[:1], ids[1:], ids[::2]):
        if kept:
            assert set().union(*(asked(each) for each in exported(known, kept))) == set(kept)


def test_all_combinations_are_multiplied_and_others_listed() -> None:
    known = made("prompts: {a: A, b: B}\nparams: {seed: [1, 2]}\n")

    (whole,) = exported(known)
    (part,) = exported(known, list(known.states)[1:])

    assert "seed: [1, 2]" in whole
    assert "include" not in whole
    assert part.count("- {prompt") == len(known.states) - 1


def test_a_default_is_not_written_and_a_shared_value_once() -> None:
    (text,) = exported(made("prompts: {a: A}\nparams: {num_steps: 50, seed: 2025}\n"))

    assert yaml.safe_load(text)["params"] == {"num_steps": 50}


def test_what_only_some_are_upscaled_of_is_two_files() -> None:
    known = made("prompts: {a: A, b: B}\nupscale: true\n")
    *kept, _ = known.states

    texts = exported(known, kept)

    assert len(texts) == 2
    assert set().union(*map(asked, texts)) == set(kept)


def test_a_run_that_upscales_brings_the_one_along_that_it_works_on() -> None:
    known = made("prompts: {a: A}\nupscale: true\n")
    first, behind, *_ = known.states

    (text,) = exported(known, [behind])

    assert asked(text).keys() == {first, behind}


def test_several_engines_are_several_files() -> None:
    one, other = made("prompts: {a: A}\n"), made("engine: transfer1\nprompts: {a: A}\n")
    known = Snapshot({**one.runs, **other.runs}, {**one.states, **other.states}, one.prompts, {})

    texts = exported(known)

    assert [yaml.safe_load(each)["engine"] for each in texts] == ["preview", "transfer1"]
    assert set().union(*map(asked, texts)) == known.states.keys()


def test_videos_with_one_name_and_prompts_with_one_name_get_names_of_their_own() -> None:
    known = made("prompts: {a: 'A {w}'}\nvariables: {w: [x, y]}\n")
    same = {key: replace(each, name="A pier!", video="clip") for key, each in known.prompts.items()}

    (text,) = exported(replace(known, prompts=same))

    document = yaml.safe_load(text)
    assert list(document["prompts"]) == ["A_pier_", "A_pier_-2"]
    assert list(document["videos"]) == ["clip", "clip-2"]
    assert asked(text).keys() == known.states.keys()


@pytest.mark.parametrize(
    ("params", "why"),
    [({"note": "transfer1"}, "preview"), ({"upscale": 0.5}, "upscale")],
)
def test_what_no_job_file_can_say_is_named_with_its_reason(
    params: Mapping[str, Scalar], why: str
) -> None:
    known = made("prompts: {a: A}\n")
    prompt = next(iter(known.prompts))
    odd = identity.run(prompt, schema.contract("preview"), {}, params)
    runs = {**known.runs, odd.id: Record(odd, {}, State.SUCCEEDED)}
    states = dict.fromkeys(runs, State.SUCCEEDED)

    found, refused = export_text.parts(runs, replace(known, runs=runs, states=states))

    assert found == ()
    assert list(refused) == [odd.id]
    assert why in refused[odd.id]


TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40
) | st.sampled_from(
    ["no", "null", "1e3", "a: b", "a #b", "- x", "{x} }{", "a\n\n  b\nc", "\u2028", "|", " a", "é"]
)


@given(words=TEXTS, negative=TEXTS)
def test_any_text_comes_back_as_it_was(words: str, negative: str) -> None:
    prompt = identity.prompt(words, negative, {"color": file("pier").sha256})
    run = identity.run(prompt.id, schema.contract("preview"), EDGE, {})
    known = Snapshot(
        {run.id: Record(run, {}, State.SUCCEEDED)},
        {run.id: State.SUCCEEDED},
        {
            prompt.id: PromptRecord(
                prompt=prompt, name="p", video="pier", files={"color": "pier.mp4"}, frames=121
            )
        },
        {},
    )
    if not prompt.text:
        return

    (text,) = exported(known)

    assert list(asked(text)) == [run.id]


def test_a_readable_text_stays_readable() -> None:
    (text,) = exported(made("prompts: {a: A wooden pier, b: 'Rain: {{heavy}}'}\n"))

    assert "  a: A wooden pier\n" in text
    assert '  b: "Rain: {{heavy}}"\n' in text
