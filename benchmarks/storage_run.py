"""Measure storage on the database that the environment names, and print the figures as JSON.

``benchmarks.storage`` starts it once for each database. Both sides of a pair are timed in turns, commits included, and
must agree. Times are milliseconds unless the name says otherwise.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from array import array
from collections.abc import Callable
from typing import Final

import numpy as np
from django.db import connection, transaction
from numpy.typing import NDArray

from audit.models import AuditChunk, AuditRun, RunKind
from benchmarks.decision_sample import NOW, decision_of
from benchmarks.storage_reference import BarSerializer, DecisionRow, decision_rows
from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.decision_record import decode_row
from strategies.decoding import JSON, NDJSON, RAW, decode_series
from strategies.models import Provenance, TailRow
from strategies.register import candidates
from strategies.selectors import evaluation_bytes
from strategies.series import SeriesRows, check_rows
from strategies.services.append import SeriesTarget, append_returns
from strategies.services.bind import Binding, bind_strategies
from worlds.models import World
from worlds.work.bar_grid import BarGrid
from worlds.work.panel_loader import LoadedBars, load_bars
from worlds.work.seal import merge_segments, seal_tail, write_blocks

STRATEGIES: Final = 10_000
FEW: Final = 1_000
SESSIONS: Final = 252
INGEST_ROWS: Final = 10_000
ROUNDS: Final = 7
DAY: Final = 86_400
ACT: Final = Act(actor="system", reason="benchmark", now=NOW)
CLOSES: Final = int(NOW.timestamp()) - DAY * np.arange(SESSIONS, 0, -1, dtype=np.int64)
PAPER: Final = (Provenance.PAPER.value, 1)
_SIZES: Final = {
    "postgresql": "SELECT pg_total_relation_size(%s::regclass)",
    "sqlite": "SELECT sum(pgsize) FROM dbstat JOIN sqlite_schema USING (name) WHERE tbl_name = %s",
}
Figures = dict[str, float]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def measure() -> Figures:
    """Return every figure."""
    returns = np.random.default_rng(20_261_122).normal(0.0, 0.01, (SESSIONS, STRATEGIES))
    return _ingest() | _audit() | _blocks(returns) | _narrow(returns) | _backfill(returns)


def _audit() -> Figures:
    """P14: one decision over all strategies as chunks, and as rows by ``bulk_create``."""
    with connection.schema_editor() as editor:
        editor.create_model(DecisionRow)
    decision = decision_of(STRATEGIES)
    run = AuditRun.objects.create(
        world_id="bench", run_id="r", kind=RunKind.MANUAL, as_of=NOW, now=NOW, engine_version="0", started_at=NOW
    )
    key = decision.table.keys[STRATEGIES // 2]

    def write_chunks() -> None:
        chunks = decision.chunks()
        AuditChunk.objects.bulk_create(AuditChunk(run=run, first_key=a, last_key=z, data=data) for a, z, data in chunks)

    def write_rows() -> None:
        DecisionRow.objects.bulk_create(decision_rows(decision, run.pk))

    def explain() -> float | None:
        chunk = AuditChunk.objects.get(run=run, first_key__lte=key, last_key__gte=key)
        return decode_row(bytes(chunk.data), key).metrics["sharpe_mid"].value

    def read_row() -> float | None:
        value: float | None = DecisionRow.objects.get(run_id=run.pk, key=key).metrics["m:sharpe_mid"]
        return value

    chunks, rows = _in_turns(_undone(write_chunks), _undone(write_rows))
    write_chunks()
    write_rows()
    _assert_agree(explain() == read_row())
    explained, row_read = _in_turns(explain, read_row, repeat=20)
    size = sum(len(data) for _, _, data in decision.chunks()) / STRATEGIES
    return {"chunks": chunks, "rows": rows, "bytes_a_decision": size, "explain": explained, "row": row_read}


def _blocks(returns: Floats) -> Figures:
    """P15, our side: a bar of all strategies as one block, and the matrix."""
    ids = _world("blocks", STRATEGIES)
    later = BarGrid(CLOSES[-1:] + DAY, returns[:1], None, None, None)
    with transaction.atomic():
        write_blocks(world_id="blocks", instances=ids, grid=BarGrid(CLOSES, returns, None, None, None), version=PAPER)
    size = _table_bytes("strategies_barblock", "strategies_blocklayout") / returns.size

    def append_block() -> None:
        write_blocks(world_id="blocks", instances=ids, grid=later, version=PAPER)

    def append_rows() -> None:
        TailRow.objects.bulk_create(_tail_rows("blocks", ids, later))

    block, rows = _in_turns(_undone(append_block), _undone(append_rows))
    append_rows()
    seal = _milliseconds(lambda: seal_tail(world_id="blocks", before=2**40))
    _assert_agree(np.array_equal(_load("blocks", ids).bars.returns.T[:SESSIONS], returns))
    read = statistics.median(_milliseconds(lambda: _load("blocks", ids)) for _ in range(ROUNDS))
    return {
        "append_block": block,
        "append_rows": rows,
        "seal": seal,
        "load_blocks": read,
        "bytes_a_point": size,
        "load_blocks_ns_a_point": read * 1e6 / returns.size,
    }


def _narrow(returns: Floats) -> Figures:
    """P15, the reference: the matrix from a row a bar."""
    ids = _world("narrow", FEW)
    part = np.ascontiguousarray(returns[:, :FEW])
    before = _table_bytes("strategies_tailrow")
    TailRow.objects.bulk_create(_tail_rows("narrow", ids, BarGrid(CLOSES, part, None, None, None)), batch_size=10_000)
    size = (_table_bytes("strategies_tailrow") - before) / part.size

    def read_rows() -> Floats:
        rows = TailRow.objects.filter(world_id="narrow").order_by().values_list("ts", "instance_id", "ret")
        ts, instances, values = zip(*rows, strict=True)
        matrix = np.full(part.shape, np.nan)
        matrix[np.searchsorted(CLOSES, ts), np.searchsorted(ids, instances)] = values
        return matrix

    _assert_agree(np.array_equal(read_rows(), part))
    read = statistics.median(_milliseconds(read_rows) for _ in range(3))
    return {"narrow_bytes_a_point": size, "narrow_ns_a_point": read * 1e6 / part.size}


def _backfill(returns: Floats) -> Figures:
    """Bring in the histories of some strategies call by call, and load them before and after the nightly merge."""
    ids = _world("backfill", FEW)
    ts = array("q", CLOSES.tolist())
    started = time.perf_counter()
    with transaction.atomic():
        for number in range(FEW):
            rows = SeriesRows(ts, array("d", returns[:, number].tolist()))
            target = SeriesTarget("backfill", _name(number), Provenance.PAPER)
            append_returns(target=target, rows=rows, revise=False, rule=None, act=ACT)
    call = (time.perf_counter() - started) * 1000 / FEW
    _assert_agree(np.array_equal(_load("backfill", ids).bars.returns.T, returns[:, :FEW]))
    segments = statistics.median(_milliseconds(lambda: _load("backfill", ids)) for _ in range(ROUNDS))
    digest = _load("backfill", ids).digest(verifies=True)
    merge = _milliseconds(lambda: merge_segments(world_id="backfill"))
    _assert_agree(_load("backfill", ids).digest(verifies=True) == digest)
    return {"backfill_call": call, "load_backfilled": segments, "merge": merge}


def _ingest() -> Figures:
    """P18: CPU microseconds a row from body to checked columns."""
    times = [f"2015-01-{1 + number // 86_400:02d}T{_clock(number % 86_400)}Z" for number in range(INGEST_ROWS)]
    rng = np.random.default_rng(1)
    rows = [
        {"ts": ts, "ret": ret, "leverage": 1.5, "turnover": 0.1, "trades": 2.0}
        for ts, ret in zip(times, rng.normal(0, 0.01, INGEST_ROWS).tolist(), strict=True)
    ]
    body = json.dumps(rows).encode()
    lines = b"\n".join(json.dumps(row).encode() for row in rows)
    columns = json.dumps({name: [row[name] for row in rows] for name in rows[0]}).encode()
    first = decode_series(body).rows
    raw = array("d", first.ts).tobytes() + first.ret.tobytes()

    def serialize() -> SeriesRows:
        serializer = BarSerializer(data=json.loads(body), many=True)
        serializer.is_valid(raise_exception=True)
        valid = serializer.validated_data
        series = SeriesRows(
            array("q", [int(row["ts"].timestamp()) for row in valid]),
            array("d", [row["ret"] for row in valid]),
            array("d", [row["leverage"] for row in valid]),
            array("d", [row["turnover"] for row in valid]),
            array("d", [row["trades"] for row in valid]),
        )
        check_rows(series, now=NOW)
        return series

    def decode(data: bytes, content_type: str = JSON) -> Callable[[], SeriesRows]:
        def run() -> SeriesRows:
            series = decode_series(data, content_type=content_type).rows
            check_rows(series, now=NOW)
            return series

        return run

    # Whoever comes after the reference finds memory cold that it gave back; the raw form has the most room for that.
    ways = [serialize, decode(raw, RAW), decode(columns), decode(lines, NDJSON), decode(body)]
    _assert_agree(all(way().ret == serialize().ret for way in ways))
    figures = _in_turns(*ways, clock=time.process_time)
    names = ("ingest_drf_us", "ingest_raw_us", "ingest_columns_us", "ingest_lines_us", "ingest_rows_us")
    return {name: value * 1000 / INGEST_ROWS for name, value in zip(names, figures, strict=True)}


def _world(world_id: str, count: int) -> Integers:
    World.objects.create(id=world_id, created_at=NOW, changed_at=NOW)
    bind_strategies(world_id=world_id, bindings=[Binding(_name(number)) for number in range(count)], act=ACT)
    return np.array(candidates(world_id).instances)


def _name(number: int) -> str:
    return f"strategy_{number:05d}"


def _clock(second: int) -> str:
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"


def _load(world_id: str, ids: Integers) -> LoadedBars:
    return load_bars(evaluation_bytes(world_id, first=0, last=2**40), ids.tolist())


def _tail_rows(world_id: str, ids: Integers, grid: BarGrid) -> list[TailRow]:
    provenance, revision = PAPER
    return [
        TailRow(world_id=world_id, instance_id=instance, ts=ts, provenance=provenance, revision=revision, ret=ret)
        for ts, row in zip(grid.ts.tolist(), grid.returns.tolist(), strict=True)
        for instance, ret in zip(ids.tolist(), row, strict=True)
    ]


def _table_bytes(*tables: str) -> float:
    """Return the bytes of tables with their indexes."""
    total = 0.0
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(_SIZES[connection.vendor], [table])
            total += float(cursor.fetchone()[0] or 0)
    return total


def _undone(work: Callable[[], None]) -> Callable[[], None]:
    """Do some work in a transaction that leaves nothing behind, so that every round meets the same tables."""

    def run() -> None:
        with transaction.atomic():
            work()
            transaction.set_rollback(True)

    return run


def _in_turns(
    *works: Callable[[], object], repeat: int = 1, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Time each work in turns and return the medians of one run."""
    rounds = [[_milliseconds(work, repeat=repeat, clock=clock) for work in works] for _ in range(ROUNDS)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def _milliseconds(
    work: Callable[[], object], *, repeat: int = 1, clock: Callable[[], float] = time.perf_counter
) -> float:
    started = clock()
    for _ in range(repeat):
        work()
    return (clock() - started) * 1000 / repeat


def _assert_agree(agree: object) -> None:
    if not agree:
        raise AssertionError("both sides must hold the same numbers before they are timed")


if __name__ == "__main__":
    json.dump(measure(), sys.stdout)
