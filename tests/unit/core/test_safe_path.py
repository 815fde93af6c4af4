"""Names of files from elsewhere: whatever passes stays below the folder it is joined to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmos_jobs.artifacts.outputs import safe_files
from cosmos_jobs.core import serialize
from cosmos_jobs.core.batch import Batch, Life, Status
from cosmos_jobs.core.record import State
from cosmos_jobs.core.safe_path import SafePath, UnsafePath
from cosmos_jobs.core.serialize import ASKED, Asked
from cosmos_jobs.engines import get

PARTS = st.sampled_from(
    ["", ".", "..", "a", "/", "\\", "\0", "\n", "~", "\u202e", "-x", "edge.mp4"]
)
PATHS = st.one_of(st.text(), st.lists(PARTS).map("/".join), st.lists(PARTS).map("".join))
ESCAPES = [
    "/etc/passwd",
    "../x",
    "a/../../x",
    "..",
    ".",
    "",
    "a//b",
    "a/",
    "a\\..\\b",
    "a\0b",
    "x" * 241,
]
RUN = "rs_0123456789abcdef"


@given(PATHS)
def test_what_passes_stays_inside(text: str) -> None:
    try:
        safe = SafePath(text)
    except UnsafePath as error:
        assert str(error).isascii()
        assert len(str(error)) < 200
        return

    folder = Path("/srv/outputs/runs/one")
    joined = folder / safe

    assert joined.resolve().is_relative_to(folder)
    assert joined != folder
    assert all(each not in ("..", ".") for each in joined.parts)


@pytest.mark.parametrize("text", [*ESCAPES, "\ud800", "a\u202eb", "a\x1b[2Jb", 7, None, ["a"]])
def test_what_leads_out_or_hides_is_refused(text: object) -> None:
    with pytest.raises(UnsafePath):
        SafePath(text)


@pytest.mark.parametrize(
    "name", ["output.mp4", "controls/edge.mp4", "maps/tiefe ü.mp4", "..a/b..", "-x"]
)
def test_names_of_files_pass_as_they_are(name: str) -> None:
    assert SafePath(name) == name


@pytest.mark.parametrize(
    "names",
    [["manifest.json"], ["log.txt/x"], ["a", "a/b"], ["output.mp4", "output.mp4/x/y"]],
)
def test_a_runs_files_are_none_of_ours_and_no_folders(names: list[str]) -> None:
    with pytest.raises(UnsafePath):
        safe_files(dict.fromkeys(names, ""))


def _texts(engine: str, name: str) -> Mapping[str, str]:
    """Return what a hostile host leaves for an engine: every text names `name`."""
    made = {"path": name, "sha256": "0" * 64}
    texts: dict[str, object] = {
        f"{RUN}/manifest.json": {"controls": {"edge": made}, "output": made},
        f"{RUN}/sample_outputs.json": {
            "status": "success",
            "args": {"prompt": "p"},
            "outputs": [{"files": [name, "vision.mp4", f"/x/{name}"]}],
        },
    }
    read = {key: orjson.dumps(each).decode() for key, each in texts.items()}
    return {
        **read,
        ASKED: serialize.asking([Asked(RUN, "p")]).decode(),
        "video_0/prompt.txt": "p",
        "prompt.txt": "p",
        f"{RUN}.txt": "p",
        "warm.ndjson": orjson.dumps({"run": RUN, "state": "made", "files": [name]}).decode(),
    }


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("engine", ["preview", "transfer1", "transfer2.5", "cosmos3"])
def test_no_engine_tells_of_a_file_outside(engine: str, name: str) -> None:
    adapter = get(engine)
    batch = Batch("ba_0123456789abcdef", engine, "gpu", (RUN,))
    texts = _texts(engine, name)
    listed = (*texts, name, f"video_0/{name}", f"{RUN}/{name}", f"video_0/../{name}/output.mp4")

    outcomes = adapter.outcomes(batch, Status(Life.EXITED, 0, files=listed), texts)

    for outcome in outcomes.values():
        for ours, theirs in outcome.files.items():
            assert isinstance(ours, SafePath)
            assert isinstance(theirs, SafePath)
        assert outcome.state is not State.SUCCEEDED or outcome.files


def test_the_preview_engines_lie_fails_its_run_in_words() -> None:
    batch = Batch("ba_0123456789abcdef", "preview", "gpu", (RUN,))
    texts = _texts("preview", "../../../.ssh/authorized_keys")

    outcome = get("preview").outcomes(batch, Status(Life.EXITED, 0), texts)[RUN]

    assert outcome.state is State.FAILED
    assert "'../../../.ssh/authorized_keys' is not a relative path" in outcome.reason
