"""The command line: validate, lint, compare, evaluate and explain policies over files, without a server."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import NoReturn

from qmtl_worlds import __version__
from qmtl_worlds.contracts.errors import InputInvalidError, PolicyInvalidError, WorldsError
from qmtl_worlds.contracts.ids import InstanceKey, Side, check_object_id
from qmtl_worlds.contracts.reasons import DecisionVerdict
from qmtl_worlds.decision.outcome import Decision
from qmtl_worlds.explain import explain
from qmtl_worlds.lifecycle.calendar import Calendar
from qmtl_worlds.offline.evaluation import Moment, evaluate_returns
from qmtl_worlds.offline.report import decision_table
from qmtl_worlds.offline.returns_file import parse_time, read_returns
from qmtl_worlds.offline.state_file import next_state, read_state, write_state
from qmtl_worlds.policy.compiler import CompiledPolicy, compile_policy
from qmtl_worlds.policy.diff import Change, diff
from qmtl_worlds.policy.lint import lint


class ExitCode(IntEnum):
    """What the process ends with."""

    OK = 0
    INCONCLUSIVE = 2
    INVALID_POLICY = 3
    ERROR = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; ``arguments`` default to those of the process."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], ExitCode] = options.command
    try:
        code = command(options)
        sys.stdout.flush()
    except _FaultyPolicyError as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.INVALID_POLICY
    except BrokenPipeError:
        # Whoever read has seen enough; what is still buffered would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.ERROR
    except (WorldsError, OSError) as error:
        sys.stderr.write(f"qmtl-worlds: {error}\n")
        return ExitCode.ERROR
    return code


class _FaultyPolicyError(Exception):
    """A policy file has faults; the text names each with its place."""

    def __init__(self, path: Path, error: PolicyInvalidError) -> None:
        super().__init__("\n".join(f"{path}:{fault}" for fault in error.faults))


class _Parser(argparse.ArgumentParser):
    """Ends with our code for errors: argparse's own, 2, says ``inconclusive`` here."""

    def error(self, message: str) -> NoReturn:
        """Print how the command is used, and end."""
        self.print_usage(sys.stderr)
        self.exit(ExitCode.ERROR, f"{self.prog}: {message}\n")


def _validate(options: argparse.Namespace) -> ExitCode:
    worst = ExitCode.OK
    for path in options.files:
        try:
            policy = _load(path)
        except _FaultyPolicyError as error:
            _say(str(error))
            worst = ExitCode.INVALID_POLICY
        else:
            document = policy.document
            _say(f"{path}: good: world {document.world}, version {document.version}, {policy.checksum}")
    return worst


def _lint(options: argparse.Namespace) -> ExitCode:
    for path in options.files:
        for warning in lint(_load(path)):
            _say(f"{path}:{warning.line}: {warning.path}: {warning.message} [{warning.code}]")
    return ExitCode.OK


def _diff(options: argparse.Namespace) -> ExitCode:
    changes = diff(_load(options.old), _load(options.new))
    if options.json:
        _say(json.dumps([asdict(change) for change in changes], indent=1))
    else:
        _say("\n".join(map(_change, changes)) or "The two mean the same.")
    return ExitCode.OK


def _evaluate(options: argparse.Namespace) -> ExitCode:
    decision = _decide(options)
    _say(decision.canonical().decode() if options.json else decision_table(decision))
    return _code_of(decision)


def _explain(options: argparse.Namespace) -> ExitCode:
    decision = _decide(options)
    _say(explain(decision.recorded(_key(decision, options.strategy, options.side))))
    return _code_of(decision)


def _decide(options: argparse.Namespace) -> Decision:
    """Evaluate as the options say, and save the state where they ask for it."""
    policy = _load(options.policy)
    calendar = policy.document.metrics.calendar
    returns = read_returns(options.returns, calendar=calendar)
    as_of = _time(options.as_of, "as-of", calendar) or returns.last
    moment = Moment(as_of, _time(options.now, "now", calendar) or as_of)
    previous = read_state(options.previous, world_id=policy.document.world) if options.previous else None
    decision = evaluate_returns(policy, returns, moment=moment, previous=previous, bar=options.bar)
    if options.save_state:
        write_state(options.save_state, next_state(decision, now=moment.now, before=previous))
    return decision


def _key(decision: Decision, strategy_id: str, side: str | None) -> str:
    """Return the instance meant; without a side the one that there is."""
    check_object_id(strategy_id, field="strategy")
    keys = [InstanceKey(strategy_id, each).text for each in Side]
    present = [key for key in keys if decision.table.find(key) is not None]
    if side is None and len(present) > 1:
        raise InputInvalidError(field="side", reason="must be named, because the file has both")
    return f"{strategy_id}|{side}" if side else (present or keys)[0]


def _load(path: Path) -> CompiledPolicy:
    try:
        return compile_policy(path.read_bytes())
    except PolicyInvalidError as error:
        raise _FaultyPolicyError(path, error) from error


def _time(text: str | None, field: str, calendar: str) -> datetime | None:
    try:
        return parse_time(text, Calendar.load(calendar)) if text else None
    except ValueError as error:
        raise InputInvalidError(field=field, reason=str(error)) from error


def _change(change: Change) -> str:
    before, after = (json.dumps(value, ensure_ascii=False) for value in (change.before, change.after))
    match change.kind:
        case "added":
            return f"+ {change.path}: {after}"
        case "removed":
            return f"- {change.path}: {before}"
        case "changed":
            return f"~ {change.path}: {before} -> {after}"


def _code_of(decision: Decision) -> ExitCode:
    return ExitCode.INCONCLUSIVE if decision.verdict is DecisionVerdict.INCONCLUSIVE else ExitCode.OK


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="qmtl-worlds",
        description=__doc__,
        epilog="Exit codes: 0 ok, 2 inconclusive, 3 invalid policy, 4 error.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_policy_commands(commands)
    evaluate = commands.add_parser("evaluate", help="decide who should be active, from a file of returns")
    _add_evaluation(evaluate, _evaluate)
    form = evaluate.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the canonical decision: equal input, equal bytes")
    form.add_argument("--table", action="store_true", help="print a table (default)")
    words = commands.add_parser("explain", help="tell in words why one strategy is active or not")
    _add_evaluation(words, _explain)
    words.add_argument("--strategy", required=True, metavar="ID")
    words.add_argument("--side", choices=[side.value for side in Side], help="needed where the file has both sides")
    return parser


def _add_policy_commands(commands: argparse._SubParsersAction[_Parser]) -> None:
    validate = commands.add_parser("validate", help="list every fault of policy files, with line and column")
    validate.add_argument("files", type=Path, nargs="+", metavar="FILE")
    validate.set_defaults(command=_validate)
    warn = commands.add_parser("lint", help="warn of what a policy may say but hardly means")
    warn.add_argument("files", type=Path, nargs="+", metavar="FILE")
    warn.set_defaults(command=_lint)
    compare = commands.add_parser("diff", help="show what changes in meaning between two policies")
    compare.add_argument("old", type=Path, metavar="OLD")
    compare.add_argument("new", type=Path, metavar="NEW")
    compare.add_argument("--json", action="store_true", help="print a JSON list")
    compare.set_defaults(command=_diff)


def _add_evaluation(command: argparse.ArgumentParser, run: Callable[[argparse.Namespace], ExitCode]) -> None:
    add = command.add_argument
    add("--policy", type=Path, required=True, metavar="FILE", help="the policy, YAML or JSON")
    add("--returns", required=True, metavar="FILE.csv", help="ts,strategy_id,side,ret[,...]; .gz too, - is stdin")
    add("--as-of", metavar="TIME", help="leave out later bars; a time with offset, or a session's date")
    add("--now", metavar="TIME", help="the time of the question, for freshness and dwell (default: as-of)")
    add("--bar", default="1d", metavar="LENGTH", help="length of the bars where the policy has none (default: 1d)")
    add("--previous", type=Path, metavar="STATE.json", help="start from what the evaluation before left")
    add("--save-state", type=Path, metavar="STATE.json", help="write what the next evaluation starts from")
    command.set_defaults(command=run)
