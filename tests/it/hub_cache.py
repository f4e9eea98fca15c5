"""A reader of the Hub's own cache, by its documentation ("Understand caching" of huggingface_hub): refs lead to commits, files of
snapshots are links to blobs, which are named by their ETags and are what takes room.

    repo = scan(folder)["models--owner--name"]       # every rule is asserted on the way
    repo.find("main", "config.json").read_bytes()"""
import hashlib
import os
import pathlib

from hub_server import Lfs, git_blob


def etag(content):
    return hashlib.sha256(content).hexdigest() if isinstance(content, Lfs) else git_blob(content)


class CachedRepo:
    def __init__(self, at):
        kind, _, name = at.name.partition("--")
        assert kind in ("models", "datasets", "spaces") and name, at
        assert {p.name for p in at.iterdir()} <= {"refs", "blobs", "snapshots"}, at
        self.at = at
        self.refs = {str(p.relative_to(at / "refs")): p.read_text() for p in (at / "refs").rglob("*") if p.is_file()}
        self.blobs = {p.name: p for p in (at / "blobs").iterdir()} if (at / "blobs").exists() else {}
        self.snapshots = {p.name: self.files(p) for p in (at / "snapshots").iterdir()}
        assert set(self.refs.values()) <= set(self.snapshots), "a ref leads to no snapshot"
        for name, path in self.blobs.items():
            body = path.read_bytes()
            assert path.is_file() and not path.is_symlink() and name in (etag(body), etag(Lfs(body))), path

    def files(self, snapshot):
        """{path: the blob's name}"""
        found = {}
        for p in snapshot.rglob("*"):
            if p.is_dir() and not p.is_symlink():
                continue
            path = p.relative_to(snapshot)
            assert p.is_symlink(), f"{p} is no link"
            assert os.readlink(p) == "../" * (len(path.parts) + 1) + "blobs/" + p.resolve().name, p
            assert p.resolve() == self.blobs[p.resolve().name].resolve(), p
            found[str(path)] = p.resolve().name
        return found

    @property
    def size(self):
        return sum(p.stat().st_size for p in self.blobs.values())

    def find(self, revision, filename):
        """What a client does that may not go online: the path, or None."""
        path = self.at / "snapshots" / self.refs.get(revision, revision) / filename
        return path if path.is_file() else None

    def holds(self, revision, files):
        """That the revision holds these files and no others."""
        commit = self.refs.get(revision, revision)
        assert self.snapshots[commit] == {path: etag(body) for path, body in files.items()}
        assert {path: self.find(revision, path).read_bytes() for path in files} == files


def scan(folder):
    return {p.name: CachedRepo(p) for p in pathlib.Path(folder).iterdir()}
