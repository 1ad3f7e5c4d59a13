"""The JSON Schema of matrix files, for editors that complete and check TOML (Taplo, Even Better TOML).

python -m vep_dagger.matrix.jsonschema > schema/matrix.schema.json
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from vep_dagger.matrix.schema import MatrixFile

DIALECT = "http://json-schema.org/draft-07/schema#"
"""The newest dialect that Taplo reads whole."""


def schema() -> dict[str, Any]:
    """The JSON Schema of a matrix file."""
    made = MatrixFile.model_json_schema(ref_template="#/definitions/{model}", schema_generator=_ForToml)
    definitions = made.pop("$defs")
    made.pop("description", None)
    return {
        "$schema": DIALECT,
        **_plain(made),
        "title": "Matrix file of vep-dagger",
        "definitions": {name: _plain(definition) for name, definition in sorted(definitions.items())},
    }


def render() -> str:
    """The schema as the text of its file."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


class _ForToml(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        """Never: a title made of the key's own name would hide the description in an editor."""
        return False


def _plain(value: Any) -> Any:
    """The schema without null, which TOML does not have, and with no names beyond those that a pattern allows."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {key: _plain(item) for key, item in value.items() if not (key == "default" and item is None)}
    if "patternProperties" in plain:
        plain.setdefault("additionalProperties", False)
    if "anyOf" in plain:
        branches = [branch for branch in plain["anyOf"] if branch != {"type": "null"}]
        if len(branches) == 1:
            del plain["anyOf"]
            return {**branches[0], **plain}
        plain["anyOf"] = branches
    return plain


if __name__ == "__main__":
    sys.stdout.write(render())
