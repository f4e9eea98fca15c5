"""P10: from a claim to the first byte asked for, by real processes on an idle market: one `berth serve`, one `berth node start`, Docker.

Jobs are posted one after another, each with an object of its own, so that nothing is warm. All clocks are one machine's. A claim's
time is the server's: the database's clock when the claim that got the job began, as the job's history has it in milliseconds; its
transaction, commit and way to the node come after it, and count. The origin takes the time when a request's first line is there.
Unlike the rest of P10, databases are on disk (TMPDIR), and PostgreSQL waits for it at each commit."""
import hashlib
import http.server
import pathlib
import random
import statistics
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests/it"))
import fleet  # noqa: E402

BUCKET, IMAGE = "bench", "localhost/busybox:latest"
LIMIT_MS = 50
WARM_UP = 5       # jobs of a node that has just started
PAUSE_S = 0.05, 0.25  # between jobs: at no fixed distance to anything that happens once a second


class Origin(http.server.ThreadingHTTPServer):
    """An S3 server of objects that are made of their keys; it knows when each was asked for first, and when for its bytes."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.read = {}, {}  # key: seconds since 1970
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def parse_request(self):
        self.came = time.time()
        return super().parse_request()

    def send(self, with_body):
        key = urllib.parse.urlsplit(self.path).path.removeprefix(f"/{BUCKET}/")
        self.server.asked.setdefault(key, self.came)
        if with_body:
            self.server.read.setdefault(key, self.came)
        body = key.encode()
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.md5(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def do_HEAD(self):
        self.send(False)

    def do_GET(self):
        self.send(True)

    def log_message(self, *_):
        pass


def job(key):
    source = {"Type": "s3", "Params": {"Bucket": BUCKET, "Key": key}}
    return {"Name": key, "Type": "batch", "Tasks": [
        {"Name": "main", "Engine": {"Type": "docker", "Params": {"Image": IMAGE, "Parameters": ["true"]}},
         "InputSources": [{"Target": "/data", "Source": source}]}]}


def one(market, origin, key):
    """Milliseconds of one job: (post to claim, claim to first request, claim to first byte asked for, post to that)."""
    posted = time.time()
    job_id = market.post(job(key), credentials={"access_key_id": "bench", "secret_access_key": "bench", "region": "us-east-1"})["id"]
    end = market.await_end(job_id)
    assert end["state"] == "succeeded", end
    claimed = next(h["at_ms"] for h in market.job(job_id, "history")["history"] if h["to"] == "claimed") / 1000
    asked, read = origin.asked[key], origin.read[key]
    return [1000 * s for s in (claimed - posted, asked - claimed, read - claimed, read - posted)]


def measure(berth, engine, db, jobs):
    """`jobs` times what one() gives, as four columns."""
    origin = Origin()
    with fleet.Fleet(berth, servers=1, db=db, lease="45s") as market:
        if market.database:
            market.database.argv[market.database.argv.index("fsync=off")] = "fsync=on"
        market.start()
        market.add_node(url=market.urls[0], env={"BERTH_ENGINE": engine, "BERTH_S3_ENDPOINT": origin.url})
        market.await_nodes()
        rows = []
        for i in range(WARM_UP + jobs):
            time.sleep(random.uniform(*PAUSE_S))
            rows.append(one(market, origin, f"{db}-{i:06d}"))
    origin.shutdown()
    origin.server_close()
    return list(zip(*rows[WARM_UP:]))


def p99(values):
    return sorted(values)[len(values) * 99 // 100]


def report(bench, jobs):
    bench.say(f"An idle market, one node with Docker: {jobs} jobs one after another, each with an S3 object of its own; ms, median / p99 / longest\n\n"
              "| database | post → claim | claim → first request | claim → first byte requested | post → first byte requested |\n|---|---|---|---|---|")
    slowest = {}
    for name, db in (("SQLite", "sqlite"), ("PostgreSQL", "postgres")):
        columns = measure(bench.berth, bench.servers["docker"]["address"], db, jobs)
        slowest[name] = p99(columns[2])
        bench.say(f"| {name} | " + " | ".join(f"{statistics.median(c):.1f} / {p99(c):.1f} / {max(c):.1f}" for c in columns) + " |")
    bench.say()
    for name, ms in slowest.items():
        bench.verdict(f"P10 claim → first byte requested, p99 ≤ {LIMIT_MS} ms, {name}", f"{ms:.0f} ms", ms <= LIMIT_MS,
                      f"{jobs} jobs, idle market, databases on disk")
