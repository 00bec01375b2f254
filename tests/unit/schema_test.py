# SPDX-License-Identifier: Apache-2.0
"""The JSON Schema of pipeline files and the reader say the same of every file in tests/corpus.

What a schema cannot express stands in the files as "# the schema cannot say this": names that are unknown, repeated or go round in a circle, a '/' in a name,
expressions that do not compile, a duration of more than a year, max_backoff against backoff."""
import json
import os
import pathlib
import subprocess
import sys

import jsonschema
import yaml

SOURCE = pathlib.Path(os.environ.get("BACKSTEP_SOURCE", pathlib.Path(__file__).parents[2]))
CORPUS = SOURCE / "tests" / "corpus"
BACKSTEP = pathlib.Path(os.environ["BACKSTEP_BIN"]) / "backstep"


def said_of(path):
    done = subprocess.run([BACKSTEP, "check", path], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


def fault_of(path, validator):
    """What is wrong with the test or the product, or None."""
    code, said = said_of(path)
    accepts = validator.is_valid(yaml.safe_load(path.read_text()))
    if path.parent.name == "valid":
        return None if code == 0 and accepts else f"exit {code}, schema accepts: {accepts}: {said}"
    first, second = path.read_text().split("\n")[:2]
    expected = first.removeprefix("# expected: ")
    if code != 2 or expected not in said or f"{path}:" not in said:
        return f"exit {code}, expected '{expected}', found: {said}"
    beyond = second == "# the schema cannot say this"
    return None if accepts == beyond else f"schema accepts: {accepts}"


def main():
    schema = json.loads((SOURCE / "docs" / "pipeline.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    counts, failed = {"valid": 0, "invalid": 0}, 0
    for path in sorted(CORPUS.glob("*/*.yaml")):
        counts[path.parent.name] += 1
        fault = fault_of(path, validator)
        if fault:
            failed += 1
            print(f"FAIL {path.relative_to(CORPUS)}: {fault}")
    print(counts)
    return 1 if failed or counts["valid"] < 40 or counts["invalid"] < 80 else 0


sys.exit(main())
