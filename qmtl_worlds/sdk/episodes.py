"""Which positions a Runner is asked to close: each wait of the server for one is told once."""

from __future__ import annotations

from qmtl_worlds.contracts.activation import ActivationEnvelope, ActivationReason
from qmtl_worlds.contracts.ids import InstanceKey
from qmtl_worlds.sdk.hearing import Book


class FlatWatch:
    """Remembers, for each instance, the wait that was told last, by the generation it belongs to.

    Another hold may hide a wait for some time; the same wait is told once though. It is over when the gate opens, or
    when another generation is in force that does not wait.
    """

    def __init__(self) -> None:
        """Begin with nothing told."""
        self._told: dict[InstanceKey, int] = {}

    def news(self, book: Book) -> list[InstanceKey]:
        """Return the instances whose positions the server has begun to wait for since the last call."""
        known = [held.activation for held in book.values() if held.activation is not None]
        return [activation.key for activation in known if self._begins(activation)]

    def _begins(self, now: ActivationEnvelope) -> bool:
        told = self._told.get(now.key)
        if now.reason == ActivationReason.AWAITING_FLAT:
            self._told[now.key] = now.generation
            return told is None
        if told is not None and (now.active or now.generation != told):
            del self._told[now.key]
        return False
