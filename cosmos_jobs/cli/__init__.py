"""The command line: parse, call operations, render, exit code."""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from cosmos_jobs import __version__
from cosmos_jobs.errors import CosmosJobsError, HostError, InvalidFiles

INTERRUPTED = 130
BUG = 70

COMMANDS = {
    "Job files": {
        "init": ("init", "Create a project that works at once."),
        "validate": ("validate", "Check job files and report every problem."),
        "plan": ("plan", "Show what apply would do, and why. Changes nothing."),
        "apply": ("apply", "Make the videos of job files; run only what is pending."),
        "preview": ("apply", "Show any job's control inputs, on this machine's CPU."),
    },
    "Without a job file": {
        "create": ("create", "Create a prompt from a text and a video."),
        "inference": ("inference", "Make videos of prompts."),
        "enhance": ("enhance", "Write prompts in more detail."),
        "upscale": ("upscale", "Make 4K videos of finished runs, or of any video."),
    },
    "Work in flight": {
        "watch": ("watch", "Follow runs in flight until they end."),
        "fetch": ("watch", "Fetch finished videos, and return."),
        "logs": ("watch", "Show the log of a run's batch."),
        "cancel": ("cancel", "Stop runs in flight."),
        "retry": ("retry", "Run failed, lost and cancelled runs again."),
        "adopt": ("watch", "Rebuild a lost store from outputs and machines."),
    },
    "Results": {
        "status": ("list", "Show where each job stands, and what runs where."),
        "list": ("list", "List prompts or runs."),
        "search": ("list", "Find prompts by their words or names."),
        "show": ("list", "Show everything known about a prompt or a run."),
        "reproduce": ("list", "Print the exact commands that make a run again."),
        "evaluate": ("report", "Measure how closely videos follow their input."),
        "report": ("report", "Write a page that plays a job's videos in step."),
        "rate": ("rate", "Give a run one to five stars, and a note."),
        "export": ("transfer", "Write a job file of prompts, runs or a job."),
        "import": ("transfer", "Import prompts and runs from another store."),
        "verify": ("verify", "Check that outputs and inputs match the store."),
        "delete": ("delete", "Delete prompts or runs, with their outputs."),
        "prune": ("prune", "Remove runs no longer in a job file, or the cache."),
    },
    "More": {
        "state": ("state", "Show, copy, replace or move the state as a whole."),
        "doctor": ("doctor", "Check what a target's machines have and lack."),
        "schema": ("schema", "Print a JSON Schema (draft-07), for editors and tools."),
        "completion": ("completion", "Print the completion script of a shell."),
    },
}


class Program(click.Group):
    """The program: its commands are imported when they are called, so that --help is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        return [name for section in COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command's module and return it."""
        import importlib

        for section in COMMANDS.values():
            if cmd_name in section:
                module = importlib.import_module(f"cosmos_jobs.cli.{section[cmd_name][0]}")
                command = getattr(module, f"{cmd_name}_command")
                assert isinstance(command, click.Command)  # noqa: S101
                return command
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the nearest command for a name that is none."""
        import difflib

        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), 1)
            hint = f" Did you mean `{near[0]}`?" if near else ""
            ctx.fail(f"No such command `{args[0]}`.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section."""
        for section, commands in COMMANDS.items():
            with formatter.section(section):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()])


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog="Begin with `cosmos-jobs init DIR`; see `cosmos-jobs COMMAND --help`.",
)
@click.version_option(__version__, prog_name="cosmos-jobs", message="%(prog)s %(version)s")
def program() -> None:
    """Declare NVIDIA Cosmos videos in YAML job files; run only what is pending."""


def main() -> NoReturn:
    """Run the command line and exit: 0 done, else as the errors module and DESIGN say."""
    # Most commands build many values once and end: collecting garbage only costs time.
    gc.disable()
    signal.signal(signal.SIGTERM, _interrupt)
    name = Path(sys.argv[0]).name
    sys.exit(_run("cosmos-jobs" if name == "__main__.py" else name))


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Do on SIGTERM what Ctrl-C does: CI systems end a cancelled job with either, or both."""
    if callable(signal.getsignal(signal.SIGINT)):
        # asyncio has a handler of its own while it runs.
        signal.raise_signal(signal.SIGINT)
    else:
        # What a script runs in the background ignores Ctrl-C.
        raise KeyboardInterrupt


def _run(name: str) -> int:
    try:
        code = program.main(prog_name=name, standalone_mode=False, color=_color())
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except CosmosJobsError as error:
        _tell(error)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except SystemExit:
        # So click ends when the reader of stdout has gone, as `| head` does: no failure of ours.
        return 0
    except OSError as error:
        # A full disk, a folder that may not be written: the machine's, and not a bug.
        _tell(HostError(_trouble(error), hint="mend that, then repeat: nothing is lost"))
        return HostError.exit_code
    except Exception:
        return _bug()
    # What ctx.exit() was given, or None when a command just ended.
    return code or 0


def _tell(error: CosmosJobsError) -> None:
    if isinstance(error, InvalidFiles):
        from cosmos_jobs.cli.views import diagnostics

        click.echo(diagnostics.text(error.diagnostics, color=True), err=True, color=_color())
        said = f"{diagnostics.counted(error.diagnostics)}; {error.message}"
    else:
        said = masked(error.message)
    tell_error(said, error.hint)


def tell_error(said: str, hint: str) -> None:
    """Say what is wrong, and below it what to type next."""
    click.echo(f"{click.style('error', fg='red', bold=True)}: {said}", err=True, color=_color())
    for line in masked(hint).splitlines():
        click.echo(f"  {line}", err=True)


def masked(text: str) -> str:
    """Return a text of who knows where without secrets, those of the environment included."""
    from cosmos_jobs.config import project
    from cosmos_jobs.core import redaction

    return redaction.masked(text, project.environment_secrets())


def _trouble(error: OSError) -> str:
    return ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)


def _color() -> bool | None:
    """Return False when the user wants no colour (https://no-color.org), else what fits."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def _bug() -> int:
    import traceback

    click.echo(masked(traceback.format_exc()), err=True, nl=False)
    click.echo("\nThis is a bug in cosmos-jobs: please report it with the lines above.", err=True)
    return BUG
