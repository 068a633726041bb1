"""Which name means which model: ids, long ids, aliases, clashes.

Owns the rule that a plain id stays with its holder while the daemon runs. An id is a name to look up, never a
path: nothing here touches a file. Neighbour: `catalog` feeds it keys and reads ids.
"""

import difflib
import ipaddress
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from janagent.folder.origin import host

_PLAIN, _LONG, _KEY, _OWN, _REMOTE = range(5)
"""Ranks of a claim to a name; the smaller wins."""
_POOL: Final = 400
_LONGEST: Final = 128
_LAST_RESORT: Final = "~"
"""No file of ours ends in it, so a path with it added is nobody else's name."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names one model would like to have; no leading slashes."""

    plain: str
    long: str
    own: str = ""
    """`id` within the manifest."""
    remote: str = ""
    """Of a remote model: `openai.azure.com/docs-test-001/gpt4-turbo`."""

    def ranked(self, key: str) -> Iterable[tuple[str, int]]:
        """Each name once, with its rank."""
        names = {self.remote: _REMOTE, self.own: _OWN, key: _KEY, self.long: _LONG, self.plain: _PLAIN}
        names.pop("", None)
        return names.items()


def normal(name: str) -> str:
    """A name as it is compared: composed Unicode, because macOS hands out decomposed file names."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def remote_alias(origin: str, name: str) -> str:
    """`<host's domain>/<first host label>/<name>` for an API at `origin`, a URL or a bare host.

    A host without a domain (`localhost`, an address) stands alone: `<host>/<name>`. Empty without a host.
    """
    name_of_host = (host(origin) or "").strip(".")
    label, _, domain = name_of_host.partition(".")
    if not label:
        return ""
    has_domain = bool(domain) and not _is_address(name_of_host)
    return normal(f"{domain}/{label}/{name}" if has_domain else f"{name_of_host}/{name}")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class IdIndex:
    """Names to keys and back, kept up to date in proportion to what changes.

    Nearly every name has one claimant, so only the others' claimants are kept in a record of their own.
    """

    def __init__(self) -> None:
        self._names: dict[str, Names] = {}
        self._owner: dict[str, str] = {}
        """Name -> key of the one that it means."""
        self._rivals: dict[str, tuple[str, ...]] = {}
        """Name -> keys of all who would like it, its owner included, where there are several."""
        self._shown: dict[str, tuple[str, tuple[str, ...]]] = {}

    def update(self, names: Mapping[str, Names], removed: Iterable[str]) -> set[str]:
        """Add or replace the keys in `names` and drop `removed`; returns keys whose id or aliases differ now.

        A plain id that is free goes to the key with fewest folders, then in path order.
        """
        touched: set[str] = set()
        held: dict[str, str] = {}
        """Name -> its owner before, of names that it gave up for the moment."""
        for key in removed:
            self._withdraw(key, touched, held)
            self._shown.pop(key, None)
        changed = {key for key, wanted in names.items() if self._names.get(key) != wanted}
        for key in changed:
            self._withdraw(key, touched, held)
        for key in changed:
            self._names[key] = names[key]
            for name, _ in names[key].ranked(key):
                self._claim(name, key)
                touched.add(name)
        for name in self._rivals.keys() & touched:
            owner = self._owner[name]
            self._settle(name, holder=held.get(name) or (None if owner in changed else owner))
        concerned = {key for name in touched for key in self._claimants(name)}
        return {key for key in concerned if self._show(key)}

    def id_of(self, key: str) -> str:
        """The id shown for `key`. Raises KeyError for an unknown key."""
        return self._shown[key][0]

    def aliases_of(self, key: str) -> tuple[str, ...]:
        """Every other name that leads to `key`. Raises KeyError for an unknown key."""
        return self._shown[key][1]

    def resolve(self, name: str) -> str | None:
        """The key that `name` means, with or without leading slash; None when it means nothing."""
        name = normal(name)
        key = self._owner.get(name) or self._owner.get(name.removeprefix("/"))
        if key is None and name.endswith(_LAST_RESORT) and self._shown.get(name[:-1], ("",))[0] == name:
            key = name[:-1]
        return key

    def nearest(self, name: str, n: int = 3) -> list[str]:
        """Up to `n` ids that look like `name`, best first. The work is bounded, whatever the name.

        Like `resolve`, safe while another thread is in `update`.
        """
        wanted = normal(name).removeprefix("/").casefold()[:_LONGEST]
        ids = [shown[0] for shown in list(self._shown.values())]
        if len(ids) > _POOL:
            start = wanted[:3]
            ids = [i for i in ids if (low := i.casefold()).startswith(start) or wanted in low][:_POOL]
        folded = {i.casefold()[:_LONGEST]: i for i in sorted(ids, reverse=True)}
        found = difflib.get_close_matches(wanted, folded, n=n, cutoff=0.4)
        inside = sorted(low for low in folded if wanted and wanted in low and low not in found)
        return [folded[low] for low in (*found, *inside)][:n]

    def _claimants(self, name: str) -> tuple[str, ...]:
        if (rivals := self._rivals.get(name)) is not None:
            return rivals
        return () if (owner := self._owner.get(name)) is None else (owner,)

    def _claim(self, name: str, key: str) -> None:
        claimants = self._claimants(name)
        if claimants:
            self._rivals[name] = (*claimants, key)
        else:
            self._owner[name] = key

    def _withdraw(self, key: str, touched: set[str], held: dict[str, str]) -> None:
        """Take back all that `key` claims; what it owned goes to one of the others for the moment."""
        wanted = self._names.pop(key, None)
        for name, _ in wanted.ranked(key) if wanted is not None else ():
            touched.add(name)
            left = tuple(other for other in self._claimants(name) if other != key)
            if self._owner[name] == key:
                held.setdefault(name, key)  # the first was the owner; those after it are for the moment
                if left:
                    self._owner[name] = left[0]
                else:
                    del self._owner[name]
            if len(left) > 1:
                self._rivals[name] = left
            else:
                self._rivals.pop(name, None)

    def _settle(self, name: str, *, holder: str | None) -> None:
        """Decide who owns `name`: its holder if it still wants it as plain id, else the best claim."""
        claims = [(dict(self._names[key].ranked(key))[name], key) for key in self._rivals[name]]
        is_held = holder is not None and (_PLAIN, holder) in claims
        self._owner[name] = holder if holder is not None and is_held else min(claims, key=_preference)[1]

    def _show(self, key: str) -> bool:
        """Work out id and aliases of `key`; whether they differ from before."""
        wanted = self._names[key]
        mine = [name for name, _ in wanted.ranked(key) if self._owner[name] == key]
        candidates = (wanted.plain, wanted.long, key)
        shown = next((name for name in candidates if name in mine), None)
        if shown is None:  # even its path is another model's plain id
            shown = key + _LAST_RESORT
        aliases = tuple(sorted(name for name in mine if name not in (shown, key)))
        before = self._shown.get(key)
        self._shown[key] = (shown, aliases)
        return before != self._shown[key]


def _preference(claim: tuple[int, str]) -> tuple[int, int, str, bool, str]:
    """Of a manifest and a binary of one stem in one folder, the manifest comes first."""
    rank, key = claim
    path, _, extension = key.rpartition(".")
    return rank, key.count("/"), path, extension.lower() != "json", key
