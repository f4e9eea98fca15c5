"""What an origin is asked for when many jobs of a market want the same object."""
import hashlib
import os

import fleet
from conftest import s3_input
from hub_server import Hub, Lfs
from lab import Relay

SIZE = 128 << 20  # its holder is waited for a second: the market takes a link for 125 MB/s
KEY = "weights.bin"


class Shop:
    """A fleet on one server, an object of a real S3 server, and a relay that counts what is fetched of it."""

    node_options, patience = (), fleet.PATIENCE

    def __init__(self, berth, s3, size=SIZE):
        self.s3, self.bucket, self.relay = s3, s3.bucket(), Relay(s3.endpoint.replace("http://", "tcp://"))
        body = os.urandom(size)
        self.sum = hashlib.sha256(body).hexdigest()
        s3.put(self.bucket, KEY, body)
        self.fleet = fleet.Fleet(berth, servers=1, db="sqlite")

    @property
    def node_env(self):
        return {"BERTH_S3_ENDPOINT": self.relay.address}

    @property
    def sent(self):
        """Bytes that the origin has sent so far."""
        return self.relay.bytes_down

    def open(self, nodes, window_ms=10000):
        self.fleet.start(locality_window_ms=window_ms)
        for _ in range(nodes):
            self.fleet.add_node("--slots", 1, *self.node_options, env=self.node_env)
        self.fleet.await_nodes()
        return self

    def post(self, key, **script):
        job = fleet.tiny_job({"sum": f"/data/{KEY}", **script}, inputs=[s3_input(self.bucket, KEY)])
        credentials = {"access_key_id": self.s3.access, "secret_access_key": self.s3.secret, "region": self.s3.region}
        return self.fleet.post(job, key=key, credentials=credentials)["id"]

    def ended(self, job_id):
        """The node that ran it, after a look at what it read."""
        job = self.fleet.await_end(job_id, self.patience)
        assert job["state"] == "succeeded", job
        assert self.fleet.output(job_id).strip() == self.sum
        return job["node"]

    def holders(self):
        """Nodes that the server knows to hold something."""
        found = [self.fleet.operator.get(f"/api/v1/orchestrator/nodes/{n['id']}")["node"]
                 for n in self.fleet.operator.get("/api/v1/orchestrator/nodes")["nodes"]]
        return [n["id"] for n in found if n["holds"]]

    def first(self):
        """A job that brings the input to one node, and the server's knowledge of it."""
        node = self.ended(self.post("first"))
        fleet.eventually("the server to know who holds the input", lambda: self.holders() == [node])
        return node

    def close(self):
        self.fleet.close()
        self.relay.vanish()


class HubShop(Shop):
    """The same with an origin that states SHA-256 digests, a hub on loopback; `peers`: nodes serve each other."""

    def __init__(self, berth, size=SIZE, peers=False):
        body = os.urandom(size)
        self.sum, self.hub = hashlib.sha256(body).hexdigest(), Hub().__enter__()
        self.hub.repo("models", "owner/name").commit({KEY: Lfs(body)})
        self.fleet = fleet.Fleet(berth, servers=1, db="sqlite")
        if peers:
            self.node_options = ("--peer-listen", "127.0.0.1:0")

    @property
    def node_env(self):
        return {"HF_ENDPOINT": self.hub.url}

    @property
    def sent(self):
        return sum(a.sent for a in self.hub.downloads)

    def post(self, key, **script):
        source = {"Type": "huggingface", "Params": {"Repo": "owner/name"}}
        return self.fleet.post(fleet.tiny_job({"sum": f"/data/{KEY}", **script}, inputs=[{"Target": "/data", "Source": source}]), key=key)["id"]

    def close(self):
        self.fleet.close()
        self.hub.__exit__()
