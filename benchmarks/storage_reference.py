"""The plain ways that storage is measured against: a row a decision, a serializer a row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import models
from rest_framework import serializers

from qmtl_worlds.decision.outcome import Decision


class DecisionRow(models.Model):
    """What a decision says of one instance, as an ordinary row."""

    run_id = models.BigIntegerField()
    key = models.CharField(max_length=140)
    outcome = models.CharField(max_length=32)
    eligibility = models.CharField(max_length=8)
    active = models.BooleanField()
    rank = models.IntegerField(null=True)
    score = models.FloatField(null=True)
    weight_before = models.FloatField()
    weight = models.FloatField()
    metrics = models.JSONField()

    objects: models.Manager[DecisionRow] = models.Manager()

    class Meta:
        app_label = "audit"
        constraints = (models.UniqueConstraint(fields=["run_id", "key"], name="bench_decision_row"),)

    def __str__(self) -> str:
        """Return the key."""
        return self.key


class BarSerializer(serializers.Serializer[Any]):
    """A bar as a REST framework reads it with ``many=True``."""

    ts = serializers.DateTimeField()
    ret = serializers.FloatField()
    leverage = serializers.FloatField(required=False, min_value=0)
    turnover = serializers.FloatField(required=False, min_value=0)
    trades = serializers.FloatField(required=False, min_value=0)


def decision_rows(decision: Decision, run_id: int) -> Iterator[DecisionRow]:
    """Spell a decision as rows, from its columns."""
    columns = {name: column.tolist() for name, column in decision.table.columns.items()}
    metrics = [name for name in columns if name.startswith("m:")]
    for row, key in enumerate(decision.table.keys):
        yield DecisionRow(
            run_id=run_id,
            key=key,
            outcome=str(columns["outcome"][row]),
            eligibility=str(columns["state"][row]),
            active=bool(columns["active"][row]),
            rank=columns["rank"][row],
            score=columns["score"][row],
            weight_before=columns["before"][row],
            weight=columns["after"][row],
            metrics={name: columns[name][row] for name in metrics},
        )
