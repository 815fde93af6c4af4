"""The page of commands is written from the commands, and what documents tell to type can be typed.

`pytest tests/unit/test_docs_cli.py --update-golden` writes the page anew.
"""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cosmos_jobs.cli import COMMANDS, program
from tests.conftest import Golden

ROOT = Path(__file__).parents[3]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
PROGRAMS = ("cosmos", "cosmos-jobs")
GONE = "sh before"
"""What fenced blocks say that show commands of the former workflow."""

HEAD = """\
# Commands

Written from the commands themselves; do not edit. `cosmos` and `cosmos-jobs`
are the same program, and every command has `-h`, `--help`. The exit codes are
in [How it works](how-it-works.md#exit-codes).
"""


# --- the page -----------------------------------------------------------------------------


def page() -> str:
    """Return docs/cli.md, in the order of `cosmos-jobs --help`; no terminal has a say in it."""
    context = click.Context(program, info_name="cosmos-jobs", terminal_width=1000, color=False)
    parts = [HEAD]
    for section, names in COMMANDS.items():
        parts.append(f"## {section}\n")
        for name in names:
            command = program.get_command(context, name)
            assert command is not None
            parts += described(command, context, name, "###")
    return "\n".join(parts)


def described(
    command: click.Command, parent: click.Context, name: str, level: str
) -> Iterator[str]:
    """Yield the parts of a command's chapter, then those of its subcommands."""
    context = click.Context(command, info_name=name, parent=parent)
    words = context.command_path.removeprefix("cosmos-jobs ")
    usage = command.get_usage(context).removeprefix("Usage: ")
    yield f"{level} {words}\n"
    yield f"`{usage}`\n"
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield f"{prose(paragraph)}\n"
    options = [
        option(*record)
        for param in command.params
        if isinstance(param, click.Option) and (record := param.get_help_record(context))
    ]
    if options:
        yield "\n".join(options) + "\n"
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            below = command.get_command(context, each)
            assert below is not None
            yield from described(below, context, each, f"{level}#")


def option(names: str, text: str) -> str:
    return f"- `{names}`: {escaped(re.sub(' +', ' ', text))}"


def prose(paragraph: str) -> str:
    """Return a paragraph of a help text as Markdown; one that click leaves as it is, as code."""
    first, _, rest = paragraph.partition("\n")
    if first != "\b":
        return escaped(paragraph)
    title, _, examples = rest.partition("\n")
    if not title.endswith(":"):
        return f"```text\n{rest}\n```"
    lines = "\n".join(line.removeprefix("  ") for line in examples.splitlines())
    return f"{title}\n\n```text\n{lines}\n```"


def escaped(text: str) -> str:
    """Return text whose `<job>` and `*` are not taken for Markdown, except in its code spans."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([<*])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def test_the_page_of_commands_is_written_from_the_commands(golden: Golden) -> None:
    golden(ROOT / "docs" / "cli.md", page())


def test_the_page_of_commands_is_the_same_at_any_width_of_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    narrow = page()
    monkeypatch.setenv("COLUMNS", "200")

    assert page() == narrow


def test_the_page_of_commands_has_a_chapter_for_each_of_them() -> None:
    chapters = re.findall(r"^### (.+)$", page(), re.MULTILINE)

    assert chapters == [name for section in COMMANDS.values() for name in section]


# --- what documents tell to type ----------------------------------------------------------


def typed(text: str, *, gone: bool = False) -> list[list[str]]:
    """Return our commands in the fenced blocks of a document, split as a shell does.

    With `gone` they are those of the blocks of the former workflow, else the others.
    """
    found: list[list[str]] = []
    for info, block in re.findall(r"^```([^\n]*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if info not in ("yaml", "python") and (info == GONE) == gone:
            for line in block.replace("\\\n", " ").splitlines():
                found += commands(line)
    return found


def commands(line: str) -> Iterator[list[str]]:
    """Yield each of our commands in a line, also of a pipeline or a substitution."""
    # A prompt, then the command; after two spaces our help says what the command does.
    (start,) = re.findall(r"^\s*(?:[\w-]*\$ )?(.*)", line)
    start = re.split(r" {3,}| {2,}then: ", start)[0]
    if not any(re.search(rf"(^|[\s/(]){each} ", start) for each in PROGRAMS):
        return
    lexer = shlex.shlex(start, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    words: list[str] = []
    for token in [*lexer, ";"]:
        if set(token) <= set("();<>|&"):
            if words and Path(words[0]).name in PROGRAMS:
                yield words[1:]
            words = []
        else:
            words.append(token)


def checked(words: list[str]) -> None:
    """Raise click's UsageError unless there is such a command with such options."""
    command: click.Command = program
    context = click.Context(program, info_name="cosmos-jobs")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, command_or_none, words = command.resolve_command(context, words)
        assert command_or_none is not None
        command = command_or_none
        context = click.Context(command, info_name=name, parent=context)
    given, rest, _ = command.make_parser(context).parse_args(list(words))
    if rest:
        raise click.UsageError(f"too many arguments: {rest}")
    for param in command.params:
        if isinstance(param.type, click.Choice) and given.get(param.name or "") is not None:
            param.type_cast_value(context, given[param.name or ""])


TYPED = sorted(
    {(path.name, shlex.join(words)) for path in DOCUMENTS for words in typed(path.read_text())}
)


@pytest.mark.parametrize(("document", "line"), TYPED)
def test_what_a_document_tells_to_type_is_a_command_with_these_options(
    document: str, line: str
) -> None:
    checked(shlex.split(line))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_that_a_document_names_in_passing_exist(path: Path) -> None:
    named = re.findall(r"`(?:cosmos|cosmos-jobs) ([a-z]+)[^`]*`", path.read_text())

    every = {name for section in COMMANDS.values() for name in section}
    # What the former workflow had, and what migration.md says is no more.
    gone = {"generate"} if path.name == "migration.md" else set()
    assert sorted(set(named) - every - gone) == []


def test_what_migration_shows_as_the_old_way_is_no_more() -> None:
    script = typed((ROOT / "docs" / "migration.md").read_text(), gone=True)

    refused = [words for words in script if words[:2] == ["create", "run"]]
    assert refused
    for words in refused:
        with pytest.raises(click.UsageError, match=r"(?i)no such command"):
            checked(words)


def test_the_tests_that_show_that_the_plan_is_completed_exist() -> None:
    (_, checklist) = (ROOT / "docs" / "migration.md").read_text().split("## The plan, completed")
    there = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))

    named = re.findall(r"`(test_\w+)`", checklist)
    assert len(named) > 12
    assert [name for name in named if f"def {name}(" not in there] == []
    assert checklist.count("\n| ✓ |") == 12


@pytest.mark.parametrize(
    "line",
    [
        "cosmos nothing",
        "$ cosmos apply --nothing",
        "PROMPT_ID=$(cosmos-jobs plan --nothing jobs | grep x)",
        ".venv/bin/cosmos-jobs list runs --format yaml",
        "true && cosmos completion bash zsh > script",
    ],
)
def test_the_check_of_commands_finds_one_that_is_wrong(line: str) -> None:
    (words,) = commands(line)

    with pytest.raises(click.UsageError):
        checked(words)
