"""agent snapshot: one JSON document about the host."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from agent.cli import arguments
from agent.cli.output import write
from agent.cli.root import open_root
from agent.cli.waiting import wait

if TYPE_CHECKING:
    from agent.cli.arguments import Verbs

DESCRIPTION = """\
Prints one JSON document: the host's hardware, what the kernel makes of it,
every workload with its limits, usage and placement, findings, predictions, and
what could not be read. Where workloads run, two passes are taken, so that
counters become rates."""

EXAMPLES = """\
  agent snapshot --pretty
  agent snapshot | jq '.workloads[] | {name, paradigm, placement}'
  agent snapshot --only cgroup --only sys_node"""


def add(verbs: Verbs) -> None:
    parser = arguments.add_verb(
        verbs, "snapshot", run, summary="print everything about this host as one JSON document", description=DESCRIPTION, examples=EXAMPLES
    )
    parser.add_argument("--pretty", action="store_true", help="indent the JSON")
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of the document, and nothing else")
    arguments.add_interval(parser)
    arguments.add_calibration(parser)
    arguments.add_sources(parser)


def run(parsed: argparse.Namespace) -> int:
    from exporters.views import json

    if parsed.schema:
        return write(json.schema())
    from agent.session import Session, take_snapshot

    config = arguments.config(parsed)
    return write(json.render(take_snapshot(Session(root=open_root(config), config=config), wait), parsed.pretty))
