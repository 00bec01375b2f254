# SPDX-License-Identifier: Apache-2.0
"""What a benchmark says on a page of docs/: Markdown tables, and their place between two marks. Pure."""

import re

END = "<!-- to here -->\n"


def lines_of(head, rows):
    rows = [head, ["---"] * len(head), *rows]
    return "".join("|" + "".join(f" {cell} |" if cell else " |" for cell in row) + "\n" for row in rows)


def with_part(page, name, text):
    """The page, with `text` between the mark of that name and the next end."""
    begin = f"<!-- {name}: from here -->\n"
    return re.sub(re.escape(begin) + ".*?" + re.escape(END), lambda _: begin + "\n" + text + "\n" + END, page, flags=re.DOTALL)
