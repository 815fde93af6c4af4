"""Workflows of GitHub and GitLab, read from the documents and run by the shell as they would be."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import yaml

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "action.yml"
BIN = Path(sys.executable).parent

_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
_NAME = re.compile(r"\b(?:inputs|github|env|secrets|steps|runner)\.[\w.-]+")

RECORDER = """\
#!@PYTHON@
# Stands in for `gh api` and for curl: keeps comments in a file, and all arguments in another.
import json, os, pathlib, re, sys, urllib.parse
folder = pathlib.Path(__file__).parent
words = sys.argv[1:]
with (folder / "calls").open("a") as file:
    file.write(json.dumps(words) + "\\n")
kept = folder / "comments.json"
comments = json.loads(kept.read_text()) if kept.exists() else []
def after(*names):
    return next((words[n + 1] for n, word in enumerate(words) if word in names), None)
if sys.argv[0].endswith("curl"):
    (folder / "header").write_text(sys.stdin.read())
body = after("--field", "--data-urlencode")
if body is None:
    if after("--jq") is None:
        print(json.dumps(comments))
    else:
        assert after("--jq") == ".[] | select(.body | startswith(env.MARKER)) | .id"
        print(*(c["id"] for c in comments if c["body"].startswith(os.environ["MARKER"])), sep="\\n")
    sys.exit()
text = pathlib.Path(re.fullmatch(r"body=?@(.*)", body)[1]).read_text()
assert len(text) <= 65535
if after("--method", "--request") == "POST":
    comments.append({"id": 100 + len(comments), "body": text})
else:
    (found,) = [c for c in comments if any(word.endswith(f"/{c['id']}") for word in words)]
    found["body"] = text
kept.write_text(json.dumps(comments))
"""


def documented(name: str) -> dict[str, Any]:
    """Return a file that docs/ci.md shows, by its name in the first line of its block."""
    text = (ROOT / "docs" / "ci.md").read_text()
    (block,) = re.findall(
        rf"^```yaml\n(# {re.escape(name)}\n.*?)^```", text, re.DOTALL | re.MULTILINE
    )
    # `on` is a truth value of YAML 1.1, and a key of GitHub's.
    found: dict[str, Any] = yaml.load(block, Loader=yaml.BaseLoader)
    return found


class Comments:
    """Programs that record what is written to the pages of pull requests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("gh", "curl"):
            program = folder / name
            program.write_text(RECORDER.replace("@PYTHON@", sys.executable))
            program.chmod(0o755)

    def all(self) -> list[str]:
        path = self.folder / "comments.json"
        return [each["body"] for each in orjson.loads(path.read_bytes())] if path.exists() else []

    def calls(self) -> str:
        path = self.folder / "calls"
        return path.read_text() if path.exists() else ""


class Runner:
    """A machine that runs our action in a checkout, step by step, as GitHub's runner does."""

    def __init__(self, folder: Path, checkout: Path, programs: Path) -> None:
        self.checkout = checkout
        self.temp = folder / "temp"
        self.temp.mkdir(parents=True)
        self.home = folder / "home"
        self.home.mkdir()
        self.path = [str(programs), str(BIN), *os.environ["PATH"].split(os.pathsep)]
        self.env = {"HOME": str(self.home), "GITHUB_REPOSITORY": "owner/films", "LANG": "C.UTF-8"}
        self.context = {
            "github.action_path": str(ROOT),
            "github.repository": "owner/films",
            "github.token": "a-token",
            "github.event.pull_request.number": "7",
            "github.event.pull_request.head.repo.full_name": "owner/films",
        }
        self.said = ""
        self.outputs: dict[str, str] = {}

    def run(self, *, skip: tuple[str, ...] = (), **inputs: str) -> int:
        """Run the action with `inputs`; return the exit code of the step that ended it."""
        action = yaml.safe_load(ACTION.read_text())
        defaults = {
            name: self.value(each.get("default", "")) for name, each in action["inputs"].items()
        }
        given = {name.replace("_", "-"): value for name, value in inputs.items()}
        assert given.keys() <= defaults.keys()
        self.context |= {f"inputs.{name}": value for name, value in {**defaults, **given}.items()}
        code = 0
        for step in action["runs"]["steps"]:
            if "run" not in step or step["name"] in skip or not self._is_due(step, code):
                continue
            code = self._step(step) or code
        return code

    def workflow(self, name: str, skip: tuple[str, ...] = ()) -> int:
        """Run the action as the workflow of this name in docs/ci.md does."""
        (job,) = documented(name)["jobs"].values()
        (step,) = (each for each in job["steps"] if each["uses"].startswith("OWNER/"))
        given = {key.replace("-", "_"): self.value(each) for key, each in step["with"].items()}
        return self.run(skip=skip, **given)

    def _is_due(self, step: Mapping[str, Any], code: int) -> bool:
        condition = str(step.get("if", "true"))
        if code and "always()" not in condition:
            return False
        python = condition.replace("always()", "True")
        python = _NAME.sub(lambda name: repr(self._lookup(name[0])), python)
        python = python.replace("&&", " and ").replace("||", " or ")
        return bool(eval(python, {"true": True}))

    def value(self, written: str) -> str:
        return _EXPRESSION.sub(lambda found: self._lookup(found[1]), str(written))

    def _lookup(self, name: str) -> str:
        if name.startswith("env."):
            return self.env.get(name.removeprefix("env."), "")
        return self.context.get(name, "")

    def _step(self, step: Mapping[str, Any]) -> int:
        files = {name: self.temp / name for name in ("OUTPUT", "ENV", "PATH", "STEP_SUMMARY")}
        for name in ("OUTPUT", "ENV", "PATH"):
            files[name].write_text("")
        done = self.shell(
            step["run"],
            {
                **{f"GITHUB_{name}": str(path) for name, path in files.items()},
                "RUNNER_TEMP": str(self.temp),
                **{name: self.value(each) for name, each in step.get("env", {}).items()},
            },
        )
        self.outputs |= dict(_assignments(files["OUTPUT"]))
        self.env |= dict(_assignments(files["ENV"]))
        self.path = [*files["PATH"].read_text().split(), *self.path]
        return done

    def shell(self, script: str, env: Mapping[str, str]) -> int:
        """Run a script as GitHub does one of `shell: bash`, and remember what it says."""
        path = self.temp / "script.sh"
        path.write_text(script)
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(path)],
            cwd=self.checkout,
            env={**self.env, "PATH": os.pathsep.join(self.path), **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        self.said += done.stdout
        return done.returncode


def _assignments(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text().splitlines():
        name, _, value = line.partition("=")
        yield name, value
