"""What the example programs call before and after their work."""

from cosmos_transfer2.config import LOG


def init_environment():
    """Nothing to do: there is no device."""


def init_output_dir(output_dir, *, profile=False):
    """Make the folder, and open its logs anew."""
    if output_dir:
        LOG.open(output_dir)


def cleanup_environment():
    """Nothing to do."""
