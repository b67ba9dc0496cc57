"""Decide a recorded evaluation again, from what it recorded: the bytes must come out the same (I14)."""

from __future__ import annotations

from typing import Any, cast

from audit.models import AuditRun, AuditRunState, RunKind
from qmtl_worlds.contracts.errors import PolicyNotFoundError, RunStateError
from qmtl_worlds.decision.inputs import EvaluationInput
from qmtl_worlds.decision.pipeline import decide
from qmtl_worlds.policy.compiler import CompiledPolicy
from strategies.models import StrategyInstance
from worlds.models import PolicyVersion, World
from worlds.selectors import get_world
from worlds.services.run_rows import compiled
from worlds.work.inputs import Question, inputs_digest, read_bars, read_reported
from worlds.work.packed_state import UnpackedState, pack_state, unpack_state


def replay_run(run: AuditRun) -> bytes:
    """Return the decision's canonical bytes, computed again from series, state and policy as they were recorded.

    Raises:
        RunStateError: the run did not decide, or what it read is not what is stored any more.
        PolicyNotFoundError: the policy version has gone.
    """
    if run.state not in {AuditRunState.OK, AuditRunState.INCONCLUSIVE}:
        raise RunStateError(run.run_id, state=run.state, wanted="replayed")
    world, policy = get_world(run.world_id), _policy_of(run)
    return decide(policy, _inputs_of(run, world, policy), now=run.now).canonical()


def _policy_of(run: AuditRun) -> CompiledPolicy:
    version = PolicyVersion.objects.filter(world_id=run.world_id, checksum=run.policy_checksum).first()
    if version is None:
        raise PolicyNotFoundError(run.world_id, run.policy_version)
    return compiled(version)


def _inputs_of(run: AuditRun, world: World, policy: CompiledPolicy) -> EvaluationInput:
    recorded = cast("dict[str, Any]", run.inputs)
    state = unpack_state(recorded["state"])
    question = Question(run.as_of, recorded["series"]["revision"], counts=run.kind != RunKind.ADVISORY)
    loaded, panel = read_bars(world.id, policy, state.instances.tolist(), question)
    inputs = EvaluationInput(
        world_id=world.id,
        as_of=run.as_of,
        keys=_keys_of(state),
        **state.columns,
        streak_checksum=recorded["streak_checksum"],
        panel=panel,
        reported=read_reported(world.id, policy, loaded, run.as_of),
        world_mode=world.mode,
        has_applied_set=recorded["generation"] > 0,
        circuit_open=recorded["circuit_open"],
        counts=question.counts,
    )
    packed = pack_state(inputs, state.instances)
    if inputs_digest(inputs, loaded, packed, verifies=True) != run.inputs_digest:
        raise RunStateError(run.run_id, state="without the inputs that it read", wanted="replayed")
    return inputs


def _keys_of(state: UnpackedState) -> tuple[str, ...]:
    found = {row.pk: row.key.text for row in StrategyInstance.objects.filter(pk__in=state.instances.tolist())}
    return tuple(found[instance] for instance in state.instances.tolist())
