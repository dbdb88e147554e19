"""The published schema is the types' schema, and a live document satisfies it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema

from agent.config import Config
from agent.session import Session, take_snapshot
from collectors.root import SysRoot
from exporters.views.json import render, schema

PUBLISHED = Path(__file__).resolve().parents[2] / "exporters" / "snapshot.schema.json"


def test_the_published_schema_is_up_to_date() -> None:
    assert PUBLISHED.read_bytes() == schema(), "run make schema"


def test_this_hosts_snapshot_satisfies_the_schema() -> None:
    document = json.loads(render(take_snapshot(Session(root=SysRoot(), config=Config(interval_seconds=0)))))
    described = json.loads(schema())
    jsonschema.Draft202012Validator.check_schema(described)
    jsonschema.Draft202012Validator(described).validate(document)
    assert document["schema"] == "stratascope/1"


def test_the_schema_refuses_what_is_no_snapshot() -> None:
    validator = jsonschema.Draft202012Validator(json.loads(schema()))
    assert not validator.is_valid({})
    assert not validator.is_valid({"schema": "stratascope/2"})
