"""HTTP/1.1 as the fault server speaks it: heads are read by the book, bodies are sent as the rule says."""
import dataclasses
import email.utils
import fcntl
import socket
import ssl
import struct
import termios
import time
import urllib.parse

from faults.s3 import parse_range

HEAD_MAX = 128 << 10
DRAIN_SECONDS = 5
REASONS = {200: "OK", 206: "Partial Content", 301: "Moved Permanently", 302: "Found", 307: "Temporary Redirect",
           400: "Bad Request", 403: "Forbidden", 404: "Not Found", 412: "Precondition Failed", 416: "Range Not Satisfiable",
           429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable"}


class Ended(Exception):
    """The connection is over, by the peer or by a rule."""


@dataclasses.dataclass
class Request:
    """One request and what became of it. `sent` counts bytes of the answer's body, `received` of the request's, and both grow meanwhile; `together` is how
    many requests were under way when it came, itself included."""
    number: int
    connection: int
    method: str
    target: str
    headers: dict
    at: float = 0.0
    bucket: str | None = None
    key: str | None = None
    op: str = ""
    status: int = 0
    sent: int = 0
    received: int = 0
    together: int = 0
    done: bool = False
    access: str | None = None
    region: str | None = None

    def __post_init__(self):
        self.body = b""
        self.raw_path, _, self.raw_query = self.target.partition("?")
        self.path = urllib.parse.unquote(self.raw_path)
        self.query = dict(urllib.parse.parse_qsl(self.raw_query, keep_blank_values=True))
        self.range = parse_range(self.headers.get("range"))

    def record(self):
        return {**dataclasses.asdict(self), "path": self.path, "query": self.query, "range": self.range}


class Connection:
    def __init__(self, sock, number):
        self.sock, self.number, self.buffer = sock, number, b""

    def _fill(self):
        try:
            more = self.sock.recv(64 << 10)
        except OSError as e:
            raise Ended from e
        if not more:
            raise Ended
        self.buffer += more

    def read_head(self):
        """(method, target, headers); names in lower case."""
        while b"\r\n\r\n" not in self.buffer:
            no_http = self.buffer and not self.buffer[:1].isupper()
            if no_http or len(self.buffer) > HEAD_MAX:
                self.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                self.end()
            self._fill()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return method, target, headers

    def read_body(self, headers, most=None, count=lambda n: None, pause=None):
        """`most`: the connection is reset when so many bytes have come. `pause`: (bytes, what is called then)."""
        length = int(headers.get("content-length", 0))
        pieces, left = [], length if most is None else min(most, length)
        while left:
            if pause and length - left >= pause[0]:
                pause = pause[1]()
            if not self.buffer:
                self._fill()
            piece, self.buffer = self.buffer[:left], self.buffer[left:]
            pieces.append(piece)
            left -= len(piece)
            count(len(piece))
        if most is not None:
            self.reset()
        return b"".join(pieces)

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError as e:
            raise Ended from e

    def end(self):
        """A FIN, after all that was sent."""
        try:
            if isinstance(self.sock, ssl.SSLSocket):
                self.sock.unwrap()
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        raise Ended

    def reset(self):
        """A RST, once the peer's machine has all that was sent."""
        end = time.monotonic() + DRAIN_SECONDS
        while struct.unpack("i", fcntl.ioctl(self.sock, termios.TIOCOUTQ, b"\0\0\0\0"))[0] > 0 and time.monotonic() < end:
            time.sleep(0.001)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
        raise Ended


def head_bytes(status, headers):
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}", *(f"{k}: {v}" for k, v in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _flipped(pieces, at, offset):
    """Turn one bit of the byte at `offset`; the pieces begin at `at`."""
    for piece in pieces:
        if at <= offset < at + len(piece):
            piece = bytearray(piece)
            piece[offset - at] ^= 1
        yield piece
        at += len(piece)


def _extended(pieces, extra):
    yield from pieces
    yield b"x" * extra


def _cut_at(pieces, stops):
    """The same bytes, cut so that a piece ends at each of the stops."""
    at = 0
    for piece in pieces:
        while True:
            inside = [s for s in stops if at < s < at + len(piece)]
            if not inside:
                break
            n = min(inside) - at
            yield piece[:n]
            piece, at = piece[n:], at + n
        yield piece
        at += len(piece)


def body_pieces(answer, rule):
    if rule is not None and rule.stream is not None:
        s = rule.stream
        yield s["head"].encode()
        unit, batch = s["unit"].encode(), max(1, (64 << 10) // max(1, len(s["unit"])))
        for first in range(0, s["count"], batch):
            yield unit * min(batch, s["count"] - first)
        yield s["tail"].encode()
        return
    pieces = answer.body.pieces(answer.first, answer.end)
    if rule is not None and rule.flip is not None:
        pieces = _flipped(pieces, answer.first, rule.flip)
    if rule is not None and rule.extra:
        pieces = _extended(pieces, rule.extra)
    yield from pieces


def send_body(connection, request, pieces, rule, wait, count):
    """The body, up to what the rule does to it. `wait(gate)` blocks, `count(n)` accounts bytes that were sent."""
    stops = [s for s in (rule.hold_at, rule.truncate, rule.reset) if s is not None] if rule else []
    chunked = rule is not None and rule.framing == "chunked"

    def act():
        if rule is None:
            return
        if rule.hold_at == request.sent and rule.gate:
            wait(rule.gate)
        if rule.truncate == request.sent:
            connection.end()
        if rule.reset == request.sent:
            connection.reset()

    def put(data):
        connection.send(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
        count(len(data))

    act()
    for piece in _cut_at(pieces, stops):
        if rule is not None and rule.trickle_ms:
            for i in range(len(piece)):
                put(piece[i:i + 1])
                time.sleep(rule.trickle_ms / 1000)
        elif piece:
            put(piece)
        act()
    if chunked:
        connection.send(b"0\r\n\r\n")


def http_date(seconds):
    return email.utils.formatdate(seconds, usegmt=True)
