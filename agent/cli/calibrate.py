"""agent calibrate: measure what this host's layers cost, for its predictions."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from agent.cli import arguments
from agent.cli.output import fail, write

if TYPE_CHECKING:
    from agent.cli.arguments import Verbs
    from agent.model.calibration import Calibration

DESCRIPTION = """\
Measures this host: clock, memory latencies, page walks, context switches,
WebAssembly calls. Loads one CPU at low priority for at most half a minute, and
stores the result, which predictions use from then on."""

EXAMPLES = """\
  agent calibrate
  agent calibrate --check
  agent calibrate --json --store /tmp/calibration.json"""


def add(verbs: Verbs) -> None:
    parser = arguments.add_verb(
        verbs,
        "calibrate",
        run,
        summary="measure what this host's layers cost, for better predictions",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    parser.add_argument("--json", action="store_true", help="print the whole result as JSON")
    parser.add_argument(
        "--check",
        action="store_true",
        help="store nothing, but compare with the stored result; exit code 1 where something differs by more than 15 %%",
    )
    parser.add_argument("--seconds", type=arguments.budget, default=30.0, metavar="N", help="take no longer than this (default 30)")
    parser.add_argument(
        "--store",
        metavar="FILE",
        help="store the result here (default: calibration.json in $STATE_DIRECTORY or in /var/lib/stratascope)",
    )
    parser.add_argument("--exits", action="store_true", help="measure VM exits, too: opens /dev/kvm and runs a guest of one page")


def run(parsed: argparse.Namespace) -> int:
    from agent.calibrate import store
    from agent.calibrate.progress import progress
    from agent.calibrate.run import Unable, measured
    from agent.config import calibration_file
    from exporters.views import calibration, json

    path = parsed.store or calibration_file()
    try:
        old = store.load(path)
        if parsed.check and old is None:
            fail(2, f"{path}: nothing to compare with; run: agent calibrate")
        with progress() as say:
            new = measured(parsed.seconds, parsed.exits, say)
    except (Unable, store.Unreadable) as error:
        fail(1, str(error))
    same_machine = old is not None and store.same(new.machine, old.machine)
    deviations = store.deviations(new, old) if old is not None and same_machine else []
    write(json.render(new, pretty=True) if parsed.json else calibration.render(new, deviations))
    if not parsed.check:
        return _store(path, new, old)
    if old is not None and not same_machine:
        fail(1, f"{path}: of another {', '.join(store.differences(new.machine, old.machine)).replace('_', ' ')}")
    if apart := [name for name, _, _, is_apart in deviations if is_apart]:
        fail(1, f"apart from {path}: {', '.join(apart)}")
    return 0


def _store(path: str, new: Calibration, old: Calibration | None) -> int:
    from agent.calibrate import store

    if not store.replaces(new, old):
        print(f"agent: {path} is kept: it measured more, or under less load", file=sys.stderr)
        return 0
    try:
        store.keep(path, new)
    except OSError as error:
        fail(1, f"{error.filename or path}: {error.strerror}")
    print(f"stored in {path}", file=sys.stderr)
    return 0
