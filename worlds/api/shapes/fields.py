"""Types of single fields, with the limits that make bad values impossible to store."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from qmtl_worlds.contracts.ids import OBJECT_ID_PATTERN, WORLD_ID_PATTERN

WorldId = Annotated[str, Meta(pattern=f"^{WORLD_ID_PATTERN}$")]
ObjectId = Annotated[str, Meta(pattern=f"^{OBJECT_ID_PATTERN}$")]
InstanceText = Annotated[
    str, Meta(pattern=rf"^{OBJECT_ID_PATTERN}(\|(long|short))?$", description="a strategy id, or `strategy_id|side`")
]
Time = Annotated[datetime, Meta(tz=True)]
Line = Annotated[str, Meta(max_length=200)]
Reason = Annotated[str, Meta(max_length=2_000)]
Digest = Annotated[str, Meta(max_length=71, pattern="^sha256:[0-9a-f]{64}$")]
Version = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Generation = Annotated[int, Meta(ge=0, le=2**63 - 1)]
PageSize = Annotated[int, Meta(ge=1, le=500)]
Cursor = Annotated[str, Meta(max_length=64)]
