"""The hot routes, answered from memory on the event loop; everything else goes to Django."""

from __future__ import annotations

import math
from typing import Final

from django.conf import settings

from qmtl_worlds.contracts.acts import ANY_WORLD
from qmtl_worlds.contracts.clock import boot_time
from qmtl_worlds.contracts.errors import WorldsError
from qmtl_worlds.contracts.ids import is_object_id, is_world_id
from qmtl_worlds.contracts.limit_errors import OverloadedError, RateLimitedError
from worlds.live.acks import answer_ack, find_ack, read_start, replay
from worlds.live.activation import Questions, answer_activation
from worlds.live.counts import Books
from worlds.live.hot import Hot
from worlds.live.http import REQUEST_ID, Application, Asked, Receive, Scope, Send, parameters, respond
from worlds.live.keeper import Keeper
from worlds.live.limits import Places
from worlds.live.listener import Listener
from worlds.live.lookups import LookUps
from worlds.live.metrics import CONTENT_TYPE, LiveCollector, registry_of, text_of
from worlds.live.probes import answer_alive, answer_ready, answer_state_hash
from worlds.live.problems import refuse
from worlds.live.scribe import Scribe
from worlds.live.store import LiveStore, LiveWorld
from worlds.live.streams import PARAMETERS, Topics, catch_up, last_seen_of, serve_events
from worlds.live.tokens import Caller, TokenBook, may_be_token
from worlds.live.websocket import Admission, Sockets
from worlds.services.dev_open import DEV_TOKEN_ID, dev_grants, dev_token
from worlds.services.subscriptions import read as read_ticket
from worlds.stores.clock import database_now

PREFIX: Final = "/worlds/"
STATE_HASHES: Final = {"activation/state_hash": "activation", "policy/state_hash": "policy"}
FULL_RETRY_SECONDS: Final = 1.0


class Live:
    """The web process's one ASGI application: hot routes before, Django behind."""

    def __init__(self, django: Application, books: Books | None = None) -> None:
        """Prepare; the threads start with the first request. ``books`` are those that ``django`` writes to as well."""
        self._django = django
        self._questions = Questions()
        self.books = books or Books()
        self.store = LiveStore()
        self.tokens = TokenBook()
        self.topics = Topics()
        self.streams = Places(settings.STREAMS)
        self.keeper = Keeper(self.store, self.tokens)
        self._listener = Listener(self.keeper)
        self._scribe = Scribe(self.books, self.tokens, self.store)
        self._callers = LookUps(self.keeper, lambda name: self.tokens.look_up(name.encode("latin-1")))
        self._worlds = LookUps(self.keeper, self.keeper.load)
        self._sockets = Sockets(admissions=LookUps(self.keeper, self._admit), worlds=self._worlds, places=self.streams)
        self._registry = registry_of(LiveCollector(self.books, self.store))
        self._shortest = Hot(self.store, self.tokens, self.books)
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or serve one connection."""
        if scope["type"] == "http" and (answer := self._shortest.answer(scope)) is not None:
            await send(answer[0])
            await send(answer[1])
        elif scope["type"] == "websocket":
            self.start()
            await self._sockets(scope, receive, send)
        elif scope["type"] != "http" or not await self._hot(scope, receive, send):
            await self._django(scope, receive, send)

    def start(self) -> None:
        """Start what reads rows and hears notices, once."""
        if not self._started:
            self._started = True
            self.keeper.start()
            self._listener.start()
            self._scribe.start()

    def stop(self) -> None:
        """End the threads."""
        if self._started:
            self._started = False
            self._scribe.stop()
            self._listener.stop()
            self.keeper.stop()

    async def known(self, asked: Asked, world_id: str) -> tuple[Caller, LiveWorld] | None:
        """Return who asks, and the world; None where Django has to look, and to refuse."""
        caller = await self.caller_of(asked)
        if caller is None or not caller.rights(world_id)[0]:
            return None
        world = self.store.find(world_id)
        if world is None and is_world_id(world_id):
            world = await self._worlds.find(world_id)
        return None if world is None else (caller, world)

    async def caller_of(self, asked: Asked) -> Caller | None:
        """Return who asks; None where Django has to refuse."""
        self.start()
        caller = self.tokens.find(asked.authorization, now=boot_time())
        if caller is None and may_be_token(asked.authorization):
            caller = await self._callers.find(asked.authorization.decode("latin-1"))
        return caller

    async def _hot(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answer what is answered from memory; False where it is Django's."""
        path: str = scope["path"]
        if not path.startswith(PREFIX):
            return scope["method"] == "GET" and await self._probe(scope, send, path)
        world_id, _, rest = path[len(PREFIX) :].partition("/")
        if rest == "acks" and scope["method"] == "POST":
            await self._acks(scope, receive, send, world_id)
            return True
        if scope["method"] != "GET":
            return False
        if rest == "activation":
            return await self._activation(scope, send, world_id)
        return await self._rest(scope, receive, send, world_id, rest)

    def _admit(self, text: str) -> Admission | None:
        """Return what a ticket admits to. Called by the keeper's thread."""
        ticket = read_ticket(text, now=database_now())
        if ticket is None:
            return None
        if ticket.token_id == DEV_TOKEN_ID:
            return Admission(ticket, Caller(dev_token(), dev_grants(), math.inf))
        caller = self.tokens.follow(ticket.token_id)
        return None if caller is None else Admission(ticket, caller)

    async def _activation(self, scope: Scope, send: Send, world_id: str) -> bool:
        question = self._questions.read(scope["query_string"])
        if question is None:
            return False
        asked = Asked(scope["headers"])
        caller, world = self.tokens.find(asked.authorization, now=boot_time()), self.store.find(world_id)
        if caller is None or world is None or not caller.rights(world_id)[0]:
            found = await self.known(asked, world_id)
            if found is None:
                return False
            caller, world = found
        wait = caller.budget.wait(boot_time())
        if wait:
            await self._refuse(send, asked, RateLimitedError(per_second=caller.budget.rate), wait)
            return True
        await answer_activation(send, asked, world=world, caller=caller, question=question, books=self.books)
        return True

    async def _acks(self, scope: Scope, receive: Receive, send: Send, world_id: str) -> None:
        asked = Asked(scope["headers"])
        found = await self.known(asked, world_id)
        received = await read_start(receive) if found else []
        ack = find_ack(received)
        if found and ack and not found[0].budget.wait(boot_time()):
            caller, world = found
            if await answer_ack(send, asked, ack, world=world, caller=caller, sessions=self.books.sessions):
                self.books.counts.answers["acks", 200] += 1
                return
        await self._django(scope, replay(received, receive), send)

    async def _rest(self, scope: Scope, receive: Receive, send: Send, world_id: str, rest: str) -> bool:
        if rest != "events" and rest not in STATE_HASHES:
            return False
        asked = Asked(scope["headers"])
        query = parameters(scope["query_string"], known=PARAMETERS)
        found = await self.known(asked, world_id)
        if found is None or query is None or not all(map(is_object_id, query.values())):
            return False
        caller, world = found
        if wait := caller.budget.wait(boot_time()):
            await self._refuse(send, asked, RateLimitedError(per_second=caller.budget.rate), wait)
            return True
        if rest in STATE_HASHES:
            return await answer_state_hash(send, asked, world, subject=STATE_HASHES[rest])
        await self._events(receive, send, asked, found, query)
        return True

    async def _events(
        self, receive: Receive, send: Send, asked: Asked, found: tuple[Caller, LiveWorld], query: dict[str, str]
    ) -> None:
        caller, world = found
        if caller.streams >= settings.STREAMS_PER_TOKEN or not self.streams.take():
            error = OverloadedError("streams", limit=min(settings.STREAMS, settings.STREAMS_PER_TOKEN))
            await self._refuse(send, asked, error, FULL_RETRY_SECONDS)
            return
        caller.streams += 1
        world.streams += 1
        if client_id := query.get("client_id"):
            self.books.sessions.hear(world, client_id=client_id, token=caller.token.id, connection="stream", holds=None)
        try:
            await catch_up(self.keeper, world, last_seen=last_seen_of(asked))
            topic = self.topics.of(world)
            await serve_events(receive, send, asked, topic=topic, caller=caller, strategy_id=query.get("strategy_id"))
        finally:
            caller.streams -= 1
            world.streams -= 1
            self.streams.give_back()

    async def _probe(self, scope: Scope, send: Send, path: str) -> bool:
        if path == "/livez":
            self.start()
            await answer_alive(send, Asked(scope["headers"]))
            return True
        if path == "/readyz":
            self.start()
            return await answer_ready(send, Asked(scope["headers"]), self.keeper)
        if path == "/metrics":
            return await self._metrics(send, Asked(scope["headers"]))
        return False

    async def _metrics(self, send: Send, asked: Asked) -> bool:
        """Tell whoever may read every world; the names of worlds and Runners are in there."""
        caller = await self.caller_of(asked)
        if caller is None or not caller.rights(ANY_WORLD)[0]:
            return False
        headers = [(b"content-type", CONTENT_TYPE), (b"cache-control", b"no-store"), (REQUEST_ID, asked.answer_id())]
        await respond(send, 200, headers, text_of(self._registry))
        return True

    async def _refuse(self, send: Send, asked: Asked, error: WorldsError, retry_seconds: float) -> None:
        self.books.counts.refusals[error.code] += 1
        await refuse(send, asked, error, retry_seconds=retry_seconds)
