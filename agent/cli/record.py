"""agent record: what the passes of a snapshot read, copied into a directory that --root can read."""

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
    from agent.collect.sample import Sample
    from agent.config import Config

DESCRIPTION = """\
Copies every file that a snapshot reads, and what libvirt and the engines
answer, into a directory; where workloads run, a second pass goes into
DIR/later. Other verbs replay it with --root: attach it to a bug report, or make
a test of it. Names of processes, containers and VMs are in it."""

EXAMPLES = """\
  agent record /tmp/host
  agent explain web --root /tmp/host"""


def add(verbs: Verbs) -> None:
    parser = arguments.add_verb(
        verbs, "record", run, summary="save what a snapshot reads, to replay it with --root", description=DESCRIPTION, examples=EXAMPLES
    )
    parser.add_argument("directory", metavar="DIR", help="where to save it: a directory that is empty or does not exist")
    arguments.add_interval(parser)
    arguments.add_sources(parser)


def run(parsed: argparse.Namespace) -> int:
    from collectors.root import Unavailable

    try:
        os.makedirs(parsed.directory, mode=0o700, exist_ok=True)
        if os.listdir(parsed.directory):
            fail(2, f"{parsed.directory}: not empty; record into a directory of its own")
        gaps = _record(arguments.config(parsed), parsed.directory)
    except Unavailable as error:
        fail(2, error.detail)
    except OSError as error:
        fail(1, f"{error.filename or parsed.directory}: {error.strerror}")
    print(f"recorded into {parsed.directory} with {gaps} gaps; read it with --root {parsed.directory}", file=sys.stderr)
    return 0


def _record(config: Config, directory: str) -> int:
    """The passes that a snapshot of this host would take; how many gaps the last one had."""
    import time

    from agent.normalise import normalise
    from collectors.root import LATER, SysRoot

    sample = _record_pass(config, config.root, directory)
    root = SysRoot(config.root)
    later = root.later()
    if later is None and not (root.live and config.interval_seconds > 0 and normalise(sample).workloads):
        return len(sample.gaps)
    if later is None:
        time.sleep(config.interval_seconds)
    os.mkdir(os.path.join(directory, LATER), 0o700)
    return len(_record_pass(config, later.path if later else config.root, os.path.join(directory, LATER)).gaps)


def _record_pass(config: Config, root: str, directory: str) -> Sample:
    """One whole pass, in a session of its own: what an earlier one has read is read again."""
    import time

    from agent.session import Session, take_sample
    from collectors.root.recorder import Recorder

    recorder = Recorder(root, directory, time.time(), __version__)
    sample = take_sample(Session(root=recorder, config=config))
    recorder.close()
    return sample
