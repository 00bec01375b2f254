#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The table and the curves in docs/ are what the benchmark's file says, and nobody has touched them."""

import json
import os
import sys
from pathlib import Path

SOURCE = Path(os.environ.get("BACKSTEP_SOURCE", Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(SOURCE / "bench"))
from chart import chart  # noqa: E402
from report import charts, short_table, table, with_table  # noqa: E402

DOCS = SOURCE / "docs"


def check(holds, text):
    print(("ok     " if holds else "FAILED ") + text)
    if not holds:
        sys.exit(1)


figures = json.loads((DOCS / "performance.json").read_text())
page = (DOCS / "PERFORMANCE.md").read_text()
check(with_table(page, figures) == page and table(figures) in page, "the table of PERFORMANCE.md is the one of performance.json")
for name, arguments in charts(figures).items():
    check((DOCS / name).read_text() == chart(*arguments), f"{name} is the curve of performance.json")
    check(name in page, f"{name} is shown")
readme = (SOURCE / "README.md").read_text()
check(with_table(readme, figures, short_table) == readme and short_table(figures) in readme, "the table of the README is the one of performance.json")
figures["first_task_ms"] += 1
check(with_table(page, figures) != page, "another figure would make another table")
check(with_table(readme, figures, short_table) != readme, "and another one in the README")
