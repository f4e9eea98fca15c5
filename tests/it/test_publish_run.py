"""What berth run publishes: when, what, and how the next job takes it up."""
import gzip
import io
import json
import signal
import tarfile

import pytest

from conftest import ROOT, bacalhau, nosana
from lab import read_until

WORK = "echo out; echo err >&2; echo result > /outputs/r"
FOREVER = WORK + "; echo ready; while :; do sleep 1; done"
OUTPUTS = {"ResultPaths": [{"Name": "outputs", "Path": "/outputs"}]}


def to(bucket, key="r/{jobID}", **more):
    return {"Publisher": {"Type": "s3", "Params": {"Bucket": bucket, "Key": key, **more}}}


@pytest.fixture
def run(berth, engine, s3):
    def go(job, *options, name="job.json", **more):
        path = berth.job(job, name) if isinstance(job, dict) else job
        return berth("run", "--engine", engine, "-r", "results", *options, path, env=s3.env, **more)
    return go


def record(berth, results="results"):
    return json.loads((berth.cwd / results / "berth.json").read_text())


def archive(s3, params):
    """{path: bytes} of a published archive."""
    body = s3.client.get_object(Bucket=params["Bucket"], Key=params["Key"])["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(body))) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}


@pytest.mark.parametrize("cmd, code, end", [
    (WORK, 0, "exited"), (WORK + "; exit 7", 7, "exited"), ("nothing-of-that-name", 127, None), (FOREVER, 124, "timed_out")])
def test_results_are_published_however_the_container_ended(berth, s3, run, cmd, code, end):
    bucket = s3.bucket()
    job = bacalhau([], cmd, **OUTPUTS, **to(bucket))
    done = run(job, *(["--timeout", "2s", "--stop-grace", "1s"] if code == 124 else []))
    assert done.code == code and "published s3://" in done.errors, done
    here = record(berth)
    params, found = here["published"]["Params"], archive(s3, here["published"]["Params"])
    assert params["Key"] == f"r/{here['id']}.tar.gz" and found["exitCode"] == str(code).encode()
    inside = json.loads(found["berth.json"])
    assert "published" not in inside and inside["exit_code"] == code and (end is None or inside["end"] == end)
    if code in (0, 7):
        assert found["stdout"] == b"out\n" and found["stderr"] == b"err\n" and found["outputs/outputs/r"] == b"result\n"
    assert {k: v for k, v in here.items() if k not in ("published", "published_bytes", "phases_ms")} == \
        {k: v for k, v in inside.items() if k != "phases_ms"}


def test_a_nosana_job_is_published_by_an_option_and_the_result_is_told(berth, s3, run):
    bucket = s3.bucket(versioning=True)
    done = run(nosana([], "echo hi"), "--json", "--publish", f"s3://{bucket}/x/,opt=encoding=plain")
    assert done.code == 0, done
    told = next(e for e in done.events if e["event"] == "result")
    params = told["published"]["Params"]
    assert told["published"]["Type"] == "s3" and params["Key"] == "x/manifest.json" and params["VersionID"]
    assert s3.client.get_object(Bucket=bucket, Key="x/stdout")["Body"].read() == b"hi\n"


def test_an_option_takes_the_place_of_the_jobs_own_publisher(berth, s3, run):
    bucket, job = s3.bucket(), bacalhau([], "true", Publisher={"Type": "s3managed"})
    done = run(job, "--publish", f"s3://{bucket}/x")
    assert done.code == 0 and record(berth)["published"]["Params"]["Key"] == "x.tar.gz", done
    done = run(nosana([], "echo hi"), "--publish", "s3managed")
    assert done.code == 2 and "signed by a server" in done.errors and done.out == b"", done


def test_docker_run_publishes_by_p(berth, s3, engine):
    bucket = s3.bucket()
    done = berth("docker", "run", "--engine", engine, "-r", "results", "-o", "o:/o", "-p", f"s3://{bucket}/x,opt=region=us-east-1",
                 "localhost/busybox:latest", "sh", "-c", "echo 1 > /o/f", env=s3.env)
    assert done.code == 0 and archive(s3, record(berth)["published"]["Params"])["outputs/o/f"] == b"1\n", done


def test_local_publishes_where_the_results_are(berth, run):
    done = run(bacalhau([], "true", Publisher={"Type": "local"}))
    assert done.code == 0 and record(berth)["published"] == {"Type": "local", "Params": {"Path": str(berth.cwd / "results")}}, done


def test_a_publish_that_fails_keeps_the_results_and_says_so(berth, s3, run):
    done = run(bacalhau([], WORK, **OUTPUTS, **to("no-such-bucket-anywhere")))
    assert done.code == 125 and "no such bucket" in done.errors and "results are in results" in done.errors, done
    assert "no such bucket" in record(berth)["publish_error"]
    assert (berth.cwd / "results/outputs/outputs/r").read_text() == "result\n"
    bucket = s3.bucket()
    assert berth("publish", "results", f"s3://{bucket}/{{jobID}}", env=s3.env).code == 0
    assert s3.client.head_object(Bucket=bucket, Key=record(berth)["id"] + ".tar.gz")


@pytest.mark.parametrize("partial", [False, True], ids=["not", "partial"])
def test_an_interrupted_run_publishes_only_where_that_is_wanted(berth, s3, engine, partial):
    bucket = s3.bucket()
    job = berth.job(bacalhau([], FOREVER, **OUTPUTS, **to(bucket)))
    flags = ["--publish-partial"] if partial else []
    with berth.start("run", "--engine", engine, "-r", "results", "--stop-grace", "1s", *flags, job, env=s3.env) as process:
        read_until(process.stdout, b"ready")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    here = record(berth)
    assert here["end"] == "stopped" and ("published" in here) == partial
    assert len(s3.client.list_objects_v2(Bucket=bucket).get("Contents", [])) == partial
    if partial:
        assert archive(s3, here["published"]["Params"])["exitCode"] == b"130"


def test_the_example_of_two_jobs_works(berth, s3, engine):
    bucket = s3.bucket()
    first = berth("run", "--engine", engine, "-r", "one", "-V", f"bucket={bucket}", ROOT / "examples/publish-chain-1.yaml", env=s3.env)
    assert first.code == 0, first
    checksum = record(berth, "one")["published"]["Params"]["ChecksumSHA256"]
    second = berth("run", "--engine", engine, "-r", "two", "-V", f"bucket={bucket}", "-V", f"checksum={checksum}",
                   ROOT / "examples/publish-chain-2.yaml", env=s3.env)
    assert second.code == 0 and second.text.strip() == "10", second
    got = berth("job", "get", "two/berth.json", "-d", "three", env=s3.env)
    assert got.code == 0 and (berth.cwd / "three/stdout").read_text().strip() == "10", got
    spoiled = berth("run", "--engine", engine, "-V", f"bucket={bucket}", "-V", "checksum=" + "0" * 64,
                    ROOT / "examples/publish-chain-2.yaml", env={**s3.env, "BERTH_CACHE_DIR": str(berth.cwd / "fresh")})
    assert spoiled.code == 125, spoiled
