"""Arguments -> Config; one function a verb.

Exit codes: 0 done, whatever gaps there are; 1 it could not be done; 2 a wrong argument, or a root that is not there.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from agent import __version__
from agent.config import Config

if TYPE_CHECKING:
    from collectors.sysroot import SysRoot


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = _parser().parse_args(arguments)
    verb: Callable[[argparse.Namespace], int] = parsed.verb
    try:
        return verb(parsed)
    except BrokenPipeError:
        # The reader has gone (agent snapshot | head): nothing more to say, and nowhere to say it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="agent", description="What this host is, where each workload sits on it, and what its layers cost.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"stratascope {__version__}")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    one = verbs.add_parser("snapshot", help="print one JSON document about this host", allow_abbrev=False)
    one.add_argument("--pretty", action="store_true", help="indent the JSON")
    one.add_argument("--schema", action="store_true", help="print the JSON Schema of the document, and nothing else")
    one.add_argument(
        "--interval",
        type=_seconds,
        default=1.0,
        metavar="SECONDS",
        help="time between two passes when workloads run; 0: one pass (default 1)",
    )
    one.set_defaults(verb=_snapshot)

    daemon = verbs.add_parser("serve", help="serve Prometheus metrics until SIGTERM", allow_abbrev=False)
    daemon.add_argument(
        "--web.listen-address",
        dest="listen",
        type=_address,
        action="append",
        metavar="HOST:PORT",
        help="where to listen, may be repeated (default 127.0.0.1:19150)",
    )
    daemon.set_defaults(verb=_serve)

    record = verbs.add_parser("record", help="copy what one pass reads into a directory, for --root", allow_abbrev=False)
    record.add_argument("directory", metavar="DIR", help="a directory that is empty or does not exist")
    record.set_defaults(verb=_record)

    for verb in (one, daemon, record):
        verb.add_argument("--root", default="/", metavar="DIR", help="the tree to read: proc, sys and run lie below it (default /)")
        verb.add_argument(
            "--only", type=_source, action="append", default=[], metavar="SOURCE", help="ask this source only, may be repeated"
        )
        verb.add_argument(
            "--docker", action="append", default=[], metavar="URL", help="a Docker or Podman API, as unix:///path (default: run/)"
        )
        verb.add_argument(
            "--libvirt", action="append", default=[], metavar="URI", help="a libvirt connection (default: sockets below run/)"
        )
    return parser


def _snapshot(parsed: argparse.Namespace) -> int:
    if parsed.schema:
        from exporters.json import schema

        return _print(schema())
    from agent.service import once
    from exporters.json import render

    config = _config(parsed)
    return _print(render(once(_root(config), config), parsed.pretty))


def _record(parsed: argparse.Namespace) -> int:
    import time

    from agent.sample import Errands, take
    from collectors.recorder import Recorder
    from collectors.sysroot import Unavailable

    config = _config(parsed)
    try:
        os.makedirs(parsed.directory, mode=0o700, exist_ok=True)
        if os.listdir(parsed.directory):
            _fail(2, f"{parsed.directory}: not empty; record into a directory of its own")
        recorder = Recorder(config.root, parsed.directory, time.time(), __version__)
        sample = take(recorder, config, Errands())
        recorder.close()
    except Unavailable as error:
        _fail(2, error.detail)
    except OSError as error:
        _fail(1, f"{error.filename or parsed.directory}: {error.strerror}")
    print(f"recorded into {parsed.directory} with {len(sample.gaps)} gaps; read it with --root {parsed.directory}", file=sys.stderr)
    return 0


def _serve(parsed: argparse.Namespace) -> int:
    import logging
    import signal
    import threading

    from agent.service import Service
    from exporters import http

    config = _config(parsed)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    service = Service(_root(config), config)
    try:
        sockets = http.listen(config.listen)
    except OSError as error:
        _fail(1, str(error.strerror))
    # uvicorn raises the signal that ended it once more when it is done; a clean end is no failure.
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    signal.signal(signal.SIGINT, lambda _number, _frame: None)
    threading.Thread(target=lambda: service.metrics(False, 1.0), daemon=True).start()
    for bound in sockets:
        logging.getLogger("stratascope").info("listening on http://%s:%s/metrics", *bound.getsockname()[:2])
    http.serve(http.application(service.metrics, lambda: service.ready, __version__), sockets)
    return 0


def _config(parsed: argparse.Namespace) -> Config:
    return Config(
        root=parsed.root,
        only=tuple(parsed.only),
        docker=tuple(parsed.docker),
        libvirt=tuple(parsed.libvirt),
        interval_seconds=getattr(parsed, "interval", 1.0),
        listen=tuple(getattr(parsed, "listen", None) or Config().listen),
    )


def _root(config: Config) -> SysRoot:
    from collectors.sysroot import SysRoot, Unavailable

    try:
        return SysRoot(config.root)
    except Unavailable as error:
        _fail(2, error.detail)


def _print(document: bytes) -> int:
    sys.stdout.buffer.write(document)
    sys.stdout.buffer.flush()
    return 0


def _fail(code: int, message: str) -> NoReturn:
    print(f"agent: {message}", file=sys.stderr)
    raise SystemExit(code)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text}: between 0 and 3600 seconds")
    return value


def _source(text: str) -> str:
    from agent.sample import SOURCES

    if text not in SOURCES:
        raise argparse.ArgumentTypeError(f"{text}: no such source; there are {', '.join(SOURCES)}")
    return text


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 <= int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text}: expected HOST:PORT")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104
