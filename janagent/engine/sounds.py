"""Sound files that may be decoded: which kinds there are, and how long they say they are.

mtmd decodes and resamples them (WAV, MP3, FLAC), but it makes room for as many samples as a file claims to
have and takes anything else for a film. So what a file claims is looked at first. Pure; neighbour: `encoder`.
"""

import struct

from janagent.engine.faults import RequestError

FORMATS = "WAV, MP3 or FLAC"
_LONGEST_S = 1800
#: an MP3 says nowhere how long it is; at its lowest rate, each byte of it becomes 64 of memory
_MOST_MP3_BYTES = 8 << 20
#: of WAV: whole numbers, floating point, and either with more fields
_PCM_TAGS = (0x0001, 0x0003, 0xFFFE)
_SAMPLE_BITS = (8, 16, 24, 32, 64)


def checked_sound(data: bytes, *, param: str) -> bytes:
    """`data`, fit for mtmd. Raises RequestError naming `param`."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return _checked_wav(data, param)
    if data[:4] == b"fLaC":
        _check_flac(data, param)
        return data
    if data[:3] == b"ID3" or (len(data) > 12 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0):
        if len(data) > _MOST_MP3_BYTES:
            raise _bad(f"an MP3 may have {_MOST_MP3_BYTES >> 20} MiB", param)
        return data
    raise _bad(f"this is no sound, or of a format other than {FORMATS}", param)


def _checked_wav(data: bytes, param: str) -> bytes:
    """Written anew with the length that it has; programs that stream leave a length out."""
    form = b""
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + size]
        if name == b"fmt ":
            form = body
        elif name == b"data" and len(form) >= 16:
            return _wav(form, body, param)
        at += 8 + size + size % 2
    raise _bad("the WAV file is damaged: it lacks its format or its data", param)


def _wav(form: bytes, body: bytes, param: str) -> bytes:
    tag, channels, rate, _, frame_bytes, bits = struct.unpack("<HHIIHH", form[:16])
    is_sound = tag in _PCM_TAGS and bits in _SAMPLE_BITS and channels and rate
    if not is_sound or frame_bytes != channels * bits // 8:
        raise _bad("the WAV file must hold plain PCM", param)
    _check_length(len(body) // frame_bytes, rate, param)
    body = body[: len(body) // frame_bytes * frame_bytes]
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def _check_flac(data: bytes, param: str) -> None:
    """By its STREAMINFO (RFC 9639, section 8.2): rate in 20 bits, samples in 36."""
    if len(data) < 42 or data[4] & 0x7F:
        raise _bad("the FLAC file is damaged: it lacks its stream info", param)
    said = int.from_bytes(data[18:26], "big")
    rate, samples = said >> 44, said & (1 << 36) - 1
    if not rate or not samples:
        raise _bad("the FLAC file does not say how long it is", param)
    _check_length(samples, rate, param)


def _check_length(samples: int, rate: int, param: str) -> None:
    if samples > _LONGEST_S * rate:
        raise _bad(f"the sound lasts {samples // rate} s; at most {_LONGEST_S} s are taken", param)
    if not samples:
        raise _bad("the sound is empty", param)


def _bad(words: str, param: str) -> RequestError:
    return RequestError(f"{param}: {words}", param=param, code="invalid_audio")
