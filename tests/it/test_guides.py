"""What the guides show is run as it stands there (that of the Hub: test_hf_run.py). Hosts and buckets are this machine's."""
import json
import re
import shlex
import shutil

import pytest

from conftest import ROOT, nosana, tree
from faults.kit import server  # noqa: F401 (a fixture)
from test_ollama import registry  # noqa: F401 (a fixture)

pytestmark = pytest.mark.shipped

BOOK = b"Call me Ishmael.\nSome years ago\n"


def blocks(guide, *kinds):
    text = (ROOT / "docs" / guide).read_text()
    return [body for kind, body in re.findall(r"```(\w+)\n(.*?)```", text, re.S) if kind in kinds]


def commands(guide):
    lines = [line for block in blocks(guide, "sh") for line in block.splitlines()]
    assert len(lines) >= 2 and all(line.startswith("berth ") for line in lines)
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.fixture
def configured(berth, one_engine):
    def write(*lines):
        folder = berth.home / ".config/berth"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text("\n".join([f"engine: {one_engine}", *lines]) + "\n")
        return berth
    return write


def run_all(berth, found, **more):
    for argv in found:
        got = berth(*argv, **more)
        assert got.code == 0, (argv, got)


def test_the_guide_for_urls(configured, server, s3):
    berth = configured(f"mirrors: ['https://files.example={server.url}/b']")
    server.put("b", "books/2701-0.txt", BOOK)
    server.put("b", "latest", b"release")
    run_all(berth, commands("guide-url.md"))
    assert tree(berth.cwd) == {"books/2701-0.txt": BOOK, "releases/latest": b"release"}
    public, private = blocks("guide-url.md", "yaml")
    got = berth("run", "-r", "one", berth.job(public, "a.yaml"))
    assert got.code == 0 and got.text == "Call me Ishmael.\n", got
    bucket = s3.bucket()
    s3.put(bucket, "report.txt", "all is well\n")
    signed = s3.client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "report.txt"})
    got = berth("run", "-r", "two", berth.job(private, "b.yaml"), "-V", f"signed={signed}")
    assert got.code == 0 and got.text == "all is well\n", got


def test_the_guide_for_local_folders(configured, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.txt").write_text("alpha\n")
    berth = configured()
    run_all(berth, [[arg.replace("/srv/data", str(folder)) for arg in argv] for argv in commands("guide-local.md")])
    assert tree(berth.cwd / "copy") == tree(berth.cwd / "one-file") == {"a.txt": b"alpha\n"}
    (settings, (job,)) = blocks("guide-local.md", "text")[0], blocks("guide-local.md", "yaml")
    berth = configured(settings.replace("/srv/data", str(folder)))
    got = berth("run", "-r", "r", berth.job(job.replace("/srv/data", str(folder)), "a.yaml"))
    assert got.code == 0 and got.text == "alpha\n", got


def test_the_guide_for_ollama(configured, registry):
    registry.push("library/llama3.2", "1b")
    berth = configured(f"mirrors: ['https://registry.ollama.ai=http://{registry.address}']")
    run_all(berth, commands("guide-ollama.md"))
    assert (berth.cwd / "models/manifests/registry.ollama.ai/library/llama3.2/1b").exists()
    for n, job in enumerate(blocks("guide-ollama.md", "json", "yaml")):
        got = berth("run", "-r", f"r{n}", berth.job(job, f"job{n}"))
        assert got.code == 0 and got.text.strip().endswith("1b"), got


def test_the_guide_for_s3(configured, s3):
    bucket = s3.bucket()
    berth = configured(f"mirrors: ['https://minio.example={s3.endpoint}']")
    s3.fill(bucket, {"models/a/b.bin": b"model", "logs/1.gz": b"log", "logs/1.txt": b"text", "table.csv": b"1\n2\n"})
    run_all(berth, [[arg.replace("s3://bucket/", f"s3://{bucket}/") for arg in argv] for argv in commands("guide-s3.md")], env=s3.env)
    assert tree(berth.cwd / "models") == {"a/b.bin": b"model"} and tree(berth.cwd / "logs") == {"1.gz": b"log"}


# ---- results ----

RESULT = {"stdout": "all is well\n", "exitCode": "0", "outputs/out/x": "x"}


@pytest.fixture
def results(configured, s3):
    """A folder `out`; `go` runs the commands of a guide that need no server, and `sign` makes a URL for a key."""
    berth, bucket = configured(), s3.bucket()
    for name, text in RESULT.items():
        (berth.cwd / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (berth.cwd / "out" / name).write_text(text)
    job = nosana([], "echo done")
    job["ops"][0]["id"] = "job"
    berth.job(job)

    class Guide:
        def __init__(self):
            self.berth, self.s3, self.bucket = berth, s3, bucket

        def sign(self, operation, key):
            return s3.client.generate_presigned_url(operation, Params={"Bucket": bucket, "Key": key})

        def publish(self, key, *options):
            got = berth("publish", "--json", "out", ",".join([f"s3://{bucket}/{key}", *options]), env=s3.env)
            assert got.code == 0, got
            return got.json

        def go(self, guide, signed):
            put_here = {"s3://results/": f"s3://{bucket}/", "https://minio.example": s3.endpoint, "file:///results": f"file://{berth.cwd}/kept",
                        **signed}
            for argv in commands(guide):
                if any(arg.startswith("j-") for arg in argv):
                    continue
                for old, new in put_here.items():
                    argv = [arg.replace(old, new) for arg in argv]
                shutil.rmtree(berth.cwd / "all", ignore_errors=True)
                run_all(berth, [argv], env=s3.env)
    return Guide()


def test_the_guide_for_publishing(results):
    (results.berth.cwd / "result.json").write_text(json.dumps(results.publish("runs/x.tar.gz")))
    results.publish("runs/signed.tar.gz")
    results.go("guide-publish.md", {"https://…?X-Amz-Signature=…": results.sign("get_object", "runs/signed.tar.gz")})
    for where in ("back", "job-signed"):
        assert tree(results.berth.cwd / where) == {name: text.encode() for name, text in RESULT.items()}


def test_the_guide_for_results(results):
    berth, here = results.berth, results.berth.cwd
    for folder in ("berth-job", "0", "1"):
        got = berth("run", "-r", folder, "-q", "--publish", f"s3://{results.bucket}/runs/{{jobID}}/", "job.json", env=results.s3.env)
        assert got.code == 0, got
    (here / "list.json").write_text(json.dumps([json.loads((here / n / "berth.json").read_text())["published"] for n in "01"]))
    (here / "result.json").write_text(json.dumps(results.publish("runs/y.tar.gz")))
    results.publish("runs/x", "opt=encoding=plain")
    results.publish("runs/signed.tar.gz")
    (here / "grant.json").write_text(json.dumps({"version": 1, "method": "put", "url": results.sign("put_object", "granted.tar.gz")}))
    results.go("guide-results.md", {
        "https://…?X-Amz-Signature=…": results.sign("get_object", "runs/signed.tar.gz"),
        "https://bucket.s3.eu-west-1.amazonaws.com/r.tar.gz?X-Amz-Signature=…": results.sign("put_object", "r.tar.gz")})
    for where in ("back", "job-signed"):
        assert tree(here / where) == {name: text.encode() for name, text in RESULT.items()}
    stored = [results.s3.client.get_object(Bucket=results.bucket, Key=key)["Body"].read() for key in ("r.tar.gz", "granted.tar.gz")]
    assert stored[0] == stored[1]
