"""A guest of any shape on this terminal, with the agent installed and running in it."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.lab import full


def main() -> int:
    shapes = {shape.name: shape for shape in full.SHAPES}
    parser = argparse.ArgumentParser(
        prog="make lab SHAPE=NAME, or python -m tests.lab", description=__doc__, epilog=f"Shapes: {', '.join(shapes)}."
    )
    parser.add_argument("shape", metavar="SHAPE", nargs="?", choices=shapes, help="what the guest is; without it, this help")
    parser.add_argument("--port", type=int, default=19150, help="of the agent's metrics on 127.0.0.1 (default %(default)s)")
    parsed = parser.parse_args()
    if parsed.shape is None:
        parser.print_help()
        return 0
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="lab-") as name:
        wrong = full.converse(shapes[parsed.shape], parsed.port, Path(name))
    print(wrong, file=sys.stderr, end="")
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
