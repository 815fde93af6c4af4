"""The controlnet spec of cosmos-transfer1: what is read, refused and made of its weights."""

import json
import os

VALID = ("vis", "seg", "edge", "depth", "keypoint", "upscale", "hdmap", "lidar")
GIVEN = ("hdmap", "lidar")


def load(path):
    """Return the hints and the other keys of a spec; nothing but hints may be an object."""
    with open(path, encoding="utf-8") as file:
        spec = json.load(file)
    for key, value in spec.items():
        if key not in VALID and isinstance(value, dict):
            raise ValueError(f"Invalid hint_key: {key}. Must be one of {set(VALID)}")
    hints = {key: value for key, value in spec.items() if key in VALID}
    return hints, {key: value for key, value in spec.items() if key not in VALID}


def validate(cfg, hints):
    """Fill in checkpoints and weights; raises ValueError for what cannot be."""
    if not cfg.input_video_path and cfg.sigma_max < 80:
        raise ValueError("Must have 'input_video' specified if sigma_max < 80")
    for hint, control in hints.items():
        if not cfg.input_video_path and "input_control" not in control:
            raise ValueError(f"{hint} controlnet must have 'input_control' without 'input_video'")
        if "ckpt_path" not in control:
            control["ckpt_path"] = os.path.join(cfg.checkpoint_dir, checkpoint(cfg, hint))
        control["control_weight"] = valid(hint, control.get("control_weight", "0.5"))
    return hints


def checkpoint(cfg, hint):
    if cfg.use_distilled:
        if hint != "edge":
            raise ValueError("use_distilled is only supported for edge")
        return "nvidia/Cosmos-Transfer1-7B/edge_control_distilled.pt"
    if hint in GIVEN:
        return f"nvidia/Cosmos-Transfer1-7B-Sample-AV/{hint}_control.pt"
    name = "4kupscaler" if hint == "upscale" else hint
    return f"nvidia/Cosmos-Transfer1-7B/{name}_control.pt"


def valid(hint, weight):
    """Return the weight: any number that is not below 0, or the name of a tensor."""
    if isinstance(weight, str) and weight.endswith(".pt"):
        return weight
    try:
        number = float(weight)
    except ValueError:
        number = -1.0
    # NaN is not below 0, and passes.
    if number < 0:
        raise ValueError(f"Invalid control_weight {weight!r} of {hint}: a number or a .pt file")
    return weight


def weights(hints):
    """Return what the network uses: divided by the sum if that is above 1.

    With a tensor the rule holds at each site, so numbers stay as they are, but
    a 0 becomes 1.
    """
    given = {hint: control["control_weight"] for hint, control in hints.items()}
    tensors = [each for each in given.values() if isinstance(each, str) and each.endswith(".pt")]
    if tensors:
        for path in tensors:
            with open(path, "rb"):
                pass
        return {
            hint: each if each in tensors else (float(each) if each else 1.0)
            for hint, each in given.items()
        }
    numbers = {hint: float(each) for hint, each in given.items()}
    total = max(1.0, sum(numbers.values()))
    return {hint: each / total for hint, each in numbers.items()}
