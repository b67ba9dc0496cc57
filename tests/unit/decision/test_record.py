from __future__ import annotations

import json
import subprocess
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest

from qmtl_worlds.contracts.decision_record import HEADER_LENGTH, chunk_keys, decode_row
from qmtl_worlds.contracts.errors import InputInvalidError, StrategyNotFoundError
from qmtl_worlds.contracts.reasons import Outcome, Reason
from qmtl_worlds.decision.outcome import Decision
from qmtl_worlds.decision.record import encode_chunks, payload_digest
from tests.unit.decision.worlds import Instance, evaluate, exposure, policy


def many(count: int) -> Decision:
    rng = np.random.default_rng(1)
    cap = {"correlation": {"max_pairwise": 0.8, "window": "40d", "min_overlap": 30}}
    rules = policy(
        gates={"and": ["reported.ok > -1", "sharpe_mid >= 0.1", "max_dd_30d <= 0.5"]},
        score="sharpe_mid + reported.score - 0.2 * ulcer_mid",
        topk={"total": 8},
        constraints=exposure(sector_cap={"per_sector": 0.2}) | cap,
    )
    instances = [
        Instance(
            f"strategy_{i:05d}",
            score=float(rng.normal()),
            ok=float(rng.normal()),
            sector=("tech", "oil", None)[i % 3],
            active=i % 100 == 0,
            weight=0.01,
        )
        for i in range(count)
    ]
    return evaluate(instances, rules)


def test_every_row_comes_back_as_the_decision_explains_it() -> None:
    decision = many(600)

    chunks = decision.chunks()

    assert [(first, last) for first, last, _ in chunks] == [
        ("strategy_00000|long", "strategy_00249|long"),
        ("strategy_00250|long", "strategy_00499|long"),
        ("strategy_00500|long", "strategy_00599|long"),
    ]
    assert [key for _, _, chunk in chunks for key in chunk_keys(chunk)] == list(decision.table.keys)
    for _, _, chunk in chunks:
        for key in chunk_keys(chunk)[::7]:
            assert replace(decode_row(chunk, key), facts={}) == replace(decision.recorded(key), facts={})


def test_a_row_holds_what_was_decided() -> None:
    decision = many(300)
    chunk = decision.chunks()[0][2]

    row = decode_row(chunk, decision.topk[0]) if decision.topk[0] in chunk_keys(chunk) else None
    first = decode_row(chunk, "strategy_00000|long")

    assert first.active
    assert first.weight_before == 0.01
    assert first.metrics["sharpe_mid"].status == "ok"
    assert row is None or row.rank == 1


def test_a_decision_takes_at_most_64_bytes() -> None:
    decision = many(1000)

    size = sum(len(chunk) for _, _, chunk in decision.chunks())

    assert size / 1000 <= 64


def test_asking_for_a_row_that_is_not_there_is_not_found() -> None:
    decision = many(10)

    with pytest.raises(StrategyNotFoundError):
        decode_row(decision.chunks()[0][2], "strategy_99999|long")
    with pytest.raises(StrategyNotFoundError):
        decision.trace("nobody|short")


@pytest.mark.parametrize(
    "chunk", [b"", b"junk", zlib.compress(b"\xff\xff\xff\xff"), zlib.compress(b"\x02\x00\x00\x00{}")]
)
def test_bytes_that_are_no_chunk_are_refused(chunk: bytes) -> None:
    with pytest.raises(InputInvalidError):
        decode_row(chunk, "a|long")


def test_the_digest_does_not_depend_on_compression() -> None:
    decision = many(20)
    payload = zlib.decompress(encode_chunks(decision.table)[0][2])
    (length,) = HEADER_LENGTH.unpack_from(payload)

    header = json.loads(payload[HEADER_LENGTH.size : HEADER_LENGTH.size + length])

    assert header["rows"] == 20
    assert payload_digest(decision.table) == payload_digest(many(20).table)


def test_storing_a_decision_in_one_go_gives_what_the_two_parts_give() -> None:
    decision = many(600)

    assert decision.stored() == (decision.canonical(), decision.chunks())


def test_reading_a_row_needs_no_numpy() -> None:
    code = "import sys, qmtl_worlds.explain, qmtl_worlds.contracts.decision_record; print('numpy' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_the_columns_of_a_single_instance_are_constants() -> None:
    decision = evaluate([Instance("a")])

    row = decision.recorded("a|long")

    assert (row.outcome, row.reason, row.weight) == (Outcome.PROMOTE, Reason.PROMOTED, 0.3)
