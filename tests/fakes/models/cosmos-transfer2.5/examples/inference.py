"""A stand-in for the command line of cosmos-transfer2.5: its contract without its model."""

import argparse
import sys
from pathlib import Path

from cosmos_oss.init import cleanup_environment, init_environment, init_output_dir
from cosmos_transfer2.config import (
    MODELS,
    NOT_OVERRIDES,
    CompileMode,
    InferenceArguments,
    SetupArguments,
    handle_tyro_exception,
)

SETUP_FLAGS = (
    "disable-guardrails",
    "offload-guardrail-models",
    "keep-going",
    "profile",
    "benchmark",
    "enable-parallel-tokenizer",
)
WHOLE = (
    "seed",
    "guidance",
    "max-frames",
    "context-frame-index",
    "num-conditional-frames",
    "num-video-frames-per-chunk",
    "num-steps",
    "guided-generation-step-threshold",
)
YES_OR_NO = ("show-control-condition", "show-input", "keep-input-resolution")
TEXTS = (
    "prompt-path",
    "prompt",
    "negative-prompt",
    "video-path",
    "image-context-path",
    "resolution",
    "sigma-max",
    "guided-generation-mask",
)


def parser():
    made = argparse.ArgumentParser(allow_abbrev=False)
    made.add_argument("-i", "--input-files", nargs="+", type=Path, required=True)
    made.add_argument("-o", "--output-dir", type=Path, required=True)
    made.add_argument("--model", choices=MODELS, default="edge")
    for name in ("checkpoint-path", "experiment", "config-file"):
        made.add_argument(f"--{name}")
    made.add_argument("--context-parallel-size", type=int)
    for name in SETUP_FLAGS:
        made.add_argument(f"--{name}", action=argparse.BooleanOptionalAction)
    made.add_argument("--compile-tokenizer", choices=[each.name for each in CompileMode])
    made.add_argument("--parallel-tokenizer-grid", nargs=2, type=int)
    for name in WHOLE:
        made.add_argument(f"--{name}", type=int)
    for name in YES_OR_NO:
        made.add_argument(f"--{name}", type={"True": True, "False": False}.__getitem__)
    for name in TEXTS:
        made.add_argument(f"--{name}")
    made.add_argument("--guided-generation-foreground-labels", nargs="+", type=int)
    return made


def dashed(argument):
    """Return an option with dashes; both spellings are taken."""
    option, equals, value = argument.partition("=")
    return option.replace("_", "-") + equals + value if option.startswith("--") else argument


def main():
    given = vars(parser().parse_args([dashed(each) for each in sys.argv[1:]]))
    files = given.pop("input_files")
    given = {name: value for name, value in given.items() if value is not None}
    if "compile_tokenizer" in given:
        given["compile_tokenizer"] = CompileMode[given["compile_tokenizer"]]
    try:
        setup = SetupArguments(**{k: v for k, v in given.items() if k in SetupArguments.FIELDS})
    except ValueError as error:
        handle_tyro_exception(error)
    known = [name for name in InferenceArguments.FIELDS if name not in NOT_OVERRIDES]
    overrides = {name: given[name] for name in known if name in given}
    samples, keys = InferenceArguments.from_files(files, overrides=overrides)
    if setup.benchmark and len(samples) == 1:
        samples = samples * 4
    init_output_dir(setup.output_dir, profile=setup.profile)

    from cosmos_transfer2.inference import Control2WorldInference

    inference = Control2WorldInference(setup, batch_hint_keys=keys)
    inference.generate(samples, output_dir=setup.output_dir)


if __name__ == "__main__":
    init_environment()
    main()
    cleanup_environment()
