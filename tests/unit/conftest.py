"""Fast by default; `--hypothesis-profile=long` looks longer."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unit", max_examples=30, deadline=None)
settings.register_profile("long", max_examples=2000, deadline=None)
settings.load_profile("unit")
