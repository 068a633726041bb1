"""mtmd's context: what it can do, what it makes of pictures and sounds, and projectors that do not load."""

from pathlib import Path

import numpy as np
import pytest

from janagent.engine.llama_log import EngineLog
from janagent.engine.media import MediaRun
from janagent.engine.model import LoadError, Model, load_model
from janagent.engine.projector import Projector, ProjectorError, open_projector
from tests.engine.pictures import noise, wav
from tests.engine.projectors import write_gridded, write_gridded_model, write_hearing, write_whole
from tests.gguf_files import write_model, write_projector

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 255, (60, 100, 3), dtype=np.uint8)


def load(path: Path) -> Model:
    return load_model(str(path), n_gpu_layers=0, on_progress=lambda _fraction: None)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, engine_log: EngineLog) -> Model:
    return load(write_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf"))


@pytest.fixture
def opened(tiny: Model, engine_log: EngineLog):
    def open_it(path: Path, model: Model = tiny) -> Projector:
        return open_projector(str(path), model=model, n_threads=1, use_gpu=False, log=engine_log)

    return open_it


def test_a_picture_becomes_one_run_of_the_model_s_width(opened, tmp_path: Path):
    projector = opened(write_projector(tmp_path / "p.gguf"))
    assert (projector.sees, projector.hears) == (True, False)
    (run,) = projector.encode_picture(PIXELS)
    assert isinstance(run, MediaRun)
    assert run.embeddings.shape == (16, 64)
    assert (run.n_positions, run.offsets, run.is_causal) == (16, None, True)
    (again,) = projector.encode_picture(PIXELS)
    np.testing.assert_array_equal(again.embeddings, run.embeddings)
    (other,) = projector.encode_picture(PIXELS[::-1])
    assert np.abs(other.embeddings - run.embeddings).max() > 0.1


def test_pictures_of_any_shape_do(opened, tmp_path: Path):
    for write in (write_projector, write_whole):
        projector = opened(write(tmp_path / f"{write.__name__}.gguf"))
        for height, width in ((1, 1), (2, 3), (1, 100), (100, 1), (3000, 4000)):
            pixels = RANDOM.integers(0, 255, (height, width, 3), dtype=np.uint8)
            runs = [piece for piece in projector.encode_picture(pixels) if isinstance(piece, MediaRun)]
            assert len(runs) == 1


def test_a_projector_may_frame_its_pictures_and_want_them_seen_at_once(opened, tmp_path: Path):
    before, run, after = opened(write_whole(tmp_path / "p.gguf")).encode_picture(PIXELS)
    assert (run.size, run.is_causal, run.is_divisible) == (16, False, False)
    assert before.size > 0 < after.size


def test_a_grid_has_places_in_rows_and_columns(opened, tmp_path: Path, engine_log: EngineLog):
    model = load(write_gridded_model(tmp_path / "m.gguf"))
    projector = opened(write_gridded(tmp_path / "p.gguf"), model)
    for height, width in ((60, 100), (1, 1), (10, 1000), (300, 200)):
        pixels = RANDOM.integers(0, 255, (height, width, 3), dtype=np.uint8)
        (run,) = (piece for piece in projector.encode_picture(pixels) if isinstance(piece, MediaRun))
        time, row, column, none = run.offsets
        assert run.size == (row.max() + 1) * (column.max() + 1)
        assert run.n_positions == max(row.max(), column.max()) + 1
        assert (run.n_positions < run.size) == (row.max() > 0 < column.max())
        assert not time.any()
        assert not none.any()
        assert run.n_moving == 3


def test_a_sound_becomes_runs(opened, tmp_path: Path):
    projector = opened(write_hearing(tmp_path / "p.gguf"))
    assert (projector.sees, projector.hears) == (False, True)
    (run,) = projector.encode_sound(wav(noise(1.0)))
    assert run.embeddings.shape == (375, 64)
    (silence,) = projector.encode_sound(wav(noise(1.0) * 0))
    assert np.abs(run.embeddings - silence.embeddings).max() > 1e-3
    (same,) = projector.encode_sound(wav(np.repeat(noise(1.0), 2), rate=32000))
    assert (
        np.abs(run.embeddings - same.embeddings).mean() < np.abs(run.embeddings - silence.embeddings).mean()
    )


def test_a_sound_that_cannot_be_decoded_is_an_error(opened, tmp_path: Path):
    projector = opened(write_hearing(tmp_path / "p.gguf"))
    for data in (b"ID3" + bytes(100), b"\xff\xfb\x90\x00" + bytes(500), b"fLaC" + bytes(60)):
        with pytest.raises(ProjectorError):
            projector.encode_sound(data)


def test_a_projector_that_cannot_be_used_says_why(opened, tmp_path: Path, engine_log: EngineLog):
    for path, words in (
        (write_projector(tmp_path / "wide.gguf", embedding_length=128), "mismatch between text model"),
        (write_model(tmp_path / "none.gguf"), "none.gguf"),
        (tmp_path / "absent.gguf", "absent.gguf"),
    ):
        engine_log.forget()
        with pytest.raises(LoadError, match=path.name):
            opened(path)
        assert words in engine_log.last_errors()
