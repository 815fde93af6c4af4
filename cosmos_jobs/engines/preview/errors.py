"""What may go wrong with one run or map and leave the others alone."""

from __future__ import annotations

import av
import cv2

from cosmos_jobs.artifacts.media import VideoError

EXPECTED = (VideoError, av.FFmpegError, cv2.error, OSError)


def reason(error: Exception) -> str:
    """Return what went wrong, on one line; trouble with inputs is a VideoError already."""
    if isinstance(error, OSError | av.FFmpegError):
        return f"its files cannot be written: {error.strerror or type(error).__name__}"
    return " ".join(str(error).split())
