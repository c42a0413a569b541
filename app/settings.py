"""Every environment variable of the service, typed, with units in the names.

Nothing else reads the environment. `.env.example` lists the same variables with the same defaults; a test
compares the two.
"""

from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.development_secrets import development_secret
from app.push.keys import InvalidVapidKey, VapidKey
from app.push.vapid import subject_problem
from app.setting_types import (
    CertificateFile,
    CommaSeparated,
    HostNames,
    LogLevel,
    MessagesPerSecond,
    Networks,
    Origins,
    PostgresUrl,
    Rate,
    RedisUrl,
    SentryDsn,
    VapidSubject,
)

MIN_SECRET_LENGTH = 32  # bytes of an HS256 key, RFC 7518 section 3.2


class Environment(StrEnum):
    DEVELOPMENT = "development"
    PRODUCTION = "production"


class WorkerMode(StrEnum):
    EMBEDDED = "embedded"
    EXTERNAL = "external"


class SenderKind(StrEnum):
    CURL = "curl"
    PYWEBPUSH = "pywebpush"


class SettingsError(Exception):
    """The configuration cannot be used; the message names each variable and what to do."""


class Settings(BaseSettings):
    """The service's configuration. An empty variable counts as unset."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    environment: Environment = Environment.DEVELOPMENT
    log_level: LogLevel = "INFO"
    data_dir: Path = Path(".data")
    site_url: str | None = None
    asset_base_url: str | None = None

    # URLs hold passwords: printing the settings must not show them.
    database_url: PostgresUrl | None = Field(default=None, repr=False)
    database_read_url: PostgresUrl | None = Field(default=None, repr=False)
    redis_url: RedisUrl | None = Field(default=None, repr=False)
    broker_url: str | None = Field(default=None, repr=False)

    secret_key: SecretStr | None = None
    api_key: SecretStr | None = None
    jwt_secret_key: SecretStr | None = None
    jwt_secret_key_previous: SecretStr | None = None
    jwt_public_key: str | None = None
    jwt_algorithms: CommaSeparated = ("HS256",)
    jwt_issuer: str | None = None
    jwt_audience: str | None = None

    vapid_private_key: SecretStr | None = None
    vapid_public_key: str | None = None
    vapid_subject: VapidSubject = "mailto:admin@example.com"

    push_sender: SenderKind = SenderKind.CURL
    push_extra_hosts: HostNames = ()
    push_ca_file: CertificateFile | None = None
    push_allow_loopback: bool = False
    push_default_ttl_seconds: Annotated[int, Field(ge=0, le=28 * 24 * 3600)] = 4 * 24 * 3600
    push_max_per_second: MessagesPerSecond | None = None
    push_declarative: bool = True
    push_padding: bool = False
    inline_max_recipients: Annotated[int, Field(ge=0)] = 1000
    inline_timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 5
    worker_mode: WorkerMode = WorkerMode.EMBEDDED
    log_retention_days: Annotated[int, Field(ge=1)] = 90

    rate_limit_subscription: Rate = "100/hour"
    rate_limit_notification: Rate = "50/hour"
    rate_limit_analytics: Rate = "200/hour"
    rate_limit_failed_login: Rate = "60/minute"
    cors_allowed_origins: Origins = ()
    trusted_proxies: Networks = ()
    docs_enabled: bool | None = None

    sentry_dsn: SentryDsn | None = Field(default=None, repr=False)
    prometheus_metrics_enabled: bool = True
    worker_metrics_port: Annotated[int, Field(ge=1, le=65535)] = 8002

    @property
    def is_production(self) -> bool:
        return self.environment is Environment.PRODUCTION

    @property
    def shows_docs(self) -> bool:
        """Whether /docs and /openapi.json answer: if nobody decided, everywhere but in production."""
        return not self.is_production if self.docs_enabled is None else self.docs_enabled

    def vapid_key_pair(self) -> VapidKey | None:
        """Return the configured VAPID key pair, None when it is to be generated. Raises InvalidVapidKey."""
        if self.vapid_private_key is None:
            if self.vapid_public_key is not None:
                raise InvalidVapidKey("VAPID_PUBLIC_KEY is set without VAPID_PRIVATE_KEY: set both, or neither.")
            return None
        return VapidKey.load(self.vapid_private_key.get_secret_value(), self.vapid_public_key)

    @model_validator(mode="after")
    def _check_the_vapid_key_pair(self) -> Self:
        self.vapid_key_pair()
        return self

    @model_validator(mode="after")
    def _refuse_an_unsafe_production(self) -> Self:
        if self.is_production:
            problems = [problem for check, problem in _PRODUCTION_RULES if check(self)]
            problems += filter(None, [subject_problem(self.vapid_subject)])
            if problems:
                raise ValueError("\n".join(["Not safe for production:", *(f"- {problem}" for problem in problems)]))
        return self

    @model_validator(mode="after")
    def _fill_development_secrets(self) -> Self:
        if not self.is_production:
            for name in ("secret_key", "api_key", "jwt_secret_key"):
                if getattr(self, name) is None:
                    secret = development_secret(self.data_dir, name.replace("_", "-"))
                    object.__setattr__(self, name, SecretStr(secret))
        return self


def _signs_with_a_secret(settings: Settings) -> bool:
    return any(algorithm.startswith("HS") for algorithm in settings.jwt_algorithms)


def _is_weak(secret: SecretStr | None, minimum: int) -> bool:
    return secret is None or len(secret.get_secret_value()) < minimum


_PRODUCTION_RULES: list[tuple[Callable[[Settings], bool], str]] = [
    (lambda s: s.database_url is None, "set DATABASE_URL (the embedded PostgreSQL is for development)"),
    (lambda s: _is_weak(s.secret_key, MIN_SECRET_LENGTH), "set SECRET_KEY to at least 32 random characters"),
    (lambda s: _is_weak(s.api_key, 16), "set API_KEY to at least 16 random characters"),
    (
        lambda s: _signs_with_a_secret(s) and _is_weak(s.jwt_secret_key, MIN_SECRET_LENGTH),
        "set JWT_SECRET_KEY to at least 32 random characters, or JWT_ALGORITHMS to RS256 or ES256",
    ),
    (
        lambda s: s.jwt_secret_key_previous is not None and _is_weak(s.jwt_secret_key_previous, MIN_SECRET_LENGTH),
        "JWT_SECRET_KEY_PREVIOUS has fewer than 32 characters: whoever guesses it signs tokens",
    ),
    (
        lambda s: s.vapid_subject == Settings.model_fields["vapid_subject"].default,
        "set VAPID_SUBJECT to an address where push services can reach you (mailto:you@yourdomain)",
    ),
    (lambda s: s.push_allow_loopback, "PUSH_ALLOW_LOOPBACK is a development setting"),
    (
        lambda s: any(url and not url.startswith("https://") for url in (s.site_url, s.asset_base_url)),
        "SITE_URL and ASSET_BASE_URL must be https",
    ),
    (
        lambda s: any(not origin.startswith("https://") for origin in s.cors_allowed_origins),
        "CORS_ALLOWED_ORIGINS must be https origins, without *",
    ),
    (
        lambda s: any(network.prefixlen == 0 for network in s.trusted_proxies),
        "TRUSTED_PROXIES names everybody, who can then say to be anybody: name the networks of your proxies",
    ),
]


def load_settings() -> Settings:
    """Read the environment and `.env`. Raises SettingsError with one line per variable at fault."""
    try:
        return Settings()
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
        raise SettingsError("\n".join(["The configuration cannot be used.", *map(_told, faults)])) from None
    except OSError as error:
        raise SettingsError(
            f"The configuration cannot be used.\n{error}. This user must be able to write DATA_DIR and read .env."
        ) from None


def _told(fault: ErrorDetails) -> str:
    """Name the variable, unless the fault is of several, and say what is wrong in our own words."""
    name = "".join(f"{part}: ".upper() for part in fault["loc"][:1])
    return name + fault["msg"].removeprefix("Value error, ")


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return this process's settings, read once."""
    return load_settings()
