"""What a cmocka test binary says about each of its tests, also when it crashes or hangs in the midst of one."""
import contextlib
import dataclasses
import os
import pty
import re
import select
import signal
import subprocess
import time

LINE = re.compile(rb"^\[ *(RUN|OK|FAILED|SKIPPED) *\] (.+?)\r?$")
WORDS = {b"OK": "ok", b"SKIPPED": "skipped", b"FAILED": "FAILED"}


@dataclasses.dataclass
class Case:
    name: str
    result: str = "FAILED"  # or ok, skipped; a test that never ended has failed
    seconds: float = 0.0


class Watch:
    """Takes the output of a test program line by line."""

    def __init__(self):
        self.cases, self.rest, self.now, self.begun, self.text = {}, b"", None, 0.0, b""

    def feed(self, data):
        self.text = (self.text + data)[-4000:]
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            if m := LINE.match(line):
                self.line(m[1], m[2].decode(errors="replace").rpartition(": ")[2])

    def line(self, word, name):
        if word == b"RUN":
            self.now, self.begun = name, time.monotonic()
            self.had = self.cases.get(name)
            self.cases[name] = Case(name, seconds=self.had.seconds if self.had else 0.0)
        elif name == self.now:
            self.now, case = None, self.cases[name]
            case.seconds += time.monotonic() - self.begun
            case.result = "FAILED" if self.had and self.had.result == "FAILED" else WORDS[word]


def run(argv, env=None, timeout=300):
    """Run a test program; {test: Case}, and what is wrong with its end: empty where all is well. A test that runs over
    several back ends ("raw: x", "curl: x") is one case, called by what follows the colon, and passes if all of them do."""
    ours, theirs = pty.openpty()  # a terminal, so that lines come when they are written
    process = subprocess.Popen(argv, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
                               start_new_session=True)
    os.close(theirs)
    watch, end = Watch(), time.monotonic() + timeout
    with contextlib.suppress(OSError):  # EIO: the last writer is gone
        while time.monotonic() < end:
            ended = process.poll() is not None
            if select.select([ours], [], [], 0 if ended else 0.2)[0]:
                watch.feed(os.read(ours, 65536))
            elif ended:
                break
    hung = process.poll() is None and time.monotonic() >= end
    if hung:
        os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    with contextlib.suppress(ProcessLookupError):  # children that a test which failed did not end
        os.killpg(process.pid, signal.SIGKILL)
    os.close(ours)
    if hung:
        return watch.cases, f"not done after {timeout} s"
    return watch.cases, "" if code == 0 else f"exit {code}: {watch.text.decode(errors='replace')}"
