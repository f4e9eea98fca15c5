"""What the guides for URLs, local folders and Ollama models show is run as it stands there."""
import re
import shlex

import pytest

from conftest import ROOT, tree
from faults.kit import server  # noqa: F401 (a fixture)
from test_ollama import registry  # noqa: F401 (a fixture)

BOOK = b"Call me Ishmael.\nSome years ago\n"


def blocks(guide, *kinds):
    text = (ROOT / "docs" / guide).read_text()
    return [body for kind, body in re.findall(r"```(\w+)\n(.*?)```", text, re.S) if kind in kinds]


def commands(guide):
    lines = [line for block in blocks(guide, "sh") for line in block.splitlines()]
    assert len(lines) >= 2 and all(line.startswith("berth ") for line in lines)
    return [shlex.split(line)[1:] for line in lines]


@pytest.fixture
def configured(berth, one_engine):
    def write(*lines):
        folder = berth.home / ".config/berth"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text("\n".join([f"engine: {one_engine}", *lines]) + "\n")
        return berth
    return write


def run_all(berth, found):
    for argv in found:
        got = berth(*argv)
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
