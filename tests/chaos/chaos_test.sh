#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The chaos suite as long as a test may take: no promise is broken by so many kills, freezes and restarts of the broker, and where a rule is
# taken away one is. The seed is another each time, and printed.
set -eu
exec "$BACKSTEP_SOURCE/tests/python" "$BACKSTEP_SOURCE/tests/chaos/chaos.py" --runs 520 --seconds 60 --broker-restarts 5 --pause 0.9 \
    --least 60 20 5 500 --then-sabotage handshake confirm guard ahead-waits ahead-inherited
