"""What origins and addresses mean."""

import pytest

from janagent.fetch.source import Source, parse, within

HF = "https://huggingface.co"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a/b-GGUF", Source(repo="a/b-GGUF")),
        ("a/b@v1", Source(repo="a/b", revision="v1")),
        (f"{HF}/a/b", Source(repo="a/b")),
        (f"{HF}/a/b/", Source(repo="a/b")),
        (f"{HF}/a/b@v1", Source(repo="a/b", revision="v1")),
        (f"{HF}/a/b/tree/refs%2Fpr%2F1", Source(repo="a/b", revision="refs/pr/1")),
        (f"{HF}/a/b/blob/main/x.gguf", Source(repo="a/b", revision="main", file="x.gguf")),
        (f"{HF}/a/b/resolve/main/d/x.gguf?download=true", Source("a/b", "main", "d/x.gguf")),
        ("http://127.0.0.1:8/a/b/resolve/main/x.gguf", Source("a/b", "main", "x.gguf")),
        ("https://example.com/x.gguf?k=1", Source(url="https://example.com/x.gguf?k=1")),
        (f"{HF}/a/b/tree/main/sub", Source(repo="a/b", revision="main")),
        (f"{HF}/a/b/raw/v1/x.gguf", Source("a/b", "v1", "x.gguf")),
        ("hf.co/a/b-GGUF", Source(repo="a/b-GGUF")),
        ("a/b@refs/pr/1", Source(repo="a/b", revision="refs/pr/1")),
        ("https://example.com/", Source(url="https://example.com/")),
        ("x", None),
        ("", None),
    ],
)
def test_an_origin_means(text: str, meant: Source | None) -> None:
    assert parse(text, endpoint="http://127.0.0.1:8") == meant


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://h.example/d/x.gguf", "https://h.example/d/x.gguf"),
        ("https://h.example/d/other.gguf", "https://h.example/d/x.gguf"),
        ("https://h.example/d/", "https://h.example/d/x.gguf"),
        ("https://h.example/d/v1.5", "https://h.example/d/v1.5/x.gguf"),
        ("https://h.example", "https://h.example/x.gguf"),
        ("https://h.example/d/?sig=1#top", "https://h.example/d/x.gguf?sig=1"),
    ],
)
def test_a_file_lies_in_the_folder_of_an_address_or_beside_its_file(url: str, address: str) -> None:
    assert within(url, "x.gguf") == address


def test_a_name_is_quoted_in_an_address() -> None:
    assert within("https://h.example/d/", "sub/a b.gguf") == "https://h.example/d/sub/a%20b.gguf"
