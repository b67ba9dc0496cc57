"""Everything that can go wrong, as one tree.

    WorldsError
    ├── NotFoundError      what was named does not exist, or not for this caller
    ├── InvalidError       the input can never work; nothing was stored
    ├── ConflictError      the input could work, but not in the present state
    ├── NotAllowedError    this person or token may not do that
    └── UnavailableError   something we need is away; gates stay closed meanwhile

``code`` is the stable name that clients branch on; ``facts`` is what they can act on. No class here knows HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from qmtl_worlds.contracts.faults import Fault


class WorldsError(Exception):
    """Something QMTL Worlds refuses or cannot do; ``str()`` says what to do about it."""

    code: ClassVar[str] = "error"

    def __init__(self, detail: str, **facts: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts

    @property
    def title(self) -> str:
        """Return the code in words."""
        return self.code.replace("-", " ").capitalize()


class NotFoundError(WorldsError):
    """What was named does not exist, or is not this caller's to see."""

    code = "not-found"


class WorldNotFoundError(NotFoundError):
    """No such world."""

    code = "world-not-found"

    def __init__(self, world_id: str) -> None:
        super().__init__(f"There is no world {world_id!r}.", world_id=world_id)


class PolicyNotFoundError(NotFoundError):
    """No such policy version, or no policy in force."""

    code = "policy-not-found"

    def __init__(self, world_id: str, version: int | None = None) -> None:
        what = "no policy in force" if version is None else f"no policy version {version}"
        super().__init__(f"World {world_id!r} has {what}.", world_id=world_id, version=version)


class StrategyNotFoundError(NotFoundError):
    """No such instance is bound to the world."""

    code = "strategy-not-found"

    def __init__(self, world_id: str, strategy_id: str, side: str | None = None) -> None:
        name = strategy_id if side is None else f"{strategy_id} ({side})"
        super().__init__(
            f"Strategy {name} is not bound to world {world_id!r}.",
            world_id=world_id,
            strategy_id=strategy_id,
            side=side,
        )


class RunNotFoundError(NotFoundError):
    """No such evaluation or apply run."""

    code = "run-not-found"

    def __init__(self, world_id: str, run_id: str) -> None:
        super().__init__(f"World {world_id!r} has no run {run_id!r}.", world_id=world_id, run_id=run_id)


class GenerationNotFoundError(NotFoundError):
    """No such generation of the active set."""

    code = "generation-not-found"

    def __init__(self, world_id: str, generation: int) -> None:
        super().__init__(
            f"World {world_id!r} has no generation {generation}.", world_id=world_id, generation=generation
        )


class InvalidError(WorldsError):
    """The input can never work."""

    code = "invalid"


class InputInvalidError(InvalidError):
    """One field of a request is wrong."""

    code = "input-invalid"

    def __init__(self, *, field: str, reason: str, **facts: object) -> None:
        super().__init__(f"{field}: {reason}.", field=field, reason=reason, **facts)


class PolicyInvalidError(InvalidError):
    """A policy text has faults; all of them are listed."""

    code = "policy-invalid"

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(faults))
        counted = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__(f"The policy has {counted}; the version in force stays. First: {self.faults[0]}")


class ExpressionInvalidError(InvalidError):
    """An expression cannot be understood; ``column`` is 1-based within it."""

    code = "expression-invalid"

    def __init__(self, message: str, *, column: int, kind: str) -> None:
        super().__init__(message, column=column, kind=kind)
        self.column = column
        self.kind = kind


class SeriesInvalidError(InvalidError):
    """A row of a return series is refused; ``row`` is its 0-based number in the request."""

    code = "series-invalid"

    def __init__(self, *, row: int, reason: str, kind: str) -> None:
        super().__init__(f"Row {row}: {reason}.", row=row, reason=reason, kind=kind)


class ConflictError(WorldsError):
    """The present state does not allow it."""

    code = "conflict"


class AlreadyExistsError(ConflictError):
    """The id is taken."""

    code = "already-exists"

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name!r} exists already.", kind=kind, name=name)


class WorldBusyError(ConflictError):
    """Another run holds the world; ``reduce_run_id`` is the reducing part that goes ahead all the same."""

    code = "world-busy"

    def __init__(self, world_id: str, *, holder_run_id: str, reduce_run_id: str | None = None) -> None:
        facts = {"holder_run_id": holder_run_id} | ({"reduce_run_id": reduce_run_id} if reduce_run_id else {})
        words = f"Run {holder_run_id!r} holds world {world_id!r}; wait for it or abort it."
        super().__init__(words, world_id=world_id, **facts)


class RunIdReusedError(ConflictError):
    """The run id was used before with another request."""

    code = "run-id-reused"

    def __init__(self, run_id: str, *, request_digest: str) -> None:
        super().__init__(
            f"Run id {run_id!r} belongs to another request; use a new one.",
            run_id=run_id,
            holder_run_id=run_id,
            request_digest=request_digest,
        )


class RunStateError(ConflictError):
    """The run is past the point at which this is possible."""

    code = "run-state"

    def __init__(self, run_id: str, *, state: str, wanted: str) -> None:
        super().__init__(
            f"Run {run_id!r} is {state}: it cannot be {wanted}.", run_id=run_id, state=state, wanted=wanted
        )


class PlanStaleError(ConflictError):
    """The plan was made from a state that is gone."""

    code = "plan-stale"


class SeriesConflictError(ConflictError):
    """A row contradicts a stored one."""

    code = "series-conflict"

    def __init__(self, *, row: int, ts: str, revisable: bool = True) -> None:
        advice = "send revise=true to correct it" if revisable else "what was measured stays"
        super().__init__(f"Row {row} ({ts}) differs from what is stored; {advice}.", row=row, ts=ts)


class WorldArchivedError(ConflictError):
    """The world is archived or suspended."""

    code = "world-archived"

    def __init__(self, world_id: str, *, state: str) -> None:
        super().__init__(f"World {world_id!r} is {state}.", world_id=world_id, state=state)


class WorldActiveError(ConflictError):
    """The world still has active instances or open runs."""

    code = "world-active"

    def __init__(self, world_id: str, *, active_count: int) -> None:
        super().__init__(
            f"World {world_id!r} still has {active_count} active instances; withdraw them first.",
            world_id=world_id,
            active_count=active_count,
        )


class EtagMismatchError(ConflictError):
    """The caller saw an older state than the present one."""

    code = "etag-mismatch"

    def __init__(self, *, expected: str, current: str) -> None:
        super().__init__(
            f"You saw {expected}, now it is {current}; read again.", expected_etag=expected, current_etag=current
        )


class NotAllowedError(WorldsError):
    """This person or token may not do that."""

    code = "not-allowed"


class PermissionDeniedError(NotAllowedError):
    """The actor lacks a permission."""

    code = "permission-denied"

    def __init__(self, actor: str, *, permission: str) -> None:
        super().__init__(f"{actor} does not have the permission {permission}.", actor=actor, permission=permission)


class SelfApprovalError(NotAllowedError):
    """Requesters and authors cannot approve their own change."""

    code = "self-approval"

    def __init__(self, actor: str) -> None:
        super().__init__(f"{actor} asked for or wrote this change; a different person must approve.", actor=actor)


class ApprovalNeedsSessionError(NotAllowedError):
    """Approving needs a person's session with recent re-authentication, never a token."""

    code = "approval-needs-session"

    def __init__(self) -> None:
        super().__init__("Approve in the web admin, signed in as a person who has entered the password recently.")


class UnavailableError(WorldsError):
    """Something we need is away."""

    code = "unavailable"


class StoreUnavailableError(UnavailableError):
    """The database or Redis does not answer."""

    code = "store-unavailable"

    def __init__(self, store: str) -> None:
        super().__init__(f"{store} does not answer; gates stay closed.", store=store)
