"""Runs under a seeded schedule of kills, stops, cuts and a full disk, and what must hold after each of them.

BERTH_CRASH_ROUNDS (20) and BERTH_CRASH_SEED (1) say how many and which; a failure names its round. What holds: a run that
ends well has the right bytes, one that does not ends by its kill or with an error; the cache is sound, once it was repaired;
nothing half-made is visible; nothing outside of the cache and the results is touched; and an undisturbed run at the end gives
what a fresh one would."""
import hashlib
import os
import random
import shutil
import signal
import subprocess

import pytest

from conftest import bacalhau, s3_input
from faults.kit import PART, server  # noqa: F401 (a fixture)
from lab import Engine, snapshot_of

ROUNDS = int(os.environ.get("BERTH_CRASH_ROUNDS", "20"))
SEED = int(os.environ.get("BERTH_CRASH_SEED", "1"))
SIZES = {"empty": 0, "one": 1, "small": 300_000, "part": PART, "parts": 2 * PART + 4711}
SUMS = "cd /data && sha256sum *"
DISK_BYTES = 24 << 20  # room for the objects of one round, not for those of two


class World:
    """Objects that change, one cache that all rounds share, and a folder that nobody may touch."""

    def __init__(self, berth, server, engine, rng):
        self.berth, self.server, self.engine, self.rng = berth, server, engine, rng
        self.objects = {name: server.put("b", f"d/{name}", size=size) for name, size in SIZES.items()}
        self.job = berth.job(bacalhau([s3_input("b", "d/", Endpoint=server.url)], SUMS))
        self.canary = berth.cwd / "canary"
        (self.canary / "sub").mkdir(parents=True)
        for name in ("a", "sub/b"):
            (self.canary / name).write_bytes(rng.randbytes(1000))
        (self.canary / "link").symlink_to("sub/b")
        self.untouched = snapshot_of(self.canary)

    def expected(self):
        return "".join(f"{hashlib.sha256(o.now.content.read()).hexdigest()}  {name}\n" for name, o in sorted(self.objects.items()))

    def results(self, number):
        return self.berth.cwd / f"results-{number}"

    def start(self, number):
        return self.berth.start("run", "--engine", self.engine, "--results", self.results(number), self.job)

    def change_something(self):
        name = self.rng.choice(["small", "part", "parts", None])
        if name:
            self.objects[name].change()

    def some_bytes(self, process):
        """Wait until berth has got so far, or has ended."""
        until = self.rng.randrange(sum(SIZES.values()))
        self.server.wait(lambda: self.server.sent(op="get") >= until or process.poll() is not None)


def killed(world, process):
    world.some_bytes(process)
    process.kill()
    process.communicate(timeout=60)
    return {0, -signal.SIGKILL}


def stopped_for_a_while(world, process):
    """SIGSTOP, then on again: its peers, threads and clocks have moved meanwhile."""
    for _ in range(world.rng.randrange(1, 4)):
        world.some_bytes(process)
        if process.poll() is None:
            process.send_signal(signal.SIGSTOP)
            process.send_signal(signal.SIGCONT)
    return {0}


def killed_while_stopped(world, process):
    world.some_bytes(process)
    if process.poll() is None:
        process.send_signal(signal.SIGSTOP)
    process.kill()
    process.communicate(timeout=60)
    return {0, -signal.SIGKILL}


def interrupted(world, process):
    world.some_bytes(process)
    process.send_signal(signal.SIGTERM)
    return {0, 143}


def cut(world, process):
    """Resets somewhere in the bodies that follow."""
    for nth in range(1, 1 + world.rng.randrange(1, 4)):
        world.server.rule(op="get", nth=nth, reset=world.rng.randrange(1, PART))
    return {0}


def undisturbed(world, process):
    return {0}


FAULTS = [killed, stopped_for_a_while, killed_while_stopped, interrupted, cut, undisturbed]


def check(world, number, process, allowed):
    out, err = process.communicate(timeout=120)
    assert process.returncode in allowed, err.decode()
    results = world.results(number)
    code = (results / "exitCode").read_text() if (results / "exitCode").exists() else None
    if process.returncode == 0 or code == "0":  # written last: the rest is there, even if the kill came right behind
        assert code == "0" and (results / "stdout").read_text() == world.expected()
    else:
        assert code in (None, str(process.returncode))
    shutil.rmtree(results, ignore_errors=True)
    assert snapshot_of(world.canary) == world.untouched
    if (world.berth.cache / "VERSION").exists():
        world.berth("cache", "verify", "--repair")
        sound = world.berth("cache", "verify")
        assert sound.code == 0, sound


@pytest.fixture
def small_cache(berth):
    berth.cache.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", berth.cache], check=True)
    yield berth.cache
    subprocess.run(["umount", "-l", berth.cache], check=True)


def play(world, rounds, faults, also=frozenset()):
    for number in range(rounds):
        fault = world.rng.choice(faults)
        world.change_something()
        world.server.forget()
        process = world.start(number)
        try:
            allowed = fault(world, process)
            check(world, number, process, allowed | also)
        except AssertionError as e:
            raise AssertionError(f"round {number} of seed {SEED}, {fault.__name__}: {e}") from e
        finally:
            process.kill()
            world.server.rules.clear()


def end(world):
    process = world.start("last")
    check(world, "last", process, {0})
    collected = world.berth("cache", "gc", "--all")  # parts of versions that are gone
    assert collected.code == 0, collected
    assert [p.name for p in (world.berth.cache / "partial").iterdir()] == []
    assert list((world.berth.cache / "views").iterdir()) == []


def test_crash_schedules_cost_work_and_nothing_else(berth, server, one_engine):
    before = Engine(one_engine).containers()
    world = World(berth, server, one_engine, random.Random(SEED))
    play(world, ROUNDS, FAULTS)
    end(world)
    assert set(Engine(one_engine).containers()) <= set(before), "a container was left behind"


def test_crash_schedules_on_a_disk_that_is_too_small(berth, server, one_engine, small_cache):
    """125: no room. What was fetched for others may go, what a run needs may not fit."""
    world = World(berth, server, one_engine, random.Random(SEED + 1))
    play(world, max(1, ROUNDS // 4), [killed, cut, undisturbed], also={125})
