"""F13: berth killed by SIGKILL at any instant of a download."""
import hashlib
import os
import random
import subprocess

import pytest

from conftest import bacalhau, s3_input
from faults.kit import PART, fetch, marked_parts, part_of, ranges, server, source, wait_until  # noqa: F401 (a fixture)

PARTS = 5
SIZE = (PARTS - 1) * PART + 12_345


def wanted_length(part):
    return min(PART, SIZE - part * PART)


def on_disk(folder, pattern="*.map"):
    """Parts that the partial file below `folder` has, by its map."""
    maps = list(folder.rglob(pattern))
    return marked_parts(maps[0]) if maps else set()


def let_through(server, rng):
    """Rules that let some parts come whole and stop the others, one at least, at some byte. Returns the former."""
    whole = set(rng.sample(range(PARTS), rng.randrange(PARTS - 1)))
    for part in set(range(PARTS)) - whole:
        server.rule(op="get", last=part * PART + wanted_length(part) - 1, until="killed", gate="killed",
                    hold_at=rng.randrange(1, wanted_length(part)))
    return whole


def all_are_stuck(server, whole, had=frozenset()):
    """Every part that berth had not was asked for; each is there whole, or stopped where it was told to."""
    stops = {part_of(r.last): r.hold_at for r in server.rules}
    sent = {part_of(r.range[0]): r.sent for r in server.log if r.op == "get"}
    missing = set(range(PARTS)) - had
    return set(sent) == missing and all(sent[p] >= (wanted_length(p) if p in whole else stops[p]) for p in missing)


def kill_one(berth, server, argv, rng, kept_in, had=frozenset()):
    """Start berth and kill it: once it stands still and has noted what came, or at some byte on the way there."""
    whole, process = let_through(server, rng), berth.start(*argv)
    ended = lambda: process.poll() is not None
    try:
        if rng.random() < 0.5:
            server.wait(lambda: all_are_stuck(server, whole, had) or ended())
            wait_until(lambda: on_disk(kept_in) == whole | had or ended())
        else:
            some = rng.randrange(SIZE // 2)
            server.wait(lambda: server.sent(op="get") >= some or all_are_stuck(server, whole, had) or ended())
        assert not ended(), process.communicate()
    finally:
        process.kill()
        process.communicate(timeout=30)
    server.release("killed")
    server.wait(lambda: server.active == 0)


@pytest.mark.parametrize("instant", range(20))
def test_F13_after_kill_9_a_restart_fetches_only_what_is_missing(berth, server, instant):
    rng = random.Random(instant)
    o = server.put("b", "d/x.bin", size=SIZE)
    kill_one(berth, server, ["fetch", source(server), "out"], rng, berth.cwd / "out")
    assert not (berth.cwd / "out/in/x.bin").exists(), "a part of a file was visible"
    had = on_disk(berth.cwd / "out")

    server.forget()
    got = fetch(berth, server)
    assert got.code == 0 and got.has("x.bin", o.now), got
    assert {part_of(first) for first, _ in ranges(server)} == set(range(PARTS)) - had
    assert server.sent(op="get") == sum(wanted_length(p) for p in set(range(PARTS)) - had)
    assert not (berth.cwd / "out/.berth-partial").exists()


def test_F13_parts_that_have_come_are_recorded_before_the_kill(berth, server):
    """Three of five parts come, the others stand still: the map says so while berth still runs."""
    o = server.put("b", "d/x.bin", size=SIZE)
    for part in (1, 3):
        server.rule(op="get", last=(part + 1) * PART - 1, until="killed", gate="killed", hold_at=PART // 3)
    process = berth.start("fetch", source(server), "out")
    try:
        server.wait(lambda: all_are_stuck(server, {0, 2, 4}))
        wait_until(lambda: on_disk(berth.cwd / "out") == {0, 2, 4})
    finally:
        process.kill()
        process.communicate(timeout=30)
    server.release("killed")
    server.wait(lambda: server.active == 0)

    server.forget()
    got = fetch(berth, server)
    assert got.code == 0 and got.has("x.bin", o.now), got
    assert {part_of(first) for first, _ in ranges(server)} == {1, 3}


def test_F13_what_was_kept_of_an_older_version_is_not_used_for_a_newer_one(berth, server):
    o = server.put("b", "d/x.bin", size=SIZE)
    kill_one(berth, server, ["fetch", source(server), "out"], random.Random(99), berth.cwd / "out")
    server.forget()
    o.change()
    got = fetch(berth, server)
    assert got.code == 0 and got.has("x.bin", o.now), got
    assert server.sent(op="get") == SIZE


@pytest.mark.parametrize("etag", ["none", "weak"])
def test_F13_what_says_no_version_is_begun_anew(berth, server, etag):
    """Of equal size, and not a byte of the older one in it."""
    o = server.put("b", "d/x.bin", size=SIZE, etag=etag)
    server.rule(op="get", last=SIZE - 1, until="killed", gate="killed", hold_at=1)
    process = berth.start("fetch", source(server), "out")
    server.wait(lambda: server.sent(op="get") > (PARTS - 1) * PART or process.poll() is not None)
    process.kill()
    process.communicate(timeout=30)
    server.release("killed")
    o.change()
    got = fetch(berth, server)
    assert got.code == 0 and got.has("x.bin", o.now), got


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a mount namespace")
def test_F13_parts_of_another_boot_of_the_machine_are_fetched_again(berth, server):
    """After a power cut, marks may have reached the disk and their bytes not; here is no digest that would tell."""
    o = server.put("b", "d/x.bin", size=SIZE, etag='"v1"')
    boot = berth.cwd / "boot_id"
    boot.write_text("00000000-1111-2222-3333-444444444444\n")
    kill_one(berth, server, ["fetch", source(server), "out"], random.Random(99), berth.cwd / "out")
    data = next(p for p in (berth.cwd / "out" / ".berth-partial").iterdir() if p.suffix != ".map")
    data.write_bytes(bytes(data.stat().st_size))
    argv, env = berth.command("fetch", source(server), "out")
    done = subprocess.run(["unshare", "-m", "sh", "-c", f'mount --bind {boot} /proc/sys/kernel/random/boot_id && exec "$@"', "sh", *argv],
                          env=env, cwd=berth.cwd, capture_output=True, timeout=60)
    assert done.returncode == 0 and (berth.cwd / "out" / "in" / "x.bin").read_bytes() == o.now.content.read(), done


def test_F13_a_run_that_is_killed_again_and_again_ends_with_the_whole_input(berth, server, one_engine):
    """Through the cache and a real engine: five kills, and no part that was kept is fetched again."""
    rng = random.Random(5)
    o = server.put("b", "d/x.bin", size=SIZE)
    job = berth.job(bacalhau([s3_input("b", "d/x.bin", Endpoint=server.url)], "sha256sum /data/x.bin"))
    had = set()
    for attempt in range(5):
        kill_one(berth, server, ["run", "--engine", one_engine, "--results", f"killed-{attempt}", job], rng,
                 berth.cache / "partial", had)
        assert not {part_of(first) for first, _ in ranges(server)} & had, "a part that was kept was asked for again"
        had = on_disk(berth.cache / "partial")
        server.forget()
        server.gates.clear()
    result = berth("run", "--engine", one_engine, "--results", "out", job)
    assert result.code == 0, result
    assert (berth.cwd / "out/stdout").read_text().split()[0] == hashlib.sha256(o.now.content.read()).hexdigest()
    assert {part_of(first) for first, _ in ranges(server)} == set(range(PARTS)) - had
    assert list((berth.cache / "partial").iterdir()) == []
