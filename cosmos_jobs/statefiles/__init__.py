"""Where the store's state file is kept: on this machine, on a host, in an object store."""
