"""Fetches begin and end beside each other: the folder of their records comes and goes with the last one."""

import threading
from pathlib import Path

from janagent.fetch.record import Entry, Record
from janagent.folder.records import record_path

ROUNDS = 400


def test_a_record_is_begun_while_the_last_other_one_takes_its_folder_along(tmp_path: Path) -> None:
    errors: list[OSError] = []

    def fetch_again_and_again(key: str) -> None:
        for _ in range(ROUNDS):
            record = Record(record_path(tmp_path, key), key=key)
            try:
                record.begin([Entry("m.gguf", 1)], {})
                record.remove()
            except OSError as error:  # it would have ended a download
                errors.append(error)

    threads = [threading.Thread(target=fetch_again_and_again, args=(f"{name}.json",)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert list(tmp_path.iterdir()) == []
