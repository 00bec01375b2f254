#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same program in process and on a real broker: tests/cli/outcome_test.sh against one."""

import os
import subprocess
from pathlib import Path

from cluster import BIN, Cluster, check, main

SCRIPT = Path(__file__).resolve().parent.parent / "cli" / "outcome_test.sh"


def same_outcome():
    """nine runs of the example programs end alike, with the same history"""
    with Cluster() as cluster:
        cluster.serve()
        done = subprocess.run(["sh", str(SCRIPT), str(BIN)], env={**os.environ, "OUTCOME_BROKERS": cluster.brokers},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
        print(done.stdout, end="")
        check(done.returncode == 0, "all of them are equal")
        check(done.stdout.count("the same history") == 9, "nine were compared")


if __name__ == "__main__":
    main(same_outcome)
