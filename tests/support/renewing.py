"""Browsers that renew their subscription, without HTTP."""

from app.db.session import transaction
from app.models import Subscription
from app.push.endpoint import EndpointPolicy
from app.simulator import Browser
from app.subscriptions.replacing import replace
from app.subscriptions.schemas import SubscriptionIn
from tests.support.delivery import Subscriber


def replaced_by(subscriber: Subscriber, browser: Browser, **members: str) -> Subscription:
    """Let the subscription be that of another browser from now on; `members` are added to what this one offers."""
    offer = SubscriptionIn(**{**browser.subscription, **members}).to_offer()
    with transaction(subscriber.sessions) as session:
        return replace(
            *(session, None, subscriber.id, offer),
            old_auth=subscriber.browser.subscription["keys"]["auth"],
            enabled=None,
            policy=EndpointPolicy(allow_loopback=True),
        )
