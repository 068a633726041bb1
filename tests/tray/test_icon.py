import itertools

import pytest
from PIL import Image, ImageChops

from janagent.tray.icon import Mood, Theme, draw, mood
from janagent.tray.state import Link, Model, View

SIZES = (16, 22, 24, 32, 44, 48, 64, 128)


def view(*states: str, link: Link = Link.CONNECTED) -> View:
    return View(link=link, models=tuple(Model(f"m{n}", state) for n, state in enumerate(states)))


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (view(), Mood.IDLE),
        (view("downloaded", "stopped"), Mood.IDLE),
        (view("downloaded", "running"), Mood.RUNNING),
        (view("running", "starting"), Mood.BUSY),
        (view("downloading"), Mood.BUSY),
        (view("running", "downloading", "invalid"), Mood.ATTENTION),
        (view("failed"), Mood.ATTENTION),
        (view(link=Link.STARTING), Mood.BUSY),
        (view(link=Link.ABSENT), Mood.IDLE),
        (view(link=Link.REFUSED), Mood.ATTENTION),
    ],
)
def test_trouble_comes_before_work_before_running(shown: View, expected: Mood):
    assert mood(shown) is expected


def test_a_paused_download_is_no_trouble():
    assert mood(View(link=Link.CONNECTED, models=(Model("m", "missing", "paused"),))) is Mood.IDLE


@pytest.mark.parametrize("size_px", SIZES)
def test_every_icon_is_a_square_with_clear_corners(size_px: int):
    for one, theme in itertools.product(Mood, Theme):
        picture = draw(one, theme, size_px=size_px)
        assert (picture.mode, picture.size) == ("RGBA", (size_px, size_px))
        for corner in ((0, 0), (size_px - 1, 0), (0, size_px - 1), (size_px - 1, size_px - 1)):
            assert picture.getpixel(corner)[3] < 8  # type: ignore[index]


def total(picture: Image.Image) -> float:
    """The sum over a picture of one band, white counts 1."""
    return sum(value * count for value, count in enumerate(picture.histogram())) / 255


def covered(picture: Image.Image) -> float:
    """How much of it is not clear, 0 to 1."""
    return total(picture.getchannel("A")) / picture.width**2


@pytest.mark.parametrize("size_px", [16, 22, 64])
@pytest.mark.parametrize("theme", Theme)
def test_the_states_differ_in_form_not_only_in_colour(theme: Theme, size_px: int):
    moods = (Mood.IDLE, Mood.RUNNING, Mood.BUSY)
    forms = [draw(one, theme, size_px=size_px).getchannel("A") for one in moods]
    for one, other in itertools.combinations(forms, 2):
        assert total(ImageChops.difference(one, other)) > 0.02 * size_px**2


@pytest.mark.parametrize("theme", Theme)
def test_work_and_trouble_look_different(theme: Theme):
    busy, attention = (draw(one, theme, size_px=22) for one in (Mood.BUSY, Mood.ATTENTION))
    assert ImageChops.difference(busy, attention).getbbox(alpha_only=False) is not None


def test_an_outline_covers_less_than_a_full_folder():
    assert covered(draw(Mood.IDLE, Theme.DARK, size_px=64)) < 0.7 * covered(
        draw(Mood.RUNNING, Theme.DARK, size_px=64)
    )


def brightness(theme: Theme) -> float:
    """Of what is not clear."""
    picture = draw(Mood.RUNNING, theme, size_px=64)
    grey = picture.convert("L").histogram(picture.getchannel("A").point(lambda alpha: 255 * (alpha > 200)))
    return sum(value * count for value, count in enumerate(grey)) / sum(grey)


def test_it_stands_out_from_light_and_from_dark_bars():
    assert brightness(Theme.LIGHT) < 80
    assert brightness(Theme.DARK) > 200


@pytest.mark.parametrize("one", Mood)
def test_a_template_is_black_and_transparency_alone(one: Mood):
    picture = draw(one, Theme.TEMPLATE, size_px=44)
    assert all(picture.getchannel(band).getextrema()[1] == 0 for band in "RGB")  # type: ignore[index]
