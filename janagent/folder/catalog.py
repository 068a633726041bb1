"""The catalog: every model that `<root>/models` describes, kept up to date folder by folder.

Owns when a folder is built again, the ids of all models together, what two models share, and the offline
root. Knows nothing of engines, downloads or events: the caller says "look again", a scan says what differs.
Neighbours: `tree` (files), `entries` (one folder's models), `ids`; `scanning` calls it, `core` reads entries.
"""

import gc
import heapq
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import psutil

from janagent.folder.defaults import Defaults, read_all
from janagent.folder.entries import Builder, Built, Draft
from janagent.folder.entry import INTERRUPTED, CatalogChange, Condition, ModelEntry
from janagent.folder.estimate import Budget
from janagent.folder.fault import Fault
from janagent.folder.ids import IdIndex
from janagent.folder.listing import parent, read_listing
from janagent.folder.records import OpenFetch, open_fetches
from janagent.folder.tree import SETTLE_S, Tree

ADOPT_AFTER_S: Final = 10.0
"""A models folder on another device, with other content, is taken for the new one after this long."""
_MARGIN_S: Final = 0.01
"""Added to every recheck, so that the look comes after the moment and not a rounding error before it."""
_RAM_SHARE: Final = 0.8


@dataclass(slots=True)
class _Site:
    """What is remembered of one built folder."""

    built: Built = field(default_factory=Built)
    due_s: float | None = None
    """When it has to be looked at again (time.monotonic)."""


class Catalog:
    """The models below `root`, and what changed since the last look.

    `scan` blocks on the file system (run it in a thread), keeps its state between calls and must not run
    twice at a time. The other methods read what the last scan left and may be called during one.
    `budget` is asked, from the scan's thread, for the memory that the choice among several quantizations has
    to fit; absent: 80 % of this machine's.
    """

    def __init__(self, root: Path, *, default_root: bool, budget: Callable[[], Budget] | None = None) -> None:
        self.models = root / "models"
        self._is_default_root = default_root
        self._budget = budget or _share_of_ram
        self._tree = Tree(str(self.models))
        self._sites: dict[str, _Site] = {}
        self._drafts: dict[str, Draft] = {}
        self._entries: dict[str, ModelEntry] = {}
        self._users: dict[str, set[str]] = {}
        self._reaching: set[str] = set()
        """Folders with a manifest that names files in folders below."""
        self._fetches: Mapping[str, OpenFetch] = {}
        self._defaults: Mapping[str, Defaults] = {}
        self._ids = IdIndex()
        self._device: int | None = None
        self._stranger_since: float | None = None
        self._offline = False
        self._is_interrupted = False
        self._linked: Mapping[Path, frozenset[str]] = {}

    def prepare(self) -> None:
        """Create `models` where it is the default root's; any other root is never created. Raises OSError."""
        if self._is_default_root:
            self.models.mkdir(parents=True, exist_ok=True)

    def entries(self) -> Mapping[str, ModelEntry]:
        """Key -> entry, a read-only view of the newest state."""
        return MappingProxyType(self._entries)

    def resolve(self, name: str) -> str | None:
        """The key of the model that answers to `name`, with or without leading slash; None: no such model."""
        return self._ids.resolve(name)

    def nearest(self, name: str, n: int = 3) -> list[str]:
        """Up to `n` ids that look like `name`."""
        return self._ids.nearest(name, n)

    def real_folders(self) -> Mapping[Path, frozenset[str]]:
        """Real folders and files behind links -> the paths below `models` that show them, for the watcher."""
        return self._linked

    def has_broken_links(self) -> bool:
        """Whether there may be models that nobody sees: a link leads to what is not there."""
        listings = (folder.listing for folder in self._tree.folders.values())
        return any(link.is_broken for listing in listings for link in listing.links.values())

    def scan(
        self, folders: set[str] | None, *, now: float, closed: set[str] | frozenset[str] = frozenset()
    ) -> CatalogChange:
        """Look at `folders` (paths below `models`, `""` is `models` itself; None: all) and say what differs.

        `now` is time.monotonic. `closed` names files, as paths below `models`, that their writer has closed.
        Folders in which something is due to settle are looked at in any case.
        """
        if not self._is_online(now):
            return self._go_offline()
        if self._offline or self._is_interrupted or folders is None:
            wanted = None
        else:
            due = {name for name, site in self._sites.items() if site.due_s is not None and site.due_s <= now}
            wanted = folders | due | {parent(path) for path in closed}
        must_build_all = self._offline or self._is_interrupted
        self._is_interrupted = True  # until the end: what an exception cut off is made up for
        dirty = self._tree.read(wanted, now=now)
        if not self._is_online(now):
            return self._go_offline()  # it went away during the walk: what is missing now is not deleted
        self._note_closed(closed)
        self._fetches = open_fetches(self.models)
        self._defaults = read_all(self.models)
        if must_build_all:
            dirty = set(self._tree.folders) | set(self._sites)
        elif wanted is not None:
            dirty |= {name for name in wanted if name in self._tree.folders}
        else:
            dirty |= {name for name, site in self._sites.items() if site.due_s is not None}
        with _no_garbage() if must_build_all or not self._sites else nullcontext():
            change = self._rebuild(dirty, now)
        self._linked = {Path(real): frozenset(names) for real, names in self._tree.links().items()}
        self._offline = self._is_interrupted = False
        return change

    # The root

    def _is_online(self, now: float) -> bool:
        """Whether `models` can be read and is the folder that we know."""
        try:
            device = os.stat(self.models).st_dev
            os.scandir(self.models).close()
        except OSError:
            return False
        if self._device is not None and device != self._device and not self._is_adopted(now):
            return False
        self._device, self._stranger_since = device, None
        return True

    def _is_adopted(self, now: float) -> bool:
        """Whether a models folder on another device is ours: the same disk mounted under a new number is, at
        once; other content only after a while; an empty mount point never."""
        try:
            here = read_listing(str(self.models))
        except OSError:
            return False
        top = self._tree.folders.get("")
        known = top.listing if top is not None else None
        if known is not None:
            same_files = any(
                known.files[name][0][1:] == stamp[0][1:]
                for name, stamp in here.files.items()
                if name in known.files
            )
            if same_files or here.subfolders.items() & known.subfolders.items():
                return True
        if not here.files and not here.subfolders and not here.links:
            self._stranger_since = None
            return False
        if self._stranger_since is None:
            self._stranger_since = now
        return now - self._stranger_since >= ADOPT_AFTER_S

    def _go_offline(self) -> CatalogChange:
        """Nothing can be said about any model, so nothing is deleted: all are missing until it is back."""
        self._offline = True
        fault = Fault("offline", f"root is offline: {self.models} is not there or cannot be read")
        missing = {
            key: replace(entry, condition=Condition.MISSING, fault=fault)
            for key, entry in self._entries.items()
            if entry.fault != fault
        }
        self._entries = {**self._entries, **missing}
        again_in_s = ADOPT_AFTER_S / 2 if self._stranger_since is not None else None
        return CatalogChange(changed=tuple(missing.values()), offline=True, recheck_in_s=again_in_s)

    # Building

    def _note_closed(self, closed: Iterable[str]) -> None:
        for path in closed:
            folder = self._tree.folders.get(parent(path))
            file = folder.files.get(path.rpartition("/")[2]) if folder is not None else None
            if file is not None and file.vanished_at is None:
                file.closed = file.identity

    def _rebuild(self, dirty: set[str], now: float) -> CatalogChange:
        before: set[str] = set()
        drafts: dict[str, Draft] = {}
        queue = dirty | {above for above in self._reaching if _is_above_any(above, dirty)}
        done: set[str] = set()
        heap = [(_by_depth(name), name) for name in queue]
        heapq.heapify(heap)  # folders above come first: what they claim is not for those below
        while heap:
            name = heapq.heappop(heap)[1]
            if name in done:
                continue
            done.add(name)
            site = self._sites.setdefault(name, _Site())
            old = site.built
            before.update(draft.entry.key for draft in old.drafts)
            site.built = self._build(name, now)
            site.due_s = _due(site.built, now)
            (self._reaching.add if site.built.reaches_below else self._reaching.discard)(name)
            drafts.update((draft.entry.key, draft) for draft in site.built.drafts)
            for path in old.claims ^ site.built.claims:
                if (below := parent(path)) not in done and below in self._tree.folders:
                    heapq.heappush(heap, (_by_depth(below), below))
            if name not in self._tree.folders:
                del self._sites[name]
        return self._change(before, drafts, now)

    def _build(self, name: str, now: float) -> Built:
        folder = self._tree.folders.get(name)
        if folder is None:
            return Built()
        taken = {
            path for above in self._reaching if above != name for path in self._sites[above].built.claims
        }
        for fetch in self._fetches.values():  # what a fetch brings is its model's, from the first file on
            if self._has_file(fetch.key):
                taken |= fetch.paths()
        built = Builder(
            self._tree, folder, now=now, budget=self._budget, taken=taken, defaults=self._defaults
        ).build()
        if self._fetches:
            built = replace(built, drafts=tuple(self._unfinished(draft) for draft in built.drafts))
        if any(draft.is_settling for draft in built.drafts):
            built = replace(built, drafts=tuple(self._replaced(draft) for draft in built.drafts))
        ghosts = [file.vanished_at for file in folder.files.values() if file.vanished_at is not None]
        if not ghosts:
            return built
        gone_in_s = min(ghosts) + SETTLE_S - now
        again_in_s = gone_in_s if built.again_in_s is None else min(gone_in_s, built.again_in_s)
        return replace(built, again_in_s=again_in_s)

    def _has_file(self, path: str) -> bool:
        folder = self._tree.folders.get(parent(path))
        return folder is not None and path.rpartition("/")[2] in folder.files

    def _unfinished(self, draft: Draft) -> Draft:
        """A model whose fetch has not ended is not complete, whatever is there already, unless its manifest
        asks for something else by now."""
        entry = draft.entry
        fetch = self._fetches.get(entry.key)
        if fetch is None or fetch.artifact_key != entry.artifact_key or entry.condition is Condition.INVALID:
            return draft
        fault = Fault(INTERRUPTED, f"a fetch of {len(fetch.names)} files has not ended")
        missing = replace(entry, condition=Condition.MISSING, fault=fault)
        return replace(draft, entry=missing, is_settling=False)

    def _replaced(self, draft: Draft) -> Draft:
        """A model whose binary was replaced by another file stays what it was until that one has settled: an
        engine that runs holds the old file, so no request has to fail (contract 5). The bytes of a file that
        is overwritten in place are gone."""
        old = self._drafts.get(draft.entry.key)
        if not draft.is_settling or old is None or old.entry.condition is not Condition.COMPLETE:
            return draft
        known = {binary.path: binary.identity for binary in old.entry.binaries}
        for binary in draft.entry.binaries:
            identity = known.get(binary.path, binary.identity)
            if identity != binary.identity and identity[:2] == binary.identity[:2]:
                return draft
        return old

    def _change(self, before: set[str], drafts: dict[str, Draft], now: float) -> CatalogChange:
        """Put ids, aliases and sharing into the drafts; compare with what was there."""
        removed = before - drafts.keys()
        concerned = set(drafts) | self._note_users(removed, drafts)
        concerned |= self._ids.update({key: draft.names for key, draft in drafts.items()}, removed)
        for key in removed:
            self._drafts.pop(key, None)
        self._drafts.update(drafts)
        finished = [self._finish(self._drafts[key].entry) for key in sorted(concerned & self._drafts.keys())]
        changed = [entry for entry in finished if self._entries.get(entry.key) != entry]
        gone = tuple(sorted(removed & self._entries.keys()))
        if changed or gone:  # a new mapping: another thread may be reading the old one
            entries = {key: entry for key, entry in self._entries.items() if key not in removed}
            entries.update((entry.key, entry) for entry in changed)
            self._entries = entries
        due = [(site.due_s, name) for name, site in self._sites.items() if site.due_s is not None]
        recheck_in_s = max(0.0, min(due)[0] - now) + _MARGIN_S if due else None
        problems = tuple(
            problem for site in self._sites.values() if site.built.problems for problem in site.built.problems
        )
        return CatalogChange(
            changed=tuple(changed),
            removed=gone,
            recheck_in_s=recheck_in_s,
            recheck_folders=frozenset(name for _, name in due),
            problems=problems,
        )

    def _finish(self, entry: ModelEntry) -> ModelEntry:
        binaries = tuple(
            replace(binary, shared=True) if len(self._users[str(binary.real_path)]) > 1 else binary
            for binary in entry.binaries
        )
        key = entry.key
        return replace(entry, id=self._ids.id_of(key), aliases=self._ids.aliases_of(key), binaries=binaries)

    def _note_users(self, removed: set[str], drafts: dict[str, Draft]) -> set[str]:
        """Note who uses which binary; returns keys that share one with a changed model."""
        touched: set[str] = set()
        for key in (*removed, *drafts):
            old = self._drafts.get(key)
            for path in _paths(old) - _paths(drafts.get(key)):
                self._users[path].discard(key)
                touched.add(path)
            for path in _paths(drafts.get(key)) - _paths(old):
                self._users.setdefault(path, set()).add(key)
                touched.add(path)
        concerned = {key for path in touched for key in self._users[path]}
        for path in [path for path in touched if not self._users[path]]:
            del self._users[path]
        return concerned


def _share_of_ram() -> Budget:
    return Budget(int(psutil.virtual_memory().total * _RAM_SHARE))


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Building everything makes a great many objects, all of which stay: a fifth of the time would go into
    looking for garbage among them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _paths(draft: Draft | None) -> set[str]:
    return {str(binary.real_path) for binary in draft.entry.binaries} if draft is not None else set()


def _due(built: Built, now: float) -> float | None:
    return now + built.again_in_s if built.again_in_s is not None else None


def _by_depth(name: str) -> tuple[int, str]:
    return name.count("/") + bool(name), name


def _is_above_any(above: str, names: Iterable[str]) -> bool:
    start = f"{above}/" if above else ""
    return any(name.startswith(start) for name in names)
