"""The display of a session as a person uses it: what is on it, a mouse, a keyboard."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from PIL import Image, ImageGrab
from Xlib import XK, X, display
from Xlib.error import BadDrawable, BadWindow
from Xlib.ext import xtest

Box = tuple[int, int, int, int]
"""Left, top, right, bottom."""


@dataclass(frozen=True)
class Top:
    """A visible window, as it was when it was looked at."""

    box: Box
    title: Any
    classes: tuple[str, str] | None
    is_free: bool
    """No window manager may touch it."""


class Screen:
    """A context manager."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._display = display.Display(name)
        self._root = self._display.screen().root

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.close()

    def _tops(self) -> Iterator[Top]:
        for window in self._root.query_tree().children:
            try:
                attributes, at = window.get_attributes(), window.get_geometry()
                title, classes = window.get_wm_name(), window.get_wm_class()
            except (BadWindow, BadDrawable):
                continue  # closed in between
            if attributes.map_state == X.IsViewable:
                box = (at.x, at.y, at.x + at.width, at.y + at.height)
                yield Top(box, title, classes, is_free=bool(attributes.override_redirect))

    def named(self, wanted: str) -> Box | None:
        """The visible window with this title or class."""
        for top in self._tops():
            if wanted in (top.title, *(top.classes or ())):
                return top.box
        return None

    def menus(self) -> list[Box]:
        """Open menus: windows that no window manager may touch."""
        found = []
        for top in self._tops():
            is_menu = top.is_free and top.box[3] - top.box[1] > 60
            if is_menu and top.classes is not None and self.named("trayer") != top.box:
                found.append(top.box)
        return found

    def colour(self, pixel: int) -> None:
        """Of what lies behind everything."""
        self._root.change_attributes(background_pixel=pixel)
        self._root.clear_area()
        self._display.sync()

    def click(self, x: int, y: int) -> None:
        xtest.fake_input(self._display, X.MotionNotify, x=x, y=y)
        for kind in (X.ButtonPress, X.ButtonRelease):
            xtest.fake_input(self._display, kind, 1)
        self._display.sync()

    def key(self, name: str) -> None:
        code = self._display.keysym_to_keycode(XK.string_to_keysym(name))
        for kind in (X.KeyPress, X.KeyRelease):
            xtest.fake_input(self._display, kind, code)
        self._display.sync()

    def picture(self) -> Image.Image:
        return ImageGrab.grab(xdisplay=self._name)

    def colours(self, box: Box) -> int:
        """How many there are in that part of the screen, at most 256 of them."""
        return len(self.picture().crop(box).getcolors(256) or range(256))

    def save(self, path: Path, boxes: list[Box], *, margin: int) -> None:
        """What encloses the boxes, as a small PNG."""
        whole = self.picture()
        left, top = min(box[0] for box in boxes) - margin, min(box[1] for box in boxes)
        right, bottom = max(box[2] for box in boxes), max(box[3] for box in boxes) + margin
        part = whole.crop((max(left, 0), max(top, 0), min(right, whole.width), min(bottom, whole.height)))
        part.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
