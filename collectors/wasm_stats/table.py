"""The format of the table: a header and slots of one size, numbers little-endian.

The header's magic is written last, when all else of it stands. A slot has one writer, which counts each of its writings at both
ends and leaves a checksum of all between: no reader needs a lock or a barrier to know that what it has is one writing and whole.
"""

from __future__ import annotations

from struct import Struct
from zlib import crc32

NAME = "wasmstat.v1"
"""Of the memfd: the kernel shows it in the memory map of its process."""
MAGIC = b"wasmstat"
VERSION = 1

HEADER = Struct("<8sIIIII")
"""Magic, version, bytes of the header and of a slot, slots, and of those so many were ever in use."""
HEADER_BYTES = 256
USED_AT = 24
DROPPED_AT = 28
COUNT = Struct("<I")

SLOT_BYTES = 256
ENDS = Struct("<II")
"""Number of the writing, checksum of the body; the number stands again behind the body."""
BODY = Struct("<II10Q48s48s48s12x")
"""In use or not, bytes of a page, store, base, size, declared maximum in pages, fuel, epoch deadline, epoch ticks, times grown, when
it was written (nanoseconds since boot), thread that wrote it, and three names: instance, module, tenant."""
NAME_BYTES = 48
UNKNOWN = (1 << 64) - 1

MAX_SLOTS = 4096
MAX_BYTES = HEADER_BYTES + MAX_SLOTS * SLOT_BYTES


def slot_of(number: int, body: bytes) -> bytes:
    return ENDS.pack(number, crc32(body)) + body + COUNT.pack(number)


def body_of(slot: bytes) -> bytes | None:
    """What was written; None when it is not whole. Empty: nothing was, ever."""
    number, checksum = ENDS.unpack_from(slot)
    (again,) = COUNT.unpack_from(slot, SLOT_BYTES - COUNT.size)
    if not number and not again:
        return b""
    body = slot[ENDS.size : -COUNT.size]
    return body if number == again and checksum == crc32(body) else None
