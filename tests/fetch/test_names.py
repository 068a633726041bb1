"""Names of a repo that may become files."""

import pytest

from janagent.fetch.faults import FetchError
from janagent.fetch.names import checked, is_safe

HOSTILE = [
    "",
    "..",
    "../x",
    "a/../../x",
    "/etc/passwd",
    "a//b",
    "C:/x",
    "C:x",
    "a\\..\\x",
    "x\0y",
    "NUL",
    "con.gguf",
]
HOSTILE += [
    ".janagent/x",
    ".JanAgent/x",
    ".git/config",
    "a/.git/hooks/x",
    "x.",
    "x ",
    "a/./b",
    "x\ny",
    "n" * 256,
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_leaves_the_folder_or_is_reserved_is_refused(name: str) -> None:
    with pytest.raises(FetchError) as caught:
        checked(name)
    assert (caught.value.code, caught.value.is_permanent) == ("unsafe_name", True)


@pytest.mark.parametrize(
    "name", [".gitattributes", "a/b-00001-of-00002.gguf", "Größe Q4.gguf", "console.gguf", ".gguf"]
)
def test_a_plain_name_is_taken_as_it_is(name: str) -> None:
    assert is_safe(name)
    assert checked(name) == name
