"""What the fault tests share: a server for each test, and short ways to have berth fetch from it."""
import pathlib
import struct
import time

import pytest

from faults.server import FaultServer

PART = 8 << 20  # berth's
TRIES = 5       # a part, those that brought nothing


@pytest.fixture
def server():
    with FaultServer() as s:
        yield s


@pytest.fixture
def other():
    """A second host: same address, another port."""
    with FaultServer() as s:
        yield s


def source(server, bucket="b", key="d/", dst="/in", **options):
    """The SRC of `berth fetch` for something on the fault server; options as `opt=` has them."""
    options = {"endpoint": server.url, **options}
    named = "".join(f",opt={name.replace('_', '-')}={value}" for name, value in options.items() if value is not None)
    return f"src=s3://{bucket}/{key},dst={dst}{named}"


def sets(**settings):
    """--set flags; xfer__stall="1s" is xfer.stall=1s."""
    return [f"--set={name.replace('__', '.')}={value}" for name, value in settings.items()]


class Fetched:
    """The end of a `berth fetch`: its result, and what lies at the target now."""

    def __init__(self, result, folder):
        self.result, self.folder = result, folder
        self.code, self.errors = result.code, result.errors

    @property
    def files(self):
        """{path: bytes}"""
        return {str(p.relative_to(self.folder)): p.read_bytes() for p in sorted(self.folder.rglob("*")) if p.is_file()}

    def has(self, name, version):
        """Whether the file is there with exactly the bytes of an object's version."""
        path = self.folder / name
        return path.is_file() and version.content.same_as(path)

    def __repr__(self):
        return f"{self.result!r} {sorted(self.files)}"


def fetch(berth, server, *flags, env=None, timeout=60, settings=None, out="out", **src):
    """`berth fetch` of source(server, **src) to a folder of the test's."""
    argv = ["fetch", "--no-progress", *flags, *sets(**(settings or {})), source(server, **src), berth.cwd / out]
    return Fetched(berth(*argv, env=env, timeout=timeout), berth.cwd / out / src.get("dst", "/in").lstrip("/"))


def ranges(server, **which):
    """The ranges that were asked for, in the order they came."""
    return [tuple(r.range) for r in server.asked(op="get", **which) if r.range]


def wait_until(what, seconds=60):
    """Until what() holds, for what the server can't see."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.005)


def part_of(offset):
    return offset // PART


def marked_parts(path):
    """The parts that a part map on disk has as done: the marks of src/xfer/partmap.c."""
    raw = pathlib.Path(path).read_bytes()
    done, header, record, words = set(), 64, 32, 3
    for number, at in enumerate(range(header, len(raw) - record + 1, record)):
        for w, bits in enumerate(struct.unpack_from(f"<{words}Q", raw, at)):
            done |= {number * words * 64 + w * 64 + i for i in range(64) if bits >> i & 1}
    return done
