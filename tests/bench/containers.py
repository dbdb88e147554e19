"""What a warm scrape of many containers costs beside a C program that opens, reads and closes the same files once.

The containers are control groups of this host with a sleeping process in each, named as an engine names them. CPU time on both sides,
in turn, so that what else the machine does meets both; predictions aside. Warm is a scrape after others: what stays the same until
something is plugged, and processes that have not changed, are known. psutil's reading of the process table is in the scrape and not in
the floor.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from agent.config import Config
from agent.model.snapshot import Agent, Snapshot
from agent.normalise import normalise
from agent.service import collect_rarely
from agent.session import Session, take_sample
from collectors import own_cost
from collectors.root import SysRoot, Tree
from exporters.metrics.catalogue import exposition
from exporters.metrics.of_agent import Run
from tests.lab.crowd import crowd, hierarchies
from tests.need import which

COUNTS = (1000, 2000)
ROUNDS = 5
# The sizes in turn, so often: a machine may change its speed between two of them.
TURNS = 3

# One pass over the paths of a list for each line on standard input: files, bytes, CPU milliseconds.
FLOOR = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

int main(int argc, char **argv) {
    static char line[8192], buffer[1 << 16];
    char **paths = NULL;
    size_t count = 0;
    FILE *list = fopen(argv[argc - 1], "r");
    while (list && fgets(line, sizeof line, list)) {
        line[strcspn(line, "\n")] = 0;
        paths = realloc(paths, (count + 1) * sizeof *paths);
        paths[count++] = strdup(line);
    }
    while (fgets(line, sizeof line, stdin)) {
        long files = 0, bytes = 0;
        double began = now();
        for (size_t i = 0; i < count; i++) {
            int fd = open(paths[i], O_RDONLY | O_CLOEXEC);
            if (fd < 0)
                continue;
            ssize_t got = read(fd, buffer, sizeof buffer);
            bytes += got > 0 ? got : 0;
            files++;
            close(fd);
        }
        printf("%ld %ld %f\n", files, bytes, now() - began);
        fflush(stdout);
    }
    return 0;
}
"""


class Listing(Tree):
    """This host's files, with a list of those that were read."""

    def __init__(self) -> None:
        super().__init__()
        self.paths: list[str] = []

    def read(self, path: str) -> bytes:
        data = super().read(path)
        self.paths.append(path)
        return data

    @contextmanager
    def near(self, paths: Collection[str]) -> Iterator[Tree]:
        """From the top: what is read from directories that are open already is not seen here."""
        yield self


def scrape(session: Session) -> bytes:
    """One scrape without predictions; what it leaves for the next one is in the session."""
    sample = take_sample(session, "metrics")
    host = normalise(sample, session.containers)
    document = Snapshot(
        schema="stratascope/1",
        taken_at=datetime.fromtimestamp(0, UTC),
        agent=Agent("bench"),
        host=host.identity,
        physical=host.physical,
        logical=host.logical,
        devices=host.devices,
        workloads=host.workloads,
        findings=host.findings,
        predictions=(),
        claims=(),
        gaps=host.gaps,
    )
    return exposition(document, Run(seconds=sample.seconds), session.texts)


def measure(program: Path, count: int, only: tuple[str, ...], title: str, rounds: int) -> tuple[float, list[str]]:
    """Prints the line of a table; the agent's median, and which files there are at least `count` times."""
    listing = Listing()
    listed = SysRoot("/", listing)
    listed.can_hold = False
    listed_session = Session(root=listed, config=Config(only=only))
    scrape(listed_session)
    listing.paths.clear()
    scrape(listed_session)
    session = Session(root=SysRoot("/"), config=Config(only=only), caches=listed_session.caches)
    paths = program.with_suffix(".paths")
    paths.write_text("".join(f"/{path}\n" for path in listing.paths))
    series = 0
    ours, floor = [], []
    with subprocess.Popen([program, paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
        assert peer.stdin
        assert peer.stdout
        for number in range(rounds + 2):
            began = time.process_time()
            text = scrape(session)
            mine = (time.process_time() - began) * 1e3
            series = text.count(b"\n")
            peer.stdin.write("\n")
            peer.stdin.flush()
            files, read, its = peer.stdout.readline().split()
            # The first rounds warm both.
            if number > 1:
                ours.append(mine)
                floor.append(float(its))
        peer.stdin.close()
    mine, least = statistics.median(ours), statistics.median(floor)
    ratio = statistics.median(one / other for one, other in zip(ours, floor, strict=True))
    resident = own_cost.read().resident_bytes or 0
    read_mb, resident_mb = int(read) / 1e6, resident / 1e6
    print(f"{count:6} {title:26} {files:>7} {read_mb:8.2f} {series:8} {mine:9.1f} {least:9.1f} {ratio:7.2f} {resident_mb:8.1f}")
    names = Counter(name(path) for path in listing.paths)
    return mine, [file for file, times in sorted(names.items()) if times >= count]


def name(path: str) -> str:
    parts = path.split("/")
    return f"PID/{parts[-1]}" if parts[0] == "proc" else parts[-1]


def compiled(into: Path) -> Path | None:
    """The C program, linked so that it runs in a guest, too."""
    compiler, program = which("gcc"), into / "floor"
    if compiler is None:
        return None
    subprocess.run([compiler, "-O2", "-static", "-o", program, "-x", "c", "-"], input=FLOOR, text=True, check=True, timeout=60)
    return program


def main(given: Path | None = None, rounds: int = ROUNDS, turns: int = TURNS) -> None:
    """`given`: the program of C, where there is no compiler. What is resident after others keeps what they needed."""
    if not hierarchies():
        print("\ncontainers: needs the right to make control groups", file=sys.stderr)
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    collect_rarely()
    head = " ".join(f"{word:>{width}}" for word, width in (("files", 7), ("MB read", 8), ("lines", 8), ("agent ms", 9), ("C ms", 9)))
    print(f"\n{'warm scrapes, CPU time':33} {head} {'ratio':>7} {'RSS MB':>8}")
    with tempfile.TemporaryDirectory() as directory:
        program = given or compiled(Path(directory))
        if program is None:
            print("containers: needs gcc", file=sys.stderr)
            return
        titles: dict[str, tuple[str, ...]] = {"control groups": ("cgroup",), "all sources": ()}
        cost: dict[tuple[str, int], list[float]] = {(title, count): [] for title in titles for count in COUNTS}
        files: dict[str, list[str]] = {}
        for _ in range(turns):
            for count in COUNTS:
                with crowd(f"stratascope-bench-{count}", count):
                    for title, only in titles.items():
                        mine, files[title] = measure(program, count, only, title, rounds)
                        cost[title, count].append(mine)
        for title in titles:
            less, more = (cost[title, count] for count in COUNTS)
            each = ", ".join(f"{one / other:.2f}" for one, other in zip(more, less, strict=True))
            # What else the machine does only adds.
            factor = min(more) / min(less)
            print(f"{title}: {COUNTS[1]} cost {factor:.2f} times what {COUNTS[0]} cost, by the least of each; in turn {each}")
            print(f"       of a container: {', '.join(files[title])}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:])) if len(sys.argv) > 1 else main()
