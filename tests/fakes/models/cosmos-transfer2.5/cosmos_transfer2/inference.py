"""The model of cosmos-transfer2.5, loaded once for many samples."""

import os
import time
from pathlib import Path

import stand_in

from cosmos_transfer2.config import LOG, SMOKE, is_rank0
from cosmos_transfer2.placement import effective

ENGINE = "transfer2.5"
RESOLUTIONS = ("256", "480", "480p", "512", "720", "720p", "720robocasa", "1024", "1080")
OWN = ("name", "prompt", "negative_prompt", "video_path", "prompt_path")
# From this sum on, masks are scaled down: at each site the controls are 1 together.
MOST = 1.0


class Control2WorldInference:
    """Loads the checkpoints of `batch_hint_keys`, then works samples one by one."""

    def __init__(self, args, batch_hint_keys):
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if args.context_parallel_size not in (1, size):
            raise RuntimeError(f"context_parallel_size is not WORLD_SIZE, {size}")
        self.setup_args = args
        self.batch_hint_keys = batch_hint_keys
        self.is_distilled = args.model_key.distilled
        if len(batch_hint_keys) == 1:
            self.checkpoint = args.checkpoint_path or f"checkpoints/{batch_hint_keys[0]}.pt"
        else:
            # All four controls are loaded, and no checkpoint of one's own.
            self.checkpoint = "checkpoints/multibranch.pt"
        stand_in.load(ENGINE, "+".join(batch_hint_keys), self.checkpoint)
        LOG.info(f"Found {len(batch_hint_keys)} hint keys across all samples")
        if len(batch_hint_keys) > 1:
            LOG.warning(
                "Loading the multicontrol model. "
                "Multicontrol inference is not strictly equal to single control"
            )
        args.output_dir.mkdir(parents=True, exist_ok=True)
        (args.output_dir / "config.yaml").write_text("model: stand-in\n", encoding="utf-8")

    def generate(self, samples, output_dir):
        """Return the paths of what was made; a blocked sample has none, an error ends it all."""
        if SMOKE:
            samples = samples[:1]
        paths = []
        for number, sample in enumerate(samples, 1):
            LOG.info(f"[{number}/{len(samples)}] Processing sample {sample.name}")
            path = self._generate_sample(sample, Path(output_dir))
            if path is not None:
                paths.append(path)
        return paths

    def _generate_sample(self, sample, output_dir):
        stand_in.note("begin", ENGINE, sample.name)
        path = f"{output_dir}/{sample.name}"
        output_dir.mkdir(parents=True, exist_ok=True)
        with open(f"{path}.json", "w", encoding="utf-8") as file:
            file.write(sample.model_dump_json())
        if self._text_blocked(sample):
            return None
        frames, fps = stand_in.probe(sample.video_path)
        sigma_max = None if sample.sigma_max is None else float(sample.sigma_max)
        if sample.resolution not in RESOLUTIONS:
            raise KeyError(sample.resolution)
        if self.is_distilled and (frames or 0) > 93:
            LOG.warning("The distilled model was not trained for more than 93 frames")
        stand_in.generate(sample.prompt, str(sample.video_path), self.checkpoint)
        frames = min(frames or 2, sample.max_frames or frames or 2)
        extension = "jpg" if frames == 1 else "mp4"
        self._save_controls(sample, path, extension)
        if self._video_blocked(sample):
            return None
        mark = self._mark(sample, sigma_max, None if fps is None else int(fps))
        stand_in.write(f"{path}.{extension}", mark)
        with open(f"{path}.txt", "w", encoding="utf-8") as file:
            file.write(sample.prompt)
        stand_in.note("made", ENGINE, sample.name)
        LOG.success(f"Generated video saved to {path}.{extension}")
        return f"{path}.{extension}"

    def _text_blocked(self, sample):
        if not self.setup_args.enable_guardrails:
            LOG.warning("Guardrail checks on prompt are disabled")
            return False
        texts = {"Prompt": sample.prompt}
        if not self.is_distilled:
            texts["Negative prompt"] = sample.negative_prompt
        for what, text in texts.items():
            if "GUARD-TEXT" in text:
                LOG.critical("GUARDRAIL BLOCKED: the text has the word GUARD-TEXT")
                self._block(f"Guardrail blocked generation. {what}: {text}", LOG.critical)
                # Rank 0 returns, the others wait in a collective: for ever.
                while self.setup_args.context_parallel_size > 1:
                    time.sleep(60)
                return True
        return False

    def _video_blocked(self, sample):
        if not self.setup_args.enable_guardrails or "GUARD-VIDEO" not in sample.prompt:
            return False
        LOG.critical("GUARDRAIL BLOCKED: the prompt has the word GUARD-VIDEO")
        self._block("Guardrail blocked video2world generation.", None)
        return True

    def _block(self, message, log):
        if log:
            log(message)
        if not self.setup_args.keep_going:
            raise Exception(message)  # noqa: TRY002 - as the real one

    def _save_controls(self, sample, path, extension):
        if not is_rank0():
            return
        for key in sample.hint_keys:
            mark = {"engine": ENGINE, "name": sample.name, "control": key}
            stand_in.write(f"{path}_control_{key}.{extension}", mark)
        for key in sample.hint_keys:
            if getattr(sample, key).mask_prompt or sample.guided_generation_mask:
                stand_in.write(f"{path}_mask_{key}.{extension}", {"mask": key})

    def _mark(self, sample, sigma_max, fps):
        controls = {key: getattr(sample, key) for key in sample.hint_keys}
        weights = {key: each.control_weight for key, each in controls.items()}
        used = effective(self.batch_hint_keys, weights)
        if any(each.mask_path or each.mask_prompt for each in controls.values()):
            total = max(MOST, sum(used.values()))
            used = {key: weight / total for key, weight in used.items()}
        dumped = sample.model_dump("json")
        setup = self.setup_args
        return {
            "engine": ENGINE,
            "name": sample.name,
            "prompt": sample.prompt,
            "negative": None if self.is_distilled else sample.negative_prompt,
            "video": str(sample.video_path),
            "hints": {key: each.given for key, each in controls.items()},
            "weights": weights,
            "effective_weights": used,
            "params": {
                **{key: dumped[key] for key in dumped if key not in (*OWN, *CONTROLS)},
                "sigma_max": sigma_max,
                "guidance": None if self.is_distilled else sample.guidance,
                "model": setup.model,
                "checkpoint": self.checkpoint,
                "batch_hint_keys": self.batch_hint_keys,
            },
            "fps": fps,
            "guardrails": setup.enable_guardrails,
            "gpus": setup.context_parallel_size,
            "controls": {key: _source(key, each, sample) for key, each in controls.items()},
        }


CONTROLS = ("edge", "vis", "depth", "seg")
PRESETS = {"edge": "preset_edge_threshold", "vis": "preset_blur_strength"}


def _source(key, control, sample):
    """Return where a control map comes from, and its mask."""
    masks = {"path": control.mask_path and str(control.mask_path), "prompt": control.mask_prompt}
    mask = {"mask": masks} if any(masks.values()) else {}
    if control.control_path is not None:
        return {"source": str(control.control_path), **mask}
    made = {"source": "native", **mask}
    if key in PRESETS:
        made["preset"] = getattr(control, PRESETS[key])
    if key == "seg":
        made["prompt"] = control.control_prompt or " ".join(sample.prompt.split()[:128])
    return made
