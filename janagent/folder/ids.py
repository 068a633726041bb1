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
    """Names to keys and back, kept up to date in proportion to what changes."""

    def __init__(self) -> None:
        self._names: dict[str, Names] = {}
        self._claims: dict[str, tuple[tuple[int, str], ...]] = {}
        """Name -> (rank, key) of everyone who would like it."""
        self._owner: dict[str, str] = {}
        self._shown: dict[str, tuple[str, tuple[str, ...]]] = {}

    def update(self, names: Mapping[str, Names], removed: Iterable[str]) -> set[str]:
        """Add or replace the keys in `names` and drop `removed`; returns keys whose id or aliases differ now.

        A plain id that is free goes to the key with fewest folders, then in path order.
        """
        touched: set[str] = set()
        for key in removed:
            self._withdraw(key, touched)
            self._shown.pop(key, None)
        for key, wanted in names.items():
            if self._names.get(key) != wanted:
                self._withdraw(key, touched)
                self._names[key] = wanted
                for name, rank in wanted.ranked(key):
                    self._claims[name] = (*self._claims.get(name, ()), (rank, key))
                    touched.add(name)
        for name in touched:
            self._settle(name)
        concerned = {key for name in touched for _, key in self._claims.get(name, ())}
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

    def _withdraw(self, key: str, touched: set[str]) -> None:
        wanted = self._names.pop(key, None)
        if wanted is None:
            return
        for name, _ in wanted.ranked(key):
            left = tuple(claim for claim in self._claims[name] if claim[1] != key)
            if left:
                self._claims[name] = left
            else:
                del self._claims[name]
            touched.add(name)

    def _settle(self, name: str) -> None:
        """Decide who owns `name`: its holder if it still wants it as plain id, else the best claim."""
        claims = self._claims.get(name)
        if claims is None:
            self._owner.pop(name, None)
            return
        holder = self._owner.get(name)
        if holder is None or (_PLAIN, holder) not in claims:
            best = claims[0] if len(claims) == 1 else min(claims, key=_preference)
            self._owner[name] = best[1]

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
