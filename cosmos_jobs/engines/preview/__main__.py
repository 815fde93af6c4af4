"""`python -m cosmos_jobs.engines.preview`: the preview engine as a program of its own."""

import sys

from cosmos_jobs.engines.preview.program import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
