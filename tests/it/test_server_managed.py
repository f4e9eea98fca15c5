"""Results in a place of the operator's (publisher s3managed): the server signs, `berth publish --grant` stores, on the real S3 server."""
import io
import json
import os
import pathlib
import sys
import tarfile
import urllib.request

import pytest

from conftest import BERTH

from fleet import Process, eventually, tiny_job
from serving import JOBS, PATIENCE, Client, Server, ref

MANAGED = {"Name": "m", "Type": "batch", "Count": 1, "Tasks": [
    {"Name": "t", "Engine": {"Type": "docker", "Params": {"Image": "busybox"}}, "Publisher": {"Type": "s3managed"}}]}


@pytest.fixture
def bucket(s3):
    return s3.bucket()


@pytest.fixture
def server(tmp_path, s3, bucket):
    found = Server(tmp_path / "server", env={**s3.env, "BERTH_SERVE_MANAGED_BUCKET": f"s3://{bucket}/results/"}).market()
    yield found
    assert found.end() == 0, found.said


@pytest.fixture
def folder(berth):
    path = berth.cwd / "out"
    path.mkdir()
    (path / "big").write_bytes(os.urandom(12 << 20))  # two parts
    (path / "stdout").write_text("hello\n")
    return path


def unfinished(s3, bucket):
    return [u["Key"] for u in s3.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]


@pytest.mark.parametrize("how", ["definition", "publish"])
def test_results_go_to_the_operators_place_by_a_grant_and_come_back_by_a_url(server, s3, bucket, berth, folder, how):
    poster, node = server.client("poster"), server.node()
    posted = poster.post_job(MANAGED) if how == "definition" else poster.post_job(publish="s3managed")
    assert posted["publish"] == "s3managed"
    x = ref(node.claim()[0])
    grant = node.say("uploads", **x, presign={"bytes": 20 << 20})["grant"]
    assert len(grant["parts"]) == 3 and unfinished(s3, bucket) == [f"results/{posted['id']}/0/1.tar.gz"]
    assert s3.secret not in json.dumps(grant)
    stored = berth("publish", "--json", "--no-progress", "--grant", "-", folder, input=json.dumps(grant).encode())
    assert stored.code == 0, stored
    node.say("commit", **x)
    node.say("finish", **x, outcome="succeeded", exit_code=0, published=stored.json)
    assert unfinished(s3, bucket) == []
    for who in (poster, server.operator):
        found = who.get(f"{JOBS}/{posted['id']}/results").json["results"][0]
        with urllib.request.urlopen(found["url"]) as answer:
            assert answer.read() == s3.client.get_object(Bucket=bucket, Key=f"results/{posted['id']}/0/1.tar.gz")["Body"].read()


def test_urls_that_a_grant_does_not_hold_are_asked_for(server, s3, bucket):
    node = server.node()
    server.client("poster").post_job(MANAGED)
    x = ref(node.claim()[0])
    grant = node.say("uploads", **x, presign={})["grant"]
    assert len(grant["parts"]) == 1
    more = {w: node.say("uploads", **x, presign={"upload_id": grant["upload_id"], **a})["url"]
            for w, a in (("part", {"part": 2}), ("complete", {"url": "complete"}), ("abort", {"url": "abort"}))}
    put = urllib.request.Request(more["part"], b"x" * 100, method="PUT")
    with urllib.request.urlopen(put) as answer:
        assert answer.status == 200
    with urllib.request.urlopen(urllib.request.Request(more["abort"], method="DELETE")) as answer:
        assert answer.status == 204
    assert unfinished(s3, bucket) == []
    for wrong in ({"byte": 1}, {"bytes": -1}, {"bytes": "1"}, {"upload_id": "u"}, {"upload_id": "u", "part": 0}, {"upload_id": "u", "part": 10001},
                  {"upload_id": "u", "part": 1, "url": "abort"}, {"upload_id": "u", "url": "list"}):
        assert node.message("uploads", **x, presign=wrong).status == 400, wrong
    assert node.message("uploads", **x, presign={"bytes": 1 << 42}).code == "limit"
    assert node.message("uploads", **x, presign={}, record={"bucket": "b", "key": "k", "upload_id": "u"}).status == 400


def test_a_claim_that_was_lost_gets_no_url_and_its_upload_is_aborted(server, s3, bucket):
    node = server.node()
    server.client("poster").post_job(MANAGED)
    x = ref(node.claim()[0])
    first = node.say("uploads", **x, presign={})["grant"]
    node.say("finish", **x, outcome="failed", reason="the disk is gone", retry=True)
    again = server.node()
    y = ref(again.claim()[0])
    assert node.message("uploads", **x, presign={}).code == "lost"
    assert node.message("uploads", **x, presign={"upload_id": first["upload_id"], "part": 1}).code == "lost"
    second = again.say("uploads", **y, presign={})["grant"]
    assert unfinished(s3, bucket) == [second["result"]["Params"]["Key"]] != [first["result"]["Params"]["Key"]]


def test_only_what_lies_in_the_jobs_own_folder_is_signed(server, s3, bucket):
    poster, node = server.client("poster"), server.node()
    for key in ("results/j-aaaaaaaaaaaaaaaaaaaaaaaa/0/1.tar.gz", "results/another-job/0/1.tar.gz", "private", "results/{}", "results",
                "results/{}/../another-job/0/1.tar.gz", "results/{}/0/", "results/{}/0/x.tar.gz", "results/{}/0/1.tar.gz/../../../private"):
        posted = poster.post_job(MANAGED)
        published = {"Type": "s3", "Params": {"Bucket": bucket, "Key": key.format(posted["id"]), "Endpoint": s3.endpoint}}
        node.say("finish", **ref(node.claim()[0]), outcome="succeeded", exit_code=0, published=published)
        assert "url" not in poster.get(f"{JOBS}/{posted['id']}/results").json["results"][0], key


def test_a_store_that_is_away_is_an_error_that_may_be_repeated(tmp_path):
    env = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
           "BERTH_SERVE_MANAGED_BUCKET": "s3://b/p"}
    server = Server(tmp_path / "s", env=env).market()
    node = server.node()
    server.client("poster").post_job(MANAGED)
    assert node.message("uploads", **ref(node.claim()[0]), presign={}).code == "busy"
    assert Client(server.url).get("/healthz").status == 200
    assert server.end() == 0


@pytest.fixture
def worker(server, tmp_path):
    """A real node of that market, whose engine runs nothing."""
    sock = tmp_path / "engine.sock"
    engine = Process("engine", [sys.executable, pathlib.Path(__file__).with_name("tiny_engine.py"), sock], dict(os.environ), tmp_path)
    join = tmp_path / "join.token"
    join.touch(mode=0o600)
    join.write_text(server.token("join", "gpu") + "\n")
    env = {**server.env, "BERTH_ENGINE": f"unix://{sock}", "BERTH_CACHE_DIR": str(tmp_path / "cache"), "BERTH_CACHE_MIN_FREE": "0",
           "BERTH_NODE_PUBLIC_ONLY": "false"}
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        env.pop(name)  # it has none
    node = Process("node", [BERTH, "node", "start", "--server", server.url, "--market", "gpu", "--token-file", join, "--state-dir",
                            tmp_path / "node"], env, tmp_path)
    engine.start()
    eventually("the engine to listen", sock.exists)
    node.start()
    yield node
    node.end()
    engine.end()


def test_a_node_without_keys_publishes_a_managed_result(server, worker, s3, bucket):
    poster = server.client("poster")
    definition = tiny_job({"out": "hello\n"})
    definition["Tasks"][0]["Publisher"] = {"Type": "s3managed"}
    path = f"{JOBS}/{poster.post_job(definition)['id']}"
    done = eventually("the job to end", lambda: (j := poster.get(path).json["job"])["finished_ms"] and j, PATIENCE)
    assert done["state"] == "succeeded", (done, worker.tail())
    with urllib.request.urlopen(poster.get(f"{path}/results").json["results"][0]["url"]) as answer:
        archive = tarfile.open(fileobj=io.BytesIO(answer.read()))
    assert archive.extractfile("stdout").read() == b"hello\n"
    assert unfinished(s3, bucket) == []
