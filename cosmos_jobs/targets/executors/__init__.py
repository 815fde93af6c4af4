"""The executors: how batches are queued on a host."""
