"""What a world is doing, and what it may do."""

from __future__ import annotations

from qmtl_worlds.contracts.states import EffectiveMode, OpState, WorldMode


def op_state(*, applying: bool, evaluating: bool) -> OpState:
    """Return the one word for what a world is busy with: applying before evaluating before steady.

    ``applying``: a run of the world is in ``EXCLUSIVE_STATES``; ``evaluating``: an evaluation is under way.
    """
    if applying:
        return OpState.APPLYING
    return OpState.EVALUATING if evaluating else OpState.STEADY


def effective_mode(
    mode: WorldMode, *, has_policy: bool, anything_fresh: bool, circuit_open: bool, has_applied_set: bool
) -> EffectiveMode:
    """Return what a world made for ``mode`` may do now (SEMANTICS 4.1); each missing thing takes something away.

    ``circuit_open`` means tripped; ``has_applied_set`` an approved set that was switched to.
    """
    if circuit_open or not (has_policy and anything_fresh):
        return EffectiveMode.COMPUTE_ONLY
    if not has_applied_set:
        return EffectiveMode.VALIDATE
    return EffectiveMode(mode.value)
