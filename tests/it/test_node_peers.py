"""Nodes that fetch from each other what an origin has: only after that has let them, only its bytes, and else from it."""
import base64
import hashlib
import http.client
import json
import os
import random
import ssl
import urllib.parse

import pytest

import fleet
from conftest import BERTH
from faults.server import FaultServer
from hub_server import Hub, Lfs
from lab import Relay

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

    def node(self, serves=True, env=None, url=None):
        """One more; jobs find it by its number."""
        number, options = len(self.fleet.nodes), []
        if serves:
            port = fleet.free_port()
            relay = Relay(f"tcp://127.0.0.1:{port}")
            options = ["--peer-listen", f"127.0.0.1:{port}", "--peer-address", relay.address.removeprefix("http://")]
        self.relays.append(relay if serves else None)
        self.fleet.add_node("--slots", 1, "--label", f"n={number}", *options, url=url, env={**self.env, **(env or {})})
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
        self.fleet.close()
        for relay in self.relays:
            if relay:
                relay.vanish()
        self.hub.__exit__()


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
