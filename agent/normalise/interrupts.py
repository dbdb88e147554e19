"""Routes of interrupts: /proc/interrupts, /proc/irq and the devices that raise them."""

from __future__ import annotations

from agent.collect.sample import Sample
from agent.model.channels import IrqRoute
from agent.model.values import CpuSet, sum_if_known


def irq_routes(sample: Sample) -> tuple[IrqRoute, ...]:
    """One route for each numbered interrupt, in the order of /proc/interrupts."""
    lines = sample.host.interrupts
    if lines is None:
        return ()
    affinities = {affinity.irq: affinity for affinity in sample.host.irq_affinities or ()}
    devices = {irq: function.device.address for function in sample.host.pci_devices or () for irq in function.irqs}
    cpus = tuple(lines.cpus)
    routes = []
    for line in lines.lines:
        if not line.is_irq:
            continue
        irq = int(line.name)
        affinity = affinities.get(irq)
        routes.append(
            IrqRoute(
                irq=irq,
                device=devices.get(irq),
                affinity=affinity.allowed if affinity else None,
                effective_affinity=affinity.effective if affinity else None,
                taken_by=CpuSet(cpu for cpu, count in zip(cpus, line.counts, strict=True) if count),
                count=sum_if_known(line.counts),
            )
        )
    return tuple(routes)
