"""Where the store's state file is kept: on this machine, on a host, in an object store."""

RESTORE = (
    "look at its backup: cosmos-jobs state pull --backup > old.json\n"
    "then restore it: cosmos-jobs state push --force old.json"
)
"""What to type where the backup of a shared state is to be had back."""
