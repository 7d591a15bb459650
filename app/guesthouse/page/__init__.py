"""What the host answers to the page (docs/page.md), and what it keeps of events for that. The page itself is `web`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | dict[str, Json] | None"
