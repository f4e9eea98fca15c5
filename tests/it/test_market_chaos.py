"""F37, F38, F39: a market whose servers, nodes and database die at any moment. `tools/chaos` is the long run of the same."""
import errno

import pytest

import chaos
import fleet
from conftest import BERTH

LEASE_S = 2


@pytest.fixture
def market():
    """A fleet as it is asked for; gone after the test."""
    up = []

    def start(nodes=4, s3=None, slots=chaos.SLOTS, lease_s=LEASE_S, **more):
        f = fleet.Fleet(BERTH, lease=f"{lease_s}s", **more)
        up.append(f)
        f.start(max_attempts=100)
        for i in range(nodes):
            # Half of them know the load balancer, half one server.
            f.add_node("--slots", slots, url=f.url if i % 2 == 0 else f.urls[i // 2 % len(f.urls)],
                       env={"BERTH_S3_ENDPOINT": s3.endpoint} if s3 else None)
        f.await_nodes()
        return f
    yield start
    for f in up:
        f.close()


def survive(f, jobs, seconds, seed, s3=None, every_s=0.5, **more):
    run = chaos.Chaos(f, jobs, seed, seconds, lease_s=LEASE_S, every_s=every_s, s3=s3, bucket=s3.bucket() if s3 else None, **more)
    run.run()
    print(run.report())
    assert run.passed, run.report()
    assert set(run.schedule.kinds) <= set(run.schedule.done)
    return run


def test_F37_servers_killed_at_random_lose_nothing_and_do_nothing_twice(market):
    survive(market(), 80, 3, seed=37, every_s=1, kinds=chaos.SERVER_KINDS)


def test_F37_one_of_two_servers_is_enough(market):
    """Nodes and clients that know a load balancer don't notice; what runs goes on."""
    f = market(nodes=0, lease_s=20)  # no busy machine keeps a node from renewing that
    for _ in range(2):
        f.add_node("--slots", 4)
    f.await_nodes()
    running = [f.post(fleet.tiny_job({"out": "late\n", "ms": 3000}), key=f"r{i}")["id"] for i in range(4)]
    fleet.eventually("the jobs to run", lambda: not {f.job(j)["job"]["state"] for j in running} & {"queued", "claimed", "staging"})
    f.servers[0].kill()
    after = [f.post(fleet.tiny_job({"ms": 10}), key=f"a{i}", first=i)["id"] for i in range(20)]
    ended = [f.await_end(j) for j in running + after]
    assert {j["state"] for j in ended} == {"succeeded"}
    attempts = [x["attempt"] for j in running for x in f.job(j, "executions")["executions"]]
    assert attempts == [1] * len(running), "a server that is gone is no reason to run a job again"


def test_F38_a_database_that_restarts_and_cuts_connections_loses_no_acknowledged_job(market):
    survive(market(), 80, 3, seed=38, every_s=1, kinds=chaos.DATABASE_KINDS)


def fill(folder):
    """Leaves not a byte on a file system."""
    path = folder / "balloon"
    with open(path, "ab", buffering=0) as out:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    out.write(b"\0" * size)
            except OSError as e:
                assert e.errno == errno.ENOSPC
    return path


def posts_until_refused(f, limit=20000):
    """Acknowledged job ids, by key, up to the first refusal, which is a clean one."""
    acknowledged = {}
    for i in range(limit):
        body = {"version": 1, "market": f.market, "definition": fleet.tiny_job({"out": "x" * 4000})}
        try:
            acknowledged[f"d{i}"] = f.poster.once(f.poster.hosts[0], "POST", fleet.JOBS, body, f"d{i}")["job"]["id"]
        except fleet.Refused as e:
            assert e.status in (500, 503) and e.answer["error"]["message"], e
            assert "sqlite" not in e.answer["error"]["message"].lower(), "a stranger learns nothing of the database"
            return acknowledged, f"d{i}"
    raise AssertionError("the disk did not become full")


def check_recovery(f, acknowledged, refused):
    """The refused post goes through when it is repeated; all that were acknowledged come to their end."""
    again = f.post(fleet.tiny_job({"out": "x" * 4000}), key=refused)["id"]
    f.add_node("--slots", 4)
    for job_id in [*acknowledged.values(), again]:
        assert f.await_end(job_id)["state"] == "succeeded"
    listed = [j["id"] for j in f.poster.pages(f"{fleet.JOBS}?limit=500", "jobs")]
    assert sorted(listed) == sorted([*acknowledged.values(), again])


@pytest.fixture
def disk():
    with fleet.small_disk("64m") as path:
        yield path


def test_F38_a_full_disk_refuses_cleanly_and_keeps_what_was_acknowledged(disk, market):
    f = market(nodes=0, servers=1, db="sqlite", state=disk / "state")
    first = f.post(fleet.tiny_job({}), key="first")["id"]
    balloon = fill(disk)
    acknowledged, refused = posts_until_refused(f)
    assert f.job(first)["job"]["state"] == "queued", "reading needs no space"
    f.servers[0].kill()
    balloon.unlink()
    f.servers[0].start()
    check_recovery(f, {"first": first, **acknowledged}, refused)


def test_F38_a_full_disk_under_postgresql_refuses_cleanly_and_keeps_what_was_acknowledged(disk, market):
    f = market(nodes=0, database=disk / "db")
    balloon = fill(disk)
    acknowledged, refused = posts_until_refused(f)
    balloon.unlink()
    f.database.start()  # it may have ended itself for want of space for its log
    check_recovery(f, acknowledged, refused)


def test_F39_many_short_jobs_under_the_whole_schedule_have_one_result_each(market, s3):
    run = survive(market(s3=s3), 100, 4, seed=39, s3=s3)
    assert run.counts["archives"] == 100 // chaos.PUBLISHING


def test_F39_one_server_on_sqlite_survives_the_same(market):
    survive(market(servers=1, db="sqlite"), 80, 3, seed=40)


def row(epoch, state, to, attempt=1):
    return {"seq": 0, "epoch": epoch, "attempt": attempt, "from": state, "to": to}


WELL = [row(1, "queued", "claimed"), row(1, "claimed", "queued"), row(2, "queued", "claimed", 2), row(2, "claimed", "running", 2),
        row(2, "running", "succeeded", 2)]


@pytest.mark.parametrize("rows, wrong", [
    (WELL, None),
    (WELL[:4], "its history says running"),
    (WELL + [row(2, "succeeded", "queued", 2)], "moved from succeeded to queued"),
    (WELL + [row(2, "running", "succeeded", 2)], "while succeeded"),
    ([*WELL[:2], row(1, "queued", "claimed", 2), *WELL[3:]], "claimed under epoch 1 after 1"),
    ([*WELL[:4], row(1, "running", "succeeded", 2)], "under epoch 1, claimed under 2"),
    ([*WELL[:2], row(2, "queued", "claimed", 4), *WELL[3:]], "attempt 4 follows 1"),
    ([row(1, "queued", "running"), *WELL[3:]], "moved from queued to running")])
def test_the_books_find_what_is_wrong(rows, wrong):
    rows = [{**r, "seq": i} for i, r in enumerate(rows)]
    found = list(chaos.check_history(rows, {"state": "succeeded", "epoch": 2}))
    assert any(wrong in f for f in found) if wrong else not found, found
