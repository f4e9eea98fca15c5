"""F10–F12 on the way up, F27, F28: what becomes of a publish when the server is busy, breaks off or answers oddly. F29:
what becomes of a result that is got when the archive means ill."""
import base64
import gzip
import hashlib
import io
import json
import os
import pathlib
import random
import signal
import subprocess
import tarfile

import pytest

from conftest import bacalhau
from faults.kit import server, wait_until  # noqa: F401 (a fixture)
from lab import Engine, noise, read_until

PART = 8 << 20
KEYS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
INTERNAL = "<Error><Code>InternalError</Code><Message>We encountered an internal error. Please try again.</Message></Error>"


@pytest.fixture
def bucket(server):
    return server.bucket("b")


@pytest.fixture
def folder(berth):
    """Content that does not compress, of about five parts."""
    path = berth.cwd / "out"
    path.mkdir()
    (path / "big.bin").write_bytes(noise(4 * PART + 12345))
    (path / "small.txt").write_text("small\n")
    return path


def publish(berth, server, folder, key="r/x.tar.gz", *flags, options="", env={}, **more):
    return berth("publish", "--no-progress", *flags, folder, f"s3://b/{key},opt=endpoint={server.url}{options}",
                 env={**KEYS, **env}, **more)


def content(bucket, key="r/x.tar.gz"):
    """{path: bytes} of the archive that is visible."""
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(bucket.objects[key].data))) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}


def is_whole(bucket, folder):
    return content(bucket) == {p.name: p.read_bytes() for p in folder.iterdir()}


def test_parts_carry_the_checksum_that_the_server_knows(berth, server, bucket, folder):
    for sums, header, absent in (("crc32c", "x-amz-checksum-crc32c", "content-md5"), ("md5", "content-md5", "x-amz-checksum-crc32c"),
                                 ("refuse", "content-md5", "x-amz-checksum-crc32c")):
        bucket.sums = sums
        server.forget()
        done = publish(berth, server, folder)
        assert done.code == 0 and is_whole(bucket, folder), done
        parts = server.asked(op="part")
        assert parts and all(header in r.headers and absent not in r.headers for r in parts), sums
        assert all(r.headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD" for r in parts)


@pytest.mark.parametrize("sums", ["crc32c", "md5", "refuse"])
def test_small_results_go_up_in_one_request(berth, server, bucket, folder, sums):
    bucket.sums = sums
    (folder / "big.bin").unlink()
    assert publish(berth, server, folder).code == 0 and is_whole(bucket, folder)
    assert [r.op for r in server.asked() if r.status == 200] == ["put"]


@pytest.mark.parametrize("status, code", [(503, "SlowDown"), (429, "TooManyRequests"), (500, "InternalError")])
def test_F10_a_busy_server_is_waited_for_and_not_stormed(berth, server, bucket, folder, status, code):
    server.rule(op="part", seconds=2, status=status, code=code)
    done = publish(berth, server, folder)
    assert done.code == 0 and is_whole(bucket, folder), done
    assert len([r for r in server.asked(op="part") if r.status == status]) <= 4 * 8, server.told()


def test_F10_creating_and_completing_are_tried_again_too(berth, server, bucket, folder):
    server.rule(op="create", nth=[1, 2], status=503, code="SlowDown")
    server.rule(op="complete", nth=[1, 2], status=503, code="SlowDown")
    assert publish(berth, server, folder).code == 0 and is_whole(bucket, folder)


def test_F12_parts_that_are_cut_off_are_sent_again(berth, server, bucket, folder):
    server.rule(op="part", nth=[1, 2, 5], read=1 << 20)
    done = publish(berth, server, folder)
    assert done.code == 0 and is_whole(bucket, folder), done


def test_F12_an_upload_that_always_breaks_ends_after_bounded_tries_and_leaves_nothing(berth, server, bucket, folder):
    server.rule(op="part", read=1000)
    done = publish(berth, server, folder, "r/x.tar.gz", "--set=xfer.patience=3s")
    assert done.code == 1 and "part" in done.errors and bucket.objects == {} and bucket.uploads == {}, done
    tries = 10
    assert len(server.asked(op="part")) <= 4 * tries * 2, server.told()  # twice: kept connections that turn out dead


def test_F12_a_denied_part_ends_the_upload_at_once(berth, server, bucket, folder):
    server.rule(op="part", nth="2-", status=403, code="AccessDenied")
    done = publish(berth, server, folder)
    assert done.code == 1 and "s3:PutObject" in done.errors and bucket.objects == {} and bucket.uploads == {}, done
    assert len(server.asked(op="part")) <= 6


@pytest.mark.parametrize("times", [[1], [1, 2, 3]])
def test_F27_completing_that_answers_200_with_an_error_is_done_again(berth, server, bucket, folder, times):
    server.rule(op="complete", nth=times, status=200, body=INTERNAL)
    done = publish(berth, server, folder)
    assert done.code == 0 and is_whole(bucket, folder), done
    assert len(server.asked(op="complete")) == len(times) + 1


def test_F27_completing_that_never_works_is_a_failure_and_nothing_stays(berth, server, bucket, folder):
    server.rule(op="complete", status=200, body=INTERNAL)
    done = publish(berth, server, folder)
    assert done.code == 1 and "InternalError" in done.errors and bucket.objects == {} and bucket.uploads == {}, done
    assert len(server.asked(op="complete")) <= 10


def test_F27_a_completion_whose_answer_got_lost_is_recognised(berth, server, bucket, folder):
    server.rule(op="complete", nth=1, lost=True)
    done = publish(berth, server, folder)
    assert done.code == 0 and is_whole(bucket, folder), done
    assert [r.status for r in server.asked(op="complete")] == [200, 404] and server.asked(op="head"), server.told()


def test_F27_an_upload_that_somebody_aborted_is_a_failure(berth, server, bucket, folder):
    server.rule(op="complete", nth=1, status=404, code="NoSuchUpload")
    done = publish(berth, server, folder)
    assert done.code == 1 and "NoSuchUpload" in done.errors and bucket.objects == {}, done


def test_an_object_that_is_there_is_not_replaced_where_that_is_asked(berth, server, bucket, folder):
    server.put("b", "r/x.tar.gz", b"earlier")
    done = publish(berth, server, folder, options=",opt=if-none-match=*")
    assert done.code == 1 and "already" in done.errors and bucket.objects["r/x.tar.gz"].data == b"earlier", done
    assert bucket.uploads == {}


NEW_ONLY = ",opt=if-none-match=*"


@pytest.mark.parametrize("encoding", ["gzip", "plain"])
def test_an_only_object_whose_answer_got_lost_is_recognised(berth, server, bucket, encoding):
    root = berth.cwd / "small"
    root.mkdir()
    (root / "a.txt").write_text("small\n")
    (root / "empty").touch()
    server.rule(op="put", nth=1, lost=True)
    done = publish(berth, server, root, "r", options=f"{NEW_ONLY},opt=encoding={encoding}")
    assert done.code == 0, done
    assert sorted(r.status for r in server.asked(op="put") if r.key == server.asked(op="put")[0].key) == [200, 412], server.told()
    assert [r.method for r in server.asked(op="head")] == ["HEAD"]
    if encoding == "plain":
        assert bucket.objects["r/a.txt"].data == b"small\n" and "r/manifest.json" in bucket.objects


def test_an_object_that_somebody_else_stored_meanwhile_is_not_taken_for_ours(berth, server, bucket):
    root = berth.cwd / "small"
    root.mkdir()
    (root / "a.txt").write_text("small\n")
    server.rule(op="put", nth=1, status=503, code="SlowDown")
    server.put("b", "r/a.txt", b"other\n")
    done = publish(berth, server, root, "r", options=f"{NEW_ONLY},opt=encoding=plain")
    assert done.code == 1 and "already" in done.errors and bucket.objects["r/a.txt"].data == b"other\n", done
    assert server.asked(op="head") and "r/manifest.json" not in bucket.objects


def test_an_equal_object_from_before_is_there_already(berth, server, bucket):
    root = berth.cwd / "small"
    root.mkdir()
    (root / "a.txt").write_text("small\n")
    server.put("b", "r/a.txt", b"small\n")
    done = publish(berth, server, root, "r", options=f"{NEW_ONLY},opt=encoding=plain")
    assert done.code == 1 and "already" in done.errors and server.asked(op="head") == [], done


def test_F27_a_completion_that_meets_its_own_object_is_recognised(berth, server, bucket, folder):
    server.rule(op="complete", nth=1, lost=True)
    server.rule(op="complete", nth=1, status=412, code="PreconditionFailed")
    done = publish(berth, server, folder, options=NEW_ONLY)
    assert done.code == 0 and is_whole(bucket, folder), (done, server.told())
    assert [r.status for r in server.asked(op="complete")] == [200, 412] and server.asked(op="head"), server.told()


def test_storage_options_stand_in_the_first_request(berth, server, bucket, folder):
    options = ",opt=tags=a=1&b=2,opt=acl=private,opt=storage-class=STANDARD_IA,opt=sse=aws:kms,opt=sse-kms-key-id=K"
    assert publish(berth, server, folder, options=options).code == 0
    h = server.asked(op="create")[0].headers
    assert h["x-amz-tagging"] == "a=1&b=2" and h["x-amz-acl"] == "private" and h["x-amz-storage-class"] == "STANDARD_IA"
    assert h["x-amz-server-side-encryption"] == "aws:kms" and h["x-amz-server-side-encryption-aws-kms-key-id"] == "K"


def test_interrupting_aborts_the_upload(berth, server, bucket, folder):
    server.rule(op="part", nth="2-", hold="later")
    with berth.start("publish", "--no-progress", folder, f"s3://b/r/x,opt=endpoint={server.url}", env=KEYS) as process:
        server.wait(lambda: len(server.log) >= 3)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert bucket.objects == {} and bucket.uploads == {}


def test_F28_of_two_attempts_each_leaves_a_whole_object_and_stale_ones_can_be_aborted(berth, server, bucket, folder):
    server.rule(op="part", nth="2-", hold="later", until="later")
    with berth.start("publish", "--no-progress", folder, f"s3://b/r/x,opt=endpoint={server.url}", env=KEYS) as process:
        server.wait(lambda: len(server.log) >= 3)
        process.kill()
        process.wait(60)
    assert bucket.objects == {} and len(bucket.uploads) == 1
    server.release("later")
    elsewhere = {"XDG_STATE_HOME": str(berth.cwd / "elsewhere")}  # here, it would be gone on with
    assert publish(berth, server, folder, env=elsewhere).code == 0 and is_whole(bucket, folder)
    young = berth("publish", "--abort-stale", "--older-than", "100000d", f"s3://b/r/,opt=endpoint={server.url}", env=KEYS)
    assert young.code == 0 and len(bucket.uploads) == 1, young
    stale = berth("publish", "--abort-stale", f"s3://b/r/,opt=endpoint={server.url}", env=KEYS)
    assert stale.code == 0 and bucket.uploads == {} and is_whole(bucket, folder), stale


# ---- killed at any instant ----

KILLS = 12


def killed_at(berth, server, bytes_seen, dest, folder):
    """A publish that is killed once the server has seen so many bytes of bodies. What was on its way arrives before this returns."""
    server.forget()
    with berth.start("publish", "--no-progress", folder, dest, env=KEYS) as process:
        server.wait(lambda: sum(r.received for r in server.log) >= bytes_seen or process.poll() is not None)
        process.kill()
        process.wait(60)
    server.settle()


def test_F28_killed_at_any_instant_nothing_half_is_visible_and_the_next_publish_is_right(berth, server, bucket, folder):
    """Instants are numbers of bytes that the server has seen; half of the second attempts know nothing of the first."""
    dest, instants = f"s3://b/r/x.tar.gz,opt=endpoint={server.url}", random.Random(28)
    reference = berth.cwd / "reference.tar.gz"
    assert berth("publish", "--no-progress", folder, reference).code == 0
    right, total = reference.read_bytes(), reference.stat().st_size
    unfinished = gone_on = 0
    for round in range(KILLS):
        bucket.objects.clear()
        killed_at(berth, server, instants.randrange(total), dest, folder)
        visible = bucket.objects.get("r/x.tar.gz")
        assert visible is None or (visible.data == right and server.asked(op="complete")), server.told()
        unfinished += visible is None and len(bucket.uploads) >= 1
        server.forget()
        other = {"XDG_STATE_HOME": str(berth.cwd / f"state-{round}")} if instants.random() < 0.5 else {}
        done = publish(berth, server, folder, env=other)
        assert done.code == 0 and bucket.objects["r/x.tar.gz"].data == right, done
        gone_on += not server.asked(op="create")
    assert unfinished >= KILLS // 2 and gone_on >= 1, (unfinished, gone_on)
    swept = berth("publish", "--abort-stale", f"s3://b/r/,opt=endpoint={server.url}", env=KEYS)
    assert swept.code == 0 and bucket.uploads == {} and bucket.objects["r/x.tar.gz"].data == right, swept


def test_F28_plain_files_of_a_killed_publish_have_no_manifest(berth, server, bucket):
    folder, instants = berth.cwd / "many", random.Random(29)
    folder.mkdir()
    for i in range(200):
        (folder / f"{i:03d}").write_bytes(b"%d" % i * 500)
    total = sum(p.stat().st_size for p in folder.iterdir())
    dest = f"s3://b/r,opt=endpoint={server.url},opt=encoding=plain"
    for _ in range(5):
        bucket.objects.clear()
        killed_at(berth, server, instants.randrange(total // 2), dest, folder)
        assert "r/manifest.json" not in bucket.objects and len(bucket.objects) < 200
        done = publish(berth, server, folder, "r", options=",opt=encoding=plain")
        assert done.code == 0 and len(bucket.objects) == 201, done
        for e in json.loads(bucket.objects["r/manifest.json"].data)["entries"]:
            assert hashlib.sha256(bucket.objects[f"r/{e['path']}"].data).hexdigest() == e["sha256"]


# ---- how a container may end ----

OUTPUT = "echo result > /outputs/r; echo ready; "
FOREVER = OUTPUT + "while :; do sleep 1; done"
HOG = OUTPUT + "tail /dev/zero; exit 137"


def publishing_job(berth, bucket, cmd, **task):
    return berth.job(bacalhau([], cmd, ResultPaths=[{"Name": "o", "Path": "/outputs"}],
                              Publisher={"Type": "s3", "Params": {"Bucket": bucket, "Key": "r/x"}}, **task))


def published_of(s3, bucket):
    """({path: bytes}, the record inside) of what a run published; None: nothing."""
    if not s3.client.list_objects_v2(Bucket=bucket).get("Contents"):
        return None
    body = s3.client.get_object(Bucket=bucket, Key="r/x.tar.gz")["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(body))) as tar:
        files = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}
    return files, json.loads(files["berth.json"])


@pytest.mark.parametrize("cmd, flags, task, code, end", [
    (OUTPUT + "exit 7", [], {}, 7, "exited"),
    (FOREVER, ["--timeout", "2s", "--stop-grace", "1s"], {}, 124, "timed_out"),
    (HOG, [], {"Resources": {"Memory": "32MB"}}, 137, "out_of_memory"),
], ids=["failed", "timed out", "out of memory"])
def test_a_job_that_ends_badly_is_published_as_such(berth, s3, engine, cmd, flags, task, code, end):
    bucket = s3.bucket()
    done = berth("run", "--engine", engine, "-r", "results", *flags, publishing_job(berth, bucket, cmd, **task), env=s3.env)
    assert done.code == code, done
    files, record = published_of(s3, bucket)
    assert record["end"] == end and record["exit_code"] == code and files["exitCode"] == str(code).encode(), record
    assert files["outputs/o/r"] == b"result\n" and files["stdout"].startswith(b"ready")


def test_a_job_that_somebody_else_stops_is_published_as_it_ended(berth, s3, engine):
    bucket, seen = s3.bucket(), Engine(engine)
    job, others = publishing_job(berth, bucket, FOREVER), seen.containers()
    with berth.start("run", "--engine", engine, "-r", "results", job, env=s3.env) as process:
        read_until(process.stdout, b"ready")
        [container] = set(seen.containers().values()) - set(others.values())
        assert seen.call("POST", f"/containers/{container}/kill?signal=KILL")[0] == 204
        assert process.wait(60) == 137
    files, record = published_of(s3, bucket)
    assert record["end"] == "exited" and record["exit_code"] == 137 and files["outputs/o/r"] == b"result\n"


@pytest.mark.parametrize("partial", [False, True], ids=["not", "partial"])
@pytest.mark.parametrize("sign, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "TERM"])
def test_a_job_that_is_stopped_is_published_only_where_that_is_wanted(berth, s3, one_engine, sign, code, partial):
    bucket = s3.bucket()
    job = publishing_job(berth, bucket, FOREVER)
    flags = ["--publish-partial"] if partial else []
    with berth.start("run", "--engine", one_engine, "-r", "results", "--stop-grace", "1s", *flags, job, env=s3.env) as process:
        read_until(process.stdout, b"ready")
        process.send_signal(sign)
        assert process.wait(60) == code
    found = published_of(s3, bucket)
    assert (found is not None) == partial
    if partial:
        assert found[1]["end"] == "stopped" and found[0]["exitCode"] == str(code).encode() and found[0]["outputs/o/r"] == b"result\n"


# ---- a customer's key ----

CUSTOMER_KEY = base64.b64encode(bytes(range(32))).decode()


def customer_headers():
    return {"x-amz-server-side-encryption-customer-algorithm": "AES256", "x-amz-server-side-encryption-customer-key": CUSTOMER_KEY,
            "x-amz-server-side-encryption-customer-key-md5": base64.b64encode(hashlib.md5(bytes(range(32))).digest()).decode()}


@pytest.mark.parametrize("megabytes", [0, 20], ids=["one request", "parts"])
@pytest.mark.parametrize("encoding", ["gzip", "plain"])
def test_a_customers_key_goes_with_every_request_that_stores(berth, server, bucket, folder, megabytes, encoding):
    (folder / "big.bin").write_bytes(os.urandom(megabytes << 20))
    done = publish(berth, server, folder, options=f",opt=encoding={encoding},opt=sse-c={CUSTOMER_KEY}")
    assert done.code == 0, done
    stored = [r for op in ("put", "create", "part", "complete") for r in server.asked(op=op)]
    assert len(server.asked(op="part")) >= 3 or not megabytes
    for r in stored:
        assert {h: r.headers.get(h) for h in customer_headers()} == customer_headers(), r.op
        signed = r.headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
        assert set(customer_headers()) <= set(signed), r.op
    assert CUSTOMER_KEY not in done.errors + done.text


@pytest.mark.parametrize("megabytes", [0, 20], ids=["one request", "parts"])
def test_what_is_stored_under_a_customers_key_opens_with_that_key_only(berth, s3, servers, folder, megabytes):
    import boto3
    import botocore.exceptions
    facts, name = servers["s3"], s3.bucket()
    (folder / "big.bin").write_bytes(os.urandom(megabytes << 20))
    dest = f"s3://{name}/x,opt=endpoint={facts['tls']},opt=sse-c={CUSTOMER_KEY}"
    done = berth("publish", "--no-progress", "--set", f"xfer.ca_file={facts['ca']}", folder, dest, env=s3.env)
    assert done.code == 0, done
    client = boto3.client("s3", endpoint_url=facts["tls"], region_name=facts["region"], aws_access_key_id=s3.access,
                          aws_secret_access_key=s3.secret, verify=facts["ca"])
    with pytest.raises(botocore.exceptions.ClientError):
        client.get_object(Bucket=name, Key="x.tar.gz")
    body = client.get_object(Bucket=name, Key="x.tar.gz", SSECustomerAlgorithm="AES256", SSECustomerKey=bytes(range(32)))["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(body))) as tar:
        assert tar.extractfile("big.bin").read() == (folder / "big.bin").read_bytes()


def test_storage_options_stand_in_a_single_request_too(berth, server, bucket, folder):
    (folder / "big.bin").unlink()
    for sse, more in (("AES256", ""), ("aws:kms", ",opt=sse-kms-key-id=K"), ("aws:kms:dsse", "")):
        server.forget()
        options = f",opt=tags=a=1&b=2,opt=acl=private,opt=storage-class=STANDARD_IA,opt=sse={sse}{more}"
        assert publish(berth, server, folder, options=options).code == 0
        [put] = server.asked(op="put", status=200)
        h = put.headers
        assert h["x-amz-tagging"] == "a=1&b=2" and h["x-amz-acl"] == "private" and h["x-amz-storage-class"] == "STANDARD_IA"
        assert h["x-amz-server-side-encryption"] == sse
        assert h.get("x-amz-server-side-encryption-aws-kms-key-id") == ("K" if more else None)


def test_plain_a_file_that_fails_leaves_no_manifest(berth, server, bucket, folder):
    server.rule(key="*small.txt", status=403, code="AccessDenied")
    done = publish(berth, server, folder, "r", options=",opt=encoding=plain")
    assert done.code == 1 and "small.txt" in done.errors and "r/manifest.json" not in bucket.objects, done


def test_no_secret_is_told(berth, server, folder):
    server.bucket("b")
    server.rule(status=403, code="AccessDenied")
    done = publish(berth, server, folder, "r/x", "--verbose")
    assert done.code == 1 and "Signature=" not in done.errors and "Credential=" not in done.errors, done


# ---- getting ----

def archive(*members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, kind, data in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, 0o644
            if kind == tarfile.REGTYPE:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            else:
                info.linkname = data
                tar.addfile(info)
    return out.getvalue()


def get(berth, server, *flags):
    return berth("job", "get", "--no-progress", "-d", "got", *flags, f"s3://b/r/x.tar.gz,opt=endpoint={server.url}", env=KEYS)


@pytest.mark.parametrize("members", [
    [("../escaped", tarfile.REGTYPE, b"x")],
    [("/tmp/berth-escaped", tarfile.REGTYPE, b"x")],
    [("out", tarfile.SYMTYPE, "/tmp"), ("out/berth-escaped", tarfile.REGTYPE, b"x")],
    [("out", tarfile.SYMTYPE, "../../../etc")],
    [("hard", tarfile.LNKTYPE, "/etc/passwd")],
    [("fifo", tarfile.FIFOTYPE, "")],
], ids=["dotdot", "absolute", "through a link", "link out", "hard link", "fifo"])
def test_F29_an_archive_that_leaves_its_folder_is_refused_and_leaves_nothing(berth, server, members):
    server.put("b", "r/x.tar.gz", archive(("first", tarfile.REGTYPE, b"1"), *members))
    done = get(berth, server)
    assert done.code == 1 and not (berth.cwd / "got").exists() and not (berth.cwd / "got.part").exists(), done
    assert not (berth.cwd / "escaped").exists() and not os.path.exists("/tmp/berth-escaped")


def test_a_parent_that_ignores_its_children_does_not_make_berth_lose_sight_of_its_own(berth, server):
    server.put("b", "r/x.tar.gz", archive(("a", tarfile.REGTYPE, b"1")))
    argv = ("job", "get", "--no-progress", "-d", "got", f"s3://b/r/x.tar.gz,opt=endpoint={server.url}")
    with berth.start(*argv, env=KEYS, preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN)) as process:
        said = process.communicate(timeout=60)
    assert process.returncode == 0 and (berth.cwd / "got/a").read_bytes() == b"1", said


def test_F29_a_bomb_is_stopped_by_its_ratio_and_by_the_ceiling(berth, server):
    server.put("b", "r/x.tar.gz", archive(("zeros", tarfile.REGTYPE, bytes(200 << 20))))
    done = get(berth, server)
    assert done.code == 1 and not (berth.cwd / "got").exists(), done
    server.put("b", "r/x.tar.gz", archive(("random", tarfile.REGTYPE, os.urandom(2 << 20))))
    assert get(berth, server, "--max-bytes", "1MiB").code == 1
    assert get(berth, server).code == 0 and (berth.cwd / "got/random").stat().st_size == 2 << 20


def test_F29_a_result_that_is_not_what_was_published_is_refused(berth, server):
    server.put("b", "r/x.tar.gz", archive(("a", tarfile.REGTYPE, b"1")))
    wrong = "0" * 64
    done = berth("job", "get", "-d", "got", f"src=s3://b/r/x.tar.gz,opt=endpoint={server.url},opt=checksum-256={wrong}", env=KEYS)
    assert done.code == 1 and not (berth.cwd / "got").exists(), done


def rich_folder(root):
    """One of each kind that tar knows how to store, and that berth unpacks."""
    (root / "deep" / "l" / ("n" * 200)).mkdir(parents=True)
    (root / "script").write_text("#!/bin/sh\n")
    (root / "script").chmod(0o751)
    (root / "empty").touch()
    (root / "deep" / "l" / ("n" * 200) / ("m" * 200)).write_text("a long name")
    (root / "ä \u4e16").write_text("a name in UTF-8")
    (root / "big.bin").write_bytes(os.urandom(3 << 20))
    with open(root / "holes.bin", "wb") as f:
        for at in range(0, 16 << 20, 1 << 20):
            f.seek(at)
            f.write(b"x" * 4096)
        f.truncate(20 << 20)
    for i in range(300):
        (root / "deep" / f"{i}").write_text(f"{i}")
    (root / "link").symlink_to("deep/l")
    (root / "deep" / "link to a long name").symlink_to(pathlib.Path("l", "n" * 200, "m" * 200))
    os.link(root / "script", root / "hard")
    os.link(root / "deep" / "1", root / "deep" / "another 1")
    os.link(root / "deep" / "1", root / "deep" / "l" / "a third 1")
    os.link(root / "deep" / "l" / ("n" * 200) / ("m" * 200), root / "hard link to a long name")
    os.utime(root / "empty", ns=(0, 1_234_567_890_123_456_789))


def told(root):
    """{path: what there is to know of it}"""
    def of(p):
        st = p.lstat()
        if p.is_symlink():
            return os.readlink(p)
        if p.is_dir():
            return "folder"
        return (hashlib.sha256(p.read_bytes()).digest(), st.st_mode, st.st_nlink, int(st.st_mtime))
    return {str(p.relative_to(root)): of(p) for p in root.rglob("*")}


@pytest.mark.parametrize("flags", ["--format=gnu", "--format=gnu --sparse", "--format=pax", "--format=pax --sparse --sparse-version=0.0",
                                   "--format=pax --sparse --sparse-version=0.1", "--format=pax --sparse --sparse-version=1.0"])
def test_what_tar_packs_is_got_whole(berth, server, flags):
    """Hard links, long names, holes: whoever unpacks them has few system calls to do it with."""
    root = berth.cwd / "rich"
    root.mkdir()
    rich_folder(root)
    packed = subprocess.run(["tar", "-cz", *flags.split(), "-C", root, "."], stdout=subprocess.PIPE, check=True).stdout
    server.put("b", "r/x.tar.gz", packed)
    done = get(berth, server)
    assert done.code == 0 and told(berth.cwd / "got") == told(root), done
    blocks = (berth.cwd / "got/holes.bin").stat().st_blocks * 512
    assert blocks < 4 << 20 if "--sparse" in flags else blocks > 0


def test_an_interrupted_get_is_taken_up_again(berth, server, bucket, folder):
    published = publish(berth, server, folder)
    assert published.code == 0
    server.forget()
    server.rule(op="get", nth="3-", hold="later", until="later")
    with berth.start("job", "get", "--no-progress", "-d", "got", f"s3://b/r/x.tar.gz,opt=endpoint={server.url}", env=KEYS) as process:
        server.wait(lambda: sum(r.done and r.sent >= PART for r in server.log) >= 1)
        # What was sent may not have arrived: until a part is marked (64 bytes of header, then the first record's bits).
        wait_until(lambda: any(any(p.read_bytes()[64:88]) for p in (berth.cwd / "got.part").rglob("*.map")))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert not (berth.cwd / "got").exists()
    server.release("later")
    server.forget()
    done = get(berth, server)
    assert done.code == 0 and (berth.cwd / "got/big.bin").read_bytes() == (folder / "big.bin").read_bytes(), done
    assert server.sent(op="get") < 4 * PART and not (berth.cwd / "got.part").exists(), server.told()


def get_plain(server, *flags, where="plain/manifest.json"):
    return ("job", "get", "--no-progress", "-d", "got", *flags, f"s3://b/{where},opt=endpoint={server.url}")


@pytest.fixture
def plain(berth, server, bucket):
    """Files of 40 MiB, published one by one."""
    root = berth.cwd / "five"
    root.mkdir()
    for i in range(5):
        (root / f"{i}.bin").write_bytes(os.urandom(PART))
    assert publish(berth, server, root, "plain", options=",opt=encoding=plain").code == 0
    server.forget()
    return root


def interrupted(berth, server, argv, sent):
    server.rule(op="get", key="*.bin", nth=f"{sent + 1}-", until="later", hold="later")
    kept = lambda: [p for p in (berth.cwd / "got.part").rglob("*.bin") if p.stat().st_size == PART]
    with berth.start(*argv, env=KEYS) as process:
        wait_until(lambda: len(kept()) == sent)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    server.release("later")
    assert len(kept()) == sent and not (berth.cwd / "got").exists()
    server.settle()
    server.forget()


def test_an_interrupted_get_of_a_plain_result_is_taken_up_again(berth, server, plain):
    interrupted(berth, server, get_plain(server), 2)
    done = berth(*get_plain(server), env=KEYS)
    assert done.code == 0, done
    assert {p.name: p.read_bytes() for p in (berth.cwd / "got").iterdir()} == {p.name: p.read_bytes() for p in plain.iterdir()}
    assert server.sent(op="get", status=200) == 3 * PART, server.told()
    assert not (berth.cwd / "got.part").exists()


def test_a_get_that_fails_leaves_what_that_of_another_result_fetched(berth, server, plain):
    interrupted(berth, server, get_plain(server), 2)
    assert berth(*get_plain(server, where="absent.tar.gz"), env=KEYS).code == 1
    assert berth(*get_plain(server), env=KEYS).code == 0
    assert server.sent(op="get", status=200) == 3 * PART, server.told()


def test_what_a_get_of_another_result_left_is_in_nobodys_way(berth, server, bucket, folder, plain):
    assert publish(berth, server, folder).code == 0
    interrupted(berth, server, get_plain(server), 2)
    done = get(berth, server)
    assert done.code == 0 and (berth.cwd / "got/big.bin").read_bytes() == (folder / "big.bin").read_bytes(), done
    assert not (berth.cwd / "got.part").exists()
