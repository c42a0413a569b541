"""A desktop for a browser under test: it shows its notifications, and a test clicks and closes them as people do.

It is a D-Bus session bus with one service on it, org.freedesktop.Notifications. So the browser believes in the
clicks, and gives its service workers what follows from them, such as the right to open a window.
Sources: D-Bus Specification 0.43, Desktop Notifications Specification 1.3.
"""

import socket
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from jeepney import (
    DBusAddress,
    HeaderFields,
    Message,
    MessageType,
    new_error,
    new_method_call,
    new_method_return,
    new_signal,
)
from jeepney.low_level import Parser

from tests.support.waiting import until

NAME = "org.freedesktop.Notifications"
BUS = "org.freedesktop.DBus"
OUR_CONNECTION, THEIR_CONNECTION = ":1.0", ":1.1"
CAPABILITIES = ["actions", "body", "body-images", "icon-static", "persistence"]
WHOLE_NOTIFICATION = "default"  # the action of a click beside the buttons
DISMISSED, CLOSED_BY_CALL = 2, 3

# What a browser asks of the bus itself, and the signature and values of the answers. All else is not there.
BUS_ANSWERS: dict[str, tuple[Any, ...]] = {
    "Hello": ("s", (THEIR_CONNECTION,)),
    "AddMatch": (),
    "RemoveMatch": (),
    "RequestName": ("u", (1,)),
    "ListNames": ("as", ([BUS, NAME],)),
    "ListActivatableNames": ("as", ([BUS],)),
}


@dataclass(frozen=True)
class Shown:
    """A notification on screen. `buttons` are the actions' names by their labels, the whole notification's too.

    `times`: how often the browser had it shown; each time after the first it replaced what was there.
    """

    number: int
    title: str
    text: str
    buttons: dict[str, str]
    times: int
    connection: socket.socket = field(repr=False)


class Desktop:
    """Serves from `with` to its end; `address` is for the browser's DBUS_SESSION_BUS_ADDRESS."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "bus"
        self._lock = threading.Lock()
        self._serial = 0
        self._notifications = 0
        self._shown: dict[int, Shown] = {}
        self._pinged: dict[int, Shown] = {}  # what is about to be shown, by the ping's serial number

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(self._path))
        self._socket.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def address(self) -> str:
        return f"unix:path={self._path}"

    @property
    def shown(self) -> list[Shown]:
        """What is on screen, the oldest first."""
        with self._lock:
            return list(self._shown.values())

    def wait_for(self, title: str) -> Shown:
        """Return the notification with this title once it is on screen."""
        until(lambda: title in [shown.title for shown in self.shown], f"a notification {title!r}")
        return next(shown for shown in self.shown if shown.title == title)

    def click(self, shown: Shown, button: str | None = None) -> None:
        """Click on the notification, or on its button with this label."""
        action = WHOLE_NOTIFICATION if button is None else shown.buttons[button]
        self._signal(shown, "ActionInvoked", "us", (shown.number, action))

    def close(self, shown: Shown) -> None:
        """Wipe it away, as people do who are not interested."""
        self._end(shown.number, DISMISSED)

    def clear(self) -> None:
        """Wipe everything away."""
        for shown in self.shown:
            self.close(shown)

    def _end(self, number: int, reason: int) -> None:
        with self._lock:
            shown = self._shown.pop(number, None)
        if shown is not None:
            self._signal(shown, "NotificationClosed", "uu", (number, reason))

    def _show(self, connection: socket.socket, call: Message) -> None:
        """Show a notification, once the browser knows that it is shown.

        To a click that comes sooner it would not listen. It answers a ping after it has read what came before.
        """
        _, replaces, _, title, text, actions, _, _ = call.body
        self._notifications += 1
        number = replaces or self._notifications
        self._send(connection, new_method_return(call, "u", (number,)), OUR_CONNECTION)
        ping = new_method_call(DBusAddress("/", bus_name=THEIR_CONNECTION, interface=f"{BUS}.Peer"), "Ping")
        buttons = dict(zip(actions[1::2], actions[::2], strict=True))
        self._pinged[self._send(connection, ping, BUS)] = Shown(number, title, text, buttons, 1, connection)

    def _hear(self, answer: Message) -> None:
        shown = self._pinged.pop(answer.header.fields[HeaderFields.reply_serial], None)
        if shown is not None:
            with self._lock:
                before = self._shown.get(shown.number)
                self._shown[shown.number] = replace(shown, times=before.times + 1) if before else shown

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed: the end
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        parser = Parser()
        with connection:
            try:
                received = _let_in(connection)
                while True:
                    for message in parser.feed(received):
                        if message.header.message_type is MessageType.method_call:
                            self._answer(connection, message)
                        else:
                            self._hear(message)
                    received = connection.recv(65536)
                    if not received:
                        return
            except OSError:  # the browser is gone
                return

    def _answer(self, connection: socket.socket, call: Message) -> None:
        if call.header.fields.get(HeaderFields.destination) in (NAME, OUR_CONNECTION):
            if call.header.fields[HeaderFields.member] == "Notify":
                self._show(connection, call)
            else:
                self._send(connection, self._as_notifications(call), OUR_CONNECTION)
        else:
            self._send(connection, self._as_bus(call), BUS)

    def _as_bus(self, call: Message) -> Message:
        match call.header.fields.get(HeaderFields.destination), call.header.fields[HeaderFields.member], call.body:
            case "org.freedesktop.DBus", "NameHasOwner", (name,):
                return new_method_return(call, "b", (name == NAME,))
            case "org.freedesktop.DBus", "GetNameOwner", ("org.freedesktop.Notifications",):
                return new_method_return(call, "s", (OUR_CONNECTION,))
            case "org.freedesktop.DBus", member, _ if member in BUS_ANSWERS:
                return new_method_return(call, *BUS_ANSWERS[member])
        return new_error(call, f"{BUS}.Error.ServiceUnknown", "s", ("nobody of that name is here",))

    def _as_notifications(self, call: Message) -> Message:
        match call.header.fields[HeaderFields.member]:
            case "GetCapabilities":
                return new_method_return(call, "as", (CAPABILITIES,))
            case "GetServerInformation":
                return new_method_return(call, "ssss", ("the tests' desktop", "tests", "1", "1.3"))
            case "CloseNotification":
                self._end(call.body[0], CLOSED_BY_CALL)
                return new_method_return(call)
            case member:
                return new_error(call, f"{BUS}.Error.UnknownMethod", "s", (f"{member} is not known here",))

    def _signal(self, shown: Shown, name: str, signature: str, values: tuple[Any, ...]) -> None:
        emitter = DBusAddress("/org/freedesktop/Notifications", interface=NAME)
        self._send(shown.connection, new_signal(emitter, name, signature, values), OUR_CONNECTION)

    def _send(self, connection: socket.socket, message: Message, sender: str) -> int:
        """Return the message's serial number, by which an answer names it."""
        message.header.fields[HeaderFields.sender] = sender
        with self._lock:
            self._serial += 1
            connection.sendall(message.serialise(serial=self._serial))
            return self._serial


def _let_in(connection: socket.socket) -> bytes:
    """Let in whoever comes, and return what it sent after that."""
    received = b""
    while True:
        line, separator, rest = received.partition(b"\r\n")
        if not separator:
            more = connection.recv(4096)
            if not more:
                raise OSError("the browser is gone")
            received += more
        elif line == b"BEGIN":
            return rest
        else:
            received = rest
            connection.sendall(
                b"OK 0123456789abcdef0123456789abcdef\r\n" if b"AUTH EXTERNAL" in line else b"ERROR\r\n"
            )
