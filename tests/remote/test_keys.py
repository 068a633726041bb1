import asyncio
import os
import threading
from pathlib import Path

import pytest

from janagent.folder.apis import is_literal
from janagent.remote import keys
from janagent.remote.keys import KeyProblem, resolve


async def test_a_literal_is_the_key() -> None:
    assert await resolve(" sk-abc ") == "sk-abc"


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "HF_TOKEN", "_KEY"])
async def test_a_variable_that_is_meant_for_it(name: str) -> None:
    assert await resolve(f"${{{name}}}", environ={name: "sk-1\n"}) == "sk-1"


@pytest.mark.parametrize("name", ["PATH", "HOME", "DATABASE_URL", "KEYS", "JANAGENT_API_KEY", "my_key"])
async def test_other_variables_are_not_carried_off(name: str) -> None:
    with pytest.raises(KeyProblem) as caught:
        await resolve(f"${{{name}}}", environ={name: "secret-value"})
    assert "secret-value" not in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize("reference", ["${A_KEY", "${}", "${A-B_KEY}", "${A_KEY}x", "${A_KEY}${B_KEY}"])
async def test_a_malformed_reference_is_no_key(reference: str) -> None:
    with pytest.raises(KeyProblem):
        await resolve(reference, environ={"A_KEY": "x", "B_KEY": "y"})


async def test_a_variable_that_is_not_set_says_what_to_do() -> None:
    with pytest.raises(KeyProblem, match="OPENAI_API_KEY is not set"):
        await resolve("${OPENAI_API_KEY}", environ={})


@pytest.mark.parametrize("value", ["", "two words", "käse", "a\r\nb: c"])
async def test_what_cannot_be_a_key_is_refused_unseen(value: str) -> None:
    with pytest.raises(KeyProblem) as caught:
        await resolve("${A_KEY}", environ={"A_KEY": value})
    assert not value or value not in str(caught.value)


def key_file(folder: Path, content: bytes = b"sk-file\n", mode: int = 0o600) -> Path:
    path = folder / "key"
    path.write_bytes(content)
    path.chmod(mode)
    return path


async def test_a_file_of_one_line(tmp_path: Path) -> None:
    assert await resolve(f"file:{key_file(tmp_path)}") == "sk-file"
    assert await resolve(f"file:{key_file(tmp_path, b'sk-file', 0o440)}") == "sk-file"


async def test_a_link_to_the_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(key_file(tmp_path))
    assert await resolve(f"file:{tmp_path / 'link'}") == "sk-file"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"one\ntwo\n", "one line"),
        (b"x" * 4097, "4096 bytes"),
        (b"", "empty"),
        (b"\n\n", "one line|empty"),
        (b"\xff\xfe\x00", "visible ASCII"),
    ],
)
async def test_a_file_that_is_no_key_file(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(KeyProblem, match=words):
        await resolve(f"file:{key_file(tmp_path, content)}")


async def test_a_file_that_everybody_may_read_is_refused_with_the_command_that_mends_it(
    tmp_path: Path,
) -> None:
    path = key_file(tmp_path, mode=0o644)
    with pytest.raises(KeyProblem, match=f"chmod o-r {path}"):
        await resolve(f"file:{path}")


async def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(KeyProblem, match=r"no regular file|Is a directory"):
            await resolve(f"file:{name}")


@pytest.mark.parametrize("name", ["", "relative/key", "~/key"])
async def test_a_file_needs_its_whole_path(name: str) -> None:
    with pytest.raises(KeyProblem, match="whole path"):
        await resolve(f"file:{name}")


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match="No such file"):
        await resolve(f"file:{tmp_path / 'none'}")


def test_which_references_are_secrets_themselves() -> None:
    assert is_literal("sk-abc")
    assert not any(is_literal(reference) for reference in ("${A_KEY}", "file:/x", "keyring:a/b"))


async def test_a_keyring_that_never_answers_holds_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that waits for its owner's password: a thread of its own waits with it, once."""
    is_over = threading.Event()
    threads: set[int] = set()

    def locked(_service: str, _user: str) -> str:
        threads.add(threading.get_ident())
        is_over.wait(30)
        return "sk-late"

    monkeypatch.setattr(keys, "_ask_keyring", locked)
    monkeypatch.setattr(keys, "LOOKUP_LIMIT_S", 0.2)
    problems = await asyncio.gather(*(resolve("keyring:a/b") for _ in range(100)), return_exceptions=True)
    assert all(isinstance(problem, KeyProblem) for problem in problems)
    assert len(threads) == 1
    async with asyncio.timeout(20):
        assert await asyncio.to_thread(lambda: 1) == 1, "the common pool is free"
    monkeypatch.setattr(keys, "LOOKUP_LIMIT_S", 20)
    late = asyncio.gather(resolve("keyring:a/b"), resolve("keyring:a/b"))
    await asyncio.sleep(0)
    is_over.set()
    assert await late == ["sk-late", "sk-late"]
    assert len(threads) == 1


async def test_a_file_that_is_being_written_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, look = key_file(tmp_path, b""), keys._from_file

    def look_too_early(name: str) -> str:
        try:
            return look(name)
        finally:
            path.write_bytes(b"sk-new")

    monkeypatch.setattr(keys, "_from_file", look_too_early)
    assert await resolve(f"file:{path}") == "sk-new"
