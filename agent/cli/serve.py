"""agent serve: the daemon that Prometheus scrapes."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING

from agent import __version__
from agent.cli import arguments
from agent.cli.output import fail
from agent.cli.root import open_root

if TYPE_CHECKING:
    from agent.cli.arguments import Verbs

OPEN_FILES = 1 << 16
"""The daemon holds directories of control groups open, five of a container on v1. The usual soft limit of 1024 is for select()."""

DESCRIPTION = """\
Serves Prometheus metrics on /metrics, and /-/healthy and /-/ready, until
SIGTERM. The host is read when somebody scrapes, at most once a second. Listens
on the loopback interface unless told otherwise."""

EXAMPLES = """\
  agent serve
  agent serve --web.listen-address 0.0.0.0:19150 --calibrate"""


def add(verbs: Verbs) -> None:
    parser = arguments.add_verb(verbs, "serve", run, summary="serve Prometheus metrics", description=DESCRIPTION, examples=EXAMPLES)
    parser.add_argument(
        "--web.listen-address",
        dest="listen",
        type=arguments.address,
        action="append",
        metavar="HOST:PORT",
        help="listen here; may be repeated (default 127.0.0.1:19150)",
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="first calibrate this host, in the background and for at most 30 s, if its calibration is missing or of another machine",
    )
    arguments.add_calibration(parser)
    arguments.add_sources(parser)


def run(parsed: argparse.Namespace) -> int:
    import logging
    import signal
    import threading

    from agent.service import Service, collect_rarely
    from exporters.http import server
    from exporters.http.application import application

    config = arguments.config(parsed)
    _raise_open_files_limit()
    collect_rarely()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    root = open_root(config)
    if parsed.calibrate:
        from agent.calibrate.background import calibrate

        # It forks, so before there are threads.
        calibrate(config)
    service = Service(root, config)
    try:
        sockets = server.listen(config.listen)
    except OSError as error:
        fail(1, str(error.strerror))
    # uvicorn raises the signal that ended it again once it has shut down, which would make a clean end a failure.
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    signal.signal(signal.SIGINT, lambda _number, _frame: None)
    threading.Thread(target=lambda: service.metrics(False, 1.0), daemon=True).start()
    for listening in sockets:
        logging.getLogger("stratascope").info("listening on http://%s:%s/metrics", *listening.getsockname()[:2])
    server.serve(application(service.metrics, lambda: service.ready, __version__), sockets)
    service.close()
    return 0


def _raise_open_files_limit() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < OPEN_FILES:
        wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
        # A system call filter may forbid it. What cannot be held open then is opened again at each pass.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
