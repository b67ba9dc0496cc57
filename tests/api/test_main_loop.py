from __future__ import annotations

import pytest

from qmtl_worlds.contracts.activation import parse_envelope
from tests.api.callers import Caller
from tests.worlds.factories import LAST_CLOSE
from worlds.models import World

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("run_worker_inline")]

AS_OF = LAST_CLOSE.isoformat()


def evaluate(gateway: Caller, run_id: str = "eval-1") -> str:
    reply = gateway.post("/worlds/w1/evaluate", {"run_id": run_id, "as_of": AS_OF, "record": True})
    assert reply.status == 200, reply.content
    return run_id


def apply(gateway: Caller, approver: Caller, run_id: str = "apply-1") -> None:
    asked = gateway.post("/worlds/w1/apply", {"run_id": run_id, "evaluation_run_id": "eval-1"}).json()
    done = approver.post(f"/worlds/w1/apply/{run_id}/approve", {"plan_hash": asked["plan_hash"]})
    assert done.status == 200, done.content


def test_gate_opens_for_the_winners_after_a_second_person_approved(
    world: World, gateway: Caller, runner: Caller, approver: Caller
) -> None:
    evaluate(gateway)
    before = runner.get("/worlds/w1/activation?strategy_id=good").json()

    apply(gateway, approver)

    answered = runner.get("/worlds/w1/activation?strategy_id=good")
    assert (before["active"], before["reason"]) == (False, "never_applied")
    assert answered.json()["active"] is True
    assert parse_envelope(answered.json()).weight == pytest.approx(0.3)
    assert 0 < int(answered.headers["lease-ms"]) <= 1000
    assert gateway.get("/worlds/w1/apply/apply-1").json()["phase"] == "completed"
    assert runner.get("/worlds/w1/activation?strategy_id=bad").json()["reason"] == "not_selected"
