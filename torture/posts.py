"""Requests over HTTP to a web process that dies around them, and again to another one, under the same run id."""

from __future__ import annotations

import time
from typing import Any, Final

from django.db.models import Q

from qmtl_worlds.contracts.errors import WorldsError
from qmtl_worlds.sdk.client import WorldsClient
from qmtl_worlds.sdk.errors import SdkError
from torture.servers import free_port
from torture.stage import PATIENCE_SECONDS, Stage, StoppedError
from worlds.models import ApplyRun

POST_SECONDS: Final = 5.0
DEATHS: Final = ("request.before_commit=kill", "request.after_commit=kill")


def post(stage: Stage, world_id: str, run_id: str, *, failpoints: str, words: dict[str, Any]) -> dict[str, Any]:
    """Ask for a run of a web process with ``failpoints``, then of the standing ones until one answers.

    Whoever died when, there is one run, and the answer is that.
    """
    body: dict[str, Any] = {"evaluation_run_id": words["evaluation"]}
    if "deactivate" in words:
        body["plan"] = {"deactivate": [f"{name}|long" for name in words["deactivate"]]}
    dying = _first_try(stage, world_id, run_id, failpoints, body)
    answer = _until_answered(stage, world_id, run_id, body)
    if "refused" in answer:
        return answer
    stage.tally.count("retried posts")
    named = ApplyRun.objects.filter(Q(run_id=run_id) | Q(evaluation__run_id=words["evaluation"]), world_id=world_id)
    runs = stage.read(lambda: list(named.exclude(run_id=answer.get("reduce_run_id") or "")))
    if len(runs) != 1 or answer["run_id"] != run_id or runs[0].run_id != run_id:
        told = {"answer": answer, "runs": [run.run_id for run in runs]}
        stage.tally.problem("duplicated", "a request that was sent again made two runs", world=world_id, **told)
    if dying and not stage.was_answered_rightly(failpoints, replayed=answer["replayed"]):
        stage.tally.problem("lost", "a request was not answered as before", world=world_id, answer=answer)
    return {"state": runs[0].state, "kind": runs[0].kind, "digest": runs[0].request_digest}


def _first_try(stage: Stage, world_id: str, run_id: str, failpoints: str, body: dict[str, Any]) -> bool:
    """Send the request to a web process that dies of it; tell whether it did, and not before."""
    port = free_port()
    web = stage.children.start("web", failpoints=failpoints, port=port)
    client = _client(stage, f"http://127.0.0.1:{port}")
    try:
        _reach(stage, client, world_id)
        client.apply(world_id, run_id=run_id, **body)
    except (SdkError, WorldsError):
        pass
    died = web.wait(1.0) and web.was_killed
    web.kill()
    web.wait(POST_SECONDS)
    return died


def _reach(stage: Stage, client: WorldsClient, world_id: str) -> None:
    """Wait until it serves."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        try:
            client.lease_seconds(world_id)
        except (SdkError, WorldsError):
            stage.pause(0.1)
        else:
            return


def _until_answered(stage: Stage, world_id: str, run_id: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send it to one standing web process after the other, always as the same request."""
    clients = [_client(stage, server) for server in stage.servers]
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        for client in clients:
            try:
                return dict(client.apply(world_id, run_id=run_id, **body))
            except WorldsError as error:
                stage.tally.count(f"refused post: {error.code}")
                return {"refused": error.code}
            except SdkError:
                stage.pause(0.1)
    stage.tally.problem("stuck", "a post was never answered", world=world_id)
    raise StoppedError


def _client(stage: Stage, server: str) -> WorldsClient:
    return WorldsClient(server, stage.tokens["gateway"], timeout_seconds=POST_SECONDS)
