"""WorkflowOperations is a table of functions; as methods they are what they are as functions."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from cosmos_jobs.errors import UsageError
from cosmos_jobs.operations import WorkflowOperations
from cosmos_jobs.operations.binding import Operation

OPERATIONS = sorted(
    name for name, each in vars(WorkflowOperations).items() if isinstance(each, Operation)
)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_a_method_with_signature_and_documentation(
    tmp_path: Path, name: str
) -> None:
    method = getattr(WorkflowOperations.open(tmp_path), name)
    function = getattr(WorkflowOperations, name)

    assert next(iter(inspect.signature(function).parameters)) == "session"
    assert "session" not in inspect.signature(method).parameters
    assert method.__name__ == name
    assert inspect.getdoc(method)


def test_what_is_planned_imports_nothing_of_what_is_applied(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from cosmos_jobs.operations import WorkflowOperations\n"
        f"WorkflowOperations.open({str(tmp_path)!r}).status()\n"
        "print('cosmos_jobs.operations.applying' in sys.modules, 'asyncio' in sys.modules)\n"
    )

    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert said.stdout == "False False\n"


def test_a_subclass_may_replace_an_operation(tmp_path: Path) -> None:
    class Strict(WorkflowOperations):
        def get_run(self, run_id: str) -> object:  # type: ignore[override]
            if not run_id.startswith("rs_"):
                raise ValueError(run_id)
            return super().get_run(run_id)

    ops = Strict.open(tmp_path)

    with pytest.raises(ValueError, match="pier"):
        ops.get_run("pier")
    with pytest.raises(UsageError):
        ops.get_run("rs_0")


def test_a_caller_says_for_all_machines_how_long_they_are_tried(tmp_path: Path) -> None:
    text = "version: 1\ntargets:\n  a: {connect_timeout_s: 300}\n  b: {}\n"
    (tmp_path / "cosmos-jobs.yaml").write_text(text)
    loaded = WorkflowOperations.open(tmp_path).project

    asked = WorkflowOperations(loaded, connect_timeout_s=5)
    session = WorkflowOperations(loaded).session

    assert {each.patience_s() for each in asked.project.targets.values()} == {5}
    assert session.trying(None) is session
    assert {each.patience_s() for each in session.trying(5).project.targets.values()} == {5}
    assert session.project.targets["a"].patience_s() == 300
