"""What is plugged in, and whether it is on its way: the lists of CPUs and nodes, /sys/devices/system/cpu/cpuN/hotplug.

Source: Documentation/core-api/cpu_hotplug.rst. A CPU that comes or goes runs through the states of `hotplug/states`, one after the
other: it is in `online` before its caches are shown, and its caches are gone before it leaves `online`.
"""

from __future__ import annotations

from agent.model.values import CpuSet, Fact
from collectors.root import SysRoot
from collectors.text import cpu_list, integer, newline_separated

CPU = "sys/devices/system/cpu"
NODE = "sys/devices/system/node"


class Plugged(Fact, frozen=True, kw_only=True):
    """The text of the files that change with what the static facts are read from. `online` is None on kernels without the list.

    Two of them stand for what no list says: microcode is loaded, and turbo switched, for all CPUs alike.
    """

    online: str | None
    present: str | None = None
    isolated: str | None = None
    nodes: str | None = None
    nodes_with_memory: str | None = None
    microcode: str | None = None
    max_freq: str | None = None


class Moment(Fact, frozen=True):
    """What is plugged, which CPUs of it are on their way up or down, and the inode of what each shows of itself.

    A CPU that went and came back meanwhile shows a new directory.
    """

    plugged: Plugged
    moving: CpuSet = CpuSet()
    inodes: tuple[int | None, ...] = ()


def read(root: SysRoot) -> Plugged:
    return Plugged(
        online=root.text(f"{CPU}/online"),
        present=root.text(f"{CPU}/present"),
        isolated=root.text(f"{CPU}/isolated"),
        nodes=root.text(f"{NODE}/online"),
        nodes_with_memory=root.text(f"{NODE}/has_memory"),
        microcode=root.text(f"{CPU}/cpu0/microcode/version"),
        max_freq=root.text(f"{CPU}/cpu0/cpufreq/cpuinfo_max_freq"),
    )


def look(root: SysRoot) -> Moment:
    """With a few files of each CPU: for before and after a pass over all of them."""
    plugged = read(root)
    online_state = root.parse(f"{CPU}/hotplug/states", parse_states)
    online = root.parse(f"{CPU}/online", cpu_list)
    if online_state is None or online is None:
        return Moment(plugged)
    inodes = {cpu: _inode(root, f"{CPU}/cpu{cpu}") for cpu in online}
    # What shows nothing of itself, where others do, has left since the list was read.
    departed = {cpu for cpu, inode in inodes.items() if inode is None} if any(inodes.values()) else set()
    moving = CpuSet(cpu for cpu in online if cpu in departed or _on_its_way(root, f"{CPU}/cpu{cpu}/hotplug", online_state))
    return Moment(plugged, moving, tuple(inodes.values()))


def _on_its_way(root: SysRoot, directory: str, online_state: int) -> bool:
    state = root.parse(f"{directory}/state", integer)
    # Somebody may have sent it half the way, to stay there; what is all the way down is in the list no more.
    return state is not None and state != online_state and (state == 0 or state != root.parse(f"{directory}/target", integer))


def _inode(root: SysRoot, directory: str) -> int | None:
    """The inode of the CPU's cache directory, which disappears first and returns last; of its topology directory where it has no caches."""
    caches_inode = root.inode(f"{directory}/cache")
    return root.inode(f"{directory}/topology") if caches_inode is None else caches_inode


def parse_states(text: str) -> int | None:
    """The number of the last state: "236: online"."""
    pairs = (line.partition(":") for line in newline_separated(text))
    return next((integer(number) for number, _, name in pairs if name.strip() == "online"), None)
