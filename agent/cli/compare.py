"""agent compare: the three paradigms side by side, with what runs here."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from agent.cli import arguments
from agent.cli.output import fail, show
from agent.cli.root import open_root
from agent.cli.waiting import wait

if TYPE_CHECKING:
    from agent.cli.arguments import Verbs

DESCRIPTION = """\
Compares virtualization, containers and sandboxes: the tables of the concept
document with this host's evidence in each cell, then the document's claims ("a
starts faster than b") and whether they hold here."""

EXAMPLES = """\
  agent compare
  agent compare --section 11.3 --lang zh"""


def add(verbs: Verbs) -> None:
    parser = arguments.add_verb(
        verbs,
        "compare",
        run,
        summary="compare virtualization, containers and sandboxes on this host",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    parser.add_argument("--lang", choices=("en", "zh"), default="en", help="terms in English, or in the document's Chinese (default en)")
    parser.add_argument("--section", action="append", default=[], metavar="N", help="show this section only, as 11.3; may be repeated")
    arguments.add_json(parser)
    arguments.add_width(parser)
    arguments.add_interval(parser)
    arguments.add_calibration(parser)
    arguments.add_sources(parser)


def run(parsed: argparse.Namespace) -> int:
    from agent.session import Session, take_snapshot
    from exporters.views import compare as view
    from exporters.views.matrices import MATRICES

    sections = [matrix.section for matrix in MATRICES]
    if unknown := {*parsed.section} - {*sections}:
        fail(2, f"compare: no section {', '.join(sorted(unknown))}; there are {', '.join(sections)}")
    config = arguments.config(parsed)
    snapshot = take_snapshot(Session(root=open_root(config), config=config), wait)
    return show(parsed, view.compare(snapshot, parsed.lang, parsed.section), view.render)
