from __future__ import annotations

import pytest
import redis
from django.conf import settings
from kombu import Connection

from qmtl_worlds.celery import app


@pytest.mark.parametrize("queue", ["control", "compute"])
def test_message_waits_in_its_own_queue_only(redis_client: redis.Redis, queue: str) -> None:
    broker = redis.Redis.from_url(settings.REDIS.for_client(1))
    with Connection(settings.CELERY_BROKER_URL) as connection:
        for known in app.amqp.queues.values():
            known.bind(connection.default_channel).declare()

        app.send_task("nothing", queue=queue, connection=connection)

    waiting = {name: broker.llen(name) for name in ("control", "compute")}
    broker.close()
    assert waiting == {"control": 0, "compute": 0} | {queue: 1}
