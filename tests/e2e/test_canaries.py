"""No secret is in anything that is written, wherever it comes from.

Secrets are planted wherever one can come from, every command that tells or
keeps something is run, and all that came of it is searched.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.integration.test_changes import Repository
from tests.support.chat_server import Reply, serving
from tests.support.fixtures_ssh import Servers
from tests.support.object_server import BUCKET, SECRET, ObjectServer
from tests.support.output_remotes import Objects
from tests.support.remote_project import Remote, StandIn, target
from tests.support.ssh_server import Home

CANARIES = {
    # Of no shape that anything could know it by.
    "HF_TOKEN": 'correct\'horse "battery" staple',
    "ENGINE_PASSWORD": "tr0ub4dor-and-3",
    "NVIDIA_API_KEY": "the-key-that-opens-the-server",
    "SSH_KEY_PASSPHRASE": "a-phrase-that-opens-a-key",
    "COSMOS_CI_TOKEN": "a-token-of-this-job",
}
"""Secrets of the environment, by their variables."""

IN_LOG = {
    "hf_canaryCANARYcanaryCANARY": "token is {}",
    "canary-in-an-address": "cloning https://robot:{}@git.example.org/x.git",
    "canary-in-an-assignment": "NGC_API_KEY={}",
    "canary-of-a-bearer-0123": "Authorization: Bearer {}",
}
"""What the engine says beside the values of its own variables."""

IN_REMOTE = "canary-in-a-remote"
EVERY = (*CANARIES.values(), *IN_LOG, IN_REMOTE, SECRET)

WRAPPER = """\
#!/bin/sh
echo "starting with $HF_TOKEN and $ENGINE_PASSWORD"
{lines}
exec {real} "$@"
"""

BUG = """\
import cosmos_jobs.jobs.load, os
def find(*_):
    raise RuntimeError(f"cannot use {{os.environ['HF_TOKEN']}} of https://robot:{url}@x.org")
cosmos_jobs.jobs.load.find = find
"""


class Trap:
    """A project full of secrets, and all that was said of it."""

    def __init__(self, folder: Path, home: Home, servers: Servers) -> None:
        servers("gpu-1")
        self.root = folder / "the root"
        self.home = home
        self.stand_in = StandIn(folder / "stand-in")
        program = self.stand_in.venv / "bin" / "python"
        real = program.rename(program.with_name("real"))
        lines = "\n".join(f"echo '{said.format(secret)}'" for secret, said in IN_LOG.items())
        program.write_text(WRAPPER.format(lines=lines, real=f"'{real}'"))
        program.chmod(0o755)
        self.project = Remote(folder / "films", home)
        self.said: dict[str, str] = {}

    def configure(self, url: str, *, shared: bool) -> None:
        installation = self.stand_in.installation()
        installation["env"] |= {name: f"${{{name}}}" for name in ("HF_TOKEN", "ENGINE_PASSWORD")}
        enhancer = {"kind": "openai", "base_url": url, "model": "m", "api_key": "${NVIDIA_API_KEY}"}
        settings: dict[str, object] = {
            "version": 1,
            "target": "gpu",
            "targets": {"gpu": target(["gpu-1"], self.root, installation)},
            "enhancers": {"server": enhancer},
        }
        if shared:
            settings |= {"state": {"target": "gpu"}, "outputs": {"url": f"s3://{BUCKET}/canaries"}}
        (self.project.root / "cosmos-jobs.yaml").write_text(json.dumps(settings))

    def run(self, *arguments: str, **env: str) -> str:
        """Run a command in an environment full of secrets, and keep all it says."""
        process = self.project.start(*arguments, env={**CANARIES, **env})
        out, err = process.communicate(timeout=120)
        said = f"exit {process.returncode}\n{out}\n{err}"
        self.said[" ".join(arguments)] = said
        return said

    def secrets(self) -> tuple[str, ...]:
        """Return all that must be nowhere; of the private key, a line."""
        return (*EVERY, self.home.key.read_text().splitlines()[1])

    def written(self) -> dict[str, bytes]:
        """Return all that was said, and every file of the project, the home and the host."""
        found = {f"what `{words}` said": said.encode() for words, said in self.said.items()}
        for folder in (self.project.root, self.root, self.home.folder):
            for path in folder.rglob("*"):
                # Where secrets were planted; and what an engine itself has written on its machine.
                planted = ".git" in path.parts or path == self.home.key
                planted |= path.name == "log" and self.root in path.parents
                if path.is_file() and not planted:
                    found[str(path)] = path.read_bytes()
        return found


def shapes(secret: str) -> set[bytes]:
    """Return how a secret may stand in a file: as it is, escaped, quoted, or encoded."""
    raw = secret.encode()
    # Where it begins in a group of three decides what it looks like; what others share is cut off.
    encoded = {base64.b64encode(b" " * n + raw)[4 if n else 0 : -4] for n in range(3)}
    return encoded | {
        raw,
        json.dumps(secret)[1:-1].encode(),
        quote(secret).encode(),
        raw.hex().encode(),
    }


@pytest.fixture
def trap(tmp_path: Path, ssh_home: Home, ssh_servers: Servers) -> Trap:
    """Return a project whose engine, environment and remotes are full of secrets."""
    return Trap(tmp_path, ssh_home, ssh_servers)


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
def test_no_secret_is_in_anything_that_is_written(
    trap: Trap, tmp_path: Path, objects: ObjectServer, shared: bool
) -> None:
    key = CANARIES["NVIDIA_API_KEY"]
    replies = Reply(status=401, error=f"Incorrect API key provided: {key}")
    repository = Repository(trap.project.root)
    prompts = {
        "good": "A pier",
        "bad": "They FAIL",
        "worse": "They CRASH",
        "longer": {"text": "A harbour", "enhance": {"model": "server"}},
    }
    trap.project.sweep(1, prompts=prompts)
    repository.git("init", "--quiet", "--initial-branch", "main")
    address = f"https://robot:{IN_REMOTE}@git.example.org/films.git"
    repository.git("remote", "add", "origin", address)
    repository.write(".gitignore", "/.cosmos-jobs\n/outputs\n")
    (tmp_path / "bug").mkdir()
    (tmp_path / "bug" / "sitecustomize.py").write_text(BUG.format(url=IN_REMOTE))

    with serving(replies) as server:
        trap.configure(server.url, shared=shared)
        repository.commit()
        for form in ("text", "json", "github"):
            trap.run("validate", "--format", form)
        for form in ("text", "json", "markdown"):
            trap.run("plan", "--format", form, "--changed-since", "HEAD", "-v")
            trap.run("plan", "--format", form, "-v")
        trap.run("plan", "--out", "plan.json")
        trap.run("plan", "--changed-since", address)
        trap.run("plan", "--changed-since", "origin/main")
        trap.run("apply", "plan.json", "--format", "json", "--junit", "apply.xml", "--logs")
        trap.run("apply", "--only", "bad", "--only", "worse", "-v", "--logs")
        trap.run("apply", "--force", "--only", "good", "--detach", "--format", "json")
        trap.run("watch", "--format", "json", "--junit", "watch.xml", "--logs", "--timeout", "2m")
        asked = list(server.keys)
    runs = [str(each["id"]) for each in trap.project.runs()]
    for run in runs:
        for words in (("logs", run), ("show", run), ("show", run, "--format", "json")):
            trap.run(*words)
        trap.run("reproduce", run)
    trap.run("status", "--format", "json")
    trap.run("state", "show")
    trap.run("state", "pull")
    trap.run("evaluate", "small")
    trap.run("report", "small")
    trap.run("list", "runs", "--format", "json")
    trap.run("export", "small")
    trap.run("doctor", "gpu")
    trap.run("fetch", "-v")
    bug = trap.run("plan", "jobs/small.yaml", PYTHONPATH=str(tmp_path / "bug"))
    bug_events = trap.run("apply", "jobs", "--format", "json", PYTHONPATH=str(tmp_path / "bug"))

    # The secrets did arrive where they are used, and what was to go wrong did.
    assert asked
    assert all(each == f"Bearer {key}" for each in asked)
    logs = [path.read_text() for path in trap.root.glob("batches/*/log")]
    assert all(secret in log for log in logs for secret in IN_LOG)
    assert all(secret not in log for log in logs for secret in CANARIES.values())
    assert len(runs) == 3
    assert bug.startswith("exit 70")
    assert '"exit_code":70' in bug_events
    told = "\n".join(trap.said.values())
    assert "starting with ***" in told
    assert "NGC_API_KEY=***" in told
    assert "Incorrect API key provided: ***" in told
    published = Objects(objects, "canaries")
    names = [*published.names("files"), *published.names("runs")]
    assert bool(names) == shared
    written = {**trap.written(), **{name: published.read(name) for name in names}}
    found = [
        f"{secret!r} in {place}"
        for place, content in written.items()
        for secret in trap.secrets()
        if any(shape in content for shape in shapes(secret))
    ]
    assert found == []
    assert len(written) > 60


def test_the_search_finds_a_secret_in_every_shape(trap: Trap) -> None:
    secret = CANARIES["HF_TOKEN"]
    for number in range(3):
        encoded = base64.b64encode(b"x" * number + secret.encode() + b"tail")
        trap.project.root.joinpath(f"{number}.bin").write_bytes(encoded)

    found = [
        name
        for name, content in trap.written().items()
        if any(shape in content for shape in shapes(secret))
    ]

    assert sorted(Path(name).name for name in found) == ["0.bin", "1.bin", "2.bin"]
