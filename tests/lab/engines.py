"""Podman and containerd on this very host, each with its own state, kept as `host` keeps dockerd."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.lab.host import IMAGE, Daemon, busybox_image, kept, say, workplace
from tests.need import need

# Podman asks for the kernel's largest limits, which root without CAP_SYS_RESOURCE may not set.
_MODEST = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")


@dataclass(frozen=True)
class Podman(Daemon):
    """`podman system service`; `url` is its socket, which speaks Docker's API, too."""

    url: str

    def cli(self, *arguments: str) -> str:
        return say("podman", "--url", self.url, *arguments)

    def run(self, *options: str) -> str:
        """Starts a container that sleeps and gives its id."""
        return self.cli("run", "--detach", *_MODEST, *options, IMAGE, "sleep", "100000").strip()

    def inspect(self, container: str) -> dict[str, Any]:
        answer: list[dict[str, Any]] = json.loads(self.cli("inspect", container))
        return answer[0]

    def remove(self, container: str) -> None:
        self.cli("rm", "--force", "--time", "0", container)


@dataclass(frozen=True)
class Containerd(Daemon):
    address: str

    def ctr(self, *arguments: str) -> str:
        return say("ctr", "--address", self.address, "--namespace", "lab", *arguments)

    def run(self, name: str, *options: str) -> None:
        """Starts a container that sleeps."""
        self.ctr("run", "--detach", "--null-io", *options, f"docker.io/library/{IMAGE}", name, "sleep", "100000")

    def pid_of(self, name: str) -> int:
        _, *rows = self.ctr("task", "ls").splitlines()
        return next(int(pid) for task, pid, _ in map(str.split, rows) if task == name)

    def remove(self, name: str) -> None:
        self.ctr("task", "kill", "--signal", "KILL", name)
        self.ctr("container", "rm", name)


@contextlib.contextmanager
def podman() -> Iterator[Podman]:
    """Podman's service, without a network: runc and cgroupfs, as crun knows no hybrid hierarchy and nothing here is systemd's."""
    need("podman", "conmon", "runc", "busybox", "setpriv", "unshare", root=True)
    with workplace("podman") as directory:
        settings, storage, image = directory / "containers.conf", directory / "storage.conf", directory / "image.tar"
        settings.write_text(
            f"""
[containers]
netns = "none"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
static_dir = "{directory}/libpod"
tmp_dir = "{directory}/tmp"
volume_path = "{directory}/volumes"
[network]
network_config_dir = "{directory}/networks"
"""
        )
        storage.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{directory}/data"\nrunroot = "{directory}/runroot"\n')
        image.write_bytes(busybox_image())
        url = f"unix://{directory}/podman.sock"
        with kept(
            directory,
            ["podman", "system", "service", "--time", "0", url],
            ask=["podman", "--url", url, "version"],
            leaves=("/var/lib/containers",),
            cgroups=("libpod_parent",),
            # Root's cache of where blobs are known from has no other place (containers/image, blobinfocache).
            over={"run": "/run", "containers": "/var/lib/containers"},
            environment={"CONTAINERS_CONF": str(settings), "CONTAINERS_STORAGE_CONF": str(storage), "HOME": str(directory)},
        ) as daemon:
            podman = Podman(directory, daemon.pid, daemon.keeper, url)
            podman.cli("import", str(image), IMAGE)
            yield podman


@contextlib.contextmanager
def containerd() -> Iterator[Containerd]:
    """containerd by itself, as ctr uses it."""
    need("containerd", "ctr", "runc", "busybox", "setpriv", "unshare", root=True)
    with workplace("containerd") as directory:
        address = f"{directory}/containerd.sock"
        path, image = directory / "config.toml", directory / "image.tar"
        path.write_text(
            f"""
version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{address}"
[plugins."io.containerd.internal.v1.opt"]
path = "{directory}/opt"
"""
        )
        image.write_bytes(archive(busybox_image()))
        with kept(
            directory,
            ["containerd", "--config", str(path)],
            ask=["ctr", "--address", address, "version"],
            cgroups=("lab",),
            over={"run": "/run"},
        ) as daemon:
            engine = Containerd(directory, daemon.pid, daemon.keeper, address)
            engine.ctr("image", "import", str(image))
            yield engine


def archive(layer: bytes) -> bytes:
    """An image of one layer in Docker's archive format, which containerd imports."""
    identity = hashlib.sha256(layer).hexdigest()
    configuration = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{identity}"]},
        }
    )
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}])
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for name, content in (("layer.tar", layer), ("config.json", configuration.encode()), ("manifest.json", manifest.encode())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return whole.getvalue()
