"""Images on a node: one that came with a job's registry credentials is not there for jobs that have none."""
import base64
import contextlib
import gzip
import hashlib
import http.server
import io
import json
import threading

import pytest

from conftest import BERTH, nosana
from fleet import Fleet, eventually
from lab import Engine, _servers

USER, PASSWORD = "team", "SECRETCANARY0123456789"


class Registry:
    """An image registry on loopback (OCI distribution, pulls only), all of whose repositories have one image, with any tag.

    `public`: it asks nobody who they are; else for USER and PASSWORD. `asked`: manifests, as (repository, with credentials)."""

    def __init__(self):
        self.public, self.asked, self.blobs = False, [], {}
        tar = io.BytesIO()
        _servers.sample_rootfs(tar)
        layer = self._add(gzip.compress(tar.getvalue(), mtime=0))
        config = self._add(json.dumps({"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin:/usr/bin"]}, "rootfs": {
            "type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar.getvalue()).hexdigest()]}}).encode())
        kind = "application/vnd.docker.%s"
        self.kind = kind % "distribution.manifest.v2+json"
        self.manifest = json.dumps({"schemaVersion": 2, "mediaType": self.kind, "config": {"mediaType": kind % "container.image.v1+json", **config},
                                    "layers": [{"mediaType": kind % "image.rootfs.diff.tar.gzip", **layer}]}).encode()
        self.digest = "sha256:" + hashlib.sha256(self.manifest).hexdigest()
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.http.daemon_threads = True
        self.address = f"127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def _add(self, data):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return {"digest": digest, "size": len(data)}

    def _handler(self):
        registry, wanted = self, "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def say(self, status, body, **headers):
                self.send_response(status)
                for name, value in {"Content-Length": len(body), "Docker-Distribution-Api-Version": "registry/2.0", **headers}.items():
                    self.send_header(name.replace("_", "-"), str(value))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def do_GET(self):
                known = self.headers.get("Authorization") == wanted
                what, _, name = self.path.removeprefix("/v2/").rpartition("/")
                if what.endswith("/manifests"):
                    registry.asked.append((what.removesuffix("/manifests"), known))
                if not known and not registry.public:
                    self.say(401, b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}', Content_Type="application/json",
                             WWW_Authenticate='Basic realm="registry"')
                elif what.endswith("/manifests"):
                    self.say(200, registry.manifest, Content_Type=registry.kind, Docker_Content_Digest=registry.digest)
                elif what.endswith("/blobs") and name in registry.blobs:
                    self.say(200, registry.blobs[name], Content_Type="application/octet-stream")
                else:
                    self.say(200 if self.path == "/v2/" else 404, b"{}", Content_Type="application/json")

            do_HEAD = do_GET
        return Handler

    def close(self):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def registry():
    with contextlib.closing(Registry()) as one:
        yield one


@pytest.fixture
def market(one_engine, registry):
    with Fleet(BERTH, servers=1, db="sqlite") as fleet:
        fleet.engine = Engine(one_engine)
        yield fleet.start(max_attempts=1)
        for image in ("team/model:1", "team/model:2"):
            fleet.engine.remove_image(f"{registry.address}/{image}")


@pytest.fixture
def node(market):
    one = market.add_node(env={"BERTH_ENGINE": market.engine.address})
    market.await_nodes()
    return one


def image_id(market, image):
    _, body = market.engine.call("GET", f"/images/{image}/json")
    return json.loads(body[body.find(b"{"):body.rfind(b"}") + 1])["Id"]


def run(market, registry, image, password=None):
    """How a job with that image ended."""
    login = {"authentication": {"docker": {"server": registry.address, "username": USER, "password": password}}} if password else {}
    return market.await_end(market.post(nosana([], "true", image=image, **login))["id"])


def test_an_image_that_came_with_a_jobs_credentials_is_not_there_for_a_job_without(market, node, registry):
    image = f"{registry.address}/team/model"
    assert run(market, registry, f"{image}:1", PASSWORD)["state"] == "succeeded"
    there = image_id(market, f"{image}:1")
    for name in (f"{image}:1", f"{image}@{registry.digest}", f"{registry.address}/other/name@{registry.digest}", there):
        end = run(market, registry, name)
        assert end["state"] == "failed" and there not in end["reason"].replace(name, ""), (name, end)
    assert run(market, registry, f"{image}:1", "wrong")["state"] == "failed"
    assert run(market, registry, f"{image}:1", PASSWORD)["state"] == "succeeded", "and is asked for again with good ones"
    assert node.process.end() == 0
    node.process.start()
    assert run(market, registry, f"{image}:1")["state"] == "failed", "also after a restart"
    files = b"".join(p.read_bytes() for p in node.state.rglob("*") if p.is_file())
    assert PASSWORD.encode() not in files


def test_an_image_that_its_registry_gives_to_everybody_is_asked_for_once(market, node, registry):
    image = f"{registry.address}/team/model:1"
    assert run(market, registry, image, PASSWORD)["state"] == "succeeded"
    registry.public = True
    assert run(market, registry, image)["state"] == "succeeded"
    asked = len(registry.asked)
    assert run(market, registry, image)["state"] == "succeeded" and len(registry.asked) == asked


def test_images_of_the_machine_and_those_required_are_for_all_jobs(market, node, registry):
    """What its owner pulled, or built, needs no registry; what a job opened is closed but where the market requires it."""
    image = f"{registry.address}/team/model"
    registry.public = True
    assert market.engine.call("POST", f"/images/create?fromImage={image}&tag=1")[0] == 200
    registry.public = False
    assert run(market, registry, f"{image}:1")["state"] == "succeeded"
    assert run(market, registry, f"{image}:2", PASSWORD)["state"] == "succeeded"
    assert run(market, registry, f"{image}:1")["state"] == "failed"
    registry.public = True
    market.operator.call("PUT", f"/api/markets/{market.market}/required-resources",
                         {"required_images": [f"{image}:1"], "required_remote_resources": []})
    eventually("the registry to be asked for it", lambda: registry.asked[-1] == ("team/model", False))
    market.await_nodes()
    registry.public = False
    assert run(market, registry, f"{image}:1")["state"] == "succeeded"
    assert run(market, registry, f"{image}:2")["state"] == "failed"
