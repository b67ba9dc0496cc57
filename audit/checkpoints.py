"""Signs the ends of the chains: what is signed once cannot be rewritten by whoever owns the database but not the key.

Only the process that calls this needs the key: the tick, or a person with ``manage.py audit_checkpoint``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db.models import Exists, OuterRef

from audit.chain import SignedHead
from audit.keys import signing_key
from audit.models import AuditHead, Checkpoint
from audit.signatures import key_id_of, sign

EVERY: Final = timedelta(hours=1)


def sign_due(*, now: datetime) -> int:
    """Sign every chain that has grown, unless some were signed within the hour before ``now``; return how many.

    Costs one query where nothing is due. Two at once sign each row once.

    Raises:
        SigningKeyError: there is no usable key.
    """
    if Checkpoint.objects.filter(created_at__gt=now - EVERY, created_at__lte=now).exists():
        return 0
    signed = Checkpoint.objects.filter(chain=OuterRef("chain"), seq=OuterRef("seq"))
    grown = list(AuditHead.objects.filter(~Exists(signed), seq__gt=0).order_by("chain"))
    if grown:
        _sign(grown, signing_key(), now)
    return len(grown)


def sign_heads(*, now: datetime) -> tuple[SignedHead, ...]:
    """Sign the end of every chain that the present key has not signed yet; return the checkpoint of every end.

    A row that is signed is never signed with another content.

    Raises:
        SigningKeyError: there is no usable key.
    """
    key = signing_key()
    heads = list(AuditHead.objects.filter(seq__gt=0).order_by("chain"))
    signed = _ends_signed_with(key)
    _sign([head for head in heads if head.chain not in signed], key, now)
    return tuple(row.signed_head() for _, row in sorted(_ends_signed_with(key).items()))


def _ends_signed_with(key: Ed25519PrivateKey) -> dict[str, Checkpoint]:
    end = AuditHead.objects.filter(chain=OuterRef("chain"), seq=OuterRef("seq"))
    rows = Checkpoint.objects.filter(Exists(end), key_id=key_id_of(key.public_key()))
    return {row.chain: row for row in rows}


def _sign(heads: Sequence[AuditHead], key: Ed25519PrivateKey, now: datetime) -> None:
    created_at = now.astimezone(UTC)
    text = created_at.isoformat(timespec="microseconds")
    signed = [sign(SignedHead(head.chain, head.seq, head.hash, text), key) for head in heads]
    Checkpoint.objects.bulk_create(
        [Checkpoint(**head._asdict() | {"created_at": created_at}) for head in signed], ignore_conflicts=True
    )
