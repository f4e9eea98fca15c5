"""A HuggingFace repository of many files, on the same nginx: canned answers of the hub's API (revision, pages of the tree, resolve)."""
import hashlib
import json
import os
import statistics

from measure import Tool, alternate, once, ratio

PAGE = 1000
REPO = "bench/many"


class Hub:
    def __init__(self, bench, rounds, count, size):
        self.b, self.rounds, self.count, self.size = bench, rounds, count, size
        self.folder = bench.www / "hub"
        self.files = self.folder / "files"

    def write(self):
        """All files, and a commit that has them."""
        self.files.mkdir(parents=True)
        block = os.urandom(self.size)
        self.oids = {}
        for i in range(self.count):
            self.put(f"f{i:06d}", i.to_bytes(8, "big") + block[8:])
        self.commit()

    def put(self, name, content):
        (self.files / name).write_bytes(content)
        self.oids[name] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def commit(self):
        sha = hashlib.sha1(json.dumps(self.oids).encode()).hexdigest()
        entries = [{"type": "file", "oid": oid, "size": self.size, "path": name} for name, oid in sorted(self.oids.items())]
        pages = [entries[at:at + PAGE] for at in range(0, len(entries), PAGE)]
        for n, page in enumerate(pages):
            (self.folder / f"tree-{n}.json").write_text(json.dumps(page))
        (self.folder / "revision.json").write_text(json.dumps({"id": REPO, "sha": sha}))
        self.configure(sha, len(pages))

    def configure(self, sha, pages):
        def following(n):
            address = f"{self.b.url}/api/models/{REPO}/tree/{sha}?recursive=true&expand=false&cursor={n + 1}"
            return f"'<{address}>; rel=\"next\"'" if n + 1 < pages else "''"
        steps = "".join(f"if ($arg_cursor = \"{n}\") {{ set $hub_page {n}; set $hub_next {following(n)}; }}\n" for n in range(1, pages))
        nginx = self.b.nginx_dir()
        (nginx / "extra-hub.conf").write_text(
            f"location = /api/models/{REPO}/revision/main {{ default_type application/json; rewrite ^ /hub/revision.json break; }}\n"
            f"location /api/models/{REPO}/tree/ {{ default_type application/json;\nset $hub_page 0; set $hub_next {following(0)};\n{steps}"
            "add_header Link $hub_next; rewrite ^ /hub/tree-$hub_page.json break; }\n"
            f"location ~ ^/{REPO}/resolve/(?<sha>[0-9a-f]+)/(?<file>[^/]+)$ {{ add_header X-Repo-Commit $sha; rewrite ^ /hub/files/$file break; }}\n")
        self.b.reload_nginx()
        self.sha = sha

    def many_files(self):
        """P4: every file, into an empty folder; the peer has the addresses ready."""
        berth = self.b.fetch("berth", f"hf://{REPO}", env={"HF_ENDPOINT": self.b.url}, check=self.b.expect_size(self.count * self.size))
        addresses = self.b.dir / "hub.urls"
        with open(addresses, "w", encoding="utf-8") as f:
            for name in self.oids:
                f.write(f'url = "{self.b.url}/{REPO}/resolve/{self.sha}/{name}"\noutput = "{self.b.out}/{name}"\n')
        curl = Tool("curl -Z (URLs ready, not verified)", ["curl", "-sS", "-Z", "--parallel-max", "64", "-K", addresses])
        runs, failed = alternate([berth, curl], self.b.out, self.rounds)
        self.b.table(f"P4: a HuggingFace repository of {self.count:,} files of {self.size >> 10} KiB, verified by git's SHA-1", runs, failed, unit_count=self.count)
        gain = 1 / ratio(runs["berth"], runs[curl.name], "wall")
        self.b.verdict("P4 HuggingFace ≥ 0.8 × curl -Z", f"{gain:.2f} ×", gain >= 0.8, "berth lists first, and verifies")
        self.b.say()

    def warm_and_changed(self):
        """P6 and P7: the same repository again, and with one file of it changed."""
        path = self.b.dir / "hub.json"
        path.write_text(json.dumps({"version": "0.1", "type": "container", "ops": [{"id": "hub", "type": "container/run", "args": {
            "image": "localhost/busybox:latest", "cmd": ["true"], "resources": [{"type": "HF", "repo": REPO, "target": "/data"}]}}]}))
        tool = self.b.run_tool("berth run, a warm HuggingFace repository", path, "docker")
        tool.env["HF_ENDPOINT"] = self.b.url
        once(tool, self.b.out)  # cold
        warm, changed = [], []
        for into, change in ((warm, False), (changed, True)):
            for i in range(self.rounds):
                if change:
                    self.put("f000007", bytes([i]) + os.urandom(self.size - 1))
                    self.commit()
                once(tool, self.b.out)
                r = self.b.record()
                into.append((r["phases_ms"]["resolving"], r["phases_ms"]["downloading"], r["inputs"][0]["bytes_received"]))
        ready = statistics.median(w[1] for w in warm)
        self.b.verdict(f"P6 HuggingFace, {self.count:,} files unchanged: ready ≤ 50 ms after the hub's answer", f"{ready:.0f} ms",
                       ready <= 50 and not any(w[2] for w in warm),
                       f"berth.json, median; the hub's answer took {statistics.median(w[0] for w in warm):.0f} ms; {max(w[2] for w in warm)} bytes moved")
        seconds, moved = statistics.median(c[0] + c[1] for c in changed) / 1000, max(c[2] for c in changed)
        self.b.verdict(f"P7 HuggingFace, one of {self.count:,} files changed: only it moves, ≤ 0.5 s", f"{moved} bytes, {seconds:.2f} s",
                       seconds <= 0.5 and moved == self.size, "berth.json, inputs ready, the tree's pages included")
        self.b.say()

    def all(self):
        self.write()
        self.many_files()
        self.warm_and_changed()
