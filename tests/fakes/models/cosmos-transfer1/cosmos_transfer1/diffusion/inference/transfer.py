"""A stand-in for the command line of cosmos-transfer1: its contract without its model.

Obeys the flags, the spec's precedence, the batch file, the guardrails and the
files of the real program, traps included.
"""

import argparse
import copy
import json
import os
import random
import sys

import stand_in

# As the real program: without the checkout in PYTHONPATH this line fails.
from cosmos_transfer1.diffusion.inference import hints

ENGINE = "transfer1"
LOG = stand_in.Log("cosmos_transfer1")
STRENGTHS = ("very_low", "low", "medium", "high", "very_high")
OFFLOADS = ("diffusion_transformer", "text_encoder_model", "guardrail_models", "prompt_upsampler")
FLAGS = ("is_av_sample", "upsample_prompt", "use_distilled", "save_input_noise", "benchmark")
OWN = ("prompt", "negative_prompt", "input_video_path", "batch_input_path", "controlnet_specs")


def parser():
    made = argparse.ArgumentParser(conflict_handler="resolve")
    made.add_argument("--prompt", default="The video is a stunning, photorealistic scene.")
    made.add_argument("--negative_prompt", default="The video captures a game playing.")
    made.add_argument("--input_video_path", default="")
    made.add_argument("--num_input_frames", type=int, default=1, choices=[1])
    made.add_argument("--sigma_max", type=float, default=70.0)
    made.add_argument("--blur_strength", default="medium", choices=STRENGTHS)
    made.add_argument("--canny_threshold", default="medium", choices=STRENGTHS)
    made.add_argument("--controlnet_specs", required=True)
    made.add_argument("--checkpoint_dir", default="checkpoints")
    made.add_argument("--tokenizer_dir", default="Cosmos-Tokenize1-CV8x8x8-720p")
    made.add_argument("--video_save_name", default="output")
    made.add_argument("--video_save_folder", default="outputs/")
    made.add_argument("--batch_input_path")
    made.add_argument("--batch_size", type=int, default=1)
    made.add_argument("--num_steps", type=int, default=35)
    made.add_argument("--guidance", type=float, default=5)
    made.add_argument("--fps", type=int, default=24)
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--num_gpus", type=int, default=1)
    for name in (*FLAGS, *(f"offload_{each}" for each in OFFLOADS)):
        made.add_argument(f"--{name}", action="store_true")
    return made


def parse():
    """Return the settings and the hints; the spec wins unless the literal flag is there."""
    cfg = parser().parse_args()
    controls, scalars = hints.load(cfg.controlnet_specs)
    for key, value in scalars.items():
        if f"--{key}" not in sys.argv:
            setattr(cfg, key, value)
    return cfg, controls


def check_launch(cfg):
    """Raise unless the processes and the modes fit one another."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if cfg.num_gpus != size:
        raise RuntimeError(f"num_gpus is {cfg.num_gpus}, but WORLD_SIZE is {size}")
    if not isinstance(cfg.seed, int):
        raise ValueError(f"Cannot seed with {cfg.seed!r}")
    if cfg.upsample_prompt:
        os.environ["RANK"]


def batch(cfg):
    if not cfg.batch_input_path:
        return [{"prompt": cfg.prompt, "visual_input": cfg.input_video_path}]
    with open(cfg.batch_input_path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


class Pipeline:
    """The model, loaded once, with the random numbers that all samples share."""

    def __init__(self, cfg, controls):
        if cfg.use_distilled and (len(controls) != 1 or cfg.is_av_sample or cfg.save_input_noise):
            raise AssertionError("distilled takes one control, no AV sample and no input noise")
        self.cfg = cfg
        self.controls = controls
        self.random = random.Random(cfg.seed)
        self.checkpoint = next(
            (each["ckpt_path"] for each in controls.values()), cfg.checkpoint_dir
        )
        stand_in.load(ENGINE, "+".join(controls), self.checkpoint)

    def prepare(self, number, line, folder):
        """Return the hints of a line, and where each control map comes from."""
        controls = copy.deepcopy(self.controls)
        for hint, override in line.get("control_overrides", {}).items():
            if hint in controls:
                controls[hint].update(override)
            else:
                LOG.warning(f"Ignoring unknown control key in override: {hint}")
        LOG.info("running preprocessor")
        regions(self.cfg, number)
        given = copy.deepcopy(controls)
        sources = {}
        for hint, control in controls.items():
            sources[hint] = self.source(hint, control, line.get("visual_input"), folder)
        return given, controls, sources

    def source(self, hint, control, video, folder):
        if control.get("control_weight_prompt") and hint == "seg":
            name = os.path.join(folder, f"{hint}_control_weight_0")
            stand_in.write_video(f"{name}.mp4", {"weights of": control["control_weight_prompt"]})
            with open(f"{name}.pt", "wb") as file:
                file.write(b"tensor")
            control["control_weight"] = f"{name}.pt"
        given = control.get("input_control")
        if given is not None:
            stand_in.probe(given)
            return {"source": given}
        if hint in hints.GIVEN:
            raise ValueError(f"{hint} needs an input_control")
        if hint == "upscale":
            return {"source": video}
        stand_in.probe(video)
        made = {"source": "native", **self.drawn(hint)}
        if hint == "seg":
            made["prompt"] = control.get("input_control_prompt")
        path = os.path.join(folder, f"{hint}_input_control_0.mp4")
        stand_in.write_video(path, {"engine": ENGINE, "control": hint, **made})
        return made

    def drawn(self, hint):
        """Return what the automatic maps leave to chance; `canny_threshold` changes nothing."""
        if hint == "edge":
            low = self.random.randrange(20, 100)
            return {"thresholds": [low, min(255, low + self.random.randrange(50, 150))]}
        if hint == "vis":
            return {"preset": self.cfg.blur_strength, "factor": self.random.randint(4, 17)}
        return {}

    def generate(self, samples):
        """Return marks and prompts of the samples that the guardrails let pass, None for none."""
        passed = []
        for number, line, prepared in samples:
            prompt = line.get("prompt")
            # Nothing at all counts as unsafe.
            if not prompt or "GUARD-TEXT" in prompt:
                LOG.critical(f"Input text prompt {number} is not safe")
                continue
            video = line.get("visual_input")
            if video and "upscale" not in self.controls:
                stand_in.probe(video)
            weights = hints.weights(prepared[1])
            stand_in.generate(prompt, video, self.checkpoint)
            if "GUARD-VIDEO" in prompt:
                LOG.critical(f"Generated video {number} is not safe")
                continue
            final = f"{prompt} (upsampled)" if self.cfg.upsample_prompt else prompt
            passed.append((final, self.mark(number, line, prepared, weights)))
        return passed or None

    def mark(self, number, line, prepared, weights):
        cfg = self.cfg
        given, _, sources = prepared
        return {
            "engine": ENGINE,
            "name": number,
            "prompt": line["prompt"],
            "negative": cfg.negative_prompt,
            "video": line.get("visual_input"),
            "hints": given,
            "weights": {hint: control["control_weight"] for hint, control in given.items()},
            "effective_weights": weights,
            "params": {key: value for key, value in vars(cfg).items() if key not in OWN},
            "fps": cfg.fps,
            "guardrails": True,
            "gpus": cfg.num_gpus,
            "controls": sources,
        }


def regions(cfg, number):
    """Raise as the real preprocessor for regions that it cannot read."""
    for region in getattr(cfg, "regional_prompts", None) or ():
        path = region.get("region_definitions_path")
        if isinstance(path, str) and path.endswith(".json"):
            raise ValueError(f"Unsupported region definitions: {path}")
        # The first line leaves a .pt behind where the video's name was.
        if isinstance(path, str) and number > 0:
            raise ValueError(f"Unsupported region definitions: {path}.pt")


def places(cfg, number):
    """Return the video's and the prompt's path of the result with this number."""
    if cfg.batch_input_path:
        folder = os.path.join(cfg.video_save_folder, f"video_{number}")
        return os.path.join(folder, "output.mp4"), os.path.join(folder, "prompt.txt")
    name = os.path.join(cfg.video_save_folder, cfg.video_save_name)
    return f"{name}.mp4", f"{name}.txt"


def demo(cfg, controls):
    controls = hints.validate(cfg, controls)
    check_launch(cfg)
    pipeline = Pipeline(cfg, controls)
    lines = batch(cfg)
    size = 1 if "upscale" in controls else cfg.batch_size
    os.makedirs(cfg.video_save_folder, exist_ok=True)
    for start in range(0, len(lines), size):
        samples = []
        for number, line in enumerate(lines[start : start + size], start):
            stand_in.note("begin", ENGINE, number)
            folder = os.path.dirname(places(cfg, number)[0])
            os.makedirs(folder, exist_ok=True)
            samples.append((number, line, pipeline.prepare(number, line, folder)))
        outputs = pipeline.generate(samples)
        if outputs is None:
            LOG.critical("Guardrail blocked generation for entire batch.")
        save(cfg, start, outputs)


def save(cfg, start, outputs):
    """Write what was made: in order, so after a block the rest moves up."""
    marks, prompts = (
        zip(*((mark, prompt) for prompt, mark in outputs), strict=True) if outputs else outputs
    )
    for number, (prompt, mark) in enumerate(zip(prompts, marks, strict=True), start):
        video, text = places(cfg, number)
        stand_in.write_video(video, mark)
        if cfg.save_input_noise:
            with open(os.path.join(os.path.dirname(video), "noise.pickle"), "wb") as file:
                file.write(b"noise")
        with open(text, "wb") as file:
            file.write(prompt.encode())
        stand_in.note("made", ENGINE, mark["name"])
        LOG.info(f"Saved video to {video}")


if __name__ == "__main__":
    demo(*parse())
