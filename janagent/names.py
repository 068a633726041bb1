"""Which name means which model: ids, long ids and aliases to keys. Owned by `runtime`, fed by the catalog.

An id wins over an alias of another model; among aliases the first holder keeps a name.
"""

import difflib

from janagent.core.faults import Refusal
from janagent.folder.entry import ModelEntry

NEAREST = 3
SHOWN_NAME_CHARACTERS = 200


class Names:
    """An index that is kept up to date entry by entry."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        self._aliases: dict[str, list[str]] = {}
        self._names_of: dict[str, tuple[str, ...]] = {}

    def learn(self, entry: ModelEntry) -> None:
        """Add or replace the names of one model."""
        self.forget(entry.key)
        self._names_of[entry.key] = (entry.id, *entry.aliases)
        self._ids[entry.id] = entry.key
        for alias in entry.aliases:
            self._aliases.setdefault(alias, []).append(entry.key)

    def forget(self, key: str) -> None:
        """Remove the names of one model; an unknown key is fine."""
        names = self._names_of.pop(key, ())
        if names and self._ids.get(names[0]) == key:
            del self._ids[names[0]]
        for alias in names[1:]:
            holders = self._aliases.get(alias, [])
            if key in holders:
                holders.remove(key)
            if not holders:
                self._aliases.pop(alias, None)

    def find(self, name: str) -> str | None:
        """The key behind `name`, with or without a leading slash; None if nothing answers to it."""
        bare = name.removeprefix("/")
        if (key := self._ids.get(bare)) is not None:
            return key
        holders = self._aliases.get(bare)
        return holders[0] if holders else None

    def unknown(self, name: str) -> Refusal:
        """The refusal for a name that means nothing, with the nearest ones that do."""
        shown = name if len(name) <= SHOWN_NAME_CHARACTERS else name[:SHOWN_NAME_CHARACTERS] + "..."
        near = difflib.get_close_matches(shown, self._ids, n=NEAREST, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "GET /v1/models lists the models there are"
        return Refusal("model_not_found", f"there is no model {shown!r}; {hint}", param="model")
