"""What of a host decides whether figures of it still hold."""

from __future__ import annotations

from agent.model.calibration import Machine
from agent.model.host import Host


def machine_of(host: Host) -> Machine:
    identity, packages = host.identity, host.physical.packages
    virtual = identity.virtualization
    return Machine(
        identity.hostname,
        identity.architecture,
        None if virtual is None else virtual.hypervisor,
        packages[0].model_name if packages else None,
        packages[0].microcode if packages else None,
        identity.kernel,
        identity.boot_id,
    )
