"""Two loops in x86-64 machine code, because an interpreter or a sandbox would distort them and most hosts have no C compiler.

They were assembled with GNU as and checked with objdump; the instructions stand beside the bytes.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
from collections.abc import Callable

LOADS = 32
"""Loads in one round of `FOLLOW`."""

FOLLOW = b"".join(
    (
        bytes.fromhex("488b3f") * LOADS,  # again: mov rdi, [rdi]
        bytes.fromhex("48ffce"),  # dec rsi
        b"\x0f\x85" + (-(3 * LOADS + 9)).to_bytes(4, "little", signed=True),  # jnz again
        bytes.fromhex("4889f8 c3"),  # mov rax, rdi; ret
    )
)
"""(address, rounds) -> address: follows a chain of absolute addresses."""

PASS_ON = bytes.fromhex(
    "53 4154 4155 4156"  # push rbx, r12, r13, r14
    "4989fc 4989f5 4989d6 4889cb"  # mov r12, rdi; mov r13, rsi; mov r14, rdx; mov rbx, rcx
    "4d85c0 7512"  # test r8, r8; jnz wait
    "b801000000 4c89e7 4c89f6 ba01000000 0f05"  # again: write(r12, r14, 1)
    "31c0 4c89ef 4c89f6 ba01000000 0f05"  # wait: read(r13, r14, 1)
    "4883f801 7505"  # cmp rax, 1; jne out
    "48ffcb 75d4"  # dec rbx; jnz again
    "4889d8 415e 415d 415c 5b c3"  # out: mov rax, rbx; pop r14, r13, r12, rbx; ret
)
"""(descriptor to write, descriptor to read, address of a byte, rounds, whether to read first) -> rounds left when the pipe is closed."""


def function(code: bytes, arguments: int) -> Callable[..., int] | None:
    """`code` as a function of 64-bit integers; None on other architectures, and where executable memory is forbidden."""
    if platform.machine() != "x86_64":
        return None
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:
        return None
    page.write(code)
    call = ctypes.PYFUNCTYPE(ctypes.c_uint64, *[ctypes.c_uint64] * arguments)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    # Keeps the page alive as long as the function: only the temporary c_char referred to it.
    call.page = page  # type: ignore[attr-defined]
    return call
