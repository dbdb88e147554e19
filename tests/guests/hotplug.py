"""Runs in a guest, with its Python: scrapes the agent while CPU 3 goes and comes, beside what the kernel says was online."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

CPU = Path("/sys/devices/system/cpu")
MEMORY = Path("/sys/devices/system/memory")
NODE1 = Path("/sys/devices/system/node/node1")
OUT = Path("/out")
URL = "http://127.0.0.1:19150"
TOGGLES = 60


def say(text: str) -> None:
    print(f"lab: {Path('/proc/uptime').read_text().split()[0]} s: {text}", flush=True)


def online() -> str:
    return (CPU / "online").read_text().strip()


def fetch(path: str) -> str:
    with urllib.request.urlopen(URL + path, timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def scrape() -> dict[str, Any]:
    before = online()
    metrics = fetch("/metrics")
    return {"before": before, "after": online(), "metrics": metrics}


def switch(on: bool) -> None:
    (CPU / "cpu3/online").write_text(str(int(on)))


def toggle(begun: list[int], done: list[int]) -> None:
    chance = random.Random(4)
    for number in range(TOGGLES):
        begun.append(number)
        switch(bool(number % 2))
        done.append(number)
        time.sleep(chance.uniform(0.05, 0.6))


def lscpu() -> str:
    return subprocess.run(["lscpu", "-p=CPU,CORE,SOCKET,NODE"], capture_output=True, text=True, check=True).stdout


def quiet() -> list[dict[str, Any]]:
    """One switch at a time, and lscpu beside it."""
    found: list[dict[str, Any]] = []
    for on in (True, False, True):
        switch(on)
        one = scrape()
        found.append(one | {"lscpu": lscpu()})
        say(f"CPU 3 {'on' if on else 'off'}line: the kernel says {one['after']}")
    return found


def busy() -> list[dict[str, Any]]:
    """Scrapes as fast as they are answered, while another thread switches."""
    begun: list[int] = []
    done: list[int] = []
    thread = threading.Thread(target=toggle, args=(begun, done))
    thread.start()
    found: list[dict[str, Any]] = []
    while thread.is_alive() or len(found) < 60:
        before = len(done)
        one = scrape()
        # The kernel's list alone would miss a CPU that went and came back meanwhile, and one that is half the way.
        found.append(one | {"switched": len(begun) > before})
    thread.join()
    say(f"{len(found)} scrapes around {len(done)} switches, {sum(one['switched'] for one in found)} of them during one")
    return found


def node1() -> dict[str, Any]:
    # What counts is as fresh as a pass is shared: a second.
    time.sleep(1.1)
    return scrape() | {"meminfo": (NODE1 / "meminfo").read_text()}


def memory() -> list[dict[str, Any]]:
    """A block of node 1 that the kernel can do without goes and comes back."""
    found = [node1()]
    for block in sorted(NODE1.glob("memory[0-9]*"), reverse=True):
        state = MEMORY / block.name / "state"
        try:
            state.write_text("offline")
        except OSError as error:
            say(f"{block.name} stays: {error.strerror}")
            continue
        found.append(node1())
        state.write_text("online")
        found.append(node1())
        say(f"{block.name} of node 1 went and came back")
        break
    return found


def main() -> None:
    environment = {**os.environ, "PYTHONPATH": "site", "PYTHONDONTWRITEBYTECODE": "1"}
    with (OUT / "journal").open("wb") as journal:
        agent = subprocess.Popen([sys.executable, "-m", "agent", "serve"], stderr=journal, env=environment)
    try:
        began = time.monotonic()
        while True:
            try:
                if fetch("/-/ready"):
                    break
            except OSError:
                if time.monotonic() - began > 60:
                    raise
                time.sleep(0.2)
        say(f"ready after {time.monotonic() - began:.1f} s")
        for part in (quiet, busy, memory):
            (OUT / part.__name__).write_text(json.dumps(part()))
        if agent.poll() is not None:
            raise RuntimeError(f"the agent ended with {agent.returncode}")
        (OUT / "pid").write_text(str(agent.pid))
    finally:
        agent.terminate()
        agent.wait(20)
    say((OUT / "journal").read_text())


if __name__ == "__main__":
    main()
