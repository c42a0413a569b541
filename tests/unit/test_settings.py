import inspect
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from app.main import create_app
from app.settings import Environment, Settings, SettingsError, get_settings, load_settings

SECRET = "a-secret-nobody-may-see-0123456789-0123"
SPECIFICATION = re.findall(
    r"\w+",
    "DATABASE_URL REDIS_URL VAPID_PRIVATE_KEY VAPID_PUBLIC_KEY VAPID_SUBJECT JWT_SECRET_KEY API_KEY SENTRY_DSN "
    "PROMETHEUS_METRICS_ENABLED RATE_LIMIT_SUBSCRIPTION RATE_LIMIT_NOTIFICATION RATE_LIMIT_ANALYTICS",
)
DESIGN = re.findall(
    r"\w+",
    "ENVIRONMENT PUSH_ALLOW_LOOPBACK PUSH_EXTRA_HOSTS PUSH_CA_FILE PUSH_SENDER PUSH_DEFAULT_TTL_SECONDS "
    "INLINE_MAX_RECIPIENTS INLINE_TIMEOUT_SECONDS SECRET_KEY JWT_SECRET_KEY_PREVIOUS JWT_PUBLIC_KEY SITE_URL "
    "ASSET_BASE_URL LOG_RETENTION_DAYS WORKER_METRICS_PORT WORKER_MODE BROKER_URL DATABASE_READ_URL JWT_ALGORITHMS "
    "JWT_ISSUER JWT_AUDIENCE CORS_ALLOWED_ORIGINS TRUSTED_PROXIES DATA_DIR LOG_LEVEL",
)
PRODUCTION = {
    "ENVIRONMENT": "production",
    "DATABASE_URL": "postgresql://push:secret@db:5432/push",
    "SECRET_KEY": SECRET,
    "API_KEY": SECRET,
    "JWT_SECRET_KEY": SECRET,
    "VAPID_SUBJECT": "mailto:push@example.org",
}


def _load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load_settings()


def _refused(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    with pytest.raises(SettingsError) as refused:
        _load(monkeypatch, **variables)
    return str(refused.value)


def _without_secrets(settings: Settings) -> dict[str, Any]:
    return settings.model_dump(exclude={"secret_key", "api_key", "jwt_secret_key"})


def test_every_variable_of_the_specification_and_the_design_is_there() -> None:
    names = {name.upper() for name in Settings.model_fields}

    assert set(SPECIFICATION) | set(DESIGN) <= names


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _load(monkeypatch, **{name.upper(): "" for name in Settings.model_fields if name != "data_dir"})

    assert settings.database_url is None
    assert settings.rate_limit_notification == "50/hour"
    assert settings.environment is Environment.DEVELOPMENT


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _load(monkeypatch, PUSH_EXTRA_HOSTS=" push.example.org ,, push.example.net,", JWT_ALGORITHMS="RS256")

    assert settings.push_extra_hosts == ("push.example.org", "push.example.net")
    assert settings.jwt_algorithms == ("RS256",)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_a_database_url_of_any_usual_scheme_works(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    settings = _load(monkeypatch, DATABASE_URL=f"{scheme}://u:p%40@host:5433/db")

    assert settings.database_url == "postgresql://u:p%40@host:5433/db"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("redis://valkey:6379/0", "redis://valkey:6379/0"),
        ("valkey://:valkey@valkey:6379/0", "redis://:valkey@valkey:6379/0"),
        ("valkeys://cache/0", "rediss://cache/0"),
        ("rediss://cache/0", "rediss://cache/0"),
    ],
)
def test_a_valkey_is_addressed_by_its_scheme_and_nothing_else_of_the_url_changes(
    monkeypatch: pytest.MonkeyPatch, given: str, meant: str
) -> None:
    assert _load(monkeypatch, REDIS_URL=given).redis_url == meant


def test_a_trusted_proxy_is_an_address_or_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _load(monkeypatch, TRUSTED_PROXIES="10.1.2.3/8, ::1")

    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "::1/128"]


def test_hosts_and_origins_are_compared_as_browsers_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _load(
        monkeypatch,
        PUSH_EXTRA_HOSTS="Push.Example.NET",
        CORS_ALLOWED_ORIGINS="https://WWW.Example.com,http://localhost:3000,http://[::1]:3000",
    )

    assert settings.push_extra_hosts == ("push.example.net",)
    assert settings.cors_allowed_origins == (
        "https://www.example.com",
        "http://localhost:3000",
        "http://[::1]:3000",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RATE_LIMIT_NOTIFICATION", "fifty an hour"),
        ("RATE_LIMIT_SUBSCRIPTION", "-5/hour"),
        ("RATE_LIMIT_ANALYTICS", "200"),
        ("RATE_LIMIT_ANALYTICS", "0/hour"),
        ("DATABASE_URL", "mysql://root@db/push"),
        ("DATABASE_URL", "db:5432"),
        ("DATABASE_READ_URL", "sqlite:///file"),
        ("DATABASE_URL", "postgresql://push:half/a#password@db:5432/push"),
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", "redis://cache:port/0"),
        ("PUSH_CA_FILE", "/nowhere/ca.pem"),
        ("PUSH_CA_FILE", __file__),
        ("PUSH_EXTRA_HOSTS", "https://push.example.net"),
        ("PUSH_EXTRA_HOSTS", "push.example.net,*.example.org"),
        ("PUSH_EXTRA_HOSTS", "push.example.net."),
        ("PUSH_EXTRA_HOSTS", "push..example.net"),
        ("PUSH_EXTRA_HOSTS", "10.0.0.5"),
        ("PUSH_EXTRA_HOSTS", "0x7f.1"),
        ("PUSH_EXTRA_HOSTS", "[::1]"),
        ("PUSH_EXTRA_HOSTS", "localhost"),
        ("CORS_ALLOWED_ORIGINS", "https://www.example.com/"),
        ("CORS_ALLOWED_ORIGINS", "www.example.com"),
        ("CORS_ALLOWED_ORIGINS", "https://www.example.com,https://user@blog.example.com"),
        ("TRUSTED_PROXIES", "nginx"),
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,*"),
        ("SENTRY_DSN", "sentry.example.com"),
        ("SENTRY_DSN", "https://key@sentry.example.com:port/1"),
        ("LOG_LEVEL", "LOUD"),
        ("ENVIRONMENT", "staging"),
        ("PUSH_SENDER", "smtp"),
        ("WORKER_MODE", "none"),
        ("PUSH_ALLOW_LOOPBACK", "perhaps"),
        ("PUSH_DEFAULT_TTL_SECONDS", "-1"),
        ("PUSH_DEFAULT_TTL_SECONDS", "2419201"),
        ("PUSH_MAX_PER_SECOND", "0"),
        ("PUSH_MAX_PER_SECOND", "-10"),
        ("PUSH_MAX_PER_SECOND", "0.001"),
        ("PUSH_MAX_PER_SECOND", "inf"),
        ("PUSH_MAX_PER_SECOND", "nan"),
        ("PUSH_MAX_PER_SECOND", "fast"),
        ("INLINE_TIMEOUT_SECONDS", "0"),
        ("INLINE_TIMEOUT_SECONDS", "nan"),
        ("INLINE_MAX_RECIPIENTS", "many"),
        ("LOG_RETENTION_DAYS", "0"),
        ("WORKER_METRICS_PORT", "70000"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    message = _refused(monkeypatch, **{name: value})

    assert f"\n{name}: " in message
    assert "\n" not in message.partition(f"{name}: ")[2]


def test_every_fault_is_named_at_once_and_no_value_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    message = _refused(
        monkeypatch,
        DATABASE_URL=f"mysql://root:{SECRET}@db/push",
        REDIS_URL=f"{SECRET}",
        RATE_LIMIT_ANALYTICS="often",
    )

    assert [line.partition(":")[0] for line in message.splitlines()[1:]] == [
        "DATABASE_URL",
        "REDIS_URL",
        "RATE_LIMIT_ANALYTICS",
    ]
    assert SECRET not in message


def test_production_starts_with_everything_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _load(monkeypatch, **PRODUCTION).is_production


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"DATABASE_URL": ""}, "DATABASE_URL"),
        ({"SECRET_KEY": ""}, "SECRET_KEY"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY"),
        ({"API_KEY": ""}, "API_KEY"),
        ({"API_KEY": "short"}, "API_KEY"),
        ({"JWT_SECRET_KEY": ""}, "JWT_SECRET_KEY"),
        ({"JWT_SECRET_KEY": "short"}, "JWT_SECRET_KEY"),
        ({"JWT_SECRET_KEY": "short", "JWT_PUBLIC_KEY": "-----BEGIN PUBLIC KEY-----"}, "JWT_SECRET_KEY"),
        ({"JWT_SECRET_KEY_PREVIOUS": "short"}, "JWT_SECRET_KEY_PREVIOUS"),
        ({"VAPID_SUBJECT": ""}, "VAPID_SUBJECT"),
        ({"PUSH_ALLOW_LOOPBACK": "true"}, "PUSH_ALLOW_LOOPBACK"),
        ({"SITE_URL": "http://www.example.org"}, "SITE_URL"),
        ({"ASSET_BASE_URL": "http://cdn.example.org"}, "ASSET_BASE_URL"),
        ({"CORS_ALLOWED_ORIGINS": "*"}, "CORS_ALLOWED_ORIGINS"),
        ({"CORS_ALLOWED_ORIGINS": "https://a.example.org,http://b.example.org"}, "CORS_ALLOWED_ORIGINS"),
        ({"TRUSTED_PROXIES": "10.0.0.0/8,0.0.0.0/0"}, "TRUSTED_PROXIES"),
        ({"TRUSTED_PROXIES": "::/0"}, "TRUSTED_PROXIES"),
    ],
)
def test_production_refuses_what_is_missing_or_unsafe(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], named: str
) -> None:
    message = _refused(monkeypatch, **(PRODUCTION | variables))

    assert named in message
    assert SECRET not in message


def test_production_names_all_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    message = _refused(monkeypatch, ENVIRONMENT="production")

    for name in ("DATABASE_URL", "SECRET_KEY", "API_KEY", "JWT_SECRET_KEY", "VAPID_SUBJECT"):
        assert name in message


def test_production_needs_no_secret_when_tokens_are_signed_with_a_private_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variables = PRODUCTION | {"JWT_SECRET_KEY": "", "JWT_ALGORITHMS": "RS256"}

    assert _load(monkeypatch, **variables).jwt_secret_key is None


def test_production_generates_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _load(monkeypatch, **PRODUCTION, DATA_DIR=str(tmp_path / "data"))

    assert not (tmp_path / "data").exists()


def test_development_generates_secrets_once_for_the_owner_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = _load(monkeypatch, DATA_DIR=str(tmp_path / "data"))
    again = load_settings()

    assert (first.secret_key, first.api_key, first.jwt_secret_key) == (
        again.secret_key,
        again.api_key,
        again.jwt_secret_key,
    )
    assert first.api_key != first.jwt_secret_key
    assert stat.S_IMODE((tmp_path / "data" / "api-key").stat().st_mode) == 0o600


def test_secrets_do_not_show_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _load(monkeypatch, **PRODUCTION, JWT_SECRET_KEY_PREVIOUS=SECRET)

    assert SECRET not in repr(settings)
    assert SECRET not in str(_without_secrets(settings))


def test_passwords_in_urls_do_not_show_either(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _load(
        monkeypatch,
        DATABASE_URL=f"postgresql://push:{SECRET}@db/push",
        DATABASE_READ_URL=f"postgresql://push:{SECRET}@replica/push",
        REDIS_URL=f"redis://:{SECRET}@cache/0",
        BROKER_URL=f"amqp://push:{SECRET}@broker",
        SENTRY_DSN=f"https://{SECRET}@sentry.example.com/1",
    )

    assert SECRET not in repr(settings)


def test_settings_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = get_settings()
    monkeypatch.setenv("LOG_LEVEL", "ERROR")

    assert get_settings() is first


def test_the_app_is_made_with_settings_of_its_own_or_those_of_the_environment() -> None:
    assert inspect.signature(create_app).parameters["settings"].default is None
    assert create_app().state.settings is get_settings()
