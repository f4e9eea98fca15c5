"""berth node start: the agent of a market, with a real server, real engine and real S3."""
import contextlib
import io
import json
import os
import signal
import stat
import tarfile

import pytest

import conftest
from conftest import BERTH, IMAGE, nosana, resource
from fleet import Fleet, Refused, eventually
from lab import Engine, Relay

SECRET = "SECRETCANARY0123456789"


@pytest.fixture
def market(one_engine):
    """A server on SQLite with short leases, and no node yet."""
    with Fleet(BERTH, servers=1, db="sqlite", lease="3s") as fleet:
        fleet.engine = Engine(one_engine)
        yield fleet.start(max_attempts=3)
        for container in fleet.engine.containers().values():
            fleet.engine.remove(container)


@pytest.fixture
def real(market, s3):
    """Adds nodes with the real engine, which reach the S3 server on loopback but have no credentials for it."""
    def add(*options, **env):
        return market.add_node(*options, env={"BERTH_ENGINE": market.engine.address, "BERTH_NODE_PUBLIC_ONLY": "false",
                                              "AWS_ENDPOINT_URL_S3": s3.endpoint, "AWS_REGION": s3.region, **env})
    return add


def execution(market, job_id, index=0):
    return market.job(job_id, "executions")["executions"][index]


def await_state(market, job_id, state):
    def there():
        found = execution(market, job_id)
        assert found["state"] == state or found["state"] not in ("succeeded", "failed", "stopped", "timed_out"), found
        return found["state"] == state and found
    return eventually(f"{job_id} to be {state}", there)


def publishing(definition, bucket, endpoint=None, key="results/{jobID}/"):
    """A Bacalhau job with a publisher."""
    params = {"Bucket": bucket, "Key": key, **({"Endpoint": endpoint} if endpoint else {})}
    definition["Tasks"][0]["Publisher"] = {"Type": "s3", "Params": params}
    return definition


def bacalhau(cmd, inputs=(), results=False, **more):
    job = conftest.bacalhau(list(inputs), cmd, Network={"Type": "None"})
    job["Tasks"][0]["ResultPaths"] = [{"Name": "out", "Path": "/out"}] if results else []
    return {**job, **more}


def keys_of(user):
    return {"access_key_id": user.access, "secret_access_key": user.secret, "region": user.region}


def objects(s3, bucket):
    return [o["Key"] for o in s3.client.list_objects_v2(Bucket=bucket).get("Contents", [])]


def unfinished(s3, bucket):
    return s3.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])


def archive(s3, bucket, key):
    body = s3.client.get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}


def log_of(market, job_id, stream):
    import base64
    import urllib.request
    ask = urllib.request.Request(f"{market.urls[0]}/api/v1/orchestrator/jobs/{job_id}/logs",
                                 headers={"Authorization": f"Bearer {market.poster.token}"})
    with urllib.request.urlopen(ask, timeout=30) as answer:
        events = answer.read().decode().split("\n\n")
    pieces = [json.loads(e.split("data: ", 1)[1]) for e in events if "event: log" in e]
    return b"".join(base64.b64decode(p["data"]) for p in pieces if p["stream"] == stream)


# --- the whole way ----------------------------------------------------------------------------------------------------

def test_a_job_is_claimed_run_and_published(market, real, s3):
    """post → claim → stage → run → publish → get."""
    bucket, out = s3.bucket(), s3.bucket()
    s3.fill(bucket, {"data/a.txt": b"alpha", "data/b.txt": b"beta"})
    node = real()
    job = market.post(publishing(bacalhau("cat /in/a.txt; cat /in/b.txt >&2; mkdir -p /out; cp /in/a.txt /out/r",
                                          [conftest.s3_input(bucket, "data/", "/in")], results=True), out),
                      credentials=keys_of(s3))
    end = market.await_end(job["id"])
    assert end["state"] == "succeeded" and end["exit_code"] == 0, (end, node.process.tail())
    assert log_of(market, job["id"], 1) == b"alpha" and log_of(market, job["id"], 2) == b"beta"
    assert objects(s3, out) == [f"results/{job['id']}/e-{job['id']}-0.tar.gz"] and not unfinished(s3, out)
    kept = archive(s3, out, objects(s3, out)[0])
    assert kept["stdout"] == b"alpha" and kept["outputs/out/r"] == b"alpha" and kept["exitCode"] == b"0"
    results = market.poster.get(f"/api/v1/orchestrator/jobs/{job['id']}/results")["results"]
    assert results[0]["published"]["Params"]["Key"] == objects(s3, out)[0]
    record = execution(market, job["id"])["record"]
    assert record["id"] == job["id"] and record["attempt"] == 1 and record["inputs"][0]["files"] == 2
    assert job["id"] not in market.engine.containers()
    eventually("all of it to be cleared away", lambda: not any((node.state / "results").iterdir()) and not any((node.state / "wills").iterdir()))


def test_states_are_told_in_order(market, real):
    real()
    job = market.post(nosana([], "sleep 2"))
    market.await_end(job["id"])
    moves = [m["to"] for m in market.job(job["id"], "history")["history"]]
    order = ["claimed", "staging", "running", "publishing", "succeeded"]
    assert moves == [s for s in order if s in moves] and {"claimed", "running", "succeeded"} <= set(moves)


@pytest.mark.parametrize("cmd, state, code", [("exit 3", "failed", 3), ("kill -9 $$", "failed", 137), ("sleep 100", "timed_out", 124)])
def test_ends_are_told_as_they_are(market, real, cmd, state, code):
    real()
    end = market.await_end(market.post(nosana([], cmd), timeout_ms=1500 if state == "timed_out" else 0)["id"])
    assert (end["state"], end["exit_code"]) == (state, code), end
    assert end["reason"]


def test_what_no_node_can_cure_is_not_tried_again(market, real, s3):
    """A missing object fails the job at its first attempt, with the words that name it."""
    bucket = s3.bucket()
    real()
    job = market.post(bacalhau("true", [conftest.s3_input(bucket, "gone.txt", "/in")]), credentials=keys_of(s3))
    end = market.await_end(job["id"])
    assert end["state"] == "failed" and "gone.txt" in end["reason"], end
    assert execution(market, job["id"])["attempt"] == 1


def test_executions_share_the_keys_of_a_partitioned_source(market, real, s3):
    bucket = s3.bucket(public=True)
    s3.fill(bucket, {f"d/{i}": str(i).encode() for i in range(12)})
    source = conftest.s3_input(bucket, "d/", "/in", Partition={"Type": "object"})
    real("--slots", "3")
    job = market.post(bacalhau("ls /in; echo $BACALHAU_PARTITION_INDEX/$BACALHAU_PARTITION_COUNT >&2", [source], Count=3))
    end = market.await_end(job["id"])
    assert end["state"] == "succeeded", end
    records = [e["record"] for e in market.job(job["id"], "executions")["executions"]]
    seen = [o["path"] for r in records for o in r["inputs"][0].get("objects", [])]
    assert sorted(seen) == sorted(str(i) for i in range(12)), seen


# --- who may what -----------------------------------------------------------------------------------------------------

def test_a_job_does_not_get_the_machines_own_credentials(market, real, s3):
    bucket = s3.bucket()
    s3.put(bucket, "private.txt", b"p")
    real(AWS_ACCESS_KEY_ID=s3.access, AWS_SECRET_ACCESS_KEY=s3.secret)
    end = market.await_end(market.post(bacalhau("cat /in/*", [conftest.s3_input(bucket, "private.txt", "/in")]))["id"])
    assert end["state"] == "failed" and "403" in end["reason"], end


def test_buckets_that_the_operator_names_are_read_with_the_machines_own(market, real, s3):
    bucket, other = s3.bucket(), s3.bucket()
    for b in (bucket, other):
        s3.put(b, "private.txt", b"p")
    real(AWS_ACCESS_KEY_ID=s3.access, AWS_SECRET_ACCESS_KEY=s3.secret, BERTH_NODE_ALLOW_BUCKETS=bucket)
    first, second = (market.post(bacalhau("cat /in/*", [conftest.s3_input(b, "private.txt", "/in")])) for b in (bucket, other))
    assert market.await_end(first["id"])["state"] == "succeeded"
    assert market.await_end(second["id"])["state"] == "failed"


def test_addresses_that_are_not_public_are_refused_to_jobs(market, real, s3):
    bucket = s3.bucket(public=True)
    s3.put(bucket, "a", b"a")
    real(BERTH_NODE_PUBLIC_ONLY="true")
    end = market.await_end(market.post(bacalhau("true", [conftest.s3_input(bucket, "a", "/in", Endpoint=s3.endpoint)]))["id"])
    assert end["state"] == "failed" and "127.0.0.1" in end["reason"], end


def test_jobs_have_no_network_where_the_operator_gives_none(market, real):
    real(BERTH_NODE_NETWORK="none")
    first = market.await_end(market.post(nosana([], "ls /sys/class/net"))["id"])
    assert log_of(market, first["id"], 1).split() == [b"lo"] and "network" in first["reason"], first
    quiet = market.await_end(market.post(bacalhau("true"))["id"])
    assert quiet["state"] == "succeeded" and not quiet["reason"], quiet


def test_a_publisher_may_not_name_the_nodes_own_disk(market, real, berth, tmp_path):
    """A server refuses it; of a confidential job it does not see it, and the node does."""
    node = real("-v")
    job = bacalhau("true")
    job["Tasks"][0]["Publisher"] = {"Type": "local"}
    assert market.await_end(market.post(job)["id"])["state"] == "succeeded"
    place = f"file://{tmp_path}/x.tar.gz"
    with pytest.raises(Refused) as refusal:
        market.post(bacalhau("true"), publish=place)
    assert refusal.value.status == 422
    done = berth("job", "post", "--file", berth.job(bacalhau("true")), "--market", market.market, "--confidential", "--publish", place, "--wait",
                 env={"BERTH_SERVER_URL": market.url, "BERTH_TOKEN": market.poster.token})
    assert done.code != 0 and "the node's own disk" in node.process.tail(1 << 20), done
    assert not any(tmp_path.glob("x*"))


def test_what_the_node_keeps_is_no_input_whatever_is_allowed(market, real):
    """Its token, its keys, the results of other jobs, its cache."""
    node = real(BERTH_LOCAL_ALLOW=str(market.folder))
    market.await_nodes()
    apart = market.folder / "apart"
    apart.mkdir()
    for path in (node.state, node.state / "results", next(p for p in node.state.iterdir() if p.is_file()), node.state.parent,
                 node.state.parent / "cache" / "blobs"):
        source = {"Type": "localDirectory", "Params": {"SourcePath": str(path)}}
        end = await_state(market, market.post(bacalhau("true", [{"Target": "/data", "Source": source}]))["id"], "failed")
        assert "berth's own folder" in end["reason"], end
    source = {"Type": "localDirectory", "Params": {"SourcePath": str(apart)}}
    assert await_state(market, market.post(bacalhau("true", [{"Target": "/data", "Source": source}]))["id"], "succeeded")


def test_no_secret_is_left_in_logs_files_or_messages(market, real, s3):
    bucket = s3.bucket()
    node = real("-v")
    job = nosana([{"type": "S3", "url": f"{s3.endpoint}/{bucket}/x", "target": "/in",
                   "IAM": {"ACCESS_KEY_ID": "AKIACANARY", "SECRET_ACCESS_KEY": SECRET, "REGION": "us-east-1"}}], "true")
    end = market.await_end(market.post(job)["id"])
    assert end["state"] == "failed"
    shown = node.process.tail(1 << 20) + json.dumps(market.job(end["id"], "history", "executions"))
    files = b"".join(p.read_bytes() for p in node.state.rglob("*") if p.is_file())
    join = market.join_token
    assert SECRET not in shown and SECRET.encode() not in files and join not in shown and join.encode() not in files
    assert stat.S_IMODE((node.state / "token").stat().st_mode) == 0o600
    assert (node.state / "token").read_text() not in shown
    assert all(join not in (open(f"/proc/{p}/cmdline").read() if os.path.exists(f"/proc/{p}/cmdline") else "")
               for p in os.listdir("/proc") if p.isdigit())


def test_a_confidential_job_runs_where_only_the_node_reads_it(market, real, berth, s3):
    real()
    token = berth.cwd / "poster.token"
    token.touch(mode=0o600)
    token.write_text(market.poster.token)
    path = berth.job(nosana([], f"echo {SECRET}"))
    done = berth("job", "post", "--file", path, "--market", market.market, "--confidential", "--wait", "--follow",
                 env={"BERTH_SERVER_URL": market.url, "BERTH_SERVER_TOKEN_FILE": str(token)})
    assert done.code == 0 and SECRET.encode() in done.out, done
    state = b"".join(p.read_bytes() for p in market.state.rglob("market.db*"))
    assert f"echo {SECRET}".encode() not in state


def test_why_a_confidential_job_fails_is_for_the_nodes_log(market, real, berth, s3):
    node = real("-v")
    token = berth.cwd / "poster.token"
    token.touch(mode=0o600)
    token.write_text(market.poster.token)
    path = berth.job(nosana([{"type": "S3", "url": f"{s3.endpoint}/canary-bucket/canary-key", "target": "/in"}], "true"))
    done = berth("job", "post", "--file", path, "--market", market.market, "--confidential", "--wait",
                 env={"BERTH_SERVER_URL": market.url, "BERTH_SERVER_TOKEN_FILE": str(token)})
    assert done.code != 0, done
    job = market.poster.get("/api/v1/orchestrator/jobs")["jobs"][0]
    shown = json.dumps(market.job(job["id"], "history", "executions"))
    assert job["state"] == "failed" and "log" in job["reason"] and "canary" not in shown, shown
    assert "canary" in node.process.tail(1 << 20)


def test_the_server_is_not_told_that_a_node_holds_a_confidential_jobs_input(market, real, berth, s3):
    bucket, sizes = s3.bucket(), {"secret": 1000, "open": 2000}
    s3.fill(bucket, {name: b"x" * size for name, size in sizes.items()})
    real()
    env = {"BERTH_SERVER_URL": market.url, "BERTH_TOKEN": market.poster.token}
    for name, flags in (("secret", ["--confidential"]), ("open", [])):
        path = berth.job(nosana([{"type": "S3", "url": f"{s3.endpoint}/{bucket}/{name}", "target": "/in",
                                  "IAM": {"ACCESS_KEY_ID": s3.access, "SECRET_ACCESS_KEY": s3.secret, "REGION": s3.region}}], "true"))
        done = berth("job", "post", "--file", path, "--market", market.market, *flags, "--wait", env=env)
        assert done.code == 0, done
    node = "/api/v1/orchestrator/nodes/" + market.operator.get("/api/v1/orchestrator/nodes")["nodes"][0]["id"]
    held = lambda: {h["bytes"] for h in market.operator.get(node)["node"]["holds"]}
    eventually("the open job's input to be told", lambda: sizes["open"] in held())
    assert held() == {sizes["open"]}


# --- joining and what the market requires -----------------------------------------------------------------------------

def test_a_node_keeps_its_name_and_token(market, real):
    node = real()
    market.await_nodes()
    first = market.operator.get("/api/v1/orchestrator/nodes")["nodes"]
    assert node.process.end() == 0
    at = node.process.argv.index("--token-file")
    del node.process.argv[at:at + 2]
    node.process.start()
    eventually("the node to be there again", lambda: market.operator.get("/api/v1/orchestrator/nodes")["nodes"][0]["ready"])
    again = market.operator.get("/api/v1/orchestrator/nodes")["nodes"]
    assert [n["id"] for n in again] == [n["id"] for n in first]
    assert first[0]["info"]["cpus"] == len(os.sched_getaffinity(0)) and first[0]["info"]["engine"].startswith("docker")


def test_a_node_with_a_token_of_its_own_waits_for_approval(market, berth, one_engine):
    token = berth.cwd / "node.token"
    token.touch(mode=0o600)
    token.write_text(market.token("node"))
    node = berth.start("node", "start", "--server", market.url, "--token-file", token, "--state-dir", berth.cwd / "s",
                       env={"BERTH_ENGINE": one_engine})
    nodes = lambda: market.operator.get("/api/v1/orchestrator/nodes")["nodes"]
    pending = eventually("it to wait", lambda: [n for n in nodes() if n["readiness"] == "waiting for approval"])[0]
    assert pending["state"] == "pending" and not pending["ready"]
    market.operator.call("PUT", f"/api/v1/orchestrator/nodes/{pending['id']}", {"version": 1, "action": "approve"})
    eventually("it to be ready", lambda: nodes()[0]["ready"])
    node.terminate()
    assert node.wait(60) == 0
    assert (berth.cwd / "s" / "token").read_text() == token.read_text()


def test_one_state_folder_is_one_node(market, real, berth):
    node = real()
    market.await_nodes()
    done = berth("node", "start", "--server", market.url, "--state-dir", node.state, env={"BERTH_ENGINE": market.engine.address})
    assert done.code == 1 and "another node" in done.errors and "--state-dir" in done.errors, done


def test_a_node_without_a_token_says_how_to_get_one(market, berth, one_engine):
    done = berth("node", "start", "--server", market.url, "--state-dir", berth.cwd / "s", env={"BERTH_ENGINE": one_engine})
    assert done.code == 2 and "no token" in done.errors and "--role join" in done.errors, done


def test_a_token_of_the_wrong_kind_ends_the_node(market, berth, one_engine):
    token = berth.cwd / "t"
    token.touch(mode=0o600)
    token.write_text(market.poster.token)
    done = berth("node", "start", "--server", market.url, "--state-dir", berth.cwd / "s", "--token-file", token,
                 env={"BERTH_ENGINE": one_engine})
    assert done.code == 1 and "role" in done.errors, done


def test_a_token_for_another_market_says_which_it_is_for(market, berth, one_engine):
    token = berth.cwd / "t"
    token.touch(mode=0o600)
    token.write_text(market.join_token)
    done = berth("node", "start", "--server", market.url, "--market", "nowhere", "--state-dir", berth.cwd / "s", "--token-file", token,
                 env={"BERTH_ENGINE": one_engine})
    assert done.code == 1 and "for market 'fleet', not for 'nowhere'" in done.errors and "name market 'fleet'" in done.errors, done


def pins(node):
    """{snapshot's origin: who pinned it} of a node's cache."""
    import subprocess
    out = subprocess.run([BERTH, "cache", "ls", "--json"], env=node.process.env, check=True, capture_output=True).stdout
    return {c["origin"].split("\n")[0]: c["pinned_by"] for c in json.loads(out) if c["pinned_by"]}


def require(market, user, bucket, *folders):
    doc = {"required_images": [IMAGE], "required_remote_resources": [
        {"type": "S3", "url": f"{user.endpoint}/{bucket}/{f}/",
         "IAM": {"ACCESS_KEY_ID": user.access, "SECRET_ACCESS_KEY": user.secret, "REGION": user.region}} for f in folders]}
    market.operator.call("PUT", f"/api/markets/{market.market}/required-resources", doc)


def test_a_node_is_ready_once_it_holds_what_is_required(market, real, s3):
    """Required resources are staged with their own keys, pinned, and followed; what is required no more is unpinned, not deleted."""
    bucket = s3.bucket()
    s3.fill(bucket, {"one/a": b"1" * 1000, "two/b": b"2" * 1000})
    require(market, s3, bucket, "one")
    node = real()
    market.await_nodes()
    assert list(pins(node).values()) == [[f"market {market.market}"]]
    require(market, s3, bucket, "two")
    eventually("the other one to be pinned", lambda: [k for k in pins(node) if "/two" in k] and len(pins(node)) == 1)
    market.await_nodes()
    path = "/api/v1/orchestrator/nodes/" + market.operator.get("/api/v1/orchestrator/nodes")["nodes"][0]["id"]
    held = eventually("the holds to be told", lambda: market.operator.get(path)["node"]["holds"])
    assert any(h["bytes"] == 1000 for h in held)
    public = market.poster.get(f"/api/markets/{market.market}/required-resources")
    assert s3.secret not in json.dumps(public)


def test_a_node_that_lacks_what_is_required_claims_nothing_and_says_why(market, real, s3, stranger):
    bucket = s3.bucket()
    s3.put(bucket, "one/a", b"1")
    require(market, stranger, bucket, "one")
    real()
    node = eventually("the reason", lambda: [n for n in market.operator.get("/api/v1/orchestrator/nodes")["nodes"] if "403" in n["readiness"]])[0]
    assert not node["ready"]
    job = market.post(nosana([], "true"))
    require(market, s3, bucket, "one")
    assert market.await_end(job["id"])["state"] == "succeeded"


# --- stopping ---------------------------------------------------------------------------------------------------------

def test_a_running_job_is_stopped(market, real):
    real()
    job = market.post(nosana([], "trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done"))
    await_state(market, job["id"], "running")
    market.poster.call("DELETE", f"/api/v1/orchestrator/jobs/{job['id']}?reason=enough")
    end = market.await_end(job["id"])
    assert end["state"] == "stopped" and "enough" in end["reason"], end
    eventually("the container to be gone", lambda: market.engine.containers() == {})


def test_a_job_is_stopped_while_it_is_staged(market, real, s3):
    bucket = s3.bucket()
    s3.put(bucket, "a", b"a")
    relay = Relay(s3.endpoint)
    relay.hold()
    node = real()
    job = market.post(bacalhau("true", [conftest.s3_input(bucket, "a", "/in", Endpoint=relay.address)]), credentials=keys_of(s3))
    await_state(market, job["id"], "staging")
    assert relay.held.wait(30)
    market.poster.call("DELETE", f"/api/v1/orchestrator/jobs/{job['id']}")
    assert market.await_end(job["id"])["state"] == "stopped"
    eventually("the node to be free", lambda: not any((node.state / "wills").iterdir()))
    relay.vanish()


def test_a_terminated_node_finishes_what_runs_and_claims_nothing_more(market, real, tmp_path):
    node = real()
    job = market.post(nosana([], "echo up; sleep 3; echo done"))
    await_state(market, job["id"], "running")
    later = market.post(nosana([], "true"))
    assert node.process.end() == 0, node.process.tail()
    assert market.job(job["id"])["job"]["state"] == "succeeded"
    assert market.job(later["id"])["job"]["state"] == "queued"


def test_a_second_signal_gives_back_what_runs(market, real):
    node = real()
    job = market.post(nosana([], "echo up; exec sleep 1000"))
    await_state(market, job["id"], "running")
    node.process.send(signal.SIGTERM)
    eventually("the first to be heard", lambda: "waiting for those that run" in node.process.tail())
    assert node.process.end() == 0, node.process.tail()
    found = market.job(job["id"], "executions")
    assert found["executions"][0]["state"] == "queued", found
    assert market.engine.containers() == {}


def test_a_drained_node_claims_nothing_until_it_is_undrained(market, real):
    real()
    market.await_nodes()
    name = market.operator.get("/api/v1/orchestrator/nodes")["nodes"][0]["id"]
    set_to = lambda action: market.operator.call("PUT", f"/api/v1/orchestrator/nodes/{name}", {"version": 1, "action": action})
    set_to("drain")
    job = market.post(nosana([], "true"))
    eventually("the node to hear of it", lambda: market.operator.get(f"/api/v1/orchestrator/nodes/{name}")["node"]["state"] == "draining")
    assert market.job(job["id"])["job"]["state"] == "queued"
    set_to("undrain")
    assert market.await_end(job["id"])["state"] == "succeeded"


def test_a_rejected_node_stops_what_it_runs(market, real):
    real()
    job = market.post(nosana([], "exec sleep 1000"))
    await_state(market, job["id"], "running")
    name = market.operator.get("/api/v1/orchestrator/nodes")["nodes"][0]["id"]
    market.operator.call("PUT", f"/api/v1/orchestrator/nodes/{name}", {"version": 1, "action": "reject"})
    eventually("the container to be gone", lambda: market.engine.containers() == {})
    assert execution(market, job["id"])["state"] == "queued"


# --- outages ----------------------------------------------------------------------------------------------------------

def test_a_server_that_is_away_for_less_than_a_lease_costs_nothing(market, real):
    """Logs come whole and in order, and the end is told, after the server was killed while a job ran."""
    market.servers[0].env["BERTH_SERVE_LEASE"] = "60s"
    market.servers[0].end()
    market.servers[0].start()
    node = real()
    job = market.post(nosana([], "for i in $(seq 40); do echo line $i; sleep 0.1; done"))
    await_state(market, job["id"], "running")
    market.servers[0].kill()
    said = len(node.process.log.read_text())
    eventually("the node to have asked in vain", lambda: "reason=" in node.process.log.read_text()[said:])
    market.servers[0].start()
    end = market.await_end(job["id"])
    assert end["state"] == "succeeded", end
    assert log_of(market, job["id"], 1) == b"".join(b"line %d\n" % i for i in range(1, 41))
    assert execution(market, job["id"])["attempt"] == 1


# --- F35, F36 ---------------------------------------------------------------------------------------------------------

class HoldOnce(list):
    """The requests of a relay, which holds its answers from the first on that has a word in it."""

    def __init__(self, relay, word):
        super().__init__()
        self.relay, self.word = relay, word

    def append(self, request):
        if self.word and self.word in request[1]:
            self.word = None
            self.relay.hold()
        super().append(request)


@contextlib.contextmanager
def held_back(s3, phase):
    """A way to the S3 server that gives no answers from some point on: the first request, or the first part of an upload."""
    relay = Relay(s3.endpoint)
    relay.requests = HoldOnce(relay, "partNumber" if phase == "publishing" else "/")
    try:
        yield relay
    finally:
        relay.vanish()


def gated_job(s3, phase, relay, source, out):
    """A job that stays in `phase` for as long as the relay holds."""
    inputs = [conftest.s3_input(source, "a", "/in", Endpoint=relay.address if phase == "staging" else s3.endpoint)]
    cmd = "cat /in/*; mkdir -p /out; echo made >/out/f" + ("; while [ ! -e /in/never ]; do sleep 0.1; done" if phase == "running" else "")
    return publishing(bacalhau(cmd, inputs, results=True), out, relay.address if phase == "publishing" else s3.endpoint)


@pytest.mark.parametrize("phase", ["staging", "publishing"])
def test_F35_a_killed_nodes_job_runs_elsewhere_and_has_one_result(market, real, s3, phase):
    source, out = s3.bucket(), s3.bucket()
    s3.put(source, "a", b"content")
    first = real()
    market.await_nodes()
    with held_back(s3, phase) as relay:
        job = market.post(gated_job(s3, phase, relay, source, out), credentials=keys_of(s3))
        await_state(market, job["id"], phase)
        assert relay.held.wait(60)
        first.process.kill()
        relay.release()
        real()
        end = market.await_end(job["id"])
    history = market.job(job["id"], "history")["history"]
    assert end["state"] == "succeeded" and execution(market, job["id"])["attempt"] == 2, json.dumps(history, indent=1)
    assert len(objects(s3, out)) == 1 and not unfinished(s3, out)
    results = market.poster.get(f"/api/v1/orchestrator/jobs/{job['id']}/results")["results"]
    assert len(results) == 1 and results[0]["published"]["Params"]["Key"] == objects(s3, out)[0]
    assert archive(s3, out, objects(s3, out)[0])["stdout"] == b"content"


def test_F35_a_node_killed_while_running_gives_the_job_back_and_removes_its_container(market, real):
    """After a restart the same node says at once that what it held has ended."""
    node = real()
    job = market.post(nosana([], "echo up; exec sleep 1000"))
    await_state(market, job["id"], "running")
    eventually("its container", lambda: len(market.engine.containers()) == 1)
    left = market.engine.containers()
    node.process.kill()
    node.process.start()
    eventually("the orphan to be removed", lambda: not set(left.values()) & set(market.engine.containers().values()))
    eventually("the second attempt", lambda: execution(market, job["id"])["attempt"] == 2)
    await_state(market, job["id"], "running")
    market.poster.call("DELETE", f"/api/v1/orchestrator/jobs/{job['id']}")
    market.await_end(job["id"])


@pytest.mark.parametrize("phase", ["running", "publishing"])
def test_F36_a_frozen_node_is_fenced_when_it_wakes(market, real, s3, phase):
    """Another node has the job by then; the frozen one stops its container, publishes nothing, and works on."""
    source, out = s3.bucket(), s3.bucket()
    s3.put(source, "a", b"content")
    first = real("-v")
    market.await_nodes()
    with held_back(s3, phase) as relay:
        definition = gated_job(s3, phase, relay, source, out)
        if phase == "running":  # the second attempt ends
            definition = publishing(bacalhau("mkdir -p /out; cat /in/a; sleep 8", [conftest.s3_input(source, "a", "/in", Endpoint=s3.endpoint)],
                                             results=True), out, s3.endpoint)
        job = market.post(definition, credentials=keys_of(s3))
        await_state(market, job["id"], phase)
        assert phase == "running" or relay.held.wait(60)
        first.process.freeze()
        eventually("the lease to end", lambda: execution(market, job["id"])["state"] == "queued")
        relay.release()
        second = real()
        eventually("the other node to have it", lambda: execution(market, job["id"])["attempt"] == 2)
        first.process.thaw()
        end = market.await_end(job["id"])
        assert end["state"] == "succeeded" and execution(market, job["id"])["attempt"] == 2, (end, second.process.tail())
    eventually("the frozen one to know", lambda: "the claim is lost" in first.process.tail(1 << 20))
    eventually("it to be clean", lambda: not any((first.state / "wills").iterdir()) and not any((first.state / "results").iterdir()))
    assert len(objects(s3, out)) == 1 and not unfinished(s3, out)
    assert market.engine.containers() == {}
    again = market.await_end(market.post(nosana([], "true"))["id"])
    assert again["state"] == "succeeded", again
