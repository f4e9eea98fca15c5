"""Nodes that fetch from each other what an origin has: only after that has let them, only its bytes, and else from it."""
import base64
import contextlib
import hashlib
import http.client
import http.server
import json
import os
import random
import re
import ssl
import threading
import urllib.parse

import pytest

import fleet
from conftest import BERTH
from faults.server import FaultServer
from hub_server import Hub, Lfs
from lab import Relay
from test_ollama import Registry

PART = 8 << 20
SIZE = 3 * PART + 12345
TOKEN, STRANGER = "hf_reader", "hf_stranger"


def content(seed, size=SIZE):
    return random.Random(seed).randbytes(size)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Market:
    """A fleet whose nodes serve peers, each through a relay of its own, and a hub that has what they want."""

    def __init__(self, **settings):
        self.hub, self.fleet, self.relays = Hub().__enter__(), fleet.Fleet(BERTH, servers=1, db="sqlite", **settings), []
        self.env = {"HF_ENDPOINT": self.hub.url}
        self.fleet.start(locality_window_ms=0)

    def node(self, serves=True, env=None, url=None, more=()):
        """One more; jobs find it by its number."""
        number, options = len(self.fleet.nodes), []
        if serves:
            port = fleet.free_port()
            relay = Relay(f"tcp://127.0.0.1:{port}")
            options = ["--peer-listen", f"127.0.0.1:{port}", "--peer-address", relay.address.removeprefix("http://")]
        self.relays.append(relay if serves else None)
        self.fleet.add_node("--slots", 1, "--label", f"n={number}", *options, *more, url=url, env={**self.env, **(env or {})})
        self.fleet.await_nodes()
        return self.fleet.nodes[-1]

    def post(self, node, source, path, **script):
        job = fleet.tiny_job({"sum": f"/data/{path}", **script}, inputs=[{"Target": "/data", "Source": source}])
        job["Constraints"] = [{"Key": "n", "Operator": "=", "Values": [str(node)]}]
        return self.fleet.post(job)["id"]

    def run(self, node, source, path, data):
        """What the record says of the input, after a look at what the job read."""
        job = self.fleet.await_end(self.post(node, source, path))
        assert job["state"] == "succeeded", job
        assert self.fleet.output(job["id"]).strip() == sha256(data)
        return self.record(job["id"])

    def record(self, job_id):
        return self.fleet.job(job_id, "executions")["executions"][0]["record"]["inputs"][0]

    def told(self, *digests):
        """Until the server names a holder of each."""
        import sqlite3
        found = sqlite3.connect(f"file:{self.fleet.state}/market.db?mode=ro", uri=True)
        try:
            fleet.eventually("the server to know who holds it", lambda: all(
                found.execute("SELECT COUNT(*) FROM node_blobs WHERE sha256 = ?", (d,)).fetchone()[0] for d in digests))
        finally:
            found.close()

    def blob(self, node, digest):
        """The file of a node's cache."""
        return self.fleet.nodes[node].state.parent / "cache" / "blobs" / digest[:2] / digest

    def log(self, node):
        return self.fleet.nodes[node].process.tail(1 << 20)

    def locate(self, node, job_id, digests):
        """As that node asks for an execution that it holds."""
        state = self.fleet.nodes[node].state
        client = fleet.Client(self.fleet.urls, (state / "token").read_text().strip())
        execution = self.fleet.job(job_id, "executions")["executions"][0]
        return client.call("POST", "/api/v1/node/locate", {"version": 1, "node": (state / "node-id").read_text().strip(), "job": job_id,
                                                           "index": 0, "epoch": execution["epoch"], "sha256": digests})

    def close(self):
        told = "".join(p.tail(1 << 20) for p in [*(n.process for n in self.fleet.nodes), *self.fleet.servers])
        self.fleet.close()
        for relay in self.relays:
            if relay:
                relay.vanish()
        self.hub.__exit__()
        assert not re.search(r"ERROR: \w+Sanitizer|runtime error:|WARNING: ThreadSanitizer", told), told


@pytest.fixture
def market():
    m = Market()
    yield m
    m.close()


def hf(token=None, repo="owner/name", **more):
    return {"Type": "huggingface", "Params": {"Repo": repo, **({"AccessToken": token} if token else {}), **more}}


@pytest.fixture
def model(market):
    data = content(1)
    market.hub.repo("models", "owner/name").commit({"config.json": b"{}\n", "model.bin": Lfs(data)})
    return data


def sent(hub):
    return sum(a.sent for a in hub.downloads)


def held(market, data, source, path="model.bin"):
    """The first node fetches it from the origin, and the server hears of that."""
    record = market.run(0, source, path, data)
    assert record["bytes_from_peers"] == 0
    market.told(sha256(data))


# ---- where it comes from ----

def test_a_second_node_is_served_by_the_first_and_the_origin_sends_it_once(market, model):
    market.node(), market.node()
    held(market, model, hf())
    assert sent(market.hub) == SIZE + 3
    record = market.run(1, hf(), "model.bin", model)
    assert (record["bytes_from_peers"], record["files_from_peers"], record["peers_failed"]) == (SIZE, 1, 0)
    assert sent(market.hub) == SIZE + 2 * 3, "only the small file came from the origin again"
    assert market.relays[0].bytes_down > SIZE
    assert market.blob(1, sha256(model)).read_bytes() == model

    def figures():
        nodes = market.fleet.operator.get("/api/v1/orchestrator/nodes")["nodes"]
        return sorted((n["peers"]["sent_bytes"], n["peers"]["got_bytes"]) for n in nodes)
    fleet.eventually("heartbeats to say what was sent", lambda: figures() == [(0, SIZE), (SIZE, 0)])
    assert [n.process.end() for n in market.fleet.nodes] == [0, 0]


def test_a_node_with_a_bandwidth_for_its_peers_serves_whole_files(market, model):
    market.node(more=("--peer-bandwidth", "24MiB")), market.node(env={"BERTH_NODE_PEER_BYTES_PER_SECOND": "1KiB"})
    held(market, model, hf())
    assert market.run(1, hf(), "model.bin", model)["bytes_from_peers"] == SIZE
    assert sent(market.hub) == SIZE + 2 * 3


def test_a_bandwidth_that_is_too_little_leaves_the_rest_to_the_origin(market, model):
    market.node(env={"BERTH_NODE_PEER_BYTES_PER_SECOND": "16KiB"}), market.node()
    held(market, model, hf())
    record = market.run(1, hf(), "model.bin", model)
    assert record["bytes_from_peers"] < SIZE and record["peers_failed"] == 1, record
    assert sent(market.hub) > SIZE + 2 * 3


def test_a_node_that_does_not_serve_is_served_all_the_same(market, model):
    market.node(), market.node(serves=False)
    held(market, model, hf())
    assert market.run(1, hf(), "model.bin", model)["bytes_from_peers"] == SIZE


def test_what_came_from_a_peer_is_served_on(market, model):
    market.node(), market.node(), market.node()
    held(market, model, hf())
    market.run(1, hf(), "model.bin", model)
    market.fleet.nodes[0].process.kill()
    fleet.eventually("the server to name the second alone", lambda: not market.fleet.operator.get(
        f"/api/v1/orchestrator/nodes/{(market.fleet.nodes[0].state / 'node-id').read_text().strip()}")["node"]["live"])
    assert market.run(2, hf(), "model.bin", model)["bytes_from_peers"] == SIZE
    assert sent(market.hub) == SIZE + 3 * 3


@pytest.mark.parametrize("checksums", [["sha256"], ["crc32c"], []], ids=["sha256", "crc32c", "none"])
def test_objects_in_s3_come_from_peers_where_s3_states_their_sha256(market, checksums):
    data = content(2)
    with FaultServer() as s3:
        s3.put("b", "d/weights.bin", data=data, checksums=checksums)
        source = {"Type": "s3", "Params": {"Bucket": "b", "Key": "d/", "Endpoint": s3.url}}
        market.node(), market.node()
        market.run(0, source, "weights.bin", data)
        if checksums == ["sha256"]:
            market.told(sha256(data))
        before = s3.sent(op="get")
        record = market.run(1, source, "weights.bin", data)
        assert record["bytes_from_peers"] == (SIZE if checksums == ["sha256"] else 0)
        assert s3.sent(op="get") - before == (0 if checksums == ["sha256"] else SIZE)


def test_a_model_of_an_ollama_registry_comes_from_peers(market, servers):
    data = content(7)
    Registry(servers["registry"]).push("library/peers", "1b", {"application/vnd.ollama.image.model": data})
    registry = Relay(f"tcp://{servers['registry']}")
    try:
        source = {"Type": "ollama", "Params": {"Model": registry.address.removeprefix("http://") + "/peers:1b"}}
        path = f"blobs/sha256-{sha256(data)}"
        market.node(), market.node()
        held(market, data, source, path)
        before = registry.bytes_down
        assert market.run(1, source, path, data)["bytes_from_peers"] == SIZE
        assert registry.bytes_down - before < 1 << 20, "the manifest came from the registry, and the small blobs"
    finally:
        registry.vanish()


def test_describing_a_job_shows_what_came_from_peers(market, model, berth):
    market.node(), market.node()
    held(market, model, hf())
    job = market.post(1, hf(), "model.bin")
    assert market.fleet.await_end(job)["state"] == "succeeded"
    env = {"BERTH_SERVER_URL": market.fleet.urls[0], "BERTH_TOKEN": market.fleet.poster.token}
    shown = berth("job", "describe", job, env=env).text
    heads, cells = [re.split(r"  +", line.strip()) for line in shown.split("\n\n")[2].splitlines()]
    row = dict(zip(heads, cells))
    assert (row["INPUT"], row["PEERS"], row["ORIGIN"]) == ("hf://owner/name → /data", "24.0 MiB", "3 B"), shown
    env["BERTH_TOKEN"] = market.fleet.operator.token
    ids = [(n.state / "node-id").read_text().strip() for n in market.fleet.nodes]
    fleet.eventually("heartbeats to say what was sent", lambda: [re.findall(r"^(to|from) peers +(\S+ \S+)$", berth(
        "node", "describe", i, env=env).text, re.M) for i in ids] == [[("to", "24.0 MiB"), ("from", "0 B")], [("to", "0 B"), ("from", "24.0 MiB")]])


def require(market, token=None):
    doc = {"required_images": [], "required_remote_resources": [{"type": "HF", "repo": "owner/name", **({"accessToken": token} if token else {})}]}
    market.fleet.operator.call("PUT", f"/api/markets/{market.fleet.market}/required-resources", doc)


def test_what_a_market_requires_comes_from_peers_too(market):
    data = content(8)
    market.hub.tokens.update({TOKEN: "me"})
    market.hub.repo("models", "owner/name", private=True, readers=["me"]).commit({"config.json": b"{}\n", "model.bin": Lfs(data)})
    require(market, TOKEN)
    market.node()
    market.told(sha256(data))
    assert sent(market.hub) == SIZE + 3
    market.node()
    assert sent(market.hub) == SIZE + 2 * 3 and market.relays[0].bytes_down > SIZE
    assert market.blob(1, sha256(data)).read_bytes() == data


# ---- who gets nothing ----

def test_what_the_origin_does_not_let_a_market_read_comes_from_no_peer(market):
    data = content(9)
    market.hub.tokens.update({TOKEN: "me", STRANGER: "stranger"})
    market.hub.repo("models", "owner/name", private=True, readers=["me"]).commit({"model.bin": Lfs(data)})
    market.node()
    held(market, data, hf(TOKEN))
    before = market.relays[0].bytes_down
    require(market, STRANGER)

    def refused():
        nodes = market.fleet.operator.get("/api/v1/orchestrator/nodes")["nodes"]
        return len(nodes) == 2 and all(not n["ready"] and "owner/name" in n["readiness"] for n in nodes)
    market.relays.append(None)
    market.fleet.add_node("--slots", 1, env=market.env)
    fleet.eventually("both to say that they may not read it", refused)
    assert market.relays[0].bytes_down == before, "nobody was asked"


@pytest.mark.parametrize("how", ["private", "gated"])
def test_a_job_without_a_right_at_the_origin_gets_nothing_from_a_peer(market, how):
    data = content(3)
    market.hub.tokens.update({TOKEN: "me", STRANGER: "stranger"})
    market.hub.repo("models", "owner/name", **{how: True}, readers=["me"]).commit({"model.bin": Lfs(data)})
    market.node(), market.node()
    held(market, data, hf(TOKEN))
    before = market.relays[0].bytes_down
    for token in (None, STRANGER):
        job = market.fleet.await_end(market.post(1, hf(token), "model.bin"))
        assert job["state"] == "failed" and "model.bin" not in market.fleet.output(job["id"]), job
    assert market.relays[0].bytes_down == before, "nobody was asked"
    assert market.run(1, hf(TOKEN), "model.bin", data)["bytes_from_peers"] == SIZE


def test_another_tenants_bucket_is_closed_at_peers_too(market):
    data = content(4)
    with FaultServer(verify=True) as s3:
        s3.identity("owner", "ownersecret", buckets=["mine"])
        s3.identity("other", "othersecret", buckets=["theirs"])
        s3.put("mine", "d/secret.bin", data=data, checksums=["sha256"])
        source = {"Type": "s3", "Params": {"Bucket": "mine", "Key": "d/secret.bin", "Endpoint": s3.url}}
        market.node(), market.node()

        def post(node, who):
            job = fleet.tiny_job({"sum": "/data/secret.bin"}, inputs=[{"Target": "/data", "Source": source}])
            job["Constraints"] = [{"Key": "n", "Operator": "=", "Values": [str(node)]}]
            credentials = {"access_key_id": who, "secret_access_key": f"{who}secret", "region": "us-east-1"}
            return market.fleet.await_end(market.fleet.post(job, credentials=credentials)["id"])

        assert post(0, "owner")["state"] == "succeeded"
        market.told(sha256(data))
        before = market.relays[0].bytes_down
        assert post(1, "other")["state"] == "failed"
        assert market.relays[0].bytes_down == before
        job = post(1, "owner")
        assert job["state"] == "succeeded" and market.record(job["id"])["bytes_from_peers"] == SIZE


def test_an_origin_that_only_claims_a_digest_opens_nobodys_blob(market, model):
    """Somebody's own server says that its object has the digest of another's model."""
    with FaultServer() as s3:
        claim = base64.b64encode(hashlib.sha256(model).digest()).decode()
        s3.put("b", "d/model.bin", size=SIZE, headers={"x-amz-checksum-sha256": claim, "x-amz-checksum-type": "FULL_OBJECT"})
        market.node(), market.node()
        held(market, model, hf())
        before = market.relays[0].bytes_down
        job = market.fleet.await_end(market.post(1, {"Type": "s3", "Params": {"Bucket": "b", "Key": "d/", "Endpoint": s3.url}}, "model.bin"))
        assert job["state"] == "failed" and sha256(model) not in market.fleet.output(job["id"]), job
        assert market.relays[0].bytes_down - before < 1 << 20, "the peer was asked, and did not give it"
        assert not market.blob(1, sha256(model)).exists()


def test_the_same_bytes_of_another_repository_are_not_served(market, model):
    market.hub.repo("models", "other/name").commit({"model.bin": Lfs(model)})
    market.node(), market.node()
    held(market, model, hf())
    record = market.run(1, hf(repo="other/name"), "model.bin", model)
    assert record["bytes_from_peers"] == 0 and record["peers_failed"] == 1
    assert market.run(1, hf(), "config.json", b"{}\n")["peers_failed"] == 0, "the peer is asked again for what it may give"


class Direct:
    """Asks a node as a peer does, by hand."""

    def __init__(self, market, node):
        self.address, self.fingerprint = market.relays[node].address.removeprefix("http://"), None

    def get(self, digest, token=None, origin=None, method="GET", path=None, **headers):
        unchecked = ssl.create_default_context()
        unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
        conn = http.client.HTTPSConnection(self.address, context=unchecked, timeout=30)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if origin:
            headers["Berth-Origin"] = base64.b64encode("".join(f"{part}\0" for part in origin).encode()).decode()
        try:
            conn.request(method, path or f"/v1/blobs/sha256/{digest}", headers=headers)
            answer = conn.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        finally:
            conn.close()


def grant(key, digest, until):
    """As the server makes it."""
    head = f"1.{until}."
    return head + hashlib.blake2b(head.encode() + digest.encode(), key=key, digest_size=32).hexdigest()


def peer_key(market, node):
    """What a server tells a node at its hello."""
    state = market.fleet.nodes[node].state
    found = market.fleet.operator.get("/api/v1/orchestrator/nodes")["nodes"]
    node_id = (state / "node-id").read_text().strip()
    assert node_id in [n["id"] for n in found]
    client = fleet.Client(market.fleet.urls, (state / "token").read_text().strip())
    hello = {"version": 1, "node": node_id, "name": f"node{node}", "slots": 1, "info": {}, "labels": {"n": str(node)}, "public_key": None,
             "peer": {"address": market.relays[node].address.removeprefix("http://"), "fingerprint": "0" * 64}}
    return base64.b64decode(client.call("POST", "/api/v1/node/hello", {k: v for k, v in hello.items() if v is not None})["peer_key"])


def test_only_a_grant_for_that_blob_and_its_origin_opens_it(market, model):
    market.node(), market.node()
    held(market, model, hf())
    running = market.post(1, hf(), "model.bin", ms=600000)
    fleet.eventually("the second to run", lambda: market.fleet.job(running)["job"]["state"] == "running")
    digest, absent = sha256(model), sha256(b"nobody has this")
    told = market.locate(1, running, [digest, absent])
    assert list(told["peers"]) == [digest] and told["others"]
    (peer,) = told["peers"][digest]
    direct, token = Direct(market, 0), peer["token"]
    origin = ("hf", f"{market.hub.url}/owner/name/model.bin", f"sha256:{digest}")
    assert direct.get(digest, token, origin)[:2] == (200, model)
    status, body, headers = direct.get(digest, token, origin, Range=f"bytes={PART}-{PART + 9}")
    assert (status, body, headers["Content-Range"]) == (206, model[PART:PART + 10], f"bytes {PART}-{PART + 9}/{SIZE}")
    assert direct.get(digest, token, origin, Range=f"bytes={SIZE}-")[0] == 416
    assert direct.get(digest, token, origin, method="HEAD")[:2] == (200, b"")

    key, year = peer_key(market, 0), 10 ** 13
    good = grant(key, digest, year)
    assert direct.get(digest, good, origin)[0] == 200, "grants can be made by who has the key"
    wrong = token[:-1] + ("0" if token[-1] != "0" else "1")
    for bad in (None, "x", "1.2.3", wrong, grant(key, digest, 1), grant(b"k" * 32, digest, year), grant(key, absent, year)):
        assert direct.get(digest, bad, origin)[0] == 401, bad
    for no in (None, (), ("hf", origin[1], "sha256:" + absent), ("s3", *origin[1:]), ("hf", origin[1] + "x", origin[2]), ("hf", origin[1])):
        assert direct.get(digest, good, no)[0] == 404, no
    assert direct.get(absent, grant(key, absent, year), origin)[0] == 404, "what was never reported"
    for path in (f"/v1/blobs/sha256/{digest[:-1]}", "/v1/blobs/sha256/..%2f..%2findex.db", "/v1/blobs/", "/", f"/v1/blobs/sha256/{digest.upper()}"):
        assert direct.get(digest, good, origin, path=path)[0] in (401, 404), path
    assert direct.get(digest, good, origin, method="POST")[0] == 405
    logs = market.log(0) + market.log(1)
    assert token not in logs and good not in logs and "Bearer" not in logs


def test_the_key_of_a_peer_stays_and_is_its_owners_alone(market):
    node = market.node()
    key = node.state / "peer-key"
    before = key.read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600
    node.process.kill()
    node.start()
    market.fleet.await_nodes()
    assert key.read_bytes() == before


# ---- what goes wrong ----

def flip(path, at):
    """One bit of a file that berth keeps read-only."""
    path.chmod(0o644)
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 1]))
    path.chmod(0o444)


def test_wrong_bytes_of_a_peer_never_reach_a_job_or_a_cache(market, model):
    market.node(), market.node()
    held(market, model, hf())
    flip(market.blob(0, sha256(model)), SIZE - 5)
    record = market.run(1, hf(), "model.bin", model)
    assert record["peers_failed"] == 1 and record["files_from_peers"] == 0
    assert market.blob(1, sha256(model)).read_bytes() == model
    assert "a peer failed" in market.log(1)


def test_a_blob_that_was_cut_short_is_not_sent(market, model):
    market.node(), market.node()
    held(market, model, hf())
    path = market.blob(0, sha256(model))
    path.chmod(0o644)
    os.truncate(path, SIZE // 2)
    record = market.run(1, hf(), "model.bin", model)
    assert (record["bytes_from_peers"], record["peers_failed"]) == (0, 1)


def test_a_transfer_goes_on_from_the_origin_when_its_peer_is_killed(market):
    big = content(5, 16 * PART)
    market.hub.repo("models", "owner/big").commit({"model.bin": Lfs(big)})
    market.node(), market.node()
    held(market, big, hf(repo="owner/big"))
    before, relay = sent(market.hub), market.relays[0]
    relay.hold(12 * PART)  # four parts are under way at a time, so some are whole by then
    job = market.post(1, hf(repo="owner/big"), "model.bin")
    assert relay.held.wait(fleet.PATIENCE)
    market.fleet.nodes[0].process.kill()
    relay.cut()
    ended = market.fleet.await_end(job)
    assert ended["state"] == "succeeded" and market.fleet.output(job).strip() == sha256(big)
    record = market.record(job)
    assert record["peers_failed"] == 1 and record["bytes_from_peers"] >= PART
    assert 0 < sent(market.hub) - before < len(big), "whole parts that came from the peer are not fetched again"
    assert market.blob(1, sha256(big)).read_bytes() == big


def test_a_peer_that_says_nothing_is_given_up(market, model):
    market.node(), market.node()
    held(market, model, hf())
    market.relays[0].hold()
    record = market.run(1, hf(), "model.bin", model)
    assert (record["bytes_from_peers"], record["peers_failed"]) == (0, 1)


def test_another_key_behind_a_peers_address_is_not_talked_to(market, model):
    """Its state was lost, and the server does not know that yet."""
    market.node(), market.node()
    held(market, model, hf())
    before = market.relays[0].bytes_down
    peer_key(market, 0)  # says hello with another fingerprint
    record = market.run(1, hf(), "model.bin", model)
    assert (record["bytes_from_peers"], record["peers_failed"]) == (0, 1)
    assert market.relays[0].bytes_down - before < 1 << 16


def test_a_peer_that_stops_in_the_middle_is_given_up(market):
    """Its connections stay; nothing comes any more."""
    big = content(6, 16 * PART)
    market.hub.repo("models", "owner/big").commit({"model.bin": Lfs(big)})
    market.node(), market.node()
    held(market, big, hf(repo="owner/big"))
    before = sent(market.hub)
    market.relays[0].hold(12 * PART)  # four parts are under way at a time, so some are whole by then
    record = market.run(1, hf(repo="owner/big"), "model.bin", big)
    assert record["peers_failed"] == 1 and PART <= record["bytes_from_peers"] < len(big)
    assert 0 < sent(market.hub) - before < len(big)


class Between:
    """Stands between a node and the server, and may change what `locate` answers."""

    def __init__(self, url, change):
        outer, self.located, self.asked, self.mu = self, 0, 0, threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                upstream = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=60)
                upstream.request("POST", self.path, body, {k: self.headers[k] for k in ("Authorization", "Content-Type") if self.headers[k]})
                answer = upstream.getresponse()
                data = answer.read()
                upstream.close()
                outer.asked += self.path.endswith("/locate")
                if self.path.endswith("/locate") and json.loads(data).get("peers"):
                    with outer.mu:
                        outer.located += 1
                        data = json.dumps(change(outer.located, json.loads(data))).encode()
                self.send_response(answer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with contextlib.suppress(OSError):  # a node that was killed meanwhile
                    self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


def spoilt(answer, **fields):
    return {**answer, "peers": {d: [{**p, **{k: f(p[k]) for k, f in fields.items()}} for p in peers] for d, peers in answer["peers"].items()}}


def swapped(text):
    return text[:-1] + ("0" if text[-1] != "0" else "1")


def test_a_grant_whose_time_is_over_is_renewed(market, model):
    between = Between(market.fleet.url, lambda n, answer: spoilt(answer, token=swapped) if n == 1 else answer)
    market.node(), market.node(url=between.url)
    held(market, model, hf())
    record = market.run(1, hf(), "model.bin", model)
    assert record["peers_failed"] == 0 and SIZE <= record["bytes_from_peers"] < SIZE + 4096, "and a few refusals"
    assert between.located == 2


def test_of_a_confidential_job_the_server_is_asked_nothing(market, berth):
    between = Between(market.fleet.url, lambda n, answer: answer)
    market.node(url=between.url)
    env = {"BERTH_SERVER_URL": market.fleet.urls[0], "BERTH_TOKEN": market.fleet.poster.token}
    for name, flags, asked in (("owner/sealed", ["--confidential"], False), ("owner/open", [], True)):
        data = content(name, 2 << 20)
        market.hub.repo("models", name).commit({"model.bin": Lfs(data)})
        job = fleet.tiny_job({"sum": "/data/model.bin"}, inputs=[{"Target": "/data", "Source": hf(repo=name)}])
        done = berth("job", "post", "--market", market.fleet.market, *flags, "--follow", "--file", berth.job(job), env=env)
        assert done.code == 0 and sha256(data) in done.text, done
        assert (between.asked > 0) == asked


@pytest.mark.parametrize("fields", [{"token": swapped}, {"fingerprint": swapped}, {"address": lambda a: "peer.example:7481"},
                                    {"address": lambda a: "127.0.0.1:1"}, {"token": lambda t: "a b"}, {"fingerprint": lambda f: ""}],
                         ids=["grants", "keys", "names", "closed", "odd", "none"])
def test_peers_that_are_wrongly_named_are_done_without(market, model, fields):
    between = Between(market.fleet.url, lambda n, answer: spoilt(answer, **fields))
    market.node(), market.node(url=between.url)
    held(market, model, hf())
    before = market.relays[0].bytes_down
    assert market.run(1, hf(), "model.bin", model)["bytes_from_peers"] == 0
    assert market.relays[0].bytes_down - before < 1 << 17


def test_a_node_killed_while_it_fetches_from_a_peer_goes_on_after_its_restart(market):
    big = content(6, 16 * PART)
    market.hub.repo("models", "owner/big").commit({"model.bin": Lfs(big)})
    market.node(), market.node()
    held(market, big, hf(repo="owner/big"))
    before, relay = sent(market.hub), market.relays[0]
    relay.hold(12 * PART)
    job = market.post(1, hf(repo="owner/big"), "model.bin")
    assert relay.held.wait(fleet.PATIENCE)
    market.fleet.nodes[1].process.kill()
    relay.cut()
    down = relay.bytes_down
    market.fleet.nodes[1].start()
    ended = market.fleet.await_end(job)
    assert ended["state"] == "succeeded" and market.fleet.output(job).strip() == sha256(big)
    assert relay.bytes_down - down < len(big), "what had come whole was not fetched again"
    assert sent(market.hub) == before
    assert market.blob(1, sha256(big)).read_bytes() == big


def test_nobody_serves_where_nodes_could_not_reach_it(market):
    node = fleet.Node(market.fleet, 99, market.fleet.url, "--peer-listen", "0.0.0.0:0")
    market.fleet.nodes.append(node)
    node.engine.start()
    fleet.eventually("the engine to listen", node.socket.exists)
    node.process.start()
    assert node.process.popen.wait(fleet.PATIENCE) != 0
    assert "--peer-address" in node.process.tail()
