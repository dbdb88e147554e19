"""Where the command line of a machine's monitor says which machine it runs: the only words of a command line that are kept.

And the programs that are started beside a monitor, for its machine alone.
Sources: QEMU's qemu-options.hx and docs/interop, qemu-server's config_to_command() (Proxmox), and --help of each of the others.
"""

from __future__ import annotations

import re
from typing import Literal

from agent.model.values import Fact


class IdentityOption(Fact, frozen=True, kw_only=True):
    """An option of a monitor's command line whose value says which machine it runs.

    `name` is without its dashes. `key`: the value is a list ("type=1,uuid=X"), in which this key says it, or, if it is `implied`, a first
    part without a key; "" stands for the whole value. `beside`: another part that the list must have. `is_path`: what is stated is the path
    of a socket that is named after the machine.
    """

    name: str
    states: Literal["uuid", "name"]
    key: str = ""
    implied: bool = False
    beside: str = ""
    is_path: bool = False


_NAME = IdentityOption(name="name", states="name")
_UUID = IdentityOption(name="uuid", states="uuid")
_ID = IdentityOption(name="id", states="name")


def _named_socket(name: str) -> IdentityOption:
    return IdentityOption(name=name, states="name", key="path", implied=True, is_path=True)


# Of what states the same, the first counts. -id is the number of a machine of Proxmox, which patches QEMU to take it.
QEMU = (
    _UUID,
    IdentityOption(name="smbios", states="uuid", key="uuid", beside="type=1"),
    IdentityOption(name="name", states="name", key="guest", implied=True),
    _ID,
)
FIRECRACKER = (_ID,)
CLOUD_HYPERVISOR = (IdentityOption(name="platform", states="uuid", key="uuid"), _named_socket("api-socket"))
CROSVM = (_NAME, _named_socket("socket"), _named_socket("s"))
LKVM = (_NAME,)
STRATOVIRT = (_UUID, _NAME)

_HELPERS = re.compile(
    r"swtpm|virtiofsd|vhost-user-.*|vhost-device-.*|passt(\.avx2)?|slirp-helper|qemu-pr-helper|qemu-storage-.*|dbus-daemon"
)
"""What emulates a device of one machine in a process of its own: a TPM, a directory, a network. As the kernel cuts their names."""


def serves_machines(process: str) -> bool:
    """Whether a process of this name works for a machine, and does nothing without it."""
    return _HELPERS.fullmatch(process) is not None
