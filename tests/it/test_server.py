"""The REST API on both databases: what it answers is what docs/openapi.json describes."""
import base64
import contextlib
import json
import stat
import subprocess

import pytest

from conftest import BERTH, Berth, bacalhau
from fleet import eventually
from serving import JOBS, MARKET, OPENAPI, Client, Databases, Server, in_background, job, operations, ref
from test_guides import commands


@pytest.fixture(scope="session")
def databases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pg")
    for up in (folder, *folder.parents):
        if up.stat().st_mode & 0o001 == 0:
            up.chmod(0o755)  # PostgreSQL is another user
    found = Databases(folder / "db")
    yield found
    found.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request, tmp_path):
    db = request.getfixturevalue("databases").new() if request.param == "postgresql" else None
    found = Server(tmp_path / "server", db).market()
    yield found
    assert found.end() == 0, found.said


def confidential_walk(poster, node):
    """A job whose definition comes later, sealed."""
    wanted = {"version": 1, "market": "gpu", "confidential": True, "sealed_count": 1, "requires": {"cpus": 1}}
    posted = poster.ok("POST", JOBS, wanted)["job"]
    claim = node.claim()[0]
    assert claim["job"] == posted["id"] and claim["confidential"] and claim["definition"] is None
    assert node.message("definition", **ref(claim)).status == 404
    waiting = in_background(lambda: node.say("definition", **ref(claim), wait_ms=30000))
    sealed = base64.b64encode(b"x" * 100).decode()
    poster.ok("PUT", f"{JOBS}/{posted['id']}/definition", {"version": 1, "index": 0, "epoch": claim["epoch"], "sealed": sealed})
    assert waiting()["sealed"] == sealed
    node.say("finish", **ref(claim), outcome="succeeded", exit_code=0)


def test_every_described_call_answers_as_described(server):
    operator, poster, anybody = server.operator, server.client("poster"), Client(server.url)
    for path in ("/api/v1/agent/alive", "/api/v1/agent/version", "/api/v1/agent/node", "/healthz", "/metrics", "/api/markets", MARKET,
                 "/api/v1/openapi.json"):
        assert anybody.get(path).status == 200
    assert anybody.get("/api/v1/openapi.json").json == OPENAPI
    image = {"required_images": ["busybox:latest"], "required_remote_resources": [
        {"type": "S3", "url": "s3://models/a/", "IAM": {"ACCESS_KEY_ID": "AKIAEXAMPLE", "SECRET_ACCESS_KEY": "kept-to-itself"}}]}
    shown = operator.ok("PUT", f"{MARKET}/required-resources", {"version": 1, **image})
    assert shown == anybody.get(f"{MARKET}/required-resources").json and "kept-to-itself" not in json.dumps(shown)
    node = server.node(labels={"zone": "a"}, peer={"address": "127.0.0.1:9", "fingerprint": "ab" * 32},
                       public_key=base64.b64encode(bytes(32)).decode())
    assert "kept-to-itself" in json.dumps(node.say("required")["variables"])
    posted = poster.ok("PUT", JOBS, {"version": 1, "market": "gpu", "definition": job(), "labels": {"team": "a"}})["job"]
    path = f"{JOBS}/{posted['id']}"
    claim = node.claim()[0]
    x = ref(claim)
    assert claim["definition"]["berth"] == 1 and claim["job"] == posted["id"]
    digest = "0123456789abcdef" * 4
    beat = node.say("heartbeat", ready=True, readiness="all there", cache={"bytes": 1, "max_bytes": 2, "free_bytes": 3},
                    running=[{**x, "state": "running", "progress": {"input": 5}}], holds=[{"key": digest, "bytes": 7}],
                    blobs={"add": [digest], "remove": [], "reset": True}, peers={"sent_bytes": 5, "got_bytes": 0})
    assert [r["job"] for r in beat["renewed"]] == [posted["id"]] and beat["lost"] == []
    assert node.log(x, "hello\n").json == {"next_offset": 6}
    assert node.say("locate", **x, sha256=[digest])["peers"].keys() <= {digest}
    upload = {"bucket": "b", "key": "k", "upload_id": "u", "endpoint": "http://e", "region": "r"}
    assert node.say("uploads", **x, record=upload)["previous"] == []
    assert poster.get(f"{path}?include=history,executions").json["executions"][0]["progress"] == {"input": 5}
    assert node.say("control", running=[x], required_version=0)["stop"] == []
    assert node.say("commit", **x)["lease_ms"] > 0
    assert poster.get(path).json["job"]["state"] == "publishing"
    published = {"Type": "s3", "Params": {"Bucket": "b", "Key": "k", "Endpoint": "http://127.0.0.1:1", "Region": "r"}}
    for _ in range(2):  # the answer may have been lost
        node.say("finish", **x, outcome="succeeded", exit_code=0, reason="", published=published, record={"berth": 1})
    done = poster.get(path).json["job"]
    assert (done["state"], done["exit_code"]) == ("succeeded", 0)
    assert poster.get(f"{path}/results").json["results"] == [{"index": 0, "attempt": 1, "exit_code": 0, "published": published}]
    assert poster.get(f"{path}/executions").json["executions"][0]["record"] == {"berth": 1}
    assert [h["to"] for h in poster.get(f"{path}/history").json["history"]][-1] == "succeeded"
    assert poster.get(f"{path}/logs").status == 200
    assert poster("DELETE", path).code == "conflict"
    stopped = poster.post_job()
    assert poster.ok("DELETE", f"{JOBS}/{stopped['id'][:10]}?reason=enough")["job"]["state"] == "stopped"
    assert len(poster.ok("GET", f"{JOBS}?state=succeeded&label=team%3Da&market=gpu&order_by=priority&reverse=1")["jobs"]) == 1
    assert operator.get("/api/v1/orchestrator/nodes?market=gpu").json["nodes"][0]["id"] == node.id
    assert poster.get(f"/api/v1/orchestrator/nodes/{node.id}").json["node"]["labels"] == {"zone": "a"}
    confidential_walk(poster, node)
    for action, state in (("drain", "draining"), ("undrain", "approved")):
        assert operator.ok("PUT", f"/api/v1/orchestrator/nodes/{node.id}", {"version": 1, "action": action})["node"]["state"] == state
    tokens = operator.ok("GET", "/api/v1/tokens")["tokens"]
    operator.ok("DELETE", f"/api/v1/tokens/{next(t['id'] for t in tokens if t['role'] == 'poster')}")
    assert poster.get(JOBS).status == 401
    assert operator("PUT", "/api/markets/cpu", {"description": "no cards"}).status == 201
    assert operator.ok("PUT", "/api/markets/cpu", {"max_attempts": 5})["market"]["description"] == "no cards"
    operator.ok("POST", "/api/v1/tokens", {"role": "join", "market": "cpu", "ttl_ms": 60000})
    walked = operator.walked | poster.walked | anybody.walked | node.walked
    assert {(m, p) for m, p, _ in operations()} == walked


def test_the_same_key_and_body_give_the_same_job(server):
    poster, other = server.client("poster"), server.client("poster")
    body = {"version": 1, "market": "gpu", "definition": job()}
    first = poster("POST", JOBS, body, Idempotency_Key="one")
    again = poster("PUT", JOBS, body, Idempotency_Key="one")
    assert (first.status, again.status) == (201, 200) and first.json["job"]["id"] == again.json["job"]["id"]
    assert poster("POST", JOBS, {**body, "priority": 5}, Idempotency_Key="one").code == "exists"
    assert other("POST", JOBS, body, Idempotency_Key="one").status == 201
    assert poster("POST", JOBS, body, Idempotency_Key="two").status == 201
    assert len(poster.get(JOBS).json["jobs"]) == 2
    assert poster("POST", JOBS, body, Idempotency_Key="k" * 129).code == "invalid"


def test_posters_see_their_own_jobs_only(server):
    mine, yours = server.client("poster"), server.client("poster")
    path = f"{JOBS}/{mine.post_job()['id']}"
    for tail in ("", "/history", "/executions", "/results", "/logs"):
        assert yours.get(path + tail).code == "not_found"
    assert yours("DELETE", path).code == "not_found"
    assert yours("PUT", path + "/definition", {"index": 0, "epoch": 1, "sealed": "eA=="}).code == "not_found"
    assert yours.get(JOBS).json["jobs"] == []
    assert server.operator.get(path).status == 200


@pytest.mark.parametrize("definition, status, words", [
    ({"ops": []}, 400, "ops"),
    ({"version": "0.1", "type": "container", "ops": [{"id": "a", "type": "container/run", "args": {"imge": "x", "image": "y"}}]}, 400,
     "did you mean 'image'"),
    ({}, 400, "definition"),
    ({"version": "0.1", "type": "container", "ops": [{"id": i, "type": "container/run", "args": {"image": "y", "cmd": "x"}} for i in "ab"]},
     422, "several ops"),
    ({"Name": "n", "Type": "batch", "Tasks": [{"Name": "t", "Engine": {"Type": "docker", "Params": {"Image": "i"}},
                                               "Publisher": {"Type": "s3managed"}}]}, 422, "s3managed"),
])
def test_a_definition_that_cannot_be_run_is_refused_by_name(server, definition, status, words):
    answer = server.client("poster")("POST", JOBS, {"market": "gpu", "definition": definition})
    assert answer.status == status and words in answer.body.decode(), answer


def test_count_makes_executions_and_templates_are_filled(server):
    poster, node = server.client("poster"), server.node()
    definition = {"Name": "many", "Type": "batch", "Count": 3, "Tasks": [
        {"Name": "t", "Engine": {"Type": "docker", "Params": {"Image": "{{.image}}"}}}]}
    posted = poster.post_job(definition, variables={"image": "alpine"})
    assert posted["count"] == 3 and posted["images"] == ["alpine"] and posted["executions"]["queued"] == 3
    claims = node.claim(free=4)
    assert sorted(c["index"] for c in claims) == [0, 1, 2]
    assert poster("POST", JOBS, {"market": "gpu", "definition": definition}).code == "invalid"


def test_pages_hold_every_job_once(server):
    poster = server.client("poster")
    posted = [poster.post_job()["id"] for _ in range(7)]
    seen, token = [], ""
    while True:
        page = poster.ok("GET", f"{JOBS}?limit=3&next_token={token}")
        assert len(page["jobs"]) <= 3
        seen += [j["id"] for j in page["jobs"]]
        if not (token := page.get("next_token")):
            break
    assert sorted(seen) == sorted(posted)
    for bad in ("limit=501", "limit=-1", "limit=x", "next_token=made-up", "order_by=colour", "state=asleep", "include=all"):
        assert poster.get(f"{JOBS}?{bad}").status == 400, bad


def test_a_claim_that_waits_gets_the_job_that_comes(server):
    poster, node = server.client("poster"), server.node()
    waiting = in_background(node.claim)
    posted = poster.post_job()
    assert [c["job"] for c in waiting()] == [posted["id"]]


def test_a_poll_whose_node_went_away_takes_no_job(server):
    poster, node = server.client("poster"), server.node()
    with contextlib.closing(node.connect()) as gone:
        gone.request("POST", "/api/v1/node/claim", json.dumps({"version": 1, "node": node.id, "free": 1, "wait_ms": 30000}), node.headers({}))
    posted = poster.post_job()
    claim = node.claim()[0]
    assert (claim["job"], claim["epoch"], claim["attempt"]) == (posted["id"], 1, 1)


def test_a_job_that_is_stopped_says_by_whom(server):
    poster = server.client("poster")
    stopped = lambda who, job, tail="": who.ok("DELETE", f"{JOBS}/{job['id']}{tail}")["job"]["reason"]
    assert stopped(poster, poster.post_job()) == "stopped by its poster"
    assert stopped(server.operator, poster.post_job()) == "stopped by an operator"
    assert stopped(server.operator, server.operator.post_job()) == "stopped by its poster"
    assert stopped(server.operator, poster.post_job(), "?reason=enough") == "enough"


@pytest.mark.parametrize("to", ["file:///results/{jobID}.tar.gz", "file:///results/{jobID},opt=encoding=plain"])
def test_a_folder_of_the_node_to_publish_to_is_refused_when_posted(server, to):
    poster = server.client("poster")
    answer = poster("POST", JOBS, {"market": "gpu", "definition": job(), "publish": to})
    assert (answer.status, answer.code) == (422, "unsupported") and "disk" in answer.message, answer
    assert poster.get(JOBS).json["jobs"] == []
    poster.post_job(publish="s3://bucket/results/{jobID}/")


@pytest.mark.parametrize("said, kept", [({}, 7), ({"priority": None}, 7), ({"priority": 0}, 0), ({"priority": -3}, -3)])
def test_a_priority_goes_over_the_jobs_own_where_it_says_one(server, said, kept):
    definition = {"Name": "urgent", "Type": "batch", "Priority": 7, "Tasks": [{"Name": "t", "Engine": {"Type": "docker", "Params": {"Image": "alpine"}}}]}
    assert server.client("poster").post_job(definition, **said)["priority"] == kept


def test_a_control_poll_hears_of_a_stop(server):
    poster, node = server.client("poster"), server.node()
    posted = poster.post_job()
    x = ref(node.claim()[0])
    node.say("heartbeat", ready=True, running=[{**x, "state": "running"}])
    waiting = in_background(lambda: node.say("control", running=[x], required_version=0, wait_ms=30000))
    poster.ok("DELETE", f"{JOBS}/{posted['id']}?reason=changed%20my%20mind")
    assert [(s["job"], s["reason"]) for s in waiting()["stop"]] == [(posted["id"], "changed my mind")]
    node.say("finish", **x, outcome="stopped", exit_code=None)
    assert poster.get(f"{JOBS}/{posted['id']}").json["job"]["state"] == "stopped"


def revoke(server, role):
    for t in server.operator.get("/api/v1/tokens?limit=500").json["tokens"]:
        if t["role"] == role:
            server.operator.ok("DELETE", f"/api/v1/tokens/{t['id']}")


@pytest.mark.parametrize("call", ["claim", "control", "definition"])
def test_a_token_that_is_revoked_ends_the_poll_that_waits_with_it(server, call):
    poster, node = server.client("poster"), server.node(public_key=base64.b64encode(bytes(32)).decode())
    asked = {"claim": {"free": 1}, "control": {"running": [], "required_version": 0}}.get(call)
    if asked is None:
        poster.ok("POST", JOBS, {"version": 1, "market": "gpu", "confidential": True})
        asked = ref(node.claim()[0])
    waiting = in_background(lambda: node.message(call, **asked, wait_ms=30000))
    assert node.get("/healthz").status == 200  # time enough for it to begin; if it did not, it is refused all the more
    revoke(server, "node")
    posted = poster.post_job()
    answer = waiting()
    assert answer.status == 401 and answer.code == "unauthenticated", answer
    assert poster.get(f"{JOBS}/{posted['id']}").json["job"]["state"] == "queued"
    poster.ok("DELETE", f"{JOBS}/{posted['id']}")


def test_a_token_that_is_revoked_ends_the_log_that_is_followed_with_it(server):
    poster, node = server.client("poster"), server.node()
    path = f"{JOBS}/{poster.post_job()['id']}/logs"
    x = ref(node.claim()[0])
    node.log(x, "one ")
    events = poster.events(f"{path}?follow=1")
    first = []
    while not first or first[-1][0] != "log":
        first.append(next(events))
    revoke(server, "poster")
    node.log(x, "two ", offset=4)
    assert not texts(list(events)), "it was told on"
    assert poster.get(path).status == 401
    node.say("finish", **x, outcome="failed", exit_code=3)


def texts(events):
    return b"".join(base64.b64decode(d["data"]) for e, _, d in events if e == "log")


@pytest.mark.parametrize("outcome, exit_code, ends", [("failed", None, 125), ("stopped", None, 125), ("timed_out", None, 124), ("failed", 3, 3),
                                                      ("failed", 0, 125), ("failed", 256, 125), ("timed_out", 143, 143), ("succeeded", 0, 0)])
def test_who_waits_for_several_executions_ends_with_0_only_where_all_succeeded(tmp_path, berth, outcome, exit_code, ends):
    server = Server(tmp_path / "server").market()
    node, env = server.node(), {"BERTH_SERVER_URL": server.url, "BERTH_TOKEN": server.token("poster")}
    two = berth.job({**bacalhau([], "true"), "Count": 2})
    with berth.start("job", "post", "-f", two, "-m", "gpu", "--wait", env=env) as waiting:
        claims = node.claim(free=2)
        claims += node.claim() if len(claims) < 2 else []
        node.say("finish", **ref(claims[0]), outcome="succeeded", exit_code=0)
        node.say("finish", **ref(claims[1]), outcome=outcome, exit_code=exit_code)
        assert waiting.wait(60) == ends, waiting.stderr.read()
    assert server.end() == 0


def test_a_log_is_followed_to_its_end_and_taken_up_again(server):
    poster, node = server.client("poster"), server.node()
    path = f"{JOBS}/{poster.post_job()['id']}/logs"
    x = ref(node.claim()[0])
    node.log(x, "one ")
    events = poster.events(f"{path}?follow=1")
    first = []
    while not first or first[-1][0] != "log":
        first.append(next(events))
    assert texts(first) == b"one "
    following = in_background(lambda: list(events))
    node.log(x, "two ", offset=4)
    events_again = in_background(lambda: list(poster.events(f"{path}?follow=1", last=first[-1][1])))
    node.log(x, "oops", offset=4, stream=2)
    assert node.log(x, "three", offset=99).code == "conflict"
    assert node.log(x, "three", offset=99).json["next_offset"] == 8
    node.log(x, "three", offset=8)
    node.say("finish", **x, outcome="failed", exit_code=3, reason="it said so")
    for rest in (following(), events_again()):
        out = [e for e in rest if e[0] == "log" and e[2]["stream"] == 1]
        assert texts(out) == b"two three", rest
        assert rest[-1][0] == "end" and rest[-1][2]["state"] == "failed" and rest[-1][2]["exit_code"] == 3
    whole = list(poster.events(path))
    assert texts([e for e in whole if e[0] == "log" and e[2]["stream"] == 1]) == b"one two three" and whole[-1][0] == "end"
    assert list(poster.events(f"{path}?since={whole[-3][1]}"))[-1][0] == "end"
    assert poster.get(f"{path}?since=made-up").status == 400
    assert poster.get(f"{path}?index=7").status == 404


def test_an_epoch_that_moved_on_is_lost(server):
    poster, node = server.client("poster"), server.node()
    poster.post_job()
    x = ref(node.claim()[0])
    for call, more in (("commit", {}), ("finish", {"outcome": "succeeded", "exit_code": 0}), ("uploads", {}), ("locate", {"sha256": []}),
                       ("logs", {"stream": 1, "offset": 0, "data": "eA=="})):
        assert node.message(call, **{**x, "epoch": x["epoch"] + 1}, **more).code == "lost", call
    stranger = server.node()
    assert stranger.message("commit", **x).code == "lost"
    assert "berth_claims_lost_total 6\n" in Client(server.url).get("/metrics").body.decode()


def test_secrets_come_back_to_nobody_but_the_holder(server):
    poster, node = server.client("poster"), server.node()
    keys = {"access_key_id": "AKIAPOSTED", "secret_access_key": "very-private-1"}
    definition = job(resources=[{"type": "S3", "url": "s3://b/k", "target": "/d", "IAM": {"ACCESS_KEY_ID": "AKIAJOB", "SECRET_ACCESS_KEY":
                                                                                     "very-private-2", "REGION": "eu-west-1"}}])
    posted = poster.post_job(definition, credentials=keys, publish="s3://results/{jobID}/")
    claim = node.claim()[0]
    assert claim["credentials"]["secret_access_key"] == "very-private-1" and "very-private-2" in claim["variables"].values()
    assert "very-private" not in json.dumps(claim["definition"])
    published = {"Type": "s3", "Params": {"Bucket": "results", "Key": f"{posted['id']}/r.tar.gz", "Region": "eu-west-1"}}
    node.say("finish", **ref(claim), outcome="succeeded", exit_code=0, published=published, record={"berth": 1})
    path = f"{JOBS}/{posted['id']}"
    for who in (poster, server.operator):
        for tail in ("", "?include=history,executions", "/history", "/executions", "/results", "/logs"):
            assert b"very-private" not in who.get(path + tail).body
    found = poster.get(f"{path}/results").json["results"][0]
    assert "AKIAPOSTED" in found["url"] and "X-Amz-Signature=" in found["url"] and found["expires_ms"] > posted["created_ms"]
    assert "url" not in server.operator.get(f"{path}/results").json["results"][0]
    for file in server.folder.rglob("*"):
        assert not file.is_file() or b"very-private" not in file.read_bytes(), file


def test_a_new_key_seals_what_comes_and_anew_what_was_there(tmp_path):
    server = Server(tmp_path / "s").market()
    poster, node = server.client("poster"), server.node()

    def post(secret):
        poster.post_job(credentials={"access_key_id": "AKIA", "secret_access_key": secret})

    post("of-before")
    before = (server.state / "keys").read_text().splitlines()
    assert server.end() == 0
    made = subprocess.run([BERTH, "serve", "--state-dir", server.state, "--new-key"], env=server.env, capture_output=True, text=True, check=True)
    assert "copy it to all servers" in made.stdout and stat.S_IMODE((server.state / "keys").stat().st_mode) == 0o600
    after = (server.state / "keys").read_text().splitlines()
    assert (after[0], after[2:]) == (before[0], before[1:]) and len(after) == len(before) + 1
    server.start()
    poster.at = node.at = server.operator.at
    post("of-after")
    eventually("the older secret to be sealed anew", lambda: "newest key: 1" in server.said)
    assert server.end() == 0
    (server.state / "keys").write_text("\n".join(after[:2]) + "\n")  # now the older keys can go
    server.start()
    poster.at = node.at = server.operator.at
    assert {c["credentials"]["secret_access_key"] for c in node.claim(2)} == {"of-before", "of-after"}
    assert server.end() == 0
    none = subprocess.run([BERTH, "serve", "--state-dir", tmp_path / "none", "--new-key"], env=server.env, capture_output=True, text=True, check=False)
    assert none.returncode == 1 and "key file" in none.stderr


def test_the_servers_own_keys_sign_nothing_a_node_names(tmp_path):
    own = {"AWS_ACCESS_KEY_ID": "AKIASERVER", "AWS_SECRET_ACCESS_KEY": "server-private"}
    server = Server(tmp_path / "s", env=own).market()
    poster, node = server.client("poster"), server.node()
    posted = poster.post_job()
    published = {"Type": "s3", "Params": {"Bucket": "operators-own", "Key": "secret", "Region": "us-east-1"}}
    node.say("finish", **ref(node.claim()[0]), outcome="succeeded", exit_code=0, published=published)
    assert poster.get(f"{JOBS}/{posted['id']}/results").json["results"][0].keys() == {"index", "attempt", "exit_code", "published"}
    assert server.end() == 0


def test_a_join_token_makes_one_node_with_a_token_of_its_own(server):
    join = server.token("join", "gpu")
    asked = {"version": 1, "node": "rig-1", "market": "gpu"}
    joining = Client(server.url, join)
    token = joining.ok("POST", "/api/v1/node/hello", asked)["token"]
    node = Client(server.url, token)
    assert "token" not in node.ok("POST", "/api/v1/node/hello", asked)
    assert joining("POST", "/api/v1/node/hello", asked).code == "exists"
    assert node("POST", "/api/v1/node/heartbeat", {**asked, "node": "rig-2", "market": None}).status in (400, 404)
    assert node("POST", "/api/v1/node/heartbeat", {"version": 1, "node": "rig-2"}).code == "not_found"
    assert joining("POST", "/api/v1/node/claim", {"version": 1, "node": "rig-1"}).status == 403


def test_the_pages_of_the_dashboard_are_there(server):
    anybody = Client(server.url)
    page = anybody.get("/")
    assert page.status == 200 and page.headers["Content-Type"] == "text/html; charset=utf-8" and b"<!doctype html>" in page.body
    assert "default-src 'self'" in page.headers["Content-Security-Policy"] and page.headers["X-Frame-Options"] == "DENY"
    assert anybody("GET", "/app.js", If_None_Match=anybody.get("/app.js").headers["ETag"]).status == 304


def test_the_guide_for_servers(tmp_path):
    server = Server(tmp_path / "server")
    berth = Berth(tmp_path)
    berth.env.update(BERTH_SERVER_URL=server.url, BERTH_SERVER_TOKEN_FILE=server.announced["token_file"])
    for argv in commands("guide-server.md"):
        got = berth(*argv)
        assert got.code == 0, (argv, got)
    assert [t["role"] for t in server.operator.get("/api/v1/tokens").json["tokens"]].count("join") == 1
    assert Client(server.url, (berth.cwd / "alice.token").read_text().strip()).get(JOBS).status == 200
    assert server.end() == 0
