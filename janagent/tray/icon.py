"""The icon, drawn with Pillow from one description at any size: a folder, because the folder is the truth.

An outline when nothing runs, filled when something does, with a mark in its corner when there is work or
trouble: the states differ in form, not only in colour. Pure; `shell` decides which one is shown.
"""

from enum import StrEnum

from PIL import Image, ImageDraw

from janagent.tray.state import Link, View

OVERSAMPLED = 8
"""Drawn so many times larger and then reduced, which smooths the edges."""


class Mood(StrEnum):
    """What the icon says at a glance."""

    IDLE = "idle"
    RUNNING = "running"
    BUSY = "busy"
    """Something loads or downloads."""
    ATTENTION = "attention"


class Theme(StrEnum):
    """What the icon lies on."""

    LIGHT = "light"
    DARK = "dark"
    TEMPLATE = "template"
    """macOS colours it: black, with everything else told by transparency."""


Picture = Image.Image
Colour = tuple[int, int, int, int]
_CLEAR: Colour = (0, 0, 0, 0)
_FOLDER: dict[Theme, Colour] = {
    Theme.LIGHT: (46, 52, 64, 255),
    Theme.DARK: (236, 239, 244, 255),
    Theme.TEMPLATE: (0, 0, 0, 255),
}
_MARKS: dict[Mood, Colour] = {Mood.BUSY: (53, 132, 228, 255), Mood.ATTENTION: (224, 64, 44, 255)}

# In a square of side 1, y downwards.
_TAB = ((0.08, 0.40), (0.08, 0.20), (0.13, 0.15), (0.38, 0.15), (0.48, 0.27), (0.60, 0.40))
_BODY = (0.08, 0.27, 0.92, 0.85)
_CORNER = 0.07
_STROKE = 0.085
_MARK = (0.70, 0.70, 0.27)
"""Centre and radius."""
_GAP = 0.06
"""Between folder and mark."""


def mood(view: View) -> Mood:
    """Trouble before work before running."""
    if view.link is Link.REFUSED or any(model.is_faulty for model in view.models):
        return Mood.ATTENTION
    states = {model.state for model in view.models}
    if view.link in (Link.STARTING, Link.ENDING) or states & {"starting", "downloading"}:
        return Mood.BUSY
    return Mood.RUNNING if "running" in states else Mood.IDLE


def draw(mood: Mood, theme: Theme, *, size_px: int) -> Picture:
    """A square RGBA picture with side `size_px`."""
    side = size_px * OVERSAMPLED
    picture = Image.new("RGBA", (side, side), _CLEAR)
    pen = ImageDraw.Draw(picture)
    _folder(pen, side, _FOLDER[theme], is_filled=mood is not Mood.IDLE)
    if mood in _MARKS:
        _mark(pen, side, mood, theme)
    return picture.resize((size_px, size_px), Image.Resampling.LANCZOS)


def _folder(pen: ImageDraw.ImageDraw, side: int, colour: Colour, *, is_filled: bool) -> None:
    pen.polygon([(x * side, y * side) for x, y in _TAB], fill=colour)
    pen.rounded_rectangle([part * side for part in _BODY], radius=_CORNER * side, fill=colour)
    if not is_filled:
        left, top, right, bottom = _BODY
        inner = (left + _STROKE, top + _STROKE, right - _STROKE, bottom - _STROKE)
        pen.rounded_rectangle([part * side for part in inner], radius=_CORNER * side / 2, fill=_CLEAR)


def _mark(pen: ImageDraw.ImageDraw, side: int, mood: Mood, theme: Theme) -> None:
    """A disc in the corner, cut free of the folder, with an arrow or an exclamation mark cut out of it."""
    x, y, radius = (part * side for part in _MARK)

    def disc(size: float, fill: Colour) -> None:
        pen.ellipse((x - size, y - size, x + size, y + size), fill=fill)

    is_template = theme is Theme.TEMPLATE
    sign = _CLEAR if is_template else (255, 255, 255, 255)
    disc(radius + _GAP * side, _CLEAR)
    disc(radius, _FOLDER[theme] if is_template else _MARKS[mood])
    thin = 0.16 * radius
    if mood is Mood.BUSY:
        pen.rectangle((x - thin, y - 0.6 * radius, x + thin, y + 0.1 * radius), fill=sign)
        tip = [(x - 0.5 * radius, y), (x + 0.5 * radius, y), (x, y + 0.62 * radius)]
        pen.polygon(tip, fill=sign)
    else:
        pen.rectangle((x - thin, y - 0.62 * radius, x + thin, y + 0.18 * radius), fill=sign)
        pen.rectangle((x - thin, y + 0.34 * radius, x + thin, y + 0.64 * radius), fill=sign)
