"""A job file to prompts and runs; jobs without a file, and job files of runs."""
