"""Reads what Jan's programs put beside a model: `model.json` and `model.yml`, in the shapes they have had.

    model.json   settings {ctx_len, ngl, prompt_template ...}, parameters {temperature, stop ...}; or, as
                 in the specification, parameters {init {...}, runtime {...}}
    model.yml    the same names at the top level

Only numbers and pieces of the prompt are taken (`folder.defaults`). Pure; the file comes from a repo, so it
may be anything. Neighbour: `importers`, which fetches it.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from janagent.folder.defaults import LARGEST_BYTES, Defaults, defaults_of
from janagent.folder.jsonish import JsonishError, parse

NAMES = ("model.json", "model.yml", "model.yaml")
"""Files of a repo that may hold defaults, the first that is there counts."""
_DEEPEST = 16
_SYSTEM, _PROMPT = "{system_message}", "{prompt}"


class Unreadable(ValueError):
    """The file holds no defaults; the message is a clause about it."""


def read(name: str, data: bytes) -> tuple[Defaults, tuple[str, ...]]:
    """The defaults in the file `name`, and sentences about what was left out. Raises Unreadable."""
    if len(data) > LARGEST_BYTES:
        raise Unreadable(f"is larger than {LARGEST_BYTES >> 10} KiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable("is not UTF-8 text") from None
    top = _json(text) if name.lower().endswith(".json") else _yaml(text)
    if not isinstance(top, dict):
        raise Unreadable("holds no object")
    parts = [_object(top, "settings"), _object(top, "parameters")]
    parts += [_object(parts[1], "init"), _object(parts[1], "runtime")]
    said = {key: value for part in (top, *parts) for key, value in part.items()}
    template = said.get("prompt_template")
    notes: tuple[str, ...] = ()
    if isinstance(template, str) and template and not {"user_prompt", "ai_prompt"} & said.keys():
        pieces = prompt_pieces(template)
        said |= pieces
        if not pieces:
            notes = ("prompt_template: cannot be said in pieces, so the model's own template is used",)
    found, problems = defaults_of(said, said)
    return found, (*notes, *problems)


def prompt_pieces(template: str) -> dict[str, str]:
    """`user_prompt` and `ai_prompt` of a template such as `{system_message}\\n### Instruction: {prompt}\\n###
    Response:`. Nothing for one that says more than two pieces can: marks around the system message, or
    tokens that the model's own template knows how to write."""
    head, found, tail = template.replace("\r\n", "\n").partition(_PROMPT)
    before, has_system, middle = head.partition(_SYSTEM)
    user, ai = (middle if has_system else head).lstrip("\n"), tail.lstrip("\n")
    is_lossy = not found or (has_system and before.strip()) or "<" in template or "[INST]" in template
    if is_lossy or not user.strip() or not ai.strip() or "{" in user + ai:
        return {}
    return {"user_prompt": user, "ai_prompt": ai}


def _json(text: str) -> Any:
    try:
        return parse(text)
    except JsonishError as error:
        raise Unreadable(f"is no JSON: {error}") from None


def _yaml(text: str) -> Any:
    """Without aliases, which can make a large document of a small one, and not nested deeply."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise Unreadable("uses YAML aliases")
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > _DEEPEST:
                raise Unreadable("is nested too deeply")
        return yaml.safe_load(text)
    except Unreadable:
        raise
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f" (line {place.line + 1})" if place is not None else ""
        raise Unreadable(f"is no YAML{where}") from None
    except (ValueError, OverflowError):  # a date that cannot be, say
        raise Unreadable("holds a value that cannot be") from None


def _object(parent: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = parent.get(name)
    return value if isinstance(value, dict) else {}
