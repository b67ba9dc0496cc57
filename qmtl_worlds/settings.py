"""Settings of the server. Everything an operator may set is an environment variable read here.

With no variable set, the server uses SQLite and the bundled Valkey under ``.data/``.
"""

from __future__ import annotations

from pathlib import Path

import django_stubs_ext
from kombu import Queue
from redis.backoff import NoBackoff
from redis.retry import Retry

from qmtl_worlds import env, logs
from qmtl_worlds.databases import postgresql, sqlite

django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = env.folder("QW_DATA_DIR", BASE_DIR / ".data")

# -- Security -----------------------------------------------------------------

DEBUG = env.flag("QW_DEBUG", default=False)
# Who calls over the loopback without a token is one of QMTL's clients; check --deploy fails on it.
DEV_OPEN = env.flag("QW_DEV_OPEN", default=False)
SECRET_KEY = env.secret_or_generated("QW_SECRET_KEY", DATA_DIR / "secret_key")
ALLOWED_HOSTS = env.items("QW_ALLOWED_HOSTS", ("localhost", "127.0.0.1", "[::1]"))
CSRF_TRUSTED_ORIGINS = env.items("QW_CSRF_TRUSTED_ORIGINS")

HTTPS = env.flag("QW_HTTPS", default=not DEBUG)
if env.flag("QW_BEHIND_PROXY", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = env.integer("QW_HSTS_SECONDS", 31_536_000) if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SECURE = HTTPS
SESSION_COOKIE_AGE = env.integer("QW_SESSION_SECONDS", 43_200, least=60)
CSRF_COOKIE_SECURE = HTTPS
CSRF_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"
SECURE_CSP = {
    "default-src": ["'self'"],
    "script-src": ["'self'"],
    "style-src": ["'self'"],
    "img-src": ["'self'", "data:"],
    "object-src": ["'none'"],
    "base-uri": ["'none'"],
    "form-action": ["'self'"],
    "frame-ancestors": ["'none'"],
}
# Preloading binds every host of the domain for years; that is the domain owner's act, not ours.
SILENCED_SYSTEM_CHECKS = ["security.W021"]

# -- Applications -------------------------------------------------------------

INSTALLED_APPS = [
    "worlds",
    "strategies",
    "audit",
    "worlds.admin.config.WorldsAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]
MIDDLEWARE = [
    "worlds.middleware.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "worlds.middleware.ContentSecurityPolicyMiddleware",
]
ROOT_URLCONF = "qmtl_worlds.urls"
WSGI_APPLICATION = "qmtl_worlds.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{validator}"}
    for validator in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "admin:login"

# -- Language and time --------------------------------------------------------

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True
DATETIME_FORMAT = "Y-m-d H:i:s"
DATE_FORMAT = "Y-m-d"

# -- Database -----------------------------------------------------------------

# A stopped holder of a lock would otherwise block everyone for ever (docs: PROTOCOL 3).
STATEMENT_TIMEOUT_MS = env.integer("QW_STATEMENT_TIMEOUT_MS", 5_000, least=1)
LOCK_TIMEOUT_MS = env.integer("QW_LOCK_TIMEOUT_MS", 1_000, least=1)
IDLE_IN_TRANSACTION_TIMEOUT_MS = env.integer("QW_IDLE_IN_TRANSACTION_TIMEOUT_MS", 2_000, least=1)
DATABASE_POOL_SIZE = env.integer("QW_DATABASE_POOL_SIZE", 8, least=3)
# Begins the names of the roles that manage.py database_roles makes.
DATABASE_ROLE_PREFIX = env.text("QW_DATABASE_ROLE_PREFIX", "qmtl_worlds")

_address = env.database("DATABASE_URL")
_timeouts_ms = {
    "statement_timeout": STATEMENT_TIMEOUT_MS,
    "lock_timeout": LOCK_TIMEOUT_MS,
    "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_TIMEOUT_MS,
}
DATABASES = {
    "default": postgresql(_address, pool_size=DATABASE_POOL_SIZE, timeouts_ms=_timeouts_ms)
    if _address
    else sqlite(DATA_DIR / "worlds.sqlite3")
}

# -- The apply protocol -------------------------------------------------------

# Divides the fixed lengths of PROTOCOL 3 (run deadline, worker lease, slack), so that tests need not wait.
TIME_SCALE = env.integer("QW_TIME_SCALE", 1, least=1)
# How long a Runner may take to confirm a flat position that the policy waits for, before somebody is told.
FLAT_DEADLINE_SECONDS = env.integer("QW_FLAT_DEADLINE_SECONDS", 300, least=1)

# -- The audit -----------------------------------------------------------------

# Signs the ends of the chains. Only the tick reads it; none set: one is made in the data folder.
AUDIT_SIGNING_KEY_FILE = env.path("QW_AUDIT_SIGNING_KEY_FILE")
# Public keys of earlier signing keys, which audit_verify goes on trusting.
AUDIT_PUBLIC_KEYS_FILE = env.path("QW_AUDIT_PUBLIC_KEYS_FILE")

# -- Redis: projection, broker and cache, a database number each ---------------

REDIS = env.redis("REDIS_URL", f"unix://{DATA_DIR}/valkey/valkey.sock")
REDIS_TIMEOUT_SECONDS = env.integer("QW_REDIS_TIMEOUT_MS", 1_000, least=1) / 1000
REDIS_URL = REDIS.for_client(0)
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS.for_client(2),
        "OPTIONS": {
            "CONNECTION_POOL_KWARGS": {
                # redis-py retries ten times by default: seconds to learn that nobody listens.
                "retry": Retry(NoBackoff(), 0),
                "socket_timeout": REDIS_TIMEOUT_SECONDS,
                "socket_connect_timeout": REDIS_TIMEOUT_SECONDS,
            },
        },
        "KEY_PREFIX": "qw",
    },
}

# -- The outbox and the bus ---------------------------------------------------

# A row is kept while it is among the last so many of its world, or younger than so many days.
OUTBOX_KEEP = env.integer("QW_OUTBOX_KEEP", 10_000, least=1)
OUTBOX_KEEP_DAYS = env.integer("QW_OUTBOX_KEEP_DAYS", 7, least=1)
BUS_MAX_LENGTH = env.integer("QW_BUS_MAX_LENGTH", 100_000, least=1)

# -- Celery: a message is a doorbell and holds no authority (docs: PROTOCOL 3) --

CELERY_BROKER_URL = REDIS.for_celery(1)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 60,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "socket_timeout": 10,
    "socket_connect_timeout": 5,
}
CELERY_RESULT_BACKEND = REDIS.for_celery(1)
CELERY_RESULT_EXPIRES = 300
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_SOFT_TIME_LIMIT = 30
CELERY_TASK_TIME_LIMIT = 40
CELERY_TASK_DEFAULT_QUEUE = "control"
CELERY_TASK_QUEUES = [Queue("control"), Queue("compute")]
CELERY_TASK_CREATE_MISSING_QUEUES = False
CELERY_TASK_SERIALIZER = "json"
CELERY_RESULT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 5.0
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# Beat only rings: the tick claims due slots each second without it, and sealing only makes reads faster.
CELERY_BEAT_SCHEDULE = {
    "claim-due-slots": {"task": "worlds.claim_due_slots", "schedule": 10.0},
    "seal": {"task": "worlds.seal", "schedule": 60.0, "options": {"queue": "compute"}},
}
CELERY_ENABLE_UTC = True
CELERY_TIMEZONE = "UTC"

# -- Limits of one web process --------------------------------------------------

# Of one token: what is answered from memory, and everything else; closing acts are never counted.
READS_PER_SECOND = env.integer("QW_READS_PER_SECOND", 5_000, least=1)
REQUESTS_PER_SECOND = env.integer("QW_REQUESTS_PER_SECOND", 200, least=1)
STREAMS = env.integer("QW_STREAMS", 15_000, least=1)
STREAMS_PER_TOKEN = env.integer("QW_STREAMS_PER_TOKEN", 5_000, least=1)
CONNECTIONS = env.integer("QW_CONNECTIONS", 20_000, least=1)
# Requests that wait for one of the threads, and the bytes of all their bodies.
WAITING_REQUESTS = env.integer("QW_WAITING_REQUESTS", 256, least=1)
WAITING_BYTES = env.integer("QW_WAITING_BYTES", 134_217_728, least=1)
HEADER_SECONDS = env.integer("QW_HEADER_SECONDS", 10, least=1)
BODY_SECONDS = env.integer("QW_BODY_SECONDS", 30, least=1)
# Other origins whose pages may open a WebSocket; those of the server itself always may.
STREAM_ORIGINS = env.items("QW_STREAM_ORIGINS")

# -- HTTP API -----------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    # Routes name who may call them; a view that forgot to is closed.
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
}
SPECTACULAR_SETTINGS = {
    "TITLE": "QMTL Worlds",
    "DESCRIPTION": "Decides which trading strategies may trade.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": ["worlds.api.openapi.add_components"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

# -- Static files: served by the process itself, from the packages and static/ --

STATIC_URL = "static/"
STATIC_ROOT = env.folder("QW_STATIC_ROOT", DATA_DIR / "static")
STATICFILES_DIRS = [folder for folder in (BASE_DIR / "static",) if folder.is_dir()]
WHITENOISE_USE_FINDERS = True

# -- Logs ---------------------------------------------------------------------

LOGGING_CONFIG = "logging.config.dictConfig"
LOGGING = logs.configure(
    form=env.choice("QW_LOG_FORMAT", "console" if DEBUG else "json", among=("json", "console")),
    level=env.choice("QW_LOG_LEVEL", "INFO", among=("DEBUG", "INFO", "WARNING", "ERROR")),
)
