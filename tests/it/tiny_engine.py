#!/usr/bin/python3
"""A container engine that runs nothing: Docker's API on a unix socket, for tests of what happens around many short jobs.

    tests/it/tiny_engine.py SOCKET

Every image is there. What a "container" does is in its variable TINY, as JSON, all of it optional:

    {"out": TEXT, "err": TEXT,      written to stdout and stderr
     "sum": PATH,                   a file's SHA-256 to stdout, read through the container's mounts
     "files": {PATH: TEXT},         written through its mounts
     "fill": {PATH: N},             N random bytes, likewise
     "ms": N,                       how long it runs
     "exit": N}

A signal ends it at once. GET /_tiny tells what was started so far: {"created": n, "started": n, "alive": n}."""
import asyncio
import contextlib
import datetime
import hashlib
import json
import os
import pathlib
import re
import struct
import sys
import urllib.parse

IMAGE_ID = "sha256:" + hashlib.sha256(b"tiny").hexdigest()
BODY_MAX = 4 << 20
SIGNALS = {"KILL": 9, "SIGKILL": 9, "TERM": 15, "SIGTERM": 15}


class Refused(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z")


class Container:
    def __init__(self, number, asked):
        self.id = hashlib.sha256(b"%d %d" % (os.getpid(), number)).hexdigest()
        self.asked, self.labels = asked, asked.get("Labels") or {}
        env = dict(e.split("=", 1) for e in asked.get("Env") or [])
        self.script = json.loads(env.get("TINY", "{}"))
        self.streams, self.state, self.code, self.error = [], "created", 0, ""
        self.started = self.finished = "0001-01-01T00:00:00Z"
        self.ended, self.timer = asyncio.Event(), None

    def outside(self, path, write=False):
        """Where a path of the container is on this machine."""
        for m in self.asked["HostConfig"].get("Mounts") or []:
            if path == m["Target"] or path.startswith(m["Target"].rstrip("/") + "/"):
                if write and m.get("ReadOnly"):
                    raise OSError(f"{path} is read-only")
                return pathlib.Path(m["Source"] + path[len(m["Target"]):])
        raise OSError(f"{path} is in no mount")

    def write(self, stream, text):
        data = text.encode()
        for s in self.streams if data else ():
            s.write(struct.pack(">BxxxI", stream, len(data)) + data)

    def start(self):
        if self.state != "created":
            raise Refused(304, "started before")
        self.state, self.started = "running", now()
        try:
            for path, text in self.script.get("files", {}).items():
                self.outside(path, write=True).write_text(text)
            for path, count in self.script.get("fill", {}).items():
                self.outside(path, write=True).write_bytes(os.urandom(count))
            self.write(1, self.script.get("out", ""))
            self.write(2, self.script.get("err", ""))
            if "sum" in self.script:
                self.write(1, hashlib.sha256(self.outside(self.script["sum"]).read_bytes()).hexdigest() + "\n")
            code = int(self.script.get("exit", 0))
        except OSError as e:
            self.write(2, f"{e}\n")
            code = 1
        self.timer = asyncio.get_running_loop().call_later(self.script.get("ms", 0) / 1000, self.end, code)

    def end(self, code):
        if self.state != "running":
            return
        self.timer.cancel()
        self.state, self.code, self.finished = "exited", code, now()
        for s in self.streams:
            s.close()
        self.ended.set()

    def inspect(self):
        return {"Id": self.id, "Image": IMAGE_ID,
                "State": {"Status": self.state, "Running": self.state == "running", "OOMKilled": False, "Pid": 0,
                          "ExitCode": self.code, "Error": self.error, "StartedAt": self.started, "FinishedAt": self.finished},
                "HostConfig": {"Memory": self.asked["HostConfig"].get("Memory", 0)}, "Config": {"StopSignal": "SIGTERM"}}


class Engine:
    def __init__(self):
        self.containers, self.created, self.started = {}, 0, 0
        # (method, path): what answers, with the path's groups, the query, and the body
        self.routes = [(m, re.compile(r"(?:/v1\.\d+)?" + p), f) for m, p, f in (
            ("GET", r"/info", self.info),
            ("GET", r"/version", lambda q, b: (200, {"Version": "24.0.0", "ApiVersion": "1.41"})),
            ("GET", r"/images/.+/json", lambda q, b: (200, {"Id": IMAGE_ID})),
            ("POST", r"/images/create", lambda q, b: (200, {"status": "Status: Image is up to date"})),
            ("GET", r"/containers/json", self.list),
            ("POST", r"/containers/create", self.create),
            ("GET", r"/containers/(\w+)/json", lambda q, b, i: (200, self.find(i).inspect())),
            ("POST", r"/containers/(\w+)/start", self.start),
            ("POST", r"/containers/(\w+)/kill", self.kill),
            ("DELETE", r"/containers/(\w+)", self.remove),
            ("GET", r"/_tiny", lambda q, b: (200, {"created": self.created, "started": self.started, "alive": len(self.containers)})))]

    def find(self, container):
        if container not in self.containers:
            raise Refused(404, f"No such container: {container}")
        return self.containers[container]

    def info(self, _query, _body):
        return 200, {"ServerVersion": "24.0.0", "NCPU": os.cpu_count(), "CgroupVersion": "2", "DefaultRuntime": "tiny",
                     "InitBinary": "", "Runtimes": {}, "SecurityOptions": [],
                     "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")}

    def list(self, query, _body):
        wanted = json.loads(query.get("filters", "{}")).get("label", [])
        return 200, [{"Id": c.id, "State": c.state, "Labels": c.labels} for c in self.containers.values()
                     if all(label.split("=")[0] in c.labels for label in wanted)]

    def create(self, query, body):
        if query.get("name") in {c.asked["name"] for c in self.containers.values()} - {None}:
            raise Refused(409, f"The container name \"{query['name']}\" is already in use")
        self.created += 1
        c = Container(self.created, {**json.loads(body), "name": query.get("name")})
        self.containers[c.id] = c
        return 201, {"Id": c.id, "Warnings": []}

    def start(self, _query, _body, container):
        self.find(container).start()
        self.started += 1
        return 204, None

    def kill(self, query, _body, container):
        c = self.find(container)
        if c.state != "running":
            raise Refused(409, f"container {container} is not running")
        c.end(128 + SIGNALS.get(query.get("signal", "KILL"), 15))
        return 204, None

    def remove(self, _query, _body, container):
        c = self.find(container)
        c.end(137)
        c.ended.set()
        del self.containers[container]
        return 204, None

    def answer(self, method, path, query, body):
        for m, pattern, call in self.routes:
            if m == method and (found := pattern.fullmatch(path)):
                return call(query, body, *found.groups())
        raise Refused(404, f"page not found: {method} {path}")

    async def wait(self, container):
        c = self.find(container)
        if c.state == "running":
            await c.ended.wait()
        return 200, {"StatusCode": c.code}

    def attach(self, container, writer):
        c = self.find(container)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: close\r\n\r\n")
        c.streams.append(writer)


def send(writer, status, answer):
    body = b"" if answer is None else json.dumps(answer).encode()
    writer.write(b"HTTP/1.1 %d Tiny\r\nServer: Docker/24.0.0 (linux)\r\nApi-Version: 1.41\r\n"
                 b"Content-Type: application/json\r\n" % status +
                 (b"" if status in (204, 304) else b"Content-Length: %d\r\n" % len(body)) + b"\r\n" + body)


async def read_request(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *fields = head.split("\r\n")
    method, target, _ = line.split(" ")
    length = int(next((f.split(":")[1] for f in fields if f.lower().startswith("content-length:")), 0))
    if length > BODY_MAX:
        raise ValueError("the body is too long")
    body = await reader.readexactly(length) if length else b""
    at = urllib.parse.urlsplit(target)
    return method, urllib.parse.unquote(at.path), dict(urllib.parse.parse_qsl(at.query)), body


async def serve(engine, reader, writer):
    """One connection: requests in turn; after an attach it carries the output alone."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ValueError):
        while True:
            method, path, query, body = await read_request(reader)
            try:
                if found := re.fullmatch(r"(?:/v1\.\d+)?/containers/(\w+)/(attach|wait)", path):
                    if found[2] == "attach":
                        engine.attach(found[1], writer)
                        return  # whoever ends the container closes it
                    send(writer, *await engine.wait(found[1]))
                elif path.endswith("/_ping"):
                    send(writer, 200, {})
                else:
                    send(writer, *engine.answer(method, path, query, body))
            except Refused as e:
                send(writer, e.status, {"message": str(e)})
            await writer.drain()
    writer.close()


async def main(path):
    engine = Engine()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    server = await asyncio.start_unix_server(lambda r, w: serve(engine, r, w), path, backlog=512)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1]))
