"""The machines of targets: how they are reached, and how work is queued there."""
