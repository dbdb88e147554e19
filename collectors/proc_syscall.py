"""Where the stack pointers of threads that wait are: /proc/PID/task/TID/syscall (fs/proc/base.c, proc_pid_syscall())."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from collectors.root import SysRoot
from collectors.text import Malformed, hexadecimal


def read(root: SysRoot, tids: Mapping[int, Iterable[int]]) -> dict[int, int]:
    """By thread, of the threads of each process; those that run have none to show."""
    pointers = {tid: root.parse(f"proc/{pid}/task/{tid}/syscall", parse) for pid, threads in tids.items() for tid in threads}
    return {tid: pointer for tid, pointer in pointers.items() if pointer is not None}


def parse(text: str) -> int | None:
    """ "202 0x1 0x2 0x3 0x4 0x5 0x6 SP PC": number, six arguments, two registers; "-1 SP PC" in no system call; "running"."""
    words = text.split()
    if words == ["running"]:
        return None
    if len(words) not in (3, 9):
        raise Malformed(f"expected 'number arguments sp pc' or 'running', got {text[:60]!r}")
    return hexadecimal(words[-2])
