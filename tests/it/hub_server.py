"""A hub on loopback that keeps to the documented API of the Hugging Face Hub, to the header, and counts what it is asked.

    with Hub() as hub:
        repo = hub.repo("models", "owner/name")
        repo.commit({"config.json": b"{}", "model.bin": Lfs(b"…")})          # to "main"; gives the commit
        env = {"HF_ENDPOINT": hub.url}

Documented at: Hub API Endpoints (revision, tree, resolve), Rate limits, Storage limits, Gated models, and huggingface_hub's
"Download files". Files in large file storage are redirected to storage (`hub.storage`), which has another host name than the hub:
"localhost" and "127.0.0.1". What goes wrong is said by rules: hub.rule(path="/api/", status=503, times=2)."""
import dataclasses
import functools
import hashlib
import http.server
import json
import re
import socketserver
import threading
import urllib.parse

KINDS = {"models": "", "datasets": "datasets/", "spaces": "spaces/"}
PAGE_LENGTH = 1000
TOKEN_REFUSED = "Invalid credentials in Authorization header"


def git_blob(content):
    h = hashlib.sha1(b"blob %d\0" % len(content))
    h.update(content)
    return h.hexdigest()


class Lfs(bytes):
    """Content kept in large file storage. What tells it apart is computed once: it is asked for with every request."""

    @functools.cached_property
    def sha256(self):
        return hashlib.sha256(self).hexdigest()

    @functools.cached_property
    def xet(self):
        return hashlib.sha256(b"xet" + self.sha256.encode()).hexdigest()

    @functools.cached_property
    def blob(self):
        return git_blob(self)


def blob_of(content):
    return content.blob if isinstance(content, Lfs) else git_blob(content)


class Repo:
    """One repository. `gated`: its tree is public, its files are for `readers`. `private`: nothing is there for others."""

    def __init__(self, hub, kind, name, private=False, gated=False, readers=()):
        self.hub, self.kind, self.name, self.private, self.gated, self.readers = hub, kind, name, private, gated, set(readers)
        self.commits, self.refs, self.listed, self.renamed_to, self.disabled = {}, {}, {}, None, False

    def commit(self, files, ref="main", keep=False):
        """A commit of exactly these files (keep: on top of those of `ref`); its id is made of its content and its parent."""
        parent = self.refs.get(ref, "")
        tree = {**(self.commits[parent] if keep and parent else {}), **files}
        tree = {p: c for p, c in tree.items() if c is not None}
        told = json.dumps([parent, sorted((p, blob_of(c)) for p, c in tree.items())])
        sha = hashlib.sha1(told.encode()).hexdigest()
        self.commits[sha] = tree
        self.refs[ref] = sha
        self.hub.objects.update({c.sha256: c for c in tree.values() if isinstance(c, Lfs)})
        return sha

    def find(self, revision):
        return self.refs.get(revision) or (revision if revision in self.commits else None)

    def entries(self, sha):
        if sha not in self.listed:
            self.listed[sha] = self.list(sha)
        return self.listed[sha]

    def list(self, sha):
        tree, told = self.commits[sha], []
        folders = {p[:i] for p in tree for i, c in enumerate(p) if c == "/"}
        for path in sorted(tree.keys() | folders):
            if path in tree:
                content = tree[path]
                entry = {"type": "file", "oid": blob_of(content), "size": len(content), "path": path}
                if isinstance(content, Lfs):
                    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{content.sha256}\nsize {len(content)}\n"
                    entry["oid"] = git_blob(pointer.encode())
                    entry["lfs"] = {"oid": content.sha256, "size": len(content), "pointerSize": len(pointer)}
                    entry["xetHash"] = content.xet
                told.append(entry)
            else:
                told.append({"type": "directory", "oid": git_blob(path.encode()), "size": 0, "path": path})
        return told


@dataclasses.dataclass
class Rule:
    """What happens to the next `times` requests (None: all) that match, after the first `skip` of them."""
    path: str = ""
    method: str | None = None
    host: str | None = None
    status: int | None = None
    headers: dict = dataclasses.field(default_factory=dict)
    body: bytes = b""
    times: int | None = None
    skip: int = 0
    do: object = None       # called with the request first
    damage: bool = False    # one bit of the body is flipped
    cut: int | None = None  # the connection ends after so many bytes of the body
    entries: object = None  # a function of a tree's entries
    seen: int = 0

    def applies(self, asked):
        if self.path not in asked.target or self.method not in (None, asked.method) or self.host not in (None, asked.host):
            return False
        self.seen += 1
        return self.seen > self.skip and (self.times is None or self.seen <= self.skip + self.times)


NOTHING = Rule()


@dataclasses.dataclass
class Asked:
    method: str
    host: str
    target: str
    headers: dict
    status: int = 0
    sent: int = 0

    def __post_init__(self):
        self.path, _, query = self.target.partition("?")
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, client_address):
        pass  # a client that went away


class Hub:
    """`tokens` maps a token to its user. `prefix` is a path that the hub lives below."""

    def __init__(self, prefix=""):
        self.repos, self.objects, self.tokens, self.rules, self.log, self.mu = {}, {}, {}, [], [], threading.Lock()
        self.prefix, self.page_length = prefix, PAGE_LENGTH
        self.server = Server(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": self}))
        self.port = self.server.server_address[1]

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    @property
    def storage(self):
        return f"http://localhost:{self.port}"

    def repo(self, kind, name, **options):
        self.repos[kind, name] = Repo(self, kind, name, **options)
        return self.repos[kind, name]

    def rename(self, repo, name):
        moved = self.repo(repo.kind, name)
        moved.commits, moved.refs, repo.renamed_to = repo.commits, repo.refs, name
        return moved

    def rule(self, **fields):
        r = Rule(**fields)
        with self.mu:
            self.rules.append(r)
        return r

    def forget(self):
        with self.mu:
            self.log, self.rules = [], []

    def asked(self, part="", host=None, method=None):
        with self.mu:
            return [a for a in self.log if part in a.target and host in (None, a.host) and method in (None, a.method)]

    @property
    def downloads(self):
        """Answers that carried the bytes of a file."""
        return [a for a in self.asked(method="GET") if a.status in (200, 206) and ("/resolve/" in a.path or a.host == "localhost")]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    hub = None

    def log_message(self, *_):
        pass

    # ---- answering ----

    def answer(self, status, body=b"", headers=None, of=None):
        """`of`: the whole content, of which a range may be asked."""
        headers = dict(headers or {})
        if of is not None:
            body, total = of, len(of)
            m = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            headers["Accept-Ranges"] = "bytes"
            if m and int(m[1]) < total:
                first, last = int(m[1]), min(int(m[2] or total - 1), total - 1)
                status, body = 206, of[first:last + 1]
                headers["Content-Range"] = f"bytes {first}-{last}/{total}"
        if self.rule.damage and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        self.asked.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.rule.cut is not None:
            body = body[:self.rule.cut]
            self.close_connection = True
        self.wfile.write(body)
        self.asked.sent = len(body)

    def say(self, status, value, headers=None):
        self.answer(status, json.dumps(value).encode(), {"Content-Type": "application/json; charset=utf-8", **(headers or {})})

    def refuse(self, status, code, message):
        headers = {"X-Error-Message": message}
        if code:
            headers["X-Error-Code"] = code
        self.say(status, {"error": message}, headers)

    # ---- who ----

    def user(self):
        """None: anonymous; False: a token that nobody has."""
        word, _, token = self.headers.get("Authorization", "").partition(" ")
        return self.hub.tokens.get(token, False) if word == "Bearer" else None

    def may_see(self, repo, user):
        return repo and (not repo.private or (user and user in repo.readers))

    # ---- where ----

    def handle_any(self):
        host = self.headers.get("Host", "").partition(":")[0]
        self.asked = Asked(self.command, host, self.path, {k.lower(): v for k, v in self.headers.items()})
        with self.hub.mu:
            self.hub.log.append(self.asked)
            self.rule = next((r for r in self.hub.rules if r.applies(self.asked)), NOTHING)
        if self.rule.do:
            self.rule.do(self.asked)
        if self.rule.status:
            return self.answer(self.rule.status, self.rule.body, self.rule.headers)
        path = urllib.parse.unquote(self.asked.path)
        if host == "localhost":
            return self.storage(path)
        if not self.asked.path.startswith(self.hub.prefix + "/"):
            return self.refuse(404, None, "Not Found")
        raw = self.asked.path[len(self.hub.prefix):]
        m = re.fullmatch(r"/api/(models|datasets|spaces)/([^/]+/[^/]+)/(revision|tree)/([^/]+)", raw)
        if m:
            return self.repository(m[1], m[2], lambda repo: getattr(self, m[3])(repo, urllib.parse.unquote(m[4])), m[0])
        m = re.fullmatch(r"/(?:(datasets|spaces)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", raw)
        if m:
            there = (urllib.parse.unquote(m[3]), urllib.parse.unquote(m[4]))
            return self.repository(m[1] or "models", m[2], lambda repo: self.resolve(repo, *there), m[0])
        return self.refuse(404, None, "Not Found")

    do_GET = do_HEAD = handle_any

    def repository(self, kind, name, then, path):
        user, repo = self.user(), self.hub.repos.get((kind, name))
        if user is False:
            return self.refuse(401, None, TOKEN_REFUSED)
        if repo and repo.renamed_to:
            query = self.path.partition("?")[2]
            return self.answer(307, headers={"Location": self.hub.prefix + path.replace(name, repo.renamed_to, 1) + ("?" + query if query else "")})
        if not self.may_see(repo, user):
            return self.refuse(404 if user else 401, "RepoNotFound", "Repository not found" if user else "Invalid username or password.")
        if repo.disabled:
            return self.refuse(403, "DisabledRepo", "Access to this resource is disabled.")
        return then(repo)

    # ---- the API ----

    def revision(self, repo, revision):
        sha = repo.find(revision)
        if not sha:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return self.say(200, {"_id": "0" * 24, "id": repo.name, "sha": sha, "private": repo.private, "gated": "auto" if repo.gated else False,
                              "siblings": [{"rfilename": p} for p in sorted(repo.commits[sha])]}, {"X-Repo-Commit": sha})

    def tree(self, repo, revision):
        sha = repo.find(revision)
        if not sha:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        entries = repo.entries(sha)
        if self.asked.query.get("recursive") != "true":
            entries = [e for e in entries if "/" not in e["path"]]
        if self.rule.entries:
            entries = self.rule.entries(entries)
        first = int(self.asked.query.get("cursor", 0))
        page, headers = entries[first:first + self.hub.page_length], {}
        if first + self.hub.page_length < len(entries):
            query = urllib.parse.urlencode({**self.asked.query, "cursor": first + self.hub.page_length})
            headers["Link"] = f'<{self.hub.url}{self.asked.path[len(self.hub.prefix):]}?{query}>; rel="next"'
        if "Link" in self.rule.headers:
            headers["Link"] = self.rule.headers["Link"]
        return self.say(200, page, headers)

    def resolve(self, repo, revision, path):
        user, sha = self.user(), repo.find(revision)
        if repo.gated and user not in repo.readers:
            text = f"Access to model {repo.name} is restricted" + (" and you are not in the authorized list." if user else ". You must be authenticated to access it.")
            return self.refuse(403 if user else 401, "GatedRepo", text)
        if not sha:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        content = repo.commits[sha].get(path)
        if content is None:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": sha, "ETag": f'"{blob_of(content)}"'}
        if not isinstance(content, Lfs):
            return self.answer(200, headers=headers, of=content)
        oid = content.sha256
        where = f"{self.hub.storage}/repos/{urllib.parse.quote(repo.kind + '/' + repo.name)}/{oid}?Signature=s%2Fx&Expires=1"
        headers |= {"X-Linked-ETag": f'"{oid}"', "X-Linked-Size": str(len(content)), "Location": where, "X-Xet-Hash": "f" * 64,
                    "Link": f'<{self.hub.url}/api/{repo.kind}/{repo.name}/xet-read-token/{sha}>; rel="xet-auth"'}
        headers.update({k: v for k, v in self.rule.headers.items() if k.startswith("X-Linked")})
        return self.answer(302, f"Found. Redirecting to {where}".encode(), headers)

    def storage(self, path):
        """Signed addresses of GETs: no token is wanted there, and a HEAD is refused."""
        m = re.fullmatch(r"/repos/(models|datasets|spaces)/(.+)/([0-9a-f]{64})", path)
        if not m or self.command != "GET" or "Signature" not in self.asked.query:
            return self.answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        if m[3] in self.hub.objects:
            return self.answer(200, headers={"ETag": f'"{m[3][:32]}"'}, of=self.hub.objects[m[3]])
        return self.answer(403, b"<Error><Code>AccessDenied</Code></Error>")


if __name__ == "__main__":
    import sys
    with Hub() as here:
        here.repo("models", "demo/tiny").commit({"config.json": b"{}\n", "model.bin": Lfs(bytes(range(256)) * 4096)})
        print(here.url, flush=True)
        sys.stdin.read()
