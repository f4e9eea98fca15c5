"""Faults F37 and F38: several servers on one database; servers and databases that die, come back, or run out of room."""
import contextlib
import http.client
import json
import subprocess

import pytest

from fleet import Postgres, eventually
from serving import JOBS, Client, Server, in_background, job, ref
from test_server import databases, texts  # noqa: F401 (a fixture)


@pytest.fixture
def pair(databases, tmp_path):  # noqa: F811
    """Two servers of one fleet."""
    db = databases.new()
    first = Server(tmp_path / "one", db).market()
    second = Server(tmp_path / "two", db, "--key-file", first.state / "keys")
    assert second.announced["token_file"] is None
    yield first, second
    for server in (first, second):
        assert server.end() == 0, server.said


def test_servers_of_one_database_see_each_others_jobs(pair):
    first, second = pair
    poster = first.client("poster")
    node = first.node()
    there = Client(second.url, poster.token)
    beyond = Client(second.url, node.token)
    beyond.id = node.id
    waiting = in_background(lambda: beyond.ok("POST", "/api/v1/node/claim", {"version": 1, "node": node.id, "free": 1, "wait_ms": 30000}))
    posted = poster.post_job(credentials={"access_key_id": "AKIA", "secret_access_key": "shared-secret"})
    claim = waiting()["claims"][0]
    assert claim["job"] == posted["id"] and claim["credentials"]["secret_access_key"] == "shared-secret"
    events = there.events(f"{JOBS}/{posted['id']}/logs?follow=1")
    assert next(events)[0] == "state"
    following = in_background(lambda: list(events))
    node.log(ref(claim), "told to the other one\n")
    node.say("finish", **ref(claim), outcome="succeeded", exit_code=0)
    got = following()
    assert texts(got) == b"told to the other one\n" and got[-1][0] == "end"
    key = {"Idempotency_Key": "both"}
    body = {"market": "gpu", "definition": job()}
    assert poster("POST", JOBS, body, **key).json["job"]["id"] == there("POST", JOBS, body, **key).json["job"]["id"]


def test_one_execution_goes_to_one_node_whichever_servers_are_asked(pair):
    first, second = pair
    poster = first.client("poster")
    posted = {poster.post_job()["id"] for _ in range(40)}
    nodes = [first.node() for _ in range(8)]
    for node in nodes[4:]:
        node.at = Client(second.url).at

    def take(node):
        got = []
        while claims := node.claim(free=2, wait_ms=0):
            for c in claims:
                node.say("finish", **ref(c), outcome="succeeded", exit_code=0)
                got.append(c["job"])
        return got
    results = [in_background(lambda n=n: take(n)) for n in nodes]
    taken = [j for r in results for j in r()]
    assert sorted(taken) == sorted(posted)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_was_acknowledged_survives_a_kill(request, tmp_path, kind):
    db = request.getfixturevalue("databases").new() if kind == "postgresql" else None
    server = Server(tmp_path / "s", db).market()
    poster, node = server.client("poster"), server.node()
    acknowledged = []
    for _ in range(5):
        def post():
            with contextlib.suppress(OSError, http.client.HTTPException):
                while True:
                    acknowledged.append(poster.post_job()["id"])
        before = len(acknowledged)
        posting = in_background(post)
        eventually("jobs to be posted", lambda n=before: len(acknowledged) > n + 3)
        x = ref(node.claim()[0])
        assert node.log(x, "kept").status == 200
        server.kill()
        posting()
        server.start()
        poster.at = node.at = Client(server.url).at
        seen = {j["id"] for j in pages(poster)}
        assert set(acknowledged) <= seen
        assert node.log(x, "kept, and more").json == {"next_offset": 14}
        node.say("finish", **x, outcome="succeeded", exit_code=0)
        assert b"".join([texts([e]) for e in poster.events(f"{JOBS}/{x['job']}/logs")]) == b"kept, and more"
    assert server.end() == 0


def pages(client):
    token = ""
    while True:
        page = client.ok("GET", f"{JOBS}?limit=500&next_token={token}")
        yield from page["jobs"]
        if not (token := page["next_token"]):
            return


def test_a_database_that_restarts_makes_requests_fail_cleanly_and_resume(tmp_path):
    for up in (tmp_path, *tmp_path.parents):
        if up.stat().st_mode & 0o001 == 0:
            up.chmod(0o755)
    postgres = Postgres(tmp_path / "db")
    postgres.start()
    server = Server(tmp_path / "s", postgres.url).market()
    poster, node = server.client("poster"), server.node()
    posted = poster.post_job()
    waiting = in_background(lambda: node.message("control", running=[], required_version=0, wait_ms=30000))
    for crash in (postgres.crash, postgres.kill):
        crash()
        # A killed postmaster's children live on for a moment.
        eventually("the database to be away", lambda: poster.get(JOBS).status == 503)
        assert poster("POST", JOBS, {"market": "gpu", "definition": job()}).code == "busy"
        assert Client(server.url).get("/healthz").status == 503 and Client(server.url).get("/api/v1/agent/alive").status == 200
        said = poster.get(JOBS).message
        assert said == "the server's database is busy, does not answer, or refuses", "its own words are for the log"
        postgres.start()
        eventually("the server to find its database again", lambda: Client(server.url).get("/healthz").status == 200)
        assert posted["id"] in {j["id"] for j in pages(poster)}
    assert waiting().status in (200, 503)
    claim = node.claim()[0]
    assert claim["job"] == posted["id"]
    later = in_background(node.claim)  # wake-ups work again
    assert poster.post_job()["id"] == later()[0]["job"]
    postgres.cut_connections()
    eventually("requests to go through again", lambda: poster.get(JOBS).status == 200)
    assert server.end() == 0
    postgres.crash()


def test_a_database_that_refuses_is_the_servers_trouble_and_nobodys_401(tmp_path):
    for up in (tmp_path, *tmp_path.parents):
        if up.stat().st_mode & 0o001 == 0:
            up.chmod(0o755)
    postgres = Postgres(tmp_path / "db")
    postgres.start()
    at = postgres.url.partition("@")[2].rpartition("/")[0]

    def psql(*commands, database="market"):
        asked = [a for c in commands for a in ("-c", c)]
        subprocess.run([postgres.bin / "psql", "-q", f"postgresql://berth@{at}/{database}", *asked], check=True, capture_output=True)
    psql("CREATE ROLE app LOGIN", "CREATE DATABASE market OWNER app", database="postgres")
    server = Server(tmp_path / "s", f"postgresql://app@{at}/market").market()
    poster, node, stranger = server.client("poster"), server.node(), Client(server.url, "berth_p" + "x" * 43)
    posted = poster.post_job()
    claim = node.claim()[0]
    for harm, mend in (("ALTER SYSTEM SET default_transaction_read_only = on", "ALTER SYSTEM RESET default_transaction_read_only"),
                       ("ALTER TABLE tokens OWNER TO berth", "ALTER TABLE tokens OWNER TO app")):
        seen = set()

        def heartbeat():
            answer = node.message("heartbeat", ready=True, running=[{**ref(claim), "state": "running"}])
            seen.add(answer.status)
            assert "SQLSTATE" not in str(answer.json) and at not in str(answer.json)
            return answer
        psql(harm, "SELECT pg_reload_conf()")
        eventually("the database to refuse", lambda: heartbeat().status == 503)
        for caller in (poster, node, stranger):
            seen.add(caller("POST", JOBS, {"market": "gpu", "definition": job()}).status)
        assert seen <= {200, 503}, seen
        psql(mend, "SELECT pg_reload_conf()")
        eventually("the server to go on", lambda: poster.get(JOBS).status == 200)
        eventually("heartbeats to be taken", lambda: heartbeat().status == 200)
    assert stranger.get(JOBS).status == 401
    node.say("finish", **ref(claim), outcome="succeeded", exit_code=0)
    assert poster.ok("GET", f"{JOBS}/{posted['id']}")["job"]["state"] == "succeeded"
    assert server.end() == 0
    postgres.crash()


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_refuses_and_loses_nothing(tmp_path, small_disk):
    server = Server(tmp_path / "s", f"sqlite:{small_disk}/market.db").market()
    poster, node = server.client("poster"), server.node()
    poster.post_job()
    held = ref(node.claim()[0])
    acknowledged = []
    body = {"market": "gpu", "definition": job("true " + "x" * 100000)}
    while (answer := poster("POST", JOBS, body)).status == 201:
        acknowledged.append(answer.json["job"]["id"])
        assert len(acknowledged) < 1000
    assert answer.status == 503 and "room" in answer.message and acknowledged
    assert poster.get(JOBS).status == 200
    assert node.message("finish", **held, outcome="succeeded", exit_code=0, record={"text": "y" * 900000}).status == 503
    subprocess.run(["mount", "-o", "remount,size=32m", small_disk], check=True)
    node.say("finish", **held, outcome="succeeded", exit_code=0)
    assert poster("POST", JOBS, body).status == 201
    assert set(acknowledged) <= {j["id"] for j in pages(poster)}
    assert server.end() == 0
