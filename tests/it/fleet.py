"""A market of real processes: servers on one database, a load balancer before them, nodes with engines that run nothing.

All of it can be killed, frozen and started again at any moment, and is gone when the fleet is closed."""
import atexit
import base64
import contextlib
import functools
import http.client
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

import keeper

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools"))
from ports import free_port  # noqa: E402

PATIENCE = 90  # seconds for anything to come about
JOBS = "/api/v1/orchestrator/jobs"


def eventually(what, probe, patience=PATIENCE):
    """What the probe gives as soon as that is true."""
    end = time.monotonic() + patience
    while not (found := probe()):
        if time.monotonic() > end:
            raise AssertionError(f"{patience} s were not enough for {what}")
        time.sleep(0.05)
    return found


@functools.cache
def start_keeper():
    return subprocess.Popen([sys.executable, keeper.__file__], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, bufsize=0,
                            start_new_session=True)


def keep(what, one_at_a_time=threading.Lock()):
    """Tells the keeper, who clears up should we be killed: our end of its pipe closes with this process."""
    with one_at_a_time:
        start_keeper().stdin.write(f"{what}\n".encode())


def keep_process(popen, last_signal=signal.SIGKILL):
    keep(f"process {popen.pid} {keeper.start_time(popen.pid)} {int(last_signal)}")


class Process:
    """A program that comes back under the same name after its death."""

    last_signal = signal.SIGKILL

    def __init__(self, name, argv, env, folder):
        self.name, self.argv, self.env = name, [str(a) for a in argv], env
        self.log, self.popen, self.frozen = folder / f"{name}.log", None, False

    @property
    def alive(self):
        return self.popen is not None and self.popen.poll() is None

    def start(self):
        with open(self.log, "ab") as out:
            self.popen = subprocess.Popen(self.argv, env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                          start_new_session=True)
        keep_process(self.popen, self.last_signal)
        self.frozen = False

    def send(self, number):
        if self.alive:
            self.popen.send_signal(number)

    def freeze(self):
        self.send(signal.SIGSTOP)
        self.frozen = True

    def thaw(self):
        self.send(signal.SIGCONT)
        self.frozen = False

    def kill(self):
        self.send(signal.SIGKILL)
        if self.popen:
            self.popen.wait()

    def end(self, number=signal.SIGTERM, patience=PATIENCE):
        """Asked politely; the exit code, or None where it had to be killed."""
        if self.frozen:
            self.thaw()
        self.send(number)
        try:
            return self.popen.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def tail(self, n=2000):
        return self.log.read_text(errors="replace")[-n:] if self.log.exists() else ""


@functools.cache
def empty_database(initdb, *drop):
    """As initdb makes it; a copy takes a tenth of the time."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="berth-initdb."))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shutil.chown(folder, "postgres", "postgres")
    subprocess.run([*drop, initdb, "-D", folder / "data", "-U", "berth", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync",
                    "--wal-segsize=1"], check=True, capture_output=True, cwd=folder)
    return folder / "data"


class Postgres(Process):
    """PostgreSQL in a folder of its own; crash() is `pg_ctl stop -m immediate`."""

    last_signal = signal.SIGQUIT  # or its shared memory stays

    def __init__(self, folder):
        found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
        self.bin, self.data, self.port = found[-1].parent, folder / "data", free_port()
        user = pwd.getpwnam("postgres")  # it refuses to run as root
        self.drop = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        folder.mkdir(exist_ok=True)
        os.chown(folder, user.pw_uid, user.pw_gid)
        subprocess.run(["cp", "-a", empty_database(found[-1], *self.drop), self.data], check=True)
        super().__init__("postgres", [*self.drop, self.bin / "postgres", "-D", self.data, "-h", "127.0.0.1", "-p", self.port, "-k", folder,
                                      "-c", "fsync=off", "-c", "restart_after_crash=on", "-c", "max_wal_size=8MB", "-c", "min_wal_size=2MB"],
                         dict(os.environ), folder)
        self.url = f"postgresql://berth@127.0.0.1:{self.port}/postgres"

    @property
    def ready(self):
        return subprocess.run([self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False).returncode == 0

    def start(self):
        """Until it takes connections; what was left of a crash may have to end first."""
        def up():
            if not self.alive:
                super(Postgres, self).start()
            return self.ready
        eventually("PostgreSQL to be up", up)

    def crash(self):
        self.end(signal.SIGQUIT)

    def cut_connections(self):
        subprocess.run([self.bin / "psql", "-q", self.url, "-c",
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = 'berth'"],
                       check=False, capture_output=True, timeout=PATIENCE)


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status, answer):
        super().__init__(f"HTTP {status}: {json.dumps(answer)[:500]}")
        self.status, self.answer = status, answer


class Client:
    """Speaks REST to any of the servers; what cannot be answered now goes to the next one, until patience is over.

    Only calls that may be repeated go through call(): GET, and posts with an idempotency key. once() tries one time."""

    def __init__(self, urls, token=None, patience=PATIENCE):
        self.hosts = [urllib.parse.urlsplit(u).netloc for u in urls]
        self.token, self.patience, self.failures = token, patience, 0
        self.local = threading.local()

    def once(self, host, method, path, body=None, key=None, timeout=20):
        connections = self.local.__dict__.setdefault("connections", {})
        conn = connections.get(host)
        if conn is None:
            conn = connections[host] = http.client.HTTPConnection(host, timeout=timeout)
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if key:
            headers["Idempotency-Key"] = key
        try:
            conn.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = conn.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException):
            conn.close()
            del connections[host]
            raise
        if response.getheader("Connection") == "close":
            conn.close()
            del connections[host]
        try:
            answer = json.loads(data) if data else {}
        except ValueError:
            answer = {"body": data[:200].decode(errors="replace")}
        if response.status // 100 != 2:
            raise Refused(response.status, answer)
        return answer

    def call(self, method, path, body=None, key=None, first=0):
        end, turn = time.monotonic() + self.patience, first
        while True:
            try:
                return self.once(self.hosts[turn % len(self.hosts)], method, path, body, key)
            except (OSError, http.client.HTTPException) as e:
                why = e
            except Refused as e:
                if e.status not in (429, 500, 502, 503, 504):
                    raise
                why = e
            self.failures += 1
            if time.monotonic() > end:
                raise AssertionError(f"{method} {path}: no server answered it for {self.patience} s: {why}")
            turn += 1
            time.sleep(0.1)

    def get(self, path):
        return self.call("GET", path)

    def pages(self, path, things):
        more = "&" if "?" in path else "?"
        after = ""
        while True:
            page = self.get(path + after)
            yield from page[things]
            if not page.get("next_token"):
                return
            after = f"{more}next_token={urllib.parse.quote(page['next_token'], safe='')}"


class Node:
    """A `berth node start` and the engine it works with; the engine outlives the node, as engines do."""

    def __init__(self, fleet, number, url, *options, env=None):
        self.name = f"node{number}"
        folder = fleet.folder / self.name
        folder.mkdir()
        self.socket, self.state = folder / "engine.sock", folder / "state"
        self.engine = Process(f"engine{number}", [sys.executable, HERE / "tiny_engine.py", self.socket], dict(os.environ), fleet.folder)
        token = folder / "join.token"
        token.touch(mode=0o600)
        token.write_text(fleet.join_token + "\n")
        full = {**fleet.env(folder), "BERTH_ENGINE": f"unix://{self.socket}", "BERTH_CACHE_DIR": str(folder / "cache"),
                "BERTH_NODE_PUBLIC_ONLY": "false", **(env or {})}
        argv = [*fleet.node_program, "node", "start", "--server", url, "--market", fleet.market, "--token-file", token, "--name", self.name,
                "--state-dir", self.state, *options]
        self.process = Process(self.name, argv, full, fleet.folder)

    def start(self):
        if not self.engine.alive:
            self.engine.start()
            eventually("the engine to listen", self.socket.exists)
        self.process.start()

    def engine_says(self):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(str(self.socket))
            s.sendall(b"GET /_tiny HTTP/1.1\r\nHost: e\r\n\r\n")
            answer = http.client.HTTPResponse(s)
            answer.begin()
            return json.loads(answer.read())


def balancer(folder, port, upstreams):
    """nginx, as it stands before stateless servers: what is refused by one goes to the next."""
    conf = folder / "nginx.conf"
    servers = "".join(f"server {u} max_fails=1 fail_timeout=1s; " for u in upstreams)
    conf.write_text(f"""
user root; worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; client_max_body_size 64m;
    client_body_temp_path {folder}/lb-b; proxy_temp_path {folder}/lb-p; fastcgi_temp_path {folder}/lb-f; uwsgi_temp_path {folder}/lb-u;
    scgi_temp_path {folder}/lb-s;
    upstream servers {{ {servers} keepalive 64; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://servers; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
            proxy_buffering off; proxy_connect_timeout 2s; proxy_read_timeout 60s;
        }}
    }}
}}
""")
    return Process("balancer", ["nginx", "-c", conf, "-e", folder / "nginx.error.log"], dict(os.environ), folder)


class Fleet:
    """Servers, a database, a load balancer and a market; nodes are added to it."""

    def __init__(self, berth, servers=2, db="postgres", lease="3s", market="fleet", settings=None, state=None, database=None):
        self.berth, self.market, self.nodes = berth, market, []
        self.node_program = [berth]  # or fake_node.py
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="berth-fleet."))
        keep(f"folder {self.folder}")
        self.folder.chmod(0o755)
        self.database = Postgres(database or self.folder / "db") if db == "postgres" else None
        self.state = state or self.folder / "state"
        self.settings = {"BERTH_SERVE_LEASE": lease, "BERTH_SERVE_REQUESTS_PER_SECOND": "100000", **(settings or {})}
        url = self.database.url if self.database else f"sqlite:{self.state}/market.db"
        self.servers = [self._server(i, url) for i in range(servers)]
        self.urls = [f"http://127.0.0.1:{s.port}" for s in self.servers]
        port = free_port()
        self.balancer = balancer(self.folder, port, [f"127.0.0.1:{s.port}" for s in self.servers])
        self.url = f"http://127.0.0.1:{port}"
        self.operator = self.poster = None
        self.join_token = None

    def env(self, home):
        kept = {n: os.environ[n] for n in ("PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS") if n in os.environ}
        return {**kept, "HOME": str(home), "LANG": "C.UTF-8", "AWS_EC2_METADATA_DISABLED": "true", "BERTH_CACHE_MIN_FREE": "0"}

    def _server(self, number, url):
        port = free_port()
        argv = [self.berth, "serve", "--listen", f"127.0.0.1:{port}", "--db", url, "--state-dir", self.state]
        p = Process(f"server{number}", argv, {**self.env(self.folder), **self.settings}, self.folder)
        p.port = port
        return p

    def healthy(self, index):
        try:
            Client([self.urls[index]]).once(f"127.0.0.1:{self.servers[index].port}", "GET", "/healthz", timeout=5)
            return True
        except (OSError, http.client.HTTPException, Refused):
            return False

    def start(self, **market_settings):
        if self.database:
            self.database.start()
        for i, s in enumerate(self.servers):
            s.start()
            eventually(f"{s.name} to be up", lambda i=i, s=s: self.healthy(i) or self._must_live(s))
        self.balancer.start()
        first = self.state / "operator.token"
        eventually("the first token to be written", first.exists)
        token = first.read_text().strip()
        self.operator = Client(self.urls, token)
        self.operator.call("PUT", f"/api/markets/{self.market}", {"version": 1, **market_settings})
        self.join_token = self.token("join")
        self.poster = Client(self.urls, self.token("poster"))
        return self

    @staticmethod
    def _must_live(process):
        assert process.alive, f"{process.name} ended:\n{process.tail()}"
        return False

    def token(self, role):
        asked = {"version": 1, "role": role, "name": role}
        return self.operator.call("POST", "/api/v1/tokens", asked if role == "poster" else {**asked, "market": self.market})["token"]

    def add_node(self, *options, url=None, env=None):
        node = Node(self, len(self.nodes), url or self.url, *options, env=env)
        self.nodes.append(node)
        node.start()
        return node

    def await_nodes(self, count=None):
        wanted = count or len(self.nodes)

        def ready():
            for n in self.nodes:
                self._must_live(n.process)
            found = self.operator.get(f"/api/v1/orchestrator/nodes?market={self.market}")["nodes"]
            return len([n for n in found if n["live"] and n["ready"]]) >= wanted
        eventually(f"{wanted} nodes to be ready", ready)

    def post(self, definition, key=None, first=0, **more):
        body = {"version": 1, "market": self.market, "definition": definition, **more}
        return self.poster.call("POST", JOBS, body, key, first)["job"]

    def job(self, job_id, *include):
        return self.poster.get(f"{JOBS}/{job_id}" + (f"?include={','.join(include)}" if include else ""))

    def output(self, job_id, index=0):
        """What the job wrote to stdout and stderr, as the server has it."""
        request = urllib.request.Request(f"{self.urls[0]}{JOBS}/{job_id}/logs?index={index}",
                                         headers={"Authorization": f"Bearer {self.poster.token}"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            data = [json.loads(line[5:]) for line in answer if line.startswith(b"data:")]
        return b"".join(base64.b64decode(d["data"]) for d in data if "data" in d).decode()

    def await_end(self, job_id, patience=PATIENCE):
        """The job as it ended."""
        def ended():
            found = self.job(job_id)["job"]
            return found if found["finished_ms"] else None
        return eventually(f"{job_id} to end", ended, patience)

    def close(self):
        for p in [p for n in self.nodes for p in (n.process, n.engine)] + [*self.servers, self.balancer]:
            if p.popen:
                p.kill() if p is not self.balancer else p.end()
        if self.database and self.database.popen:
            self.database.crash()
        keeper.remove(self.folder)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def tiny_job(script, results=None, inputs=None, count=1):
    """A job of the tiny engine (tiny_engine.py says what it may do); `results`: a folder of its own to publish."""
    job = {"Name": "tiny", "Type": "batch", "Count": count, "Tasks": [
        {"Name": "main", "Engine": {"Type": "docker", "Params": {"Image": "tiny", "EnvironmentVariables": [f"TINY={json.dumps(script)}"]}}}]}
    if inputs:
        job["Tasks"][0]["InputSources"] = inputs
    if results:
        job["Tasks"][0]["ResultPaths"] = [{"Name": "outputs", "Path": results}]
    return job


@contextlib.contextmanager
def small_disk(size):
    """A folder that is a file system of its own, and within everybody's reach."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="berth-disk."))
    path.chmod(0o755)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)
        path.rmdir()
