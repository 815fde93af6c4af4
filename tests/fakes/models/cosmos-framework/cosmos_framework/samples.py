"""The samples of Cosmos 3: what is read and refused, and the defaults of transfer."""

import contextlib
import glob
import json
from pathlib import Path

HINTS = ("edge", "blur", "depth", "seg", "wsm")
PRESETS = {"edge": "preset_edge_threshold", "blur": "preset_blur_strength"}
STRENGTHS = {
    "edge": ("very_low", "low", "medium", "high", "very_high"),
    "blur": ("none", "very_low", "low", "medium", "high", "very_high"),
}
NUMBER = (int, float)
# Kind, or the values allowed, of each field; null is taken everywhere.
FIELDS = {
    "name": str,
    "model": str,
    "model_mode": (
        *("text2image", "text2video", "image2image", "image2video", "video2video"),
        *("forward_dynamics", "inverse_dynamics", "policy", "reasoner"),
    ),
    "prompt": str,
    "prompt_path": "file",
    "negative_prompt": str,
    "negative_prompt_file": str,
    "vision_path": "file",
    "seed": int,
    "resolution": ("256", "480", "720", "768"),
    "aspect_ratio": ("1,1", "4,3", "3,4", "16,9", "9,16"),
    "fps": (int, 1, None),
    "num_frames": (int, 1, None),
    "num_steps": (int, 1, None),
    "guidance": (float, 0, 7),
    "control_guidance": (float, 0, 10),
    "shift": float,
    "max_frames": (int, 1, None),
    "num_video_frames_per_chunk": (int, 1, None),
    "num_conditional_frames": (int, 0, None),
    "num_first_chunk_conditional_frames": (int, 0, None),
    "share_vision_temporal_positions": bool,
    "show_control_condition": bool,
    "show_input": bool,
    "emphasize_control_in_prompt": bool,
    **dict.fromkeys(HINTS, dict),
}
DEFAULTS = {
    "num_video_frames_per_chunk": 93,
    "num_conditional_frames": 1,
    "num_first_chunk_conditional_frames": 0,
    "max_frames": 5000,
    "share_vision_temporal_positions": True,
    "show_control_condition": False,
    "show_input": False,
    "emphasize_control_in_prompt": True,
}
# Only a sample with a single hint gets these.
TUNED = {
    **{hint: {"guidance": 3.0, "control_guidance": 1.5, "shift": 10.0} for hint in HINTS},
    "seg": {"guidance": 3.0, "control_guidance": 2.0, "shift": 10.0},
    "wsm": {
        "guidance": 1.0,
        "control_guidance": 3.0,
        "shift": 10.0,
        "num_frames": 101,
        "fps": 10,
        "num_video_frames_per_chunk": 101,
    },
}


def from_files(paths, overrides):
    """Return the samples of all files; a name that comes twice is not noticed."""
    found = {Path(each) for path in paths for each in (glob.glob(path) if "*" in path else [path])}
    samples = []
    for path in sorted(found):
        for number, data in enumerate(documents(path)):
            with contextlib.chdir(path.absolute().parent):
                sample = validated({**data, **overrides}, path, number)
            line = f"_{number}" if path.suffix == ".jsonl" else ""
            sample["name"] = sample["name"] or f"{path.stem}{line}"
            samples.append(sample)
    return samples


def documents(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines() if line]
    if path.suffix == ".json":
        return [json.loads(text)]
    if path.suffix in (".yaml", ".yml"):
        # The real one reads any YAML; all of JSON is YAML.
        return [json.loads(text)]
    raise ValueError(f"Unsupported file extension: {path}")


def validated(data, path, number):
    """Return all fields of a sample; raises ValueError with every problem."""
    problems = [f"{key}: Extra inputs are not permitted" for key in data if key not in FIELDS]
    sample = dict.fromkeys(FIELDS)
    for name in FIELDS:
        try:
            sample[name] = checked(name, data.get(name))
        except ValueError as error:
            problems.append(f"{name}: {error}")
    if not problems and not any(sample[hint] for hint in HINTS):
        problems.append("the stand-in does transfer only, and that needs at least one control hint")
    if problems:
        listed = "\n".join(problems)
        raise ValueError(f"Error validating parameters from '{path}' at sample {number}\n{listed}")
    return sample


def checked(name, value):
    """Return the value as the field has it."""
    kind = FIELDS[name]
    if value is None:
        return None
    if kind is dict:
        return control(name, value)
    if kind == "file":
        return file(value)
    low, high = None, None
    if isinstance(kind, tuple) and isinstance(kind[0], str):
        if value not in kind:
            raise ValueError(f"Input should be one of {kind} [input_value={value!r}]")
        return value
    if isinstance(kind, tuple):
        kind, low, high = kind
    return typed(kind, value, low, high)


def typed(kind, value, low=None, high=None):
    if kind in (str, bool):
        if not isinstance(value, kind):
            raise ValueError(f"Input should be a valid {kind.__name__} [input_value={value!r}]")
        return value
    number = float(value)
    if kind is int and int(number) != number:
        raise ValueError(f"Input should be a valid integer [input_value={value!r}]")
    if (low is not None and not number >= low) or (high is not None and not number <= high):
        raise ValueError(f"Input should be from {low} to {high} [input_value={value!r}]")
    return kind(number)


def file(value):
    path = Path(value).expanduser().absolute()
    if not path.is_file():
        raise ValueError(f"Path does not point to a file: {value}")
    return str(path)


def control(hint, given):
    """Return a hint; anything but its own few keys is refused."""
    if not isinstance(given, dict):
        raise ValueError(f"Input should be an object [input_value={given!r}]")
    known = {"control_path", "weight"} | ({PRESETS[hint]} if hint in PRESETS else set())
    unknown = [key for key in given if key not in known]
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: Extra inputs are not permitted")
    path, weight = given.get("control_path"), given.get("weight")
    made = {
        "control_path": None if path is None else file(path),
        "weight": None if weight is None else typed(float, weight),
    }
    if hint in PRESETS:
        made[PRESETS[hint]] = given.get(PRESETS[hint])
        if made[PRESETS[hint]] not in (None, *STRENGTHS[hint]):
            raise ValueError(f"{PRESETS[hint]} should be one of {STRENGTHS[hint]}")
    return made


def build(sample):
    """Return the sample with its defaults; raises ValueError where it cannot be made."""
    vision = sample["vision_path"]
    if vision and Path(vision).suffix.lower() not in (".mp4", ".png", ".jpg", ".jpeg", ".webp"):
        raise ValueError(f"Invalid vision extension: {Path(vision).suffix.lower()}")
    hints = [hint for hint in HINTS if sample[hint] is not None]
    built = {**sample, "prompt": prompt(sample)}
    for hint in hints:
        made = dict(sample[hint])
        made["weight"] = 1.0 if made["weight"] is None else made["weight"]
        if hint in PRESETS:
            made[PRESETS[hint]] = made[PRESETS[hint]] or "medium"
        if vision is None and made["control_path"] is None:
            raise ValueError(f"transfer inference requires 'vision_path' or a control ({hint})")
        built[hint] = made
    tuned = TUNED[hints[0]] if len(hints) == 1 else {}
    for name, value in {"num_steps": 35, **DEFAULTS, **tuned}.items():
        if built[name] is None:
            built[name] = value
    if built["negative_prompt"] is None and built["negative_prompt_file"] is not None:
        text = Path(built["negative_prompt_file"]).read_text(encoding="utf-8")
        built["negative_prompt"] = json.dumps(json.loads(text))
    return built


def prompt(sample):
    """Return the text; a .json prompt file becomes JSON on one line."""
    if sample["prompt"] is not None or sample["prompt_path"] is None:
        return sample["prompt"] or ""
    text = Path(sample["prompt_path"]).read_text(encoding="utf-8")
    if sample["prompt_path"].endswith(".json"):
        return json.dumps(json.loads(text))
    return text.strip()
