"""The cache: what a second run moves, who may use what, what goes when, and what survives damage and crashes."""
import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys

import pytest

from conftest import bacalhau, nosana, resource, s3_input, tree
from fleet import HERE, Process, eventually
from lab import Engine, Relay, read_until, snapshot_of

MIB = 1 << 20
SHOW = "cd /data && find . -type f | sort | xargs sha256sum"


def sums(files):
    return "".join(f"{hashlib.sha256(body).hexdigest()}  ./{name}\n" for name, body in sorted(files.items()))


@pytest.fixture
def relay(s3):
    r = Relay(s3.endpoint)
    yield r
    with contextlib.suppress(OSError):
        r.vanish()


class Jobs:
    """Runs of one input through a relay, each with a results folder of its own."""

    def __init__(self, berth, engine, relay, user):
        self.berth, self.engine, self.relay, self.user, self.n = berth, engine, relay, user, 0

    def words(self, bucket, key, cmd, options, params):
        self.n += 1
        job = self.berth.job(bacalhau([s3_input(bucket, key, **params)], cmd), f"job{self.n}.json")
        return ["run", "--engine", self.engine, "-r", f"r{self.n}", *options, job]

    def env(self, user=None, **more):
        return {**(user or self.user).env, "AWS_ENDPOINT_URL_S3": self.relay.address, **more}

    def __call__(self, bucket, key="", *options, cmd=SHOW, user=None, env=None, **params):
        got = self.berth(*self.words(bucket, key, cmd, options, params), env={**self.env(user), **(env or {})})
        path = self.berth.cwd / f"r{self.n}" / "berth.json"
        got.record = json.loads(path.read_text()) if path.exists() else None
        return got

    def start(self, bucket, key="", *options, cmd=SHOW, **params):
        return self.berth.start(*self.words(bucket, key, cmd, options, params), env=self.env())


@pytest.fixture
def jobs(berth, one_engine, relay, s3):
    return Jobs(berth, one_engine, relay, s3)


@pytest.fixture
def cache(berth):
    """berth cache … as JSON."""
    def call(*words, code=0, **more):
        got = berth("cache", *words, "--json", **more)
        assert got.code == code, got
        return got.json if got.out else None
    return call


def received(got):
    return got.record["inputs"][0]["bytes_received"]


# --- warm, changed, deleted -------------------------------------------------------------------------------------------

def test_a_warm_run_moves_no_bytes_of_objects(jobs, relay, s3):
    bucket, files = s3.bucket(), {"a": os.urandom(100_000), "d/b": b"b", "empty": b""}
    s3.fill(bucket, files)
    cold = jobs(bucket)
    assert cold.code == 0 and cold.text == sums(files) and received(cold) == 100_001
    assert relay.bytes_down > 100_001
    relay.reset()
    warm = jobs(bucket)
    assert warm.code == 0 and warm.text == cold.text and received(warm) == 0
    assert warm.record["inputs"][0]["bytes_cached"] == 100_001 and "cached" in warm.errors
    assert relay.bytes_down < 10_000 and [m for m, path, _ in relay.requests if "list-type" not in path] == []


def test_only_a_changed_object_is_fetched_and_a_deleted_one_is_gone(jobs, relay, s3):
    bucket, files = s3.bucket(), {f"k{i}": os.urandom(50_000) for i in range(5)}
    s3.fill(bucket, files)
    assert jobs(bucket).text == sums(files)
    files["k3"], files["new"] = os.urandom(60_000), b"new"
    s3.put(bucket, "k3", files["k3"])
    s3.put(bucket, "new", files["new"])
    s3.client.delete_object(Bucket=bucket, Key="k0")
    del files["k0"]
    relay.reset()
    got = jobs(bucket)
    assert got.code == 0 and got.text == sums(files) and received(got) == 60_003, got
    assert [relay.gets_of(f"/{bucket}/{k}") for k in ("k1", "k2", "k3", "k4", "new")] == [0, 0, 1, 0, 1]


def test_an_object_replaced_by_another_of_the_same_size_is_seen(jobs, s3):
    bucket = s3.bucket()
    s3.put(bucket, "k", "one")
    assert jobs(bucket, "k").text == sums({"k": b"one"})
    s3.put(bucket, "k", "two")
    assert jobs(bucket, "k").text == sums({"k": b"two"})


def test_the_same_object_by_prefix_and_by_key_is_kept_once(jobs, cache, s3):
    bucket, body = s3.bucket(), os.urandom(100_000)
    s3.put(bucket, "d/k", body)
    assert received(jobs(bucket, "d/")) == 100_000
    assert received(jobs(bucket, "d/k")) == 0
    assert cache("stat")["blobs_bytes"] == 100_000


def test_a_cached_object_does_not_pass_for_another_checksum(jobs, s3):
    bucket = s3.bucket()
    s3.fill(bucket, {"f": "the content"})
    right, wrong = hashlib.sha256(b"the content").hexdigest(), hashlib.sha256(b"another").hexdigest()
    assert jobs(bucket, "f").code == 0
    refused = jobs(bucket, "f", ChecksumSHA256=wrong)
    assert refused.code == 125 and wrong in refused.errors and right in refused.errors, refused
    assert jobs(bucket, "f", ChecksumSHA256=right).code == 0
    again = jobs(bucket, "f", ChecksumSHA256=wrong)
    assert again.code == 125, again


def test_an_unreachable_origin_is_an_error_or_by_choice_the_copy_of_before(jobs, relay, s3):
    bucket = s3.bucket()
    s3.put(bucket, "k", "kept")
    assert jobs(bucket, "").code == 0
    relay.vanish()
    got = jobs(bucket, "")
    assert got.code == 125 and "refused" in got.errors and got.out == b"", got
    got = jobs(bucket, "", env={"BERTH_CACHE_STALE_IF_ERROR": "true"})
    assert got.code == 0 and got.text == sums({"k": b"kept"}) and "stale_if_error" in got.errors, got
    told = got.record["inputs"][0]
    assert told["stale"] is True and (told["files"], told["bytes"], told["bytes_received"]) == (1, 4, 0)


# --- F23: whose data it is --------------------------------------------------------------------------------------------

def same_words(text):
    """An error without what differs from run to run."""
    text = re.sub(r"inputs .*results \S+|/tmp/\S+|r\d+\b", "", text)
    return re.sub(r"[a-z0-9-]*\d+ ?ms", "", text)


@pytest.fixture
def owned(jobs, s3):
    """A private bucket whose object the owner's job has cached."""
    bucket = s3.bucket()
    s3.put(bucket, "d/secret", b"not for strangers" * 1000)
    assert jobs(bucket, "d/").code == 0 and jobs(bucket, "d/secret").code == 0
    return bucket


@pytest.mark.parametrize("who", ["anonymous", "stranger", "wrong secret"])
@pytest.mark.parametrize("key", ["d/", "d/secret"])
def test_F23_a_job_without_the_right_gets_the_origins_answer_not_the_cache(berth, jobs, relay, stranger, s3, owned, key, who):
    env = {"anonymous": {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "stranger": stranger.env,
           "wrong secret": {"AWS_SECRET_ACCESS_KEY": "wrong"}}[who]
    env = {**env, "AWS_ENDPOINT_URL_S3": relay.address}
    warm = jobs(owned, key, env=env)
    assert warm.code == 125 and warm.out == b"" and "403" in warm.errors, warm
    assert warm.record["inputs"][0]["bytes_cached"] == 0
    cold = jobs(owned, key, env={**env, "BERTH_CACHE_DIR": str(berth.cwd / "other-cache")})
    assert same_words(warm.errors) == same_words(cold.errors)


def test_F23_listing_is_not_reading(jobs, relay, stranger, s3, owned):
    allow = {"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/other"]}, "Action": ["s3:ListBucket"],
             "Resource": [f"arn:aws:s3:::{owned}"]}
    s3.client.put_bucket_policy(Bucket=owned, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
    got = jobs(owned, "d/", user=stranger)
    assert got.code == 125 and got.out == b"" and "s3:GetObject" in got.errors and "d/secret" in got.errors, got


def test_F23_a_right_that_was_taken_back_ends_at_once_for_listings(jobs, relay, stranger, s3, owned):
    allow = {"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/other"]}, "Action": ["s3:ListBucket", "s3:GetObject"],
             "Resource": [f"arn:aws:s3:::{owned}", f"arn:aws:s3:::{owned}/*"]}
    s3.client.put_bucket_policy(Bucket=owned, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
    got = jobs(owned, "d/", user=stranger)
    assert got.code == 0 and received(got) == 0, got
    s3.client.delete_bucket_policy(Bucket=owned)
    got = jobs(owned, "d/", user=stranger)
    assert got.code == 125 and got.out == b"" and "403" in got.errors, got


def test_F23_the_stale_copy_is_only_for_who_had_it(jobs, relay, stranger, s3, owned):
    relay.vanish()
    got = jobs(owned, "d/", user=stranger, env={"BERTH_CACHE_STALE_IF_ERROR": "true", "AWS_ENDPOINT_URL_S3": relay.address})
    assert got.code == 125 and got.out == b"", got


# --- time to live, quota, pins, leases --------------------------------------------------------------------------------

def test_gc_removes_what_has_expired_and_nothing_before(jobs, cache, s3):
    bucket = s3.bucket()
    s3.put(bucket, "k", os.urandom(10_000))
    assert jobs(bucket).code == 0
    assert cache("gc") == {"snapshots": 0, "blobs": 0, "partials": 0, "bytes": 0}
    assert cache("gc", "--dry-run", "--set", "cache.ttl=1ms") == {"snapshots": 1, "blobs": 1, "partials": 0, "bytes": 10_000}
    assert len(cache("ls")) == 1
    assert cache("gc", "--set", "cache.ttl=1ms") == {"snapshots": 1, "blobs": 1, "partials": 0, "bytes": 10_000}
    assert cache("ls") == [] and cache("stat")["blobs_bytes"] == 0
    assert received(jobs(bucket)) == 10_000


def test_a_pin_outlives_time_and_gc(jobs, cache, s3):
    bucket = s3.bucket()
    s3.fill(bucket, {"pinned/k": os.urandom(10_000), "loose/k": os.urandom(10_000)})
    assert jobs(bucket, "pinned/").code == 0 and jobs(bucket, "loose/").code == 0
    (id,) = [e["snapshot"] for e in cache("ls") if "pinned" in e["origin"]]
    cache("pin", id, "--by", "me")
    assert cache("gc", "--all")["snapshots"] == 1
    assert [(e["snapshot"], e["pinned_by"]) for e in cache("ls")] == [(id, ["me"])]
    cache("rm", id, code=1)
    cache("unpin", id, "--by", "me")
    assert cache("gc", "--all")["snapshots"] == 1 and cache("ls") == []


def test_the_quota_evicts_the_least_recently_used(jobs, cache, s3):
    bucket = s3.bucket()
    s3.fill(bucket, {f"{d}/k": os.urandom(MIB) for d in "abc"})
    quota = ["--set", "cache.max_bytes=2500KiB"]
    for d in "ab":
        assert jobs(bucket, f"{d}/", *quota).code == 0
    assert received(jobs(bucket, "a/", *quota)) == 0  # a is now the younger one
    assert jobs(bucket, "c/", *quota).code == 0
    assert sorted(e["origin"].split("\n")[0][-2:] for e in cache("ls")) == ["a/", "c/"]
    assert received(jobs(bucket, "a/", *quota)) == 0 and received(jobs(bucket, "b/", *quota)) == MIB


def test_what_is_pinned_does_not_make_room(jobs, cache, s3):
    bucket = s3.bucket()
    s3.fill(bucket, {f"{d}/k": os.urandom(MIB) for d in "ab"})
    quota = ["--set", "cache.max_bytes=1500KiB"]
    assert jobs(bucket, "a/", *quota).code == 0
    cache("pin", cache("ls")[0]["snapshot"])
    got = jobs(bucket, "b/", *quota)
    assert got.code == 125 and "1.0 MiB needed" in got.errors and "unpin" in got.errors and got.out == b"", got
    assert received(jobs(bucket, "a/", *quota)) == 0


def test_an_input_larger_than_the_quota_fails_before_its_first_byte(jobs, relay, s3):
    bucket = s3.bucket()
    s3.put(bucket, "k", os.urandom(3 * MIB))
    got = jobs(bucket, "", "--set", "cache.max_bytes=2MiB")
    assert got.code == 125 and "needed" in got.errors and "cache.max_bytes" in got.errors, got
    assert relay.gets_of(f"/{bucket}/k") == 0


def wait_ready(p):
    read_until(p.stdout, b"ready")
    return p


def end(p):
    p.send_signal(signal.SIGINT)
    p.communicate(timeout=60)


HOLD = "echo ready; while :; do sleep 1; done"


def test_F15_what_a_running_job_uses_is_never_evicted(jobs, cache, s3):
    bucket = s3.bucket()
    s3.fill(bucket, {f"{d}/k": os.urandom(MIB) for d in "ab"})
    p = wait_ready(jobs.start(bucket, "a/", "--stop-grace", "1s", cmd=HOLD))
    (entry,) = cache("ls")
    assert entry["leases"] == 1 and f" {entry['leased_by'][0][:10]}\n" in jobs.berth("cache", "ls").text
    assert cache("gc", "--all")["snapshots"] == 0
    cache("rm", entry["snapshot"], "--force", code=1)
    got = jobs(bucket, "b/", "--set", "cache.max_bytes=1500KiB")
    assert got.code == 125 and "running jobs hold 1.0 MiB" in got.errors, got
    assert tree(cache_view(jobs, entry["snapshot"])).keys() == {"k"}
    end(p)
    assert jobs(bucket, "b/", "--set", "cache.max_bytes=1500KiB").code == 0
    assert [e["origin"].split("\n")[0][-2:] for e in cache("ls")] == ["b/"]


def cache_view(jobs, id):
    return jobs.berth("cache", "path", id).text.rstrip("\n")


@pytest.fixture
def strange_engine(tmp_path):
    """An engine that never heard of anybody else's containers, and says so."""
    path = tmp_path / "strange.sock"
    engine = Process("strange", [sys.executable, HERE / "tiny_engine.py", path], dict(os.environ), tmp_path)
    engine.start()
    eventually("the engine to listen", path.exists)
    yield f"unix://{path}"
    engine.kill()


def test_F15_the_input_of_a_killed_berths_container_stays_until_its_engine_says_that_it_is_gone(jobs, cache, one_engine, strange_engine, s3):
    bucket = s3.bucket()
    s3.put(bucket, "k", os.urandom(10_000))
    p = wait_ready(jobs.start(bucket, cmd=HOLD))
    p.kill()
    p.communicate()
    engine = Engine(one_engine)
    assert len(engine.containers()) == 1
    assert cache("gc", "--all", "--set", f"engine={one_engine}")["snapshots"] == 0
    for address in ("unix:///nonexistent/engine.sock", strange_engine):
        unknown = jobs.berth("cache", "gc", "--all", "--set", f"engine={address}")
        assert unknown.code == 0 and "1 killed run" in unknown.errors and one_engine in unknown.errors, unknown
        assert unknown.text.startswith("removed 0 snapshots"), unknown
    for container in engine.containers().values():
        engine.remove(container)
    assert cache("gc", "--all", "--set", f"engine={one_engine}")["snapshots"] == 1


# --- disk full, damage ------------------------------------------------------------------------------------------------

@pytest.fixture
def small_disk(berth):
    """A cache on a disk of 24 MiB."""
    berth.cache.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", berth.cache], check=True)
    yield berth.cache
    subprocess.run(["umount", "-l", berth.cache], check=True)


def free(path):
    st = os.statvfs(path)
    return st.f_bavail * st.f_bsize


def test_F14_a_full_disk_fails_that_job_with_need_and_have_and_frees_its_data(jobs, relay, s3, small_disk):
    bucket = s3.bucket()
    s3.fill(bucket, {"big/k": os.urandom(32 * MIB), "small/k": b"small"})
    assert jobs(bucket, "small/").code == 0
    before = free(small_disk)
    got = jobs(bucket, "big/")
    assert got.code == 125 and got.out == b"" and "32.0 MiB needed" in got.errors and "hint" in got.errors, got
    assert free(small_disk) >= before - 256 * 1024 and relay.gets_of("big/k") == 0
    assert jobs(bucket, "small/").code == 0


def test_F14_a_disk_that_fills_while_downloading(jobs, relay, s3, small_disk):
    bucket = s3.bucket()
    s3.fill(bucket, {"big/k": os.urandom(16 * MIB), "small/k": b"small"})
    relay.hold(4 * MIB)
    p = jobs.start(bucket, "big/")
    assert relay.held.wait(60)
    hog = small_disk / "hog"
    with hog.open("wb") as f, contextlib.suppress(OSError):
        while True:
            f.write(b"x" * MIB)
            f.flush()
    relay.release()
    out, err = p.communicate(timeout=60)
    text = err.decode()
    hog.unlink()
    if p.returncode == 0:  # its room was set aside before the hog came
        assert out.decode() == sums({"k": s3.client.get_object(Bucket=bucket, Key="big/k")["Body"].read()})
    else:
        assert p.returncode == 125 and out == b"" and ("No space left" in text or "needed" in text), text
        assert list((small_disk / "partial").glob("*.data")) == []
    assert jobs(bucket, "small/").code == 0


@pytest.fixture
def few_inodes(berth, tmp_path):
    """A cache on an ext4 that holds some hundred files, with more space than those need."""
    image = tmp_path / "disk.img"
    with image.open("wb") as f:
        f.truncate(64 * MIB)
    berth.cache.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-F", "-N", "640", image], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", image, berth.cache], check=True)
    (berth.cache / "lost+found").rmdir()
    yield berth.cache
    subprocess.run(["umount", "-l", berth.cache], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_F14_more_files_than_free_inodes_are_refused_before_a_byte_moves(jobs, relay, s3, few_inodes):
    bucket = s3.bucket()
    s3.fill(bucket, {**{f"many/{i}": b"x" for i in range(700)}, "few/k": b"few"})
    assert jobs(bucket, "few/").code == 0
    before = os.statvfs(few_inodes).f_favail
    got = jobs(bucket, "many/")
    assert got.code == 125 and got.out == b"" and "room for 700 more files needed" in got.errors and "df -i" in got.errors, got
    assert not any(relay.gets_of(f"many/{i}") for i in range(700))
    assert os.statvfs(few_inodes).f_favail >= before
    assert jobs(bucket, "few/").code == 0


def blob_files(berth):
    return sorted(p for p in (berth.cache / "blobs").rglob("*") if p.is_file())


def flip(path):
    mode = path.stat().st_mode
    path.chmod(0o644)
    with path.open("r+b") as f:
        f.seek(path.stat().st_size // 2)
        byte = f.read(1)
        f.seek(-1, 1)
        f.write(bytes([byte[0] ^ 0x10]))
    path.chmod(mode)


def test_F16_damage_is_found_quarantined_and_fetched_again(berth, jobs, cache, s3):
    bucket, files = s3.bucket(), {"a": os.urandom(200_000), "b": os.urandom(100_000)}
    s3.fill(bucket, files)
    assert jobs(bucket).code == 0
    assert cache("verify")["damaged"] == 0
    (victim,) = [p for p in blob_files(berth) if p.stat().st_size == 200_000]
    flip(victim)
    found = cache("verify", code=1)
    assert (found["blobs"], found["damaged"], found["repaired"]) == (2, 1, 0)
    assert victim.exists()
    mended = cache("verify", "--repair")
    assert (mended["damaged"], mended["repaired"]) == (1, 1)
    got = jobs(bucket)
    assert got.code == 0 and got.text == sums(files) and received(got) == 200_000, got
    assert cache("verify") == {"blobs": 2, "bytes": 300_000, "damaged": 0, "missing": 0, "orphans": 0, "repaired": 0}


def test_a_blob_that_somebody_removed_is_found_missing_and_fetched_again(berth, jobs, cache, s3):
    bucket, files = s3.bucket(), {"a": os.urandom(20_000)}
    s3.fill(bucket, files)
    assert jobs(bucket).code == 0
    (victim,) = blob_files(berth)
    victim.unlink()
    assert cache("verify", code=1)["missing"] == 1
    assert cache("verify", "--repair")["repaired"] >= 1
    assert jobs(bucket).text == sums(files) and cache("verify")["missing"] == 0


def test_a_foreign_file_in_the_cache_is_never_deleted(berth, jobs, cache, s3):
    bucket = s3.bucket()
    s3.put(bucket, "k", "x")
    assert jobs(bucket).code == 0
    mine = berth.cache / "my notes.txt"
    mine.write_text("precious")
    outside = berth.cwd / "outside"
    outside.mkdir()
    (outside / "f").write_text("precious")
    (berth.cache / "views" / "link").symlink_to(outside)
    cache("gc", "--all")
    cache("verify", "--repair")
    assert mine.read_text() == "precious" and (outside / "f").read_text() == "precious"


# --- two at once, crashes ---------------------------------------------------------------------------------------------

def test_two_runs_at_once_fetch_an_object_once(jobs, relay, s3):
    bucket, files = s3.bucket(), {"k": os.urandom(20 * MIB)}
    s3.fill(bucket, files)
    relay.hold(6 * MIB)
    both = [jobs.start(bucket, "", "--json") for _ in range(2)]
    assert relay.held.wait(60)
    for p in both:
        read_until(p.stdout, b'"downloading"')
    relay.release()
    for p in both:
        out, err = p.communicate(timeout=120)
        assert p.returncode == 0 and sums(files).split()[0] in out.decode(), err
    assert 20 * MIB < relay.bytes_down < 21 * MIB, relay.requests


def test_two_runs_take_over_from_one_that_was_killed(jobs, relay, s3):
    bucket, files = s3.bucket(), {"k": os.urandom(40 * MIB)}
    s3.fill(bucket, files)
    relay.hold(26 * MIB)
    slow = ["--set", "xfer.max_connections_host=1", "--set", "xfer.threads=1", "--json"]
    first = jobs.start(bucket, "", *slow)
    assert relay.held.wait(60)
    second = jobs.start(bucket, "", *slow)
    read_until(second.stdout, b'"downloading"')
    first.kill()
    first.communicate()
    relay.release()
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0 and sums(files).split()[0] in out.decode(), err
    assert relay.bytes_down < 60 * MIB


@pytest.mark.parametrize("how", ["run", "fetch"])
def test_F13_a_download_killed_half_way_goes_on_where_it_stopped(berth, jobs, relay, s3, how):
    bucket, files = s3.bucket(), {"k": os.urandom(64 * MIB)}
    s3.fill(bucket, files)
    slow = ["--set", "xfer.max_connections_host=1", "--set", "xfer.threads=1"]
    relay.hold(44 * MIB)
    p = (jobs.start(bucket, "", *slow) if how == "run"
         else berth.start("fetch", *slow, f"s3://{bucket}/", "out", env=jobs.env()))
    assert relay.held.wait(60)
    p.kill()
    p.communicate()
    relay.cut()
    relay.reset()
    if how == "run":
        got = jobs(bucket)
        assert got.code == 0 and got.text == sums(files), got
        assert received(got) <= 40 * MIB
    else:
        assert not (berth.cwd / "out/k").exists()
        got = berth("fetch", f"s3://{bucket}/", "out", env=jobs.env())
        assert got.code == 0 and tree(berth.cwd / "out") == files, got
    assert relay.bytes_down < 41 * MIB


def test_F13_an_object_that_changed_after_the_kill_is_fetched_whole(berth, jobs, relay, s3):
    bucket = s3.bucket()
    s3.put(bucket, "k", os.urandom(40 * MIB))
    relay.hold(26 * MIB)
    p = jobs.start(bucket, "", "--set", "xfer.max_connections_host=1", "--set", "xfer.threads=1")
    assert relay.held.wait(60)
    p.kill()
    p.communicate()
    relay.cut()
    files = {"k": os.urandom(40 * MIB)}
    s3.fill(bucket, files)
    got = jobs(bucket)
    assert got.code == 0 and got.text == sums(files) and received(got) == 40 * MIB, got


# --- fetch without the cache ------------------------------------------------------------------------------------------

def test_fetch_leaves_alone_what_is_there_and_fetches_what_differs(berth, jobs, relay, s3):
    bucket, files = s3.bucket(), {"a": os.urandom(50_000), "b": os.urandom(50_000)}
    s3.fill(bucket, files)
    words = ["fetch", f"s3://{bucket}/", "out"]
    assert berth(*words, env=jobs.env()).code == 0
    relay.reset()
    again = berth(*words, env=jobs.env())
    assert again.code == 0 and "nothing to fetch" in again.errors, again
    assert relay.gets_of("/a") == relay.gets_of("/b") == 0
    (berth.cwd / "out/a").write_bytes(b"edited")
    assert berth(*words, env=jobs.env()).code == 0
    assert (relay.gets_of("/a"), relay.gets_of("/b")) == (1, 0) and tree(berth.cwd / "out") == files
    relay.reset()
    assert berth(*words, "--force", env=jobs.env()).code == 0
    assert (relay.gets_of("/a"), relay.gets_of("/b")) == (1, 1)
    assert not berth.cache.exists()


def test_fetch_dry_run_lists_and_writes_nothing(berth, jobs, relay, s3):
    bucket = s3.bucket()
    s3.fill(bucket, {"a": b"1234", "d/b": b""})
    got = berth("fetch", "--dry-run", f"s3://{bucket}/", "out", env=jobs.env())
    assert got.code == 0 and [line.split()[-1] for line in got.text.splitlines()] == ["a", "d/b"] and "4 B" in got.text, got
    assert "would fetch 2 files, 4 B\n" in got.errors
    assert not (berth.cwd / "out").exists() and relay.count("GET") == 1
    assert berth("fetch", "--dry-run", "--json", f"s3://{bucket}/", "out", env=jobs.env()).json["files"] == [
        {"path": "a", "size": 4, "version": f'"{hashlib.md5(b"1234").hexdigest()}"'},
        {"path": "d/b", "size": 0, "version": f'"{hashlib.md5(b"").hexdigest()}"'}]


def test_a_fetch_that_brings_nothing_leaves_no_folder_of_its_own(berth, jobs, s3):
    bucket = s3.bucket()
    s3.put(bucket, "a", b"1")
    (berth.cwd / "mine").mkdir()
    for folder, stays in (("out", False), ("mine", True)):
        got = berth("fetch", f"s3://{bucket}/none/", folder, env=jobs.env())
        assert got.code == 1 and (berth.cwd / folder).exists() == stays, got


def test_fetch_takes_several_sources_and_names_conflicts(berth, jobs, s3):
    bucket = s3.bucket()
    s3.fill(bucket, {"a/k": b"1", "b/k": b"2", "c/l": b"3"})
    got = berth("fetch", f"s3://{bucket}/a/", f"s3://{bucket}/b/:/sub", f"s3://{bucket}/c/", "out", env=jobs.env())
    assert got.code == 0 and tree(berth.cwd / "out") == {"k": b"1", "sub/k": b"2", "l": b"3"}, got
    got = berth("fetch", f"s3://{bucket}/a/", f"s3://{bucket}/b/", "both", env=jobs.env())
    assert got.code == 1 and f"{bucket}/a/" in got.errors and f"{bucket}/b/" in got.errors, got


# --- the commands -----------------------------------------------------------------------------------------------------

@pytest.fixture
def filled(jobs, s3):
    bucket = s3.bucket()
    s3.fill(bucket, {"one/k": b"x" * 1500, "two/a": b"y" * 10, "two/b": b"z"})
    assert jobs(bucket, "one/").code == 0 and jobs(bucket, "two/").code == 0 and jobs(bucket, "two/").code == 0
    return bucket


def test_ls_is_a_table_for_people_and_json_for_programs(berth, cache, filled):
    head, *rows = berth("cache", "ls").text.splitlines()
    assert head.split() == ["SNAPSHOT", "ORIGIN", "SIZE", "FILES", "AGE", "USED", "HITS", "PINNED", "BY", "LEASED", "BY"]
    assert len(rows) == 2 and sorted(r.split()[1] for r in rows) == [f"s3://{filled}/one/", f"s3://{filled}/two/"]
    (two,) = [r for r in rows if "two/" in r]
    assert " 11 B " in two and " 2 " in two
    entries = {e["origin"].split("\n")[0]: e for e in cache("ls")}
    two = entries[f"s3://{filled}/two/"]
    assert two["bytes"] == 11 and two["files"] == 2 and two["hits"] >= 1 and two["leases"] == 0 and two["pinned_by"] == []
    assert entries[f"s3://{filled}/one/"]["downloaded_ms"] <= two["downloaded_ms"]


def test_a_snapshot_is_named_by_its_id_the_start_of_it_or_its_origin(berth, cache, filled):
    (id,) = [e["snapshot"] for e in cache("ls") if "one/" in e["origin"]]
    for name in (id, id[:8], f"s3://{filled}/one/"):
        path = berth("cache", "path", name)
        assert path.code == 0 and tree(path.text.rstrip("\n")) == {"k": b"x" * 1500}, path
        assert cache("stat", name)["bytes"] == 1500
    got = berth("cache", "path", "ffffffffffff")
    assert got.code == 1 and "ffffffffffff" in got.errors and got.out == b"", got


def test_stat_counts_the_whole_cache(berth, cache, filled):
    stat = cache("stat")
    assert stat["blobs_bytes"] == 1511 and stat["snapshots"] == 2 and stat["blobs"] == 3
    words = dict(line.split(None, 1) for line in berth("cache", "stat").text.splitlines())
    assert words["blobs_bytes"] == "1.5 KiB" and words["snapshots"] == "2" and words["ttl"] == "24h00m" and words["jobs"] == "-"
    one = berth("cache", "stat", f"s3://{filled}/one/").text
    assert f"\norigin             s3://{filled}/one/\n                   source=s3\n" in one, one
    assert "\npublic             no\n" in one and re.search(r"\ndownloaded  +\S+ ago\n", one), one


def test_rm_says_what_it_freed_and_refuses_what_is_pinned(berth, cache, filled):
    name = f"s3://{filled}/one/"
    assert berth("cache", "pin", name).code == 0
    got = berth("cache", "rm", name)
    assert got.code == 1 and "pinned" in got.errors and "--force" in got.errors, got
    got = berth("cache", "rm", "--force", name)
    assert got.code == 0 and "freed 1.5 KiB" in got.text, got
    assert [e["origin"].split("\n")[0] for e in cache("ls")] == [f"s3://{filled}/two/"]
    got = berth("cache", "rm", name)
    assert got.code == 1 and name in got.errors


def test_gc_and_verify_speak_to_people(berth, filled):
    assert berth("cache", "gc", "--all", "--dry-run").text == "would remove 2 snapshots, 3 blobs, 0 partial files: 1.5 KiB\n"
    assert berth("cache", "verify").text == "3 blobs, 1.5 KiB: 0 damaged, 0 missing, 0 orphans; 0 repaired\n"
    assert berth("cache", "gc", "--need", "1KiB").text.startswith("removed 1 snapshot")
    assert berth("cache", "gc", "--all").code == 0 and berth("cache", "ls").text.count("\n") == 1


def test_path_without_a_snapshot_is_the_caches_own(berth):
    assert berth("cache", "path").text == f"{berth.cache}\n"
    assert berth("cache", "path", "--set", f"cache.dir={berth.cwd}/else").text == f"{berth.cwd}/else\n"


def test_a_cache_of_a_newer_layout_is_refused(berth, filled):
    version = berth.cache / "VERSION"
    assert version.read_text().strip().isdigit()
    before = snapshot_of(berth.cache / "blobs")
    version.chmod(0o644)
    version.write_text("9999\n")
    got = berth("cache", "ls")
    assert got.code == 1 and "9999" in got.errors and "newer" in got.errors, got
    assert snapshot_of(berth.cache / "blobs") == before


def test_a_folder_that_holds_something_else_is_not_taken_for_a_cache(berth):
    berth.cache.mkdir()
    (berth.cache / "thesis.tex").write_text("precious")
    got = berth("cache", "ls")
    assert got.code == 1 and str(berth.cache) in got.errors, got
    assert tree(berth.cache) == {"thesis.tex": b"precious"}


def test_an_origin_shared_by_two_jobs_of_both_dialects_is_fetched_once(berth, jobs, relay, one_engine, s3):
    bucket, body = s3.bucket(), os.urandom(100_000)
    s3.put(bucket, "d/k", body)
    assert received(jobs(bucket, "d/")) == 100_000
    job = berth.job(nosana([resource(f"{relay.address}/{bucket}/d", user=s3)], SHOW))
    got = berth("run", "--engine", one_engine, "-r", "nosana", job)
    assert got.code == 0 and got.text == sums({"k": body})
    assert json.loads((berth.cwd / "nosana/berth.json").read_text())["inputs"][0]["bytes_received"] == 0


def test_F23_a_right_that_was_taken_back_ends_for_run_records_too(berth, jobs, relay, stranger, s3, owned, one_engine):
    allow = {"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/other"]}, "Action": ["s3:ListBucket", "s3:GetObject"],
             "Resource": [f"arn:aws:s3:::{owned}", f"arn:aws:s3:::{owned}/*"]}
    s3.client.put_bucket_policy(Bucket=owned, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
    assert jobs(owned, "d/", user=stranger).code == 0
    words = ["run", "--engine", one_engine, berth.cwd / f"r{jobs.n}" / "berth.json", "-r"]
    assert berth(*words, "with", env=jobs.env(stranger)).code == 0
    s3.client.delete_bucket_policy(Bucket=owned)
    got = berth(*words, "without", env=jobs.env(stranger))
    assert got.code == 125 and got.out == b"" and "403" in got.errors, got
