"""Tools of the tests: looking into an engine, and relays that count, hold and cut what passes."""
import collections
import contextlib
import functools
import importlib.machinery
import importlib.util
import io
import json
import os
import pathlib
import re
import socket
import threading
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
_loader = importlib.machinery.SourceFileLoader("berth_servers", str(ROOT / "tools" / "servers"))
_servers = importlib.util.module_from_spec(importlib.util.spec_from_loader("berth_servers", _loader))
_loader.exec_module(_servers)


@functools.cache
def noise(size):
    """Bytes that do not compress, the same ones each time: making them takes longer than writing them."""
    return os.urandom(size)


class Engine:
    """A container engine seen past berth, by its API."""

    def __init__(self, address):
        self.address, self.path = address, address.removeprefix("unix://")
        self.name = "podman" if "podman" in address else "docker"

    def call(self, method, path, body=None, kind=None):
        return _servers.engine_api(self.path, method, "/v1.41" + path, body, kind)

    def containers(self):
        """Of berth, living or dead: {job id: container id}."""
        status, body = self.call("GET", '/containers/json?all=true&filters={"label":["berth.job"]}')
        assert status == 200, body
        listed = json.loads(body[body.find(b"["):body.rfind(b"]") + 1])
        return {c["Labels"]["berth.job"]: c["Id"] for c in listed}

    def remove(self, container):
        self.call("DELETE", f"/containers/{container}?force=true")

    def image(self, name, *changes):
        """The sample image once more, with changes as a Dockerfile has them."""
        repo, tag = name.rsplit(":", 1)
        if self.call("GET", f"/images/{name}/json")[0] != 200:
            tar = io.BytesIO()
            _servers.sample_rootfs(tar)
            more = "".join("&changes=" + urllib.parse.quote(c) for c in ("ENV PATH=/bin:/usr/bin", *changes))
            status, body = self.call("POST", f"/images/create?fromSrc=-&repo={repo}&tag={tag}{more}", tar.getvalue(), "application/x-tar")
            assert status == 200, body
        return name

    def remove_image(self, name):
        self.call("DELETE", f"/images/{name}?force=true")


def _connect(upstream):
    if upstream.startswith("unix://"):
        s = socket.socket(socket.AF_UNIX)
        s.connect(upstream.removeprefix("unix://"))
        return s
    at = urllib.parse.urlsplit(upstream)
    return socket.create_connection((at.hostname, at.port))


REQUEST = re.compile(rb"^(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP/1\.[01]\r\n((?:[^\r\n]+\r\n)*)\r\n", re.M)


class Relay:
    """Passes bytes between berth and a server, over TCP or a unix socket; counts them, and can hold or cut them.

    `requests` are (method, path, headers in lower case) in the order of their arrival. hold(n): no more than n further bytes
    of answers pass; `held` is set when something waits. release() lets go, cut() closes everything, vanish() for ever."""

    def __init__(self, upstream, path=None):
        self.upstream, self.requests, self.bytes_down = upstream, [], 0
        self.held, self._room, self._cond, self._open = threading.Event(), None, threading.Condition(), set()
        self._listener = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self._listener.bind(str(path) if path else ("127.0.0.1", 0))
        self._listener.listen(128)
        self._path, self._ended = path, False
        self.address = f"unix://{path}" if path else f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
                server = _connect(self.upstream)
            except OSError:
                return
            with self._cond:
                self._open |= {client, server}
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client, server):
        head = b""
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                head += data
                end = 0
                for m in REQUEST.finditer(head):
                    fields = dict(h.split(": ", 1) for h in m[3].decode("latin-1").lower().split("\r\n") if ": " in h)
                    self.requests.append((m[1].decode(), m[2].decode(), fields))
                    end = m.end()
                head = head[end:][-65536:]
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _pass(self, n):
        with self._cond:
            while self._room is not None and self._room < n and not self._ended:
                self.held.set()
                self._cond.wait()
            if self._room is not None:
                self._room -= n
            self.bytes_down += n

    def _down(self, server, client):
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                self._pass(len(data))
                client.sendall(data)
        for s in (client, server):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()
        with self._cond:
            self._open -= {client, server}

    def hold(self, more_bytes=0):
        with self._cond:
            self._room = more_bytes

    def release(self):
        with self._cond:
            self._room = None
            self.held.clear()
            self._cond.notify_all()

    def cut(self):
        with self._cond:
            for s in self._open:
                with contextlib.suppress(OSError):
                    s.shutdown(socket.SHUT_RDWR)
        self.release()

    def vanish(self):
        self._ended = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._path:
            os.unlink(self._path)
        self.cut()

    def count(self, method=None):
        return sum(1 for m, _, _ in self.requests if method in (None, m))

    def gets_of(self, key):
        """Answered GETs of an object by its key's end."""
        return sum(1 for m, path, _ in self.requests if m == "GET" and urllib.parse.unquote(path.split("?")[0]).endswith(key))

    def reset(self):
        self.requests, self.bytes_down = [], 0


def read_until(stream, word):
    """What a pipe gives up to a word; a test that waits in vain is ended by its end."""
    seen = collections.deque()
    text = b""
    while word not in text:
        byte = os.read(stream.fileno(), 4096)
        assert byte, f"the stream ended without {word!r}: {text!r}"
        seen.append(byte)
        text = b"".join(seen)
    return text


def snapshot_of(folder):
    """Everything about the files of a folder that a job could change."""
    import hashlib
    found = {}
    for p in sorted(pathlib.Path(folder).rglob("*")):
        st = p.lstat()
        body = hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() and not p.is_symlink() else None
        found[str(p.relative_to(folder))] = (st.st_mode, st.st_size, st.st_uid, st.st_mtime_ns if body else None, body)
    return found
