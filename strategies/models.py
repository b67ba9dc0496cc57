"""The register of strategy instances, and their return series as rows, segments and blocks.

docs/explanation/storage.md tells how a bar travels through them. Times of bars are ``ts``, whole epoch seconds of the
bar's close. Every stored value carries the world's data ``revision`` under which it came in; nothing is overwritten,
so a reader bounded by a revision sees for ever what it saw the first time.
"""

from __future__ import annotations

from typing import ClassVar, Final

from django.db import models
from django.db.models import Q

from qmtl_worlds.contracts.ids import InstanceKey, Side

SESSION_SECONDS: Final = 86_400
LARGEST: Final = 1.7976931348623157e308
"""PostgreSQL sorts NaN and Inf above it, so ``<=`` keeps both out; SQLite stores NaN as NULL."""


class Provenance(models.TextChoices):
    """Where a bar was earned; set by the kind of token, never by the body."""

    BACKTEST = "backtest"
    PAPER = "paper"
    LIVE = "live"


class StrategyInstance(models.Model):
    """One side of one strategy in one world, with the params it runs under.

    The params belong to its identity: other params are another instance, and the old one is withdrawn. ``wanted`` is
    False while a roster leaves the strategy out. ``data_end`` and ``fresh_until`` count only the provenances that the
    world's policy counts; ``fresh_until`` is empty until data and a policy are there, which means stale.
    """

    world = models.ForeignKey("worlds.World", on_delete=models.PROTECT, related_name="instances")
    strategy_id = models.CharField(max_length=128)
    side = models.CharField(max_length=5, choices=[(side.value, side.value) for side in Side])
    params = models.JSONField(default=dict, blank=True)
    params_digest = models.CharField(max_length=71)
    sector = models.CharField(max_length=64, blank=True)
    tags = models.JSONField(default=list, blank=True)
    interval_seconds = models.PositiveIntegerField(
        default=SESSION_SECONDS, help_text="length of a bar; 86400 = a session"
    )
    wanted = models.BooleanField(default=True)
    submitted_by = models.CharField(max_length=200, blank=True)
    bound_at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    first_data = models.DateTimeField(null=True, blank=True)
    data_end = models.DateTimeField(null=True, blank=True)
    fresh_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["world_id", "strategy_id", "side", "-bound_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["world", "strategy_id", "side"],
                condition=Q(withdrawn_at=None),
                name="strategy_instance_current",
            ),
            models.CheckConstraint(condition=Q(side__in=["long", "short"]), name="strategy_instance_side"),
            models.CheckConstraint(condition=Q(interval_seconds__gte=1), name="strategy_instance_interval"),
        ]

    def __str__(self) -> str:
        """Return ``strategy_id|side``."""
        return self.key.text

    @property
    def key(self) -> InstanceKey:
        """Return the name of the instance within its world."""
        return InstanceKey(self.strategy_id, Side(self.side))


class Roster(models.Model):
    """The strategies that the world wants as candidates; without a row, all bound ones are."""

    world = models.OneToOneField("worlds.World", primary_key=True, on_delete=models.PROTECT, related_name="roster")
    strategies = models.JSONField(default=list)
    set_by = models.CharField(max_length=200)
    set_at = models.DateTimeField()

    def __str__(self) -> str:
        """Return world and size."""
        return f"{self.world_id}: {len(self.strategies)} strategies"


class SeriesHead(models.Model):
    """The present data revision of a world; new rows carry it, a recorded evaluation closes it.

    ``register_stamp`` is another random one after each change of who is bound and wanted, and of what is known of them
    except how far their data reaches; empty where that is not known.
    """

    world = models.OneToOneField("worlds.World", primary_key=True, on_delete=models.PROTECT, related_name="series_head")
    revision = models.PositiveBigIntegerField(default=1)
    register_stamp = models.CharField(max_length=32, blank=True)

    def __str__(self) -> str:
        """Return world and revision."""
        return f"{self.world_id} r{self.revision}"


class SeriesTrack(models.Model):
    """How far one instance's series of one provenance reaches; its row is the lock of those who append to it."""

    instance = models.ForeignKey(StrategyInstance, on_delete=models.PROTECT, related_name="tracks")
    provenance = models.CharField(max_length=8, choices=Provenance.choices)
    first_ts = models.BigIntegerField(null=True, blank=True)
    last_ts = models.BigIntegerField(null=True, blank=True)
    equity = models.FloatField(null=True, blank=True, help_text="the last point of an equity curve")
    equity_ts = models.BigIntegerField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["instance", "provenance"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["instance", "provenance"], name="series_track_unique"),
            models.CheckConstraint(
                condition=Q(equity=None) | Q(equity__gt=0, equity__lte=LARGEST), name="series_track_equity"
            ),
        ]

    def __str__(self) -> str:
        """Return instance and provenance."""
        return f"{self.instance_id} {self.provenance}"


class TailRow(models.Model):
    """One bar of one instance that is in no block yet, or whose time too few others share."""

    world = models.ForeignKey("worlds.World", on_delete=models.PROTECT, related_name="+", db_index=False)
    instance = models.ForeignKey(StrategyInstance, on_delete=models.PROTECT, related_name="+", db_index=False)
    ts = models.BigIntegerField()
    provenance = models.CharField(max_length=8, choices=Provenance.choices)
    revision = models.PositiveBigIntegerField()
    ret = models.FloatField()
    leverage = models.FloatField(null=True, blank=True)
    turnover = models.FloatField(null=True, blank=True)
    trades = models.FloatField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["instance", "ts", "revision"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["instance", "ts", "provenance", "revision"], name="tail_row_unique"),
            models.CheckConstraint(condition=Q(ret__gte=-1, ret__lte=LARGEST), name="tail_row_ret"),
            *(
                models.CheckConstraint(
                    condition=Q((name, None)) | Q((f"{name}__gte", 0), (f"{name}__lte", LARGEST)),
                    name=f"tail_row_{name}",
                )
                for name in ("leverage", "turnover", "trades")
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["world", "ts"], name="tail_row_world_ts")]

    def __str__(self) -> str:
        """Return instance and time."""
        return f"{self.instance_id} @{self.ts}"


class Segment(models.Model):
    """A stretch of one instance's bars that came in together (``strategies.codec`` packs them)."""

    world = models.ForeignKey("worlds.World", on_delete=models.PROTECT, related_name="+", db_index=False)
    instance = models.ForeignKey(StrategyInstance, on_delete=models.PROTECT, related_name="+", db_index=False)
    first_ts = models.BigIntegerField()
    last_ts = models.BigIntegerField()
    provenance = models.CharField(max_length=8, choices=Provenance.choices)
    revision = models.PositiveBigIntegerField()
    times = models.BinaryField()
    ret = models.BinaryField()
    leverage = models.BinaryField(default=bytes)
    turnover = models.BinaryField(default=bytes)
    trades = models.BinaryField(default=bytes)

    class Meta:
        ordering: ClassVar = ["instance", "first_ts", "revision"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(last_ts__gte=models.F("first_ts")), name="segment_ascends")
        ]
        indexes: ClassVar = [
            models.Index(fields=["world", "last_ts"], name="segment_world_last"),
            models.Index(fields=["instance", "last_ts"], name="segment_instance_last"),
        ]

    def __str__(self) -> str:
        """Return instance and extent."""
        return f"{self.instance_id} @{self.first_ts}..{self.last_ts}"


class BlockLayout(models.Model):
    """The instances, ascending, that the cells of blocks belong to; shared by all blocks while they stay the same."""

    world = models.ForeignKey("worlds.World", on_delete=models.PROTECT, related_name="+")
    digest = models.CharField(max_length=71)
    instances = models.BinaryField()

    class Meta:
        ordering: ClassVar = ["world", "id"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["world", "digest"], name="block_layout_unique")]

    def __str__(self) -> str:
        """Return world and size."""
        return f"{self.world_id}: {len(self.instances) // 8} instances"


class BarBlock(models.Model):
    """One bar of many instances that came in under one revision and provenance (``strategies.codec`` packs them).

    ``digest`` covers whose bars they are and their values (``worlds.work.bar_digests``); empty where it was not kept.
    """

    world = models.ForeignKey("worlds.World", on_delete=models.PROTECT, related_name="+", db_index=False)
    ts = models.BigIntegerField()
    provenance = models.CharField(max_length=8, choices=Provenance.choices)
    revision = models.PositiveBigIntegerField()
    layout = models.ForeignKey(BlockLayout, on_delete=models.PROTECT, related_name="+", db_index=False)
    presence = models.BinaryField(default=bytes)
    ret = models.BinaryField()
    leverage = models.BinaryField(default=bytes)
    turnover = models.BinaryField(default=bytes)
    trades = models.BinaryField(default=bytes)
    digest = models.BinaryField(default=bytes)

    class Meta:
        ordering: ClassVar = ["world", "ts", "revision"]
        indexes: ClassVar = [models.Index(fields=["world", "ts"], name="bar_block_world_ts")]

    def __str__(self) -> str:
        """Return world and time."""
        return f"{self.world_id} @{self.ts}"


class ReportedMetric(models.Model):
    """A metric that a Runner reports itself; policies read it as ``reported.<name>``."""

    instance = models.ForeignKey(StrategyInstance, on_delete=models.PROTECT, related_name="reported", db_index=False)
    name = models.CharField(max_length=63)
    as_of = models.DateTimeField()
    revision = models.PositiveBigIntegerField()
    value = models.FloatField()
    reported_by = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering: ClassVar = ["instance", "name", "as_of", "revision"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["instance", "name", "as_of", "revision"], name="reported_metric_unique"),
            models.CheckConstraint(condition=Q(value__gte=-LARGEST, value__lte=LARGEST), name="reported_metric_value"),
        ]

    def __str__(self) -> str:
        """Return name and value."""
        return f"{self.name} = {self.value}"
