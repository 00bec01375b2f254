# SPDX-License-Identifier: Apache-2.0
"""The manual pages say what their sources say: a page for each row of the command table with all of its options, one for each name that the
library shows, and every comment of the public headers, word by word. Sources are read here, not by what makes the pages."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(os.environ["BACKSTEP_SOURCE"])
BIN = pathlib.Path(os.environ["BACKSTEP_BIN"])
PAGES = BIN.parent / "man"
HEADERS = [SOURCE / "worker/backstep.h", SOURCE / "worker/backstep_test.h"]
ESCAPES = {"\\-": "-", "\\(aq": "'", "\\(ha": "^", "\\(ti": "~", "\\(ga": "`", "\\&": ""}

problems = []


def check(good, problem):
    if not good:
        problems.append(problem)


def words(text):
    return " ".join(text.split())


def text_of(page):
    """What a reader sees of it, in one line."""
    source = page.read_text(encoding="ascii")
    if source.startswith(".so "):
        return text_of(PAGES / source.split()[1])
    lines = [re.sub(r"^\.(SH|B|BR) ", "", line) for line in source.split("\n")]
    text = " ".join(line for line in lines if not line.startswith("."))
    for escape, meant in ESCAPES.items():
        text = text.replace(escape, meant)
    text = re.sub(r"\\\[u([0-9A-F]{4})\]", lambda match: chr(int(match[1], 16)), text)
    return words(text.replace("\\e", "\\"))


def page_named(section, name):
    page = PAGES / f"man{section}" / f"{name}.{section}"
    check(page.exists(), f"{page.name} is missing")
    return text_of(page) if page.exists() else ""


def help_stands_in(page, name, *command):
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8", timeout=60).stdout
    for option in re.findall(r"^ {2,6}((?:-\w, )?--[a-z-]+.*?)(?:  |$)", said, re.MULTILINE):
        check(words(option) in page, f"{name}(1) lacks {option}")
    for line in said.split("\n"):
        line = re.sub(r"^\s*(?:-\w, )?--\S+(?: \S+)?  +|^Usage: ", "", line)
        if line.strip() not in ("Options:", "Example:"):
            check(words(line).rstrip(".") in page, f"{name}(1) lacks: {line}")


def commands_have_pages():
    table = (SOURCE / "coordinator/cli/commands.c").read_text(encoding="utf-8")
    names = re.findall(r'^        \.name = "([a-z]+)"', table, re.MULTILINE)
    check(len(names) > 15, f"only {len(names)} commands were found in the table")
    overview = page_named(1, "backstep")
    for name in names:
        help_stands_in(page_named(1, f"backstep-{name}"), f"backstep-{name}", BIN / "backstep", name, "--help")
        check(f"backstep-{name} (1)" in overview, f"backstep(1) does not name {name}")
    help_stands_in(page_named(1, "backstep-worker"), "backstep-worker", BIN / "backstep-worker", "--help")
    known = {"backstep.1", "backstep-worker.1"} | {f"backstep-{name}.1" for name in names}
    check({page.name for page in (PAGES / "man1").iterdir()} == known, "man1 has pages of no command")


def names_have_pages():
    symbols = (SOURCE / "tests/install/symbols").read_text(encoding="ascii").split()
    headers = "\n".join(header.read_text(encoding="utf-8") for header in HEADERS)
    types = re.findall(r"^(?:struct|enum) (backstep_\w+) \{", headers, re.MULTILINE)
    check(len(types) > 10, f"only {len(types)} types were found in the headers")
    for name in symbols + types:
        check(re.search(rf"\b{name}( \{{|\()", page_named(3, name)), f"{name}(3) does not declare it")
    known = {f"{name}.3" for name in [*symbols, *types, "backstep", "backstep_test"]}
    extra = {page.name for page in (PAGES / "man3").iterdir()} - known
    check(not extra, f"man3 has pages of what is not there: {sorted(extra)}")


def comments_stand_in_pages():
    everything = " ".join(text_of(page) for page in sorted((PAGES / "man3").iterdir()) if not page.read_text().startswith(".so "))
    count = 0
    for header in HEADERS:
        for comment in re.findall(r"/\*(.*?)\*/", header.read_text(encoding="utf-8"), re.DOTALL):
            text = re.sub(r"^ -+ ", " ", re.sub(r"^ *\* ?", "", comment, flags=re.MULTILINE))
            for paragraph in re.split(r"\n\s*\n", text):
                starred = words(paragraph) in everything or words("\n".join("* " + line for line in paragraph.split("\n"))) in everything
                within = all(words(line) in everything for line in paragraph.split("\n"))
                check("SPDX" in paragraph or starred or within, f"no page of section 3 says: {words(paragraph)}")
                count += 1
    check(count > 100, f"only {count} paragraphs were found in the headers")


def build_is_up_to_date():
    """The pages of the build are those that its sources make now."""
    version = re.search(r'project\(backstep VERSION (\S+)', (SOURCE / "CMakeLists.txt").read_text())[1]
    with tempfile.TemporaryDirectory() as again:
        subprocess.run([sys.executable, SOURCE / "docs/man/pages.py", again, version, BIN / "backstep", BIN / "backstep-worker", *HEADERS],
                       check=True, timeout=120)
        for page in sorted(pathlib.Path(again).glob("man*/*")):
            built = PAGES / page.relative_to(again)
            check(built.exists() and built.read_bytes() == page.read_bytes(), f"{built} is not what its sources make")


def roff_takes_them():
    for page in sorted(PAGES.glob("man*/*")):
        if page.read_text().startswith(".so "):
            continue
        said = subprocess.run(["groff", "-man", "-ww", "-Wbreak", "-Tutf8", "-z", page], stderr=subprocess.PIPE, encoding="utf-8", timeout=60)
        check(said.returncode == 0 and not said.stderr, f"{page}: {said.stderr}")


for part in (commands_have_pages, names_have_pages, comments_stand_in_pages, build_is_up_to_date, roff_takes_them):
    part()
for problem in problems:
    print(f"FAIL {problem}")
sys.exit(1 if problems else 0)
