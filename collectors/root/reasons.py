"""Why a source has nothing to say: the kernel's errno values as the reasons of `agent.model.values`."""

from __future__ import annotations

import errno
import os

import msgspec

from agent.model.values import Reason

# ESRCH: the task ended while it was read. ENODEV, ENXIO: a device or CPU went offline. EOPNOTSUPP: a cgroup file whose controller is off,
# cpu.pressure with psi=0. EINVAL: cpufreq of an offline CPU. EXDEV: openat2() met a path that leads outside the root. ELOOP: the same
# through a /proc magic link. ETIMEDOUT: `Reads`.
_REASONS: dict[int, Reason] = {
    errno.ENOENT: "absent",
    errno.ENOTDIR: "absent",
    errno.ENODEV: "absent",
    errno.ENXIO: "absent",
    errno.ESRCH: "absent",
    errno.ENAMETOOLONG: "absent",
    errno.EOPNOTSUPP: "unsupported",
    errno.EINVAL: "unsupported",
    errno.ENOSYS: "unsupported",
    errno.EACCES: "denied",
    errno.EPERM: "denied",
    errno.EXDEV: "denied",
    errno.ELOOP: "denied",
    errno.ETIMEDOUT: "late",
}


class Unavailable(Exception):
    """A source that has nothing to say, and why."""

    def __init__(self, reason: Reason, detail: str, remedy: str | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail
        self.remedy = remedy


class Refusal(msgspec.Struct, frozen=True):
    """One path that exists but was not readable, or one question that was not answered."""

    path: str
    reason: Reason
    detail: str
    remedy: str | None = None


def reason_of(error: OSError) -> tuple[Reason, str]:
    """The reason, and the detail in the system's words; "failed" where the errno is none that a kernel file documents."""
    number = error.errno or 0
    if number == errno.EXDEV:
        return "denied", "leads outside the root"
    return _REASONS.get(number, "failed"), error.strerror or os.strerror(number)
