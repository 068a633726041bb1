"""Sound files looked at before they are decoded."""

import struct

import pytest

from janagent.engine.faults import RequestError
from janagent.engine.sounds import checked_sound
from tests.engine.pictures import noise, wav

WAV = wav(noise(0.2))


def fault(data: bytes) -> str:
    with pytest.raises(RequestError) as caught:
        checked_sound(data, param="p")
    assert (caught.value.status, caught.value.code) == (400, "invalid_audio")
    return caught.value.message


def flac(*, rate: int, samples: int) -> bytes:
    packed = (rate << 44 | 15 << 36 | samples).to_bytes(8, "big")
    return b"fLaC\x80\x00\x00\x22" + bytes(10) + packed + bytes(16)


def with_format(**changed: int) -> bytes:
    fields = {"tag": 1, "channels": 1, "rate": 16000, "speed": 32000, "frame": 2, "bits": 16} | changed
    return WAV[:20] + struct.pack("<HHIIHH", *fields.values()) + WAV[36:]


def test_a_file_that_is_what_it_says_passes():
    assert checked_sound(WAV, param="p") == WAV
    mp3 = b"\xff\xfb\x90\x00" + bytes(400)
    assert checked_sound(mp3, param="p") == mp3
    whole = flac(rate=44100, samples=44100)
    assert checked_sound(whole, param="p") == whole


def test_a_wav_of_unknown_or_false_length_gets_the_one_it_has():
    for said in (0xFFFFFFFF, 0x7FFFFFFF):
        length = struct.pack("<I", said)
        assert checked_sound(WAV[:4] + length + WAV[8:40] + length + WAV[44:], param="p") == WAV


def test_chunks_before_the_data_are_passed_over():
    extra = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    assert checked_sound(WAV[:12] + extra + WAV[12:], param="p") == WAV


def test_what_claims_to_be_endless_is_refused():
    assert "1800 s" in fault(with_format(rate=1))
    assert "1800 s" in fault(flac(rate=8000, samples=1 << 35))
    assert "8 MiB" in fault(b"ID3" + bytes(9 << 20))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "WAV, MP3 or FLAC"),
        (b"OggS" + bytes(60), "WAV, MP3 or FLAC"),
        (WAV[:30], "lacks its format or its data"),
        (WAV[:44], "empty"),
        (with_format(tag=2), "plain PCM"),
        (with_format(channels=0), "plain PCM"),
        (with_format(frame=1), "plain PCM"),
        (with_format(bits=0, frame=0), "plain PCM"),
        (with_format(rate=0), "plain PCM"),
        (b"fLaC", "stream info"),
        (flac(rate=0, samples=5), "how long"),
    ],
)
def test_what_is_no_sound_is_refused_in_words(data: bytes, words: str):
    assert words in fault(data)
