"""From an HTTP reply to an activation that a gate may rely on."""

from __future__ import annotations

from http import HTTPStatus

from qmtl_worlds.contracts.activation import ActivationEnvelope, parse_envelope
from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.sdk.errors import ReplyInvalidError
from qmtl_worlds.sdk.permission import ActivationReading
from qmtl_worlds.sdk.session import read_object
from qmtl_worlds.sdk.transport import Reply


def read_activation(reply: Reply, *, known_etag: str | None) -> ActivationReading:
    """Read a 200 or 304 on the activation route; ``known_etag`` is what the question named, without quotes.

    Raises:
        ReplyInvalidError: the status is another one, the lease is missing or no number, the body is malformed or
            disagrees with the ETag header, or nothing was said to have changed since something else.
    """
    header_etag = reply.headers.get("etag", "").strip('"')
    return ActivationReading(
        envelope=_envelope(reply, header_etag, known_etag=known_etag),
        lease_ms=_lease_ms(reply),
        sent_at=reply.sent_at,
    )


def _envelope(reply: Reply, header_etag: str, *, known_etag: str | None) -> ActivationEnvelope | None:
    if reply.status == HTTPStatus.NOT_MODIFIED:
        if known_etag is None or header_etag not in {"", known_etag}:
            raise ReplyInvalidError(f"unchanged since {header_etag!r}, but {known_etag!r} was asked about")
        return None
    if reply.status != HTTPStatus.OK:
        raise ReplyInvalidError(f"status {reply.status} is no answer about an activation")
    try:
        envelope = parse_envelope(read_object(reply.body))
    except InputInvalidError as error:
        raise ReplyInvalidError(f"the activation is malformed: {error}") from error
    if header_etag not in {"", envelope.etag}:
        raise ReplyInvalidError("the ETag header and the body disagree")
    return envelope


def _lease_ms(reply: Reply) -> float:
    try:
        return float(reply.headers["lease-ms"])
    except (KeyError, ValueError):
        raise ReplyInvalidError("the answer has no Lease-Ms") from None
