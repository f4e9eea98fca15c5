"""A market as people use it: berth devstack, and the commands that post, watch, stop and get, on a real engine and real S3."""
import json
import signal
import subprocess

import pytest

from conftest import Berth, bacalhau, nosana, resource, s3_input, tree
from fleet import eventually


class Stack:
    """A running devstack, and berth as somebody with a token of it."""

    def __init__(self, berth, process, facts):
        self.berth, self.process, self.facts = berth, process, facts
        self.env = {"BERTH_SERVER_URL": facts["url"], "BERTH_SERVER_TOKEN_FILE": facts["token_file"]}

    def __call__(self, *args, env=None, **more):
        return self.berth(*args, env={**self.env, **(env or {})}, **more)

    def post(self, *args, **more):
        done = self("job", "post", "--market", "dev", "--id-only", *args, **more)
        assert done.code == 0, done
        return done.text.split()[0]

    def job(self, job_id):
        return self("job", "describe", job_id, "--json").json["job"]

    def reaches(self, job_id, *states):
        return eventually(f"{job_id} to be {states}", lambda: self.job(job_id)["state"] in states)


@pytest.fixture(scope="module")
def stack(servers, s3, tmp_path_factory):
    berth = Berth(tmp_path_factory.mktemp("stack"))
    (berth.cwd / "dev").mkdir()
    process = berth.start("devstack", "--json", "--nodes", "2", "--dir", berth.cwd / "dev",
                          "--set", f"engine={servers['docker']['address']}", "--set", f"s3.endpoint={s3.endpoint}")
    text = ""
    while not text.rstrip().endswith("}"):
        line = process.stdout.readline().decode()
        assert line, process.stderr.read().decode()
        text += line
    yield Stack(berth, process, json.loads(text))
    process.send_signal(signal.SIGINT)
    assert process.wait(60) in (0, 130)


@pytest.fixture
def public(s3):
    bucket = s3.bucket(public=True)
    s3.fill(bucket, {"m/a.bin": b"a" * 100000, "m/b.txt": b"hello"})
    return bucket


def test_a_posted_job_runs_on_a_node_and_ends_with_its_exit_code(stack, s3, public):
    job = stack.berth.job(nosana([resource(f"{s3.endpoint}/{public}/m/")], ["sh", "-c", "cat /data/b.txt; echo oops >&2; exit 7"]))
    done = stack("job", "post", "--file", job, "--market", "dev", "--timeout", "10", "--follow")
    assert done.code == 7, done
    assert done.text == "hello"
    assert "oops" in done.errors and "posted j-" in done.errors and "failed: exit code 7" in done.errors


def test_wait_says_nothing_on_stdout_but_the_id(stack):
    done = stack("job", "post", "-f", stack.berth.job(nosana([], ["true"])), "-m", "dev", "--wait", "--id-only")
    assert done.code == 0 and done.text.startswith("j-") and done.text.count("\n") == 1


def test_results_come_back_by_id_without_credentials(stack, s3, tmp_path):
    bucket = s3.bucket()
    definition = bacalhau([], "mkdir -p /o; echo kept > /o/f; echo said", Network={"Type": "None"}, ResultPaths=[{"Name": "o", "Path": "/o"}])
    job_id = stack.post("--file", stack.berth.job(definition), "--publish", f"s3://{bucket}/r/{{jobID}}/", "--credentials", "env", "--wait",
                        env=s3.env)
    got = stack("job", "get", job_id[:14], "--output-dir", tmp_path / "got")
    assert got.code == 0, got
    assert "verified" in got.errors
    files = tree(tmp_path / "got")
    assert files["outputs/o/f"] == b"kept\n" and files["stdout"] == b"said\n" and files["exitCode"] == b"0"
    again = stack("job", "get", job_id, "--output-dir", tmp_path / "got")
    assert again.code == 1 and "got" in again.errors


def test_a_job_without_results_says_so(stack):
    job_id = stack.post("--file", stack.berth.job(nosana([], ["true"])), "--wait")
    got = stack("job", "get", job_id)
    assert got.code == 1 and "published nothing" in got.errors


def test_a_running_job_is_stopped_and_its_log_is_kept(stack):
    job_id = stack.post("--file", stack.berth.job(nosana([], ["sh", "-c", "echo started; sleep 600"])))
    eventually("output", lambda: "started" in stack("job", "logs", job_id).text)
    stopped = stack("job", "stop", job_id, "--reason", "enough seen")
    assert stopped.code == 0, stopped
    stack.reaches(job_id, "stopped")
    history = stack("job", "history", job_id, "--json").json
    assert [h["to"] for h in history][-1] == "stopped"
    assert "enough seen" in json.dumps(history)
    assert stack("job", "stop", job_id).code == 1
    assert stack("job", "logs", job_id, "--follow").text == "started\n"


def test_a_confidential_job_runs_and_the_server_never_sees_it(stack, s3, public):
    canary = "CONFIDENTIALCANARY4711"
    definition = bacalhau([s3_input(public, "m/b.txt", "/data/b.txt", Endpoint=s3.endpoint)], f"true {canary}; cat /data/b.txt",
                          Network={"Type": "None"})
    done = stack("job", "post", "--file", stack.berth.job(definition), "--market", "dev", "--confidential", "--follow", env=s3.env)
    assert done.code == 0 and done.text == "hello", done
    shown = stack("job", "describe", done.errors.split("posted ")[1].split()[0], "--json").text
    assert canary not in shown and public not in shown
    for file in (stack.berth.cwd / "dev/server").iterdir():
        if file.is_file():
            assert canary.encode() not in file.read_bytes(), file


def test_the_same_key_is_the_same_job(stack):
    job = stack.berth.job(nosana([], ["true"]))
    first = stack.post("--file", job, "--idempotency-key", "once")
    assert stack.post("--file", job, "--idempotency-key", "once") == first
    other = stack("job", "post", "--file", stack.berth.job(nosana([], ["false"]), "other.json"), "--market", "dev", "--idempotency-key", "once")
    assert other.code == 125 and "berth:" in other.errors


def test_a_poster_sees_its_own_jobs_only(stack):
    theirs = stack.post("--file", stack.berth.job(nosana([], ["true"])))
    token = stack("token", "create", "--role", "poster", "--name", "alice").text.strip()
    alice = {"BERTH_TOKEN": token}
    mine = stack.post("--file", stack.berth.job(nosana([], ["true"])), "--wait", env=alice)
    assert stack("job", "list", "--id-only", env=alice).text.split() == [mine]
    for command in ("describe", "logs", "history", "stop", "get"):
        refused = stack("job", command, theirs, env=alice)
        assert refused.code == 1 and "no job" in refused.errors, (command, refused)
    assert stack("market", "create", "mine", env=alice).code == 1
    assert stack("token", "list", env=alice).code == 1


def test_a_revoked_token_is_refused(stack, tmp_path):
    made = stack("token", "create", "--role", "poster", "--name", "bob", "--out", tmp_path / "bob")
    assert made.code == 0 and (tmp_path / "bob").stat().st_mode & 0o777 == 0o600
    as_bob = {"BERTH_SERVER_TOKEN_FILE": str(tmp_path / "bob")}
    assert stack("job", "list", env=as_bob).code == 0
    token_id = next(t["id"] for t in stack("token", "list", "--json").json if t["name"] == "bob")
    assert stack("token", "revoke", token_id).code == 0
    refused = stack("job", "list", env=as_bob)
    assert refused.code == 1 and (tmp_path / "bob").read_text().strip() not in refused.errors


def test_a_token_that_others_may_read_is_not_used(stack, tmp_path):
    file = tmp_path / "token"
    file.write_text("berth_pxxxxxxxx\n")
    file.chmod(0o644)
    refused = stack("job", "list", env={"BERTH_SERVER_TOKEN_FILE": str(file)})
    assert refused.code == 1 and "chmod 600" in refused.errors


def test_a_templated_yaml_is_filled_in_before_it_is_posted(stack):
    job = stack.berth.job("""
Name: templated
Type: batch
Tasks:
  - Name: main
    Engine: {Type: docker, Params: {Image: "localhost/busybox:latest", Entrypoint: [/bin/sh, -c], Parameters: ["echo {{.word}}"]}}
    Network: {Type: None}
""", "templated.yaml")
    missing = stack("job", "post", "--file", job, "--market", "dev")
    assert missing.code == 125 and "word" in missing.errors
    done = stack("job", "post", "--file", job, "--market", "dev", "-V", "word=filled", "--follow")
    assert done.code == 0 and done.text == "filled\n"


def test_what_a_market_must_hold_is_pinned_by_its_nodes_and_never_shows_credentials(stack, s3):
    bucket = s3.bucket()
    s3.put(bucket, "private/w.bin", b"w" * 1000)
    file = stack.berth.job({"required_images": ["localhost/busybox:latest"], "required_remote_resources": [
        {"type": "S3", "url": f"{s3.endpoint}/{bucket}/private/",
         "IAM": {"ACCESS_KEY_ID": s3.access, "SECRET_ACCESS_KEY": s3.secret, "REGION": s3.region}}]}, "required.json")
    try:
        shown = stack("market", "required-resources", "dev", "--set", file)
        assert shown.code == 0 and s3.secret not in shown.text and "IAM" not in shown.text
        eventually("both nodes to be ready", lambda: all(n["ready"] for n in stack("node", "list", "--json").json))
        for node in ("node-1", "node-2"):
            cached = stack("cache", "ls", "--json", env={"BERTH_CACHE_DIR": str(stack.berth.cwd / "dev" / node / "cache")}).json
            assert any(entry["pinned_by"] == ["market dev"] for entry in cached), cached
    finally:
        empty = stack.berth.job({"required_images": [], "required_remote_resources": []}, "empty.json")
        assert stack("market", "required-resources", "dev", "--set", empty).code == 0
        eventually("both nodes to be ready again", lambda: all(n["ready"] for n in stack("node", "list", "--json").json))


def test_a_drained_node_takes_no_jobs(stack):
    nodes = stack("node", "list", "--json").json
    drained = nodes[0]["id"]
    assert stack("node", "drain", drained).code == 0
    try:
        ids = [stack.post("--file", stack.berth.job(nosana([], ["true"])), "--wait") for _ in range(4)]
        assert all(stack.job(i)["node"] != drained for i in ids)
    finally:
        assert stack("node", "undrain", drained).code == 0


def test_what_no_market_runs_is_refused_by_name(stack):
    job = stack.berth.job({"version": "0.1", "type": "container", "ops": [
        {"id": "a", "type": "container/run", "args": {"image": "localhost/busybox:latest", "cmd": "true"}},
        {"id": "b", "type": "container/run", "args": {"image": "localhost/busybox:latest", "cmd": "true"}}]})
    refused = stack("job", "post", "--file", job, "--market", "dev")
    assert refused.code == 125 and "several ops" in refused.errors


@pytest.mark.parametrize("args, said", [
    (("job", "post", "--market", "dev"), "--file"), (("job", "describe"), "ID"), (("market", "create", "Bad Name"), "expected 1 to 64 of a-z"),
    (("job", "describe", "j-nosuchjobatall"), "job"), (("node", "describe", "n-none"), "node"), (("token", "create"), "--role"),
])
def test_mistakes_are_named(stack, args, said):
    refused = stack(*args)
    assert refused.code in (1, 2) and said in refused.errors, refused


def test_without_a_server_the_way_to_name_one_is_told(berth):
    refused = berth("job", "list")
    assert refused.code == 2 and "BERTH_SERVER_URL" in refused.errors


def test_a_token_is_not_sent_in_the_clear_to_another_machine(berth):
    refused = berth("job", "list", env={"BERTH_SERVER_URL": "http://192.0.2.1:7480", "BERTH_TOKEN": "berth_psecret"})
    assert refused.code == 1 and "unencrypted" in refused.errors and "psecret" not in refused.errors


def test_an_interrupted_wait_leaves_the_job_alone(stack):
    argv, env = stack.berth.command("job", "post", "--file", stack.berth.job(nosana([], ["sh", "-c", "echo up; sleep 5; echo done"])), "--market",
                                    "dev", "--follow", env=stack.env)
    waiting = subprocess.Popen(argv, env=env, cwd=stack.berth.cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert waiting.stdout.readline() == b"up\n"
    waiting.send_signal(signal.SIGINT)
    _, errors = waiting.communicate(timeout=60)
    assert waiting.returncode == 130
    job_id = errors.decode().split("posted ")[1].split()[0]
    stack.reaches(job_id, "succeeded")
    assert stack("job", "logs", job_id).text == "up\ndone\n"
