import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.daemons import starter_gguf


@pytest.fixture
def models(root: Path) -> Path:
    return root / "models"


def manifest(models: Path, name: str, text: str = "{}") -> Path:
    file = models / name / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def good(models: Path, name: str = "good") -> Path:
    """A complete model; its manifest."""
    file = manifest(models, name, '{"parameters": {"init": {"ctx_len": 512}}}')
    (file.parent / f"{name}.gguf").symlink_to(starter_gguf())
    return file


def faults(done: "subprocess.CompletedProcess[str]") -> dict[str, str]:
    """Path to message of every fault that `--json` tells."""
    found = json.loads(done.stdout)["findings"]
    return {one["path"]: one["message"] for one in found if one["severity"] == "fault"}


def test_a_folder_without_fault_exits_with_0_and_prints_only_a_summary(cli: Run, models: Path):
    good(models)
    done = cli("check", models)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "1 model, 0 faults, 0 warnings\n"


def test_a_fault_is_one_line_and_exit_1(cli: Run, models: Path):
    good(models)
    manifest(models, "bad", '{"metadata": {"engine": "steam"}}')
    done = cli("check", "--root", models.parent)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 1
    assert done.stdout.startswith("models/bad/bad.json: fault: ")
    assert "steam" in done.stdout


def test_a_manifest_whose_files_will_be_fetched_is_no_fault_unless_the_network_is_forbidden(
    cli: Run, models: Path
):
    manifest(models, "wish", '{"origin": "https://someone:secret@example.com/a/b.gguf"}')
    done = cli("check", models)
    assert done.returncode == 0
    assert done.stdout.startswith("models/wish/wish.json: note: its files are not here yet")
    assert "secret" not in done.stdout
    assert done.stderr == "1 model, 0 faults, 0 warnings\n"
    assert cli("check", models, env={"JANAGENT_OFFLINE": "true"}).returncode == 1


def test_a_remote_model_s_key_that_is_not_there_is_a_note_and_one_that_all_may_read_a_warning(
    cli: Run, models: Path
):
    where = '"origin": "http://localhost:1/v1", "import_format": "openai"'
    api = "{" + where + ', "parameters": {"init": {"API-KEY": "%s"}}}'
    manifest(models, "absent", api % "${NOBODY_HAS_SET_THIS_KEY}")
    manifest(models, "literal", api % "sk-literal-123").chmod(0o644)
    done = cli("check", models)
    assert done.returncode == 0
    absent, literal = done.stdout.splitlines()
    assert absent.startswith(
        "models/absent/absent.json: note: for you, now: the variable NOBODY_HAS_SET_THIS_KEY is"
    )
    assert literal.startswith("models/literal/literal.json: warning: API-KEY: the key is in this file")
    assert "chmod 600" in literal
    assert "sk-literal-123" not in done.stdout


def test_a_syntax_error_is_told_with_its_place(cli: Run, models: Path):
    manifest(models, "bad", '{"origin": "a/b",\n  oops')
    assert "line 2" in cli("check", models).stdout


def test_an_unknown_field_is_a_warning_and_no_fault(cli: Run, models: Path):
    good(models).write_text('{"parameters": {"init": {"ctx_length": 512}}}')
    done = cli("check", models)
    assert done.returncode == 0
    assert "models/good/good.json: warning: " in done.stdout
    assert "did you mean ctx_len?" in done.stdout


def test_a_cut_off_binary_is_told_with_its_percentage(cli: Run, models: Path):
    file = good(models)
    binary = file.with_suffix(".gguf")
    binary.unlink()
    with starter_gguf().open("rb") as whole:
        binary.write_bytes(whole.read(30_000_000))
    found = faults(cli("check", models, "--json"))
    assert "incomplete: 30 %" in found["models/good/good.json"].replace("31 %", "30 %")


def test_json_tells_everything(cli: Run, models: Path):
    good(models)
    manifest(models, "bad", "{")
    done = cli("check", models, "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert (told["ok"], told["models"]) == (False, 2)
    assert [(one["id"], one["severity"]) for one in told["findings"]] == [("bad", "fault")]


def test_one_manifest_alone_can_be_checked(cli: Run, models: Path):
    manifest(models, "bad", "{")
    assert cli("check", good(models)).returncode == 0
    assert cli("check", models / "bad" / "bad.json").returncode == 1


def test_one_binary_alone_can_be_checked(cli: Run, models: Path):
    manifest(models, "bad", "{")
    assert cli("check", good(models).with_suffix(".gguf")).returncode == 0


def test_a_folder_outside_any_root_can_be_checked(cli: Run, tmp_path: Path):
    good(tmp_path / "elsewhere")
    manifest(tmp_path / "elsewhere", "bad", "{")
    assert cli("check", tmp_path / "elsewhere").stderr == "2 models, 1 fault, 0 warnings\n"
    assert cli("check", tmp_path / "elsewhere" / "good").returncode == 0
    assert cli("check", tmp_path / "elsewhere" / "bad" / "bad.json").returncode == 1


def test_a_root_can_be_checked_by_its_path(cli: Run, root: Path, models: Path):
    manifest(models, "bad", "{")
    assert faults(cli("check", root, "--json")).keys() == {"models/bad/bad.json"}


def test_checking_changes_nothing(cli: Run, models: Path):
    good(models)
    manifest(models, "bad", "{")
    before = {path: path.lstat().st_mtime_ns for path in models.rglob("*")}
    cli("check", models)
    assert {path: path.lstat().st_mtime_ns for path in models.rglob("*")} == before


def test_a_path_that_is_absent_exits_with_2(cli: Run, models: Path):
    done = cli("check", models / "none")
    assert done.returncode == 2
    assert "there is no such file or folder" in done.stderr


def test_a_root_without_models_says_what_to_do(cli: Run, tmp_path: Path):
    done = cli("check", "--root", tmp_path)
    assert done.returncode == 1
    assert "janagent starter" in done.stderr


def test_a_foreign_file_alone_is_said_to_be_no_model(cli: Run, models: Path):
    (models / "config.json").write_text('{"hidden_size": 1}')
    done = cli("check", models / "config.json")
    assert done.returncode == 1
    assert "no manifest and no model" in done.stderr


def test_the_specifications_manifests_pass_but_for_their_missing_binaries(cli: Run, models: Path):
    for name in ("model-zephyr-7B", "model-azure-openai-gpt4-turbo"):
        is_remote = "azure" in name
        origin = "https://docs-test-001.openai.azure.com/" if is_remote else "TheBloke/zephyr-7B-beta-GGUF"
        api = ', "import_format": "azure_openai"' if is_remote else ', "import_format": "thebloke"'
        key = ', "parameters": {"init": {"API-KEY": "k", "DEPLOYMENT-NAME": "d"}}' if is_remote else ""
        manifest(models, name, f'{{"origin": "{origin}"{api}{key}}}').chmod(0o600)
    found = json.loads(cli("check", models, "--json").stdout)["findings"]
    assert [(one["id"], one["code"]) for one in found] == [("model-zephyr-7B", "missing")]


def test_the_schema_is_a_json_schema_of_a_manifest(cli: Run):
    done = cli("schema")
    assert done.returncode == 0
    schema = json.loads(done.stdout)
    assert {"origin", "import_format", "download_url", "parameters", "metadata"} <= set(schema["properties"])
