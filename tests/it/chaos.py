"""Many short jobs while everything they need is killed, frozen and restarted by a seeded schedule; then the books are checked.

What must hold at the end, seen over REST alone: every job that was acknowledged is there, once, and succeeded; each of its
executions moved only as the rules allow, under ever growing epochs, and has exactly one committed result; engines hold
no container, the object store one archive for each job that published, of the attempt that was committed."""
import collections
import concurrent.futures
import heapq
import io
import itertools
import json
import random
import subprocess
import tarfile
import threading
import time

from fleet import JOBS, PATIENCE, eventually, tiny_job

POSTERS = 6
READERS = 8
SUPERVISED_S = 0.5
SLOTS = 4
PUBLISHING = 20  # one job in so many
LARGE = 400      # one in so many publishes more than one part; the S3 server keeps all of them in memory
LARGE_BYTES = 9 << 20
SEVERAL = 30     # one in so many has three executions
BUSY = 0.6       # share of the nodes' time that the jobs take, were nobody disturbed

HELD = ("claimed", "staging", "running", "publishing")
ENDS = {"succeeded", "failed", "stopped", "timed_out"}
MOVES = {"queued": {"claimed", "stopped", "timed_out", "expired"},
         **{state: {"queued", *HELD[i + 1:]} | ENDS for i, state in enumerate(HELD)}}


class Schedule:
    """Does harm until it is told to stop, then undoes it. What kind of it comes when follows from the seed alone; to whom, and
    for how long, also from who is there to be harmed."""

    def __init__(self, fleet, kinds, rng, lease_s, every_s):
        self.fleet, self.rng, self.lease_s, self.every_s = fleet, rng, lease_s, every_s
        self.kinds, self.order = [k for k in ALL_KINDS if k in kinds], random.Random(rng.random())
        self.all_kinds_done = threading.Event()
        self.done, self.over, self.later, self.number = collections.Counter(), threading.Event(), [], itertools.count()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.down, self.aside, self.error = set(), {}, None  # killed by us; what takes its time, by process

    def start(self):
        self.thread.start()

    def stop(self):
        self.over.set()
        self.thread.join()
        if self.error:
            raise self.error

    def script(self):
        """Kinds with the pauses after them, in rounds that have each kind once."""
        while True:
            for kind in self.order.sample(self.kinds, len(self.kinds)):
                yield kind, self.order.expovariate(1 / self.every_s)
            self.all_kinds_done.set()

    def run(self):
        try:
            following, script = time.monotonic(), self.script()
            kind, pause = next(script)
            while not self.over.is_set():
                if time.monotonic() >= following:
                    following = time.monotonic() + pause
                    if self.do(kind):
                        kind, pause = next(script)
                self.undo(time.monotonic())
                self.supervise()
                due = min([following, time.monotonic() + SUPERVISED_S] + [at for at, _, _ in self.later[:1]])
                self.over.wait(max(0, due - time.monotonic()))
            for waiting in self.aside.values():
                waiting.join()
            self.undo(float("inf"))
            self.supervise()
        except Exception as e:  # told by stop()
            self.error = e

    def do(self, kind):
        """Whether there was anybody to do it to."""
        if not getattr(self, kind)():
            return False
        self.done[kind] += 1
        self.note(kind)
        return True

    def note(self, text):
        with open(self.fleet.folder / "schedule.log", "a", encoding="utf-8") as out:
            out.write(f"{time.time():.3f} {text}\n")

    def supervise(self):
        """What a service manager does: who gives up with an error, as servers do that start without their database, comes back."""
        for p in [*self.fleet.servers, *(n.process for n in self.fleet.nodes)]:
            if p.alive or p in self.down or self.is_aside(p):
                continue
            assert p.popen.returncode == 1, f"{p.name} died with {p.popen.returncode}:\n{p.tail()}"
            self.done["start again after an error"] += 1
            self.note(f"supervise {p.name}")
            p.start()

    def is_aside(self, process):
        return process in self.aside and self.aside[process].is_alive()

    def undo(self, now):
        while self.later and self.later[0][0] <= now:
            heapq.heappop(self.later)[2]()

    def after(self, seconds, what):
        heapq.heappush(self.later, (time.monotonic() + seconds, next(self.number), what))
        return True

    def one_of(self, processes):
        up = [p for p in processes if p.alive and not p.frozen and not self.is_aside(p)]
        return self.rng.choice(up) if up else None

    def kill(self, process, longest_s):
        if not process:
            return False
        self.note(f"kill {process.name}")
        self.down.add(process)
        process.kill()

        def again():
            process.start()
            self.down.discard(process)
        return self.after(self.rng.uniform(0, longest_s), again)

    def freeze(self, process, longest_s):
        if not process:
            return False
        self.note(f"freeze {process.name}")
        process.freeze()
        return self.after(self.rng.uniform(0, longest_s), process.thaw)

    def end(self, process):
        if not process:
            return False

        def again():
            began = time.monotonic()
            if process.end() is None:
                self.done["did not end when asked"] += 1
            self.note(f"{process.name} ended after {time.monotonic() - began:.1f} s")
            process.start()
        self.note(f"end {process.name}")
        return self.beside(process, again)

    def beside(self, process, what):
        """What takes its time must not keep others from coming back."""
        self.aside[process] = threading.Thread(target=what, daemon=True)
        self.aside[process].start()
        return True

    def nodes(self):
        return self.one_of([n.process for n in self.fleet.nodes])

    def kill_node(self):
        return self.kill(self.nodes(), 2 * self.lease_s)

    def freeze_node(self):
        return self.freeze(self.nodes(), 3 * self.lease_s)

    def end_node(self):
        return self.end(self.nodes())

    def kill_server(self):
        return self.kill(self.one_of(self.fleet.servers), self.lease_s)

    def freeze_server(self):
        return self.freeze(self.one_of(self.fleet.servers), self.lease_s)

    def end_server(self):
        return self.end(self.one_of(self.fleet.servers))

    def restart_database(self):
        database = self.one_of([self.fleet.database])

        def again():
            database.crash()
            database.start()
        return database is not None and self.beside(database, again)

    def cut_connections(self):
        self.fleet.database.cut_connections()
        return True


NODE_KINDS = ("kill_node", "freeze_node", "end_node")
SERVER_KINDS = ("kill_server", "freeze_server", "end_server")
DATABASE_KINDS = ("restart_database", "cut_connections")
ALL_KINDS = NODE_KINDS + SERVER_KINDS + DATABASE_KINDS


class Chaos:
    """One run over a fleet that is up. `s3` (conftest.S3) and `bucket`: where a part of the jobs publishes; None: none does."""

    def __init__(self, fleet, jobs, seed, seconds, kinds=ALL_KINDS, lease_s=3, every_s=1.0, s3=None, bucket=None):
        self.fleet, self.jobs, self.s3, self.bucket, self.seconds = fleet, jobs, s3, bucket, seconds
        self.rng = random.Random(seed)
        kinds = [k for k in kinds if fleet.database or k not in DATABASE_KINDS]
        self.schedule = Schedule(fleet, kinds, random.Random(self.rng.random()), lease_s, every_s)
        self.posted, self.violations, self.counts = {}, [], collections.Counter()
        self.wall, self.over = 0.0, False

    # ---- Posting

    def publishes(self, i):
        return self.s3 is not None and i % PUBLISHING == 0

    @staticmethod
    def executions(i):
        return 3 if i % SEVERAL == 1 else 1

    def definition(self, i):
        mean_ms = 1000 * BUSY * self.seconds * SLOTS * len(self.fleet.nodes) / self.jobs
        script = {"out": f"job {i}\n", "ms": int(random.Random(f"{i}").uniform(0, 2 * mean_ms))}
        if not self.publishes(i):
            return tiny_job(script, count=self.executions(i))
        script["files"] = {"/outputs/number": f"{i}\n"}
        if i % LARGE == 0:
            script["fill"] = {"/outputs/large": LARGE_BYTES}
        return tiny_job(script, results="/outputs")

    def post(self, i):
        more = {}
        if self.publishes(i):
            more = {"publish": f"s3://{self.bucket}/results/{{jobID}}",
                    "credentials": {"access_key_id": self.s3.access, "secret_access_key": self.s3.secret, "region": self.s3.region}}
        self.posted[i] = self.fleet.post(self.definition(i), key=f"job-{i}", first=i, **more)["id"]

    # ---- The run

    def run(self):
        began = time.monotonic()
        self.schedule.start()
        try:
            with concurrent.futures.ThreadPoolExecutor(POSTERS) as pool:
                for _ in pool.map(self.post, range(self.jobs)):
                    pass
            self.await_end(began + 2 * self.seconds)
            self.schedule.all_kinds_done.wait(PATIENCE)
        finally:
            self.schedule.stop()
        self.await_end(None)
        self.wall = time.monotonic() - began
        self.settle()
        self.check()
        self.farewell()
        self.over = True

    def await_end(self, until):
        """Until nothing is queued or running; or until then. Without an end: as long as something moves."""
        def left():
            queue = self.fleet.poster.get(f"/api/markets/{self.fleet.market}")["market"]["queue"]
            return queue["queued"] + queue["running"]
        last, moved = None, time.monotonic()
        while (now_left := left()) and (until is None or time.monotonic() < until):
            if now_left != last:
                last, moved = now_left, time.monotonic()
            if until is None and time.monotonic() - moved > self.fleet.poster.patience:
                self.violations.append(f"{now_left} jobs do not come to an end")
                return
            time.sleep(0.2)

    def settle(self):
        """Everybody is there again, so nobody died of itself; nodes clean up what killed ones left, and end."""
        self.fleet.await_nodes()
        self.violations += [f"{s.name} died:\n{s.tail()}" for s in self.fleet.servers if not s.alive]
        for n in self.fleet.nodes:
            self.left(n)
        for n in self.fleet.nodes:
            if n.process.end() != 0:
                self.violations.append(f"{n.name} did not end well:\n{n.process.tail()}")

    def left(self, node):
        try:
            eventually("no container to be left", lambda: node.engine_says()["alive"] == 0)
        except AssertionError:
            self.violations.append(f"{node.name}: its engine still holds {node.engine_says()['alive']} containers")
        self.counts["containers"] += node.engine_says()["started"]

    def farewell(self):
        """Servers end as well as nodes did, and nobody's sanitizer had a word to say."""
        for s in self.fleet.servers:
            if s.end() != 0:
                self.violations.append(f"{s.name} did not end well:\n{s.tail()}")
        for log in self.fleet.folder.glob("*.log"):
            text = log.read_text(errors="replace")
            for word in ("Sanitizer", "runtime error:"):
                if word in text:
                    self.violations.append(f"{log.name}: {text[max(0, text.index(word) - 200):][:2000]}")

    # ---- The books

    def check(self):
        listed = [j["id"] for j in self.fleet.poster.pages(f"{JOBS}?market={self.fleet.market}&limit=500", "jobs")]
        wanted = set(self.posted.values())
        if len(wanted) != self.jobs:
            self.violations.append(f"{self.jobs} keys gave {len(wanted)} jobs")
        if lost := wanted - set(listed):
            self.violations.append(f"{len(lost)} acknowledged jobs are lost, such as {min(lost)}")
        if len(listed) != len(set(listed)) or set(listed) - wanted:
            self.violations.append(f"{len(listed)} jobs are listed where {len(wanted)} were posted")
        with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
            for bad, counts in pool.map(self.check_job, self.posted.items()):
                self.violations += bad
                self.counts.update(counts)
        if self.s3:
            self.check_store()

    def check_job(self, posted):
        number, job_id = posted
        found = self.fleet.job(job_id, "history", "executions")
        results = self.fleet.poster.get(f"{JOBS}/{job_id}/results")["results"]
        bad, counts = [], collections.Counter()
        if len(found["executions"]) != self.executions(number):
            bad.append(f"{job_id} has {len(found['executions'])} executions")
        if found["job"]["state"] != "succeeded":
            bad.append(f"{job_id} is {found['job']['state']}: {found['job']['reason']}")
        for x in found["executions"]:
            rows = [r for r in found["history"] if r["index"] == x["index"]]
            bad += [f"{job_id}/{x['index']}: {b}" for b in check_history(rows, x)]
            counts["executions"] += 1
            counts["attempts"] += x["attempt"]
            counts["back in the queue"] += sum(r["to"] == "queued" for r in rows)
            counts["lease losses"] += sum(r["to"] == "queued" and "lease" in r["reason"] for r in rows)
        if [(r["index"], r["exit_code"]) for r in results] != [(x["index"], 0) for x in found["executions"]]:
            bad.append(f"{job_id} has not one result for each execution: {results}")
        if self.publishes(number):
            bad += self.check_archive(number, job_id, results)
        return bad, counts

    def check_archive(self, number, job_id, results):
        """The object is that of the attempt whose result was committed, not of one that came late."""
        published = results[0].get("published") or {} if results else {}
        if published.get("Type") != "s3":
            return [f"{job_id} was to publish and says {results}"]
        params = published["Params"]
        body = self.s3.client.get_object(Bucket=params["Bucket"], Key=params["Key"])["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as tar:
            record = json.load(tar.extractfile("berth.json"))
            said = tar.extractfile("outputs/outputs/number").read().decode()
        if said != f"{number}\n" or record["id"] != job_id:
            return [f"{job_id}: its archive is of job {record['id']} and says {said!r}"]
        if record["attempt"] != results[0]["attempt"]:
            return [f"{job_id}: attempt {results[0]['attempt']} was committed, and attempt {record['attempt']} lies there"]
        return []

    def check_store(self):
        client = self.s3.client
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix="results/")
        keys = [o["Key"] for page in pages for o in page.get("Contents", [])]
        of_job = collections.Counter(k.split("/")[1].split(".")[0] for k in keys)
        wanted = {job: 1 for i, job in self.posted.items() if self.publishes(i)}
        if of_job != wanted:
            odd = {k: (of_job.get(k, 0), wanted.get(k, 0)) for k in set(of_job) | set(wanted) if of_job.get(k, 0) != wanted.get(k, 0)}
            self.violations.append(f"objects that are published, and that should be: {odd}")
        self.counts["archives"] = len(keys)
        self.check_uploads()

    def check_uploads(self):
        """Who is killed between the beginning of an upload and telling the server its id leaves one that nobody knows. Only
        attempts that were cut off may; and what clears them away clears all."""
        def unfinished():
            return self.s3.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        for upload in unfinished():
            job_id = upload["Key"].split("/")[1].split(".")[0]
            if all(x["attempt"] == 1 for x in self.fleet.job(job_id, "executions")["executions"]):
                self.violations.append(f"{job_id} was tried once, and left an upload that is neither completed nor aborted")
            self.counts["uploads that a killed node left"] += 1
        env = {**self.fleet.env(self.fleet.folder), **self.s3.env}
        subprocess.run([self.fleet.berth, "publish", "--abort-stale", "--older-than", "0s", f"s3://{self.bucket}/results/"], env=env,
                       check=True, capture_output=True, timeout=PATIENCE)
        if left := unfinished():
            self.violations.append(f"{len(left)} uploads could not be cleared away")

    @property
    def passed(self):
        return self.over and not self.violations

    @property
    def verdict(self):
        return "each job has exactly one result" if self.passed else f"{len(self.violations)} violations" if self.over else "not over"

    def figures(self):
        """What was done, in the columns of docs/chaos.md."""
        done, counts = self.schedule.done, self.counts
        return {"jobs": self.jobs, "executions": counts["executions"], "attempts": counts["attempts"],
                "nodes killed": done["kill_node"], "servers killed": done["kill_server"],
                "nodes frozen": done["freeze_node"], "servers frozen": done["freeze_server"],
                "nodes and servers ended": done["end_node"] + done["end_server"],
                "database restarts": done["restart_database"], "connections cut": done["cut_connections"],
                "posts repeated": self.fleet.poster.failures, "seconds": round(self.wall)}

    def report(self):
        figures = self.figures()
        others = {k: n for k, n in sorted({**self.schedule.done, **self.counts}.items()) if k not in (*ALL_KINDS, *figures)}
        lines = [*(f"{n:8} {what}" for what, n in {**figures, **others}.items()),
                 *(f"VIOLATION {v}" for v in self.violations[:50]),
                 f"verdict: {self.verdict}"]
        return "\n".join(lines)


def check_history(rows, execution):
    """What is wrong with one execution's moves, in words."""
    state, epoch, attempt = "queued", 0, 0
    for r in sorted(rows, key=lambda r: r["seq"]):
        if r["from"] != state or r["to"] not in MOVES.get(state, ()):
            yield f"moved from {r['from']} to {r['to']} while {state}"
        if r["to"] == "claimed":
            if r["epoch"] <= epoch:
                yield f"claimed under epoch {r['epoch']} after {epoch}"
            if r["attempt"] != attempt + 1:
                yield f"attempt {r['attempt']} follows {attempt}"
            epoch, attempt = r["epoch"], r["attempt"]
        elif r["epoch"] != epoch:
            yield f"moved to {r['to']} under epoch {r['epoch']}, claimed under {epoch}"
        state = r["to"]
    if state != execution["state"] or epoch != execution["epoch"]:
        yield f"is {execution['state']} under epoch {execution['epoch']}, its history says {state} under {epoch}"
