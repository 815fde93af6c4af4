"""A job file to prompts and runs."""
