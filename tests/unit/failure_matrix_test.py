#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each row of "What fails, what is seen, what to do" in docs/OPERATIONS.md names tests that are there, and the scenario in them."""

import os
import re
import sys
from pathlib import Path

SOURCE = Path(os.environ["BACKSTEP_SOURCE"])


def rows():
    page = (SOURCE / "docs/OPERATIONS.md").read_text().split("## What fails, what is seen, what to do")[1].split("\n## ")[0]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in page.splitlines() if line.startswith("| ")][2:]


def file_of(label, name):
    """The source of a test that carries that label, None where there is none."""
    for path in SOURCE.glob(f"tests/*/{name}_test.*"):
        if f"LABEL {label} " in (path.parent / "CMakeLists.txt").read_text() + " ":
            return path
    return None


def text_of(path):
    """Of a test, and of the modules of its own that it imports."""
    text = path.read_text()
    own = (path.parent / f"{name}.py" for names in re.findall(r"^(?:from|import) ([\w, ]+)", text, re.M) for name in re.findall(r"\w+", names))
    return text + "".join(module.read_text() for module in own if module.exists())


def problems_of(cell):
    """Of a last cell: `label.name`, a scenario or several after it where the test has such."""
    named = re.findall(r"`(\w+)\.(\w+)`((?:,? \w+)*)", cell)
    if not named:
        yield "names no test"
    for label, name, scenarios in named:
        path = file_of(label, name)
        if path is None:
            yield f"there is no test {label}.{name}"
            continue
        text, wanted = text_of(path), re.findall(r"\w+", scenarios)
        for scenario in wanted:
            if not re.search(rf"^(?:def|static void) {scenario}\(", text, re.M):
                yield f"{path.name} has no scenario {scenario}"
        several = re.search(r"^    main\(\w+,", text, re.M)
        if several and not wanted:
            yield f"{path.name} has several scenarios: which?"


def check(holds, text):
    if not holds:
        sys.exit(f"FAILED {text}")
    print(f"ok     {text}")


for nonsense in ("nothing", "`broker.nothing`", "`broker.faults`", "`broker.faults` nothing", "`unit.worker` nothing", "`unit.faults` takeover"):
    check(list(problems_of(nonsense)), f"'{nonsense}' is found to be wrong")
check(len(rows()) > 30, f"the table has {len(rows())} rows")
for row in rows():
    check(len(row) == 4, f"{row[0][:60]}: four cells")
    check(not list(problems_of(row[3])), f"{row[0][:60]}: {list(problems_of(row[3])) or row[3]}")
