#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What fails, on embedded brokers, several at once: most of the time is waiting. `faults_test.py NAME ...` runs these alone."""

import broker_fails
import leases
from embedded import main

main(*leases.SCENARIOS, *broker_fails.SCENARIOS)
