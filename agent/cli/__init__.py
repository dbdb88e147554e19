"""The command line: one module a verb. Arguments become a Config, one call answers, one view prints the answer.

Exit codes: 0 done, whatever gaps there are; 1 it could not be done; 2 a wrong argument, or a root that is not there. `status --check` also
exits 1 on a warning and 2 on a critical finding.

Verbs import what they need when they run: `agent --help` must not wait for libraries that it does not use.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from agent import __version__
from agent.cli import calibrate, compare, explain, record, serve, snapshot, status, topology, what_if

DESCRIPTION = """\
Shows what this Linux host is, where its virtual machines, containers and
WebAssembly sandboxes run on it, and what each layer between the hardware and
the application costs them."""

EPILOG = """\
"agent VERB --help" describes a verb; plain "agent" is "agent status". No verb but calibrate loads the host, and
none changes its configuration. Without root everything works, and what could
not be read is listed as a gap with its remedy.

exit codes: 0 done, whatever gaps there are; 1 it could not be done; 2 wrong
argument. "agent status --check" also exits 1 on a warning and 2 on a critical
finding"""


def main(arguments: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    parsed = build_parser().parse_args(given or ["status"])
    run: Callable[[argparse.Namespace], int] = parsed.run
    try:
        return run(parsed)
    except BrokenPipeError:
        # Whoever read our output has closed it (agent snapshot | head). Python flushes once more at exit, which must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def build_parser() -> argparse.ArgumentParser:
    """All verbs and their options."""
    parser = argparse.ArgumentParser(
        prog="agent",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-V", "--version", action="version", version=f"stratascope {__version__}", help="print the version and exit")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    for verb in (status, snapshot, topology, explain, what_if, compare, record, serve, calibrate):
        verb.add(verbs)
    return parser
