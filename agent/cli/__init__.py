"""Arguments -> Config; one function a verb.

Exit codes: 0 done, whatever gaps there are; 1 it could not be done; 2 a wrong argument, or a root that is not there.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from msgspec.structs import replace

from agent import __version__
from agent.config import Config

if TYPE_CHECKING:
    from agent.model.values import CpuSet, Fact, Limit
    from agent.model.workload import Paradigm, Workload
    from agent.overhead.window import Window
    from collectors.root import SysRoot

PARADIGMS: dict[str, Paradigm] = {"container": "containerization", "vm": "virtualization", "sandbox": "sandbox"}
LISTED = 20
"""So many workloads an error names."""


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
    one.set_defaults(verb=_snapshot)

    shown = verbs.add_parser(
        "topology",
        help="show this host: its tree, its memory, the maps between hardware and kernel, who sits where",
        description="Shows this host: packages, caches, cores and memory as a tree, equal parts drawn once; what is inferred has a ~.",
        allow_abbrev=False,
    )
    shown.add_argument(
        "--format",
        choices=("text", "json", "hwloc-xml"),
        default="text",
        help="text: for people; json: the snapshot's host, physical and logical parts; hwloc-xml: for lstopo -i (default text)",
    )
    shown.add_argument("--all", action="store_true", help="text: draw every thread, and cut no table")
    shown.add_argument("--no-workloads", action="store_true", help="text: the machine only, which is faster")
    shown.add_argument("--width", type=_width, metavar="COLUMNS", help="text: break lines here (default: the terminal's width, else 100)")
    shown.set_defaults(verb=_topology)

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

    daemon.add_argument(
        "--calibrate",
        action="store_true",
        help="measure this host first where its calibration is missing or another machine's; a process of its own, for at most 30 s",
    )

    measured = verbs.add_parser(
        "calibrate",
        help="measure what this host's layers cost, for the predictions",
        description="Loads one CPU for some seconds: clock, latencies, page walks, switches, sandboxes. What is stored, predictions use.",
        allow_abbrev=False,
    )
    measured.add_argument("--json", action="store_true", help="print the whole result as JSON")
    measured.add_argument("--check", action="store_true", help="store nothing; exit code 1 when the stored one is apart by more than 15 %%")
    measured.add_argument("--seconds", type=_budget, default=30.0, metavar="N", help="take no longer than this (default 30)")
    measured.add_argument(
        "--store", metavar="FILE", help="where it lies (default calibration.json in $STATE_DIRECTORY, or /var/lib/stratascope)"
    )
    measured.add_argument("--exits", action="store_true", help="measure VM exits, too: opens /dev/kvm and runs a machine of one page")
    measured.set_defaults(verb=_calibrate)

    record = verbs.add_parser("record", help="copy what one pass reads into a directory, for --root", allow_abbrev=False)
    record.add_argument("directory", metavar="DIR", help="a directory that is empty or does not exist")
    record.set_defaults(verb=_record)

    told = verbs.add_parser(
        "explain",
        help="show where on its stack a workload's time and memory go, and the one change that would pay most",
        description="Shows the layers from the hardware to the application, their facts, and what each is predicted and measured to cost.",
        allow_abbrev=False,
    )
    told.set_defaults(verb=_explain)

    asked = verbs.add_parser(
        "what-if",
        help="predict what a change would do to a workload",
        description="Predicts what changes, with its interval; nothing is changed on the host. Several changes are made at once.",
        allow_abbrev=False,
    )
    asked.add_argument("--pin", type=_cpus, metavar="CPUS", help='it may run on these CPUs only ("0-3,8")')
    asked.add_argument("--cpus", type=_quota, metavar="N", help='a quota of so many CPUs, or "max" for none')
    asked.add_argument(
        "--weight", type=int, metavar="N", help="its CPU weight, 1 to 10000 as in cgroup v2 (v1: 1024 shares are weight 100)"
    )
    asked.add_argument("--hugepages", action="store_true", help="huge pages below all of its memory")
    asked.add_argument("--node", type=int, metavar="N", help="all of its memory on this node")
    asked.add_argument("--as", dest="paradigm", choices=tuple(PARADIGMS), help="the same work in another wrapping")
    asked.set_defaults(verb=_what_if)

    beside = verbs.add_parser(
        "compare",
        help="virtualization, containers and sandboxes beside one another, with what runs here",
        description="Shows the matrices of the concept document with this host's evidence, then its ordinal claims and their verdicts.",
        allow_abbrev=False,
    )
    beside.add_argument("--lang", choices=("en", "zh"), default="en", help="the terms in English, or the document's own (default en)")
    beside.add_argument("--section", action="append", default=[], metavar="N", help="this section only (11.3), may be repeated")
    beside.set_defaults(verb=_compare)

    for verb in (told, asked):
        verb.add_argument("workload", metavar="WORKLOAD", help="its name, the beginning of its id, or the number of a process of it")
    for verb in (told, beside, asked):
        verb.add_argument("--json", action="store_true", help="one JSON document")
        verb.add_argument("--width", type=_width, metavar="COLUMNS", help="break lines here (default: the terminal's width, else 100)")
    for verb in (one, told, beside, asked):
        verb.add_argument(
            "--interval",
            type=_seconds,
            default=1.0,
            metavar="SECONDS",
            help="time between two passes when workloads run; 0: one pass (default 1)",
        )

    for verb in (one, told, beside, asked, daemon):
        verb.add_argument("--calibration", metavar="FILE", help="the calibration to predict with (default: this host's own, if any)")
    for verb in (one, shown, told, beside, asked, daemon, record):
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
        verb.add_argument(
            "--label", action="append", default=[], metavar="NAME", help="show this label of containers, may be repeated (default: none)"
        )
    return parser


def _snapshot(parsed: argparse.Namespace) -> int:
    if parsed.schema:
        from exporters.views.json import schema

        return _print(schema())
    from agent.service import once
    from exporters.views.json import render

    config = _config(parsed)
    return _print(render(once(_root(config), config), parsed.pretty))


def _topology(parsed: argparse.Namespace) -> int:
    import time

    from agent.collect.sample import MACHINE, BackgroundQueries, take
    from agent.normalise import normalise

    config = _config(parsed)
    if not config.only and (parsed.format != "text" or parsed.no_workloads):
        config = replace(config, only=MACHINE)
    root = _root(config)
    taken_at = root.mark.taken_at if root.mark else time.time()
    host = normalise(take(root, config, BackgroundQueries()))
    match parsed.format:
        case "json":
            from agent.model.snapshot import Topology
            from exporters.views import json

            return _print(json.render(Topology.of(host, taken_at, __version__)))
        case "hwloc-xml":
            from exporters.views import hwloc_xml

            try:
                return _print(hwloc_xml.render(host))
            except ValueError as error:
                _fail(1, str(error))
    from exporters.views import console

    terminal = sys.stdout.isatty()
    return _print(
        console.render(
            host,
            width=parsed.width or (None if terminal else 100),
            terminal=terminal,
            encoding=sys.stdout.encoding,
            whole=parsed.all,
            workloads=not config.only or not {*config.only} <= {*MACHINE},
        )
    )


def _explain(parsed: argparse.Namespace) -> int:
    from agent.overhead.compose import components
    from agent.overhead.explain import explain
    from exporters.views import explain as view

    window, workload = _meant(parsed)
    return _show(parsed, explain(window, workload, components(workload, window, window.activity(workload))), view.render)


def _compare(parsed: argparse.Namespace) -> int:
    from agent.service import once
    from exporters.views import compare as view
    from exporters.views.matrices import MATRICES

    sections = [one.section for one in MATRICES]
    if unknown := {*parsed.section} - {*sections}:
        _fail(2, f"compare: no section {', '.join(sorted(unknown))}; there are {', '.join(sections)}")
    config = _config(parsed)
    return _show(parsed, view.compare(once(_root(config), config), parsed.lang, parsed.section), view.render)


def _what_if(parsed: argparse.Namespace) -> int:
    from agent.model.change import Change
    from agent.overhead.what_if import what_if
    from exporters.views import what_if as view

    paradigm = PARADIGMS[parsed.paradigm] if parsed.paradigm else None
    change = Change(pin=parsed.pin, cpus=parsed.cpus, weight=parsed.weight, hugepages=parsed.hugepages, node=parsed.node, paradigm=paradigm)
    if change == Change():
        _fail(2, "what-if: name at least one change (--pin, --cpus, --weight, --hugepages, --node, --as)")
    window, workload = _meant(parsed)
    try:
        answer = what_if(window, workload, change)
    except ValueError as error:
        _fail(2, f"what-if: {error}")
    return _show(parsed, answer, view.render)


def _meant(parsed: argparse.Namespace) -> tuple[Window, Workload]:
    """The one workload that is meant, in the window that a snapshot would be about."""
    from agent.model.workload import matching
    from agent.service import watch

    config = _config(parsed)
    window, _ = watch(_root(config), config)
    every = window.after.workloads
    found = matching(every, parsed.workload)
    if len(found) != 1:
        _fail(2, _unclear(parsed.workload, found, every))
    return window, found[0]


def _unclear(word: str, found: Sequence[Workload], every: Sequence[Workload]) -> str:
    """Why a word means no one workload, and which ones it might have meant."""
    from exporters.views.words import safe

    said = f"{safe(word)} may mean {len(found)} workloads:" if found else f"{safe(word)}: no workload is called so"
    listed = "".join(f"\n  {safe(one.name)}  {one.paradigm}  {safe(one.id)}" for one in (found or every)[:LISTED])
    more = f"\n  and {len(found or every) - LISTED} more" if len(found or every) > LISTED else ""
    return f"{said}{'' if found else '; there are' if every else '; none was seen'}{listed}{more}"


def _show(parsed: argparse.Namespace, record: Fact, view: Callable[..., bytes]) -> int:
    if parsed.json:
        from exporters.views import json

        return _print(json.render(record))
    terminal = sys.stdout.isatty()
    width = parsed.width or (None if terminal else 100)
    return _print(view(record, width=width, terminal=terminal, encoding=sys.stdout.encoding))


def _record(parsed: argparse.Namespace) -> int:
    import time

    from agent.collect.sample import BackgroundQueries, take
    from collectors.root import Unavailable
    from collectors.root.recorder import Recorder

    config = _config(parsed)
    try:
        os.makedirs(parsed.directory, mode=0o700, exist_ok=True)
        if os.listdir(parsed.directory):
            _fail(2, f"{parsed.directory}: not empty; record into a directory of its own")
        recorder = Recorder(config.root, parsed.directory, time.time(), __version__)
        sample = take(recorder, config, BackgroundQueries())
        recorder.close()
    except Unavailable as error:
        _fail(2, error.detail)
    except OSError as error:
        _fail(1, f"{error.filename or parsed.directory}: {error.strerror}")
    print(f"recorded into {parsed.directory} with {len(sample.gaps)} gaps; read it with --root {parsed.directory}", file=sys.stderr)
    return 0


def _calibrate(parsed: argparse.Namespace) -> int:
    from agent.calibrate import store
    from agent.calibrate.progress import progress
    from agent.calibrate.run import Unable, measured
    from agent.config import calibration_file
    from exporters.views import calibration, json

    path = parsed.store or calibration_file()
    try:
        old = store.load(path)
        if parsed.check and old is None:
            _fail(2, f"{path}: nothing to compare with; run: agent calibrate")
        with progress() as say:
            found = measured(parsed.seconds, parsed.exits, say)
    except (Unable, store.Unreadable) as error:
        _fail(1, str(error))
    same = old is not None and store.same(found.machine, old.machine)
    compared = store.deviations(found, old) if old is not None and same else []
    _print(json.render(found, pretty=True) if parsed.json else calibration.render(found, compared))
    if parsed.check:
        if old is not None and not same:
            other = ", ".join(store.differences(found.machine, old.machine)).replace("_", " ")
            _fail(1, f"{path}: of another {other}")
        apart = [name for name, _, _, apart in compared if apart]
        if apart:
            _fail(1, f"apart from {path}: {', '.join(apart)}")
        return 0
    if not store.replaces(found, old):
        print(f"agent: {path} is kept: it measured more, or under less load", file=sys.stderr)
        return 0
    try:
        store.keep(path, found)
    except OSError as error:
        _fail(1, f"{error.filename or path}: {error.strerror}")
    print(f"stored in {path}", file=sys.stderr)
    return 0


def _serve(parsed: argparse.Namespace) -> int:
    import logging
    import signal
    import threading

    from agent.service import Service, collect_rarely
    from exporters.http import application as http

    config = _config(parsed)
    _descriptors(1 << 16)
    collect_rarely()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    root = _root(config)
    if parsed.calibrate:
        from agent.calibrate.background import calibrate

        # Before there are threads: it forks.
        calibrate(config)
    service = Service(root, config)
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


def _descriptors(wanted: int) -> None:
    """Directories of control groups are held open, five of a container on v1: the soft limit is for programs that use select()."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        # A filter of system calls may forbid it; what finds no room is opened anew at each pass.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _config(parsed: argparse.Namespace) -> Config:
    return Config(
        root=parsed.root,
        only=tuple(parsed.only),
        docker=tuple(parsed.docker),
        libvirt=tuple(parsed.libvirt),
        labels=tuple(dict.fromkeys(parsed.label)),
        interval_seconds=getattr(parsed, "interval", 1.0),
        listen=tuple(getattr(parsed, "listen", None) or Config().listen),
        calibration=getattr(parsed, "calibration", None),
    )


def _root(config: Config) -> SysRoot:
    from collectors.root import SysRoot, Unavailable

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


def _budget(text: str) -> float:
    value = float(text)
    if not 1 <= value <= 600:
        raise argparse.ArgumentTypeError(f"{text}: between 1 and 600 seconds")
    return value


def _width(text: str) -> int:
    if not text.isdecimal() or not 40 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text}: between 40 and 1000 columns")
    return int(text)


def _cpus(text: str) -> CpuSet:
    from agent.model.values import CpuSet

    try:
        return CpuSet.parse_list(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _quota(text: str) -> Limit:
    from agent.model.values import UNLIMITED, Limit

    if text == "max":
        return UNLIMITED
    value = float(text)
    if not 0 < value <= 1 << 14:
        raise argparse.ArgumentTypeError(f'{text}: more than 0 CPUs, or "max"')
    return Limit(value)


def _source(text: str) -> str:
    from agent.collect.sample import SOURCES

    if text not in SOURCES:
        raise argparse.ArgumentTypeError(f"{text}: no such source; there are {', '.join(SOURCES)}")
    return text


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 <= int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text}: expected HOST:PORT")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104
