"""However a folder came to be as it is, looks at what changed give the same models as a look at all of it."""

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from janagent.folder.catalog import Catalog
from tests.folder.desks import Desk
from tests.gguf_files import write_model

FOLDERS = ["", "a", "b", "a/c", "a/c/d"]
NAMES = ["m.json", "model.json", "x.Q4_0.gguf", "m.gguf", "notes.txt"]

write = st.tuples(st.just("write"), st.sampled_from(FOLDERS), st.sampled_from(NAMES), st.integers(0, 2))
delete = st.tuples(st.just("delete"), st.sampled_from(FOLDERS), st.sampled_from(NAMES), st.just(0))
remove = st.tuples(st.just("remove"), st.sampled_from(FOLDERS[1:]), st.just(""), st.just(0))
rename = st.tuples(st.just("rename"), st.sampled_from(FOLDERS[1:]), st.sampled_from(["e", "b/f"]), st.just(0))
link = st.tuples(st.just("link"), st.sampled_from(FOLDERS), st.sampled_from(["l1", "l2"]), st.integers(0, 2))
wait = st.tuples(st.just("wait"), st.just(""), st.just(""), st.integers(0, 2))
STEPS = st.lists(st.one_of(write, write, delete, remove, rename, link, wait), max_size=25)


class Hand:
    """Changes a models folder and tells which folders a watcher would name."""

    def __init__(self, desk: Desk, model: bytes, far: Path) -> None:
        self.desk = desk
        self.contents = {".json": [b"{}", b'{"origin": "a/b"}', b"{"], ".gguf": [model, model[:200], b"junk"]}
        self.targets = [far, desk.models / "a", desk.models]

    def act(self, what: str, folder: str, name: str, which: int) -> set[str]:
        place = self.desk.models / folder
        path = f"{folder}/{name}".lstrip("/")
        above = folder.rpartition("/")[0]
        if what == "write":
            content = self.contents.get(Path(name).suffix, [b"text"] * 3)[which]
            self.desk.put(path, content)
            return {folder, above, above.rpartition("/")[0]}
        if what == "delete" and (place / name).is_file():
            (place / name).unlink()
        elif what == "remove" and place.is_dir():
            inside = {str(Path(top).relative_to(self.desk.models)) for top, _, _ in os.walk(place)}
            shutil.rmtree(place)
            return {above, *inside}
        elif what == "rename" and place.is_dir() and not (self.desk.models / name).exists():
            if (self.desk.models / name).parent.is_dir() and not name.startswith(f"{folder}/"):
                place.rename(self.desk.models / name)
                return {above, str(Path(name).parent).strip("."), name, folder}
        elif what == "link" and place.is_dir():
            if (place / name).is_symlink():
                (place / name).unlink()
            elif not (place / name).exists():
                (place / name).symlink_to(self.targets[which])
        return {folder}


def _shown(catalog: Catalog) -> dict[str, tuple[object, ...]]:
    return {
        key: (entry.condition, entry.fault, tuple(binary.path for binary in entry.binaries), entry.warnings)
        for key, entry in catalog.entries().items()
    }


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(steps=STEPS)
def test_incremental_looks_agree_with_a_look_at_everything(
    steps: list[tuple[str, str, str, int]],
) -> None:
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        far = root / "far"
        (far / "deep").mkdir(parents=True)
        model = write_model(far / "deep" / "far.gguf").read_bytes()
        os.utime(far / "deep" / "far.gguf", (1e9, 1e9))
        desk = Desk(root / "root")
        desk.scan()
        hand = Hand(desk, model, far)
        for what, folder, name, which in steps:
            if what == "wait":
                desk.now += which * 0.7
                continue
            desk.scan(*hand.act(what, folder, name, which), after_s=0.1)
        desk.scan("", after_s=5)
        seen = _shown(desk.catalog)
        fresh = Catalog(desk.root, default_root=False)
        fresh.scan(None, now=0.0)
        assert seen == _shown(fresh)
        desk.scan()
        assert _shown(desk.catalog) == seen, "a look at everything finds nothing that was missed"
