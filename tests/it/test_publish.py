"""berth publish and berth job get on a real S3 server: what arrives, who may do it, and what a crash leaves."""
import base64
import hashlib
import io
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tarfile
import threading

import pytest

from conftest import SHIPPED, is_sanitized

RSS_MAX_MIB = 64
ODD_NAMES = ["plain", "new\nline", "ünïcode ⛵", " ", "-", "a=b,c", "tab\there", "q?u#e%20+", "n" * 255]


@pytest.fixture
def odd_tree(berth):
    """What a results folder may hold, and must come back."""
    root = berth.cwd / "out"
    root.mkdir()
    for i, name in enumerate(ODD_NAMES):
        (root / name).write_bytes(os.urandom(10 * i))
        os.utime(root / name, ns=(0, 1_600_000_000_123_456_789 + i))
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    deep = root
    for _ in range(3):
        deep = deep / ("d" * 120)
    deep.mkdir(parents=True)
    (deep / "deep").write_text("deep")
    (root / "empty" / "er").mkdir(parents=True)
    (root / "link").symlink_to("plain")
    (root / "empty" / "up").symlink_to("../plain")
    with open(root / "sparse", "wb") as f:
        f.truncate(64 << 20)
        f.seek(10 << 20)
        f.write(b"island")
    return root


def shape(root, modes=True, times=True):
    """Everything about a tree that must survive."""
    found = {}
    for path, folders, files in os.walk(root):
        for name in folders + files:
            p = pathlib.Path(path, name)
            st, rel = p.lstat(), str(p.relative_to(root))
            if p.is_symlink():
                found[rel] = ("link", os.readlink(p))
            elif p.is_dir():
                found[rel] = ("folder",)
            else:
                found[rel] = ("file", hashlib.sha256(p.read_bytes()).hexdigest(), st.st_mode & 0o777 if modes else None,
                              st.st_mtime_ns if times else None)
    return found


def published(done):
    assert done.code == 0, done
    assert done.json["Type"] == "s3", done
    return done.json["Params"]


def publish(berth, user, folder, dest, *flags, **more):
    return berth("publish", "--json", "--no-progress", *flags, folder, dest, env=user.env, **more)


# ---- archives, read by others ----

def test_an_archive_is_read_by_gnu_tar_and_python(berth, odd_tree):
    assert berth("publish", odd_tree, "./x.tar.gz").code == 0
    archive, by_tar, by_python = berth.cwd / "x.tar.gz", berth.cwd / "t", berth.cwd / "p"
    subprocess.run(["gzip", "-t", archive], check=True)
    by_tar.mkdir()
    subprocess.run(["tar", "xzf", archive, "-C", by_tar], check=True, capture_output=True)
    assert shape(by_tar) == shape(odd_tree)
    assert (by_tar / "sparse").stat().st_blocks * 512 < 1 << 20
    with tarfile.open(archive) as tar:
        names = [m.name for m in tar]
        tar.extractall(by_python)
        assert all(m.uid == m.gid == 0 and m.uname == m.gname == "" for m in tar)
    assert names == sorted(names, key=lambda n: n.encode().split(b"/")) and not any(n.startswith((".", "/")) for n in names)
    assert shape(by_python, times=False) == shape(odd_tree, times=False)


@pytest.mark.skipif(not shutil.which("bsdtar"), reason="bsdtar is not installed")
def test_an_archive_is_read_by_bsdtar(berth, odd_tree):
    assert berth("publish", odd_tree, "./x.tar.gz").code == 0
    (berth.cwd / "b").mkdir()
    subprocess.run(["bsdtar", "xpf", berth.cwd / "x.tar.gz", "-C", berth.cwd / "b"], check=True, env={"LANG": "C.UTF-8"})
    assert shape(berth.cwd / "b") == shape(odd_tree)


def test_equal_folders_give_equal_archives_on_any_number_of_cores(berth, odd_tree):
    (odd_tree / "much").write_bytes(b"some text over and over\n" * 200000)
    subprocess.run(["cp", "-a", odd_tree, berth.cwd / "copy"], check=True)
    sums = set()
    for i, (folder, threads) in enumerate([(odd_tree, 1), (odd_tree, 2), ("copy", 3), ("copy", 8)]):
        assert berth("publish", "--threads", threads, folder, f"./{i}.tar.gz").code == 0
        sums.add(hashlib.sha256((berth.cwd / f"{i}.tar.gz").read_bytes()).hexdigest())
    assert len(sums) == 1


def test_F26_what_could_do_harm_is_left_out_and_told(berth, s3, odd_tree):
    bucket, before = s3.bucket(), shape(odd_tree)
    (odd_tree / "shadow").symlink_to("/etc/shadow")
    (odd_tree / "up").symlink_to("../../..")
    os.mkfifo(odd_tree / "fifo")
    (odd_tree / "tool").write_text("x")
    (odd_tree / "tool").chmod(0o4755)
    with open(odd_tree / "huge", "wb") as f:
        f.truncate(1 << 39)
    done = publish(berth, s3, odd_tree, f"s3://{bucket}/x")
    assert published(done) and all(f"{n}: " in done.errors for n in ("shadow", "up", "fifo", "tool")), done
    head = s3.client.head_object(Bucket=bucket, Key="x.tar.gz")
    assert head["ContentLength"] < 1 << 20
    (berth.cwd / "r.json").write_bytes(done.out)
    assert berth("job", "get", "r.json", "-d", "got", env=s3.env).code == 0
    got = shape(berth.cwd / "got") if (berth.cwd / "got/huge").unlink() is None else None
    assert got.pop("tool")[2] == 0o755 and got == before
    too_much = publish(berth, s3, odd_tree, f"s3://{bucket}/y", "--max-bytes", "1GiB")
    assert too_much.code == 1 and "huge" in too_much.errors, too_much


# ---- to the server and back ----

@pytest.mark.parametrize("versioning", [False, True], ids=["unversioned", "versioned"])
def test_a_result_comes_back_as_it_was(berth, s3, odd_tree, versioning):
    bucket = s3.bucket(versioning=versioning)
    done = publish(berth, s3, odd_tree, f"s3://{bucket}/r/{{jobID}}/{{date}}/")
    params = published(done)
    body = s3.client.get_object(Bucket=bucket, Key=params["Key"])["Body"].read()
    assert base64.b64encode(hashlib.sha256(body).digest()).decode() == params["ChecksumSHA256"]
    assert params["Endpoint"] == s3.endpoint and params["Region"] == s3.region and ("VersionID" in params) == versioning
    (berth.cwd / "r.json").write_bytes(done.out)
    if versioning:  # a later object of the same key is not the one that was published
        s3.put(bucket, params["Key"], b"later")
    got = berth("job", "get", "r.json", "-d", "got", env=s3.env)
    assert got.code == 0 and shape(berth.cwd / "got") == shape(odd_tree), got
    assert not (berth.cwd / "got.part").exists()


def test_large_results_go_up_in_parts_and_name_their_version(berth, s3):
    bucket = s3.bucket(versioning=True)
    (berth.cwd / "out").mkdir()
    (berth.cwd / "out/big").write_bytes(os.urandom(30 << 20))
    params = published(publish(berth, s3, "out", f"s3://{bucket}/x"))
    head = s3.client.head_object(Bucket=bucket, Key="x.tar.gz")
    assert head["VersionId"] == params["VersionID"] and head["ETag"].endswith('-4"')
    assert not s3.client.list_multipart_uploads(Bucket=bucket).get("Uploads")


def test_a_published_archive_is_an_input_that_verifies(berth, s3, odd_tree):
    bucket = s3.bucket()
    p = published(publish(berth, s3, odd_tree, f"s3://{bucket}/x"))
    source = f"src=s3://{bucket}/{p['Key']},opt=checksum-256={p['ChecksumSHA256']},opt=endpoint={p['Endpoint']},opt=region={p['Region']}"
    assert berth("fetch", source, "in", env=s3.env).code == 0
    s3.put(bucket, p["Key"], b"something else")
    spoiled = berth("fetch", source, "in2", env=s3.env)
    assert spoiled.code == 1, spoiled


def test_plain_every_file_is_an_object_and_the_manifest_names_them_all(berth, s3, odd_tree):
    bucket = s3.bucket()
    done = publish(berth, s3, odd_tree, f"s3://{bucket}/r/{{jobID}}.d,opt=encoding=plain")
    params = published(done)
    assert params["Key"].endswith(".d/manifest.json")
    prefix = params["Key"].removesuffix("manifest.json")
    body = s3.client.get_object(Bucket=bucket, Key=params["Key"])["Body"].read()
    assert base64.b64encode(hashlib.sha256(body).digest()).decode() == params["ChecksumSHA256"]
    files = {e["path"]: e for e in json.loads(body)["entries"] if "sha256" in e}
    assert set(files) == {r for r, s in shape(odd_tree).items() if s[0] == "file"}
    for name in ("plain", "new\nline", "ünïcode ⛵", "q?u#e%20+"):
        stored = s3.client.get_object(Bucket=bucket, Key=prefix + name)["Body"].read()
        assert stored == (odd_tree / name).read_bytes() and hashlib.sha256(stored).hexdigest() == files[name]["sha256"]
    (berth.cwd / "r.json").write_bytes(done.out)
    got = berth("job", "get", "r.json", "-d", "got", env=s3.env)
    assert got.code == 0 and shape(berth.cwd / "got", modes=False, times=False) == shape(odd_tree, modes=False, times=False), got
    s3.put(bucket, prefix + "plain", b"spoiled")
    assert berth("job", "get", "r.json", "-d", "got2", env=s3.env).code == 1 and not (berth.cwd / "got2").exists()


def test_a_presigned_url_needs_no_credentials(berth, s3, odd_tree):
    bucket = s3.bucket()
    publish(berth, s3, odd_tree, f"s3://{bucket}/x")
    url = s3.client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "x.tar.gz"})
    got = berth("job", "get", url, "-d", "got")
    assert got.code == 0 and shape(berth.cwd / "got") == shape(odd_tree) and "Signature" not in got.errors, got
    raw = berth("job", "get", "--raw", url, "-d", "raw")
    assert raw.code == 0 and [p.name for p in (berth.cwd / "raw").iterdir()] == ["x.tar.gz"], raw


def test_storage_options_arrive(berth, s3, odd_tree):
    bucket = s3.bucket()
    for name, more in (("small", 0), ("large", 12 << 20)):
        (odd_tree / "more").write_bytes(os.urandom(more))
        done = publish(berth, s3, odd_tree, f"s3://{bucket}/{name},opt=tags=a=1&b=2,opt=acl=public-read,opt=storage-class=STANDARD")
        assert published(done)
        if name == "small":  # this server drops those of uploads in parts; the fault server sees them arrive
            tags = s3.client.get_object_tagging(Bucket=bucket, Key=f"{name}.tar.gz")["TagSet"]
            assert {t["Key"]: t["Value"] for t in tags} == {"a": "1", "b": "2"}
        grants = s3.client.get_object_acl(Bucket=bucket, Key=f"{name}.tar.gz")["Grants"]
        assert any(g["Grantee"].get("URI", "").endswith("AllUsers") for g in grants)


@pytest.mark.parametrize("folder, dest, words", [
    ("nowhere", "s3://b/x", "nowhere"), ("out", "s3://b/{job}", "{job}"), ("out", "ftp://x/y", "expected s3://"),
    ("out", "s3://no-such-bucket-here/x", "no such bucket")])
def test_mistakes_are_told(berth, s3, folder, dest, words):
    (berth.cwd / "out").mkdir()
    done = berth("publish", folder, dest, env=s3.env)
    assert done.code in (1, 2) and words in done.errors, done


@pytest.mark.parametrize("dest", ["s3://b/{job}", "./{job}.tar.gz", "file:///tmp/{job}/x", "./{jobID.tar.gz"])
def test_an_unknown_placeholder_is_told_before_anything_is_done(berth, dest):
    done = berth("publish", "nowhere", dest)
    assert done.code == 2 and "unknown placeholder '{job" in done.errors and "{executionID}" in done.errors, done
    run = berth("docker", "run", "-p", dest if "://" in dest else "file:///tmp/" + dest, "image", "true")
    assert run.code in (2, 125) and "unknown placeholder '{job" in run.errors and not (berth.cwd / "berth-job").exists(), run


def test_an_unknown_placeholder_in_a_job_is_told_by_validate(berth):
    job = {"Name": "j", "Type": "batch", "Count": 1, "Tasks": [
        {"Name": "main", "Engine": {"Type": "docker", "Params": {"Image": "i"}},
         "Publisher": {"Type": "s3", "Params": {"Bucket": "b-1", "Key": "r/{node}"}}}]}
    done = berth("validate", berth.job(job))
    assert done.code != 0 and "unknown placeholder '{node}'" in done.errors + done.text, done


# ---- who may ----

def allow(s3, bucket, actions, user="other"):
    arns = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    s3.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": [f"arn:aws:iam:::user/{user}"]}, "Action": actions, "Resource": arns}]}))


@pytest.mark.parametrize("megabytes", [0, 20], ids=["one request", "parts"])
@pytest.mark.parametrize("encoding", ["gzip", "plain"])
def test_PutObject_and_Abort_are_enough_to_publish(berth, s3, stranger, odd_tree, megabytes, encoding):
    bucket = s3.bucket()
    allow(s3, bucket, ["s3:PutObject", "s3:AbortMultipartUpload"])
    (odd_tree / "more").write_bytes(os.urandom(megabytes << 20))
    params = published(publish(berth, stranger, odd_tree, f"s3://{bucket}/x,opt=encoding={encoding}"))
    # What another user stored is theirs here; with its ACL the owner would read it.
    keys = [o["Key"] for o in s3.client.list_objects_v2(Bucket=bucket)["Contents"]]
    assert params["Key"] in keys and (encoding == "plain" or len(keys) == 1)
    assert publish(berth, stranger, odd_tree, f"s3://{s3.bucket()}/x").code == 1


def test_GetObject_is_enough_to_get_also_where_a_version_is_named(berth, s3, stranger, odd_tree):
    bucket = s3.bucket(versioning=True)
    done = publish(berth, s3, odd_tree, f"s3://{bucket}/x")
    assert "VersionID" in published(done)
    (berth.cwd / "r.json").write_bytes(done.out)
    assert berth("job", "get", "r.json", "-d", "denied", env=stranger.env).code == 1
    allow(s3, bucket, ["s3:GetObject"])
    got = berth("job", "get", "r.json", "-d", "got", env=stranger.env)
    assert got.code == 0 and shape(berth.cwd / "got") == shape(odd_tree), got


def test_ListBucket_and_GetObject_are_enough_to_stage_plain_results(berth, s3, stranger, odd_tree):
    bucket = s3.bucket()
    published(publish(berth, s3, odd_tree, f"s3://{bucket}/r,opt=encoding=plain"))
    allow(s3, bucket, ["s3:GetObject", "s3:ListBucket"])
    got = berth("fetch", f"s3://{bucket}/r/", "in", env=stranger.env)
    assert got.code == 0 and (berth.cwd / "in/plain").read_bytes() == (odd_tree / "plain").read_bytes(), got


# ---- crashes, memory ----

KILLS = 12


def test_F28_killed_at_any_instant_nothing_half_is_visible_and_the_next_publish_is_right(berth, s3):
    bucket, root = s3.bucket(), berth.cwd / "out"
    root.mkdir()
    (root / "big").write_bytes(os.urandom(40 << 20))
    (root / "small").write_text("small")
    assert berth("publish", root, "./right.tar.gz").code == 0
    right = hashlib.sha256((berth.cwd / "right.tar.gz").read_bytes()).hexdigest()
    clock, rng = random.Random(4), random.Random(5)
    whole = 0
    for _ in range(KILLS):
        s3.client.delete_object(Bucket=bucket, Key="x.tar.gz")
        with berth.start("publish", root, f"s3://{bucket}/x", env=s3.env) as process:
            killer = threading.Timer(clock.uniform(0, 0.6), process.kill)
            killer.start()
            process.wait(60)
            killer.cancel()
        listed = s3.client.list_objects_v2(Bucket=bucket).get("Contents", [])
        if listed:  # it was done by then
            body = s3.client.get_object(Bucket=bucket, Key="x.tar.gz")["Body"].read()
            assert hashlib.sha256(body).hexdigest() == right
            whole += 1
        if rng.random() < 0.5:
            continue
        assert berth("publish", root, f"s3://{bucket}/x", env=s3.env).code == 0
        body = s3.client.get_object(Bucket=bucket, Key="x.tar.gz")["Body"].read()
        assert hashlib.sha256(body).hexdigest() == right
    assert whole < KILLS
    left = s3.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    swept = berth("publish", "--abort-stale", "--older-than", "0s", f"s3://{bucket}/x", env=s3.env)
    assert swept.code == 0 and not s3.client.list_multipart_uploads(Bucket=bucket).get("Uploads"), (left, swept)


MEASURE = "import resource, subprocess, sys; r = subprocess.run(sys.argv[1:], check=True); " \
          "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"


def peak_mib(berth, user, *args):
    """Of resident memory, over the life of one berth; started by a small process, whose memory would count."""
    argv, env = berth.command(*args, env=user.env)
    done = subprocess.run([sys.executable, "-c", MEASURE, *argv], env=env, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1]) / 1024


@pytest.mark.skipif(is_sanitized(SHIPPED), reason="sanitizers need memory of their own")
@pytest.mark.shipped
def test_memory_does_not_grow_with_the_results(berth, s3):
    """10 GiB that compress to little, some 100 MiB that do not, and 20,000 small files."""
    bucket, root = s3.bucket(), berth.cwd / "out"
    (root / "many").mkdir(parents=True)
    with open(root / "zeros", "wb") as f:  # stored as zeros, not as a hole
        for _ in range(64):
            f.write(bytes(1 << 20))
    for i in range(160):
        os.link(root / "zeros", root / f"zeros{i:03d}")
    (root / "random").write_bytes(os.urandom(100 << 20))
    for i in range(20000):
        (root / "many" / f"{i:05d}").write_bytes(b"%d" % i)
    (berth.cwd / "some").mkdir()
    for i in range(2000):
        os.link(root / "many" / f"{i:05d}", berth.cwd / "some" / f"{i:05d}")
    for args in ([root, f"s3://{bucket}/x"], [berth.cwd / "some", f"s3://{bucket}/some,opt=encoding=plain"]):
        peak = peak_mib(berth, s3, "publish", "--no-progress", *args)
        assert peak <= RSS_MAX_MIB, f"{peak:.0f} MiB for {args}"
    assert s3.client.head_object(Bucket=bucket, Key="x.tar.gz")["ContentLength"] > 100 << 20
