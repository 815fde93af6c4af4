"""A stand-in for torchrun: runs the program once, as rank 0; the other ranks would only wait.

The program's exit code becomes ours; the real one turns any failure into 1.
"""

import argparse
import os
import sys


def main():
    arguments = [each.replace("_", "-") if each.startswith("--") else each for each in sys.argv[1:]]
    parser = argparse.ArgumentParser(prog="torchrun", allow_abbrev=False)
    parser.add_argument("--standalone", action="store_true")
    parser.add_argument("-m", "--module", action="store_true")
    parser.add_argument("--nproc-per-node", default="1")
    parser.add_argument("--nnodes", default="1")
    parser.add_argument("--node-rank", type=int, default=0)
    parser.add_argument("--master-addr", default="127.0.0.1")
    parser.add_argument("--master-port", default="29500")
    parser.add_argument("--rdzv-backend", default="")
    parser.add_argument("--rdzv-endpoint", default="")
    parser.add_argument("--rdzv-id", default="")
    parser.add_argument("program")
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    size = int(options.nproc_per_node)
    # The program's own options as they were written, not with our dashes.
    rest = sys.argv[len(sys.argv) - len(options.rest) :] if options.rest else []
    environment = {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": options.master_addr,
        "MASTER_PORT": options.master_port,
    }
    program = ["-m", options.program] if options.module else [options.program]
    command = [sys.executable, "-u", *program, *rest]
    os.execve(sys.executable, command, {**os.environ, **environment})


if __name__ == "__main__":
    main()
