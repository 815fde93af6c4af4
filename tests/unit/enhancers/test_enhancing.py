"""Prompts that are to be enhanced: what job files mean, and plans before and after."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from cosmos_jobs.cli.views.reasons import text as worded
from cosmos_jobs.config import project, schema
from cosmos_jobs.config.project import EnhancerSettings
from cosmos_jobs.core import identity, serialize
from cosmos_jobs.core.job import Detail, Detailer, Enhanced, Expansion
from cosmos_jobs.core.record import PromptRecord, State
from cosmos_jobs.errors import InvalidFiles
from cosmos_jobs.jobs import expand, parse
from cosmos_jobs.plan import diff
from cosmos_jobs.plan.model import WITHOUT_TEXT, Action
from cosmos_jobs.state.store import Store, Transaction
from tests.support.examples import inputs, parsed, record, snapshot

BODY = "prompts: {golden: {text: A pier, enhance: true}, plain: A pier}\n"
BY = Detailer("llm:m", "openai", {"model": "m", "temperature": 0.5})
ROOT = Path("/films")


def expansion(body: str = BODY, text: str = "", by: Detailer = BY) -> Expansion:
    """Return what a job asks for; its prompt `golden` has this text by now, where there is one."""
    files = inputs()
    detail = Detail({"golden": by})
    found, _ = expand.expand(parsed(body), files, schema.contract("preview"), detail)
    assert found is not None
    if not text:
        return found
    texts = {each.awaits: Enhanced(each.awaits, text, "A pier", by.name) for each in found.runs}
    detail = replace(detail, texts=texts)
    found, _ = expand.expand(parsed(body), files, schema.contract("preview"), detail)
    assert found is not None
    return found


# --- what a job file says -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("true", ""),
        ("false", None),
        ("{model: llm}", "llm"),
        ("{}", ""),
        ('{model: "a:b:3"}', "a:b:3"),
    ],
)
def test_an_enhancer_is_the_projects_or_one_by_name(written: str, meant: str | None) -> None:
    (prompt,) = parsed(f"prompts: {{golden: {{text: A pier, enhance: {written}}}}}\n").prompts

    assert prompt.enhance == meant


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("llm", "must be true or false or a mapping, not the text `llm`"),
        ("3", "must be true or false or a mapping, not 3"),
        ("{modle: llm}", "unknown key `modle`"),
        ('{model: ""}', "`prompts.golden.enhance.model` is empty"),
    ],
)
def test_a_wrong_enhance_is_one_mistake(written: str, message: str) -> None:
    head = "version: 1\nname: x\nvideos: {pier: a}\n"
    text = f"{head}prompts: {{golden: {{text: A, enhance: {written}}}}}\n"

    _, found = parse.parse(text.encode(), "x.yaml", engine="preview", target="local", targets=())

    (one,) = found
    assert message in one.message


# --- before and after ---------------------------------------------------------------------


def test_runs_await_the_text_and_are_no_others() -> None:
    made = expansion()

    golden = [each for each in made.runs if each.prompt == "golden"]
    plain = {each.run.id for each in made.runs if each.prompt == "plain"}
    assert len(golden) == len(plain) == 2
    assert all(each.awaits.startswith("en_") for each in golden)
    assert not plain & {each.run.id for each in golden}


def test_with_its_text_a_run_is_that_of_the_text_written_out() -> None:
    after = expansion(text="A pier in detail")

    written = expansion("prompts: {golden: A pier in detail, plain: A pier}\n", by=BY)
    detail, _ = expand.expand(
        parsed("prompts: {golden: A pier in detail, plain: A pier}\n"),
        inputs(),
        schema.contract("preview"),
    )
    assert written.runs[0].awaits
    assert detail is not None
    assert [each.run for each in after.runs] == [each.run for each in detail.runs]
    assert [each.place for each in after.runs] == [each.place for each in expansion().runs]
    (source, *_) = after.prompts.values()
    assert source.enhancer == "llm:m"
    assert source.parent in after.prompts, "the prompt `plain` is the one that it was made of"


def test_a_text_that_was_left_makes_the_prompt_itself() -> None:
    made = expansion(text="A pier")

    assert {each.parent for each in made.prompts.values()} == {""}
    assert not any(each.awaits for each in made.runs)


def test_what_upscales_a_run_that_awaits_its_text_awaits_it_too() -> None:
    made = expansion(BODY + "upscale: true\n")

    awaited = [each.awaits for each in made.runs if each.prompt == "golden"]
    assert len(awaited) == 4
    assert awaited[0] == awaited[1] != ""


def test_the_text_depends_on_what_is_asked_of_whom_and_not_on_names() -> None:
    video = {"color": "a" * 64}
    key = identity.enhanced("A pier", video, BY)

    assert identity.enhanced("A pier ", video, replace(BY, name="other")) == key
    assert identity.enhanced("A boat", video, BY) != key
    assert identity.enhanced("A pier", {"color": "b" * 64}, BY) != key
    assert identity.enhanced("A pier", video, replace(BY, kind="template")) != key
    assert identity.enhanced("A pier", video, replace(BY, settings={"model": "n"})) != key


def test_ids_of_enhanced_texts_never_change() -> None:
    assert identity.enhanced("A pier", {"color": "a" * 64}, BY) == "en_01400f22d8eba996"


# --- plans --------------------------------------------------------------------------------


def test_a_plan_says_which_runs_are_unknown_and_starts_only_the_others() -> None:
    now = expansion()

    made = diff.diff(now.runs, now.prompts, snapshot(()))

    unknown = [each for each in made.changes if each.action is Action.ENHANCE]
    assert [(each.run_id, worded(each.reason)) for each in unknown] == [
        ("", "known after enhance")
    ] * 2
    assert [each.place.split("/")[0] for each in diff.starts(made)] == ["plain", "plain"]


def test_a_plan_says_why_there_is_no_text() -> None:
    now = expansion()
    refused = {now.runs[0].awaits: "llm:m: no"}

    made = diff.diff(now.runs, now.prompts, snapshot(()), refused=refused)

    found = [
        (each.action, worded(each.reason)) for each in made.changes if each.action in WITHOUT_TEXT
    ]
    assert found == [
        (Action.UNKNOWN, "llm:m: no"),
        (Action.ENHANCE, "known after enhance"),
    ]


def test_what_was_made_of_another_text_is_replaced() -> None:
    before, now = expansion(text="A pier in detail"), expansion(text="A pier in more detail")
    known = snapshot([record(each, State.SUCCEEDED) for each in before.runs], [before])

    made = diff.diff(now.runs, now.prompts, known)

    assert {worded(each.reason) for each in diff.starts(made)} == {"prompt text changed"}


# --- the store ----------------------------------------------------------------------------


def test_texts_are_kept_and_read_as_they_were(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.json")
    text = Enhanced("en_1", "A pier in détail", "A pier", "llm:m")

    store.change(lambda change: change.put_enhanced([text]))

    assert dict(Store(tmp_path / "state.json").snapshot().enhanced) == {"en_1": text}


def test_of_two_who_ask_the_same_the_first_text_stays(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.json")
    first = Enhanced("en_1", "one", "A pier", "llm:m")

    for text in (first, replace(first, text="two")):
        store.change(partial(Transaction.put_enhanced, texts=[text]))
    kept = store.snapshot().enhanced["en_1"]
    store.change(lambda change: change.put_enhanced([replace(first, text="three")], replacing=True))

    assert kept == first
    assert store.snapshot().enhanced["en_1"].text == "three"


def test_a_store_of_before_has_no_texts(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.json")
    store.change(lambda change: change.put_jobs({"a": "a.yaml"}))

    assert dict(store.snapshot().enhanced) == {}


def test_children_of_a_prompt_and_names_are_found(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.json")
    prompt = identity.prompt("A pier", "", {"color": "a" * 64})
    one = PromptRecord(prompt=prompt, name="one", video="pier", files={}, frames=3)
    other = identity.prompt("A boat", "", {"color": "a" * 64})
    child = replace(one, prompt=other, name="two", parent=prompt.id, enhancer="template")

    def put(change: Transaction) -> tuple[dict[str, list[str]], frozenset[str]]:
        change.put_prompts([one, child])
        return change.children(), change.names()

    found, names = store.change(put)

    assert found == {prompt.id: [other.id]}
    assert names == {"one", "two"}
    assert serialize.prompt_record(other.id, serialize.prompt_document(child)) == child


# --- the project file ---------------------------------------------------------------------


def settings(text: str, environ: dict[str, str], wanted: str = "") -> EnhancerSettings:
    made = project.parse(f"version: 1\n{text}".encode(), ROOT)
    name = (wanted or made.enhancer).partition(":")[0]
    found = made.enhancers.get(name) or EnhancerSettings(name, name)
    return project._with_key(found, environ)


def test_the_enhancer_of_a_project_that_says_none_is_the_template() -> None:
    made = project.parse(b"version: 1\n", ROOT).enhancing()

    assert (made.name, made.kind) == ("template", "template")


def test_an_enhancer_is_named_with_its_model() -> None:
    made = project.parse(b"version: 1\nenhancers: {o: {kind: openai, model: a}}\n", ROOT)

    assert made.enhancing("o").model == "a"
    assert made.enhancing("o:b:3").model == "b:3"
    assert made.enhancing("o:b:3").kind == "openai"


@pytest.mark.parametrize(("written", "count"), [("true", 4), ("false", 0), ("1", 1), ("7", 7)])
def test_images_are_a_number_or_whether(written: str, count: int) -> None:
    text = f"version: 1\nenhancers: {{o: {{images: {written}}}}}\n"

    assert project.parse(text.encode(), ROOT).enhancers["o"].images == count


ENVIRON = {"OPENAI_API_KEY": "sk-1", "MINE": "key-2", "OPENAI_BASE_URL": ""}


@pytest.mark.parametrize(
    ("text", "environ", "key", "url"),
    [
        ("", ENVIRON, "sk-1", ""),
        ("base_url: 'http://a/v1', api_key: '${OPENAI_API_KEY}'", ENVIRON, "sk-1", "http://a/v1"),
        ("", {**ENVIRON, "OPENAI_BASE_URL": "http://b/v1"}, "sk-1", "http://b/v1"),
        ("base_url: 'http://a/v1'", ENVIRON, "", "http://a/v1"),
        ("base_url: 'http://a/v1', api_key: '${MINE}'", ENVIRON, "key-2", "http://a/v1"),
        ("api_key: '${MINE}'", {}, "", ""),
    ],
)
def test_a_key_goes_only_to_the_server_that_it_is_for(
    text: str, environ: dict[str, str], key: str, url: str
) -> None:
    made = settings(f"enhancers: {{openai: {{{text}}}}}\n", environ, "openai")

    assert (made.key, made.base_url) == (key, url)


def test_a_key_is_not_shown_with_its_settings() -> None:
    made = settings("enhancers: {openai: {}}\n", ENVIRON, "openai")

    assert "sk-1" not in repr(made)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("api_key: sk-live-0123456789abcdefgh", "open-secret"),
        ("api_key: 'Bearer ${MINE}'", "open-secret"),
        ("base_url: 'http://me:geheim123@a/v1'", "open-secret"),
        ("target: h100", "unknown-target"),
        ("images: 99", "out-of-range"),
        ("base_url: localhost", "bad-name"),
        ("modle: m", "unknown-key"),
    ],
)
def test_a_mistake_is_told_at_its_place_and_without_the_secret(text: str, code: str) -> None:
    with pytest.raises(InvalidFiles) as caught:
        project.parse(f"version: 1\nenhancers: {{o: {{{text}}}}}\n".encode(), ROOT)

    (found,) = caught.value.diagnostics
    assert found.code == code
    assert found.span is not None
    assert "sk-live" not in found.source + found.message
    assert "geheim" not in found.source + found.message
