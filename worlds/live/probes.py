"""Answers about the process and its worlds that need no more than memory: signs of life, state hashes."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import msgspec

from qmtl_worlds import __version__
from qmtl_worlds.contracts.clock import boot_time
from worlds.live.http import REQUEST_ID, Asked, Send, respond
from worlds.live.keeper import CONFIRM_SECONDS, Keeper
from worlds.live.store import LiveWorld

READY_WITHIN_SECONDS: Final = 3 * CONFIRM_SECONDS


async def answer_alive(send: Send, asked: Asked) -> None:
    """Say that the process runs."""
    await _answer(send, asked, {"status": "ok", "version": __version__, "parts": {}})


async def answer_ready(send: Send, asked: Asked, keeper: Keeper) -> bool:
    """Say whether the database has answered lately; False where it was not asked yet."""
    if not keeper.has_asked:
        return False
    is_ready = boot_time() - keeper.confirmed_at < READY_WITHIN_SECONDS
    part = {"ok": is_ready, "detail": "" if is_ready else "does not answer", "beat_at": None}
    words = "ok" if is_ready else "unavailable"
    status = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
    await _answer(send, asked, {"status": words, "version": __version__, "parts": {"database": part}}, status=status)
    return True


async def answer_state_hash(send: Send, asked: Asked, world: LiveWorld, *, subject: str) -> bool:
    """Tell the digest of what is committed, or of the policy in force; False where the rows must be asked."""
    held = world.confirmed
    now = world.asked_at = boot_time()
    if not held.snapshot.is_confirmed(now=now, confirmed_at=held.at):
        return False
    told = held.snapshot.facts.state_hash if subject == "activation" else held.snapshot.policy_hash
    await _answer(send, asked, {"state_hash": told})
    return True


async def _answer(send: Send, asked: Asked, told: object, *, status: HTTPStatus = HTTPStatus.OK) -> None:
    body = msgspec.json.encode(told)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (REQUEST_ID, asked.answer_id()),
    ]
    await respond(send, status, headers, body)
