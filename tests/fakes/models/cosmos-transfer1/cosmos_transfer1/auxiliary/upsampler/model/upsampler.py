"""A stand-in for the prompt upsampler: the class that the real program calls, without its model.

As vLLM does, it refuses to start in a process that torchrun has set up; a
prompt with the word `choke` fails, and `silence` gets an empty answer.
"""

import os
import sys

import stand_in

ENGINE = "transfer1"


class PixtralPromptUpsampler:
    def __init__(self, checkpoint_dir, offload_prompt_upsampler=False):
        self.offload_prompt_upsampler = offload_prompt_upsampler
        if "RANK" in os.environ or "TORCHELASTIC_RUN_ID" in os.environ:
            raise RuntimeError("the process group has no other members")
        if not offload_prompt_upsampler:
            self._load_upsampler_model()

    def _load_upsampler_model(self):
        stand_in.load(ENGINE, "pixtral", "pixtral")

    def _prompt_upsample_with_offload(self, prompt, video_path):
        if self.offload_prompt_upsampler:
            self._load_upsampler_model()
        if len(video_path) != 2:
            raise ValueError("At most 2 images may be provided")
        if "choke" in prompt:
            raise ValueError("The decoder prompt is longer than the maximum model length of 4096")
        sys.stderr.write(f"INFO upsampling {prompt!r}\n")
        return "" if "silence" in prompt else f"In great detail:\n{prompt}"
