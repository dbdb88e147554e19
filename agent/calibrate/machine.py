"""The identity of a machine: a calibration holds only for the same one."""

from __future__ import annotations

from agent.model.calibration import MachineIdentity
from agent.model.host import Host


def machine_of(host: Host) -> MachineIdentity:
    """The identity of the machine that `host` describes."""
    identity, packages = host.identity, host.physical.packages
    virtual = identity.virtualization
    return MachineIdentity(
        hostname=identity.hostname,
        architecture=identity.architecture,
        hypervisor=None if virtual is None else virtual.hypervisor,
        model_name=packages[0].model_name if packages else None,
        microcode=packages[0].microcode if packages else None,
        kernel=identity.kernel,
        boot_id=identity.boot_id,
    )
