"""`janagent.folder.sections` and `parameters`: the fields of a manifest, known, unknown and impossible."""

import time
from typing import Any

import pytest

from janagent.folder.manifest import (
    DEFAULT,
    read_manifest,
)
from tests.folder.manifests import init, manifest, message, read, runtime


@pytest.mark.parametrize(
    ("section", "field", "written", "value"),
    [
        ("init", "ctx_len", "2048", 2048),
        ("init", "ctx_len", " 2048 ", 2048),
        ("init", "ctx_len", 2048.0, 2048),
        ("init", "ngl", "-1", -1),
        ("init", "embedding", "false", False),
        ("init", "flash_attn", "True", True),
        ("init", "kv_type", "Q8_0", "q8_0"),
        ("init", "lora_scale", "0.5", 0.5),
        ("init", "lora_scale", {"a.gguf": "0.5", "b": 1}, {"a.gguf": 0.5, "b": 1.0}),
        ("init", "deployment_name", None, None),
        ("runtime", "temperature", "0.7", 0.7),
        ("runtime", "temperature", 1, 1.0),
        ("runtime", "top_p", ".5", 0.5),
        ("runtime", "top_k", "40", 40),
        ("runtime", "stop", "###", ("###",)),
        ("runtime", "stop", ["a", "", "b"], ("a", "b")),
        ("runtime", "seed", "123", 123),
    ],
)
def test_numbers_and_booleans_may_be_quoted(section: str, field: str, written: Any, value: Any) -> None:
    read_as = manifest(parameters={section: {field: written}})
    assert getattr(getattr(read_as, section), field) == value


@pytest.mark.parametrize("unset", ["", "..", "...", " .. ", "…", None])
def test_values_that_mean_not_set_are_not_set(unset: Any) -> None:
    fields = {
        "origin": unset,
        "import_format": unset,
        "download_url": unset,
        "files": unset,
        "created": unset,
        "object": unset,
        "parameters": {
            "init": {"ctx_len": unset, "API-KEY": unset},
            "runtime": {"top_p": unset, "stop": unset},
        },
        "metadata": {"engine": unset, "pin": unset},
    }
    assert manifest(**fields) == DEFAULT
    assert manifest(parameters=unset, metadata=unset) == DEFAULT


def test_a_name_may_be_written_as_a_number() -> None:
    assert manifest(id=7, **init(**{"DEPLOYMENT-NAME": 4})).init.deployment_name == "4"


def test_token_limit_is_max_tokens() -> None:
    assert manifest(**runtime(token_limit="64")).runtime.request_defaults() == {"max_tokens": 64}
    both = read(**runtime(token_limit=64, max_tokens=32))
    assert both.manifest is not None
    assert both.manifest.runtime.request_defaults() == {"max_tokens": 32}
    assert both.warnings == ("parameters.runtime.token_limit: max_tokens is set too, and counts",)


def test_every_field_of_the_contract_is_known() -> None:
    fields = {
        "$schema": "https://example.org/schema.json",
        "origin": "a/b",
        "import_format": "janhq",
        "download_url": "x.gguf",
        "files": ["*.gguf"],
        "id": "i",
        "object": "model",
        "created": 5,
        "owned_by": "me",
        "parameters": {
            "init": {
                "ctx_len": 1,
                "ngl": 0,
                "embedding": True,
                "n_parallel": 1,
                "pre_prompt": "a",
                "user_prompt": "b",
                "ai_prompt": "c",
                "n_threads": 2,
                "n_batch": 64,
                "flash_attn": False,
                "kv_type": "f16",
                "chat_template": "x",
                "API-KEY": "k",
                "DEPLOYMENT-NAME": "d",
                "api-version": "v",
                "MODEL-NAME": "m",
            },
            "runtime": {
                "temperature": 1,
                "top_p": 1,
                "top_k": 1,
                "min_p": 0,
                "max_tokens": 1,
                "token_limit": 1,
                "presence_penalty": 0,
                "frequency_penalty": 0,
                "repeat_penalty": 1.1,
                "seed": 1,
                "stop": ["x"],
                "stream": True,
            },
        },
        "metadata": {"engine": "llamacpp", "hot_load": True, "pin": False, "idle_unload_s": 0},
    }
    reading = read(**fields)
    assert reading.fault is None
    assert reading.warnings == ()
    assert reading.manifest is not None
    hidden = {"$schema", "id", "object", "created", "owned_by"}
    assert reading.manifest.shown() == {name: fields[name] for name in fields if name not in hidden}


def test_an_unknown_field_is_kept_and_shown_and_warned_about() -> None:
    reading = read(
        color={"a": [1]}, parameters={"init": {"ctx_length": 5}, "extra": "x"}, metadata={"author": "me"}
    )
    assert reading.fault is None
    assert reading.manifest is not None
    assert reading.manifest.shown() == {
        "parameters": {"init": {"ctx_length": 5}, "runtime": {}, "extra": "x"},
        "metadata": {"author": "me"},
        "color": {"a": [1]},
    }
    assert "parameters.init.ctx_length: unknown, did you mean ctx_len?" in reading.warnings
    assert len(reading.warnings) == 4


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        (init(api_key="k"), "parameters.init.api_key: unknown, did you mean API-KEY?"),
        (init(n_ctx=5), "parameters.init.n_ctx: unknown, did you mean ctx_len?"),
        (
            init(temperature=1),
            "parameters.init.temperature: unknown, did you mean parameters.runtime.temperature?",
        ),
        ({"parameters": {"ngl": 1}}, "parameters.ngl: unknown, did you mean parameters.init.ngl?"),
        ({"ctx_len": 1}, "ctx_len: unknown, did you mean parameters.init.ctx_len?"),
        ({"orign": "a/b"}, "orign: unknown, did you mean origin?"),
        ({"init": {}}, "init: unknown, did you mean parameters.init?"),
        ({"a\nb": 1}, "a?b: unknown"),
        ({"unknown": 1}, "unknown: unknown"),
    ],
)
def test_a_warning_names_the_field_that_was_probably_meant(fields: dict[str, Any], warning: str) -> None:
    reading = read(**fields)
    assert reading.fault is None
    assert reading.warnings == (warning,)


def test_a_key_that_occurs_twice_is_warned_about() -> None:
    reading = read_manifest(b'{"origin": "a/b", "origin": "c/d"}')
    assert reading.manifest is not None
    assert reading.manifest.origin == "c/d"
    assert reading.warnings == ("origin: occurs twice; the last one counts",)


def test_ten_thousand_unknown_fields_make_a_short_list_of_warnings() -> None:
    begin = time.thread_time()
    reading = read(**{f"field_{number}": number for number in range(10_000)})
    assert time.thread_time() - begin < 0.5
    assert len(reading.warnings) == 21
    assert reading.warnings[-1] == "and 9980 more"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            init(ctx_len="abc"),
            'parameters.init.ctx_len: "abc" is not possible; allowed: a whole number from 1 to 16777216',
        ),
        (init(ctx_len=0), "parameters.init.ctx_len: 0 is not possible"),
        (init(ctx_len=True), "parameters.init.ctx_len: true is not possible"),
        (init(ctx_len=1.5), "parameters.init.ctx_len: 1.5 is not possible"),
        (init(embedding="yes"), 'parameters.init.embedding: "yes" is not possible; allowed: true or false'),
        (init(kv_type="q9"), 'parameters.init.kv_type: "q9" is not possible; allowed: one of f32, f16, bf16'),
        (
            init(lora_scale="much"),
            'parameters.init.lora_scale: "much" is not possible; allowed: a number from -100 to 100',
        ),
        (init(lora_scale={"a": 1e9}), "parameters.init.lora_scale: "),
        (init(lora_scale=[1]), "parameters.init.lora_scale: "),
        (init(pre_prompt=["x"]), 'parameters.init.pre_prompt: ["x"] is not possible; allowed: a text'),
        (
            runtime(temperature="hot"),
            'parameters.runtime.temperature: "hot" is not possible; allowed: a number from 0 to 5',
        ),
        (runtime(temperature=-0.1), "parameters.runtime.temperature: -0.1 is not possible"),
        (runtime(top_p=1.1), "parameters.runtime.top_p: 1.1 is not possible; allowed: a number from 0 to 1"),
        (runtime(repeat_penalty=0), "allowed: a number above 0 to 5"),
        (runtime(seed="lucky"), "allowed: a whole number from -9223372036854775808 to 9223372036854775807"),
        (
            runtime(stop=["a", 5]),
            "parameters.runtime.stop[1]: 5 is not possible; allowed: a text, or a list of at most 16",
        ),
        (runtime(stop=["x"] * 17), "parameters.runtime.stop: "),
        ({"metadata": {"engine": "gpu"}}, 'metadata.engine: "gpu" is not possible; allowed: llamacpp or api'),
        ({"metadata": {"idle_unload_s": -1}}, "metadata.idle_unload_s: -1 is not possible"),
        (
            {"import_format": "zip"},
            'import_format: "zip" is not possible; allowed: one of default, thebloke, janhq',
        ),
        ({"object": "cat"}, 'object: "cat" is not possible; allowed: model'),
        ({"created": "yesterday"}, 'created: "yesterday" is not possible'),
        ({"parameters": []}, "parameters: [] is not possible; allowed: an object"),
        ({"parameters": {"init": 5}}, "parameters.init: 5 is not possible; allowed: an object"),
        ({"metadata": "x"}, 'metadata: "x" is not possible; allowed: an object'),
        ({"origin": 5}, "origin: 5 is not possible; allowed: owner/repo"),
    ],
)
def test_an_impossible_value_is_named_with_field_value_and_what_is_allowed(
    fields: dict[str, Any], expected: str
) -> None:
    assert expected in message(read(**fields))


@pytest.mark.parametrize(
    "origin",
    [
        "no repo",
        "a/b/c",
        "/a/b",
        "ftp://host/x",
        "file:///etc/passwd",
        "https://",
        "http://[::1",
        "a",
        "a/b\n/c",
        "-x/y",
    ],
)
def test_an_origin_that_cannot_be_one_is_refused(origin: str) -> None:
    assert message(read(origin=origin)).startswith("origin: ")


@pytest.mark.parametrize(
    "name",
    [
        "../x.gguf",
        "/etc/passwd",
        "a/../../b",
        "a\\b",
        "ftp://h/x.gguf",
        "https://h.example/a/..",
        "a\u0000b",
        "./x",
    ],
)
def test_a_download_can_never_lead_out_of_its_place(name: str) -> None:
    assert message(read(download_url=name)).startswith("download_url: ")
    if "://" not in name:
        assert message(read(files=["ok.gguf", name])).startswith("files: ")


def test_all_impossible_values_are_named_and_the_possible_ones_are_still_read() -> None:
    reading = read(origin="a/b", parameters={"init": {"ctx_len": "x", "ngl": 5}, "runtime": {"top_p": 3}})
    assert "parameters.init.ctx_len" in message(reading)
    assert "parameters.runtime.top_p" in message(reading)
    assert reading.manifest == manifest(origin="a/b", parameters={"init": {"ngl": 5}})


def test_the_value_of_a_secret_is_never_shown() -> None:
    assert "sk-" not in message(read(**init(**{"API-KEY": ["sk-1234"]})))
    assert "hunter2" not in message(read(origin="https://me:hunter2@h.example/ x"))
    assert "hunter2" not in message(read(created={"password": "hunter2"}))
    assert "sk-" not in repr(manifest(**init(**{"API-KEY": "sk-1234"})))


def test_a_long_value_is_cut_in_the_message() -> None:
    assert len(message(read(**init(ctx_len="x" * 100_000)))) < 300
