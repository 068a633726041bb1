"""From the bytes of a picture to its pixels. Owns which formats and sizes may be, and the errors about them.

Pillow decodes, not mtmd: it knows how large a picture is before it unpacks it, and WebP without another
program. Pure; neighbour: `encoder`.
"""

import io

import numpy as np

from janagent.engine.faults import RequestError
from janagent.engine.projector import Pixels

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
#: decoding takes four bytes of memory for each pixel
_MOST_PIXELS = 50_000_000
#: no projector looks closer than this; larger pictures are shrunk first
_LONGEST_SIDE = 4096
#: projectors cut a picture into tiles of its shape, and a hair's are too many for them
_LONGEST_SHAPE = 100


def pixels_of(data: bytes, *, param: str) -> Pixels:
    """The picture in `data`, upright, on white where it is transparent; the first frame of a moving one.

    Raises RequestError naming `param` where it is none.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not data:
        raise _bad("the picture is empty", param)
    try:
        # Pillow warns of what it thinks too large, which is more than we take.
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            _check_size(*opened.size, param=param)
            picture = ImageOps.exif_transpose(opened)
            if picture.mode.startswith("I;16"):  # Pillow would take all but the darkest grey for white
                picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
            if picture.has_transparency_data:
                picture = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
            picture = picture.convert("RGB")
            picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
            return np.asarray(picture, dtype=np.uint8)
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise _bad(f"this is no picture, or of a format other than {known}", param) from None
    except (RequestError, MemoryError):
        raise
    except Exception as error:  # whatever a decoder stumbles over in a stranger's bytes is their fault
        raise _bad(f"the picture cannot be decoded: {error}", param) from error


def _check_size(width: int, height: int, *, param: str) -> None:
    if width * height > _MOST_PIXELS:
        most = f"{_MOST_PIXELS / 1e6:.0f} million pixels"
        raise _bad(f"the picture is {width} x {height}; at most {most} are taken", param)
    if max(width, height) > _LONGEST_SHAPE * min(width, height):
        raise _bad(f"the picture is {width} x {height}, which is too long and thin", param)


def _bad(words: str, param: str) -> RequestError:
    return RequestError(f"{param}: {words}", param=param, code="invalid_image")
