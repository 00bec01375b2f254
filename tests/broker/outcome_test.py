#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same steps in process, and on a real broker in C and in Python: tests/cli/outcome_test.sh against one."""

import os
import subprocess
import sys
from pathlib import Path

from cluster import BIN, SOURCE, Cluster, check, main

SCRIPT = Path(__file__).resolve().parent.parent / "cli" / "outcome_test.sh"


def same_outcome():
    """The example programs end alike, with the same history: here, on Kafka in C, on Kafka in Python; also after retries, timeouts, a failing rollback, a cancel"""
    with Cluster() as cluster:
        cluster.serve()
        given = {"OUTCOME_BROKERS": cluster.brokers, "OUTCOME_PREFIX": cluster.prefix,
                 "OUTCOME_PYTHON": str(SOURCE / "examples/python/run"), "BACKSTEP_PYTHON": sys.executable}
        done = subprocess.run(["sh", str(SCRIPT), str(BIN)], env={**os.environ, **given}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=300)
        print(done.stdout, end="")
        check(done.returncode == 0, "all of them are equal")
        check(done.stdout.count("the same history") == 27, "all were compared")


if __name__ == "__main__":
    main(same_outcome)
