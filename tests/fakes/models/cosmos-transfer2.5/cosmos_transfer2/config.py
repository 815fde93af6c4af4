"""The arguments of cosmos-transfer2.5, with the names and the rules of the real classes."""

import enum
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import stand_in

from cosmos_transfer2 import fields
from cosmos_transfer2.fields import REQUIRED, ValidationError

LOG = stand_in.Log("cosmos_transfer2")
SMOKE = os.environ.get("COSMOS_SMOKE", "0") not in ("0", "")
EXPERIMENTAL_CHECKPOINTS = os.environ.get("COSMOS_EXPERIMENTAL_CHECKPOINTS", "0") not in ("0", "")
CONTROL_KEYS = ["edge", "vis", "depth", "seg"]
MODELS = ["edge", "depth", "seg", "vis"] + ["edge/distilled"] * EXPERIMENTAL_CHECKPOINTS
DEFAULT_NEGATIVE_PROMPT = "The video captures a game playing, with bad graphics."
THRESHOLD = fields.one_of("very_low", "low", "medium", "high", "very_high")


def is_rank0():
    return os.environ.get("RANK", "0") == "0"


def path_to_str(path):
    return None if path is None else str(path)


def handle_tyro_exception(exception):
    """Exit 1 for values that are refused; anything else goes on."""
    if isinstance(exception, ValidationError):
        sys.stderr.write(f"{exception}\n")
        sys.exit(1)
    raise exception


class CompileMode(enum.StrEnum):
    NONE = "none"
    MODERATE = "moderate"
    AGGRESSIVE = "aggressive"


@dataclass(frozen=True)
class ModelKey:
    variant: str = "edge"
    distilled: bool = False

    @property
    def name(self):
        return f"{self.variant}/distilled" if self.distilled else self.variant


def checkpoint(value):
    if not value.startswith("s3://") and not os.path.exists(value):
        raise ValueError(f"Value error, Checkpoint path '{value}' does not exist.")
    return value


class SetupArguments(fields.Model):
    """How the model is set up; `model` has no default here, only on the command line."""

    FIELDS = {
        "output_dir": (fields.folder, REQUIRED),
        "model": (fields.text, "edge"),
        "checkpoint_path": (fields.optional(checkpoint), None),
        "experiment": (fields.optional(fields.text), None),
        "config_file": (fields.text, ""),
        "context_parallel_size": (fields.optional(fields.whole(1)), None),
        "disable_guardrails": (fields.flag, SMOKE),
        "offload_guardrail_models": (fields.flag, False),
        "keep_going": (fields.flag, True),
        "profile": (fields.flag, False),
        "benchmark": (fields.flag, False),
        "compile_tokenizer": (CompileMode, CompileMode.NONE),
        "enable_parallel_tokenizer": (fields.flag, False),
        "parallel_tokenizer_grid": (fields.pair, (-1, -1)),
    }

    def __init__(self, **given):
        model = given.get("model")
        if model is None:
            raise ValidationError("SetupArguments", [("model", "Value error, model is required")])
        if model not in MODELS:
            raise KeyError(model)
        super().__init__(**given)
        self.context_parallel_size = self.context_parallel_size or int(
            os.environ.get("WORLD_SIZE", "1")
        )

    @property
    def enable_guardrails(self):
        return not self.disable_guardrails

    @property
    def model_key(self):
        variant, _, distilled = self.model.partition("/")
        return ModelKey(variant, bool(distilled))


class ControlConfig(fields.Model):
    """A control; keys that it does not know are ignored in silence."""

    FORBID = False
    FIELDS = {
        "control_path": (fields.optional(fields.file), None),
        "control_weight": (fields.real(0, 1), 1.0),
        "mask_path": (fields.optional(fields.file), None),
        "mask_prompt": (fields.optional(fields.text), None),
    }

    def __init__(self, **given):
        self.given = given
        super().__init__(**given)


class DepthConfig(ControlConfig):
    pass


class BlurConfig(ControlConfig):
    FIELDS = {**ControlConfig.FIELDS, "preset_blur_strength": (THRESHOLD, "medium")}


class EdgeConfig(ControlConfig):
    FIELDS = {**ControlConfig.FIELDS, "preset_edge_threshold": (THRESHOLD, "medium")}


class SegConfig(ControlConfig):
    FIELDS = {**ControlConfig.FIELDS, "control_prompt": (fields.optional(fields.text), None)}


def control(cls):
    def check(value):
        if not isinstance(value, (dict, cls)):
            raise ValueError(f"Input should be a valid dictionary [input_value={value!r}]")
        return cls.model_validate(value)

    return fields.optional(check)


class InferenceArguments(fields.Model):
    """One sample."""

    FIELDS = {
        "name": (fields.text, REQUIRED),
        "prompt_path": (fields.optional(fields.file), None),
        "prompt": (fields.text, REQUIRED),
        "negative_prompt": (fields.text, DEFAULT_NEGATIVE_PROMPT),
        "seed": (fields.whole(), 2025),
        "guidance": (fields.whole(0, 7), 3),
        "video_path": (fields.file, REQUIRED),
        "max_frames": (fields.optional(fields.whole(1)), None),
        "context_frame_index": (fields.optional(fields.whole(1)), None),
        "image_context_path": (fields.optional(fields.file), None),
        "num_conditional_frames": (fields.one_of(0, 1, 2), 1),
        "resolution": (fields.text, "720"),
        "sigma_max": (fields.optional(fields.text), None),
        "num_video_frames_per_chunk": (fields.whole(1), 93),
        "num_steps": (fields.whole(1), 1 if SMOKE else 35),
        "show_control_condition": (fields.flag, False),
        "show_input": (fields.flag, False),
        "keep_input_resolution": (fields.flag, True),
        "edge": (control(EdgeConfig), None),
        "depth": (control(DepthConfig), None),
        "vis": (control(BlurConfig), None),
        "seg": (control(SegConfig), None),
        "guided_generation_mask": (fields.optional(fields.file_or_folder), None),
        "guided_generation_step_threshold": (fields.whole(), 25),
        "guided_generation_foreground_labels": (fields.optional(fields.whole_list), None),
    }

    def __init__(self, **given):
        if given.get("prompt") is None and given.get("prompt_path") is not None:
            text = Path(given["prompt_path"]).read_text(encoding="utf-8").strip()
            given = {**given, "prompt": text}
        super().__init__(**given)
        problem = ""
        if not self.hint_keys:
            problem = "No controls provided, please provide at least one control key"
        elif self.vis is not None and self.image_context_path:
            problem = "vis control and image_context_path are both used to transfer style"
        if problem:
            raise ValidationError("InferenceArguments", [("", f"Value error, {problem}")])

    @property
    def hint_keys(self):
        return [key for key in CONTROL_KEYS if getattr(self, key) is not None]

    @property
    def control_weight_dict(self):
        return {key: str(getattr(self, key).control_weight) for key in self.hint_keys}

    @classmethod
    def from_files(cls, paths, overrides=None):
        """Return the samples of all files and the hints of any; exits 1 for what is wrong.

        `overrides` is a dict here, or anything with `model_dump(exclude_none=True)`.
        """
        if overrides is not None and not isinstance(overrides, dict):
            overrides = overrides.model_dump(exclude_none=True)
        samples = [each for path in paths for each in cls._from_file(Path(path), overrides or {})]
        if not samples:
            sys.exit("Error: No inference samples")
        names = set()
        for sample in samples:
            if sample.name in names:
                sys.exit(f"Error: Inference samplename {sample.name} is not unique")
            names.add(sample.name)
        return samples, [key for key in CONTROL_KEYS if any(getattr(s, key) for s in samples)]

    @classmethod
    def _from_file(cls, path, overrides):
        if path.suffix == ".json":
            data = [json.loads(path.read_text(encoding="utf-8"))]
        elif path.suffix == ".jsonl":
            data = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        else:
            raise ValueError(f"Unsupported file extension: {path.suffix}")
        before = Path.cwd()
        os.chdir(path.parent)
        samples = []
        for number, each in enumerate(data):
            try:
                samples.append(cls.model_validate(each | overrides))
            except ValidationError as error:
                sys.exit(f"Error validating parameters from '{path}' at line {number}\n{error}")
        os.chdir(before)
        return samples


NOT_OVERRIDES = ("name", *CONTROL_KEYS)
