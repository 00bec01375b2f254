#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The screens of `backstep run`, through a pseudo-terminal and a terminal emulator.

    tests/python tests/screen/screen_test.py [BIN] [CAPTURES]

BIN is the directory of the programs (default: $BACKSTEP_BIN, else build/release/bin). What was seen goes to CAPTURES, for the README.
"""
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unicodedata

import pyte

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RUN_TIMEOUT_S = 120

PIPELINE = """\
name: upload
steps:
  - name: init
    weight: 5
  - name: 'Größe "prüfen"'
    uses: validate
    weight: 10
    rollback: none
  - name: upload
    weight: 80
  - name: cleanup
    weight: 5
    rollback: none
"""

STEPS = {
    "init": 'case $1 in execute) sleep 0.2 ;; rollback) sleep 0.4 ;; esac\n',
    "validate": 'sleep 0.3 # rollback: none\n',
    "upload": """case $1 in
execute)
    i=0
    while [ $i -lt 25 ]; do
        i=$((i + 1)); sleep 0.15; echo "{\\"progress\\": [$i, 25]}"
        if [ -n "$FAIL" ] && [ $i -eq 14 ]; then echo 'disk is full' >&2; exit 1; fi
    done ;;
rollback) sleep 0.6 ;;
esac
""",
    "cleanup": 'sleep 0.1 # rollback: none\n',
}

failures = 0


def check(what, holds, seen=""):
    global failures
    print(("ok   " if holds else "FAIL ") + what, flush=True)
    if not holds:
        failures += 1
        print("     " + str(seen).replace("\n", "\n     "), flush=True)


class Emulator(pyte.Screen):
    """Counts what must never happen: a line that wraps."""

    def __init__(self, columns, lines):
        super().__init__(columns, lines)
        self.wrapped = 0
        self._drawing = False

    def draw(self, data):
        self._drawing = True
        super().draw(data)
        self._drawing = False

    def linefeed(self):
        self.wrapped += self._drawing
        super().linefeed()


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, argv, columns, rows, environment):
        self.screen = Emulator(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.frames = []
        master, slave = pty.openpty()
        self.master = master
        self._set_size(columns, rows)

        def own_the_terminal():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.program = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=environment,
                                        preexec_fn=own_the_terminal, close_fds=True)
        os.close(slave)
        self.until = time.monotonic() + RUN_TIMEOUT_S

    def _set_size(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def lines(self):
        return [line.rstrip() for line in self.screen.display]

    def read(self, wait_s):
        """Feed what comes within wait_s. False: the program has closed the terminal."""
        if not select.select([self.master], [], [], wait_s)[0]:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        if data:
            self.raw += data
            self.stream.feed(data)
            self.frames.append(self.lines())
        return bool(data)

    def run_until(self, seen):
        """Until a frame satisfies `seen`; then True."""
        while time.monotonic() < self.until:
            if not self.read(0.2):
                return False
            if self.frames and seen("\n".join(self.frames[-1])):
                return True
        return False

    def resize(self, columns, rows):
        """As a window does it, but not in the middle of what is being written."""
        os.kill(self.program.pid, signal.SIGSTOP)
        while select.select([self.master], [], [], 0.1)[0] and self.read(0):
            pass
        self._set_size(columns, rows)
        self.screen.resize(rows, columns)
        os.kill(self.program.pid, signal.SIGCONT)

    def finish(self):
        while time.monotonic() < self.until and self.read(0.2):
            pass
        try:
            status = self.program.wait(max(1, self.until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.program.kill()
            status = self.program.wait()
        os.close(self.master)
        return status


def width(line):
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


def percents(frames, name):
    found = []
    for frame in frames:
        for line in frame:
            match = re.match(r"  " + re.escape(name) + r"\b.*?(\d+) %", line)
            if match:
                found.append(int(match.group(1)))
    return found


class Suite:
    def __init__(self, bin_directory, captures):
        self.backstep = os.path.join(os.path.abspath(bin_directory), "backstep")
        self.captures = captures
        self.place = tempfile.mkdtemp(prefix="backstep-screen-")
        self._write()

    def _write(self):
        for variant, extra in (("good", ""), ("bad", "FAIL=1\n")):
            steps = os.path.join(self.place, variant)
            os.makedirs(steps)
            for name, body in STEPS.items():
                path = os.path.join(steps, name)
                with open(path, "w", encoding="utf-8") as file:
                    file.write("#!/bin/sh\n" + extra + body)
                os.chmod(path, 0o755)
        with open(os.path.join(self.place, "upload.yaml"), "w", encoding="utf-8") as file:
            file.write(PIPELINE)

    def argv(self, variant):
        return [self.backstep, "run", os.path.join(self.place, "upload.yaml"), "--steps", os.path.join(self.place, variant)]

    @staticmethod
    def environment(**changes):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("BACKSTEP_") and key != "NO_COLOR"}
        environment.update({"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "TZ": "UTC"})
        environment.update(changes)
        return environment

    def terminal(self, variant, columns, rows=24, **changes):
        return Terminal(self.argv(variant), columns, rows, self.environment(**changes))

    def capture(self, title, frame):
        if self.captures:
            while frame and not frame[-1]:
                frame = frame[:-1]
            with open(self.captures, "a", encoding="utf-8") as file:
                file.write("== " + title + "\n" + "\n".join(frame) + "\n\n")

    # ---- what holds for every terminal

    def check_frames(self, what, terminal, columns):
        wide = [line for frame in terminal.frames for line in frame if width(line) >= columns]
        check(what + ": no line is as wide as the terminal", not wide, "\n".join(wide[:3]))
        check(what + ": nothing wraps", terminal.screen.wrapped == 0, terminal.screen.wrapped)
        headers = [frame for frame in terminal.frames if sum(line.startswith("upload  4 steps") for line in frame) > 1]
        check(what + ": each frame replaces the one before", not headers, "\n".join(headers[0]) if headers else "")
        codes = set(re.findall(rb"\x1b(?:\[[0-9;?]*[A-Za-z]|.)", terminal.raw))
        strange = [code for code in codes if not re.fullmatch(rb"\x1b\[(?:\d+A|K|J|[0-9;]*m)", code)]
        check(what + ": moves up, clears to the end, colours, and nothing else", not strange, strange)

    # ---- the tests

    def success(self, columns):
        what = "%d columns" % columns
        terminal = self.terminal("good", columns)
        halfway = terminal.run_until(lambda frame: re.search(r"  upload +\S.* [45]\d %", frame))
        middle = terminal.frames[-1] if terminal.frames else []
        status = terminal.finish()
        last = terminal.lines()
        text = "\n".join(last)
        check(what + ": a bar is seen halfway", halfway and re.search(r"  upload +█+", "\n".join(middle)), "\n".join(middle))
        check(what + ": exit 0", status == 0, str(status) + "\n" + text)
        self.check_frames(what, terminal, columns)
        overall = percents(terminal.frames, "overall")
        check(what + ": overall never goes back", overall == sorted(overall), overall)
        check(what + ": and is seen on its way", len(set(overall)) >= 5, sorted(set(overall)))
        check(what + ": and ends at 100 %", overall and overall[-1] == 100, text)
        uploads = percents(terminal.frames, "upload")
        check(what + ": a step's percent never goes back", uploads == sorted(uploads), uploads)
        check(what + ": the name with quotes and umlauts stands there", "Größe" in text, text)
        if columns >= 80:
            check(what + ": counts are shown", any(re.search(r"\d+ of 25", line) for line in middle), "\n".join(middle))
            check(what + ": what is left is estimated, once enough is known",
                  any("about" in line and "left" in line for frame in terminal.frames for line in frame))
        self.capture("a run at %d columns" % columns, middle)
        self.capture("its end", last)

    def failure(self, columns):
        what = "%d columns, failing" % columns
        terminal = self.terminal("bad", columns)
        undoing = terminal.run_until(lambda frame: "undoing" in frame)
        middle = terminal.frames[-1] if terminal.frames else []
        status = terminal.finish()
        text = "\n".join(terminal.lines())
        flat = re.sub(r"\s+", " ", text)
        check(what + ": exit 1", status == 1, str(status) + "\n" + text)
        check(what + ": the rollback is seen", undoing, text)
        check(what + ": the reason is said in full", "rolled back Step 'upload' failed: disk is full" in flat, text)
        check(what + ": what ran is undone", text.count("undone") >= 2, text)
        check(what + ": what needs no undoing says so", "nothing to undo" in text, text)
        check(what + ": what did not run says so", re.search(r"  cleanup +not run", text), text)
        self.check_frames(what, terminal, columns)
        self.capture("a rollback at %d columns" % columns, middle)
        self.capture("its end", terminal.lines())

    def resized(self):
        what = "resized 100 > 40 > 90"
        terminal = self.terminal("good", 100, 30)
        started = terminal.run_until(lambda frame: re.search(r"  upload +\S.* [123]\d %", frame))
        terminal.resize(40, 12)
        narrow = terminal.run_until(lambda frame: re.search(r"  upload +\S.* [56]\d %", frame))
        frame = terminal.frames[-1]
        narrow_wrapped = terminal.screen.wrapped
        terminal.resize(90, 30)
        status = terminal.finish()
        text = "\n".join(terminal.lines())
        check(what + ": the run is followed throughout", started and narrow and status == 0, text)
        check(what + ": narrow lines fit", all(width(line) < 40 for line in frame), "\n".join(frame))
        check(what + ": nothing wraps", narrow_wrapped == 0 and terminal.screen.wrapped == 0, "\n".join(frame))
        check(what + ": one header, one overall", text.count("4 steps") == 1 and text.count("  overall") == 1, text)
        check(what + ": 100 % at the end", re.search(r"  overall .*100 %", text), text)

    def cancelled(self):
        what = "Ctrl-C"
        terminal = self.terminal("good", 80)
        terminal.run_until(lambda frame: re.search(r"  upload +\S.* [123]\d %", frame))
        os.write(terminal.master, b"\x03")
        noticed = terminal.run_until(lambda frame: "Ctrl-C again" in frame)
        status = terminal.finish()
        text = "\n".join(terminal.lines())
        check(what + ": is noticed", noticed, text)
        check(what + ": exit 4", status == 4, str(status) + "\n" + text)
        check(what + ": what ran is undone", text.count("undone") >= 2 and re.search(r"  cleanup +not run", text), text)
        check(what + ": the end says cancelled", re.search(r"^cancelled  ", text, re.M), text)
        self.check_frames(what, terminal, 80)
        self.capture("after Ctrl-C", terminal.lines())

    def low(self):
        what = "5 rows"
        terminal = self.terminal("good", 80, 5)
        status = terminal.finish()
        frames = ["\n".join(frame) for frame in terminal.frames]
        check(what + ": the step that runs is in sight", any(re.search(r"  upload .*\d %", frame) for frame in frames), frames[:1])
        check(what + ": exit 0", status == 0, status)

    def no_color(self):
        terminal = self.terminal("good", 80, NO_COLOR="1")
        status = terminal.finish()
        check("NO_COLOR: no colours", status == 0 and not re.search(rb"\x1b\[[0-9;]*m", terminal.raw), terminal.raw[:300])
        check("NO_COLOR: but bars", "█".encode() in terminal.raw)

    def ascii(self):
        terminal = self.terminal("good", 80, LC_ALL="C", LANG="C")
        status = terminal.finish()
        text = "\n".join(terminal.lines())
        check("a terminal without UTF-8: bars of #", status == 0 and re.search(r"  upload +#+", text), text)
        check("a terminal without UTF-8: nothing but ASCII", all(byte < 128 for byte in terminal.raw), text)

    def dumb(self):
        terminal = self.terminal("good", 80, TERM="dumb")
        status = terminal.finish()
        check("TERM=dumb: plain lines", status == 0 and b"\x1b" not in terminal.raw, terminal.raw[:300])

    def plain(self):
        result = subprocess.run(self.argv("bad"), stdin=subprocess.DEVNULL, capture_output=True, env=self.environment(),
                                timeout=RUN_TIMEOUT_S, check=False)
        out = result.stdout.decode()
        line = re.compile(r"\d\d:\d\d:\d\d\.\d{3} upload-\S+ .+ +(?:execute|rollback|run) +\S+.*")
        odd = [text for text in out.splitlines() if not line.fullmatch(text)]
        check("no terminal: exit 1", result.returncode == 1, result)
        check("no terminal: no escape codes", "\x1b" not in out + result.stderr.decode(), out)
        check("no terminal: every line is an event", out and not odd, "\n".join(odd[:3]))
        check("no terminal: the failure is one line", re.search(r" upload +execute +failed +disk is full$", out, re.M), out)
        check("no terminal: rollbacks follow it, newest first",
              re.search(r" run +rolling_back .*\n(?:.*\n)* *.* upload +rollback +done.*\n(?:.*\n)*.* init +rollback +done", out), out)
        check("no terminal: the end is the last line", re.search(r" run +rolled_back .*disk is full\n\Z", out), out)
        self.capture("without a terminal", out.splitlines())

    def run(self):
        try:
            for test in (lambda: self.success(80), lambda: self.success(40), lambda: self.failure(80), lambda: self.failure(40),
                         self.resized, self.cancelled, self.low, self.no_color, self.ascii, self.dumb, self.plain):
                test()
        finally:
            shutil.rmtree(self.place, ignore_errors=True)


def main():
    arguments = sys.argv[1:]
    bin_directory = arguments[0] if arguments else os.environ.get("BACKSTEP_BIN", os.path.join(ROOT, "build", "release", "bin"))
    captures = arguments[1] if len(arguments) > 1 else os.environ.get("BACKSTEP_CAPTURES")
    if captures and os.path.exists(captures):
        os.remove(captures)
    Suite(bin_directory, captures).run()
    if failures:
        print("%d checks failed" % failures)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
