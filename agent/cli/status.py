"""agent status: the first look at a host."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from agent.cli import arguments
from agent.cli.output import show
from agent.cli.root import open_root
from agent.cli.waiting import wait

if TYPE_CHECKING:
    from agent.cli.arguments import Verbs
    from agent.model.runtimes import Paradigm

KINDS: dict[str, Paradigm] = {
    "container": "containerization",
    "vm": "virtualization",
    "machine": "virtualization",
    "sandbox": "sandbox",
    "process": "process",
}
SORT_KEYS = ("cpu", "wait", "throttled", "memory", "lost", "name", "kind")

DESCRIPTION = """\
Shows on one screen what this host is and how busy, what is wrong, every
workload with its limits, use, waiting and place, who shares which CPUs, and
which gaps can be mended. Plain "agent" does the same.

- is not known or does not apply, max is unlimited. "waits/s" and "predicted"
are the time of each second in which its threads waited for a CPU; "it was" tells
on which side of the predicted interval the measured one lay. "loses" is the
share of the time it wants to run that its layers are predicted to take. The
memory limit of a machine and of a sandbox is at most what it was given."""

EXAMPLES = """\
  agent status
  agent status --kind container --sort memory --top 10
  agent status --check > /dev/null; echo $?
  agent status --json | jq '.findings[] | select(.severity != "info")'

with --check the exit code is 2 where something is critical, 1 where something
is a warning"""


def add(verbs: Verbs) -> None:
    parser = arguments.add_verb(
        verbs,
        "status",
        run,
        summary="show the machine, what is wrong, and every workload on one screen",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    parser.add_argument(
        "--kind", choices=tuple(KINDS), action="append", default=[], help="list workloads of this kind only; may be repeated"
    )
    parser.add_argument(
        "--sort", choices=SORT_KEYS, default="cpu", help="the order of the workloads: numbers from the largest down (default cpu)"
    )
    parser.add_argument("--top", type=arguments.rows, metavar="N", help="list the first N workloads only")
    parser.add_argument("--check", action="store_true", help="exit with 2 where a finding is critical, with 1 where one is a warning")
    arguments.add_json(parser)
    arguments.add_width(parser)
    arguments.add_interval(parser)
    arguments.add_calibration(parser)
    arguments.add_sources(parser)


def run(parsed: argparse.Namespace) -> int:
    from agent.overhead.status import chosen, exit_code, status
    from agent.session import Session, snapshot_of, take_window
    from exporters.views import status as view

    config = arguments.config(parsed)
    session = Session(root=open_root(config), config=config)
    window = take_window(session, wait)
    look = status(window, snapshot_of(window, session.taken_at))
    show(parsed, chosen(look, [KINDS[kind] for kind in parsed.kind], parsed.sort, parsed.top), view.render)
    return exit_code(look) if parsed.check else 0
