"""`make bench`: whole processes beside their peers on this host and on a large machine, and what single parts cost."""

from __future__ import annotations

import argparse
import sys

from tests.bench import containers, guest, hostile, large, machines, overheads, records, sandboxes
from tests.bench.processes import compare

COMMANDS = {
    "agent snapshot": [sys.executable, "-m", "agent", "snapshot", "--interval", "0"],
    "lstopo-no-graphics --of xml": ["lstopo-no-graphics", "--of", "xml"],
    "lscpu -J": ["lscpu", "-J"],
    "numactl -H": ["numactl", "-H"],
    "python -c pass (the floor)": [sys.executable, "-c", "pass"],
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=21, help="runs of each command (default 21)")
    parser.add_argument("--guest", action="store_true", help="the containers in a guest with control groups v2, and nothing else")
    parsed = parser.parse_args()
    if parsed.guest:
        guest.main()
        return
    compare("this host", COMMANDS, parsed.runs)
    large.main(parsed.runs)
    records.main()
    overheads.main()
    sandboxes.main()
    containers.main()
    machines.main()
    hostile.main()


if __name__ == "__main__":
    main()
