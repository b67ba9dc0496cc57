"""Make a world of 1,000 strategies and a token that may evaluate it, and print both as JSON."""

from __future__ import annotations

import json
import sys

from benchmarks.bulk_world import LAST_CLOSE, build_world
from worlds.services.authority import act_of_shell
from worlds.services.tokens import create_token

STRATEGIES = 1_000
WORLD_ID = "bench"

if __name__ == "__main__":
    build_world(WORLD_ID, strategies=STRATEGIES)
    made = create_token(role="scheduler", name="benchmark", worlds=[WORLD_ID], act=act_of_shell(reason="benchmark"))
    sys.stdout.write(json.dumps({"world_id": WORLD_ID, "token": made.text, "as_of": LAST_CLOSE.isoformat()}) + "\n")
