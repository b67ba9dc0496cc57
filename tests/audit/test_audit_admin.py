from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from audit.models import AuditEvent, AuditRun
from tests.audit.factories import finished_run, write_events
from worlds.services.authority import act_of_shell
from worlds.services.members import grant_role

pytestmark = pytest.mark.django_db


@pytest.fixture
def auditor_client(admin_client: Client, admin_user: User) -> Client:
    """A superuser who may also read the audit of every world."""
    grant_role(user=admin_user, role="auditor", world=None, act=act_of_shell(reason="test"))
    return admin_client


def test_events_can_be_read_with_what_changed(auditor_client: Client) -> None:
    event = write_events(1)[0]

    listed = auditor_client.get(reverse("admin:audit_auditevent_changelist"))
    shown = auditor_client.get(reverse("admin:audit_auditevent_change", args=[event.pk]))

    assert "world.updated" in listed.content.decode()
    assert "&quot;name&quot;: &quot;name 0&quot;" in shown.content.decode()


def test_evaluations_can_be_read_with_their_decision(auditor_client: Client) -> None:
    run = finished_run()

    listed = auditor_client.get(reverse("admin:audit_auditrun_changelist"))
    shown = auditor_client.get(reverse("admin:audit_auditrun_change", args=[run.pk]))

    assert "run-1" in listed.content.decode()
    assert "&quot;topk&quot;" in shown.content.decode()


@pytest.mark.parametrize("model", ["auditevent", "auditrun"])
def test_not_even_a_superuser_can_write(auditor_client: Client, model: str) -> None:
    row = {"auditevent": write_events(1)[0].pk, "auditrun": finished_run().pk}[model]

    answers = [
        auditor_client.get(reverse(f"admin:audit_{model}_add")),
        auditor_client.post(reverse(f"admin:audit_{model}_change", args=[row]), {"actor": "mallory"}),
        auditor_client.post(reverse(f"admin:audit_{model}_delete", args=[row]), {"post": "yes"}),
    ]

    assert [answer.status_code for answer in answers] == [403, 403, 403]
    assert not AuditEvent.objects.filter(actor="mallory").exists()
    assert AuditRun.objects.count() == 1
