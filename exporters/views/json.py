"""Records as JSON, the snapshot's JSON Schema: both straight from the types."""

from __future__ import annotations

import re

import msgspec

from agent.model.snapshot import Snapshot
from agent.model.values import Fact, encode_value, schema_value

# Control characters that have no escape of their own in JSON (C1), and marks that turn the direction of writing: a terminal acts on either.
_MARKS = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")

_ENCODER = msgspec.json.Encoder(enc_hook=encode_value)


def render(record: Fact, pretty: bool = False) -> bytes:
    """A record as JSON in UTF-8, with a newline at its end."""
    document = _ENCODER.encode(record)
    if not document.isascii() or b"\x7f" in document:
        document = _MARKS.sub(lambda mark: f"\\u{ord(mark[0]):04x}", document.decode()).encode()
    return (msgspec.json.format(document, indent=2) if pretty else document) + b"\n"


def schema() -> bytes:
    """JSON Schema (2020-12) of `Snapshot`."""
    described = msgspec.json.schema(Snapshot, schema_hook=schema_value)
    return (
        msgspec.json.format(msgspec.json.encode({"$schema": "https://json-schema.org/draft/2020-12/schema"} | described), indent=2) + b"\n"
    )
