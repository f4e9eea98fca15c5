"""One berth server at a time, spoken to by hand: every answer is held against docs/openapi.json."""
import base64
import contextlib
import http.client
import json
import os
import pathlib
import re
import socket
import subprocess
import threading
import urllib.parse
import uuid

import jsonschema

from conftest import BERTH, ROOT, is_sanitized
from fleet import Postgres, keep_process

OPENAPI = json.loads((ROOT / "docs/openapi.json").read_text())
PATIENCE = 60  # seconds for one answer
# TSan's runtime loses about one in a hundred of the signals that come right after a start: the process never sees them. Without it,
# none of 1,800 was lost.
LOSES_SIGNALS = is_sanitized(BERTH, [b"__tsan_init"])
JOBS = "/api/v1/orchestrator/jobs"
MARKET = "/api/markets/gpu"
NODE = "/api/v1/node/"


def operations():
    """(method, path pattern, operation) of the description."""
    for pattern, by_method in OPENAPI["paths"].items():
        for method, op in by_method.items():
            yield method.upper(), pattern, op


def _fits(pattern, path):
    return re.fullmatch(re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(pattern)), path)


def find_operation(method, path):
    # The one with the fewest parameters is the one meant.
    found = [(p.count("{"), p, op) for m, p, op in operations() if m == method and _fits(p, path)]
    return min(found, key=lambda f: f[0])[1:] if found else (None, None)


def check(schema, value, what):
    resolver = jsonschema.RefResolver.from_schema(OPENAPI)
    errors = list(jsonschema.Draft202012Validator(schema, resolver=resolver).iter_errors(value))
    assert not errors, f"{what}: {errors[0].json_path}: {errors[0].message}"


class Answer:
    def __init__(self, response, body):
        self.status, self.headers, self.body = response.status, dict(response.getheaders()), body
        self.is_json = response.getheader("Content-Type", "").startswith("application/json")
        self.json = json.loads(body) if self.is_json and body else None

    @property
    def code(self):
        return self.json["error"]["code"]

    @property
    def message(self):
        return self.json["error"]["message"]

    def __repr__(self):
        return f"<HTTP {self.status} {self.body[:2000]!r}>"


class Client:
    """A caller with a token, or without."""

    def __init__(self, url, token=None, context=None):
        self.at, self.token, self.context = urllib.parse.urlsplit(url), token, context
        self.walked = set()

    def connect(self):
        if self.at.scheme == "https":
            return http.client.HTTPSConnection(self.at.netloc, timeout=PATIENCE, context=self.context)
        return http.client.HTTPConnection(self.at.netloc, timeout=PATIENCE)

    def headers(self, more):
        return {**({"Authorization": f"Bearer {self.token}"} if self.token else {}), **more}

    def __call__(self, method, path, body=None, **headers):
        """The answer, as described; `body` may be bytes, to send what is no JSON."""
        headers = self.headers({k.replace("_", "-"): v for k, v in headers.items()})
        with contextlib.closing(self.connect()) as c:
            c.request(method, path, body if body is None or isinstance(body, bytes) else json.dumps(body), headers)
            response = c.getresponse()
            answer = Answer(response, response.read())
        self._check(method, path, answer)
        return answer

    def _check(self, method, path, answer):
        pattern, op = find_operation(method, urllib.parse.urlsplit(path).path)
        if op is None:
            if answer.status >= 400 and answer.is_json:
                check({"$ref": "#/components/schemas/Error"}, answer.json, path)
            return
        said = op["responses"].get(str(answer.status)) or op["responses"]["default"]
        kind, described = next(iter(said["content"].items()))
        if kind == "application/json":
            assert answer.is_json, (path, answer)
            check(described["schema"], answer.json, f"{method} {path}: {answer}")
        else:
            assert answer.headers["Content-Type"].startswith(kind)
        assert answer.status < 500 or answer.status == 503, answer
        if answer.status < 300:
            self.walked.add((method, pattern))

    def get(self, path):
        return self("GET", path)

    def ok(self, method, path, body=None, **headers):
        answer = self(method, path, body, **headers)
        assert answer.status in (200, 201), answer
        return answer.json

    def post_job(self, definition=None, market="gpu", **more):
        return self.ok("POST", JOBS, {"version": 1, "market": market, "definition": definition or job(), **more})["job"]

    def events(self, path, last=None):
        """Server-sent events as (event, id, data), until the server ends them."""
        with contextlib.closing(self.connect()) as c:
            c.request("GET", path, headers=self.headers({"Last-Event-ID": last} if last else {}))
            response = c.getresponse()
            assert response.status == 200, response.read()
            assert response.getheader("Content-Type") == "text/event-stream"
            event, ident, data = "message", None, ""
            for line in response:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    event = value
                elif name == "id":
                    ident = value
                elif name == "data":
                    data = value
                elif not name and data:
                    yield event, ident, json.loads(data)
                    event, ident, data = "message", None, ""


class Node(Client):
    """The agent's side of a server, without an agent."""

    def __init__(self, server, join_token, name=None, **hello):
        super().__init__(server.url, join_token)
        self.id = name or f"n-{uuid.uuid4().hex[:8]}"
        self.hello = self.say("hello", name=self.id, slots=4, info={"version": "1", "cpus": 8, "memory_bytes": 1 << 34, "disk_bytes": 1 << 40,
                                                                    "engine": "docker", "gpus": []}, **hello)
        self.token = self.hello.get("token", self.token)
        self.say("heartbeat", ready=True)

    def message(self, what, **members):
        return self("POST", NODE + what, {"version": 1, "node": self.id, **members})

    def say(self, what, **members):
        answer = self.message(what, **members)
        assert answer.status == 200, (what, members, answer)
        return answer.json

    def claim(self, free=1, wait_ms=30000):
        return self.say("claim", free=free, wait_ms=wait_ms)["claims"]

    def log(self, ref, text, offset=0, stream=1):
        return self.message("logs", **ref, stream=stream, offset=offset, data=base64.b64encode(text.encode()).decode())


def ref(claim):
    return {k: claim[k] for k in ("job", "index", "epoch")}


def job(cmd="true", **args):
    return {"version": "0.1", "type": "container",
            "ops": [{"id": "op", "type": "container/run", "args": {"image": "busybox", "cmd": ["sh", "-c", cmd], **args}}]}


class Server:
    """`berth serve` with a state folder of its own, on any port that is free."""

    def __init__(self, folder, db=None, *options, env=None, start=True):
        folder.mkdir(exist_ok=True)
        self.folder, self.state = folder, folder / "state"
        self.options = [*(["--db", db] if db else []), *options]
        kept = {n: os.environ[n] for n in ("PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS") if n in os.environ}
        self.env = {**kept, "HOME": str(folder), "AWS_EC2_METADATA_DISABLED": "true", "BERTH_SERVE_REQUESTS_PER_SECOND": "100000", **(env or {})}
        self.process, self.url = None, None
        if start:
            self.start()

    def start(self):
        listen = [] if "--listen" in self.options else ["--listen", "127.0.0.1:0"]
        self.errors = open(self.folder / "errors", "ab")  # pylint: disable=consider-using-with
        self.process = subprocess.Popen([BERTH, "serve", "--json", "--state-dir", self.state, *listen, *self.options], env=self.env,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.errors)
        keep_process(self.process)
        said = b""
        while not said.rstrip().endswith(b"}"):
            line = self.process.stdout.readline()
            assert line, f"berth serve ended with {self.process.wait()}:\n{self.said}"
            said += line
        self.announced = json.loads(said)
        self.url = self.announced["url"].replace("//0.0.0.0:", "//127.0.0.1:")
        return self

    @property
    def said(self):
        return (self.folder / "errors").read_text(errors="replace")

    @property
    def operator(self):
        return Client(self.url, (self.state / "operator.token").read_text().strip())

    def client(self, role, market=None):
        return Client(self.url, self.token(role, market))

    def token(self, role, market=None):
        wanted = {"version": 1, "role": role, "name": f"a {role}", **({"market": market} if market else {})}
        return self.operator.ok("POST", "/api/v1/tokens", wanted)["token"]

    def market(self, address="gpu", **settings):
        self.operator.ok("PUT", f"/api/markets/{address}", {"version": 1, **settings})
        return self

    def node(self, market="gpu", **hello):
        return Node(self, self.token("join", market), market=market, **hello)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        """Politely; the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        if LOSES_SIGNALS:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE / 3)
            if self.process.poll() is None:
                self.process.terminate()
        code = self.process.wait(PATIENCE)
        self.errors.close()
        return code


class Databases:
    """One PostgreSQL for all tests of a session, a database of its own for each."""

    def __init__(self, folder):
        self.postgres = Postgres(folder)
        self.postgres.start()

    def new(self):
        name = f"t{uuid.uuid4().hex[:12]}"
        subprocess.run([self.postgres.bin / "psql", "-q", self.postgres.url, "-c", f"CREATE DATABASE {name}"], check=True, capture_output=True)
        return self.postgres.url.rpartition("/")[0] + "/" + name

    def close(self):
        self.postgres.crash()


def in_background(work):
    """Runs `work` on a thread; call what is returned for its result."""
    box = {}

    def run():
        try:
            box["result"] = work()
        except BaseException as e:  # pylint: disable=broad-except
            box["error"] = e
    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def result():
        thread.join(PATIENCE)
        assert not thread.is_alive(), "it did not come to an end"
        if "error" in box:
            raise box["error"]
        return box["result"]
    return result


def raw(url, data, more=b""):
    """Bytes in, all bytes out until the server closes."""
    at = urllib.parse.urlsplit(url)
    with socket.create_connection((at.hostname, at.port), timeout=PATIENCE) as s:
        s.sendall(data)
        if more:
            with contextlib.suppress(OSError):
                s.sendall(more)
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := s.recv(65536):
                got += chunk
        return got


def memory_peak(pid):
    return int(re.search(r"VmHWM:\s*(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) * 1024
