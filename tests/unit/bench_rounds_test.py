#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rounds of a benchmark become one figure."""

import os
import sys
from pathlib import Path

SOURCE = Path(os.environ.get("BACKSTEP_SOURCE", Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(SOURCE / "bench"))
from rounds import median_of, spread_of  # noqa: E402


def check(holds, text):
    print(("ok     " if holds else "FAILED ") + text)
    if not holds:
        sys.exit(1)


rounds = [{"load": {"rate": 30, "records": {"Done": 3}}}, {"load": {"rate": 10, "records": {"Done": 3, "Lost": 1}}},
          {"load": {"rate": 20, "records": {"Done": 3, "Lost": 2}}}]
check(median_of([5]) == 5 and median_of(rounds[:1]) == rounds[0], "the median of one round is that round")
check(median_of(rounds)["load"]["rate"] == 20, "each number is the median of its own, however deep it stands")
check(median_of(rounds)["load"]["records"] == {"Done": 3, "Lost": 1}, "a count that a round does not have is 0 there")
check(median_of([1, 4]) == 2.5, "of two it is what lies between them")
check(rounds[0] == {"load": {"rate": 30, "records": {"Done": 3}}}, "the rounds stay as they are")
check(spread_of(rounds, lambda figure: figure["load"]["rate"]) == (10, 20, 30), "the lowest, the median, the highest")
check(spread_of([{"a": 1, "b": 2}, {"a": 9, "b": 3}, {"a": 4, "b": 4}], lambda figure: figure["a"] / figure["b"]) == (0.5, 1, 3),
      "also of two figures of a round, beside each other")
