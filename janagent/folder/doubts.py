"""Whether a manifest that says where its model comes from may have been given another model's file.

Pure. The rules (`pairing`) give a manifest the only model of its folder, whatever that is called: here is
said when its name speaks against it. Neighbour: `entries`, which asks.
"""

import re
from collections.abc import Collection, Iterator, Sequence

from janagent.folder.derived import source_of
from janagent.folder.manifest import Manifest
from janagent.folder.modelsets import ModelSet
from janagent.folder.quantization import tag_of

_GENERIC = frozenset({"ggml", "gguf", "model", "main", "default"})
"""Words that say nothing of which model a file holds."""


def doubts(
    model: ModelSet, manifest: Manifest, *, stems: Sequence[str], others: Collection[str]
) -> Iterator[str]:
    """Warnings about `model`, which a manifest was given that answers to `stems`. `others` are the stems of
    all manifests in the folder, in lower case."""
    if not manifest.origin or manifest.download_name or manifest.files:
        return
    found, source, mine = model.stem.casefold(), source_of(manifest), [stem.casefold() for stem in stems]
    taken = f"{model.names[0]} is taken because it is the only model here"
    if found in others and found not in mine:
        yield (
            f"{taken}, but {model.stem}.json has its name; if it is not what {source} holds, name the right "
            "file in download_url"
        )
    elif _is_stranger(model, " ".join((source.casefold(), *mine))):
        yield (
            f"{taken}, though it is called neither like {stems[-1]} nor like {source}; if it is not what "
            "that holds, name the right file in download_url"
        )


def _is_stranger(model: ModelSet, known: str) -> bool:
    """No word of its name occurs in `known`, though some would tell."""
    words = set(re.split(r"[^a-z0-9]+", model.stem.casefold())) - _GENERIC
    tag = set((tag_of(model.stem) or "").casefold().split("_"))
    telling = [word for word in words - tag if len(word) > 1]
    return bool(telling) and not any(word in known for word in telling)
