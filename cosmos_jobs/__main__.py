"""`python -m cosmos_jobs` is the program."""

from cosmos_jobs.cli import main

main()
