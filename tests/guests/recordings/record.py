"""Both passes of `agent record`, on a machine that is emulated: there an engine may need a minute for what takes it milliseconds.

`python3 record.py DIR`; what the agent waits for elsewhere, and how long it keeps an answer, are its own constants.
"""

import sys
import time
from pathlib import Path

from agent import __version__
from agent.collect import workload_facts
from agent.config import Config
from agent.session import Session, take_sample
from collectors import libvirt_stats
from collectors.root import LATER
from collectors.root.recorder import Recorder

PATIENCE_SECONDS = 120.0
INTERVAL_SECONDS = 5.0
LABELS = ("com.example.team",)


def main(into: Path) -> None:
    libvirt_stats.WAIT_SECONDS = libvirt_stats.HANGING_SECONDS = libvirt_stats.KEPT_SECONDS = PATIENCE_SECONDS
    workload_facts.ANSWER_SECONDS = int(PATIENCE_SECONDS)
    for directory in (into, into / LATER):
        directory.mkdir()
        recorder = Recorder("/", directory, time.time(), __version__)
        sample = take_sample(Session(root=recorder, config=Config(labels=LABELS)), patience_seconds=PATIENCE_SECONDS)
        recorder.close()
        print(*sorted(sample.gaps, key=lambda gap: gap.source), sep="\n", flush=True)
        time.sleep(INTERVAL_SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
