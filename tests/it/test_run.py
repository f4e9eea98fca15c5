"""berth run against Docker and Podman: what goes in, what comes out, and how it ends."""
import json
import os
import signal
import stat

import pytest

from conftest import IMAGE, bacalhau, nosana, resource, s3_input, tree
from lab import Engine, Relay, read_until, snapshot_of

WORDS = {"d/a.txt": b"alpha\n", "d/b.txt": b"beta\n", "d/sub/c.txt": b"gamma\n", "e/a.txt": b"other alpha\n", "csv/sample.csv": b"1,2\n"}
FOREVER = "echo ready; while :; do sleep 1; done"


@pytest.fixture(scope="module")
def bucket(s3):
    name = s3.bucket()
    s3.fill(name, WORDS)
    return name


@pytest.fixture
def run(berth, engine):
    """berth run of a job (a dict, or a path) on the engine; results in ./results."""
    def go(job, *options, results="results", **more):
        path = berth.job(job) if isinstance(job, dict) else job
        return berth("run", "--engine", engine, "-r", results, *options, path, **more)
    yield go
    left = Engine(engine).containers()
    for container in left.values():
        Engine(engine).remove(container)
    assert left == {}, "a container was left behind"


@pytest.fixture
def results(berth):
    return berth.cwd / "results"


def record(folder):
    return json.loads((folder / "berth.json").read_text())


# --- how it ends ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("cmd, code", [("true", 0), ("exit 3", 3), ("exit 255", 255), ("sh -c 'kill -9 $$'; exit $?", 137), (["/no/such/command"], 127),
                                       (["/etc/passwd"], 126)], ids=["0", "3", "255", "killed", "not found", "not executable"])
def test_berth_ends_with_the_containers_exit_code(run, results, cmd, code):
    got = run(nosana([], cmd))
    assert got.code == code, got
    assert (results / "exitCode").read_bytes() == str(code).encode()
    assert record(results)["exit_code"] == code


def test_a_failure_of_berth_itself_is_125(run):
    got = run(nosana([], "true", image="localhost/not/there:1"), "--pull", "never")
    assert got.code == 125 and "localhost/not/there:1" in got.errors, got


@pytest.mark.parametrize("how", ["option", "job"])
def test_a_container_whose_time_is_up_ends_with_124(run, results, how):
    job = bacalhau([], "trap '' TERM; " + FOREVER, **({"Timeouts": {"ExecutionTimeout": 1}} if how == "job" else {}))
    got = run(job, "--stop-grace", "1s", *(["--timeout", "1s"] if how == "option" else []))
    assert got.code == 124 and "time was up" in got.errors, got
    assert record(results)["end"] == "timed_out" and (results / "stdout").read_bytes() == b"ready\n"


def test_a_container_out_of_memory_is_told_from_a_killed_one(run, results):
    got = run(bacalhau([], "tail /dev/zero", Resources={"Memory": "24Mb"}))
    assert got.code == 137 and "ran out of memory" in got.errors, got
    assert record(results)["end"] == "out_of_memory"


def begin(berth, engine, job, *options, results="results"):
    p = berth.start("run", "--engine", engine, "-r", results, *options, berth.job(job))
    read_until(p.stdout, b"ready")
    return p


@pytest.mark.parametrize("sig, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"])
def test_a_signal_stops_the_container_even_when_it_ignores_TERM(berth, engine, results, sig, code):
    p = begin(berth, engine, nosana([], "trap '' TERM INT; " + FOREVER), "--stop-grace", "1s")
    p.send_signal(sig)
    out, err = p.communicate(timeout=60)
    assert p.returncode == code, err
    assert Engine(engine).containers() == {}
    assert record(results)["end"] == "stopped" and (results / "stdout").read_bytes().startswith(b"ready\n")
    assert (results / "exitCode").read_text() == str(code)


def test_a_container_that_heeds_TERM_ends_in_its_own_way(berth, engine, results):
    p = begin(berth, engine, nosana([], "trap 'echo bye; exit 0' TERM; " + FOREVER), "--stop-grace", "10m")
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=60)
    assert p.returncode == 130 and b"bye" in out, err


def test_a_second_interrupt_kills(berth, engine):
    p = begin(berth, engine, nosana([], "trap 'echo asked' TERM; " + FOREVER), "--stop-grace", "10m")
    p.send_signal(signal.SIGINT)
    read_until(p.stdout, b"asked")
    p.send_signal(signal.SIGINT)
    _, err = p.communicate(timeout=60)
    assert p.returncode == 130, err
    assert Engine(engine).containers() == {}


def test_an_interrupt_while_downloading_stops_at_once(berth, engine, s3, bucket, results):
    relay = Relay(s3.endpoint)
    relay.hold()
    p = berth.start("run", "--engine", engine, "-r", results, berth.job(bacalhau([s3_input(bucket, "d/")], "true")),
                    env={**s3.env, "AWS_ENDPOINT_URL_S3": relay.address})
    assert relay.held.wait(60)
    p.send_signal(signal.SIGINT)
    _, err = p.communicate(timeout=60)
    assert p.returncode == 130, err
    assert (results / "exitCode").read_text() == "130"
    relay.vanish()


def test_what_a_killed_berth_leaves_is_removed_by_the_next(berth, engine, run, s3, bucket):
    p = berth.start("run", "--engine", engine, "-r", "killed", berth.job(nosana([resource(f"{s3.endpoint}/{bucket}/d", user=s3)], FOREVER)))
    read_until(p.stdout, b"ready")
    p.kill()
    p.communicate()
    assert len(Engine(engine).containers()) == 1
    got = run(nosana([], "echo fine"))
    assert got.code == 0 and got.out == b"fine\n" and "removed 1 container" in got.errors, got
    assert [d.name for d in (berth.cache / "runs").iterdir()] == []


def test_a_living_berths_container_is_left_alone(berth, engine):
    p = begin(berth, engine, nosana([], FOREVER), "--stop-grace", "1s", results="first")
    got = berth("run", "--engine", engine, "-r", "second", berth.job(nosana([], "echo fine")))
    assert got.code == 0 and "removed" not in got.errors, got
    assert p.poll() is None and len(Engine(engine).containers()) == 1
    p.send_signal(signal.SIGINT)
    p.communicate(timeout=60)
    assert p.returncode == 130


def test_an_engine_that_vanishes_is_an_error_and_its_container_is_removed_later(berth, engine, run, tmp_path, results):
    relay = Relay(engine, tmp_path / f"{Engine(engine).name}.sock")
    p = begin(berth, relay.address, nosana([], FOREVER))
    relay.vanish()
    _, err = p.communicate(timeout=60)
    assert p.returncode == 125 and relay.address.encode() in err, err
    assert (results / "stdout").read_bytes() == b"ready\n" and record(results)["end"] == "failed"
    assert run(nosana([], "true"), results="again").code == 0


def test_no_engine_at_all_is_a_clear_error(berth, tmp_path):
    got = berth("run", "--engine", f"unix://{tmp_path}/none.sock", berth.job(nosana([], "true")))
    assert got.code == 125 and "none.sock" in got.errors and "hint: " in got.errors, got


# --- images -----------------------------------------------------------------------------------------------------------

def test_a_missing_image_is_named_and_nothing_is_left(berth, run, servers, s3, bucket, results):
    image = f"{servers['registry']}/test/nope:7"
    got = run(bacalhau([s3_input(bucket, "d/")], "true", image=image), env=s3.env)
    assert got.code == 125 and image in got.errors, got
    assert list((berth.cache / "partial").iterdir()) == [] and record(results)["end"] == "failed"


def test_a_missing_image_stops_a_download_that_runs(berth, engine, servers, s3, bucket):
    relay = Relay(s3.endpoint)
    relay.hold()
    got = berth("run", "--engine", engine, "-r", "r", berth.job(bacalhau([s3_input(bucket, "d/")], "true", image=f"{servers['registry']}/no/such:1")),
                env={**s3.env, "AWS_ENDPOINT_URL_S3": relay.address})
    assert got.code == 125 and "/no/such:1" in got.errors and "ancel" not in got.errors, got
    relay.vanish()


def test_an_image_is_pulled_when_it_is_missing_and_its_id_recorded(run, engine, servers, results):
    image = f"{servers['registry']}/test/sample:1"
    Engine(engine).remove_image(image)
    got = run(nosana([], "echo pulled", image=image))
    assert got.code == 0 and got.out == b"pulled\n", got
    assert record(results)["image"]["id"].startswith("sha256:") and record(results)["image"]["name"] == image


# --- streams and results ----------------------------------------------------------------------------------------------

def test_stdout_and_stderr_arrive_apart_and_byte_for_byte(berth, run, s3, results):
    name, out, err = s3.bucket(), os.urandom(3_000_000), bytes(range(256)) * 4000
    s3.fill(name, {"out": out, "err": err})
    got = run(bacalhau([s3_input(name, "")], "cat /data/out & cat /data/err >&2; wait"), env=s3.env)
    assert got.code == 0 and got.out == out and err in got.err
    assert (results / "stdout").read_bytes() == out and (results / "stderr").read_bytes() == err


def test_the_results_folder_holds_exactly_what_is_promised(run, s3, bucket, results):
    got = run(bacalhau([s3_input(bucket, "d/")], "echo out; echo err >&2; cp -r /data/. /out", ResultPaths=[{"Name": "copy", "Path": "/out"}]),
              env=s3.env)
    assert got.code == 0, got
    assert {k for k in tree(results) if k != "berth.json"} == {"stdout", "stderr", "exitCode", "outputs/copy/a.txt", "outputs/copy/b.txt",
                                                               "outputs/copy/sub/c.txt"}
    assert tree(results / "outputs/copy") == {k[2:]: v for k, v in WORDS.items() if k.startswith("d/")}


def test_the_record_says_what_ran_with_what_and_how_long(run, engine, s3, bucket, results):
    got = run(bacalhau([s3_input(bucket, "d/", Region="us-east-1")], "echo hello; exit 4"), env=s3.env)
    r = record(results)
    assert got.code == 4 and r["berth"] == 1 and r["exit_code"] == 4 and r["end"] == "exited" and r["attempt"] == 1
    assert r["engine"]["name"] == Engine(engine).name and r["image"]["name"] == IMAGE and r["image"]["id"].startswith("sha256:")
    assert r["logs"] == {"stdout_bytes": 6, "stderr_bytes": 0, "stdout_dropped": 0, "stderr_dropped": 0}
    assert set(r["phases_ms"]) == {"resolving", "downloading", "pulling image", "starting", "running", "publishing"}
    (one,) = r["inputs"]
    assert one["bucket"] == bucket and one["endpoint"] == s3.endpoint and one["target"] == "/data" and one["bytes_received"] == 17
    assert [(o["path"], o["size"]) for o in one["objects"]] == [("a.txt", 6), ("b.txt", 5), ("sub/c.txt", 6)]
    assert one["files_verified_by_digest"] == 3 and r["begun"] <= r["finished"]
    assert s3.secret not in json.dumps(r)


def test_logs_are_kept_up_to_their_limit_with_a_mark(run, results):
    got = run(nosana([], "head -c 100000 /dev/zero; echo e >&2"), "--log-max", "1000")
    assert got.code == 0 and len(got.out) == 100000
    kept = (results / "stdout").read_bytes()
    assert kept.startswith(b"\0" * 1000 + b"\n[berth: 99000 further bytes of stdout") and (results / "stderr").read_bytes() == b"e\n"


def test_a_results_folder_that_is_not_empty_is_refused_before_anything_runs(berth, run, results):
    results.mkdir()
    (results / "mine").write_text("precious")
    got = run(nosana([], "echo ran"))
    assert got.code == 125 and got.out == b"" and "not empty" in got.errors and "mine" in got.errors, got
    assert tree(results) == {"mine": b"precious"}


def test_results_go_to_folders_of_their_own_by_default(berth, one_engine):
    for expected in ("berth-job", "berth-job-2"):
        assert berth("run", "--engine", one_engine, berth.job(bacalhau([], "true"))).code == 0
        assert (berth.cwd / expected / "berth.json").exists()


# --- outputs ----------------------------------------------------------------------------------------------------------

OUT = [{"Name": "out", "Path": "/out"}]


def test_several_outputs_each_have_their_folder(run, results):
    got = run(bacalhau([], "echo 1 >/one/f; mkdir -p /two/deep; echo 2 >/two/deep/g", ResultPaths=[
        {"Name": "first", "Path": "/one"}, {"Name": "second", "Path": "/two"}, {"Name": "unused", "Path": "/three"}]))
    assert got.code == 0, got
    assert tree(results / "outputs") == {"first/f": b"1\n", "second/deep/g": b"2\n"} and (results / "outputs/unused").is_dir()


def test_outputs_of_a_failed_container_are_kept(run, results):
    got = run(bacalhau([], "echo half >/out/f; exit 9", ResultPaths=OUT))
    assert got.code == 9 and tree(results / "outputs") == {"out/f": b"half\n"}


def test_a_user_other_than_root_can_write_outputs(run, engine, results):
    image = Engine(engine).image("localhost/nobody:latest", "USER 65534:65534")
    got = run(bacalhau([], "id -u; umask 077; mkdir /out/d; echo mine >/out/d/f", image=image, ResultPaths=OUT))
    assert got.code == 0 and got.out == b"65534\n", got
    assert tree(results / "outputs") == {"out/d/f": b"mine\n"}


def test_odd_outputs_neither_break_berth_nor_stay_dangerous(berth, run, results):
    got = run(bacalhau([], r"""cd /out; echo fine >f; ln -s /etc/shadow shadow; ln -s ../../.. up; mkfifo fifo; mknod null c 1 3; mknod disk b 8 0;
        cp /bin/busybox suid; chmod 6755 suid; mkdir sgid; chmod 2777 sgid; echo nl >"$(printf 'new\nline')"; truncate -s 1099511627776 sparse;
        mkdir locked; echo in >locked/f; chmod 000 locked""", ResultPaths=OUT))
    assert got.code == 0, got
    out = results / "outputs/out"
    kinds = {p.name: p.lstat().st_mode for p in out.iterdir()}
    assert (out / "f").read_bytes() == b"fine\n" and (out / "new\nline").read_bytes() == b"nl\n"
    assert not any(stat.S_ISFIFO(m) or stat.S_ISCHR(m) or stat.S_ISBLK(m) for m in kinds.values()), kinds
    assert not any(m & (stat.S_ISUID | stat.S_ISGID) for m in kinds.values())
    for name in ("fifo", "null", "disk"):
        assert f"{name}" in got.errors, got
    assert (out / "sparse").stat().st_blocks * 512 < 1 << 20
    json.loads((results / "berth.json").read_text())


# --- the container ----------------------------------------------------------------------------------------------------

def test_environment_folder_and_entrypoint_of_a_bacalhau_job(run):
    job = bacalhau([], "", Env={"OUTER": "1", "BOTH": "task"})
    job["Tasks"][0]["Engine"]["Params"] = {"Image": IMAGE, "Entrypoint": ["/bin/echo"], "Parameters": ["$X", "a b"],
                                           "EnvironmentVariables": ["X=1"], "WorkingDirectory": "/tmp"}
    got = run(job)
    assert got.code == 0 and got.out == b"$X a b\n", got
    job["Tasks"][0]["Engine"]["Params"] |= {"Entrypoint": ["/bin/sh", "-c"], "Parameters": ['echo "$X $OUTER $PWD $ODD"'],
                                            "EnvironmentVariables": ["X=a=b c", "ODD=ü'\"\\$"]}
    got = run(job, results="again")
    assert got.code == 0 and got.text == "a=b c 1 /tmp ü'\"\\$\n", got


def test_a_nosana_cmd_is_a_shells_as_text_and_plain_as_a_list(run):
    assert run(nosana([], "echo $((1+2)) | cat", env={"A": "b"}, work_dir="/tmp"), results="r1").out == b"3\n"
    assert run(nosana([], ["echo", "$((1+2))", "|"]), results="r2").out == b"$((1+2)) |\n"
    assert run(nosana([], "pwd; echo $A", env={"A": "b c"}, work_dir="/tmp"), results="r3").out == b"/tmp\nb c\n"
    assert run(nosana([], ["-c", "echo from $0", "entry"], entrypoint=["/bin/sh"]), results="r4").out == b"from entry\n"


def test_the_images_own_command_runs_where_the_job_names_none(run, engine):
    image = Engine(engine).image("localhost/speaks:latest", 'CMD ["echo", "my own words"]')
    job = nosana([], None, image=image)
    del job["ops"][0]["args"]["cmd"]
    got = run(job)
    assert got.code == 0 and got.out == b"my own words\n", got


def test_a_bacalhau_job_has_no_network_unless_it_asks(run):
    got = run(bacalhau([], "ls /sys/class/net; ip route 2>/dev/null"))
    assert got.code == 0 and got.out.split() == [b"lo"], got


def test_a_container_gets_no_new_privileges_and_the_stated_memory(run):
    cmd = "grep NoNewPrivs /proc/self/status; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null"
    got = run(bacalhau([], cmd + "; true", Resources={"Memory": "64Mb", "CPU": "0.5"}))
    assert got.code == 0 and got.text.split()[:2] == ["NoNewPrivs:", "1"], got
    assert got.text.split()[2] in (str(64 << 20), str(64_000_000)), got


# --- GPUs -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dialect", ["nosana", "bacalhau"])
def test_a_gpu_that_is_not_there_is_refused_before_any_request(berth, run, s3, bucket, dialect):
    relay = Relay(s3.endpoint)
    env = {**s3.env, "AWS_ENDPOINT_URL_S3": relay.address}
    job = (nosana([resource(f"{relay.address}/{bucket}/d", user=s3)], "echo ran", gpu=True) if dialect == "nosana"
           else bacalhau([s3_input(bucket, "d/")], "echo ran", Resources={"GPU": "1"}))
    got = run(job, env=env)
    assert got.code == 125 and "GPU" in got.errors and "--no-gpu" in got.errors and got.out == b"", got
    assert relay.requests == [] and berth("cache", "ls", "--json").json == []
    got = run(job, "--no-gpu", env=env, results="without")
    assert got.code == 0 and got.out == b"ran\n" and relay.requests != [], got


# --- inputs in the container ------------------------------------------------------------------------------------------

SCRIBBLE = """cd /data; echo x >a.txt; echo x >>a.txt; chmod 777 a.txt; chmod 777 .; rm -f a.txt; mkdir new; mv b.txt c.txt; touch sub/n; ln a.txt l;
    truncate -s 0 b.txt; cat a.txt b.txt"""


def test_F24_a_read_only_input_stays_what_it_is(berth, run, s3, bucket):
    job = bacalhau([s3_input(bucket, "d/")], "true")
    assert run(job, results="fill", env=s3.env).code == 0
    before = snapshot_of(berth.cache / "blobs"), snapshot_of(berth.cache / "views")
    got = run(bacalhau([s3_input(bucket, "d/")], SCRIBBLE), env=s3.env)
    assert got.code == 0 and got.out == b"alpha\nbeta\n" and got.errors.count("Read-only file system") >= 7, got
    assert (snapshot_of(berth.cache / "blobs"), snapshot_of(berth.cache / "views")) == before
    assert berth("cache", "verify").code == 0


def test_F25_allowWrite_gives_a_private_copy(berth, run, s3, bucket):
    job = nosana([resource(f"{s3.endpoint}/{bucket}/d", user=s3, allowWrite=True)], SCRIBBLE + "; ls; stat -c %a .")
    before = None
    for round in ("one", "two"):
        got = run(job, results=round)
        assert got.code == 1 or "No such file" in got.errors, got
        assert "new" in got.text and "Read-only" not in got.errors, got
        now = snapshot_of(berth.cache / "blobs"), snapshot_of(berth.cache / "views")
        assert before in (None, now)
        before = now
    got = run(nosana([resource(f"{s3.endpoint}/{bucket}/d", user=s3)], "cat /data/a.txt /data/b.txt"), results="three")
    assert got.out == b"alpha\nbeta\n" and list((berth.cache / "runs").iterdir()) == []


def test_a_copy_can_be_written_by_any_user(run, engine, s3, bucket):
    image = Engine(engine).image("localhost/nobody:latest", "USER 65534:65534")
    got = run(nosana([resource(f"{s3.endpoint}/{bucket}/d", user=s3, allowWrite=True)], "echo mine >>/data/sub/c.txt && cat /data/sub/c.txt",
                     image=image))
    assert got.code == 0 and got.out == b"gamma\nmine\n", got


def test_any_user_can_read_an_input(run, engine, s3, bucket):
    image = Engine(engine).image("localhost/nobody:latest", "USER 65534:65534")
    got = run(bacalhau([s3_input(bucket, "d/")], "cat /data/sub/c.txt", image=image), env=s3.env)
    assert got.code == 0 and got.out == b"gamma\n", got


def test_inputs_with_one_target_are_merged(run, s3, bucket):
    parts = [resource(f"{s3.endpoint}/{bucket}/d/sub/", user=s3), resource(f"{s3.endpoint}/{bucket}/csv/", user=s3)]
    got = run(nosana(parts, "cd /data && find . -type f | sort && cat c.txt sample.csv"))
    assert got.code == 0 and got.out == b"./c.txt\n./sample.csv\ngamma\n1,2\n", got


def test_an_input_within_another_is_merged_into_it(run, s3, bucket):
    inputs = [s3_input(bucket, "d/"), s3_input(bucket, "csv/", target="/data/sub/tables")]
    got = run(bacalhau(inputs, "cd /data && find . -type f | sort"), env=s3.env)
    assert got.code == 0 and got.text.split() == ["./a.txt", "./b.txt", "./sub/c.txt", "./sub/tables/sample.csv"], got


def test_inputs_that_give_one_path_the_same_content_are_fine(run, s3, bucket):
    inputs = [s3_input(bucket, "d/"), s3_input(bucket, "d/a*")]
    got = run(bacalhau(inputs, "cat /data/*.txt"), env=s3.env)
    assert got.code == 0 and got.out == b"alpha\nbeta\n", got


def test_inputs_that_give_one_path_different_content_are_an_error_that_names_both(run, s3, bucket):
    got = run(bacalhau([s3_input(bucket, "d/"), s3_input(bucket, "e/")], "echo ran"), env=s3.env)
    assert got.code == 125 and got.out == b"", got
    assert f"{bucket}/d/" in got.errors and f"{bucket}/e/" in got.errors and "a.txt" in got.errors, got


@pytest.mark.parametrize("target, sees", [("/data/sample.csv", "/data/sample.csv"), ("/data", "/data/sample.csv"),
                                          ("/data/other.csv", "/data/other.csv/sample.csv")], ids=["file", "folder", "other name"])
def test_a_single_object_is_a_file_where_its_target_ends_in_its_name(run, s3, bucket, target, sees):
    got = run(bacalhau([s3_input(bucket, "csv/sample.csv", target=target)], f"test -f {sees} && cat {sees}"), env=s3.env)
    assert got.code == 0 and got.out == b"1,2\n", got


def test_two_single_files_in_one_folder(run, s3, bucket):
    inputs = [s3_input(bucket, "csv/sample.csv", target="/data/sample.csv"), s3_input(bucket, "d/a.txt", target="/data/a.txt")]
    got = run(bacalhau(inputs, "cat /data/sample.csv /data/a.txt"), env=s3.env)
    assert got.code == 0 and got.out == b"1,2\nalpha\n", got


def test_an_output_within_an_input_is_refused_before_any_request(run, s3, bucket):
    relay = Relay(s3.endpoint)
    got = run(bacalhau([s3_input(bucket, "d/")], "true", ResultPaths=[{"Name": "o", "Path": "/data/out"}]),
              env={**s3.env, "AWS_ENDPOINT_URL_S3": relay.address})
    assert got.code == 125 and "/data/out" in got.errors and relay.requests == [], got


# --- other ways in ----------------------------------------------------------------------------------------------------

def test_json_is_one_event_a_line(run, s3, bucket):
    got = run(bacalhau([s3_input(bucket, "d/")], r"cat /data/a.txt; printf '\377\376'; echo err >&2; exit 5"), "--json", env=s3.env)
    assert got.code == 5, got
    events = got.events
    assert all("event" in e and "time" in e for e in events)
    phases = [e["phase"] for e in events if e["event"] == "phase"]
    assert [p for p in phases if p in ("resolving", "downloading", "starting", "running", "publishing", "done")] == [
        "resolving", "downloading", "starting", "running", "publishing", "done"], phases
    (result,) = [e for e in events if e["event"] == "result"]
    assert result["exit_code"] == 5 and result["inputs"][0]["files"] == 3
    assert any(e["event"] == "progress" and e["files_total"] == 3 and e["bytes_done"] == 17 for e in events)
    err = "".join(e.get("text", "") for e in events if e["event"] == "output" and e["stream"] == "stderr")
    assert err == "err\n"


def test_json_tells_a_failure_too(run, s3, bucket):
    got = run(bacalhau([s3_input(bucket, "nope/")], "true"), "--json", env=s3.env)
    assert got.code == 125
    (result,) = [e for e in got.events if e["event"] == "result"]
    assert result["end"] == "failed" and "nope/" in result["error"]
    error = json.loads(got.errors.splitlines()[-1])["error"]
    assert error["code"] == result["error_kind"] and "nope/" in error["message"]


def test_a_job_comes_from_standard_input_too(run):
    got = run("-", input=json.dumps(nosana([], "echo piped")).encode())
    assert got.code == 0 and got.out == b"piped\n", got


def test_placeholders_are_filled_from_the_command_line(berth, run, s3, bucket):
    text = json.dumps(bacalhau([s3_input("{{.bucket}}", "{{.key}}")], "cat /data/*"))
    got = run(berth.job(text), "-V", f"bucket={bucket}", "-V", "key=csv/", env=s3.env)
    assert got.code == 0 and got.out == b"1,2\n", got
    got = run(berth.job(text), "-V", "key=csv/", results="missing", env=s3.env)
    assert got.code == 125 and "bucket" in got.errors and "-V" in got.errors, got


def test_inputs_that_take_too_long_end_the_run_with_124(berth, run, s3, bucket, results):
    relay = Relay(s3.endpoint)
    relay.hold()
    got = run(bacalhau([s3_input(bucket, "d/")], "echo ran"), "--stage-timeout", "1s", env={**s3.env, "AWS_ENDPOINT_URL_S3": relay.address})
    assert got.code == 124 and "stage timeout" in got.errors and got.out == b"", got
    assert record(results)["end"] == "failed" and (results / "exitCode").read_text() == "124"
    relay.vanish()


def test_a_run_record_runs_again(berth, run, s3, bucket, results):
    first = run(nosana([resource(f"{s3.endpoint}/{bucket}/d", user=s3)], "cat /data/*.txt; echo e >&2; exit 6", env={"A": "b"}))
    assert first.code == 6, first
    again = run(results / "berth.json", "-V", f"input0.access_key_id={s3.access}", "-V",
                f"input0.secret_access_key={s3.secret}", results="again")
    assert again.code == 6 and again.out == first.out == b"alpha\nbeta\n", again
    a, b = record(results), record(berth.cwd / "again")
    assert a["job"] == b["job"] and a["inputs"][0]["snapshot"] == b["inputs"][0]["snapshot"] and a["id"] != b["id"]


def test_a_run_record_needs_its_secrets_anew(run, s3, bucket, results):
    assert run(nosana([resource(f"{s3.endpoint}/{bucket}/d", user=s3)], "true")).code == 0
    got = run(results / "berth.json", results="again")
    assert got.code == 125 and "-V input0.access_key_id=" in got.errors and got.out == b"", got


def test_a_run_record_takes_the_objects_of_then_and_no_others(run, s3, results):
    name = s3.bucket()
    s3.fill(name, {"k/f": "f", "k/g": "g"})
    job = bacalhau([s3_input(name, "k/")], "ls /data")
    assert run(job, env=s3.env).out == b"f\ng\n"
    s3.put(name, "k/new", "new")
    assert run(job, env=s3.env, results="now").out == b"f\ng\nnew\n"
    got = run(results / "berth.json", results="then", env=s3.env)
    assert got.code == 0 and got.out == b"f\ng\n", got


def test_a_run_record_brings_back_the_version_of_then(berth, run, s3, results):
    name = s3.bucket(versioning=True)
    then = s3.put(name, "k/f", "then")["VersionId"]
    assert run(bacalhau([s3_input(name, "k/f", VersionID=then)], "cat /data/f"), env=s3.env).out == b"then"
    s3.put(name, "k/f", "now")
    got = run(results / "berth.json", results="then", env={**s3.env, "BERTH_CACHE_DIR": f"{berth.cache}-empty"})
    assert got.code == 0 and got.out == b"then", got


def test_a_run_record_of_what_is_gone_names_it(berth, run, s3, results):
    name = s3.bucket()
    s3.fill(name, {"k/f": "then", "k/same": "same"})
    assert run(bacalhau([s3_input(name, "k/")], "cat /data/f"), env=s3.env).out == b"then"
    s3.put(name, "k/f", "now")
    for cache in (berth.cache, f"{berth.cache}-empty"):  # the origin has the last word, whatever the cache still has
        got = run(results / "berth.json", results=f"again-{os.path.basename(cache)}", env={**s3.env, "BERTH_CACHE_DIR": str(cache)})
        assert got.code == 125 and "k/f" in got.errors and "recorded version is gone" in got.errors and got.out == b"", got


def test_a_run_record_is_no_way_round_the_origins_no(run, s3, stranger, bucket, results):
    assert run(bacalhau([s3_input(bucket, "d/")], "cat /data/a.txt"), env=s3.env).code == 0
    got = run(results / "berth.json", results="again", env=stranger.env)
    assert got.code == 125 and "403" in got.errors and got.out == b"", got


# --- docker run -------------------------------------------------------------------------------------------------------

def test_the_imperative_form_runs(berth, engine, s3, bucket):
    got = berth("docker", "run", "--engine", engine, "-r", "results", "-i", f"s3://{bucket}/d/:/data", "-i",
                f"src=s3://{bucket}/csv/sample.csv,dst=/data/tables", "-o", "out:/out", "-e", "WHO=me", "-w", "/tmp", "--memory", "64MiB",
                IMAGE, "sh", "-c", "echo $WHO $PWD; find /data -type f | sort; echo -n kept >/out/f", env=s3.env)
    assert got.code == 0, got
    assert got.text == "me /tmp\n/data/a.txt\n/data/b.txt\n/data/sub/c.txt\n/data/tables/sample.csv\n"
    assert tree(berth.cwd / "results/outputs") == {"out/f": b"kept"}


def test_inputs_land_in_inputs_where_nothing_else_is_said(berth, one_engine, s3, bucket):
    got = berth("docker", "run", "--engine", one_engine, "-i", f"s3://{bucket}/csv/sample.csv", IMAGE, "cat", "/inputs/sample.csv", env=s3.env)
    assert got.code == 0 and got.out == b"1,2\n", got


def test_a_dry_run_prints_yaml_that_runs(berth, one_engine, s3, bucket):
    words = ["-i", f"src=s3://{bucket}/d/,dst=/data,opt=endpoint={s3.endpoint},opt=region=us-east-1,opt=filter=^a", "-o", "out:/out",
             "-e", "A=b c", "-w", "/tmp", "--name", "mine", "--cpu", "1", "--memory", "64MiB", "--timeout", "1m", "-l", "team=x",
             IMAGE, "sh", "-c", "echo $A; ls /data; pwd; echo kept >/out/f"]
    dry = berth("docker", "run", "--dry-run", *words, env=s3.env)
    assert dry.code == 0 and not (berth.cwd / "berth-mine").exists(), dry
    file = berth.job(dry.text, "job.yaml")
    assert berth("validate", "--strict", file).code == 0
    got = berth("run", "--engine", one_engine, "-r", "results", file, env=s3.env)
    assert got.code == 0 and got.text == "b c\na.txt\n/tmp\n", got
    assert tree(berth.cwd / "results/outputs") == {"out/f": b"kept\n"} and record(berth.cwd / "results")["job"]["name"] == "mine"


def test_a_dry_run_keeps_braces(berth):
    dry = berth("docker", "run", "--dry-run", "ubuntu", "echo", "{{.x}}")
    again = berth("validate", "--strict", berth.job(dry.text, "job.yaml"))
    assert dry.code == 0 and again.code == 0, (dry, again)


@pytest.mark.parametrize("words, hint", [(["-i", "ftp://x/y", IMAGE], "ftp"), (["-i", "s3://", IMAGE], "bucket"), (["-o", "noname", IMAGE], "noname"),
                                         ([], "IMAGE"), (["--network", "host", IMAGE], "none")])
def test_wrong_imperative_words_are_named(berth, words, hint):
    got = berth("docker", "run", *words)
    assert got.code in (2, 125) and hint in got.errors, got
