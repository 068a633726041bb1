"""The parts of a message, and the marks that stand for media in a prompt."""

import pytest

from janagent.engine.parts import Kind, Marks, Medium, Mixed, read_content


def test_parts_that_are_all_texts_are_one_text():
    parts = [{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}]
    assert read_content(parts) == "a\nb"
    said = [{"type": "output_text", "text": "c"}, {"type": "refusal", "refusal": "No."}]
    assert read_content(said) == "c\nNo."
    assert read_content("plain") == "plain"
    assert read_content([]) == ""


@pytest.mark.parametrize(
    ("part", "medium"),
    [
        (
            {"type": "image_url", "image_url": {"url": "u", "detail": "low"}},
            Medium(Kind.PICTURE, "u", "image_url"),
        ),
        ({"type": "image_url", "image_url": "u"}, Medium(Kind.PICTURE, "u", "image_url")),
        ({"type": "input_image", "image_url": "u"}, Medium(Kind.PICTURE, "u", "image_url")),
        (
            {"type": "input_audio", "input_audio": {"data": "d", "format": "wav"}},
            Medium(Kind.SOUND, "d", "input_audio"),
        ),
    ],
)
def test_media_are_read_as_clients_write_them(part: dict, medium: Medium):
    assert read_content([part]) == Mixed((medium,))


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("text", "an object with a type"),
        ({"type": 1}, "an object with a type"),
        ({"type": "text"}, "must have a text"),
        ({"type": "refusal", "text": "x"}, "must have a refusal"),
        ({"type": "image_url"}, "an image_url with a url"),
        ({"type": "image_url", "image_url": {"url": 1}}, "an image_url with a url"),
        ({"type": "input_audio", "input_audio": {}}, "input_audio with data"),
        ({"type": "video_url", "video_url": {"url": "u"}}, "not video_url"),
    ],
)
def test_a_part_that_is_none_is_refused_in_words(part: object, words: str):
    with pytest.raises(ValueError, match=words):
        read_content([part])


def test_marks_are_found_again_wherever_a_template_puts_them():
    marks = Marks()
    picture = Medium(Kind.PICTURE, "u", "image_url")
    first = marks.text_of(Mixed(("a", "b", picture, "c")))
    second = marks.text_of(Mixed((picture, picture)))
    assert marks.count == 3
    assert first.startswith("a\nb<")
    assert first.endswith(">c")
    assert list(marks.split(f"[{second}] {first}")) == ["[", 1, "", 2, "] a\nb", 0, "c"]
    assert list(marks.split("nothing")) == ["nothing"]


def test_nobody_can_write_a_mark():
    written = Marks().text_of(Mixed((Medium(Kind.PICTURE, "u", "image_url"),)))
    assert list(Marks().split(written)) == [written]
