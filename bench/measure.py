"""Whole processes, timed honestly: wall clock, CPU of the process and what it waited for, peak RSS of the process (by GNU time); runs of all tools in turn,
so that a machine whose speed drifts drifts for all of them alike."""
import dataclasses
import os
import shutil
import statistics
import subprocess
import time


@dataclasses.dataclass
class Run:
    wall: float
    cpu: float
    rss_mib: float
    spoke: float = 0  # when the first byte came to its standard output, where that is wanted


@dataclasses.dataclass
class Tool:
    name: str
    argv: list
    env: dict = dataclasses.field(default_factory=dict)
    version: str = ""
    before: object = None  # called before every run, not timed
    check: object = None   # called after every run; raises where the result is wrong
    cwd: str = "/"
    ok: tuple = (0,)
    speaks: bool = False   # whether its first output is waited for


def once(tool, out_dir, timeout=600):
    shutil.rmtree(out_dir, ignore_errors=True)
    os.makedirs(out_dir)
    if tool.before:
        tool.before()
    env = {**os.environ, **tool.env}
    start = time.monotonic()
    with open("/dev/null", "r+b") as null, open(f"{out_dir}.log", "wb") as log:
        # The peak of a child counts its parent's memory at the fork: so the parent is a small one, which reports it.
        argv = ["/usr/bin/time", "-q", "-o", f"{out_dir}.rss", "-f", "%M", *(str(a) for a in tool.argv)]
        p = subprocess.Popen(argv, env=env, stdin=null, stdout=subprocess.PIPE if tool.speaks else log, stderr=log, cwd=tool.cwd,
                             start_new_session=True)
        # A tool that hangs is killed, and its run is a failure.
        killer = subprocess.Popen(["sh", "-c", f"sleep {timeout}; kill -9 -{p.pid}"], start_new_session=True)
        spoke = 0
        if tool.speaks:
            with p.stdout:
                log.write(p.stdout.read(1))
                spoke = time.monotonic() - start
                shutil.copyfileobj(p.stdout, log)
        _, status, usage = os.wait4(p.pid, 0)
        wall = time.monotonic() - start
        p.returncode = os.waitstatus_to_exitcode(status)
        os.killpg(killer.pid, 9)
        killer.wait()
    if p.returncode not in tool.ok:
        with open(f"{out_dir}.log", "rb") as log:
            tail = log.read()[-400:].decode(errors="replace")
        raise RuntimeError(f"{tool.name}: exit {p.returncode}: {tail}")
    if tool.check:
        tool.check()
    with open(f"{out_dir}.rss", encoding="utf-8") as f:
        rss_kib = int(f.read().split()[-1])
    return Run(wall, usage.ru_utime + usage.ru_stime, rss_kib / 1024, spoke)


SLOW_SECONDS = 15


def alternate(tools, out_dir, rounds, warm_up=1):
    """{name: [Run, …]}, A B C A B C …; a tool that fails is left out and its reason kept. One that is far slower than what is
    measured here (SLOW_SECONDS) keeps its first run as its only one."""
    runs, failed, slow = {t.name: [] for t in tools}, {}, set()
    for r in range(-warm_up, rounds):
        for t in tools:
            if t.name in failed or t.name in slow:
                continue
            try:
                result = once(t, out_dir)
            except (RuntimeError, OSError, AssertionError) as e:
                failed[t.name] = str(e)
                continue
            if r < 0 and result.wall > SLOW_SECONDS:
                slow.add(t.name)
            if r >= 0 or t.name in slow:
                runs[t.name].append(result)
    shutil.rmtree(out_dir, ignore_errors=True)
    return {k: v for k, v in runs.items() if v and k not in failed}, failed


def median(runs, what):
    return statistics.median(getattr(r, what) for r in runs)


def ratio(a, b, what):
    """Median of the ratios pair by pair: what drifts hits both halves of a pair."""
    return statistics.median(getattr(x, what) / max(getattr(y, what), 1e-9) for x, y in zip(a, b))


def spread(runs, what):
    values = [getattr(r, what) for r in runs]
    return min(values), max(values)
