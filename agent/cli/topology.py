"""agent topology: the host as a tree, for people, for programs, for hwloc."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from agent import __version__
from agent.cli import arguments
from agent.cli.output import fail, text_width, write
from agent.cli.root import open_root

if TYPE_CHECKING:
    from agent.cli.arguments import Verbs
    from agent.config import Config
    from agent.model.host import Host

DESCRIPTION = """\
Draws the host: packages, dies, caches, cores and memory nodes as a tree, how
the kernel numbers them, and the CPUs and nodes of each workload. Equal parts
are drawn once. A ~ marks what is inferred."""

EXAMPLES = """\
  agent topology
  agent topology --no-workloads --all
  agent topology --format hwloc-xml > host.xml; lstopo -i host.xml"""


def add(verbs: Verbs) -> None:
    parser = arguments.add_verb(
        verbs,
        "topology",
        run,
        summary="draw packages, caches, cores and memory nodes, and which workload runs where",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    parser.add_argument(
        "--format",
        choices=("text", "json", "hwloc-xml"),
        default="text",
        help="text: for people; json: the snapshot's host, physical and logical parts; hwloc-xml: for lstopo -i (default text)",
    )
    parser.add_argument("--all", action="store_true", help="text: draw every thread, and show tables in full")
    parser.add_argument("--no-workloads", action="store_true", help="text: draw the hardware only, which is faster")
    arguments.add_width(parser)
    arguments.add_sources(parser)


def run(parsed: argparse.Namespace) -> int:
    from msgspec.structs import replace

    from agent.collect.sources import MACHINE

    config = arguments.config(parsed)
    if not config.only and (parsed.format != "text" or parsed.no_workloads):
        config = replace(config, only=MACHINE)
    host, taken_at = _read(config)
    match parsed.format:
        case "json":
            from agent.model.snapshot import Topology
            from exporters.views import json

            return write(json.render(Topology.of(host, taken_at, __version__)))
        case "hwloc-xml":
            from exporters.views import hwloc_xml

            try:
                return write(hwloc_xml.render(host))
            except ValueError as error:
                fail(1, str(error))
    from exporters.views import console

    return write(
        console.render(
            host,
            width=text_width(parsed),
            terminal=sys.stdout.isatty(),
            encoding=sys.stdout.encoding,
            uncut=parsed.all,
            workloads=not config.only or not {*config.only} <= {*MACHINE},
        )
    )


def _read(config: Config) -> tuple[Host, float]:
    """The host from one pass, and when it was read (Unix seconds; of a recording, when it was made)."""
    from agent.session import Session, take_host

    session = Session(root=open_root(config), config=config)
    host = take_host(session)
    return host, session.taken_at
