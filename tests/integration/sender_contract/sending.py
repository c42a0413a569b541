"""Messages to simulated browsers, and their outcomes."""

from collections.abc import Callable, Sequence
from typing import Any

from app.push.keys import VapidKey
from app.push.message import PushMessage
from app.push.outcome import Outcome
from app.push.sender import Sender
from app.simulator import Browser, Simulator

SERVICES = ("fcm", "mozilla", "apple", "wns")
VAPID_KEY = VapidKey.generate()

MakeSender = Callable[..., Sender]


def subscribed(simulator: Simulator, service: str = "fcm", *, key: VapidKey = VAPID_KEY) -> Browser:
    return simulator.subscribe(service, application_server_key=key.public)


def message_to(browser: Browser, payload: bytes = b"hello", **changed: Any) -> PushMessage:
    keys = browser.subscription["keys"]
    fields = {
        "endpoint": browser.endpoint,
        "p256dh": keys["p256dh"],
        "auth": keys["auth"],
        "payload": payload,
        "vapid_key": VAPID_KEY,
        "ttl_seconds": 3600,
        "ref": browser.path,
    }
    return PushMessage(**{**fields, **changed})


def outcomes_of(sender: Sender, messages: Sequence[PushMessage]) -> list[Outcome]:
    """Send, and return the outcomes in the messages' order, one each."""
    answered = [pair for pairs in sender.send(messages) for pair in pairs]
    assert len(answered) == len(messages)
    by_message = {id(message): outcome for message, outcome in answered}
    return [by_message[id(message)] for message in messages]


def outcome_of(sender: Sender, message: PushMessage) -> Outcome:
    return outcomes_of(sender, [message])[0]


def end_the_hanging(simulator: Simulator) -> None:
    """Cut the connections on which nothing is answered, and answer whatever comes from now on."""
    simulator.script.clear()
    simulator.drop_connections()
