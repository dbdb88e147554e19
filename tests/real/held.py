"""What an interrupted run is interrupted in: test_interrupted runs this file by its name, nobody else finds it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.lab import boot, engines, host, tiny
from tests.lab.shapes import UMA, Shape


def test_one_of_each_until_the_end(
    docker: host.Docker, podman: engines.Podman, containerd: engines.Containerd, libvirt: host.Libvirt, tmp_path: Path
) -> None:
    docker.run()
    podman.run()
    containerd.run("held")
    libvirt.define_and_start(boot.domain_xml("held", boot.firmware(tmp_path / "rom")))
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=True)
    # A guest that hangs in a shell that nobody speaks to.
    guest = Shape(name="held", arguments=UMA.arguments, append="rdinit=/bin/sh")
    tiny.boot(guest, tmp_path / "guest", limit_seconds=300)
    time.sleep(300)
