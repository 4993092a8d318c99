"""Says which texts a schema takes: reads {"schema": ..., "texts": [...]}, writes a list of null or why not."""

import json
import sys
import tomllib

import jsonschema


def wrong(validator, text):
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return f"no TOML: {error}"
    error = next(validator.iter_errors(value), None)
    return error and f"{error.json_path}: {error.message}"


given = json.load(sys.stdin)
jsonschema.Draft7Validator.check_schema(given["schema"])
validator = jsonschema.Draft7Validator(given["schema"])
json.dump([wrong(validator, text) for text in given["texts"]], sys.stdout)
