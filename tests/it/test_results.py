"""berth job get of several executions, and of one that was interrupted."""
import json
import os
import subprocess

import pytest

from conftest import tree
from faults.kit import PART, marked_parts, part_of, server, wait_until  # noqa: F401 (a fixture)
from test_publish import allow, publish, published, shape


def execution(berth, s3, bucket, name, files, **record):
    """One execution's published results, and its record as berth.json."""
    root = berth.cwd / f"made-{name}"
    for path, content in {"stdout": f"I am {name}\n", "exitCode": "0", **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    done = publish(berth, s3, root, f"s3://{bucket}/{name}")
    assert published(done)
    return {"published": done.json, **record}


def save(berth, name, document):
    (berth.cwd / name).write_text(json.dumps(document))
    return name


SHARED = {"outputs/same": "the same everywhere", "outputs/d/common": "x"}


@pytest.fixture
def two(berth, s3):
    bucket = s3.bucket()
    return [execution(berth, s3, bucket, f"e{i}", {**SHARED, f"outputs/only-{i}": str(i)}, index=i) for i in (0, 1)]


def test_each_execution_has_a_folder_of_its_index(berth, s3, two):
    got = berth("job", "get", "--json", "-d", "all/", save(berth, "list.json", {"results": two}), env=s3.env)
    assert got.code == 0 and got.json["verified"] and got.json["files"] == 10, got
    assert tree(berth.cwd / "all/0") == tree(berth.cwd / "made-e0") and tree(berth.cwd / "all/1") == tree(berth.cwd / "made-e1")
    assert sorted(p.name for p in berth.cwd.iterdir()) == ["all", "list.json", "made-e0", "made-e1"]


def test_signed_urls_in_a_list_spare_credentials(berth, s3, two):
    for x in two:
        at = x["published"]["Params"]
        x["url"] = s3.client.generate_presigned_url("get_object", Params={"Bucket": at["Bucket"], "Key": at["Key"]})
    got = berth("job", "get", "--json", "--merge", "-d", "all", save(berth, "list.json", {"results": two}))
    assert got.code == 0 and got.json["verified"] and got.json["files"] == 8, got
    one = berth("job", "get", "--json", "-d", "one", save(berth, "one.json", {k: v for k, v in two[0].items() if k != "index"}))
    assert one.code == 0 and tree(berth.cwd / "one") == tree(berth.cwd / "made-e0"), one


def test_without_indexes_it_is_their_ids_and_else_their_places(berth, s3, two):
    files = [save(berth, f"{i}.json", {"id": f"j-{i}aaaabbbbcccc", "published": x["published"]}) for i, x in enumerate(two)]
    assert berth("job", "get", *files, "-d", "by-id", env=s3.env).code == 0
    assert sorted(p.name for p in (berth.cwd / "by-id").iterdir()) == ["0aaaabbb", "1aaaabbb"]
    same = [save(berth, f"{i}.json", {"id": "j-1", "published": x["published"]}) for i, x in enumerate(two)]
    assert berth("job", "get", *same, "-d", "by-place", env=s3.env).code == 0
    assert sorted(p.name for p in (berth.cwd / "by-place").iterdir()) == ["0", "1"]


def test_merged_what_is_equal_is_one_and_streams_stay_apart(berth, s3, two):
    got = berth("job", "get", "--merge", "--json", "-d", "all", save(berth, "list.json", two), env=s3.env)
    assert got.code == 0 and got.json["files"] == 8, got
    assert tree(berth.cwd / "all") == {
        "outputs/same": b"the same everywhere", "outputs/d/common": b"x", "outputs/only-0": b"0", "outputs/only-1": b"1",
        "0/stdout": b"I am e0\n", "1/stdout": b"I am e1\n", "0/exitCode": b"0", "1/exitCode": b"0"}
    assert not (berth.cwd / "all.part").exists()


@pytest.mark.parametrize("other", ["longer", "size"], ids=["another size", "another content"])
def test_merged_what_differs_is_an_error_that_names_both_and_nothing_is_written(berth, s3, other):
    bucket = s3.bucket()
    found = [execution(berth, s3, bucket, "a", {"outputs/f": "same"}, index=3), execution(berth, s3, bucket, "b", {"outputs/f": other}, index=5)]
    got = berth("job", "get", "--merge", "-d", "all", save(berth, "list.json", found), env=s3.env)
    assert got.code == 1 and "outputs/f: executions 3 and 5" in got.errors and not (berth.cwd / "all").exists(), got
    # What was fetched is still there for the other way to get it.
    for x in found:
        s3.client.delete_object(Bucket=bucket, Key=x["published"]["Params"]["Key"])
    assert berth("job", "get", "-d", "all", "list.json", env=s3.env).code == 0
    assert (berth.cwd / "all/3/outputs/f").read_text() == "same" and not (berth.cwd / "all.part").exists()


@pytest.mark.parametrize("files, words", [({"outputs": "a file"}, "different things"), ({"0": "taken"}, "called 0")])
def test_merged_what_cannot_stand_side_by_side_is_told(berth, s3, files, words):
    bucket = s3.bucket()
    found = [execution(berth, s3, bucket, "a", SHARED, index=0), execution(berth, s3, bucket, "b", files, index=1)]
    got = berth("job", "get", "--merge", "-d", "all", save(berth, "list.json", found), env=s3.env)
    assert got.code == 1 and words in got.errors and not (berth.cwd / "all").exists(), got


def test_links_and_empty_folders_are_merged_too(berth, s3):
    bucket, found = s3.bucket(), []
    for i in (0, 1):
        root = berth.cwd / f"made-{i}"
        (root / "empty/er").mkdir(parents=True)
        (root / "link").symlink_to("empty/er")
        done = publish(berth, s3, root, f"s3://{bucket}/{i}")
        found.append({"index": i, "published": done.json})
    (berth.cwd / "made-1/link").unlink()
    (berth.cwd / "made-1/link").symlink_to("empty")
    assert berth("job", "get", "--merge", "-d", "all", save(berth, "list.json", found), env=s3.env).code == 0
    assert shape(berth.cwd / "all") == shape(berth.cwd / "made-0")
    found[1]["published"] = publish(berth, s3, berth.cwd / "made-1", f"s3://{bucket}/1b").json
    got = berth("job", "get", "--merge", "-d", "all2", save(berth, "list.json", found), env=s3.env)
    assert got.code == 1 and "different links" in got.errors, got


def test_one_result_given_twice_is_told(berth, s3, two):
    got = berth("job", "get", "-d", "all", save(berth, "list.json", [two[0], two[0]]), env=s3.env)
    assert got.code == 1 and "one and the same" in got.errors, got


def test_one_that_fails_is_named_and_the_rest_is_not_fetched_again(berth, s3, two):
    bucket, key = two[0]["published"]["Params"]["Bucket"], two[1]["published"]["Params"]["Key"]
    body = s3.client.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.client.delete_object(Bucket=bucket, Key=key)
    got = berth("job", "get", "-d", "all", save(berth, "list.json", two), env=s3.env)
    assert got.code == 1 and "execution 1" in got.errors and not (berth.cwd / "all").exists(), got
    s3.put(bucket, key, body)
    s3.client.delete_object(Bucket=bucket, Key=two[0]["published"]["Params"]["Key"])
    assert berth("job", "get", "-d", "all", "list.json", env=s3.env).code == 0
    assert tree(berth.cwd / "all/0") == tree(berth.cwd / "made-e0")


# ---- a plain result, and who may get what ----

@pytest.mark.parametrize("actions", [["s3:GetObject"], ["s3:GetObject", "s3:ListBucket"]], ids=["Get", "Get and List"])
@pytest.mark.parametrize("encoding", ["gzip", "plain"])
def test_GetObject_is_enough_for_any_result_and_raw(berth, s3, stranger, encoding, actions):
    bucket, root = s3.bucket(), berth.cwd / "out"
    (root / "empty/er").mkdir(parents=True)
    (root / "new\nline ⛵").write_text("odd")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o700)
    (root / "private").write_text("p")
    (root / "private").chmod(0o600)
    (root / "link").symlink_to("run.sh")
    done = publish(berth, s3, root, f"s3://{bucket}/r,opt=encoding={encoding}")
    params = published(done)
    (berth.cwd / "r.json").write_bytes(done.out)
    denied = berth("job", "get", "r.json", "-d", "denied", env=stranger.env)
    assert denied.code == 1 and "403" in denied.errors and not (berth.cwd / "denied").exists(), denied
    allow(s3, bucket, actions)
    by_place = f"s3://{bucket}/{params['Key']},opt=checksum-256={params['ChecksumSHA256']}"
    for wanted, where in (("r.json", "a"), (by_place, "b"), (f"s3://{bucket}/{params['Key']}", "c")):
        got = berth("job", "get", "--json", wanted, "-d", where, env=stranger.env)
        assert got.code == 0 and got.json["verified"] == (where != "c"), got
        assert shape(berth.cwd / where, modes=False, times=False) == shape(root, modes=False, times=False)
        modes = [(berth.cwd / where / name).stat().st_mode & 0o777 for name in ("run.sh", "private")]
        assert modes == ([0o755, 0o644] if encoding == "plain" else [0o700, 0o600])
    raw = berth("job", "get", "--raw", "r.json", "-d", "raw", env=stranger.env)
    (kept,) = (berth.cwd / "raw").iterdir()
    assert raw.code == 0 and kept.read_bytes() == s3.client.get_object(Bucket=bucket, Key=params["Key"])["Body"].read(), raw


def test_modes_and_holes_come_back_and_equal_folders_are_one_archive(berth, s3):
    bucket, root = s3.bucket(), berth.cwd / "out"
    for name, mode in (("d750", 0o750), ("d755", 0o755)):
        (root / name).mkdir(parents=True)
        (root / name / "ünï\n⛵").write_text(name)
        (root / name).chmod(mode)
    (root / "link").symlink_to("d755/ünï\n⛵")
    with open(root / "sparse", "wb") as f:
        f.truncate(256 << 20)
        f.seek(100 << 20)
        f.write(b"island")
    first = publish(berth, s3, root, f"s3://{bucket}/a")
    (berth.cwd / "r.json").write_bytes(first.out)
    assert berth("job", "get", "r.json", "-d", "got", env=s3.env).code == 0
    assert (berth.cwd / "got/sparse").stat().st_blocks * 512 < 1 << 20
    assert [(berth.cwd / "got" / n).stat().st_mode & 0o777 for n in ("d750", "d755")] == [0o750, 0o755]
    subprocess.run(["cp", "-a", root, berth.cwd / "copy"], check=True)
    second = publish(berth, s3, berth.cwd / "copy", f"s3://{bucket}/b")
    sums = [published(x)["ChecksumSHA256"] for x in (first, second)]
    bodies = [s3.client.get_object(Bucket=bucket, Key=f"{k}.tar.gz")["Body"].read() for k in "ab"]
    assert sums[0] == sums[1] and bodies[0] == bodies[1]


# ---- interruptions ----

def test_a_get_that_was_killed_does_not_fetch_again_what_is_there(berth, server):
    server.bucket("b")
    body = os.urandom(5 * PART)
    server.put("b", "r.bin", body)
    wanted = f"s3://b/r.bin,opt=endpoint={server.url}"
    for part in (3, 4):
        server.rule(op="get", last=(part + 1) * PART - 1, until="killed", gate="killed", hold_at=PART // 2)
    maps = lambda: list((berth.cwd / "got.part").rglob("*.map"))
    with berth.start("job", "get", "--raw", "--no-progress", wanted, "-d", "got") as process:
        wait_until(lambda: maps() and marked_parts(maps()[0]) == {0, 1, 2})
        process.kill()
    server.release("killed")
    server.wait(lambda: server.active == 0)
    server.forget()
    got = berth("job", "get", "--raw", wanted, "-d", "got")
    assert got.code == 0 and (berth.cwd / "got/r.bin").read_bytes() == body and not (berth.cwd / "got.part").exists(), got
    assert {part_of(r.range[0]) for r in server.asked(op="get")} == {3, 4}


# ---- what fails on the way up ----

@pytest.mark.parametrize("cause", ["interrupted", "denied"])
def test_PutObject_and_Abort_are_enough_to_leave_nothing_behind(berth, s3, stranger, cause):
    bucket, root = s3.bucket(), berth.cwd / "out"
    allow(s3, bucket, ["s3:PutObject", "s3:AbortMultipartUpload"])
    root.mkdir()
    (root / "a").write_bytes(os.urandom(32 << 20))
    for i in range(120):  # each is packed by itself
        os.link(root / "a", root / f"a{i}")
    with berth.start("publish", "--no-progress", root, f"s3://{bucket}/x", env=stranger.env) as process:
        wait_until(lambda: s3.client.list_multipart_uploads(Bucket=bucket).get("Uploads"))
        if cause == "denied":
            allow(s3, bucket, ["s3:AbortMultipartUpload"])
        else:
            process.terminate()
        out, errors = process.communicate(timeout=60)
    assert process.returncode == (1 if cause == "denied" else 143), errors
    assert cause == "interrupted" or b"s3:PutObject" in errors
    assert not s3.client.list_multipart_uploads(Bucket=bucket).get("Uploads")
    assert not s3.client.list_objects_v2(Bucket=bucket).get("Contents")
