"""A node against a server that answers as no real one is made to: late, wrongly, with refusals."""
import base64
import http.server
import json
import os
import pathlib
import sys
import threading

import pytest

from conftest import BERTH
from fleet import Process, eventually

HERE = pathlib.Path(__file__).resolve().parent
NODE = "/api/v1/node/"


class Server:
    """Answers the agent's calls by a table of functions (body → answer, or (status, answer)); the rest as if all were well."""

    def __init__(self):
        self.calls, self.claims, self.over, self.answers, self.mu = [], [], threading.Event(), {}, threading.Condition()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, answer = outer.answer(self.path.removeprefix(NODE), body)
                data = json.dumps(answer).encode() if not isinstance(answer, bytes) else answer
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, what, body):
        with self.mu:
            self.calls.append((what, body))
            special = self.answers.get(what)
        if special and (given := special(body)) is not None:
            return given if isinstance(given, tuple) else (200, given)
        return 200, getattr(self, what)(body)

    def hello(self, body):
        return {"node": {"id": body["node"], "market": "m", "state": "approved"}, "token": "berth_n_own", "lease_ms": 3000, "heartbeat_ms": 300,
                "required_version": 1}

    def required(self, _):
        return {"required_version": 1, "images": [], "resources": [], "variables": {}}

    def claim(self, body):
        with self.mu:
            self.mu.wait_for(lambda: self.claims or self.over.is_set(), body["wait_ms"] / 1000)
            found, self.claims = self.claims[:body["free"]], self.claims[body["free"]:]
        return {"claims": found}

    def control(self, body):
        self.over.wait(body["wait_ms"] / 1000)
        return {"stop": [], "drain": False, "required_version": 1}

    def heartbeat(self, body):
        renewed = [{**{k: r[k] for k in ("job", "index", "epoch")}, "lease_ms": 3000} for r in body["running"]]
        return {"renewed": renewed, "lost": [], "drain": False, "required_version": 1}

    def logs(self, body):
        return {"next_offset": body["offset"] + len(base64.b64decode(body["data"]))}

    def uploads(self, _):
        return {"previous": []}

    def commit(self, _):
        return {"lease_ms": 3000}

    def finish(self, _):
        return {}

    def bodies(self, what):
        with self.mu:
            return [b for w, b in self.calls if w == what]

    def post(self, script, job="j-aaaaaaaaaaaaaaaaaaaaaaaa", **more):
        op = {"kind": "run", "id": "op", "image": "tiny", "network": "none", "env": {"TINY": json.dumps(script)}}
        claim = {"job": job, "index": 0, "count": 1, "attempt": 1, "epoch": 1, "lease_ms": 3000, "name": "t", "timeout_ms": 0, "total_left_ms": 0,
                 "definition": {"berth": 1, "job": {"name": "t", "type": "container", "ops": [op]}}, "variables": {}, "credentials": None,
                 "confidential": False, "previous_uploads": [], **more}
        with self.mu:
            self.claims.append(claim)
            self.mu.notify_all()

    def close(self):
        self.over.set()
        with self.mu:
            self.mu.notify_all()
        self.http.shutdown()


@pytest.fixture
def server():
    s = Server()
    yield s
    s.close()


@pytest.fixture
def node(server, tmp_path):
    """A node with an engine that runs nothing."""
    socket, token = tmp_path / "engine.sock", tmp_path / "join"
    token.touch(mode=0o600)
    token.write_text("berth_j_join")
    engine = Process("engine", [sys.executable, HERE / "tiny_engine.py", socket], dict(os.environ), tmp_path)
    engine.start()
    eventually("the engine", socket.exists)
    kept = {n: os.environ[n] for n in ("PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS") if n in os.environ}
    p = Process("node", [BERTH, "node", "start", "--server", server.url, "--token-file", token, "--state-dir", tmp_path / "state", "-v"],
                {**kept, "HOME": str(tmp_path), "BERTH_ENGINE": f"unix://{socket}", "BERTH_CACHE_DIR": str(tmp_path / "cache"), "BERTH_CACHE_MIN_FREE": "0"},
                tmp_path)
    p.state = tmp_path / "state"
    p.start()
    eventually("the node to say hello", lambda: server.bodies("hello"))
    yield p
    p.kill()
    engine.kill()


def error(code, message="no", **more):
    return {"error": {"code": code, "message": message}, **more}


def finished(server, n=1):
    return eventually("the end to be told", lambda: server.bodies("finish")[n - 1:] and server.bodies("finish"))


def test_the_token_of_the_answer_is_used_from_then_on(server, node):
    seen = []
    server.answers["heartbeat"] = lambda body: seen.append(body["version"])
    eventually("a heartbeat", lambda: seen)
    assert (node.state / "token").read_text() == "berth_n_own"
    assert {b["node"] for _, b in server.calls} == {(node.state / "node-id").read_text()}


def test_a_heartbeat_that_says_lost_ends_the_container_and_no_end_is_told(server, node):
    gone = []
    server.post({"ms": 600000})
    eventually("it to run", lambda: [b for b in server.bodies("heartbeat") if b["running"] and b["running"][0]["state"] == "running"])
    server.answers["heartbeat"] = lambda body: {"renewed": [], "lost": body["running"], "drain": False} if body["running"] else gone.append(1)
    eventually("it to be gone", lambda: gone)
    eventually("it to be clean", lambda: not any((node.state / "wills").iterdir()) and not any((node.state / "results").iterdir()))
    assert not server.bodies("finish") and "the claim is lost" in node.tail(100000)


def test_a_lease_that_nobody_renews_ends_the_container(server, node):
    """The server takes heartbeats but renews nothing: the node fences itself."""
    server.post({"ms": 600000})
    server.answers["heartbeat"] = lambda body: {"renewed": [], "lost": [], "drain": False}
    eventually("it to know", lambda: "the claim is lost" in node.tail(100000))
    eventually("it to be clean", lambda: not any((node.state / "wills").iterdir()))
    assert not server.bodies("finish")


def test_F35_the_process_after_a_killed_one_first_says_what_that_one_held(server, node):
    """No other node waits for the lease to end, and nothing new is claimed before."""
    server.post({"ms": 600000})
    eventually("it to run", lambda: [b for b in server.bodies("heartbeat") if b["running"] and b["running"][0]["state"] == "running"])
    node.kill()
    node.start()
    end = finished(server)[0]
    assert (end["job"], end["outcome"], end["retry"]) == ("j-aaaaaaaaaaaaaaaaaaaaaaaa", "failed", True)
    assert end["reason"] == "the node ended before the job did"
    said = [what for what, _ in server.calls]
    assert "claim" not in said[said.index("hello", said.index("hello") + 1):said.index("finish")]


def test_an_end_that_is_refused_for_a_while_is_told_again(server, node):
    tries = []
    server.answers["finish"] = lambda body: tries.append(1) or ((503, error("busy")) if len(tries) < 8 else None)
    server.post({"exit": 4})
    finished(server, 8)
    assert {(b["outcome"], b["exit_code"]) for b in server.bodies("finish")} == {("failed", 4)}
    eventually("the will to be gone", lambda: not any((node.state / "wills").iterdir()))


def test_an_end_that_comes_too_late_is_dropped(server, node):
    server.answers["finish"] = lambda body: (409, error("lost"))
    server.post({})
    finished(server)
    eventually("the will to be gone", lambda: not any((node.state / "wills").iterdir()))
    server.answers.pop("finish")
    server.post({}, job="j-bbbbbbbbbbbbbbbbbbbbbbbb")
    finished(server, 2)


def test_a_log_goes_on_where_the_server_says(server, node):
    """409 with an offset: what the server has lost is sent once more."""
    kept, lost, text = bytearray(), [], b"".join(b"%07d\n" % i for i in range(90000))

    def logs(body):
        if body["offset"] > 0 and not lost.append(1) and len(lost) == 1:
            del kept[1000:]
        if body["offset"] > len(kept):
            return 409, error("conflict", next_offset=len(kept))
        kept[body["offset"]:] = base64.b64decode(body["data"])
        return {"next_offset": len(kept)}
    server.answers["logs"] = logs
    server.post({"out": text.decode()})
    finished(server)
    assert bytes(kept) == text and lost


def test_a_server_that_refuses_a_log_for_good_gets_the_end_all_the_same(server, node):
    server.answers["logs"] = lambda body: (400, error("invalid"))
    server.post({"out": "hello"})
    assert finished(server)[0]["outcome"] == "succeeded"


@pytest.mark.parametrize("claim", [{"epoch": "x"}, {"job": "../../etc"}, {"lease_ms": -1}, {"count": 0}, {"index": -1}])
def test_a_claim_that_makes_no_sense_is_left_alone(server, node, claim):
    server.post({}, **{"job": "j-cccccccccccccccccccccccc", **claim})
    server.post({}, job="j-dddddddddddddddddddddddd")
    assert finished(server)[0]["job"] == "j-dddddddddddddddddddddddd"
    assert "cannot be understood" in node.tail(100000)


@pytest.mark.parametrize("definition", [{}, {"berth": 1}, {"berth": 1, "job": {"ops": []}}, {"ops": 5}])
def test_a_definition_that_is_none_fails_the_execution_for_good(server, node, definition):
    server.post({}, definition=definition)
    end = finished(server)[0]
    assert end["outcome"] == "failed" and end["retry"] is False and end["reason"]


def test_an_end_with_a_long_reason_is_told_in_whole_characters(server, node):
    for i in range(2):  # one of them is cut within a character
        inputs = [{"kind": "localDirectory", "target": "/in", "path": "/" + "x" * i + "ä" * 400}]
        op = {"kind": "run", "id": "op", "image": "tiny", "network": "none", "inputs": inputs}
        server.post({}, job=f"j-{i}", definition={"berth": 1, "job": {"name": "t", "type": "container", "ops": [op]}})
    ends = eventually("both ends", lambda: len(server.bodies("finish")) == 2 and server.bodies("finish"))
    for end in ends:
        assert end["outcome"] == "failed" and "ä" * 300 in end["reason"], end


@pytest.mark.parametrize("answer", [b"not json", b"[]", b"{}", b'{"claims": 5}', b'{"claims": [null, 3, "x", {}]}'])
def test_answers_that_are_none_are_survived(server, node, answer):
    tries = []
    server.answers["claim"] = lambda body: (200, answer) if len(tries) < 3 and not tries.append(1) else None
    server.answers["control"] = lambda body: (200, answer) if len(tries) < 3 else None
    eventually("the node to have tried", lambda: len(tries) >= 3)
    server.post({})
    assert finished(server)[0]["outcome"] == "succeeded"


def test_a_revoked_token_ends_the_node(server, node):
    eventually("a heartbeat", lambda: server.bodies("heartbeat"))
    server.post({"ms": 600000})
    eventually("it to run", lambda: [b for b in server.bodies("heartbeat") if b["running"]])
    server.answers["heartbeat"] = lambda body: (401, error("unauthenticated", "this token is not valid"))
    eventually("the node to end", lambda: not node.alive)
    assert node.popen.returncode == 1 and "not valid" in node.tail()


def test_a_version_of_required_resources_that_moves_on_is_followed_before_more_is_claimed(server, node):
    eventually("the node to be ready", lambda: [b for b in server.bodies("heartbeat") if b["ready"]])
    server.answers["required"] = lambda body: {"required_version": 2, "images": ["tiny:2"], "resources": [], "variables": {}}
    server.answers["heartbeat"] = lambda body: {**server.heartbeat(body), "required_version": 2}
    eventually("the second version to be held", lambda: [b for b in server.bodies("heartbeat") if b.get("required_version") == 2 and b["ready"]])
