#!/usr/bin/python3
"""The fault server: S3 on loopback that goes wrong where a script says so, and counts all that it is asked.

In a test:      with FaultServer() as server: server.put("bucket", "key", size=1 << 30); server.rule(nth=2, status=503)
On its own:     tests/faults/server.py SCRIPT.json [--port N] [--host A] [--tls CERT KEY]
                prints its address, and serves until it is killed; controlled at /_control (see `Control`)

SCRIPT.json     {"buckets": [{"name", "public"?, "generated"?}], "objects": [{"bucket", "key", "size"|"data", …}],
                 "rules": [{…}], "identities": [{"access", "secret", …}], "region"?, "verify"?, "clock_offset"?}

What can go wrong is in rules.py, what an object may be in s3.py. Nothing waits for time to pass unless a rule says so
(trickle_ms, delay_ms, seconds): what has to wait, waits at a gate that the test opens."""
import argparse
import contextlib
import json
import pathlib
import socket
import ssl
import sys
import threading
import time

if __package__ in (None, ""):
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

from faults import s3, sigv4, uploads, wire
from faults.rules import ABSENT, Rule

WAIT_SECONDS = 60  # the longest that a test waits for what should come at once
NO_RULE = Rule()


class FaultServer:
    """Settings (may be changed at any time): `verify` has signatures checked; `region` is the only right one;
    `clock_offset` is how far the server's clock is ahead, in seconds. Counters: `log`, `connections`, `peak`."""

    def __init__(self, host="127.0.0.1", port=0, tls=None, verify=False, region=None, clock_offset=0):
        self.verify, self.region, self.clock_offset = verify, region, clock_offset
        self.host, self.tls = host, None
        if tls:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*tls)
        self.buckets, self.identities, self.pages = {}, {}, {}
        self.rules, self.gates, self.log = [], {}, []
        self.connections = self.active = self.peak = 0
        self.changed = threading.Condition()
        self.sockets, self.stopping = set(), False
        self.listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET,
                                             backlog=256)
        self.port = self.listener.getsockname()[1]

    # ---- life ----

    def start(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def stop(self):
        with self.changed:
            self.stopping = True
            self.changed.notify_all()
            open_now = list(self.sockets)
        for sock in (self.listener, *open_now):  # a listener that is closed alone goes on accepting, and keeps all this in memory
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    @property
    def authority(self):
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://{self.authority}"

    # ---- what it holds ----

    def bucket(self, name, public=False, generated=None):
        self.buckets[name] = s3.Bucket(name, public, generated)
        return self.buckets[name]

    def put(self, bucket, key, data=None, **options):
        """An object; the bucket is made where there is none. Its content: put(…).now.content."""
        holder = self.buckets.get(bucket) or self.bucket(bucket)
        holder.objects[key] = s3.Object(key, data, **options)
        return holder.objects[key]

    def identity(self, access, secret, **more):
        self.identities[access] = s3.Identity(access, secret, **more)
        return self.identities[access]

    def page(self, path, *answers):
        """A plain path: (status, text, headers) each; the last one stays. Text may be a function of the request."""
        self.pages[path] = list(answers)

    def rule(self, **fields):
        r = Rule(**fields)
        with self.changed:
            self.rules.append(r)
        return r

    def forget(self):
        """Drop the rules and the log, keep the objects."""
        with self.changed:
            self.rules, self.log, self.connections, self.peak = [], [], 0, self.active

    # ---- gates and waiting ----

    def release(self, gate):
        with self.changed:
            self.gates[gate] = True
            self.changed.notify_all()

    def _released(self, gate):
        return self.gates.get(gate, False)

    def _wait_gate(self, gate):
        with self.changed:
            self.changed.wait_for(lambda: self.stopping or self._released(gate))
            if self.stopping:
                raise wire.Ended

    def wait(self, what, seconds=WAIT_SECONDS):
        """Until what() holds; it is asked whenever a request came or a body went on, and every now and then."""
        end = time.monotonic() + seconds
        with self.changed:
            while not what():
                if time.monotonic() > end:
                    raise AssertionError(f"did not happen within {seconds} s; asked so far:\n" + self.told())
                self.changed.wait(0.1)

    def settle(self):
        """Until every connection has come to its end, those that a killed client left half read included: connections
        are accepted in the order they were made, so that an answer on a new one says that all before it were."""
        with socket.create_connection((self.host, self.port)) as probe:
            probe.sendall(b"GET /_control/counts HTTP/1.1\r\n\r\n")
            assert probe.recv(1)
        self.wait(lambda: not self.sockets)

    # ---- what it was asked ----

    def asked(self, **fields):
        """Requests of the log whose attributes equal `fields`."""
        with self.changed:
            return [r for r in self.log if all(getattr(r, k) == v for k, v in fields.items())]

    def sent(self, **fields):
        """Bytes of bodies, over asked(…)."""
        return sum(r.sent for r in self.asked(**fields))

    def told(self):
        with self.changed:
            return "\n".join(f"{r.method} {r.target} range={r.range} by={r.access} → {r.status}, {r.sent} bytes" for r in self.log)

    # ---- connections ----

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with self.changed:
                self.connections += 1
                number = self.connections
                self.sockets.add(sock)
                self.changed.notify_all()
            threading.Thread(target=self._serve, args=(sock, number), daemon=True).start()

    def _serve(self, sock, number):
        bare = sock
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
                with self.changed:
                    self.sockets = self.sockets - {bare} | {sock}
            connection = wire.Connection(sock, number)
            while self._serve_one(connection):
                pass
        except (wire.Ended, OSError):
            pass
        finally:
            with self.changed:
                self.sockets -= {bare, sock}
                self.changed.notify_all()
            sock.close()

    def _serve_one(self, connection):
        method, target, headers = connection.read_head()
        if target.startswith("/_control"):
            connection.send(Control(self).answer(method, target, connection.read_body(headers)))
            return True
        with self.changed:
            request = wire.Request(len(self.log) + 1, connection.number, method, target, headers, time.monotonic())
            self._locate(request)
            self.log.append(request)
            self.active += 1
            request.together = self.active
            self.peak = max(self.peak, self.active)
            rule = next((r for r in self.rules if r.takes(request, self._released)), NO_RULE)
            self.changed.notify_all()
        try:
            pause = (rule.take_at, lambda: self._wait_gate(rule.gate)) if rule.take_at is not None else None
            request.body = connection.read_body(headers, rule.read, lambda n: self._received(request, n), pause)
            return self._answer(connection, request, rule) and headers.get("connection", "").lower() != "close"
        finally:
            with self.changed:
                self.active -= 1
                request.done = True
                self.changed.notify_all()

    def _locate(self, request):
        request.access, request.region = sigv4.claimed(request)
        if request.path in self.pages:
            request.op = "page"
            return
        bucket, _, key = request.path.lstrip("/").partition("/")
        request.bucket = bucket
        stores = uploads.op_of(request.method, key, request.query)
        if stores:
            request.key, request.op = key, stores
        elif key:
            request.key, request.op = key, "head" if request.method == "HEAD" else "get"
        else:
            request.op = "list"

    # ---- answers ----

    def _answer(self, connection, request, rule):
        if rule.hold:
            self._wait_gate(rule.hold)
        time.sleep(rule.delay_ms / 1000)
        with self.changed:
            answer = self._by_rule(request, rule) if rule.status else self._by_book(request, rule)
        if rule.short is not None:
            answer.end = min(answer.end, answer.first + rule.short)
        headers, length = self._head(request, answer, rule)
        with self.changed:
            request.status = answer.status
        if rule.lost:
            connection.reset()
        connection.send(wire.head_bytes(answer.status, headers))
        if request.method != "HEAD" and length != 0:
            wire.send_body(connection, request, wire.body_pieces(answer, rule), rule, self._wait_gate,
                           lambda n: self._count(request, n))
        if rule.framing == "close":
            connection.end()
        return True

    def _received(self, request, n):
        with self.changed:
            request.received += n
            self.changed.notify_all()

    def _count(self, request, n):
        with self.changed:
            request.sent += n
            self.changed.notify_all()

    def _head(self, request, answer, rule):
        length = answer.length + rule.extra
        if rule.stream:
            s = rule.stream
            length = len(s["head"].encode()) + len(s["unit"].encode()) * s["count"] + len(s["tail"].encode())
        headers = {"Date": wire.http_date(time.time() + self.clock_offset), "Server": "fault",
                   "x-amz-request-id": s3.request_id(request.number), "Content-Length": length, **answer.headers, **rule.headers}
        if rule.content_range != ABSENT:
            headers["Content-Range"] = rule.content_range
        if rule.framing:
            del headers["Content-Length"]
            headers["Transfer-Encoding" if rule.framing == "chunked" else "Connection"] = rule.framing
        gone = {n.lower() for n in rule.without}
        return {k: v for k, v in headers.items() if v is not None and k.lower() not in gone}, length

    def _by_rule(self, request, rule):
        headers = {k: v for k, v in (("x-amz-bucket-region", rule.region_header), ("Location", rule.location)) if v}
        if rule.stream is not None or rule.body is not None:
            return s3.document(rule.status, rule.body or "", headers)
        if rule.status in (200, 206):
            raise ValueError("a rule with a good status needs a body")
        more = {"Region": rule.region_header} if rule.code == "AuthorizationHeaderMalformed" and rule.region_header else {}
        return s3.error(rule.status, rule.code or "Fault", rule.message, headers, **more)

    def _by_book(self, request, rule):
        try:
            if request.op == "page":
                return self._page(request)
            who = sigv4.verify(request, self.identities, self.region, time.time() + self.clock_offset) if self.verify else None
            if rule.expire and request.access in self.identities:
                self.identities[request.access].expired = True
            return self._object_or_list(request, rule, who)
        except sigv4.Refused as e:
            return s3.error(e.status, e.code, e.message, **e.elements)

    def _page(self, request):
        answers = self.pages[request.path]
        status, text, headers = answers.pop(0) if len(answers) > 1 else answers[0]
        return s3.document(status, text(request) if callable(text) else text, headers, "application/json")

    def _object_or_list(self, request, rule, who):
        bucket = self.buckets.get(request.bucket)
        if bucket is None:
            raise sigv4.Refused(404, "NoSuchBucket", BucketName=request.bucket or "")
        allowed = bucket.public or (who and (who.buckets is None or bucket.name in who.buckets))
        if self.verify and not allowed:
            raise sigv4.Refused(403, "AccessDenied", "Access Denied")
        if request.op in uploads.OPS:
            return uploads.OPS[request.op](bucket, request, request.body)
        if request.op == "list":
            return s3.listing(bucket, request)
        o = bucket.find(request.key)
        if o is None:
            raise sigv4.Refused(404, "NoSuchKey", Key=request.key)
        if rule.change:
            o.change()
        return s3.fetch(o, request, rule.ignore_range)


class Control:
    """GET /_control/log: all requests as JSON; /_control/counts: totals. POST /_control/release?GATE; /_control/rule,
    /_control/object, /_control/bucket, /_control/identity with the fields as JSON; /_control/forget."""

    def __init__(self, server):
        self.server = server

    def answer(self, method, target, body):
        path, _, query = target.partition("?")
        try:
            result = self._do(method, path.removeprefix("/_control/"), query, json.loads(body) if body else {})
            status, text = 200, json.dumps(result)
        except (KeyError, TypeError, ValueError) as e:
            status, text = 400, json.dumps({"error": repr(e)})
        payload = text.encode()
        return wire.head_bytes(status, {"Content-Type": "application/json", "Content-Length": len(payload)}) + payload

    def _do(self, method, what, query, fields):
        s = self.server
        if method == "GET" and what == "log":
            return [r.record() for r in s.asked()]
        if method == "GET" and what == "counts":
            return {"requests": len(s.log), "sent": s.sent(), "connections": s.connections, "peak": s.peak}
        if method == "POST" and what == "release":
            s.release(query)
        elif method == "POST" and what == "forget":
            s.forget()
        elif method == "POST" and what in ("rule", "object", "bucket", "identity"):
            load(s, {f"{what}s" if what != "identity" else "identities": [fields]})
        else:
            raise KeyError(f"{method} {what}")
        return {}


def load(server, script):
    for b in script.get("buckets", ()):
        server.bucket(**b)
    for o in script.get("objects", ()):
        server.put(**o)
    for i in script.get("identities", ()):
        server.identity(**i)
    for r in script.get("rules", ()):
        server.rule(**r)
    for name in ("verify", "region", "clock_offset"):
        setattr(server, name, script.get(name, getattr(server, name)))


def main():
    p = argparse.ArgumentParser(description="An S3 server that goes wrong where a script says so.")
    p.add_argument("script", type=pathlib.Path)
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--port", type=int, default=0)
    p.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    a = p.parse_args()
    with FaultServer(a.host, a.port, a.tls) as server:
        load(server, json.loads(a.script.read_text()))
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
