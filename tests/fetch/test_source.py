"""What origins and addresses mean."""

import pytest

from janagent.fetch.source import Source, parse

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
        ("https://example.com/", None),
        ("x.gguf", None),
    ],
)
def test_an_origin_means(text: str, meant: Source | None) -> None:
    assert parse(text, endpoint="http://127.0.0.1:8") == meant
