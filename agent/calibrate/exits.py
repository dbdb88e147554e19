"""What a VM exit costs, by a machine of one page that only exits. Only on request, because it opens /dev/kvm.

Source: Documentation/virt/kvm/api.rst. CPUID always exits and is handled in the kernel. Port output exits to user space, which is this
process: its ioctl call from Python is part of that figure. The code is 16-bit x86, so other architectures are skipped. Where KVM has no
hardware support, the figures are those of its emulation.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import platform
import struct

from agent.calibrate.bench import Bench, Findings, Skip
from agent.calibrate.chunks import Spread, slope

_CREATE_VM, _VCPU_MMAP_SIZE, _CREATE_VCPU, _SET_MEMORY, _RUN = 0xAE01, 0xAE04, 0xAE41, 0x4020AE46, 0xAE80
_SET_REGS, _GET_SREGS, _SET_SREGS = 0x4090AE82, 0x8138AE83, 0x4138AE84
_EXIT_IO = 2
_START = 0x1000
# again: xor eax, eax; cpuid; dec esi; jnz again; out 0x10, al; jmp again
_CPUID = bytes.fromhex("6631c0 0fa2 664e 75f7 e610 ebf3")
# again: out 0x10, al; jmp again
_OUTPUT = bytes.fromhex("e610 ebfc")


def exits(bench: Bench) -> Findings:
    """Seconds of an exit to the kernel and of one to user space. Raises Skip without KVM on x86-64."""
    if platform.machine() != "x86_64":
        raise Skip("exits are measured on x86-64 only")
    try:
        kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise Skip(f"/dev/kvm: {error.strerror}") from None
    try:
        return Findings(
            (
                _measured(bench, kvm, _CPUID, one_run=True).figure("exit_kernel"),
                _measured(bench, kvm, _OUTPUT, one_run=False).figure("exit_user"),
            )
        )
    except OSError as error:
        raise Skip(f"KVM: {error.strerror}") from None
    finally:
        os.close(kvm)


def _measured(bench: Bench, kvm: int, code: bytes, one_run: bool) -> Spread:
    """Seconds of one exit. `one_run`: the machine loops inside one KVM_RUN, instead of one KVM_RUN for each round."""
    machine = fcntl.ioctl(kvm, _CREATE_VM, 0)
    try:
        with mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS) as page:
            page[: len(code)] = code
            address = ctypes.addressof(ctypes.c_char.from_buffer(page))
            fcntl.ioctl(machine, _SET_MEMORY, struct.pack("=IIQQQ", 0, 0, _START, mmap.PAGESIZE, address))
            vcpu = fcntl.ioctl(machine, _CREATE_VCPU, 0)
            try:
                with mmap.mmap(vcpu, fcntl.ioctl(kvm, _VCPU_MMAP_SIZE, 0)) as state:
                    segments = bytearray(312)
                    fcntl.ioctl(vcpu, _GET_SREGS, segments)
                    # The code segment: base and selector.
                    struct.pack_into("=Q", segments, 0, 0)
                    struct.pack_into("=H", segments, 12, 0)
                    fcntl.ioctl(vcpu, _SET_SREGS, segments)

                    def enter() -> None:
                        fcntl.ioctl(vcpu, _RUN, 0)
                        if struct.unpack_from("=I", state, 8)[0] != _EXIT_IO:
                            raise Skip("the machine did not run: no hardware for it, or nested virtualisation is broken")

                    def exits_in_kernel(rounds: int) -> None:
                        registers = [0] * 18
                        registers[4], registers[16], registers[17] = rounds, _START, 2
                        fcntl.ioctl(vcpu, _SET_REGS, struct.pack("=18Q", *registers))
                        enter()

                    def exits_to_user(rounds: int) -> None:
                        for _ in range(rounds):
                            enter()

                    exits_in_kernel(1)
                    return slope(exits_in_kernel if one_run else exits_to_user, bench.until)
            finally:
                os.close(vcpu)
    finally:
        os.close(machine)
