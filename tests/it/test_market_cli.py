"""A market as people use it: berth devstack, and the commands that post, watch, stop and get, on a real engine and real S3."""
import contextlib
import fcntl
import hashlib
import json
import os
import pty
import signal
import struct
import subprocess
import termios

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
    Engine: {Type: docker, Params: {Image: "localhost/busybox:latest", Entrypoint: [/bin/sh, -c], Parameters: ["echo '{{.word}}' '{{`{{`}}.Id}}'"]}}
    Network: {Type: None}
""", "templated.yaml")
    missing = stack("job", "post", "--file", job, "--market", "dev")
    assert missing.code == 125 and "word" in missing.errors
    done = stack("job", "post", "--file", job, "--market", "dev", "-V", "word=filled {{.not}}", "--follow")
    assert done.code == 0 and done.text == "filled {{.not}} {{.Id}}\n", done
    assert stack("docker", "run", "-m", "dev", "--follow", "localhost/busybox:latest", "echo", "{{.x}}").text == "{{.x}}\n"


def test_an_image_is_run_in_a_market_without_a_job_file(stack, s3, public):
    run = ("docker", "run", "--market", "dev", "-i", f"s3://{public}/m/:/data", "-l", "made=by-hand")
    tail = ("localhost/busybox:latest", "sh", "-c", "cat /data/b.txt; echo oops >&2; exit 7")
    followed = stack(*run, "--follow", *tail)
    assert (followed.code, followed.text) == (7, "hello") and "oops" in followed.errors and "posted j-" in followed.errors, followed
    waited = stack(*run, "--wait", "--id-only", *tail)
    job_id = waited.text.strip()
    assert waited.code == 7 and job_id.startswith("j-") and waited.text.count("\n") == 1, waited
    assert stack.job(job_id)["labels"] == {"made": "by-hand"} and stack.job(job_id)["exit_code"] == 7
    posted = stack(*run, "--json", "--timeout", "60", "--count", "2", *tail)
    assert posted.code == 0 and posted.json["count"] == 2 and posted.json["timeout_ms"] == 60000, posted
    assert stack.reaches(posted.json["id"], "failed")


def test_a_posted_image_gets_the_credentials_that_it_is_given(stack, s3):
    bucket = s3.bucket()
    s3.put(bucket, "private/w.txt", b"mine")
    run = ("docker", "run", "-m", "dev", "-i", f"s3://{bucket}/private/w.txt:/in", "--follow")
    keys = {"AWS_ACCESS_KEY_ID": s3.access, "AWS_SECRET_ACCESS_KEY": s3.secret, "AWS_REGION": s3.region}
    assert stack(*run, "localhost/busybox:latest", "true").code == 125
    done = stack(*run, "--credentials", "env", "localhost/busybox:latest", "sh", "-c", "cat /in/* 2>/dev/null || cat /in", env=keys)
    assert (done.code, done.text) == (0, "mine"), done


def test_a_posted_image_gets_its_secrets_and_nobody_is_shown_them(stack, s3):
    canary, bucket = "POSTEDCANARY4712", s3.bucket()
    s3.put(bucket, "private/w.txt", b"signed for")
    url = s3.client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "private/w.txt"})
    signature = url.partition("Signature=")[2].partition("&")[0]
    done = stack("docker", "run", "-m", "dev", "--follow", "-e", f"HF_TOKEN={canary}", "-i", f"{url}:/in", "localhost/busybox:latest", "sh", "-c",
                 "printf %s $HF_TOKEN | sha256sum; cat /in/* 2>/dev/null || cat /in")
    assert done.code == 0 and done.text == hashlib.sha256(canary.encode()).hexdigest() + "  -\nsigned for", done
    job_id = done.errors.split("posted ")[1].split()[0]
    shown = [stack("job", command, job_id, "--json") for command in ("describe", "history", "logs")]
    for secret in (canary, signature):
        assert not any(secret in said.text + said.errors for said in (done, *shown))
        for file in (stack.berth.cwd / "dev").rglob("*"):
            assert not file.is_file() or secret.encode() not in file.read_bytes(), file


@pytest.mark.parametrize("options, said", [
    (("--wait",), "--wait has no effect without --market"), (("--id-only",), "--id-only has no effect without --market"),
    (("--credentials", "env"), "--credentials has no effect without --market"), (("--market", "dev", "--results", "r"), "--results has no effect with --market"),
    (("--market", "dev", "--no-gpu"), "--no-gpu has no effect with --market"), (("--market", "dev", "--log-max", "1MiB"), "--log-max has no effect with --market"),
])
def test_options_of_the_other_way_to_run_an_image_are_refused(stack, options, said):
    refused = stack("docker", "run", *options, "localhost/busybox:latest", "true")
    assert refused.code == 2 and said in refused.errors and "hint: " in refused.errors, refused


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


def test_nodes_go_by_their_names_and_the_beginnings_of_their_ids(stack):
    node = next(n for n in stack("node", "list", "--json").json if n["name"] == "node-2")
    for word in (node["id"], node["id"][:12], "node-2"):
        assert stack("node", "describe", word, "--json").json["id"] == node["id"]
    drained = stack("node", "drain", "node-2")
    try:
        assert drained.text == f"{node['id']} draining\n"
        assert "draining" in stack("node", "list").text
    finally:
        assert stack("node", "undrain", "node-2").code == 0
    several = stack("node", "describe", "n-")
    assert several.code == 1 and "is 2 nodes" in several.errors and "node list" in several.errors


def test_a_market_is_made_once_and_changed_only_where_it_is(stack):
    made = stack("market", "create", "once", "--name", "Once", "--retention", "30d")
    assert made.code == 0 and "retention      30d" in made.text, made
    again = stack("market", "create", "once")
    assert again.code == 1 and "is there already" in again.errors and "berth market set once" in again.errors
    missing = stack("market", "set", "onec", "--retention", "1d")
    assert missing.code == 1 and "no market 'onec'" in missing.errors
    assert "onec" not in stack("market", "list").text
    assert stack("market", "set", "once", "--max-attempts", "1").code == 0
    assert stack("market", "set", "once", "--max-attempts", "0").code == 1
    market = next(m for m in stack("market", "list", "--json").json if m["address"] == "once")
    assert (market["name"], market["max_attempts"], market["retention_ms"]) == ("Once", 1, 30 * 86400 * 1000)
    nothing = stack("market", "set", "once")
    assert nothing.code == 2 and "nothing to change" in nothing.errors


def test_a_token_in_a_file_is_in_no_output(stack, tmp_path):
    made = stack("token", "create", "--role", "poster", "--name", "carol", "--market", "later", "--out", tmp_path / "carol", "--json")
    assert made.code == 0 and "no market 'later' yet" in made.errors
    assert made.json["file"] == str(tmp_path / "carol") and "token" not in made.json
    revoked = stack("token", "revoke", made.json["id"], "--json")
    assert revoked.json == {"id": made.json["id"], "revoked": True}
    assert "later" in next(line for line in stack("token", "list").text.splitlines() if made.json["id"] in line)


def test_a_token_that_could_not_be_written_is_revoked_again(stack, tmp_path):
    made = stack("token", "create", "--role", "poster", "--name", "dave", "--out", tmp_path / "none/dave")
    assert made.code == 1 and str(tmp_path / "none/dave") in made.errors and "revoked again" in made.errors, made
    assert not [t for t in stack("token", "list", "--json").json if t["name"] == "dave" and not t["revoked"]]


def test_waiting_and_following_print_json_for_programs(stack):
    job = stack.berth.job(nosana([], ["sh", "-c", "echo said; exit 4"]))
    waited = stack("job", "post", "--file", job, "--market", "dev", "--wait", "--json")
    assert waited.code == 4 and (waited.json["state"], waited.json["exit_code"]) == ("failed", 4)
    followed = stack("job", "post", "--file", job, "--market", "dev", "--follow", "--json")
    events = [json.loads(line) for line in followed.text.splitlines()]
    assert followed.code == 4 and events[0]["event"] == "posted" and events[0]["job"]["id"].startswith("j-")
    assert events[-1] == {"event": "end", "state": "failed", "exit_code": 4, "reason": "exit code 4"}


def test_a_log_is_the_log_and_nothing_else(stack):
    logs = stack("job", "logs", stack.post("--file", stack.berth.job(nosana([], ["sh", "-c", "echo out; echo err >&2"])), "--wait"))
    assert (logs.code, logs.text, logs.errors) == (0, "out\n", "err\n")
    other = stack("job", "logs", stack("job", "list", "--limit", "1", "--id-only").text.strip(), "--index", "7")
    assert other.code == 1 and "no execution 7" in other.errors and "berth job describe" in other.errors


def test_what_others_wrote_cannot_drive_a_terminal(stack):
    job_id = stack.post("--file", stack.berth.job({**bacalhau([], "true"), "Name": "evil\x1b]0;title\x07\nname"}), "--label", "k=\x1b[31mred")
    for command in (("job", "list"), ("job", "describe", job_id), ("job", "stop", job_id, "--reason", "\x1b[2J"), ("job", "history", job_id)):
        done = stack(*command)
        assert "\x1b" not in done.text + done.errors and "\x07" not in done.text, command
    assert "evil?]0;title? name" in stack("job", "list").text
    assert stack("job", "describe", job_id, "--json").json["job"]["name"] == "evil\x1b]0;title\x07\nname"


def on_terminal(stack, columns, *args, env=None):
    """What the command shows on a terminal that is so wide."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    argv, full = stack.berth.command(*args, env={**stack.env, "TERM": "xterm", **(env or {})})
    with subprocess.Popen(argv, env=full, cwd=stack.berth.cwd, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not data:
                break
            seen += data
        os.close(ours)
        assert process.wait(60) == 0, seen
    return seen.decode().replace("\r", "")


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_tables_fit_the_terminal_and_ids_stay_whole(stack, columns):
    job_id = stack.post("--file", stack.berth.job({**bacalhau([], "true"), "Name": "a name that is long " * 5}), "--wait")
    for command in (("job", "list"), ("node", "list"), ("job", "history", job_id), ("market", "list"), ("token", "list")):
        lines = on_terminal(stack, columns, *command, env={"NO_COLOR": "1"}).splitlines()
        assert len(lines) > 1 and all(len(line) <= columns for line in lines), (command, lines)
    assert job_id in on_terminal(stack, columns, "job", "list")
    whole = stack("job", "list").text
    assert "NODE" in whole and "a name that is long " * 5 in whole


def test_colours_are_for_terminals_that_want_them(stack):
    assert "\x1b[1mMARKET" in on_terminal(stack, 80, "market", "list")
    assert "\x1b" not in on_terminal(stack, 80, "market", "list", env={"NO_COLOR": "1"})
    assert "\x1b" not in stack("market", "list").text


def test_what_no_market_runs_is_refused_by_name(stack):
    job = stack.berth.job({"version": "0.1", "type": "container", "ops": [
        {"id": "a", "type": "container/run", "args": {"image": "localhost/busybox:latest", "cmd": "true"}},
        {"id": "b", "type": "container/run", "args": {"image": "localhost/busybox:latest", "cmd": "true"}}]})
    refused = stack("job", "post", "--file", job, "--market", "dev")
    assert refused.code == 125 and "several ops" in refused.errors


@pytest.mark.parametrize("args, said", [
    (("job", "post", "--market", "dev"), "--file"), (("job", "describe"), "ID"), (("market", "create", "Bad Name"), "expected 1 to 64 of a-z"),
    (("job", "describe", "j-nosuchjobatall"), "berth job list"), (("node", "describe", "n-none"), "berth node list"), (("token", "create"), "--role"),
    (("token", "create", "--role", "join"), "--market is missing"), (("token", "revoke", "t-none"), "berth token list"), (("job", "get", "none"), "j-…"),
    (("market", "required-resources", "dev", "--set", "none"), "berth market required-resources dev"), (("job",), "berth job --help"), (("market", "lst"), "berth market list"), (("jbo", "list"), "berth job list"), (("market", "list", "x"), "from 'x' on"),
    (("devstack", "--slots", "0"), "--slots"), (("devstack", "--nodes", "99"), "at most 16"),
    (("devstack", "--listen", "0.0.0.0:0"), "without TLS"), (("devstack", "--set", "engine=unix:///none"), "/none"),
])
def test_mistakes_are_named(stack, args, said):
    refused = stack(*args)
    assert refused.code in (1, 2) and said in refused.errors, refused
    assert refused.errors.startswith("berth: ") and refused.errors.count("berth: ") == 1 and "{" not in refused.errors


@contextlib.contextmanager
def bare_stack(berth, *options, env):
    """A devstack without nodes, and what it says about itself."""
    with berth.start("devstack", "--json", "--nodes", "0", *options, env=env) as process:
        text = ""
        while not text.rstrip().endswith("}"):
            line = process.stdout.readline().decode()
            assert line, process.stderr.read().decode()
            text += line
        yield json.loads(text)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (0, 130)


def test_a_devstack_leaves_the_server_alone_that_is_configured(berth, tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    configured = {"DB": f"sqlite:{real}/market.db", "KEY_FILE": real / "keys", "STATE_DIR": real, "TLS_CERT": real / "cert", "TLS_KEY": real / "key",
                  "MANAGED_BUCKET": "no-address"}
    (tmp_path / "config.yaml").write_text(f"serve: {{db: 'sqlite:{real}/other.db'}}\n")
    with bare_stack(berth, "--dir", tmp_path / "dev", "--config", tmp_path / "config.yaml",
                    env={f"BERTH_SERVE_{name}": str(value) for name, value in configured.items()}) as facts:
        assert facts["url"].startswith("http://127.0.0.1:") and facts["token_file"] == f"{tmp_path}/dev/server/operator.token"
        seen = berth("market", "list", "--json", env={"BERTH_SERVER_URL": facts["url"]})
        assert [m["address"] for m in seen.json] == ["dev"]
    assert list(real.iterdir()) == [] and {"market.db", "keys"} <= {p.name for p in (tmp_path / "dev/server").iterdir()}


@pytest.mark.parametrize("named", [True, False])
def test_a_devstack_removes_its_folder_wherever_it_is(berth, tmp_path, named):
    with bare_stack(berth, env={"TMPDIR": str(tmp_path) if named else ""}) as facts:
        assert os.path.isdir(f"{facts['dir']}/server") and os.path.dirname(facts["dir"]) == (str(tmp_path) if named else "/tmp")
    assert not os.path.exists(facts["dir"])


def test_a_server_says_at_each_start_where_its_token_lies(berth, tmp_path):
    for _ in range(2):
        server = berth.start("serve", "--listen", "127.0.0.1:0", "--state-dir", tmp_path)
        said = [server.stdout.readline().decode() for _ in range(3)]
        assert f"BERTH_SERVER_TOKEN_FILE={tmp_path}/operator.token" in said[2], said
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
    for options, token in ((["--db", f"sqlite:{tmp_path}/other.db"], "operator.token"), ([], "operator.token.1")):
        server = berth.start("serve", "--listen", "127.0.0.1:0", "--state-dir", tmp_path, *options)
        said = [server.stdout.readline().decode() for _ in range(3)]
        assert said[1] == f"operator's token: {tmp_path}/{token}\n", said
        seen = berth("token", "list", env={"BERTH_SERVER_URL": said[0].split()[-1], "BERTH_SERVER_TOKEN_FILE": str(tmp_path / token)})
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
        assert seen.code == 0, seen
    refused = berth("serve", "--listen", "somewhere", "--state-dir", tmp_path)
    assert refused.code == 2 and "'somewhere' is not ADDRESS:PORT" in refused.errors


def test_nothing_to_show_is_said(stack):
    for command, said in ((("job", "list", "--market", "none"), "no jobs\n"), (("node", "list", "--market", "none"), "no nodes\n")):
        shown = stack(*command)
        assert (shown.code, shown.text, shown.errors) == (0, "", said)
        assert stack(*command, "--json").json == []


@pytest.mark.parametrize("asked", [("job", "--help"), ("job", "-h"), ("help", "job")])
def test_a_group_of_commands_lists_them(berth, asked):
    shown = berth(*asked)
    assert shown.code == 0 and all(f"job {c}" in shown.text for c in ("get", "post", "list", "describe", "logs", "history", "stop"))
    assert "market" not in shown.text.replace("to a market", "")
    assert berth("help", "job", "post").text == berth("job", "post", "--help").text


def test_values_are_completed_where_they_are_known(berth):
    def words(*typed):
        return berth("completion", "words", "--", *typed).text.split()
    assert words("token", "create", "--role", "") == ["poster", "node", "join", "operator"]
    assert words("job", "list", "--state", "f") == ["failed"]
    assert words("job", "list", "-m", "") == []  # any file, or what the shell has
    assert words("job", "post", "--wait", "--fo") == ["--follow"]


def test_without_a_server_the_way_to_name_one_is_told(berth):
    refused = berth("job", "list")
    assert refused.code == 2 and "BERTH_SERVER_URL" in refused.errors
    refused = berth("job", "list", env={"BERTH_SERVER_URL": "somewhere"})
    assert refused.code == 1 and "'somewhere'" in refused.errors and "http://127.0.0.1:7480" in refused.errors


def test_without_a_token_the_way_to_give_one_is_told(stack):
    refused = stack("job", "list", env={"BERTH_SERVER_TOKEN_FILE": ""})
    assert refused.code == 1 and "BERTH_TOKEN" in refused.errors and "Authorization" not in refused.errors
    refused = stack("job", "list", env={"BERTH_SERVER_TOKEN_FILE": "/none"})
    assert refused.code == 1 and "open /none" in refused.errors and "BERTH_SERVER_TOKEN_FILE" in refused.errors


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
    assert f"berth job stop {job_id}" in errors.decode()
    stack.reaches(job_id, "succeeded")
    assert stack("job", "logs", job_id).text == "up\ndone\n"
