# SPDX-License-Identifier: Apache-2.0
"""What is measured several times, in rounds: its median, and how far it spreads. Pure."""

import statistics


def median_of(rounds):
    """One figure in place of several of the same shape: of numbers the median, of dicts each member's. A count that a round does not have
    is 0 there."""
    first = rounds[0]
    if isinstance(first, dict):
        names = dict.fromkeys(name for figure in rounds for name in figure)
        return {name: median_of([figure.get(name, 0) for figure in rounds]) for name in names}
    return statistics.median(rounds)


def spread_of(rounds, value):
    """The lowest, the median and the highest of what `value` says of a round."""
    values = sorted(map(value, rounds))
    return values[0], statistics.median(values), values[-1]
