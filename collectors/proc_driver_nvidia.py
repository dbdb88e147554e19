"""GPU memory that the kernel uses as a node: /proc/driver/nvidia/gpus/*/numa_status, on machines with coherent links to their GPUs.

"Node: 255", "Status: online". Source: the README of NVIDIA's driver, "NUMA Support", and what it writes on POWER9.
"""

from __future__ import annotations

from agent.model.values import is_number
from collectors.root import SysRoot, Unavailable
from collectors.text import newline_separated

DRIVER = "proc/driver"
GPUS = f"{DRIVER}/nvidia/gpus"
MAX_GPUS = 256


def read(root: SysRoot) -> dict[int, str]:
    """By the node that a GPU's memory is: the address of the GPU."""
    gpus = root.names(GPUS)
    if not gpus and not root.names(DRIVER):
        raise Unavailable("absent", DRIVER, "no driver keeps anything there: nothing to do")
    nodes = {gpu: parse_node(root.text(f"{GPUS}/{gpu}/numa_status") or "") for gpu in gpus[:MAX_GPUS]}
    return {node: gpu for gpu, node in nodes.items() if node is not None}


def parse_node(text: str) -> int | None:
    for line in newline_separated(text):
        name, _, value = line.partition(":")
        if name == "Node" and is_number(value.strip()):
            return int(value)
    return None
