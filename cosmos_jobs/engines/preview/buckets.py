"""The picture sizes of the models, and which one a video gets.

Sources: cosmos-transfer2.5 at 2ff49d07, `VIDEO_RES_SIZE_INFO` in
`_src/predict2/datasets/utils.py` and the aspect choice in
`_src/transfer2/inference/utils.py`; cosmos-framework at 5eee9ed5,
`cosmos_framework/data/generator/utils.py` and `inference/vision.py`.
"""

from __future__ import annotations

Size = tuple[int, int]
"""Width and height, in pixels."""

TRANSFER = "transfer"
COSMOS3 = "cosmos3"

_LANDSCAPE: dict[str, dict[str, tuple[Size, Size, Size]]] = {
    TRANSFER: {
        "1080": ((1920, 1056), (1440, 1056), (1024, 1024)),
        "1024": ((1280, 768), (1280, 1024), (1024, 1024)),
        "720": ((1280, 704), (960, 704), (960, 960)),
        "720p": ((1280, 720), (960, 720), (960, 960)),
        "720robocasa": ((1280, 720), (960, 720), (720, 720)),
        "512": ((640, 384), (640, 512), (512, 512)),
        "480": ((768, 432), (640, 480), (480, 480)),
        "480p": ((832, 480), (640, 480), (640, 640)),
        "256": ((320, 192), (320, 256), (256, 256)),
    },
    COSMOS3: {
        "768": ((1360, 768), (1184, 880), (1024, 1024)),
        "720": ((1280, 720), (1104, 832), (960, 960)),
        "480": ((832, 480), (736, 544), (640, 640)),
        "256": ((320, 192), (320, 256), (256, 256)),
    },
}

RESOLUTIONS = {model: tuple(sizes) for model, sizes in _LANDSCAPE.items()}
"""The names that `resolution` may have, for each `model`."""


def bucket(resolution: str, width: int, height: int, model: str = TRANSFER) -> Size:
    """Return the size at which a model sees a video of `width` × `height` pixels.

    The nearest of 16:9, 4:3, 1:1, 3:4 and 9:16 by squared distance of the
    ratios; on a tie the first in that order. Raises KeyError for a resolution
    that is not one of the model's RESOLUTIONS.
    """
    wide, classic, square = _LANDSCAPE[model][resolution]
    sizes = {
        16 / 9: wide,
        4 / 3: classic,
        1.0: square,
        3 / 4: classic[::-1],
        9 / 16: wide[::-1],
    }
    return sizes[min(sizes, key=lambda ratio: (ratio - width / height) ** 2)]
