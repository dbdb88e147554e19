"""Switches between two processes on one CPU, with and without working sets, as a C program measures them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from agent.overhead import parameters as p
from agent.overhead.bands import band
from agent.overhead.parameter_set import Parameters
from agent.overhead.switching import evicted_bytes, refill_random_seconds
from tests.need import need
from tests.real.experiments.rows import Interval, Row

# Two processes take turns. Each follows a random cycle through its own working set in its turn, once around: without anybody in between
# that takes as long as from the innermost cache that holds it, after a switch as long as from where it is then.
TEXT = r"""
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#define COUNT 120
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + 1e-9 * t.tv_nsec; }
static int order(const void *a, const void *b) { double x = *(double *)a, y = *(double *)b; return x < y ? -1 : x > y; }
static double tenth(double *all) { qsort(all, COUNT, sizeof *all, order); return all[COUNT / 10]; }
static void **around, **at;
static size_t lines;
static void prepare(size_t size, unsigned seed) {
  char *room = mmap(0, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  room += -(size_t)room % (2 << 20);
  madvise(room, 32 << 20, MADV_HUGEPAGE);
  lines = size / 64;
  void **cell(size_t i) { return (void **)(room + i * 64); }
  for (size_t i = 0; i < lines; i++) *cell(i) = cell(i);
  srand(seed);
  for (size_t i = lines; i-- > 1;) { size_t j = (size_t)rand() % i; void *next = *cell(i); *cell(i) = *cell(j); *cell(j) = next; }
  around = at = lines ? cell(0) : 0;
}
static void follow(void) { for (size_t i = 0; i < lines; i++) at = *at; void *volatile sink = at; (void)sink; }
int main(int argc, char **argv) {
  cpu_set_t one; CPU_ZERO(&one); CPU_SET(atoi(argv[1]), &one); sched_setaffinity(0, sizeof one, &one);
  size_t size = strtoul(argv[2], 0, 0);
  int rounds = size > (512 << 10) ? 1 : size > (32 << 10) ? 4 : 25;
  static double own[COUNT], both[COUNT];
  int there[2], back[2];
  char byte = 0;
  if (pipe(there) || pipe(back)) return 1;
  int child = fork();
  if (!child) {
    prepare(size, 2);
    while (read(there[0], &byte, 1) == 1) { follow(); if (write(back[1], &byte, 1) != 1) break; }
    _exit(0);
  }
  prepare(size, 1);
  int self[2];
  if (pipe(self)) return 1;
  for (int run = 0; run < COUNT; run++) {
    follow();
    double began = now();
    for (int i = 0; i < rounds; i++) { if (write(self[1], &byte, 1) != 1 || read(self[0], &byte, 1) != 1) return 1; follow(); }
    own[run] = (now() - began) / rounds;
  }
  for (int run = 0; run < COUNT; run++) {
    double began = now();
    for (int i = 0; i < rounds; i++) { if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) return 1; follow(); }
    both[run] = (now() - began) / (2 * rounds);
  }
  kill(child, SIGKILL);
  printf("%.9g\n", tenth(both) - tenth(own));
}
"""

KIB = 1024
TRIALS = 3


def sets(caches: Mapping[int, float]) -> tuple[int, ...]:
    """None; one that leaves room for the other's; and such as fit alone, but not both. What does not fit alone is lost anyway."""
    first, second = caches.get(1) or 32 * KIB, caches.get(2) or 1024 * KIB
    return tuple(int(size) for size in (0, first * 3 / 8, first * 3 / 4, first, second * 3 / 4, second))


def switches(given: Parameters, caches: Mapping[int, float], directory: Path) -> Iterator[Row]:
    """`caches`: bytes of the data caches of the CPU that is used, by level."""
    need("gcc")
    (directory / "switch.c").write_text(TEXT)
    subprocess.run(["gcc", "-O2", "-o", str(directory / "switch"), str(directory / "switch.c")], check=True, timeout=60)
    cpu = max(os.sched_getaffinity(0))
    for size in sets(caches):
        predicted, calibrated = expected(float(size), given, caches)
        said = [json.loads(subprocess.check_output([str(directory / "switch"), str(cpu), str(size)], timeout=60)) for _ in range(TRIALS)]
        what = f"two processes, {size // KIB} KiB of working set each, median of {TRIALS}"
        yield Row(component="switch", what=what, predicted=predicted, measured=sorted(said)[TRIALS // 2], unit="s", calibrated=calibrated)


def expected(size: float, given: Parameters, caches: Mapping[int, float]) -> tuple[Interval, bool]:
    """The direct cost, and what has to be fetched again: one load after the other, each waits for the last."""
    known = [(given[latency], caches.get(level)) for level, latency in ((1, p.L1_SECONDS), (2, p.L2_SECONDS), (3, p.L3_SECONDS))]
    levels = [(latency, float(capacity)) for latency, capacity in known if capacity]
    outer = [latency for latency, _ in levels[1:]] + [given[p.DRAM_SECONDS]]
    direct = given[p.SWITCH_PROCESS]
    for (inner, capacity), next_ in zip(levels, outer, strict=True):
        if size and size <= capacity < 2 * size:

            def cost(switch: float, near: float, far: float, share: float, capacity: float = capacity) -> float:
                return switch + refill_random_seconds(evicted_bytes(size, size, capacity, share), far, near, 1.0)

            return band(cost, direct, inner, next_, p.EVICTED_IN_ORDER), all(one.origin == "calibrated" for one in (direct, inner, next_))
    # It fits, with the other's.
    return band(lambda switch: switch, direct), direct.origin == "calibrated"
