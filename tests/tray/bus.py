"""The tray as a desktop sees it: its menu over D-Bus, read and pressed; and a desktop that shows notices.

libayatana exports the item and its menu even where no panel looks at them. Ids change whenever the menu is
built anew, so an item is looked up by its words at the moment it is pressed.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Self, TypeVar

from jeepney import DBusAddress, DBusErrorResponse, HeaderFields, MessageType, new_error, new_method_call
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import DBusConnection, open_dbus_connection
from jeepney.low_level import Message
from jeepney.wrappers import new_method_return, unwrap_msg

T = TypeVar("T")
ITEM = "/org/ayatana/NotificationItem/janagent"
CALL_LIMIT_S = 30.0
WAIT_S = 60.0


@dataclass
class Node:
    """One line of the menu as it is exported."""

    id: int
    label: str
    is_enabled: bool
    is_checked: bool | None
    is_separator: bool
    items: list["Node"] = field(default_factory=list)

    @classmethod
    def of(cls, raw: Any) -> Self:
        number, properties, children = raw
        values = {name: value for name, (_, value) in properties.items()}
        label = str(values.get("label", "")).replace("__", "\0").replace("_", "").replace("\0", "_")
        return cls(
            number,
            label,
            bool(values.get("enabled", True)),
            values.get("toggle-state") == 1 if values.get("toggle-type") else None,
            values.get("type") == "separator",
            [cls.of(child) for _, child in children],
        )

    def find(self, *labels: str) -> "Node | None":
        """Down the labels; `*smol*` is the first that contains smol."""
        node: Node | None = self
        for label in labels:
            assert node is not None
            node = next((child for child in node.items if fnmatchcase(child.label, label)), None)
            if node is None:
                return None
        return node

    def labels(self) -> list[str]:
        return [child.label for child in self.items if not child.is_separator]


class Menu:
    """The menu of the tray with process id `pid`; a context manager."""

    def __init__(self, address: str, pid: int) -> None:
        self._bus = open_dbus_connection(bus=address, auth_timeout=CALL_LIMIT_S)
        self._owner = ""
        self._menu = ""
        # A question to a connection that exports nothing yet may get no answer at all; each next one has
        # more time.
        self._limit_s = 0.2
        deadline = time.monotonic() + WAIT_S
        while not self._find(pid):
            assert time.monotonic() < deadline, f"process {pid} exports no tray"
            time.sleep(0.05)
        self._limit_s = CALL_LIMIT_S

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bus.close()

    def _ask(self, address: DBusAddress, method: str, signature: str = "", body: tuple[Any, ...] = ()) -> Any:
        message = new_method_call(address, method, signature, body)
        limit_s = CALL_LIMIT_S if address is message_bus else self._limit_s  # the bus itself always answers
        return unwrap_msg(self._bus.send_and_get_reply(message, timeout=limit_s))

    def _find(self, pid: int) -> bool:
        for name in self._ask(message_bus, "ListNames")[0]:
            if not name.startswith(":"):
                continue
            try:
                if self._ask(message_bus, "GetConnectionUnixProcessID", "s", (name,))[0] == pid:
                    self._owner = name
                    self._menu = self.property("Menu")
                    self.read()
                    return True
            except DBusErrorResponse:
                continue
            except TimeoutError:
                self._limit_s = min(2 * self._limit_s, CALL_LIMIT_S)
        return False

    def property(self, name: str) -> Any:
        """Of the StatusNotifierItem."""
        address = DBusAddress(ITEM, self._owner, "org.freedesktop.DBus.Properties")
        return self._ask(address, "Get", "ss", ("org.kde.StatusNotifierItem", name))[0][1]

    def read(self) -> Node:
        """The whole menu as it is now."""
        address = DBusAddress(self._menu, self._owner, "com.canonical.dbusmenu")
        return Node.of(self._ask(address, "GetLayout", "iias", (0, -1, []))[1])

    def press(self, *labels: str) -> int:
        """Wait for an enabled item with these labels and press it; its id. `*` stands for anything."""
        address = DBusAddress(self._menu, self._owner, "com.canonical.dbusmenu")
        deadline = time.monotonic() + WAIT_S
        while True:
            node = self.read().find(*labels)
            if node is not None and node.is_enabled:
                try:
                    self._ask(address, "Event", "isvu", (node.id, "clicked", ("i", 0), 0))
                    return node.id
                except DBusErrorResponse as error:
                    # Built anew in between: not delivered, so it may be pressed again.
                    if "does not refer to a menu item" not in str(error):
                        raise
            assert time.monotonic() < deadline, f"{labels} cannot be pressed: {self.read()}"
            time.sleep(0.02)

    def wait(self, *labels: str, within_s: float = WAIT_S) -> Node:
        """The item with these labels, when it is there."""
        return self.until(lambda root: root.find(*labels), within_s=within_s, what=labels)

    def until(self, condition: Callable[[Node], T], *, within_s: float = WAIT_S, what: object = "") -> T:
        """What `condition` says of the menu, once that is true."""
        deadline = time.monotonic() + within_s
        while True:
            root = self.read()
            if result := condition(root):
                return result
            assert time.monotonic() < deadline, f"not within {within_s} s: {what}; {tree(root)}"
            time.sleep(0.02)


def tree(node: Node, depth: int = 0) -> str:
    """The menu as text, for messages."""
    lines = [
        f"{'  ' * depth}{'[x] ' if child.is_checked else ''}{child.label or '--'}" for child in node.items
    ]
    below = [tree(child, depth + 1) for child in node.items]
    return "\n".join(part for pair in zip(lines, below, strict=True) for part in pair if part)


class Service:
    """A program that owns a name on the bus and answers calls; a context manager with a thread."""

    def __init__(
        self, address: str, name: str, answer: Callable[[Message], tuple[str, tuple[Any, ...]] | None]
    ) -> None:
        self._bus: DBusConnection = open_dbus_connection(bus=address, auth_timeout=CALL_LIMIT_S)
        self._answer = answer
        self._is_over = threading.Event()
        reply = self._bus.send_and_get_reply(new_method_call(message_bus, "RequestName", "su", (name, 0)))
        assert unwrap_msg(reply) == (1,), f"{name} is taken"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._is_over.is_set():
            try:
                message = self._bus.receive(timeout=0.1)
            except TimeoutError:
                continue
            except (OSError, EOFError):
                return
            if message.header.message_type is not MessageType.method_call:
                continue
            answer = self._answer(message)
            unknown = "org.freedesktop.DBus.Error.UnknownMethod"
            self._bus.send(new_method_return(message, *answer) if answer else new_error(message, unknown))

    def close(self) -> None:
        self._is_over.set()
        self._thread.join()
        self._bus.close()


@contextmanager
def notifications(address: str) -> Iterator[list[tuple[str, str]]]:
    """A desktop that shows notifications; the `(title, text)` of each so far."""
    shown: list[tuple[str, str]] = []

    def answer(message: Message) -> tuple[str, tuple[Any, ...]] | None:
        match message.header.fields[HeaderFields.member]:
            case "Notify":
                shown.append((message.body[3], message.body[4]))
                return "u", (len(shown),)
            case "CloseNotification":
                return "", ()
        return None

    service = Service(address, "org.freedesktop.Notifications", answer)
    try:
        yield shown
    finally:
        service.close()


@contextmanager
def watcher(address: str) -> Iterator[list[str]]:
    """A panel that wants to know of tray icons; those that told it so far."""
    items: list[str] = []

    def answer(message: Message) -> tuple[str, tuple[Any, ...]] | None:
        match message.header.fields[HeaderFields.member]:
            case "RegisterStatusNotifierItem":
                items.append(message.body[0])
                return "", ()
            case "Get":
                return "v", (("b", True),)
            case "GetAll":
                properties = {"IsStatusNotifierHostRegistered": ("b", True), "ProtocolVersion": ("i", 0)}
                return "a{sv}", (properties,)
        return None

    service = Service(address, "org.kde.StatusNotifierWatcher", answer)
    try:
        yield items
    finally:
        service.close()
