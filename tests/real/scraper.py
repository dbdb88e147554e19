"""Scrapes of this host as the service makes them, its machines among the rest; and virsh's words for the same."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

from agent.config import Config
from agent.model.host import Host
from agent.model.snapshot import Snapshot
from agent.model.values import UPTIME, Gap
from agent.model.workload import Workload
from agent.session import Session, advance, snapshot_of
from collectors.root import SysRoot
from exporters.metrics.catalogue import exposition
from tests.lab import boot

T = TypeVar("T")

IN_TIME_SECONDS = 1.0


class Pass(NamedTuple):
    """One scrape, how long it took to its last byte, and when its counters were read (time.monotonic)."""

    seconds: float
    at: float
    host: Host
    document: Snapshot

    def __repr__(self) -> str:
        # A failing test would write out all of the host.
        return f"Pass({self.seconds:.3f} s)"

    def gaps(self, source: str) -> list[Gap]:
        return [gap for gap in self.host.gaps if gap.source == source]

    def named(self, name: str) -> Workload:
        (found,) = [workload for workload in self.host.workloads if workload.name == name]
        return found

    def findings(self, workload: Workload) -> dict[str, str]:
        return {finding.id: finding.evidence for finding in self.host.findings if finding.workload == workload.id}


class Scraper:
    """What the service does, without its second of freshness."""

    def __init__(self, *uris: str) -> None:
        self.session = Session(root=SysRoot(), config=Config(libvirt=uris))

    def scrape(self) -> Pass:
        began = time.monotonic()
        window = advance(self.session, "metrics")
        document = snapshot_of(window, self.session.taken_at)
        assert exposition(document, self.session.run, self.session.texts)
        return Pass(time.monotonic() - began, self.session.read_at[UPTIME], window.after, document)


def domain_xml(name: str, starts: Path, vcpus: int = 1, elements: Iterable[str] = (), tune: str = "") -> str:
    """The lab's machine with these elements added to its domain, and these to its <cputune>."""
    domain = ET.fromstring(boot.domain_xml(name, starts, vcpus=vcpus))  # noqa: S314
    for text in elements:
        domain.append(ET.fromstring(text))  # noqa: S314
    (place,) = domain.findall("cputune")
    place.extend(ET.fromstring(f"<cputune>{tune}</cputune>"))  # noqa: S314
    return ET.tostring(domain, encoding="unicode")


def table(text: str) -> dict[str, str]:
    """virsh's two columns, below two lines of head."""
    return dict(line.split() for line in text.splitlines()[2:] if line.strip())


def keyed(text: str) -> dict[str, str]:
    return {key.strip(): value.strip() for line in text.splitlines() if ":" in line for key, _, value in [line.partition(":")]}


def until(ask: Callable[[], T], seconds: float = 20) -> T:
    """The first answer that is one."""
    end = time.monotonic() + seconds
    while not (found := ask()):
        assert time.monotonic() < end
        time.sleep(0.2)
    return found
