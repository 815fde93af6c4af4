"""cosmos-jobs.yaml: targets as values, and every mistake at its place."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cosmos_jobs.config import project, schema
from cosmos_jobs.config.project import APPTAINER, Container, Installation, Slurm, Target, parse
from cosmos_jobs.config.target_rules import gres_gpus
from cosmos_jobs.core.diagnostics import Diagnostic
from cosmos_jobs.errors import InvalidFiles, UsageError
from cosmos_jobs.targets.executors import traits

ROOT = Path("/work/films")
GPU_TARGET = """\
version: 1
targets:
  h100:
    hosts: [ubuntu@gpu-1, gpu-2]
    root: /data/cosmos-jobs
    gpus: 8
    gpus_per_batch: 2
    max_batch: 16
    price_per_gpu_hour: 2.49
    gpu: H100 PCIe
    run_timeout_s: 600
    connect_timeout_s: 300
    timeout_factor: 3
    engines:
      preview: {venv: /opt/cosmos-jobs}
      transfer2.5:
        path: /opt/cosmos-transfer2.5
        driver: native
        idle_s: 60
        env: {HF_HOME: /hf, HF_TOKEN: "${HF_TOKEN}"}
        docker:
          image: cosmos-transfer2.5:latest
          volumes: ["/data/hf:/data/hf"]
          env: {HF_HOME: /data/hf}
          args: [--ipc=host]
"""


def parsed(targets: str) -> project.Project:
    return project.parse(f"version: 1\ntargets: {targets}\n".encode(), ROOT)


def target(text: str, name: str = "t") -> Target:
    return parsed(f"{{{name}: {{{text}}}}}").targets[name]


def problems(data: str) -> list[Diagnostic]:
    with pytest.raises(InvalidFiles) as caught:
        project.parse(data.encode(), ROOT)
    return list(caught.value.diagnostics)


def problem(text: str, name: str = "t") -> Diagnostic:
    (found,) = problems(f"version: 1\ntargets: {{{name}: {{{text}}}}}\n")
    return found


SLURM = "executor: slurm, slurm: {{{}}}"
REMOTE = "hosts: [gpu-1], root: /data, "


# --- values ---------------------------------------------------------------------------------


def test_every_key_of_a_target_is_read() -> None:
    made = project.parse(GPU_TARGET.encode(), ROOT).targets["h100"]

    docker = Container("cosmos-transfer2.5:latest", ("/data/hf:/data/hf",), ("--ipc=host",))
    assert made == Target(
        "h100",
        "/data/cosmos-jobs",
        ("ubuntu@gpu-1", "gpu-2"),
        tuple("01234567"),
        gpus_per_batch=2,
        max_batch=16,
        price_per_gpu_hour=2.49,
        gpu="H100 PCIe",
        run_timeout_s=600,
        connect_timeout_s=300,
        timeout_factor=3.0,
        engines={
            "preview": Installation("/opt/cosmos-jobs"),
            "transfer2.5": Installation(
                path="/opt/cosmos-transfer2.5",
                container=docker,
                env={"HF_HOME": "/data/hf", "HF_TOKEN": "${HF_TOKEN}"},
                driver="native",
                idle_s=60,
            ),
        },
    )
    assert traits(made).slots == 4


def test_a_machine_is_tried_as_long_as_its_target_says_unless_the_caller_says_otherwise() -> None:
    loaded = parsed("{a: {connect_timeout_s: 300}, b: {}}")
    hurried = loaded.trying(5)

    assert [loaded.targets[name].patience_s() for name in "ab"] == [300, 60]
    assert [loaded.targets[name].patience_s(otherwise=20) for name in "ab"] == [300, 20]
    assert [each.patience_s() for each in hurried.targets.values()] == [5, 5, 5]
    assert (loaded.connect_timeout_s, hurried.connect_timeout_s) == (60, 5)


def test_without_a_file_there_is_this_machine(tmp_path: Path) -> None:
    made = project.load(tmp_path)

    assert (made.engine, made.target) == ("preview", "local")
    assert made.targets == {"local": Target("local", f"{tmp_path}/.cosmos-jobs/hosts/local")}


def test_this_machine_is_there_beside_other_targets() -> None:
    assert list(parsed("{a: {root: work}}").targets) == ["local", "a"]
    assert target("root: work").root == "/work/films/work"
    assert target("root: /tmp/work/").root == "/tmp/work"
    assert target("").root == "/work/films/.cosmos-jobs/hosts/t"


def test_a_folder_that_is_none_is_a_wrong_word(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        project.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        ("0", ()),
        ("2", ("0", "1")),
        ("2.0", ("0", "1")),
        ("[]", ()),
        ("[2, 5]", ("2", "5")),
        ("[GPU-8932f937]", ("GPU-8932f937",)),
        ("[MIG-8932f937-d72c]", ("MIG-8932f937-d72c",)),
    ],
)
def test_gpus_are_a_number_or_ids(given: str, ids: tuple[str, ...]) -> None:
    assert target(f"gpus: {given}").gpus == ids


@pytest.mark.parametrize(
    ("address", "valid"),
    [
        ("gpu-1", True),
        ("ubuntu@gpu-1.example.org:2222", True),
        ("a@domain@gpu-1", True),
        ("me@[fe80::1%eth0]:22", True),
        ("fe80::1", True),
        ("gpu-1:", False),
        ("gpu-1:ssh", False),
        ("gpu-1:22:23x", False),
        ("@gpu-1", False),
        ("me@", False),
        ("[::1", False),
    ],
)
def test_hosts_are_addresses_or_aliases(address: str, valid: bool) -> None:
    text = f"hosts: ['{address}'], root: /data"

    if valid:
        assert target(text).hosts == (address,)
    else:
        assert problem(text).code == "bad-name"


def test_the_defaults_are_those_of_the_schema() -> None:
    properties = schema.load("project")["definitions"]["target"]["properties"]
    made = Target("t", "/data")

    assert properties["max_batch"]["default"] == made.max_batch == project.MAX_BATCH
    assert properties["gpus_per_batch"]["default"] == made.gpus_per_batch
    assert properties["timeout_factor"]["default"] == made.timeout_factor
    properties = schema.load("project")["definitions"]["installation"]["properties"]
    assert properties["driver"]["default"] == Installation().driver
    assert properties["idle_s"]["default"] == Installation().idle_s


def test_the_engines_of_a_target_are_those_of_job_files() -> None:
    definitions = schema.load("project")["definitions"]

    assert tuple(definitions["target"]["properties"]["engines"]["properties"]) == schema.engines()


# --- installations --------------------------------------------------------------------------


def test_this_machine_always_has_preview_run_by_our_own_python() -> None:
    local = parsed("{local: {}}").targets["local"]

    assert local.installation("preview") == Installation()
    assert local.python("preview") == sys.executable
    assert local.installation("transfer2.5") is None


def test_another_machine_has_what_is_listed() -> None:
    remote = target(REMOTE + "engines: {transfer1: {path: /opt/t1}}")

    assert remote.installation("preview") is None
    assert remote.installation("transfer1") == Installation(path="/opt/t1")


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("engines: {preview: {venv: env}}", "/work/films/env/bin/python"),
        ("engines: {preview: {env: {A: b}}}", sys.executable),
        ("engines: {preview: {docker: {image: i}}}", "python3"),
        ("engines: {preview: {venv: /opt/v, docker: {image: i}}}", "/opt/v/bin/python"),
        (REMOTE + "engines: {preview: {venv: /opt/v/}}", "/opt/v/bin/python"),
        (REMOTE + "engines: {preview: {}}", "python3"),
    ],
)
def test_python_is_the_one_of_the_environment(text: str, python: str) -> None:
    assert target(text).python("preview") == python


def test_secrets_are_taken_from_the_environment_by_the_name_in_braces() -> None:
    env = {"A": "plain", "HF_TOKEN": "${MY_TOKEN}", "B": "${NOT_THERE}", "C": "${EMPTY}"}
    environ = {"MY_TOKEN": "hf_1", "HF_TOKEN": "other", "EMPTY": "", "A": "x"}

    assert project.secrets(Installation(env=env), environ) == {"HF_TOKEN": "hf_1"}


# --- mistakes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code", "message", "hint"),
    [
        ("host: [a]", "unknown-key", "unknown key `host`", "did you mean `hosts`?"),
        ("gpus_per_bach: 1", "unknown-key", "unknown key `gpus_per_bach`", "`gpus_per_batch`"),
        ("hosts: gpu-1", "wrong-type", "must be a list, not the text `gpu-1`", "hosts: [ubuntu@"),
        ("hosts: []", "empty", "`targets.t.hosts` is empty", "hosts: [ubuntu@"),
        (REMOTE.replace("gpu-1", "a, b, a"), "listed-twice", "`a` is listed twice", "remove one"),
        (REMOTE.replace("gpu-1", "-oX"), "bad-name", "cannot be the text `-oX`", "~/.ssh/config"),
        (REMOTE.replace("gpu-1", "u@-oX"), "bad-name", "cannot be the text `u@-oX`", "ssh"),
        (REMOTE.replace("gpu-1", "'a b'"), "bad-name", "cannot be the text `a b`", "ssh"),
        ("hosts: [a]", "missing-root", "`root` is missing in target `t`", "/data/cosmos-jobs"),
        ("hosts: [a], root: data", "relative-path", "`root` must be an absolute path", "/data/dat"),
        ("hosts: [a], root: ~/x", "home-path", "`~` is not expanded in `root`", "the whole path"),
        ("root: ~/x", "home-path", "`~` is not expanded in `root`", "the whole path"),
        ("hosts: [a], root: /", "bad-root", "must be a folder of its own", "/data/cosmos-jobs"),
        ('root: "a\\nb"', "bad-name", "cannot be the text", "one path on one line"),
        ("gpus: -1", "out-of-range", "must be at least 0, not -1", "how many (`gpus: 8`)"),
        ("gpus: [0, 1, '0']", "listed-twice", "`0` is listed twice", "remove one"),
        ("gpus: ['a b']", "bad-name", "cannot be the text `a b`", "nvidia-smi -L"),
        ("gpus: 2, gpus_per_batch: 4", "too-few-gpus", "takes 4 GPUs, and a machine has 2", "2 or"),
        ("gpus_per_batch: 0", "out-of-range", "must be at least 1, not 0", "1 or more"),
        ("max_batch: 0", "out-of-range", "must be at least 1, not 0", "1 or more"),
        ("price_per_gpu_hour: 0", "out-of-range", "must be above 0, not 0", "more than 0"),
        ("run_timeout_s: 0", "out-of-range", "must be above 0, not 0", "more than 0"),
        ("connect_timeout_s: 0", "out-of-range", "must be above 0, not 0", "more than 0"),
        ("timeout_factor: 1", "out-of-range", "must be above 1, not 1", "more than 1"),
        ("engines: {transfer25: {}}", "unknown-key", "unknown key `transfer25`", "`transfer2.5`"),
        (
            "engines: {transfer1: {driver: warm}}",
            "no-driver",
            "`transfer1` has no `driver`: only `transfer2.5` keeps a model loaded",
            "remove it",
        ),
        ("engines: {cosmos3: {idle_s: 5}}", "no-driver", "`cosmos3` has no `idle_s`", "remove"),
        ("engines: {transfer2.5: {driver: cold}}", "wrong-value", "not the text `cold`", ""),
        (
            "engines: {transfer2.5: {idle_s: 0}}",
            "out-of-range",
            "must be at least 1, not 0",
            "1 or more",
        ),
        ("engines: {preview: {docker: {}}}", "missing-key", "the key `image` is missing", "docker"),
        ("engines: {preview: {docker: {image: '-v'}}}", "bad-name", "`-v`", "an image's name"),
        (
            "engines: {preview: {docker: {image: i, volumes: [data]}}}",
            "bad-name",
            "volumes[0]` cannot be the text `data`",
            "FOLDER:/FOLDER",
        ),
        (
            "engines: {preview: {docker: {image: i}, venv: env}}",
            "relative-path",
            "`venv` must be an absolute path",
            "begin it with `/`",
        ),
        (
            REMOTE + "engines: {preview: {path: ./x}}",
            "relative-path",
            "`path` must be an absolute path",
            "/data/x",
        ),
        ("engines: {preview: {env: {1A: b}}}", "bad-name", "`1A` cannot be a name", "letters, dig"),
        ("engines: {preview: {env: {A: 4}}}", "wrong-type", "must be text, not 4", '"4"'),
        (
            "engines: {preview: {env: {A: 'x${B}'}}}",
            "bad-reference",
            "`A` must be either text or one `${NAME}`",
            "write `${A}`",
        ),
        (
            "engines: {preview: {env: {HF_TOKEN: abc}}}",
            "open-secret",
            "`HF_TOKEN` has its value in the open",
            "write ${HF_TOKEN}: secrets do not belong in this file",
        ),
        (
            "engines: {preview: {docker: {image: i, env: {X: hf_abcdefghijklmnop}}}}",
            "open-secret",
            "`X` has its value in the open",
            "write ${X}",
        ),
        (
            "engines: {preview: {docker: {image: i, args: [-e, HF_TOKEN=abc]}}}",
            "open-secret",
            "this option has a secret in the open",
            "HF_TOKEN: ${HF_TOKEN}",
        ),
        (
            "slurm: {partition: gpu}",
            "no-slurm",
            "is for a target whose executor",
            "executor: slurm",
        ),
        ("executor: pbs", "wrong-value", "not the text `pbs`", ""),
        (
            REMOTE.replace("gpu-1", "a, b") + "executor: slurm",
            "many-logins",
            "a cluster is reached by one login node",
            "name one",
        ),
        ("executor: slurm, gpus: 4", "slurm-gpus", "Slurm itself gives GPUs", 'gres: "gpu:1"'),
        (SLURM.format("time: 1h"), "bad-name", "cannot be the text `1h`", "04:00:00"),
        (SLURM.format("mem: 64GB"), "bad-name", "cannot be the text `64GB`", "such as 64G"),
        (SLURM.format("gres: 'gpu 1'"), "bad-name", "cannot be the text `gpu 1`", "gpu:NUMBER"),
        (SLURM.format("partition: -x"), "bad-name", "cannot be the text `-x`", ""),
        (SLURM.format("max_running: 0"), "out-of-range", "must be at least 1", "1 or more"),
        (SLURM.format("extra: [qos=a]"), "bad-name", "cannot be the text `qos=a`", "--qos=normal"),
        (SLURM.format("extra: [--time=5]"), "own-option", "`--time` is set by us", "as `time`"),
        (SLURM.format("extra: ['-p gpu']"), "own-option", "`-p` is set by us", "as `partition`"),
        (SLURM.format("extra: [--wrap=x]"), "own-option", "`--wrap` is set by us", "remove it"),
        (
            "engines: {preview: {runtime: apptainer}}",
            "no-image",
            "which image is apptainer to run?",
            "add `image: …`",
        ),
        (
            "engines: {preview: {image: /i.sif}}",
            "no-runtime",
            "`image` is for a container",
            "apptainer",
        ),
        (
            "engines: {preview: {runtime: pyxis, image: i}}",
            "pyxis-alone",
            "pyxis is a part of Slurm",
            "executor: slurm",
        ),
        (
            "engines: {preview: {args: [-x], docker: {image: i}}}",
            "two-runtimes",
            "`args` is said twice",
            "remove one",
        ),
        (
            "root: 'a:b', engines: {preview: {runtime: apptainer, image: i}}",
            "bad-root",
            "cannot mount a folder with `:`",
            "another name",
        ),
        (
            "engines: {preview: {runtime: docker, image: i, args: [--env=HF_TOKEN=hunter2]}}",
            "open-secret",
            "this option has a secret in the open",
            "HF_TOKEN: ${HF_TOKEN}",
        ),
    ],
)
def test_mistakes_say_what_to_write(text: str, code: str, message: str, hint: str) -> None:
    found = problem(text)

    assert found.code == code
    assert message in found.message
    assert hint in found.hint
    assert found.span is not None
    assert found.span.line == 2


@pytest.mark.parametrize(
    "text",
    [
        "engines: {preview: {env: {HF_TOKEN: hunter2}}}",
        "engines: {preview: {env: {HF_TOKEN: hunter2}}}, gpus: -1",
        "gpus: -1, engines: {preview: {env: {HF_TOKEN: hunter2}}}",
        "engines: {preview: {docker: {image: i, args: [--env=HF_TOKEN=hunter2]}}}",
    ],
)
def test_no_problem_shows_a_secret(text: str) -> None:
    found = problems(f"version: 1\ntargets: {{t: {{{text}}}}}\n")

    assert found
    assert not any("hunter2" in repr(each) for each in found)


def test_a_secret_is_shown_by_its_key_and_masked() -> None:
    found = problem("engines: {preview: {env: {HF_TOKEN: hunter2}}}")

    assert found.span is not None
    assert found.source[found.span.column - 1 : found.span.end_column - 1] == "HF_TOKEN"
    assert found.source.endswith("HF_TOKEN: ***")


def test_switches_and_settings_with_a_secret_name_are_no_secrets() -> None:
    env = "{HF_HUB_DISABLE_IMPLICIT_TOKEN: '1', TOKENIZERS_PARALLELISM: 'no', HF_TOKEN_PATH: /t}"

    assert len(target(f"engines: {{preview: {{env: {env}}}}}").engines["preview"].env) == 3


def test_this_machine_has_no_hosts() -> None:
    found = problem("hosts: [a], root: /data", name="local")

    assert found.message == "`local` is this machine and has no `hosts`"
    assert found.hint == "give the target another name, such as `gpu`"


def test_all_mistakes_are_told_at_once_by_position() -> None:
    found = problems(
        "version: 1\n"
        "targets:\n"
        "  a:\n"
        "    hosts: [x, 'y z', x]\n"
        "    gpus: two\n"
        "  b: {hosts: [x], root: data}\n"
        "  c: {engine: {}}\n"
        "target: local\n"
    )

    assert [(each.span.line if each.span else 0, each.code) for each in found] == [
        (3, "missing-root"),
        (4, "bad-name"),
        (4, "listed-twice"),
        (5, "wrong-type"),
        (6, "relative-path"),
        (7, "unknown-key"),
    ]


def test_an_unknown_default_target_is_told_with_those_there_are() -> None:
    (found,) = problems("version: 1\ntarget: h10\ntargets: {h100: {}}\n")

    assert found.message == "unknown target `h10`"
    assert found.hint == "the targets are `local` and `h100`"
    assert found.span is not None
    assert (found.span.line, found.span.column) == (2, 9)


def test_a_cluster_is_read_as_it_is_written() -> None:
    text = """\
version: 1
targets:
  cluster:
    executor: slurm
    hosts: [login.cluster]
    root: /shared/cosmos-jobs
    slurm: {partition: gpu, account: lab, gres: "gpu:h100:2", time: "04:00:00", mem: 64G, cpus: 8,
            array_limit: 900, max_running: 32, extra: [--qos=normal]}
    engines:
      transfer2.5: {path: /w, runtime: apptainer, image: /i.sif, volumes: ["/a:/b"], args: [-e]}
      transfer1: {path: /w, runtime: venv, venv: /v}
      cosmos3: {path: /w, docker: {image: i, env: {A: b}}}
"""
    target = parse(text.encode(), ROOT).targets["cluster"]

    assert target.slurm == Slurm(
        "gpu",
        "lab",
        "gpu:h100:2",
        "04:00:00",
        mem="64G",
        cpus=8,
        array_limit=900,
        max_running=32,
        extra=("--qos=normal",),
    )
    assert (target.gpus, target.gpus_per_batch, traits(target).slots) == (("0", "1"), 2, 32)
    assert target.engines["transfer2.5"].container == Container(
        "/i.sif", ("/a:/b",), ("-e",), APPTAINER
    )
    assert target.engines["transfer1"].container is None
    assert target.engines["cosmos3"] == Installation("", "/w", Container("i"), {"A": "b"})


@pytest.mark.parametrize(
    ("gres", "count"),
    [
        ("", 0),
        ("gpu", 1),
        ("gpu:2", 2),
        ("gpu:h100", 1),
        ("gpu:h100:4", 4),
        ("gpu:h100:1(S:0-1),shard:3", 1),
        ("shard:3,gpu:a100:1,gpu:h100:1", 2),
    ],
)
def test_the_gpus_of_a_batch_are_those_of_its_gres(gres: str, count: int) -> None:
    assert gres_gpus(gres) == count


def test_a_cluster_that_asks_for_no_gpu_has_none() -> None:
    text = "version: 1\ntargets: {c: {executor: slurm}}\n"

    target = parse(text.encode(), ROOT).targets["c"]

    assert (target.gpus, target.gpus_per_batch, traits(target).slots) == ((), 1, 8)
    assert target.slurm == Slurm()


SHARED = (
    "version: 1\ntargets: {h100: {hosts: [gpu-1], root: /data}, two: {hosts: [a, b], root: /d}}\n"
)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("{target: h100}", project.SharedPlace(target="h100")),
        ("{url: s3://films/cosmos-jobs}", project.SharedPlace(url="s3://films/cosmos-jobs")),
    ],
)
def test_a_shared_state_is_on_a_host_or_in_an_object_store(
    state: str, expected: project.SharedPlace
) -> None:
    assert project.parse(f"{SHARED}state: {state}\n".encode(), ROOT).state == expected
    assert project.parse(f"{SHARED}outputs: {state}\n".encode(), ROOT).published == expected


@pytest.mark.parametrize("setting", ["state", "outputs"])
@pytest.mark.parametrize(
    ("place", "code", "words"),
    [
        ("{target: h10}", "unknown-target", "`h100`"),
        ("{target: local}", "no-host", "remove `{setting}`"),
        ("{target: two}", "many-hosts", "of the one"),
        ("{target: h100, url: s3://films}", "two-places", "one of the two"),
        ("{url: s3://AKIAIOSFODNN7EXAMPLE:c2VjcmV0a2V5@films/x}", "open-secret", "take them out"),
        ("{url: s3://films/x?secret=c2VjcmV0a2V5}", "open-secret", "take them out"),
        ("{url: s3://films/x?region=eu}", "bad-url", "AWS_ENDPOINT_URL"),
        ("{url: https://films}", "bad-name", "s3://BUCKET/PREFIX"),
        ("{}", "empty", "{setting}: {{target: h100}}"),
        ("h100", "wrong-type", "{setting}: {{target: h100}}"),
    ],
)
def test_what_cannot_be_shared_like_that_is_told_with_the_way_out(
    setting: str, place: str, code: str, words: str
) -> None:
    (found,) = problems(f"{SHARED}{setting}: {place}\n")

    assert (found.code, words.format(setting=setting) in found.hint) == (code, True), found
    assert "c2VjcmV0a2V5" not in f"{found.message}{found.source}{found.hint}"


def test_all_that_share_a_state_own_the_same_batches() -> None:
    text = f"{SHARED}state: {{target: h100}}\n".encode()
    one, other = (project.parse(text, Path(root)) for root in ("/a", "/b"))

    assert one.identity != other.identity
    assert one.owner == other.owner
    assert len(one.owner) == 12
