"""agent explain: where a workload's time and memory go, layer by layer."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from agent.cli import arguments
from agent.cli.output import show
from agent.cli.workload import window_and_workload

if TYPE_CHECKING:
    from agent.cli.arguments import Verbs

DESCRIPTION = """\
Says what costs one workload time and memory: the five figures that matter
most, measured beside predicted; who else runs on its CPUs; the one change that
would save most; and its layers from the hardware to the application."""

EXAMPLES = """\
  agent explain web
  agent explain 4711 --interval 10
  agent explain web --json"""


def add(verbs: Verbs) -> None:
    parser = arguments.add_verb(
        verbs,
        "explain",
        run,
        summary="show layer by layer where a workload's CPU time and memory go",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    arguments.add_workload(parser)
    arguments.add_json(parser)
    arguments.add_width(parser)
    arguments.add_interval(parser)
    arguments.add_calibration(parser)
    arguments.add_sources(parser)


def run(parsed: argparse.Namespace) -> int:
    from agent.calibrate.histories import load
    from agent.config import histories_file
    from agent.overhead.compose import components
    from agent.overhead.explain import explain
    from exporters.views import explain as view

    window, workload = window_and_workload(parsed)
    # Of another tree, the file beside this host's calibration says nothing.
    histories, _ = load(histories_file(), window.after) if parsed.root == "/" else ({}, None)
    explanation = explain(window, workload, components(workload, window, window.activity(workload)), histories)
    return show(parsed, explanation, view.render)
