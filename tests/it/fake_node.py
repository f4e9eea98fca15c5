#!/usr/bin/python3
"""A node that runs nothing, in the words of docs/api.md alone: what a server is, seen by a stranger's client.

    fake_node.py node start --server URL --market M --token-file FILE --state-dir DIR [--name NAME] [--slots N]

It understands the jobs of the tiny engine (`out`, `ms`, `exit` of the variable TINY), sends their output as logs, asks for
leave to commit, and finishes them. It keeps its id and token in DIR, fences itself by its lease, and ends by TERM."""
import argparse
import base64
import json
import pathlib
import signal
import threading
import time
import uuid

from fleet import Client, Refused


def boot_s():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def script_of(claim):
    """The job's TINY variable, wherever the definition has its environment."""
    def find(value):
        if isinstance(value, dict):
            if "TINY" in value and isinstance(value["TINY"], str):
                return json.loads(value["TINY"])
            value = list(value.values())
        if isinstance(value, list):
            return next(filter(None, map(find, value)), None)
        return None
    return find(claim["definition"]) or {}


class Node:
    def __init__(self, args):
        self.args, self.state = args, pathlib.Path(args.state_dir)
        self.state.mkdir(parents=True, exist_ok=True)
        self.held, self.mu, self.over, self.heartbeat_s = {}, threading.Condition(), threading.Event(), 1
        known = self.state / "node.json"
        if known.exists():
            mine = json.loads(known.read_text())
            self.id, token = mine["id"], mine["token"]
        else:
            self.id, token = f"fake-{uuid.uuid4().hex[:12]}", pathlib.Path(args.token_file).read_text().strip()
        self.client = Client([args.server], token, patience=3600)
        answer = self.call("hello", name=args.name, market=args.market, slots=args.slots, labels={},
                           info={"version": "fake", "engine": "none", "os": "linux", "arch": "x86_64", "cpus": 64,
                                 "memory_bytes": 1 << 36, "disk_bytes": 1 << 40, "gpus": []}, public_key=None, peer=None)
        self.heartbeat_s = answer["heartbeat_ms"] / 1000
        if answer.get("token"):
            new = known.with_suffix(".new")
            new.write_text(json.dumps({"id": self.id, "token": answer["token"]}))
            new.rename(known)
            self.client = Client([args.server], answer["token"], patience=3600)

    def call(self, what, **body):
        return self.client.call("POST", f"/api/v1/node/{what}", {"version": 1, "node": self.id, **body})

    def about(self, claim, what, **body):
        return self.call(what, job=claim["job"], index=claim["index"], epoch=claim["epoch"], **body)

    def beat(self):
        while not self.over.wait(self.heartbeat_s):
            asked = boot_s()
            with self.mu:
                running = [{"job": j, "index": i, "epoch": e, "state": h["state"]} for (j, i, e), h in self.held.items()]
            answer = self.call("heartbeat", running=running, ready=True, readiness="", cache={"bytes": 0, "max_bytes": 0, "free_bytes": 0})
            with self.mu:
                for r in answer["renewed"]:
                    if h := self.held.get((r["job"], r["index"], r["epoch"])):
                        h["until"] = max(h["until"], asked + r["lease_ms"] / 1000)
                for r in answer["lost"]:
                    self.held.pop((r["job"], r["index"], r["epoch"]), None)
                self.mu.notify_all()

    def mine(self, key):
        with self.mu:
            return key in self.held and boot_s() < self.held[key]["until"]

    def run(self, claim, key):
        script = script_of(claim)
        try:
            with self.mu:
                self.held[key]["state"] = "running"
                self.mu.wait_for(lambda: key not in self.held, script.get("ms", 0) / 1000)
            if not self.mine(key):
                return
            if out := script.get("out"):
                self.about(claim, "logs", stream=1, offset=0, data=base64.b64encode(out.encode()).decode())
            self.about(claim, "commit")
            code = script.get("exit", 0)
            self.about(claim, "finish", outcome="failed" if code else "succeeded", exit_code=code, reason="", published=None,
                       record={"berth": 1}, retry=False)
        except Refused as e:
            if e.status != 409:
                raise
        finally:
            with self.mu:
                self.held.pop(key, None)
                self.mu.notify_all()

    def work(self):
        beat = threading.Thread(target=self.beat, daemon=True)
        # Claims come to nodes that are ready, and readiness is told by a heartbeat.
        self.call("heartbeat", running=[], ready=True, readiness="", cache={"bytes": 0, "max_bytes": 0, "free_bytes": 0})
        beat.start()
        while not self.over.is_set():
            with self.mu:
                self.mu.wait_for(lambda: len(self.held) < self.args.slots or self.over.is_set())
                free = self.args.slots - len(self.held)
            asked = boot_s()
            for claim in self.call("claim", free=free, wait_ms=2000, holds=[])["claims"] if free else ():
                key = claim["job"], claim["index"], claim["epoch"]
                with self.mu:
                    self.held[key] = {"state": "claimed", "until": asked + claim["lease_ms"] / 1000}
                threading.Thread(target=self.run, args=(claim, key), daemon=True).start()

    def end(self, *_):
        self.over.set()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs=2)
    for name in ("server", "market", "token-file", "state-dir"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--name", default="fake")
    parser.add_argument("--slots", type=int, default=1)
    node = Node(parser.parse_args())
    signal.signal(signal.SIGTERM, node.end)
    node.work()


if __name__ == "__main__":
    main()
