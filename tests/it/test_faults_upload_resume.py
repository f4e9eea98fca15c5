"""F28: an upload that was killed is gone on with: what is stored already is not sent again, and what does not fit is aborted."""
import gzip
import hashlib
import io
import json
import os
import signal
import stat
import tarfile

import pytest

from conftest import bacalhau
from faults.kit import PART, server, wait_until  # noqa: F401 (a fixture)
from lab import Engine, noise

KEYS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "canary-of-a-secret"}
PARTS = 6


@pytest.fixture
def bucket(server):
    return server.bucket("b")


@pytest.fixture
def folder(berth):
    """Content that does not compress, of PARTS parts."""
    path = berth.cwd / "out"
    path.mkdir()
    (path / "a.txt").write_text("first in the archive\n")
    (path / "big.bin").write_bytes(noise((PARTS - 1) * PART + 12345))
    (path / "z.txt").write_text("last in the archive\n")
    return path


def dest(server, options=""):
    return f"s3://b/r/x.tar.gz,opt=endpoint={server.url}{options}"


def publish(berth, server, folder, options=""):
    server.forget()
    return berth("publish", "--no-progress", folder, dest(server, options), env=KEYS)


def journals(berth):
    folder = berth.home / ".local/state/berth/uploads"
    return sorted(folder.iterdir()) if folder.exists() else []


def noted(journal):
    """The numbers of the parts that a journal names."""
    *lines, _ = journal.read_text().split("\n")
    return {json.loads(line)["part"] for line in lines[1:]}


def killed(berth, server, folder, parts=3, options="", **rule):
    """A publish that is killed once at least so many parts are stored; the numbers of those that it noted."""
    server.rule(op="part", nth=f"{parts + 1}-", hold="killed", until="killed")
    with berth.start("publish", "--no-progress", folder, dest(server, options), env=KEYS) as process:
        server.wait(lambda: sum(r.op == "part" and r.status == 200 for r in server.log) >= parts)
        wait_until(lambda: journals(berth) and len(noted(journals(berth)[0])) >= parts)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    server.release("killed")
    server.settle()  # what was sent and not read yet may still be stored
    return noted(journals(berth)[0])


def sent(server):
    return sorted(int(r.query["partNumber"]) for r in server.asked(op="part"))


def is_right(berth, bucket, folder):
    """The object is the archive that berth makes of the folder."""
    here = berth.cwd / "reference.tar.gz"
    assert berth("publish", "--no-progress", folder, here).code == 0
    return hashlib.sha256(bucket.objects["r/x.tar.gz"].data).digest() == hashlib.sha256(here.read_bytes()).digest()


def test_F28_after_a_kill_only_the_missing_parts_are_sent(berth, server, bucket, folder):
    known = killed(berth, server, folder)
    assert bucket.objects == {} and len(bucket.uploads) == 1 and 3 <= len(known) < PARTS
    [journal] = journals(berth)
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600 and stat.S_IMODE(journal.parent.stat().st_mode) == 0o700
    assert "canary" not in journal.read_text() and "Signature" not in journal.read_text()
    done = publish(berth, server, folder)
    assert done.code == 0 and is_right(berth, bucket, folder), done
    assert sent(server) == sorted(set(range(1, PARTS + 1)) - known), server.told()
    assert not server.asked(op="create") and not server.asked(op="abort") and not server.asked(op="uploads")
    assert bucket.uploads == {} and journals(berth) == []


def test_F28_an_upload_may_be_killed_over_and_over_and_still_ends(berth, server, bucket, folder):
    known = set()
    while len(known) < PARTS - 1:
        server.forget()
        server.gates.clear()
        now = killed(berth, server, folder, parts=len(known) + 1) if not known else killed_again(berth, server, folder, known)
        assert known < now and bucket.objects == {}
        known = now
    done = publish(berth, server, folder)
    assert done.code == 0 and is_right(berth, bucket, folder) and len(sent(server)) == PARTS - len(known), done


def killed_again(berth, server, folder, known):
    """One part further than before."""
    server.rule(op="part", nth="2-", hold="killed", until="killed")
    with berth.start("publish", "--no-progress", folder, dest(server), env=KEYS) as process:
        wait_until(lambda: len(noted(journals(berth)[0])) > len(known))
        process.kill()
        process.wait(60)
    server.release("killed")
    server.settle()
    return noted(journals(berth)[0])


@pytest.mark.parametrize("name", ["a.txt", "z.txt", "big.bin", "another"], ids=["first", "last", "middle", "another file"])
def test_F28_a_folder_that_changed_meanwhile_is_published_as_it_is_now(berth, server, bucket, folder, name):
    killed(berth, server, folder, parts=PARTS - 1)
    if name == "big.bin":
        before = (folder / name).stat()
        with open(folder / name, "r+b") as f:  # size and times do not tell
            f.seek(2 * PART)
            f.write(b"another content")
        os.utime(folder / name, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        (folder / name).write_text("another content\n")
    done = publish(berth, server, folder)
    assert done.code == 0 and is_right(berth, bucket, folder), done
    assert bucket.uploads == {} and journals(berth) == []
    if name != "z.txt":  # that one may be in the part which was not stored yet
        assert len(server.asked(op="abort")) == 1 and len(server.asked(op="create")) == 1, server.told()
        assert len(sent(server)) >= PARTS


def test_F28_an_upload_that_the_server_no_longer_has_is_begun_anew(berth, server, bucket, folder):
    killed(berth, server, folder)
    bucket.uploads.clear()
    done = publish(berth, server, folder)
    assert done.code == 0 and is_right(berth, bucket, folder), done
    assert len(server.asked(op="create")) == 1 and journals(berth) == []


def test_F28_killed_between_the_completion_and_its_answer_nothing_is_sent_again(berth, server, bucket, folder):
    server.rule(op="complete", nth=1, lost=True)
    server.rule(op="head", hold="killed", until="killed")
    with berth.start("publish", "--no-progress", folder, dest(server), env=KEYS) as process:
        server.wait(lambda: any(r.op == "head" for r in server.log))
        process.kill()
        process.wait(60)
    server.release("killed")
    server.settle()
    assert is_right(berth, bucket, folder) and len(journals(berth)) == 1
    done = publish(berth, server, folder)
    assert done.code == 0 and is_right(berth, bucket, folder), done
    assert sent(server) == [] and not server.asked(op="create") and journals(berth) == [], server.told()


def test_F28_an_upload_that_was_completed_and_whose_object_has_gone_since_is_begun_anew(berth, server, bucket, folder):
    """As with Ceph, which has an internal error for the completion of what it has completed already."""
    bucket.muddled = True
    server.rule(op="head", hold="killed", until="killed")
    server.rule(op="complete", nth=1, lost=True)
    with berth.start("publish", "--no-progress", folder, dest(server), env=KEYS) as process:
        server.wait(lambda: "r/x.tar.gz" in bucket.objects)
        process.kill()
        process.wait(60)
    server.release("killed")
    server.settle()
    assert len(journals(berth)) == 1
    del bucket.objects["r/x.tar.gz"]
    done = publish(berth, server, folder)
    assert done.code == 0 and is_right(berth, bucket, folder), done
    assert len(server.asked(op="create")) == 1 and len(sent(server)) == PARTS and journals(berth) == [], server.told()
    assert len(server.asked(op="complete")) < 10, server.told()


def test_F28_an_upload_that_is_to_be_stored_otherwise_is_begun_anew(berth, server, bucket, folder):
    killed(berth, server, folder)
    done = publish(berth, server, folder, options=",opt=storage-class=STANDARD_IA")
    assert done.code == 0 and is_right(berth, bucket, folder), done
    [create] = server.asked(op="create")
    assert create.headers["x-amz-storage-class"] == "STANDARD_IA" and len(sent(server)) == PARTS
    assert len(server.asked(op="abort")) == 1 and bucket.uploads == {} and journals(berth) == []


def test_F28_results_that_fit_one_request_by_now_leave_nothing_of_the_earlier_upload(berth, server, bucket, folder):
    killed(berth, server, folder)
    (folder / "big.bin").unlink()
    done = publish(berth, server, folder)
    assert done.code == 0 and is_right(berth, bucket, folder) and bucket.uploads == {} and journals(berth) == [], done
    assert server.asked(op="put") and not server.asked(op="part")


@pytest.mark.parametrize("harm", ["cut", "cut in the first line", "empty", "garbage", "another version", "a link"])
def test_F28_a_damaged_note_costs_requests_and_nothing_else(berth, server, bucket, folder, harm):
    known = killed(berth, server, folder)
    [journal] = journals(berth)
    text = journal.read_bytes()
    if harm == "a link":
        journal.rename(berth.cwd / "elsewhere")
        journal.symlink_to(berth.cwd / "elsewhere")
    else:
        journal.write_bytes({"cut": text[:-5], "cut in the first line": text[:20], "empty": b"", "garbage": os.urandom(4096),
                             "another version": text.replace(b'"berth_upload":1', b'"berth_upload":2')}[harm])
    done = publish(berth, server, folder)
    assert done.code == 0 and is_right(berth, bucket, folder), done
    assert len(sent(server)) == (PARTS - len(known) + 1 if harm == "cut" else PARTS), server.told()
    if harm == "a link":
        assert (berth.cwd / "elsewhere").read_bytes() == text


def test_F28_a_note_is_used_by_one_process_at_a_time(berth, server, bucket, folder):
    server.rule(op="part", nth="4-", hold="later", until="later")
    with berth.start("publish", "--no-progress", folder, dest(server), env=KEYS) as first:
        wait_until(lambda: journals(berth) and len(noted(journals(berth)[0])) >= 3)
        server.wait(lambda: len(sent(server)) == PARTS)  # so that none of them comes during the second's
        first.send_signal(signal.SIGSTOP)
        server.release("later")
        second = publish(berth, server, folder)
        assert second.code == 0 and len(sent(server)) == PARTS and len(server.asked(op="create")) == 1, second
        first.send_signal(signal.SIGCONT)
        assert first.wait(60) == 0
    assert is_right(berth, bucket, folder) and bucket.uploads == {} and journals(berth) == []


def test_a_failure_removes_upload_and_note(berth, server, bucket, folder):
    server.rule(op="part", nth="3-", status=403, code="AccessDenied")
    done = berth("publish", "--no-progress", folder, dest(server), env=KEYS)
    assert done.code == 1 and bucket.uploads == {} and journals(berth) == [], done


def test_F28_where_nothing_may_be_aborted_a_new_upload_begins_all_the_same(berth, server, bucket, folder):
    killed(berth, server, folder)
    (folder / "a.txt").write_text("another content\n")
    server.forget()
    server.rule(op="abort", status=403, code="AccessDenied")
    done = berth("publish", "--no-progress", folder, dest(server), env=KEYS)
    assert done.code == 0 and is_right(berth, bucket, folder) and journals(berth) == [], done
    assert len(bucket.uploads) == 1 and "could not be removed" in done.errors, done


def test_F28_a_run_that_is_killed_while_it_publishes_is_gone_on_with_by_hand(berth, server, bucket, one_engine):
    job = berth.job(bacalhau([], "dd if=/dev/urandom of=/outputs/big bs=1M count=44", ResultPaths=[{"Name": "o", "Path": "/outputs"}],
                             Publisher={"Type": "s3", "Params": {"Bucket": "b", "Key": "r/{jobID}", "Endpoint": server.url}}))
    server.rule(op="part", nth="4-", hold="killed", until="killed")
    with berth.start("run", "--engine", one_engine, "-r", "results", job, env=KEYS) as process:
        wait_until(lambda: journals(berth) and len(noted(journals(berth)[0])) >= 3)
        process.kill()
        process.wait(60)
    engine = Engine(one_engine)
    for container in engine.containers().values():  # what only the next `berth run` would clear away
        engine.remove(container)
    server.release("killed")
    server.settle()
    known = noted(journals(berth)[0])
    server.forget()
    done = berth("publish", "--no-progress", "results", f"s3://b/r/{{jobID}},opt=endpoint={server.url}", env=KEYS)
    assert done.code == 0 and not server.asked(op="create") and bucket.uploads == {} and journals(berth) == [], done
    assert len(known) >= 3 and set(sent(server)).isdisjoint(known) and len(sent(server)) + len(known) == 6, server.told()
    [key] = bucket.objects
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(bucket.objects[key].data))) as tar:
        assert tar.extractfile("outputs/o/big").read() == (berth.cwd / "results/outputs/o/big").read_bytes()
