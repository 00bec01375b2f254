#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The table and the curves in docs/ are what the benchmark's file says, and nobody has touched them."""

import copy
import json
import os
import sys
from pathlib import Path

SOURCE = Path(os.environ.get("BACKSTEP_SOURCE", Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(SOURCE / "bench"))
import others_report  # noqa: E402
from chart import chart  # noqa: E402
from report import charts, goals, short_table, table, with_report, with_short_report  # noqa: E402

DOCS = SOURCE / "docs"


def check(holds, text):
    print(("ok     " if holds else "FAILED ") + text)
    if not holds:
        sys.exit(1)


figures = json.loads((DOCS / "performance.json").read_text())
page = (DOCS / "PERFORMANCE.md").read_text()
check(with_report(page, figures) == page and table(figures) in page and goals(figures) in page,
      "the tables of PERFORMANCE.md are those of performance.json")
for name, arguments in charts(figures).items():
    check((DOCS / name).read_text() == chart(*arguments), f"{name} is the curve of performance.json")
    check(name in page, f"{name} is shown")
readme = (SOURCE / "README.md").read_text()
check(with_short_report(readme, figures) == readme and short_table(figures) in readme, "the table of the README is the one of performance.json")
rounds = [copy.deepcopy({"floor": figures["floor"], "in_flight": figures["in_flight"]}) for _ in range(3)]
for one, rate in zip(rounds, (9000, 7000, 8000)):
    one["in_flight"]["64"]["steps_per_s"], one["floor"]["round_trips_per_s"]["64"] = rate, 10000
three = {**figures, "rounds": rounds, "broker_compiler_share": 0.01}
check("| 8,000 (7,000 to 9,000) | 80 % (70 to 90) of 64 raw |" in table(three), "of three rounds the median is shown, the lowest and the highest")
check("64 in flight | ≥ 60 % | 80 % | reached |" in goals(three), "and the median is held against what is to be reached")
figures["first_task_ms"] += 1
check(with_report(page, figures) != page, "another figure would make another table")
check(with_short_report(readme, figures) != readme, "and another one in the README")

others = json.loads((DOCS / others_report.FILE).read_text())
check(others_report.with_report(page, others) == page and others_report.table(others) in page and others_report.elsewhere(others) in page,
      "what one would take instead stands in PERFORMANCE.md as it was measured")
check(others_report.with_short_report(readme, others) == readme and others_report.table(others) in readme, "and in the README")
check({"dtm", "dtm_disk", "celery", "script", "stock", "shared"} <= others.keys(), "all of them were measured")
quicker = copy.deepcopy(others)
quicker["dtm"]["1"]["p50_us"] = quicker["backstep"]["1"]["p50_us"] * 0.99
check("than Backstep: DTM" in others_report.table(quicker), "who is quicker is named")
quicker["celery"]["64"]["steps_per_s"] = quicker["backstep"]["64"]["steps_per_s"]
check("64 at once: Celery" in others_report.table(quicker), "and who does as much")
check(others_report.with_report(page, quicker) != page, "another figure would make another table")

times = {name: others[name]["1"]["p50_us"] for name in ("backstep", "stock")}
check(times["backstep"] < times["stock"], "a broker set up for the cores it has is the quicker one, as OPERATIONS.md says")

# The broker that was measured is the one that one is told to set up.
compose = (SOURCE / "docker-compose.yml").read_text()
collector = next(option for option in figures["machine"]["jvm_options"].split() if option.endswith("GC"))
check(f"KAFKA_JVM_PERFORMANCE_OPTS: -server {collector}\n" in compose, f"docker-compose.yml sets {collector} as it was measured")
check(f"KAFKA_JVM_PERFORMANCE_OPTS='-server {collector}'" in (DOCS / "OPERATIONS.md").read_text(), "and OPERATIONS.md says so")
for name, value in (line.split("=") for line in figures["machine"]["broker"].split()):
    check(f"KAFKA_{name.upper().replace('.', '_')}: {value}\n" in compose, f"docker-compose.yml sets {name} as it was measured")
    check(f"`{name}={value}`" in (DOCS / "OPERATIONS.md").read_text(), f"and OPERATIONS.md says {name}={value}")
