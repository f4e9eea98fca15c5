"""Writable inputs: a private copy by reflink, overlay or plain copying, on each file system that this machine can mount."""
import hashlib
import itertools
import json
import os
import pathlib
import signal
import subprocess

import pytest

from conftest import Berth, bacalhau, nosana, resource
from lab import Engine, read_until, snapshot_of

FILES = {"a.txt": b"alpha\n", "sub/b.txt": b"beta\n", "big.bin": os.urandom(3 << 20), "none": b""}
SCRIBBLE = ("cd /data && echo more >> a.txt && rm sub/b.txt && echo new > sub/new.txt && chmod 600 big.bin && mv none nil && "
            "dd if=/dev/zero of=big.bin bs=1 count=1 conv=notrunc 2>/dev/null && cat a.txt && ls sub")
IMAGE_BYTES = 400 << 20
# Before 320 MB mkfs.xfs refuses; the file systems that share blocks, and what is expected on each of them.
KINDS = {"ext4": ("overlay", ["mkfs.ext4", "-q", "-F"]), "xfs": ("reflink", ["mkfs.xfs", "-q", "-m", "reflink=1"]),
         "xfs-plain": ("overlay", ["mkfs.xfs", "-q", "-m", "reflink=0"]), "btrfs": ("reflink", ["mkfs.btrfs", "-q"]),
         "tmpfs": ("overlay", None)}


def mount(kind, tmp_path):
    """Mounts a new file system below tmp_path; skips the test where this machine cannot."""
    at, make = tmp_path / "disk", KINDS[kind][1]
    at.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    if make is None:
        argv = ["mount", "-t", "tmpfs", "-o", "size=200m", "none", at]
    else:
        image = tmp_path / "disk.img"
        with open(image, "wb") as f:
            f.truncate(IMAGE_BYTES)
        try:
            subprocess.run([*make, image], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as e:
            pytest.skip(f"{make[0]}: {getattr(e, 'stderr', e)}")
        argv = ["mount", "-t", kind.split("-")[0], "-o", "loop", image, at]
    done = subprocess.run(argv, capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"{kind} cannot be mounted here: {done.stderr.decode()}")
    return at


@pytest.fixture(params=KINDS)
def disk(request, tmp_path):
    """(folder on a file system of that kind, how a writable copy should come to be there)"""
    at = mount(request.param, tmp_path)
    yield at, KINDS[request.param][0]
    subprocess.run(["umount", "-l", at], check=True)


@pytest.fixture
def bucket(s3):
    name = s3.bucket()
    s3.fill(name, {f"d/{k}": v for k, v in FILES.items()})
    return name


def job_of(s3, bucket, cmd, writable=True):
    return nosana([resource(f"{s3.endpoint}/{bucket}/d/", user=s3, allowWrite=writable)], cmd)


class Runner:
    def __init__(self, berth, engine):
        self.berth, self.engine, self.count = berth, engine, itertools.count()

    def argv(self, job, n):
        return ["run", "--engine", self.engine, "--no-progress", "--results", f"results{n}", self.berth.job(job, f"job{n}.json")]

    def __call__(self, job):
        n = next(self.count)
        result = self.berth(*self.argv(job, n))
        record = self.berth.cwd / f"results{n}/berth.json"
        result.record = json.loads(record.read_bytes()) if record.exists() else None
        return result

    def start(self, job, **more):
        return self.berth.start(*self.argv(job, next(self.count)), **more)


@pytest.fixture
def runner(berth, engine):
    return Runner(berth, engine)


def mounts_below(path):
    lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if line.split()[4].startswith(str(path))]


def blobs_of(cache):
    return snapshot_of(cache / "blobs")


def runs_of(cache):
    return [p.name for p in (cache / "runs").iterdir()] if (cache / "runs").exists() else []


def test_F25_a_job_writes_to_its_own_copy_on_every_file_system(runner, s3, bucket, disk):
    at, how = disk
    runner.berth.env["BERTH_CACHE_DIR"] = str(at / "cache")
    runner.berth.cache = at / "cache"
    first = runner(job_of(s3, bucket, SCRIBBLE))
    assert first.code == 0 and first.text == "alpha\nmore\nnew.txt\n", first
    assert first.record["inputs"][0]["writable_by"] == how
    before = blobs_of(at / "cache")
    second = runner(job_of(s3, bucket, SCRIBBLE))
    assert second.code == 0 and second.text == first.text, "the second job sees the original"
    reader = runner(job_of(s3, bucket, "cd /data; cat a.txt sub/b.txt; sha256sum big.bin; ls", writable=False))
    assert reader.text == f"alpha\nbeta\n{hashlib.sha256(FILES['big.bin']).hexdigest()}  big.bin\na.txt\nbig.bin\nnone\nsub\n"
    assert blobs_of(at / "cache") == before
    assert mounts_below(at / "cache") == [] and runs_of(at / "cache") == []


def test_F25_whoever_the_container_runs_as_may_write(runner, s3, bucket, engine):
    image = Engine(engine).image("localhost/nobody:latest", "USER 65534:65534")
    job = job_of(s3, bucket, "cd /data && id -u && echo x >> a.txt && echo y > sub/new && rm sub/b.txt && echo z >> big.bin")
    job["ops"][0]["args"]["image"] = image
    result = runner(job)
    assert result.code == 0 and result.text == "65534\n", result


def test_an_engine_that_sees_no_mounts_of_berth_gets_a_copy(berth, one_engine, s3, bucket):
    """In a mount namespace of its own, berth's overlay would be an empty folder to the engine."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    runner = Runner(berth, one_engine)
    argv, env = berth.command(*runner.argv(job_of(s3, bucket, SCRIBBLE), 0))
    done = subprocess.run(["unshare", "--mount", *argv], env=env, cwd=berth.cwd, capture_output=True, timeout=120)
    assert done.returncode == 0 and done.stdout == b"alpha\nmore\nnew.txt\n", done
    record = json.loads((berth.cwd / "results0/berth.json").read_bytes())
    assert record["inputs"][0]["writable_by"] in ("copy", "reflink")


def test_merged_inputs_are_writable_as_a_whole(runner, s3, bucket):
    one = resource(f"{s3.endpoint}/{bucket}/d/", user=s3, allowWrite=True)
    two = resource(f"{s3.endpoint}/{bucket}/d/sub/", target="/data/more", user=s3)
    result = runner(nosana([one, two], "cd /data && echo x >> a.txt && echo y >> more/b.txt && cat more/b.txt && ls"))
    assert result.code == 0 and result.text == "beta\ny\na.txt\nbig.bin\nmore\nnone\nsub\n", result


def test_what_a_killed_run_left_mounted_is_swept_by_the_next(runner, s3, bucket, tmp_path):
    at = mount("ext4", tmp_path)
    try:
        runner.berth.env["BERTH_CACHE_DIR"] = str(at / "cache")
        p = runner.start(job_of(s3, bucket, "echo ready; while :; do sleep 1; done"))
        read_until(p.stdout, b"ready")
        left = mounts_below(at / "cache")
        assert len(left) == 1 and left[0].endswith("/rw0/tree")
        p.send_signal(signal.SIGKILL)
        p.wait()
        assert mounts_below(at / "cache") == left
        assert runner(job_of(s3, bucket, "true", writable=False)).code == 0
        assert mounts_below(at / "cache") == [] and runs_of(at / "cache") == []
    finally:
        subprocess.run(["umount", "-R", "-l", at], check=True)
