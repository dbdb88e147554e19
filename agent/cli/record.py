"""agent record: what one pass reads, copied into a directory that --root can read."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from agent import __version__
from agent.cli import arguments
from agent.cli.output import fail

if TYPE_CHECKING:
    from agent.cli.arguments import Verbs

DESCRIPTION = """\
Copies every file that one pass reads, and what libvirt and the engines answer,
into a directory. Other verbs replay it with --root: attach it to a bug report,
or make a test of it. Names of processes, containers and VMs are in it."""

EXAMPLES = """\
  agent record /tmp/host
  agent explain web --root /tmp/host"""


def add(verbs: Verbs) -> None:
    parser = arguments.add_verb(
        verbs, "record", run, summary="save what one pass reads, to replay it with --root", description=DESCRIPTION, examples=EXAMPLES
    )
    parser.add_argument("directory", metavar="DIR", help="where to save it: a directory that is empty or does not exist")
    arguments.add_sources(parser)


def run(parsed: argparse.Namespace) -> int:
    import time

    from agent.collect.sample import BackgroundQueries, take
    from collectors.root import Unavailable
    from collectors.root.recorder import Recorder

    config = arguments.config(parsed)
    try:
        os.makedirs(parsed.directory, mode=0o700, exist_ok=True)
        if os.listdir(parsed.directory):
            fail(2, f"{parsed.directory}: not empty; record into a directory of its own")
        recorder = Recorder(config.root, parsed.directory, time.time(), __version__)
        sample = take(recorder, config, BackgroundQueries())
        recorder.close()
    except Unavailable as error:
        fail(2, error.detail)
    except OSError as error:
        fail(1, f"{error.filename or parsed.directory}: {error.strerror}")
    print(f"recorded into {parsed.directory} with {len(sample.gaps)} gaps; read it with --root {parsed.directory}", file=sys.stderr)
    return 0
