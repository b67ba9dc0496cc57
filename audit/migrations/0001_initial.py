"""Tables of the audit."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="AuditHead",
            fields=[
                ("chain", models.CharField(max_length=80, primary_key=True, serialize=False)),
                ("seq", models.BigIntegerField(default=0)),
                ("hash", models.CharField(max_length=71)),
            ],
        ),
        migrations.CreateModel(
            name="AuditEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("chain", models.CharField(max_length=80)),
                ("seq", models.BigIntegerField()),
                ("kind", models.CharField(max_length=64)),
                ("actor", models.CharField(max_length=200)),
                ("reason", models.TextField(blank=True)),
                ("subject", models.CharField(blank=True, max_length=200)),
                ("before_json", models.TextField(default="null")),
                ("after_json", models.TextField(default="null")),
                ("run_id", models.CharField(blank=True, max_length=128)),
                ("policy_version", models.IntegerField(blank=True, null=True)),
                ("request_id", models.CharField(blank=True, max_length=128)),
                ("at", models.DateTimeField()),
                ("prev_hash", models.CharField(max_length=71)),
                ("hash", models.CharField(max_length=71)),
            ],
            options={
                "ordering": ["chain", "seq"],
                "indexes": [
                    models.Index(fields=["chain", "kind", "seq"], name="audit_event_kind"),
                    models.Index(fields=["chain", "run_id"], name="audit_event_run"),
                    models.Index(fields=["request_id"], name="audit_event_request"),
                ],
                "constraints": [models.UniqueConstraint(fields=("chain", "seq"), name="audit_event_chain_seq")],
            },
        ),
        migrations.CreateModel(
            name="AuditRun",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("world_id", models.CharField(max_length=63)),
                ("run_id", models.CharField(max_length=128)),
                (
                    "kind",
                    models.CharField(
                        choices=[("scheduled", "Scheduled"), ("manual", "Manual"), ("advisory", "Advisory")],
                        max_length=16,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("running", "Running"),
                            ("ok", "Ok"),
                            ("inconclusive", "Inconclusive"),
                            ("error", "Error"),
                        ],
                        default="running",
                        max_length=16,
                    ),
                ),
                ("as_of", models.DateTimeField()),
                ("now", models.DateTimeField()),
                ("slot", models.DateTimeField(blank=True, null=True)),
                ("policy_version", models.IntegerField(blank=True, null=True)),
                ("policy_checksum", models.CharField(blank=True, max_length=71)),
                ("engine_version", models.CharField(max_length=32)),
                ("inputs_json", models.TextField(default="null")),
                ("inputs_digest", models.CharField(blank=True, max_length=71)),
                ("instance_count", models.IntegerField(default=0)),
                ("envelope", models.BinaryField(default=b"")),
                ("decision_digest", models.CharField(blank=True, max_length=71)),
                ("chunks_digest", models.CharField(blank=True, max_length=71)),
                ("error", models.TextField(blank=True)),
                ("actor", models.CharField(max_length=200)),
                ("reason", models.TextField(blank=True)),
                ("request_id", models.CharField(blank=True, max_length=128)),
                ("started_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ["world_id", "-id"],
                "indexes": [
                    models.Index(fields=["world_id", "state", "-id"], name="audit_run_state"),
                    models.Index(fields=["world_id", "as_of"], name="audit_run_as_of"),
                ],
                "constraints": [models.UniqueConstraint(fields=("world_id", "run_id"), name="audit_run_world_run")],
            },
        ),
        migrations.CreateModel(
            name="AuditHighlight",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.CharField(max_length=200)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("promoted", "Promoted"),
                            ("demoted", "Demoted"),
                            ("topk", "Topk"),
                            ("blocked", "Blocked"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="highlights", to="audit.auditrun"
                    ),
                ),
            ],
            options={
                "ordering": ["run", "kind", "key"],
                "indexes": [models.Index(fields=["key", "kind", "run"], name="audit_highlight_key")],
                "constraints": [models.UniqueConstraint(fields=("run", "kind", "key"), name="audit_highlight_once")],
            },
        ),
        migrations.CreateModel(
            name="AuditChunk",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("first_key", models.CharField(max_length=200)),
                ("last_key", models.CharField(max_length=200)),
                ("data", models.BinaryField()),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="chunks", to="audit.auditrun"
                    ),
                ),
            ],
            options={
                "ordering": ["run", "first_key"],
                "constraints": [models.UniqueConstraint(fields=("run", "first_key"), name="audit_chunk_run_first_key")],
            },
        ),
    ]
