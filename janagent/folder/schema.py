"""The JSON schema of a manifest, for editors (`janagent schema`).

Made from the typed sections, so that it cannot say anything else than the reader does.
"""

from typing import Any

from janagent.folder.manifest import TopLevel
from janagent.folder.parameters import InitParameters, Metadata, RuntimeParameters, Section
from janagent.folder.sections import loose_forms


def json_schema() -> dict[str, Any]:
    """The schema of a whole manifest. Unknown fields are allowed."""
    sections: dict[str, type[Section]] = {"init": InitParameters, "runtime": RuntimeParameters}
    parameters = {name: _object_schema(loose_forms(section)) for name, section in sections.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "janagent manifest",
        **_object_schema(
            {
                "$schema": {"type": "string"},
                **loose_forms(TopLevel),
                "parameters": _object_schema(parameters),
                "metadata": _object_schema(loose_forms(Metadata)),
            }
        ),
    }


def _object_schema(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties}
