"""The table of an inference: failures first, and readable however many prompts there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cosmos_jobs.cli.views import batches
from cosmos_jobs.core.record import State


def inferred(**counts: int) -> dict[str, Any]:
    """Return what came of prompts, so many of each status."""
    results = [
        {
            "run_id": f"rs_{number:016x}",
            "prompt_id": f"ps_{number:016x}",
            "prompt": f"pier-{number}",
            "status": status.replace("_", " "),
            "output_path": f"/videos/{number}.mp4"
            if status in ("succeeded", "up_to_date")
            else None,
            "duration_seconds": None,
            "reason": "" if status in ("succeeded", "up_to_date") else "out of\nmemory",
        }
        for status, count in counts.items()
        for number in range(count)
    ]
    return {"results": results, "counts": {k.replace("_", " "): n for k, n in counts.items()}}


def test_what_failed_is_told_first_with_its_reason() -> None:
    lines = batches.text(inferred(succeeded=1, up_to_date=1, failed=1, blocked=1)).splitlines()

    assert [line[:10].rstrip() for line in map(plain, lines[1:5])] == [
        "failed",
        "blocked",
        "succeeded",
        "up to date",
    ]
    assert plain(lines[1]).endswith("out of memory")
    assert plain(lines[3]).endswith("/videos/0.mp4")
    assert lines[5] == "1 failed, 1 blocked, 1 succeeded, 1 up to date."
    assert "Retry with the same command" in lines[6]
    assert "use --force" in lines[7]


def test_of_each_status_twenty_are_named_and_all_are_counted() -> None:
    many = inferred(failed=21, succeeded=10_000, blocked=22)

    short, long = batches.text(many), batches.text(many, verbose=True)

    assert short.count("pier-") == 21 + 20 + 20, "a list that hides one line only is whole"
    assert "… and 9,980 more succeeded; -v shows all" in short
    assert "… and 2 more blocked; -v shows all" in short
    assert "21 failed, 22 blocked, 10,000 succeeded." in short
    assert "rs_" not in short
    assert long.count("rs_0") == 10_043


def test_every_state_that_a_run_can_be_in_has_its_place() -> None:
    assert {str(state) for state in State} < set(batches.ORDER)
    assert set(batches.ORDER) > batches.GOOD


def test_a_path_below_the_working_directory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = inferred(succeeded=1)
    made["results"][0]["output_path"] = str(tmp_path / "outputs" / "a.mp4")

    assert "  outputs/a.mp4" in batches.text(made)


def plain(line: str) -> str:
    """Return a line without colours."""
    from click import unstyle

    return unstyle(line)
