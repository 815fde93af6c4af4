"""A stand-in for the command line of Cosmos 3, transfer only: its contract without its model.

Samples are checked when the files are read, before the model loads, and built
after it. Nothing looks at prompts or videos for safety on the transfer path.
Errors while a sample is made are not caught, whatever --keep-going says.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import stand_in

from cosmos_framework import samples

ENGINE = "cosmos3"
LOG = stand_in.Log("cosmos_framework")
CHECKPOINTS = ("Cosmos3-Nano", "Cosmos3-Edge", "Cosmos3-Super")
SWITCHES = (
    "guardrails",
    "offload-guardrail-models",
    "keep-going",
    "skip-invalid-samples",
    "debug",
    "profile",
    "benchmark",
    "diffusion-cache",
    "use-torch-compile",
    "use-cuda-graphs",
)
SIZES = ("dp-replicate-size", "dp-shard-size", "tp-size", "cp-size", "cfgp-size", "warmup")
WHOLE = (
    "seed",
    "fps",
    "num-frames",
    "max-frames",
    "num-video-frames-per-chunk",
    "num-conditional-frames",
    "num-first-chunk-conditional-frames",
)
TEXTS = ("prompt", "prompt-path", "negative-prompt", "vision-path", "resolution", "aspect-ratio")
OWN = ("name", "prompt", "prompt_path", "negative_prompt", "vision_path", *samples.HINTS)


def parser():
    made = argparse.ArgumentParser(allow_abbrev=False)
    made.add_argument("-i", "--input-files", nargs="+", required=True)
    made.add_argument("-o", "--output-dir", type=Path)
    made.add_argument("--checkpoint-path", required=True)
    made.add_argument("--parallelism-preset", choices=["latency", "throughput"], default="latency")
    for name in SWITCHES:
        default = name in ("guardrails", "diffusion-cache", "use-torch-compile", "use-cuda-graphs")
        made.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, default=default)
    for name in SIZES:
        made.add_argument(f"--{name}", type=int)
    for name in WHOLE:
        made.add_argument(f"--{name}", type=int)
    for name in TEXTS:
        made.add_argument(f"--{name}")
    return made


def dashed(argument):
    """Return an option with dashes; both spellings are taken."""
    option, equals, value = argument.partition("=")
    return option.replace("_", "-") + equals + value if option.startswith("--") else argument


def main():
    options = parser().parse_args([dashed(each) for each in sys.argv[1:]])
    if options.output_dir is None:
        raise ValueError("'output_dir' is required")
    if options.checkpoint_path not in CHECKPOINTS and not os.path.isdir(options.checkpoint_path):
        raise ValueError(f"Checkpoint directory does not exist: {options.checkpoint_path}")
    out = options.output_dir.expanduser().absolute()
    LOG.open(out)
    names = [each.replace("-", "_") for each in (*WHOLE, *TEXTS)]
    overrides = {name: getattr(options, name) for name in names}
    overrides = {name: value for name, value in overrides.items() if value is not None}
    read = samples.from_files(options.input_files, overrides)
    LOG.info(f"Loaded {len(read)} samples")
    hints = {hint for sample in read for hint in samples.HINTS if sample[hint] is not None}
    stand_in.load(ENGINE, "+".join(sorted(hints, key=samples.HINTS.index)), options.checkpoint_path)
    built = [each for each in (build(sample, out, options) for sample in read) if each]
    for sample in built:
        make(sample, out / sample["name"], options)


def build(sample, out, options):
    """Return the sample with its defaults, None if it is skipped."""
    try:
        return samples.build(sample)
    except ValueError as error:
        if not options.skip_invalid_samples:
            raise
        message = f"Skipping sample '{sample['name']}': {error}"
    LOG.warning(message)
    folder = out / sample["name"]
    folder.mkdir(parents=True, exist_ok=True)
    record(folder, sample, "skip", message, [])
    return None


def record(folder, sample, status, message, files):
    outputs = [{"content": {}, "files": files}] if files else []
    text = {
        "args": sample,
        "status": status,
        "message": message,
        "stack_trace": None,
        "outputs": outputs,
    }
    (folder / "sample_outputs.json").write_text(json.dumps(text), encoding="utf-8")


def make(sample, folder, options):
    """Make one sample; its `sample_outputs.json` comes last."""
    stand_in.note("begin", ENGINE, sample["name"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sample_args.json").write_text(json.dumps(sample), encoding="utf-8")
    hints = {hint: sample[hint] for hint in samples.HINTS if sample[hint] is not None}
    frames, fps = stand_in.probe(sample["vision_path"]) if sample["vision_path"] else (None, None)
    sources = {hint: source(hint, control) for hint, control in hints.items()}
    weights = {hint: control["weight"] for hint, control in hints.items()}
    assert all(each >= 0 for each in weights.values()), "control_weights must be non-negative"
    assert sum(weights.values()) > 0, "control_weights must have a positive sum"
    stand_in.generate(sample["prompt"], sample["vision_path"], options.checkpoint_path)
    mark = {
        "engine": ENGINE,
        "name": sample["name"],
        "prompt": sample["prompt"],
        "negative": sample["negative_prompt"],
        "video": sample["vision_path"],
        "hints": hints,
        "weights": weights,
        "effective_weights": stand_in.normalised(weights),
        "params": {
            **{key: value for key, value in sample.items() if key not in OWN},
            "checkpoint": options.checkpoint_path,
        },
        "fps": fps or sample["fps"],
        # Asked for or not, they are not called on this path.
        "guardrails": False,
        "gpus": int(os.environ.get("WORLD_SIZE", "1")),
        "controls": sources,
    }
    extension = "jpg" if frames == 1 or sample["num_frames"] == 1 else "mp4"
    files = [f"vision.{extension}", *(f"control_{hint}.{extension}" for hint in hints)]
    stand_in.write(str(folder / files[0]), mark)
    for hint, name in zip(hints, files[1:], strict=True):
        stand_in.write(str(folder / name), {"engine": ENGINE, "control": hint})
    record(folder, sample, "success", None, [str(folder / name) for name in files])
    stand_in.note("made", ENGINE, sample["name"])
    LOG.success(f"Saved transfer outputs to '{folder}/sample_outputs.json'")


def source(hint, control):
    if control["control_path"] is not None:
        return {"source": control["control_path"]}
    if hint not in samples.PRESETS:
        raise FileNotFoundError(
            f"Missing pre-computed control input for '{hint}'. Provide a control_path."
        )
    return {"source": "native", "preset": control[samples.PRESETS[hint]]}


if __name__ == "__main__":
    main()
