"""How Sentry watches requests: for processes that answer some, and so have FastAPI loaded anyway."""

from sentry_sdk.integrations import Integration
from sentry_sdk.integrations.fastapi import FastApiIntegration
from sentry_sdk.integrations.starlette import StarletteIntegration


def request_integrations() -> list[Integration]:
    # An exception reaches Sentry by the log line that web/problems.py writes about it.
    return [
        StarletteIntegration(failed_request_status_codes=set()),
        FastApiIntegration(failed_request_status_codes=set()),
    ]
