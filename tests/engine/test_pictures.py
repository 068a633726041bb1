"""Pictures decoded: formats, sizes, orientation, and strangers' bytes."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from janagent.engine.faults import RequestError
from janagent.engine.pictures import FORMATS, pixels_of
from tests.engine.pictures import picture


def saved(drawn: Image.Image, form: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    drawn.save(file, form, **options)
    return file.getvalue()


def fault(data: bytes) -> str:
    with pytest.raises(RequestError) as caught:
        pixels_of(data, param="messages[0].content[1]")
    assert (caught.value.status, caught.value.param) == (400, "messages[0].content[1]")
    return caught.value.message


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_decoded_to_the_same_picture(form: str):
    expected = np.asarray(Image.open(io.BytesIO(picture(3))).convert("RGB"), dtype=np.int32)
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(form, {})
    pixels = pixels_of(picture(3, form=form, **options), param="p")
    assert (pixels.shape, pixels.dtype) == ((60, 80, 3), np.uint8)
    assert np.abs(pixels - expected).mean() < 8


def test_a_format_that_is_not_taken_is_named_with_those_that_are():
    assert "PNG, JPEG, WEBP" in fault(saved(Image.new("RGB", (4, 4)), "TIFF"))
    assert "no picture" in fault(b"<svg/>")
    assert "empty" in fault(b"")


def test_a_photo_is_turned_the_way_it_was_taken():
    drawn = Image.new("RGB", (40, 20), "black")
    drawn.paste("white", (0, 0, 10, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    pixels = pixels_of(saved(drawn, "JPEG", exif=exif), param="p")
    assert pixels.shape == (40, 20, 3)
    assert pixels[:8].mean() > 200 > 50 > pixels[12:].mean()


def test_what_is_transparent_is_white():
    drawn = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    drawn.putpixel((0, 0), (255, 0, 0, 255))
    pixels = pixels_of(saved(drawn), param="p")
    assert pixels[0, 0].tolist() == [255, 0, 0]
    assert pixels[3, 3].tolist() == [255, 255, 255]
    palette = saved(Image.new("P", (4, 4), 0), "GIF", transparency=0)
    assert pixels_of(palette, param="p")[0, 0].tolist() == [255, 255, 255]


def test_greys_of_sixteen_bits_keep_their_shades():
    shades = Image.fromarray(np.array([[0, 0x4000, 0x8000, 0xFFFF]], dtype=np.uint16))
    assert pixels_of(saved(shades), param="p")[0, :, 0].tolist() == [0, 64, 128, 255]


def test_a_large_picture_is_shrunk_before_the_projector_sees_it():
    assert pixels_of(saved(Image.new("RGB", (6000, 3000))), param="p").shape == (2048, 4096, 3)


def test_a_bomb_is_refused_by_what_it_says_before_it_is_unpacked():
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 9000, 8000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    assert "9000 x 8000; at most 50 million pixels" in fault(bomb)


def test_a_hair_is_no_picture():
    assert "too long and thin" in fault(saved(Image.new("RGB", (2000, 1))))


def test_no_damage_gets_through():
    """Cut off and scrambled: a picture or a 400, never anything else."""
    random = np.random.default_rng(0)
    seen = set()
    for form in FORMATS:
        whole = picture(1, form=form)
        for _ in range(60):
            data = np.frombuffer(whole, dtype=np.uint8).copy()
            places = random.integers(0, data.size, 4)
            data[places] = random.integers(0, 256, 4)
            try:
                pixels = pixels_of(data.tobytes()[: random.integers(1, data.size + 1)], param="p")
            except RequestError as error:
                seen.add(error.code)
            else:
                assert pixels.shape[2] == 3
                seen.add("decoded")
    assert seen == {"invalid_image", "decoded"}
