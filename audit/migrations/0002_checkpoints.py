"""Signed ends of chains."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="Checkpoint",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("chain", models.CharField(max_length=80)),
                ("seq", models.BigIntegerField()),
                ("hash", models.CharField(max_length=71)),
                ("created_at", models.DateTimeField(db_index=True)),
                ("key_id", models.CharField(max_length=40)),
                ("signature", models.CharField(max_length=128)),
            ],
            options={
                "ordering": ["chain", "seq"],
                "constraints": [
                    models.UniqueConstraint(fields=("chain", "seq", "key_id"), name="audit_checkpoint_once")
                ],
            },
        ),
    ]
