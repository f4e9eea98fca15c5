"""F10–F12 on the way up: what is sent, and what is not sent again, when the server is busy, slow, silent or breaks off."""
import collections
import gzip
import io
import tarfile

import pytest

from faults.kit import PART, server, sets  # noqa: F401 (a fixture)
from lab import noise

KEYS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
PARTS = 5


@pytest.fixture
def bucket(server):
    return server.bucket("b")


@pytest.fixture
def folder(berth):
    """Content that does not compress, of PARTS parts."""
    path = berth.cwd / "out"
    path.mkdir()
    (path / "big.bin").write_bytes(noise((PARTS - 1) * PART + 12345))
    return path


def command(server, folder, **settings):
    return ["publish", "--no-progress", *sets(**settings), folder, f"s3://b/r/x.tar.gz,opt=endpoint={server.url}"]


def publish(berth, server, folder, **settings):
    return berth(*command(server, folder, **settings), env=KEYS)


def is_whole(bucket, folder, key="r/x.tar.gz"):
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(bucket.objects[key].data))) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()} == {p.name: p.read_bytes() for p in folder.iterdir()}


def times_sent(server):
    """{part number: how often it was asked to be stored}"""
    return collections.Counter(int(r.query["partNumber"]) for r in server.asked(op="part"))


def numbers(server, **which):
    return {int(r.query["partNumber"]) for r in server.asked(op="part", **which)}


def test_F12_only_the_parts_that_are_reset_are_sent_again(berth, server, bucket, folder):
    server.rule(op="part", nth=[1, 3], read=1 << 20)
    done = publish(berth, server, folder)
    assert done.code == 0 and is_whole(bucket, folder), done
    broken = numbers(server, status=0)
    assert len(broken) in (1, 2) and numbers(server, status=200) == set(range(1, PARTS + 1))
    assert all(n == 1 for part, n in times_sent(server).items() if part not in broken), server.told()
    assert len(server.asked(op="part")) == PARTS + 2 and len(server.asked(op="create")) == 1


def test_F12_a_part_whose_answer_is_lost_is_sent_again_alone(berth, server, bucket, folder):
    server.rule(op="part", nth=2, lost=True)
    done = publish(berth, server, folder)
    assert done.code == 0 and is_whole(bucket, folder), done
    assert sorted(times_sent(server).values()) == [1] * (PARTS - 1) + [2], server.told()


def test_F12_a_part_that_stalls_is_given_up_and_sent_again_alone(berth, server, bucket, folder):
    server.rule(op="part", nth=1, take_at=1 << 20, gate="never")  # never the last, small one
    done = publish(berth, server, folder, xfer__stall="3s")
    assert done.code == 0 and is_whole(bucket, folder), done
    assert sorted(times_sent(server).values()) == [1] * (PARTS - 1) + [2], server.told()


def test_F11_a_server_that_takes_its_time_gets_every_part_once(berth, server, bucket, folder):
    server.rule(op="part", nth=1, take_at=1 << 20, gate="later")
    server.rule(op="part", nth=2, hold="later")
    server.rule(op="part", delay_ms=50)
    server.rule(op="complete", nth=1, delay_ms=1000)
    with berth.start(*command(server, folder), env=KEYS) as process:
        server.wait(lambda: len([r for r in server.log if r.op == "part" and (r.done or r.received)]) >= 3)
        server.release("later")
        assert process.wait(60) == 0, process.stderr.read()
    assert is_whole(bucket, folder) and set(times_sent(server).values()) == {1}, server.told()
    assert len(server.asked(op="complete")) == 1


def test_F10_refusals_for_a_while_are_outlasted_and_not_stormed(berth, server, bucket, folder):
    server.rule(op="part", seconds=5, status=503, code="SlowDown")
    done = publish(berth, server, folder)
    assert done.code == 0 and is_whole(bucket, folder), done
    refused, tries = server.asked(op="part", status=503), 10
    assert len(refused) <= (PARTS - 1) * 2 * tries, server.told()
    assert len(server.asked(op="part", status=200)) == PARTS and len(server.asked(op="create")) == 1


@pytest.mark.parametrize("status, code", [(503, "SlowDown"), (429, "TooManyRequests")])
def test_F10_retry_after_is_waited_for(berth, server, bucket, folder, status, code):
    wait = 2
    server.rule(op="part", nth=[1, 2], status=status, code=code, headers={"Retry-After": str(wait)})
    done = publish(berth, server, folder)
    assert done.code == 0 and is_whole(bucket, folder), done
    for refused in server.asked(op="part", status=status):
        again = [r.at for r in server.asked(op="part") if r.query == refused.query and r.at > refused.at]
        assert again and min(again) - refused.at >= wait - 0.01, server.told()
    assert sorted(times_sent(server).values())[:PARTS - 2] == [1] * (PARTS - 2), server.told()


def test_F10_a_server_that_stays_busy_is_an_error_in_the_end_and_nothing_stays(berth, server, bucket, folder):
    server.rule(op="create", status=503, code="SlowDown")
    done = publish(berth, server, folder, xfer__patience="3s")
    assert done.code == 1 and "slow down" in done.errors and bucket.objects == {} and bucket.uploads == {}, done
    assert len(server.asked(op="create")) <= 60, server.told()


@pytest.mark.parametrize("cut", [{"truncate": 40}, {"short": 40}, {"truncate": 0}], ids=["cut off", "cut short", "empty"])
def test_F12_a_completion_whose_answer_is_broken_is_looked_at_not_believed(berth, server, bucket, folder, cut):
    server.rule(op="complete", nth=1, **cut)
    done = publish(berth, server, folder)
    assert done.code == 0 and is_whole(bucket, folder) and bucket.uploads == {}, done
    assert set(times_sent(server).values()) == {1} and [r.status for r in server.asked(op="complete")] in ([200], [200, 404]), server.told()
    assert server.asked(op="head"), server.told()


def test_F12_a_creation_whose_answer_is_cut_off_is_asked_again(berth, server, bucket, folder):
    """Nobody knows the first upload's id then; `--abort-stale` finds it."""
    server.rule(op="create", nth=1, truncate=40)
    done = publish(berth, server, folder)
    assert done.code == 0 and is_whole(bucket, folder) and set(times_sent(server).values()) == {1}, done
    assert len(bucket.uploads) == 1 and all(not parts for _, parts in bucket.uploads.values())
    swept = berth("publish", "--abort-stale", f"s3://b/r/,opt=endpoint={server.url}", env=KEYS)
    assert swept.code == 0 and bucket.uploads == {} and is_whole(bucket, folder), swept


def test_F12_a_part_that_gets_no_ETag_fails_the_upload_and_leaves_nothing(berth, server, bucket, folder):
    server.rule(op="part", nth="3-", without=("ETag",))
    done = publish(berth, server, folder)
    assert done.code == 1 and "no ETag" in done.errors and bucket.objects == {} and bucket.uploads == {}, done


def test_F12_a_server_that_goes_away_is_an_error_that_names_it(berth, server, bucket, folder):
    server.rule(op="part", nth="2-", hold="never")
    with berth.start(*command(server, folder, xfer__patience="3s", xfer__stall="3s"), env=KEYS) as process:
        server.wait(lambda: len([r for r in server.log if r.op == "part"]) >= 3)
        server.stop()
        errors = process.stderr.read().decode()
        assert process.wait(120) == 1 and "127.0.0.1" in errors and "part" in errors, errors


def test_an_upload_that_is_interrupted_while_it_is_created_is_undone(berth, server, bucket, folder):
    """Its id is in the answer, so the answer is waited for."""
    server.rule(op="create", nth=1, hold="later")
    with berth.start(*command(server, folder), env=KEYS) as process:
        server.wait(lambda: [r for r in server.log if r.op == "create"])
        process.terminate()
        server.release("later")
        assert process.wait(60) == 143, process.stderr.read()
    assert bucket.uploads == {} and server.asked(op="abort") and not server.asked(op="part"), server.told()
