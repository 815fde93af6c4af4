"""Enhances prompts with the upsampler of Cosmos Transfer1, with one load of the model.

    driver.py FOLDER

It runs in the folder of the model's checkout, in the model's own Python (3.10
or newer), under torchrun as the model's own program does, and reads
FOLDER/prompts.jsonl: `{"id", "prompt", "video"}` a line. FOLDER/out/answers.ndjson
gets a line `{"id", "text"}` or `{"id", "reason"}` for each. The exit code is 0
when each has one, and 1 when the model could not be loaded.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

LAUNCHER = ("RANK", "WORLD_SIZE", "OMP_NUM_THREADS")
LAUNCHER_PREFIXES = ("LOCAL_", "GROUP_", "ROLE_", "MASTER_", "TORCHELASTIC_", "TORCH_NCCL_")
LONGEST_REASON = 500


def leave_launcher() -> int:
    """Forget what torchrun has set, as the model's program does; return the rank.

    vLLM would take itself for a part of a group that nobody else is in.
    """
    rank = int(os.environ.get("RANK", "0"))
    for name in list(os.environ):
        if name in LAUNCHER or name.startswith(LAUNCHER_PREFIXES):
            del os.environ[name]
    return rank


def load() -> tuple[Any, Callable[[str], Any]]:
    """Return the loaded model, and what takes the frames of a video that it looks at."""
    sys.path.insert(0, str(Path.cwd()))
    from cosmos_transfer1.auxiliary.upsampler.model.upsampler import (  # type: ignore[import-not-found]
        PixtralPromptUpsampler,
    )
    from cosmos_transfer1.utils.misc import (  # type: ignore[import-not-found]
        extract_video_frames,
    )

    # Without `offload` it is loaded now, and stays.
    return PixtralPromptUpsampler(
        "checkpoints", offload_prompt_upsampler=False
    ), extract_video_frames


def answered(model: Any, frames: Callable[[str], Any], line: dict[str, str]) -> dict[str, str]:
    """Return the answer to a line: a text, or the reason why there is none."""
    try:
        text = model._prompt_upsample_with_offload(line["prompt"], frames(line["video"]))
    except Exception as error:
        traceback.print_exc()
        said = " ".join(f"{type(error).__name__}: {error}".split())
        return {"id": line["id"], "reason": said[:LONGEST_REASON]}
    text = " ".join(str(text).split())
    return {"id": line["id"], **({"text": text} if text else {"reason": "the answer was empty"})}


def main(folder: Path) -> int:
    """Answer all lines; return the exit code."""
    if leave_launcher() != 0:
        return 0
    written = (folder / "prompts.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in written.split("\n") if line]
    try:
        model, frames = load()
    except (Exception, SystemExit):
        traceback.print_exc()
        return 1
    out = folder / "out"
    out.mkdir(exist_ok=True)
    with (out / "answers.ndjson").open("w", encoding="utf-8") as answers:
        for line in lines:
            answers.write(json.dumps(answered(model, frames, line)) + "\n")
            answers.flush()
    return 0


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    # vLLM's helpers may keep the process; what was to be written is written.
    os._exit(code)
