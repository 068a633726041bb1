"""`janagent.folder.schema`: what an editor is told."""

import json

from janagent.folder.origin import ImportFormat
from janagent.folder.schema import json_schema


def test_the_json_schema_says_types_and_limits_and_allows_quoted_numbers() -> None:
    properties = json_schema()["properties"]
    ctx_len = properties["parameters"]["properties"]["init"]["properties"]["ctx_len"]
    assert (ctx_len["type"], ctx_len["minimum"]) == (["integer", "string"], 1)
    scale = properties["parameters"]["properties"]["init"]["properties"]["lora_scale"]
    assert set(scale["type"]) == {"number", "string", "object"}
    assert scale["additionalProperties"]["type"] == "number"
    assert properties["metadata"]["properties"]["engine"]["enum"] == ["llamacpp", "api"]
    assert properties["import_format"]["enum"] == [str(name) for name in ImportFormat]
    assert "unknown" not in json.dumps(json_schema())
