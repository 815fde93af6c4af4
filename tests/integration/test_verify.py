"""Verify and import on real folders: what is found, what is repaired, and what is never touched."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import orjson
import pytest

from cosmos_jobs.apply import adopt
from cosmos_jobs.cli.views import library
from cosmos_jobs.config import project, schema
from cosmos_jobs.core import atomic, identity
from cosmos_jobs.core.batch import Batch
from cosmos_jobs.core.job import Enhanced
from cosmos_jobs.core.record import Attempt, Output, PromptRecord, Record, State
from cosmos_jobs.errors import StoreError, UsageError
from cosmos_jobs.operations import WorkflowOperations
from cosmos_jobs.state import importing, verify
from cosmos_jobs.state.store import Transaction
from cosmos_jobs.state.verify import Kind

PREVIEW = schema.contract("preview")
VIDEO, MAP = b"a video", b"a map"


def written(path: Path, data: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return atomic.sha256(path)


def record(ops: WorkflowOperations, seed: int, state: State = State.SUCCEEDED) -> Record:
    """Put a run into a project, with its input, video, control map, manifest and link."""
    color = written(ops.project.root / "clips" / "a.mp4", b"an input")
    prompt = identity.prompt("A pier", "", {"color": color})
    run = identity.run(prompt.id, PREVIEW, {"edge": 0.5}, {"seed": seed})
    folder = ops.outputs.folder(run.id)
    output = None
    if state is State.SUCCEEDED:
        output = Output(written(folder / "output.mp4", VIDEO), len(VIDEO), 3)
        maps = written(folder / "controls" / "edge.mp4", MAP)
        listed = {"output.mp4": output.sha256, "controls/edge.mp4": maps}
        written(folder / "manifest.json", orjson.dumps({"files": listed}))
        written(folder / "log.txt", b"done")
    attempt = Attempt("ba_0123456789abcdef", "local", state)
    made = Record(run, {"small": f"golden/{seed}"}, state, "", (attempt,), output)
    batch = Batch("ba_0123456789abcdef", "preview", "local", (run.id,), done=True)

    def put(change: Transaction) -> None:
        change.put_prompts(
            [
                PromptRecord(
                    prompt=prompt,
                    name="golden",
                    video="a",
                    files={"color": "clips/a.mp4"},
                    frames=3,
                )
            ]
        )
        change.put_runs([made])
        change.put_batches([batch])

    ops.store.change(put)
    ops.outputs.link(made)
    return made


def operations(root: Path) -> WorkflowOperations:
    root.mkdir(exist_ok=True)
    return WorkflowOperations(project.load(root))


@pytest.fixture
def ops(tmp_path: Path) -> WorkflowOperations:
    return operations(tmp_path / "project")


def kinds(found: verify.Verified) -> set[Kind]:
    return {each.kind for each in found.findings}


def contents(root: Path) -> Mapping[str, bytes]:
    return {str(each): each.read_bytes() for each in root.rglob("*") if each.is_file()}


def test_what_is_whole_has_no_finding_and_all_is_read(ops: WorkflowOperations) -> None:
    for seed in (1, 2):
        record(ops, seed)
    told: list[tuple[int, int]] = []

    found = ops.verify(progress=lambda done, total: told.append((done, total)))

    size = 2 * (len(VIDEO) + len(MAP)) + len(b"an input")
    assert found == verify.Verified((), runs=2, files=5, bytes=size)
    assert told[-1] == (size, size)


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("output.mp4", b"A video", Kind.DAMAGED_VIDEO),
        ("output.mp4", None, Kind.MISSING_VIDEO),
        ("controls/edge.mp4", b"A map", Kind.DAMAGED_FILE),
        ("controls/edge.mp4", None, Kind.MISSING_FILE),
        ("manifest.json", b"{", Kind.MISSING_MANIFEST),
        ("manifest.json", None, Kind.MISSING_MANIFEST),
        ("strange.txt", b"?", Kind.UNKNOWN_FILE),
        ("../rs_0123456789abcdef/output.mp4", b"?", Kind.UNKNOWN_RUN),
        ("../../other/x.mp4", b"?", Kind.UNKNOWN_FILE),
        ("../../small/golden/1.mp4", None, Kind.MISSING_LINK),
        ("../../../clips/a.mp4", b"another", Kind.CHANGED_INPUT),
        ("../../../clips/a.mp4", None, Kind.MISSING_INPUT),
    ],
)
def test_every_kind_of_trouble_is_found_by_itself(
    ops: WorkflowOperations, name: str, data: bytes | None, kind: Kind
) -> None:
    folder = ops.outputs.folder(record(ops, 1).run.id)
    path = Path(os.path.normpath(folder / name))
    if data is None:
        path.unlink()
    else:
        path.unlink(missing_ok=True)
        written(path, data)
    before = contents(ops.project.root)

    found = ops.verify()

    # The link is the video itself, as long as that is whole.
    assert kinds(found) == {kind}
    assert contents(ops.project.root) == before
    assert all(each.hint for each in found.findings)


def test_repair_touches_no_file_that_is_there(ops: WorkflowOperations) -> None:
    whole, damaged = record(ops, 1), record(ops, 2)
    written(ops.outputs.video(damaged), b"not it")
    written(ops.outputs.root / "small" / "mine.txt", b"mine")
    (place,) = ops.outputs.places(whole)
    place.unlink()
    before = contents(ops.outputs.root)

    found = ops.verify(repair=True)

    after = contents(ops.outputs.root)
    assert {each.kind for each in found.left} == {Kind.UNKNOWN_FILE}
    assert before.items() <= after.items()
    assert after.keys() - before.keys() == {str(place)}
    lost = ops.get_run(damaged.run.id)
    assert (lost.state, lost.reason, lost.output) == (State.LOST, verify.GIVEN_UP, None)


def test_what_an_apply_is_at_meanwhile_is_no_finding_and_not_given_up(
    ops: WorkflowOperations,
) -> None:
    made = record(ops, 1)
    written(ops.outputs.video(made), b"not it")
    again = Attempt("ba_fedcba9876543210", "local", State.SUCCEEDED)
    told: list[int] = []

    def apply(done: int, total: int) -> None:
        if not told:
            record(ops, 2)
            ops.store.change(
                lambda change: change.put_runs([replace(made, attempts=(*made.attempts, again))])
            )
        told.append(done)

    found = ops.verify(repair=True, progress=apply)

    assert ops.get_run(made.run.id).state is State.SUCCEEDED
    assert found.findings == ()


def test_a_manifest_that_leads_outside_its_folder_is_not_believed(ops: WorkflowOperations) -> None:
    made = record(ops, 1)
    listed = {"../../../secret": "0" * 64, "/etc/hostname": "0" * 64}
    written(
        ops.outputs.folder(made.run.id) / "manifest.json",
        orjson.dumps({"files": {**listed, "output.mp4": atomic.sha256(ops.outputs.video(made))}}),
    )

    found = ops.verify()

    assert [each.kind for each in found.findings] == [verify.Kind.MISSING_MANIFEST]


def test_long_reading_is_shown_and_leaves_nothing_behind(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell = library.hashing(iter([0.0, 0.1, 1.0, 1.1, 2.0]).__next__)

    for done in (1, 500, 600, 1000):
        tell(done * 1000, 1_000_000)

    assert capsys.readouterr().err == "\rreading 500 kB of 1 MB\r"


# --- import ---------------------------------------------------------------------------------


def test_history_and_batches_come_along(ops: WorkflowOperations, tmp_path: Path) -> None:
    made = record(ops, 1)
    here = operations(tmp_path / "here")

    here.import_store(ops.project.root)

    taken = here.get_run(made.run.id)
    assert (taken.attempts, taken.output) == (made.attempts, made.output)
    assert here.store.snapshot().batches["ba_0123456789abcdef"].done
    assert here.get_prompt(made.run.prompt_id).files == {
        "color": str(ops.project.root / "clips" / "a.mp4")
    }
    assert here.verify().findings == ()


def test_enhanced_texts_come_along_and_those_here_stay(
    ops: WorkflowOperations, tmp_path: Path
) -> None:
    here = operations(tmp_path / "here")
    for where, text in ((ops, "theirs"), (here, "mine")):
        put = [Enhanced("en_0000000000000001", text, "A pier", "template")]
        where.store.change(partial(Transaction.put_enhanced, texts=put))
    ops.store.change(
        lambda change: change.put_enhanced(
            [Enhanced("en_0000000000000002", "theirs", "A pier", "template")]
        )
    )

    here.import_store(ops.project.root)

    kept = here.store.snapshot().enhanced
    assert {key[-1]: kept[key].text for key in kept} == {"1": "mine", "2": "theirs"}


def test_what_is_here_stays_and_its_places_too(ops: WorkflowOperations, tmp_path: Path) -> None:
    mine, theirs = record(operations(tmp_path / "here"), 1), record(ops, 1)
    here = operations(tmp_path / "here")
    here.rate(mine.run.id, 2)
    ops.rate(theirs.run.id, 5)
    record(ops, 2)
    in_the_way = written(here.outputs.root / "small" / "golden" / "2.mp4", b"my own")

    done = here.import_store(ops.project.root)

    assert done == importing.Imported(prompts=0, runs=1, videos=1, known=1)
    assert here.get_run(mine.run.id).rating == 2
    assert atomic.sha256(here.outputs.root / "small" / "golden" / "2.mp4") == in_the_way


@pytest.mark.parametrize(("there", "state"), [(VIDEO, State.SUCCEEDED), (b"another", State.LOST)])
def test_a_video_that_is_here_already_is_never_replaced(
    ops: WorkflowOperations, tmp_path: Path, there: bytes, state: State
) -> None:
    made = record(ops, 1)
    here = operations(tmp_path / "here")
    written(here.outputs.video(made), there)

    here.import_store(ops.project.root)

    assert here.outputs.video(made).read_bytes() == there
    assert here.get_run(made.run.id).state is state


@pytest.mark.parametrize(
    "place", ["../../evil", "/evil", "a/../../b", "a/\0", "a", "a/b/c", "a/" + "b" * 300]
)
def test_no_place_leads_outside_the_outputs(
    ops: WorkflowOperations, tmp_path: Path, place: str
) -> None:
    made = record(ops, 1)
    ops.store.change(lambda change: change.put_runs([replace(made, jobs={"small": place})]))
    here = operations(tmp_path / "here")

    here.import_store(ops.project.root)

    assert here.get_run(made.run.id).jobs == {}


def test_a_damaged_store_is_an_error_and_an_absent_one_is_named(
    ops: WorkflowOperations, tmp_path: Path
) -> None:
    damaged = tmp_path / "state.json"
    damaged.write_text("{")

    with pytest.raises(StoreError):
        ops.import_store(damaged)
    with pytest.raises(UsageError, match="no store"):
        ops.import_store(tmp_path / "nowhere")


PROMPT, RUN, BATCH = "prompts", "runs", "batches"


def changed(path: Path, table: str, change: Mapping[str, object]) -> None:
    """Change the only record of a table in a state file."""
    document = orjson.loads(path.read_bytes())
    (each,) = document[table].values()
    each |= change
    path.write_bytes(orjson.dumps(document))


@pytest.mark.parametrize(
    ("table", "change", "odd"),
    [
        (PROMPT, {"files": {"color": 5}}, 2),
        (PROMPT, {"files": {"color": "a\0"}}, 2),
        (PROMPT, {"files": 5}, 2),
        (PROMPT, {"inputs": {"color": "../../x"}}, 2),
        (PROMPT, {"text": "A\u001bpier"}, 2),
        (PROMPT, {"text": 5}, 2),
        (PROMPT, {"frames": "x"}, 2),
        (PROMPT, {"name": 5}, 2),
        (PROMPT, {"parent": "x"}, 2),
        (RUN, {"jobs": {"inference": 5}}, 1),
        (RUN, {"jobs": 5}, 1),
        (RUN, {"rating": "x"}, 1),
        (RUN, {"rating": 1_000_000}, 1),
        (RUN, {"rating": True}, 1),
        (RUN, {"files": {"image": 5}}, 1),
        (RUN, {"params": 5}, 1),
        (RUN, {"params": {"seed": []}}, 1),
        (RUN, {"params": {"seed": 1e-9}}, 1),
        (RUN, {"weights": {"edge": "x"}}, 1),
        (RUN, {"engine": []}, 1),
        (RUN, {"attempts": 5}, 1),
        (RUN, {"output": {"sha256": "x", "size": 1, "frames": 1}}, 1),
        (RUN, {"output": {"sha256": "0" * 64, "size": 1, "frames": 1, "name": "../x"}}, 1),
        (BATCH, {"runs": [5]}, 0),
        (BATCH, {"runs": 5}, 0),
        (BATCH, {"target": 5}, 0),
    ],
)
def test_what_is_not_sound_is_counted_and_not_taken(
    ops: WorkflowOperations, tmp_path: Path, table: str, change: Mapping[str, object], odd: int
) -> None:
    record(ops, 1)
    changed(ops.project.store, table, change)
    here = operations(tmp_path / "here")

    done = here.import_store(ops.project.root)

    known = here.store.snapshot()
    assert done.odd == odd
    assert len(known.runs) == (0 if odd else 1)
    assert len(known.prompts) == (0 if odd == 2 else 1)
    assert not known.batches or table == RUN


@pytest.mark.parametrize("field", [{"started": "x"}, {"batch": "../../../x"}, {"exit_code": "x"}])
def test_attempts_are_looked_at_too(
    ops: WorkflowOperations, tmp_path: Path, field: Mapping[str, object]
) -> None:
    record(ops, 1)
    attempt: dict[str, object] = {"batch": "ba_0123456789abcdef", "target": "local"}
    changed(ops.project.store, RUN, {"attempts": [attempt | {"state": "succeeded"} | dict(field)]})
    here = operations(tmp_path / "here")

    done = here.import_store(ops.project.root)

    assert (done.odd, done.runs) == (1, 0)


def test_a_damaged_text_of_an_enhancer_leaves_nothing_half_done(
    ops: WorkflowOperations, tmp_path: Path
) -> None:
    made = record(ops, 1)
    ops.store.change(
        lambda change: change.put_enhanced(
            [Enhanced("en_0000000000000001", "x", "A pier", "template")]
        )
    )
    changed(ops.project.store, "enhanced", {"text": 5})
    here = operations(tmp_path / "here")

    done = here.import_store(ops.project.root)

    assert done == importing.Imported(prompts=1, runs=1, videos=1, odd=1)
    assert here.store.snapshot().enhanced == {}
    assert here.outputs.video(made).is_file()


def test_a_prompt_with_an_impossible_name_gets_one_by_its_text(
    ops: WorkflowOperations, tmp_path: Path
) -> None:
    made = record(ops, 1)
    changed(ops.project.store, PROMPT, {"name": "../../x"})
    here = operations(tmp_path / "here")

    here.import_store(ops.project.root)

    assert here.get_prompt(made.run.prompt_id).name == "pier"


def manifest(ops: WorkflowOperations, made: Record, name: str, place: str) -> None:
    """Write the manifest that a run was fetched with."""
    prompt = ops.get_prompt(made.run.prompt_id)
    document = {
        "run": asdict(made.run),
        "prompt": {**asdict(prompt), **asdict(prompt.prompt), "name": name},
        "output": asdict(made.output),  # type: ignore[arg-type]
        "jobs": {"small": place},
        "batch": "ba_0123456789abcdef",
        "target": "local",
        "started": 1,
        "host": "",
        "gpu": "",
    }
    folder = ops.outputs.folder(made.run.id)
    written(folder / "manifest.json", orjson.dumps(document))
    for each in ops.project.store.parent.glob("state.json*"):
        each.unlink()


def test_no_manifest_leads_outside_the_outputs(ops: WorkflowOperations) -> None:
    made = record(ops, 1)
    manifest(ops, made, "../../x", "../../x/1")

    adopted = adopt.outputs(ops.store, ops.outputs)

    assert adopted == (made.run.id,)
    assert ops.get_prompt(made.run.prompt_id).name == "pier"
    assert ops.get_run(made.run.id).jobs == {}
    assert not (ops.project.root.parent / "x").exists()


@pytest.mark.parametrize(
    ("job", "place"), [("..", "a/b"), ("a", "../b"), ("a", "/b"), ("a", ""), ("/a", "b"), ("", "b")]
)
def test_no_place_in_outputs_leads_outside(ops: WorkflowOperations, job: str, place: str) -> None:
    with pytest.raises(ValueError, match="no place in outputs"):
        ops.outputs.place(job, place)
