"""Bytes that cost no memory, and the checksums that S3 states of them."""
import base64
import hashlib
import random
import struct
import zlib

BLOCK = 64 << 10  # every block starts with its own number, so that a misplaced one is noticed
KINDS = ("sha256", "sha1", "crc32", "crc32c", "crc64nvme")


def _table(polynomial):
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (polynomial if crc & 1 else 0)
        table.append(crc)
    return table


class _Crc:
    """A reflected CRC in plain Python: some megabytes a second, for small objects."""

    def __init__(self, polynomial, bits):
        self.table, self.ones, self.size = _table(polynomial), (1 << bits) - 1, bits // 8
        self.crc = self.ones

    def update(self, data):
        crc, table = self.crc, self.table
        for byte in data:
            crc = crc >> 8 ^ table[(crc ^ byte) & 255]
        self.crc = crc

    def digest(self):
        return (self.crc ^ self.ones).to_bytes(self.size, "big")


class _Crc32:
    def __init__(self):
        self.crc = 0

    def update(self, data):
        self.crc = zlib.crc32(data, self.crc)

    def digest(self):
        return self.crc.to_bytes(4, "big")


def hasher(kind):
    if kind == "crc32":
        return _Crc32()
    if kind == "crc32c":
        return _Crc(0x82F63B78, 32)
    if kind == "crc64nvme":
        return _Crc(0x9A6C9329AC4BC9B5, 64)
    return hashlib.new(kind)


class Content:
    """`data` as it is, or `size` bytes that follow from `seed`."""

    def __init__(self, data=None, size=0, seed=0):
        self.data = data
        self.size = len(data) if data is not None else size
        self.base = None if data is not None else random.Random(seed).randbytes(BLOCK)
        self.digests = {}

    def block(self, index):
        return struct.pack(">Q", index) + self.base[8:]

    def pieces(self, first=0, end=None):
        """The bytes [first, end), block by block."""
        end = self.size if end is None else min(end, self.size)
        if self.data is not None:
            yield from (self.data[at:min(at + BLOCK, end)] for at in range(first, end, BLOCK))
            return
        at = first
        while at < end:
            index, skip = divmod(at, BLOCK)
            take = min(BLOCK - skip, end - at)
            yield self.block(index)[skip:skip + take]
            at += take

    def read(self, first=0, end=None):
        return b"".join(self.pieces(first, end))

    def _digest(self, kind, first=0, end=None):
        key = kind, first, end
        if key not in self.digests:
            h = hasher(kind)
            for piece in self.pieces(first, end):
                h.update(piece)
            self.digests[key] = h.digest()
        return self.digests[key]

    def hex(self, kind):
        return self._digest(kind).hex()

    def base64(self, kind):
        return base64.b64encode(self._digest(kind)).decode()

    def composite(self, kind, part_bytes):
        """The checksum of the parts' checksums, as CompleteMultipartUpload makes it."""
        starts = range(0, self.size, part_bytes)
        h = hasher(kind)
        for first in starts:
            h.update(self._digest(kind, first, first + part_bytes))
        return f"{base64.b64encode(h.digest()).decode()}-{len(starts)}"

    def same_as(self, path):
        """Whether the file at `path` holds exactly these bytes."""
        with open(path, "rb") as f:
            return all(f.read(len(piece)) == piece for piece in self.pieces()) and f.read(1) == b""
