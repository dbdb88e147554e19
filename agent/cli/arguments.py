"""What several verbs take: options, the types of their values, and the Config that they make."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import re

    from agent.config import Config
    from agent.model.values import CpuSet, Limit

    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]


def add_verb(
    verbs: Verbs, name: str, run: Callable[[argparse.Namespace], int], *, summary: str, description: str, examples: str
) -> argparse.ArgumentParser:
    """A parser of its own for one verb. `description` and `examples` are printed as they stand."""
    parser = verbs.add_parser(
        name,
        help=summary,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def add_workload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "workload",
        metavar="WORKLOAD",
        help="a name (of a container, POD/CONTAINER, a domain, a unit, an instance that an embedder publishes), the beginning of an id, or"
        " the PID of one of its processes; KIND:NAME where several have it, as container:web, machine:web or podman:web",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")


def add_width(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--width", type=columns, metavar="COLUMNS", help="break lines at this width (default: the terminal's, or 100 in a pipe)"
    )


def add_interval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--interval",
        type=interval,
        default=1.0,
        metavar="SECONDS",
        help="time between the two passes that rates and predictions need where workloads run; 0: one pass only (default 1)",
    )


def add_calibration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--calibration",
        metavar="FILE",
        help='predict with this result of "agent calibrate" (default: this host\'s own, if there is one)',
    )


def add_sources(parser: argparse.ArgumentParser) -> None:
    """What to read: one set of options for all verbs that take a pass."""
    group = parser.add_argument_group("what to read")
    group.add_argument(
        "--root", default="/", metavar="DIR", help="read the host whose proc, sys and run lie in DIR: a recording, or /host (default /)"
    )
    group.add_argument(
        "--only", type=source, action="append", default=[], metavar="SOURCE", help="read this source only, as cgroup; may be repeated"
    )
    group.add_argument(
        "--docker",
        action="append",
        default=[],
        metavar="URL",
        help="a Docker or Podman API, as unix:///path; may be repeated (default: DOCKER_HOST, and the sockets below run/)",
    )
    group.add_argument(
        "--libvirt",
        action="append",
        default=[],
        metavar="URI",
        help="a libvirt connection, as qemu:///system; may be repeated (default: the sockets below run/)",
    )
    group.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="NAME",
        help="show this label of containers; may be repeated (default: none, since labels may hold secrets)",
    )
    group.add_argument(
        "--workload-group",
        type=workload_group,
        action="append",
        default=[],
        metavar="REGEX",
        help="a control group whose path ends in REGEX is a workload, called what (?P<name>...) in it matches, as"
        " '/batch/(?P<name>[^/]+)'; for engines that the agent does not know; may be repeated",
    )


def config(parsed: argparse.Namespace) -> Config:
    """The configuration of one run. A verb that lacks an option leaves the default."""
    from agent.config import Config, docker_host

    return Config(
        root=parsed.root,
        only=tuple(parsed.only),
        docker=tuple(parsed.docker),
        # Of another tree, this host's environment says nothing.
        docker_host=docker_host() if parsed.root == "/" else None,
        libvirt=tuple(parsed.libvirt),
        labels=tuple(dict.fromkeys(parsed.label)),
        workload_groups=tuple(dict.fromkeys(parsed.workload_group)),
        interval_seconds=getattr(parsed, "interval", 1.0),
        listen=tuple(getattr(parsed, "listen", None) or Config().listen),
        calibration=getattr(parsed, "calibration", None),
    )


def interval(text: str) -> float:
    """Seconds between two passes."""
    return _number_between(text, 0, 3600)


def budget(text: str) -> float:
    """Seconds that a calibration may take."""
    return _number_between(text, 1, 600)


def _number_between(text: str, least: int, most: int) -> float:
    value = float(text)
    # Written so that NaN fails, too.
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"{text}: between {least} and {most} seconds")
    return value


def columns(text: str) -> int:
    if not text.isdecimal() or not 40 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text}: between 40 and 1000 columns")
    return int(text)


def rows(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text}: a number of rows from 1 on")
    return int(text)


def cpus(text: str) -> CpuSet:
    from agent.model.values import CpuSet

    try:
        return CpuSet.parse_list(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def quota(text: str) -> Limit:
    """A number of CPUs, or "max"."""
    from agent.model.values import UNLIMITED, Limit

    if text == "max":
        return UNLIMITED
    value = float(text)
    if not 0 < value <= 1 << 14:
        raise argparse.ArgumentTypeError(f'{text}: more than 0 CPUs, or "max"')
    return Limit(value)


_SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def memory_size(text: str) -> Limit:
    """Bytes, with a unit of 1024 or without, or "max": what memory.max takes."""
    from agent.model.values import MAX_NUMBER, UNLIMITED, Limit

    if text == "max":
        return UNLIMITED
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    if unit not in _SIZES or not number.isascii() or not number.replace(".", "", 1).isdecimal():
        raise argparse.ArgumentTypeError(f'{text}: a number of bytes, as 512M or 2G, or "max"')
    value = int(float(number) * _SIZES[unit])
    if not 0 < value <= MAX_NUMBER:
        raise argparse.ArgumentTypeError(f'{text}: more than 0 bytes, or "max"')
    return Limit(value)


def source(text: str) -> str:
    from agent.collect.sources import SOURCES

    if text not in SOURCES:
        raise argparse.ArgumentTypeError(f"{text}: no such source; there are {', '.join(SOURCES)}")
    return text


def workload_group(text: str) -> re.Pattern[str]:
    from agent.config import workload_group as pattern_of

    try:
        return pattern_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 <= int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text}: expected HOST:PORT")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104
