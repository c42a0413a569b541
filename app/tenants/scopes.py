"""What an API key may do."""

from enum import StrEnum


class Scope(StrEnum):
    """A part of the API. A key has some of them; one does not contain another."""

    SEND = "send"
    """Send, broadcast, cancel."""
    READ = "read"
    """History, notifications and their deliveries, analytics, subscriptions."""
    MANAGE = "manage"
    """Make, change and delete subscriptions; erase and export users."""


ALL_SCOPES = frozenset(Scope)
