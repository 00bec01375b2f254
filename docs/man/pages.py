#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make the manual pages.

    pages.py OUT VERSION BACKSTEP WORKER HEADER...

Section 1 is what the programs say themselves with --help, which is the command table. Section 3 is what the headers declare, with their comments:
a page for each part of a header ("/* ------ title */"), and for each name in it a page that leads there.
"""

import pathlib
import re
import subprocess
import sys

PART = re.compile(r"/\* -{20,} (.*?) \*/\n")
# What begins a declaration that somebody looks up: a function, or a struct or enum with its members.
FUNCTION = re.compile(r"\b(backstep_\w+)\(")
TYPE = re.compile(r"^(?:struct|enum) (backstep_\w+) \{")


def roff(text):
    """Text that roff takes literally, line by line."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("^", "\\(ha").replace("~", "\\(ti").replace("`", "\\(ga")
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in text.split("\n"))


def plain_text(text):
    """What is not ASCII, by roff's own names."""
    return "".join(c if ord(c) < 128 else f"\\[u{ord(c):04X}]" for c in text)


def literal(text):
    return ".nf\n.ft CR\n" + roff(text.strip("\n")) + "\n.ft R\n.fi\n"


def title(name, section, version):
    return f'.TH "{roff(name)}" {section} "" "backstep {version}" "Backstep"\n.nh\n.ad l\n'


def write(out, name, section, text):
    directory = out / f"man{section}"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.{section}").write_text(plain_text(text), encoding="ascii")


# ---------------------------------------------------------------- section 1


def said_by(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8", timeout=60).stdout


def commands_of(backstep):
    """Names and summaries, in the order of the table."""
    script = said_by(backstep, "completion", "fish")
    rows = re.findall(r"^complete -c backstep -n __backstep_no_command -a (\S+) -d '(.*)'$", script, re.MULTILINE)
    return [(name, re.sub(r"'\\''|\\'", "'", summary)) for name, summary in rows]


def options_page(lines):
    """Lines '  -b, --brokers HOST  Text' and what continues them."""
    out = ""
    for line in lines:
        begin = re.match(r"^ {2,6}(-\S.*?)(?: {2,}(\S.*))?$", line)
        if begin and len(line) - len(line.lstrip()) <= 6:
            out += f".TP\n.B {roff(begin[1])}\n" + (roff(begin[2]) + "\n" if begin[2] else "")
        elif line.strip():
            out += roff(line.strip()) + "\n"
    return out


def sections_of(text):
    """The help as (usage, list of paragraphs, lines of its options)."""
    usage, paragraphs, options = "", [], []
    for paragraph in re.split(r"\n{2,}", text.strip("\n")):
        lines = paragraph.split("\n")
        if lines[0].startswith("Usage: "):
            usage = lines[0].removeprefix("Usage: ")
        elif lines[0] == "Options:":
            options = lines[1:]
        elif re.match(r"^ {2,6}-", lines[0]):
            options = lines
        else:
            paragraphs.append(paragraph)
    return usage, paragraphs, options


def program_page(name, summary, text, version, others):
    usage, paragraphs, options = sections_of(text)
    page = title(name, 1, version) + f".SH NAME\n{roff(name)} \\- {roff(summary.rstrip('.'))}\n"
    page += f".SH SYNOPSIS\n{literal(usage)}"
    told = [p for p in paragraphs if not p.startswith("  ") and not p.startswith("Example:") and p != summary]
    if told:
        page += ".SH DESCRIPTION\n" + ".PP\n".join(literal(p) if re.search(r"^ {2}|\S {3,}\S", p, re.MULTILINE) else roff(p) + "\n" for p in told)
    page += ".SH OPTIONS\n" + options_page(options)
    examples = [p.removeprefix("Example:\n") for p in paragraphs if p.startswith("  ") or p.startswith("Example:")]
    if examples:
        page += ".SH EXAMPLES\n" + "".join(literal(p) for p in examples)
    return page + ".SH SEE ALSO\n" + "".join(f".BR {roff(other)} (1)\n" for other in others)


def overview_page(backstep, commands, version):
    first, *rest = said_by(backstep).strip("\n").split("\n\n")
    page = title("backstep", 1, version) + ".SH NAME\nbackstep \\- pipelines on Kafka that roll back in order\n"
    page += ".SH SYNOPSIS\n" + literal("backstep COMMAND [ARGUMENT...] [OPTION...]")
    page += f".SH DESCRIPTION\n{roff(first)}\n" + "".join(".PP\n" + literal(paragraph) for paragraph in rest)
    page += ".SH COMMANDS\n" + "".join(f".TP\n.BR backstep\\-{roff(name)} (1)\n{roff(summary)}\n" for name, summary in commands)
    return page + ".SH SEE ALSO\n.BR backstep\\-worker (1)\n.BR backstep (3)\n"


def write_section_1(out, version, backstep, worker):
    commands = commands_of(backstep)
    write(out, "backstep", 1, overview_page(backstep, commands, version))
    for name, summary in commands:
        text = said_by(backstep, name, "--help")
        write(out, f"backstep-{name}", 1, program_page(f"backstep-{name}", summary, text, version, ["backstep", "backstep-worker"]))
    write(out, "backstep-worker", 1,
          program_page("backstep-worker", "Serve steps on Kafka.", said_by(worker, "--help"), version, ["backstep"]))


# ---------------------------------------------------------------- section 3


def parts_of(header):
    """(title, text) of each part. What stands before the first one is the header's own comment."""
    pieces = PART.split(header)
    body = [re.sub(r"\n#ifdef __cplusplus\n\}.*", "\n", piece, flags=re.DOTALL) for piece in pieces]
    return pieces[0], list(zip(body[1::2], body[2::2]))


def names_in(code):
    bare = re.sub(r"/\*.*?\*/", "", code, flags=re.DOTALL)
    found = []
    for line in bare.split("\n"):
        kind = TYPE.match(line)
        function = None if line.startswith((" ", "#")) else FUNCTION.search(line)
        if kind or function:
            found.append((kind or function)[1])
    return list(dict.fromkeys(found))


def comment_text(comment):
    lines = [re.sub(r"^ ?\*? ?", "", line) for line in comment.removeprefix("/*").removesuffix("*/").split("\n")]
    return "\n".join(line.rstrip() for line in lines).strip()


def paragraphs_page(text):
    """A comment: its paragraphs filled, but for lists and code, which stand as they were written."""
    out = ""
    for paragraph in re.split(r"\n{2,}", text):
        table = re.search(r"^( {2,}|\w+ {2,})\S", paragraph, re.MULTILINE)
        out += ".PP\n" + (literal(paragraph) if table else roff(paragraph) + "\n")
    return out


def blocks_of(code):
    """(comment, declarations): a comment at the beginning of a line and what stands under it."""
    pieces = re.split(r"^(/\*(?:(?!\*/).)*\*/)\n", code, flags=re.MULTILINE | re.DOTALL)
    yield "", pieces[0]
    yield from zip(pieces[1::2], pieces[2::2])


def part_page(name, names, what, include, code, version):
    page = title(name, 3, version)
    page += f".SH NAME\n{roff(', '.join(names))} \\- {roff(what)}\n.SH SYNOPSIS\n{literal(f'#include <{include}>')}.SH DESCRIPTION\n"
    for comment, declarations in blocks_of(code):
        if comment:
            page += paragraphs_page(comment_text(comment))
        if declarations.strip():
            page += ".PP\n.RS 2\n" + literal(declarations) + ".RE\n"
    return page + ".SH SEE ALSO\n.BR backstep (3)\n"


def header_page(name, include, lead, parts, version):
    comment = re.search(r"/\*(?! SPDX).*?\*/", lead, re.DOTALL)[0]
    first, _, rest = comment_text(comment).partition("\n\n")
    purpose = first.split("\n")[0].split(": ")[0]
    page = title(name, 3, version) + f".SH NAME\n{name} \\- {roff(purpose)}\n.SH SYNOPSIS\n"
    page += literal(f"#include <{include}>\n\ncc program.c $(pkg-config --cflags --libs backstep)") + ".SH DESCRIPTION\n"
    page += paragraphs_page(first + "\n\n" + rest) + ".SH PAGES\n"
    page += "".join(f".TP\n.BR {roff(leader)} (3)\n{roff(what)}\n" for leader, what in parts)
    return page


def write_section_3(out, version, path):
    lead, parts = parts_of(path.read_text(encoding="utf-8"))
    if names_in(lead):
        sys.exit(f"{path}: {names_in(lead)[0]} stands before the first part")
    pages = []
    for what, code in parts:
        names = names_in(code)
        if not names:
            sys.exit(f"{path}: nothing is declared under '{what}'")
        write(out, names[0], 3, part_page(names[0], names, what, path.name, code, version))
        for name in names[1:]:
            write(out, name, 3, f".so man3/{names[0]}.3\n")
        pages.append((names[0], what))
    write(out, path.stem, 3, header_page(path.stem, path.name, lead, pages, version))


def main():
    out, version, backstep, worker, *headers = sys.argv[1:]
    write_section_1(pathlib.Path(out), version, backstep, worker)
    for header in headers:
        write_section_3(pathlib.Path(out), version, pathlib.Path(header))


main()
