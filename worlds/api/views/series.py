"""Routes that take in what strategies earned and what Runners report."""

from __future__ import annotations

import zlib
from typing import Final

from rest_framework.exceptions import ParseError, UnsupportedMediaType
from rest_framework.request import Request
from rest_framework.response import Response

from qmtl_worlds.contracts.errors import UnavailableError
from qmtl_worlds.contracts.ids import check_object_id, check_world_id
from qmtl_worlds.contracts.limit_errors import BodyTooLargeError
from strategies import decoding
from strategies.models import Provenance
from strategies.selectors import get_instance
from strategies.services.append import SeriesTarget
from strategies.services.report import ReportedValues
from worlds.api.authentication import act_of
from worlds.api.bodies import SERIES_LIMIT, content_type_of, read_bytes, read_json
from worlds.api.endpoint import Endpoint, reader_of, require_strategy
from worlds.api.openapi import Operation, documented
from worlds.api.queries import plausible_time, read_query
from worlds.api.shapes.strategies import MetricsShape, ReportAnswer, ReportBody, ReturnsAnswer, SideQuery
from worlds.api.waiting import WAIT_HEADER, ask
from worlds.models import ApiToken, World
from worlds.selectors import get_world
from worlds.services.binding import ingest
from worlds.services.dispatch import MEASURE
from worlds.services.reporting import report
from worlds.stores.clock import world_now

FORMS: Final = (decoding.JSON, decoding.NDJSON, decoding.RAW)
PROVENANCE: Final = {
    World.Mode.REPLAY.value: Provenance.BACKTEST,
    World.Mode.PAPER.value: Provenance.PAPER,
    World.Mode.SHADOW.value: Provenance.PAPER,
    World.Mode.LIVE.value: Provenance.LIVE,
}
"""Where returns come from follows from the world that they are earned in, unless the token says so."""
_GZIP_WINDOW: Final = zlib.MAX_WBITS | 16


class ReturnsView(Endpoint):
    """The return series of one instance."""

    @documented(
        Operation(
            "pushReturns",
            "strategies",
            "Send returns",
            {200: ReturnsAnswer},
            body_types=FORMS,
            query=SideQuery,
            headers={"Content-Encoding": "`gzip` where the body is compressed"},
            problems=(409,),
        )
    )
    def post(self, request: Request, world_id: str, strategy_id: str) -> Response:
        """Send bars, up to 100,000: rows or columns as JSON, a row a line, or raw float64.

        The same bars again change nothing. A bar that contradicts a stored one is a conflict unless `revise` is true.
        """
        target = _target(request, world_id, strategy_id)
        body = _unzipped(request, read_bytes(request, limit=SERIES_LIMIT, content_types=FORMS))
        decoded = decoding.decode_series(body, content_type=content_type_of(request))
        result = ingest(target=target, rows=decoded.rows, revise=decoded.revise, act=act_of(request))
        answer = ReturnsAnswer(
            world_id=world_id,
            strategy_id=result.key.strategy_id,
            side=result.key.side.value,
            provenance=target.provenance.value,
            appended=result.appended,
            unchanged=result.unchanged,
            revised=result.revised,
            revision=result.revision,
            data_end=result.data_end,
            fresh_until=result.fresh_until,
        )
        return Response(answer)


class StrategyMetricsView(Endpoint):
    """The metrics of one instance."""

    @documented(
        Operation(
            "getMetrics",
            "strategies",
            "Read every metric",
            {200: MetricsShape},
            query=SideQuery,
            headers=WAIT_HEADER,
        )
    )
    def get(self, request: Request, world_id: str, strategy_id: str) -> Response:
        """Read every metric of an instance as of now, with observations, window and status."""
        act = reader_of(request, world_id)
        require_strategy(act, world_id, check_object_id(strategy_id, field="strategy_id"))
        side = read_query(request, SideQuery).side
        world = get_world(world_id)
        now = world_now(world, now=act.now).replace(microsecond=0)
        key = get_instance(world_id, strategy_id, side).key
        answer = ask(
            request,
            task=MEASURE,
            asked=[act.actor, world_id, key.text, now.isoformat()],
            world_id=world_id,
            key=key.text,
            as_of=now.isoformat(),
            now=now.isoformat(),
        )
        if answer is None:
            raise UnavailableError("The workers did not answer in time; ask again.")
        return Response(answer)

    @documented(
        Operation(
            "reportMetrics",
            "strategies",
            "Report metrics",
            {200: ReportAnswer},
            body=ReportBody,
            query=SideQuery,
            problems=(409,),
        )
    )
    def post(self, request: Request, world_id: str, strategy_id: str) -> Response:
        """Store metrics that the Runner reports itself; a policy reads them as `reported.<name>`."""
        target = _target(request, world_id, strategy_id)
        body = read_json(request, ReportBody)
        as_of = plausible_time(body.as_of, field="as_of") or body.as_of
        result = report(target=target, reported=ReportedValues(as_of, body.metrics, body.revise), act=act_of(request))
        answer = ReportAnswer(
            stored=result.stored, unchanged=result.unchanged, revised=result.revised, revision=result.revision
        )
        return Response(answer)


def _target(request: Request, world_id: str, strategy_id: str) -> SeriesTarget:
    reader_of(request, check_world_id(world_id))
    check_object_id(strategy_id, field="strategy_id")
    side = read_query(request, SideQuery).side
    return SeriesTarget(world_id, strategy_id, _provenance(request, world_id), side)


def _provenance(request: Request, world_id: str) -> Provenance:
    if isinstance(request.auth, ApiToken) and request.auth.provenance:
        return Provenance(request.auth.provenance)
    return PROVENANCE[get_world(world_id).mode]


def _unzipped(request: Request, body: bytes) -> bytes:
    """Return the plain body; a zip bomb costs no more than an honest body.

    Raises:
        UnsupportedMediaType: the encoding is another one.
        ParseError: the body is no gzip.
        BodyTooLargeError: it is too large once unpacked.
    """
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding == "identity":
        return body
    if encoding != "gzip":
        raise UnsupportedMediaType(encoding[:64], "Send gzip, or no encoding.")
    unpacker = zlib.decompressobj(_GZIP_WINDOW)
    try:
        plain = unpacker.decompress(body, SERIES_LIMIT + 1)
    except zlib.error as error:
        raise ParseError("The body is no gzip.") from error
    if len(plain) > SERIES_LIMIT:
        raise BodyTooLargeError(limit=SERIES_LIMIT)
    if not unpacker.eof:
        raise ParseError("The body is no whole gzip file.")
    return plain
