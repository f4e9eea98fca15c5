"""berth publish to a local folder: the files themselves and their manifest, whole or not at all."""
import hashlib
import json
import os
import signal

import pytest

from faults.kit import wait_until


@pytest.fixture
def folder(berth):
    root = berth.cwd / "out"
    (root / "a" / "empty").mkdir(parents=True)
    for name, body in (("plain", b"x" * 1000), ("a/new\nline", b"1"), ("a/ünï ⛵", b""), ("big", os.urandom(20 << 20))):
        (root / name).write_bytes(body)
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "a" / "link").symlink_to("../plain")
    os.utime(root / "plain", ns=(0, 1_600_000_000_123_456_789))
    return root


def publish(berth, folder, to, *flags):
    return berth("publish", "--json", "--no-progress", *flags, folder, f"file://{to},opt=encoding=plain")


def shape(root):
    found = {}
    for path in sorted(root.rglob("*")):
        st = path.lstat()
        found[str(path.relative_to(root))] = (os.readlink(path) if path.is_symlink() else "folder" if path.is_dir() else
                                              (path.read_bytes(), st.st_mode & 0o777, st.st_mtime_ns))
    return found


def test_the_folder_holds_the_files_and_their_manifest(berth, folder):
    to = berth.cwd / "results" / "deep" / "x"
    done = publish(berth, folder, f"{to}/")
    assert done.code == 0, done
    assert done.json["Type"] == "local" and done.json["Params"]["Path"] == str(to), done
    manifest = (to / "manifest.json").read_bytes()
    entries = {e["path"]: e for e in json.loads(manifest)["entries"]}
    (to / "manifest.json").unlink()
    assert shape(to) == shape(folder) and set(entries) == set(shape(folder))
    assert all(e["sha256"] == hashlib.sha256((folder / p).read_bytes()).hexdigest() for p, e in entries.items() if "sha256" in e)
    assert [p.name for p in to.parent.iterdir()] == ["x"]


def test_what_could_do_harm_is_left_out(berth, folder):
    os.mkfifo(folder / "fifo")
    (folder / "shadow").symlink_to("/etc/shadow")
    done = publish(berth, folder, berth.cwd / "x")
    assert done.code == 0 and "fifo: " in done.errors and "shadow: " in done.errors, done
    assert not os.path.lexists(berth.cwd / "x/fifo") and not os.path.lexists(berth.cwd / "x/shadow")


@pytest.mark.parametrize("what", ["folder", "empty folder", "file", "link"])
def test_what_is_there_is_not_replaced(berth, folder, what):
    to = berth.cwd / "x"
    if what == "file":
        to.write_text("mine")
    elif what == "link":
        to.symlink_to("nowhere")
    else:
        to.mkdir()
        if what == "folder":
            (to / "mine").write_text("mine")
    done = publish(berth, folder, to)
    assert done.code == 1 and "there already" in done.errors, done
    assert not os.path.lexists(to / "plain") and sorted(p.name for p in berth.cwd.iterdir()) == ["out", "x"]


def test_a_failure_leaves_nothing(berth, folder):
    done = publish(berth, folder, berth.cwd / "x", "--max-bytes", "1MiB")
    assert done.code == 1 and sorted(p.name for p in berth.cwd.iterdir()) == ["out"], done
    inside = publish(berth, folder, folder / "x")
    assert inside.code == 1 and "inside" in inside.errors and not (folder / "x").exists(), inside
    assert not [p for p in folder.iterdir() if p.name.startswith(".berth")]


def test_a_kill_leaves_nothing_in_its_place(berth, folder):
    for i in range(3000):
        (folder / f"f{i}").write_bytes(b"x" * 2000)
    with berth.start("publish", "--no-progress", folder, f"file://{berth.cwd}/x,opt=encoding=plain") as process:
        wait_until(lambda: any(p.name.startswith(".berth") for p in berth.cwd.iterdir()) or process.poll() is not None)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    assert not (berth.cwd / "x").exists()
    assert publish(berth, folder, berth.cwd / "x").code == 0 and (berth.cwd / "x/manifest.json").exists()
