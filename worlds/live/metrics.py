"""``/metrics`` of the web process, in Prometheus' text form, from memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from qmtl_worlds.contracts.clock import boot_time
from worlds.live.counts import Books
from worlds.live.store import LiveStore

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class LiveCollector(Collector):
    """Reads what the live side holds when it is asked; nothing is counted twice."""

    def __init__(self, books: Books, store: LiveStore) -> None:
        """Look at these."""
        self._books = books
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        yield from self._answers()
        yield from self._worlds()
        yield from self._failures()
        skew = GaugeMetricFamily(
            "world_activation_skew_seconds",
            "From the commit of a world's newest change to the word of a Runner that it has it.",
            labels=["world_id", "client_id"],
        )
        for session in self._books.sessions.all():
            if session.skew_ms is not None:
                skew.add_metric([session.world_id, session.client_id], session.skew_ms / 1000)
        yield skew

    def _answers(self) -> Iterator[Metric]:
        answers = CounterMetricFamily(
            "live_answers", "Answers, by route and status; closing acts are not among them.", labels=["route", "status"]
        )
        for (route, status), number in tuple(self._books.counts.answers.items()):
            answers.add_metric([route, str(status)], number)
        yield answers
        refusals = CounterMetricFamily("live_refusals", "Requests refused by a limit, by its code.", labels=["code"])
        for code, number in tuple(self._books.counts.refusals.items()):
            refusals.add_metric([code], number)
        yield refusals
        yield CounterMetricFamily(
            "live_unconfirmed_answers",
            "Answers that were closed for want of a confirmation.",
            self._books.counts.unconfirmed,
        )

    def _failures(self) -> Iterator[Metric]:
        promotions = CounterMetricFamily(
            "promotion_fail", "Planned promotions whose run was cancelled or rolled back.", labels=["world_id"]
        )
        demotions = CounterMetricFamily(
            "demotion_fail", "Planned demotions whose run was cancelled or rolled back.", labels=["world_id"]
        )
        for world_id, failed in self._books.failures.all().items():
            promotions.add_metric([world_id], failed.promotion_fail_total)
            demotions.add_metric([world_id], failed.demotion_fail_total)
        yield promotions
        yield demotions

    def _worlds(self) -> Iterator[Metric]:
        now = boot_time()
        facts: Mapping[str, tuple[str, str]] = {
            "age": ("live_confirmation_age_seconds", "Since the rows last confirmed what is served."),
            "sequence": ("live_world_sequence", "The sequence that is served."),
            "streams": ("live_streams", "Open streams."),
        }
        families = {name: GaugeMetricFamily(*words, labels=["world_id"]) for name, words in facts.items()}
        for world_id, world in tuple(self._store.worlds.items()):
            held = world.confirmed
            families["age"].add_metric([world_id], now - held.at)
            families["sequence"].add_metric([world_id], held.snapshot.position.sequence)
            families["streams"].add_metric([world_id], world.streams)
        yield from families.values()


def registry_of(collector: Collector) -> CollectorRegistry:
    """Return a registry with the collector and the process itself."""
    registry = CollectorRegistry()
    registry.register(collector)
    for own in (ProcessCollector, PlatformCollector, GCCollector):
        own(registry=registry)
    return registry


def text_of(registry: CollectorRegistry) -> bytes:
    """Return everything in text form."""
    return generate_latest(registry)
