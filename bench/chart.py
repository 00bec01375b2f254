# SPDX-License-Identifier: Apache-2.0
"""A line chart as SVG: sizes on a logarithmic axis, values from zero."""

import math
from html import escape

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 80, 24, 40, 48
COLOURS = ("#1f6f8b", "#c8553d", "#5b8c5a")
GRID_LINES = 4


def _text(x, y, text, anchor="middle", colour="#444"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _across(sizes):
    low, high = math.log(min(sizes)), math.log(max(sizes))
    return lambda size: LEFT + (math.log(size) - low) / ((high - low) or 1) * (WIDTH - LEFT - RIGHT)


def chart(title, size_name, lines):
    """`lines`: name → {size: value}."""
    across = _across([float(size) for line in lines.values() for size in line])
    most = max(value for line in lines.values() for value in line.values()) or 1
    up = lambda value: HEIGHT - BOTTOM - value / most * (HEIGHT - TOP - BOTTOM)  # noqa: E731
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>', _text(LEFT, 20, title, "start", "#000")]
    for step in range(GRID_LINES + 1):
        value = most * step / GRID_LINES
        parts.append(f'<path d="M{LEFT} {up(value):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>' + _text(LEFT - 8, up(value) + 4, f"{value:,.0f}", "end"))
    for size in sorted({float(size) for line in lines.values() for size in line}):
        parts.append(_text(across(size), HEIGHT - BOTTOM + 18, f"{size:,.0f}"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, size_name))
    for (name, line), colour in zip(lines.items(), COLOURS):
        points = [(across(float(size)), up(value)) for size, value in line.items()]
        parts.append('<polyline fill="none" stroke-width="2" stroke="%s" points="%s"/>' % (colour, " ".join(f"{x:.1f},{y:.1f}" for x, y in points)))
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        parts.append(_text(points[-1][0], points[-1][1] - 8, name, "end", colour))
    return "\n".join(parts) + "\n</svg>\n"
