"""Fault F40: what callers must not get, and must not be able to do to the server."""
import contextlib
import json
import socket
import ssl
import subprocess
import urllib.parse

import pytest

from conftest import BERTH
from fleet import eventually
from lab import _servers
from serving import JOBS, MARKET, PATIENCE, Client, Server, in_background, job, memory_peak, operations, raw, ref


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    found = Server(tmp_path_factory.mktemp("server")).market()
    yield found
    assert found.end() == 0, found.said


def concrete(pattern):
    return pattern.replace("{id}", "j-abcdefghijklmnopqrstuvwx").replace("{address}", "gpu")


ROUTES = [(m, p, op.get("x-roles")) for m, p, op in operations()]
GUARDED = [r for r in ROUTES if r[2]]


@pytest.mark.parametrize("method, pattern, roles", GUARDED)
def test_without_a_token_there_is_401_and_with_the_wrong_role_403(server, method, pattern, roles):
    path = concrete(pattern)
    for token in (None, "berth_o" + "x" * 43, "", "Basic"):
        answer = Client(server.url, token)(method, path, b"{}")
        assert answer.status == 401 and answer.code == "unauthenticated" and answer.headers["WWW-Authenticate"] == "Bearer"
    for role in {"poster", "node", "join", "operator"} - set(roles):
        answer = server.client(role, "gpu" if role in ("node", "join") else None)(method, path, b"{}")
        assert answer.status == 403 and answer.code == "denied", (role, answer)


def test_a_revoked_token_is_none(server):
    operator, poster = server.operator, server.client("poster")
    assert poster.get(JOBS).status == 200
    mine = [t for t in operator.get("/api/v1/tokens?limit=500").json["tokens"] if t["role"] == "poster"]
    for t in mine:
        operator.ok("DELETE", f"/api/v1/tokens/{t['id']}")
    assert poster.get(JOBS).status == 401


@pytest.mark.parametrize("path", [
    "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd", "//etc/passwd", "/app.js/../../etc/passwd", "/./", "/app.js/",
    "/index.html", "/api/v1/orchestrator/jobs/../tokens", "/api/v1/orchestrator//jobs", "/api/v1/orchestrator/jobs/a/b/c", "/API/v1/agent/alive",
    "/api/v1/agent/alive/", "/healthz%00", "/%ff%fe", "/\\..\\..\\etc\\passwd", "/api/v1/node", "/api/markets/%2e%2e", "/api/markets/..",
    "/api/markets/gpu%2f..%2fgpu", "/api/markets/%00", "/.git/config", "/operator.token",
])
def test_path_tricks_lead_nowhere(server, path):
    at = urllib.parse.urlsplit(server.url)
    answer = raw(server.url, f"GET {path} HTTP/1.1\r\nHost: {at.netloc}\r\nConnection: close\r\n\r\n".encode("latin-1"))
    assert int(answer.split()[1]) in (404, 400), answer
    assert b"root:" not in answer and b"berth_" not in answer


@pytest.mark.parametrize("body, words", [
    (b"", "body"), (b"{", "line 1"), (b"[]", "object"), (b"null", "object"), (b'{"market": "gpu"} x', "body"),
    (b'{"market": "gpu", "market": "cpu"}', "duplicate"), (b'{"market": "gpu", "mraket": 1}', "did you mean 'market'"),
    (b'{"version": 2, "market": "gpu"}', "version"), (b'{"version": "1", "market": "gpu"}', "version"), (b'{"market": 7}', "market"),
    (b'{"market": "gpu", "definition": "text"}', "definition"), (b'{"market": "gpu", "definition": {}, "priority": 101}', "priority"),
    (b'{"market": "gpu", "definition": {}, "timeout_ms": -1}', "timeout_ms"), (b'{"market": "gpu", "timeout_ms": 1e3}', "timeout_ms"),
    (b'{"market": "gpu", "credentials": {"access_key_id": "a"}}', "go together"),
    (b'{"market": "gpu", "credentials": {"secret": "a"}}', "credentials.secret"), (b'{"market": "g\\u0000u", "definition": {}}', "u0000"),
    (b"[" * 100000, "body"), (b'{"market": "gpu", "definition": ' + b'{"a":' * 5000, "body"), (b"\xff\xfe", "body"),
])
def test_a_body_that_is_wrong_is_refused_with_what_is_wrong(server, body, words):
    answer = server.client("poster")("POST", JOBS, body)
    assert answer.status == 400 and answer.code == "invalid", answer
    assert words in json.dumps(answer.json), answer


def test_queries_that_no_route_knows_are_refused(server):
    poster = server.client("poster")
    answer = poster.get(f"{JOBS}?lmit=3")
    assert answer.status == 400 and "did you mean 'limit'" in json.dumps(answer.json)
    assert poster("DELETE", f"{JOBS}/j-abcdefgh", b"{}").status == 400
    assert poster("PATCH", JOBS).status == 405


def test_node_messages_must_say_their_version_and_node(server):
    node = server.node()
    for body in ({}, {"node": node.id}, {"version": 1}, {"version": 3, "node": node.id}, {"version": 1, "node": 7},
                 {"version": 1, "node": node.id, "fre": 1}, {"version": 1, "node": node.id, "free": 0}, {"version": 1, "node": node.id, "free": 65},
                 {"version": 1, "node": node.id, "wait_ms": 30001}, {"version": 1, "node": node.id, "holds": {}}):
        assert node("POST", "/api/v1/node/claim", body).status == 400, body
    assert node("POST", "/api/v1/node/claim", {"version": 1, "node": "another"}).status == 404
    for call, more, words in (("hello", {"peer": {"adress": "x"}}, "peer.adress"), ("heartbeat", {"blobs": {"ad": []}}, "blobs.ad"),
                              ("heartbeat", {"peers": {"sent_bytes": -1}}, "peers.sent_bytes"), ("heartbeat", {"peers": {"sent": 1}}, "peers.sent")):
        answer = node.message(call, **more)
        assert answer.status == 400 and words in answer.message, answer


def test_a_log_that_is_too_long_or_no_base64_is_refused(server):
    poster, node = server.client("poster"), server.node()
    poster.post_job()
    x = ref(node.claim()[0])
    for data, stream in (("A" * (4 * (256 << 10) // 3 + 8), 1), ("%%%", 1), ("eA", 1), ("eA==", 3), ("eA==", 0)):
        assert node.message("logs", **x, stream=stream, offset=0, data=data).status == 400


@pytest.mark.parametrize("path, token", [(JOBS, "poster"), (JOBS, None), ("/api/v1/node/finish", None), ("/", None)])
def test_a_gigabyte_is_not_read(server, path, token):
    at, who = urllib.parse.urlsplit(server.url), server.token("poster") if token else "x"
    head = f"POST {path} HTTP/1.1\r\nHost: {at.netloc}\r\nAuthorization: Bearer {who}\r\nContent-Length: {1 << 30}\r\n\r\n"
    answer = raw(server.url, head.encode(), b"x" * (1 << 20))
    assert int(answer.split()[1]) == (405 if path == "/" else 413), answer[:300]
    assert memory_peak(server.process.pid) < 256 << 20
    assert Client(server.url).get("/healthz").status == 200


def test_a_body_without_end_is_cut_off(server):
    at = urllib.parse.urlsplit(server.url)
    with socket.create_connection((at.hostname, at.port), timeout=PATIENCE) as s:
        token = f"Authorization: Bearer {server.token('poster')}"
        s.sendall(f"POST {JOBS} HTTP/1.1\r\nHost: {at.netloc}\r\n{token}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
        with pytest.raises(OSError):  # it ends long before this loop does
            for _ in range(4096):
                s.sendall(chunk)
    assert memory_peak(server.process.pid) < 256 << 20


def test_strangers_keep_nobodys_body_out(tmp_path):
    """All that the server takes of bodies at once, and more: 60 of 6 MB, each but for its last byte."""
    server = Server(tmp_path / "s").market()
    at = urllib.parse.urlsplit(server.url)
    poster, node = server.client("poster"), server.node()
    body, answers = b"{" + b" " * ((6 << 20) - 2) + b"}", []
    wrong = ("", f"Authorization: Bearer berth_p{'x' * 43}\r\n", f"Authorization: Bearer {node.token}\r\n")  # the last is of another role
    lengths = (f"Content-Length: {len(body)}\r\n\r\n".encode(), b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body))
    with contextlib.ExitStack() as stack:
        strangers = [stack.enter_context(socket.create_connection((at.hostname, at.port), timeout=PATIENCE)) for _ in range(60)]
        for i, s in enumerate(strangers):
            with contextlib.suppress(OSError):  # it is answered, and the connection closed, meanwhile
                s.sendall(f"POST {JOBS} HTTP/1.1\r\nHost: h\r\n{wrong[i % 3]}".encode() + lengths[i % 2] + body[:-1])
        assert poster.post_job(job("true # " + "x" * 100000))["state"] == "queued"
        for s in strangers[:6]:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_WR)
                answers.append(s.recv(100))
    assert all(int(a.split()[1]) in (401, 403) for a in answers if a), answers
    assert memory_peak(server.process.pid) < 256 << 20
    assert server.end() == 0


def test_whoever_trickles_is_cut_off_while_others_are_served(tmp_path):
    server = Server(tmp_path / "s", env={"BERTH_SERVE_REQUEST_TIMEOUT": "1s"}).market()
    at = urllib.parse.urlsplit(server.url)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection((at.hostname, at.port), timeout=PATIENCE)) for _ in range(200)]
        for s in slow[:100]:
            s.sendall(b"GET /healthz HTTP/1.1\r\nX-A: ")
        for s in slow[100:]:
            s.sendall(f"POST {JOBS} HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{{".encode())
        poster = server.client("poster")
        assert poster.get(JOBS).status == 200
        for s in slow:
            with contextlib.suppress(ConnectionResetError):
                while s.recv(1000):  # until it is cut off
                    pass
    assert poster.post_job()["state"] == "queued"
    assert server.end() == 0


def test_one_token_cannot_use_up_the_others(tmp_path):
    server = Server(tmp_path / "s", env={"BERTH_SERVE_REQUESTS_PER_SECOND": "50"}).market()
    greedy, modest = server.client("poster"), server.client("poster")
    answers = []
    while not answers or answers[-1].status != 429:
        assert len(answers) < 100000
        answers.append(greedy.get(JOBS))
    assert answers[-1].code == "limit" and int(answers[-1].headers["Retry-After"]) >= 1
    assert modest.get(JOBS).status == 200
    nobody = Client(server.url, "berth_p" + "x" * 43)

    def same_address():
        while (answer := nobody.get(JOBS)).status == 401:
            pass
        assert answer.status == 429
        return Client(server.url).get("/healthz").status == 429
    eventually("one address to have one budget", same_address)  # some of it comes back between the two
    assert modest.get(JOBS).status == 200  # the same address, but known
    assert server.end() == 0


def test_a_poster_has_only_so_many_jobs_that_have_not_ended(server):
    shown = server.operator.ok("PUT", "/api/markets/few", {"version": 1, "max_per_poster": 2})["market"]
    assert shown["max_per_poster"] == 2 and shown["max_queued"] == 100000
    poster, another = server.client("poster"), server.client("poster")
    jobs = [poster.post_job(market="few")["id"] for _ in range(2)]
    refused = poster("POST", JOBS, {"market": "few", "definition": job()})
    assert refused.status == 429 and refused.code == "limit" and "2 executions" in refused.message, refused
    assert "max_per_poster" in refused.json["error"]["hint"] and int(refused.headers["Retry-After"]) >= 1
    another.post_job(market="few")
    poster.post_job()
    poster.ok("DELETE", f"{JOBS}/{jobs[0]}")
    poster.post_job(market="few")
    assert server.operator("PUT", "/api/markets/few", {"version": 1, "max_per_poster": 0}).status == 400


def test_metrics_count_and_are_the_operators_elsewhere(tmp_path):
    server = Server(tmp_path / "s", None, "--listen", "0.0.0.0:0", "--insecure").market()
    poster = server.client("poster")
    poster.post_job()
    assert Client(server.url).get("/metrics").status == 401
    assert poster.get("/metrics").status == 403
    metrics = lambda: server.operator.get("/metrics").body.decode()
    counted = f'berth_requests_total{{method="POST",route="{JOBS}",status="201"}} 1\n'
    eventually("the request to be counted, which is after its answer", lambda: counted in metrics())
    text = metrics()
    assert 'berth_jobs{market="gpu",state="queued"} 1\n' in text and 'berth_oldest_queued_seconds{market="gpu"}' in text
    assert server.end() == 0


def test_metrics_of_a_server_on_loopback_are_for_those_who_name_it_so(server):
    anybody = Client(server.url)
    assert anybody.get("/metrics").status == 200
    assert anybody("GET", "/metrics", Host="localhost:1").status == 200
    for host in ("berth.example", "127.evil.example", "10.0.0.1:7480", ""):
        assert anybody("GET", "/metrics", Host=host).status == 401, host
        assert server.operator("GET", "/metrics", Host=host).status == 200


@pytest.mark.parametrize("options, words", [
    (["--listen", "0.0.0.0:0"], "without TLS"), (["--listen", "[::]:0"], "without TLS"), (["--listen", "127.0.0.1"], "ADDRESS:PORT"),
    (["--listen", "127.0.0.1:0", "--tls-cert", "/nowhere.pem"], "certificate and its key"),
    (["--listen", "127.0.0.1:0", "--db", "mysql://x"], "sqlite:/path"), (["--listen", "127.0.0.1:0", "--db", "sqlite:/nowhere/x.db"], "/nowhere/x.db"),
    (["--listen", "127.0.0.1:0", "--db", "postgresql://berth:private-word@127.0.0.1:1/x"], "127.0.0.1"), (["more"], "too many"),
])
def test_a_start_that_cannot_be_says_why(tmp_path, options, words):
    done = subprocess.run([BERTH, "serve", "--state-dir", tmp_path / "state", *options], capture_output=True, text=True, timeout=PATIENCE,
                          check=False, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
    assert done.returncode in (1, 2) and words in done.stderr and "private-word" not in done.stderr, done


def test_keys_that_others_may_read_are_refused(tmp_path):
    (tmp_path / "keys").write_text("berth-keys 1\n" + "ab" * 32 + "\n")
    (tmp_path / "keys").chmod(0o644)
    done = subprocess.run([BERTH, "serve", "--state-dir", tmp_path / "state", "--key-file", tmp_path / "keys", "--listen", "127.0.0.1:0"],
                          capture_output=True, text=True, timeout=PATIENCE, check=False, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
    assert done.returncode == 1 and "ab" * 32 not in done.stderr


def test_tls_is_spoken_where_a_certificate_is_given(tmp_path):
    cert, key = _servers.certificate(tmp_path)
    server = Server(tmp_path / "s", None, "--listen", "0.0.0.0:0", "--tls-cert", cert, "--tls-key", key)
    assert server.url.startswith("https://")
    context = ssl.create_default_context(cafile=cert)
    token = (server.state / "operator.token").read_text().strip()
    assert Client(server.url, token, context).ok("PUT", MARKET, {"name": "by TLS"})["market"]["name"] == "by TLS"
    assert not raw(server.url, b"GET /healthz HTTP/1.0\r\n\r\n").startswith(b"HTTP")
    assert server.end() == 0


def test_the_first_token_is_made_once_and_lies_where_only_its_owner_reads_it(tmp_path):
    server = Server(tmp_path / "s")
    file = server.state / "operator.token"
    assert server.announced["token_file"] == str(file) and file.stat().st_mode & 0o777 == 0o600
    assert (server.state / "keys").stat().st_mode & 0o777 == 0o600 and server.state.stat().st_mode & 0o777 == 0o700
    first = file.read_text()
    assert server.end() == 0
    assert server.start().announced["token_file"] is None and file.read_text() == first
    assert server.end() == 0
    server.options.append("--operator-token")
    assert server.start().announced["token_file"] == str(file)
    assert file.read_text() != first and server.operator.get("/api/v1/tokens").status == 200
    assert Client(server.url, first.strip()).get("/api/v1/tokens").status == 200
    assert server.end() == 0 and first.strip() not in server.said


def test_a_server_with_another_database_keeps_the_first_ones_token(tmp_path):
    first = Server(tmp_path / "s")
    state, at_first = first.state, first.operator.token
    assert first.end() == 0
    other = Server(tmp_path / "s", f"sqlite:{tmp_path}/other.db")
    assert other.announced["token_file"] == str(state / "operator.token") and other.operator.get("/api/v1/tokens").status == 200
    kept = state / "operator.token.1"
    assert kept.read_text().strip() == at_first and kept.stat().st_mode & 0o777 == 0o600 and f"kept in {kept}" in other.said
    assert other.end() == 0
    other.options.append("--operator-token")  # a lost one of the same database has no use
    assert other.start().operator.get("/api/v1/tokens").status == 200 and sorted(state.glob("operator.token*")) == [state / "operator.token", kept]
    assert other.end() == 0
    again = Server(tmp_path / "s", None, "--operator-token")
    assert again.operator.get("/api/v1/tokens").status == 200 and Client(again.url, at_first).get("/api/v1/tokens").status == 200
    assert len(list(state.glob("operator.token*"))) == 3 and again.end() == 0


def test_a_stop_sends_those_who_wait_away(tmp_path):
    server = Server(tmp_path / "s").market()
    poster, node = server.client("poster"), server.node()
    path = f"{JOBS}/{poster.post_job()['id']}/logs?follow=1"
    x = ref(node.claim()[0])
    events = poster.events(path)
    assert next(events)[0] == "state"
    control = in_background(lambda: node.message("control", running=[x], required_version=0, wait_ms=30000))
    following = in_background(lambda: list(events))
    assert server.end() == 0
    following()
    with contextlib.suppress(OSError):  # where the poll came too late to be taken
        assert control().status == 503
