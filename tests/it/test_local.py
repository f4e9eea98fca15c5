"""Local folders and files as inputs: mounted where they lie, only where that is allowed."""
import itertools
import json
import os
import stat

import pytest

from conftest import IMAGE, bacalhau, s3_input, tree
from faults.kit import server  # noqa: F401 (a fixture)


def local(path, target="/data", **params):
    return {"Target": target, "Source": {"Type": "localDirectory", "Params": {"SourcePath": str(path), **params}}}


@pytest.fixture
def folder(tmp_path):
    d = tmp_path / "shared"
    (d / "sub").mkdir(parents=True)
    (d / "a.txt").write_text("alpha\n")
    (d / "sub/b.txt").write_text("beta\n")
    (d / "link").symlink_to("a.txt")
    return d


@pytest.fixture
def run(berth, engine):
    runs = itertools.count()

    def go(job, *flags, allow=None, **more):
        allowed = [f"--set=local.allow={allow}"] if allow else []
        return berth("run", "--engine", engine, "--no-progress", *allowed, *flags, "--results", f"results{next(runs)}",
                     berth.job(job), **more)
    return go


def test_a_folder_is_mounted_read_only_and_not_copied(run, berth, folder):
    cmd = "cat /data/a.txt /data/sub/b.txt /data/link; ! echo x > /data/a.txt; ! touch /data/new"
    result = run(bacalhau([local(folder)], cmd), allow=folder)
    assert result.code == 0 and result.text == "alpha\nbeta\nalpha\n", result
    assert not [p for p in (berth.cache / "blobs").rglob("*") if p.is_file()]
    record = json.loads((berth.cwd / "results0/berth.json").read_bytes())
    assert record["inputs"][0]["path"] == str(folder) and record["inputs"][0]["source"] == "local"


def test_with_read_write_the_job_writes_to_the_folder_itself(run, folder):
    result = run(bacalhau([local(folder, ReadWrite=True)], "echo new > /data/new.txt; rm /data/a.txt"), allow=folder.parent)
    assert result.code == 0, result
    assert (folder / "new.txt").read_text() == "new\n" and not (folder / "a.txt").exists()


def test_a_file_lies_below_its_target_or_at_it_where_that_ends_in_its_name(run, folder):
    job = bacalhau([local(folder / "a.txt", "/one"), local(folder / "sub/b.txt", "/two/b.txt")], "cat /one/a.txt /two/b.txt; ! echo x > /one/a.txt")
    result = run(job, allow=folder)
    assert result.code == 0 and result.text == "alpha\nbeta\n", result


def test_what_is_not_allowed_is_refused_with_the_setting_that_allows_it(run, folder):
    for allow in (None, folder / "sub", str(folder) + "x"):
        result = run(bacalhau([local(folder)], "true"), allow=allow)
        assert result.code == 125 and str(folder) in result.errors and "local.allow" in result.errors, result


def test_a_link_counts_as_what_it_leads_to(run, folder, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("canary\n")
    (folder / "way").symlink_to(outside)
    (tmp_path / "alias").symlink_to(folder)
    for path in (folder / "way", f"{folder}/../outside", folder / "way" / "secret.txt"):
        result = run(bacalhau([local(path)], "cat /data/*"), allow=folder)
        assert result.code == 125 and "not" in result.errors and "canary" not in result.text, result
    result = run(bacalhau([local(tmp_path / "alias")], "cat /data/a.txt"), allow=folder)
    assert result.code == 0 and result.text == "alpha\n", result
    result = run(bacalhau([local(folder)], "cat /data/a.txt"), allow=tmp_path / "alias")
    assert result.code == 0 and result.text == "alpha\n", result


@pytest.mark.parametrize("make, words", [
    (lambda d: None, "No such file"),
    (lambda d: os.mkfifo(d / "it"), "neither a folder nor a regular file"),
])
def test_what_cannot_be_mounted_is_named_before_anything_starts(run, folder, make, words):
    make(folder)
    result = run(bacalhau([local(folder / "it")], "true"), allow=folder)
    assert result.code == 125 and words in result.errors and str(folder / "it") in result.errors, result
    assert not (folder / "it").exists() or stat.S_ISFIFO((folder / "it").stat().st_mode)


def test_the_root_is_no_input(run):
    result = run(bacalhau([local("/")], "true"), allow="/")
    assert result.code == 125 and "whole file system" in result.errors, result


@pytest.mark.parametrize("write", [False, True])
def test_nothing_of_the_cache_is_an_input_nor_what_holds_it(run, berth, s3, write):
    """Its parent is allowed, as a folder for all kinds of things may be."""
    bucket = s3.bucket(public=True)
    s3.put(bucket, "x.txt", "another job's")
    assert run(bacalhau([s3_input(bucket, "x.txt", Endpoint=s3.endpoint)], "cat /data/x.txt")).code == 0
    blob = next(p for p in (berth.cache / "blobs").rglob("*") if p.is_file())
    (berth.cache.parent / "alias").symlink_to(berth.cache)
    held = [berth.cache / name for name in ("", "blobs", "views", "partial", "key", "index.db")]
    for path in [*held, blob, blob.parent, berth.cache.parent, berth.cache.parent / "alias" / "blobs"]:
        params = {"ReadWrite": True} if write else {}
        result = run(bacalhau([local(path, **params)], "find /data -type f -exec cat {} +"), allow=berth.cache.parent)
        assert result.code == 125 and "berth's own folder" in result.errors and str(berth.cache) in result.errors, result
        assert "read-only" not in result.errors and "another job's" not in result.text, result


def test_a_neighbour_of_the_cache_is_an_input(run, berth):
    near = berth.cache.parent / (berth.cache.name + "2")
    near.mkdir()
    (near / "a.txt").write_text("alpha\n")
    result = run(bacalhau([local(near)], "cat /data/a.txt"), allow=berth.cache.parent)
    assert result.code == 0 and result.text == "alpha\n", result


@pytest.mark.parametrize("targets", [("/data", "/data"), ("/data", "/data/deep"), ("/data/deep", "/data")])
def test_a_local_folder_is_not_merged_and_the_error_names_both(run, folder, s3, targets):
    bucket = s3.bucket(public=True)
    s3.put(bucket, "x.txt", "x")
    result = run(bacalhau([local(folder, targets[0]), s3_input(bucket, "x.txt", targets[1], Endpoint=s3.endpoint)], "true"), allow=folder)
    assert result.code == 125 and str(folder) in result.errors and f"s3://{bucket}/x.txt" in result.errors, result


def test_the_imperative_form_takes_file_urls(berth, engine, folder):
    result = berth("docker", "run", "--engine", engine, "--no-progress", "--set", f"local.allow={folder}", "-i", f"file://{folder}:/in",
                   "--results", "r", IMAGE, "cat", "/in/a.txt")
    assert result.code == 0 and result.out == b"alpha\n", result


# ---- berth fetch ----

def test_fetch_copies_files_and_folders_and_leaves_links_out(berth, folder):
    (folder / "empty").mkdir()
    (folder / "big.bin").write_bytes(os.urandom(9 << 20))
    result = berth("fetch", "--no-progress", "--set", f"local.allow={folder}", f"file://{folder}", "out")
    assert result.code == 0 and "1 links, devices or the like" in result.errors, result
    want = tree(folder)
    assert tree(berth.cwd / "out") == want and (berth.cwd / "out/empty").is_dir()
    assert (berth.cwd / "out/a.txt").stat().st_mtime == int((folder / "a.txt").stat().st_mtime)
    again = berth("fetch", "--no-progress", "--set", f"local.allow={folder}", "--json", f"file://{folder}", "out")
    assert again.code == 0 and again.json["inputs"][0]["files_cached"] == 3, again


def test_fetch_of_one_file_takes_that_one(berth, folder):
    result = berth("fetch", "--no-progress", "--set", f"local.allow={folder}", f"file://{folder}/sub/b.txt", "out")
    assert result.code == 0 and tree(berth.cwd / "out") == {"b.txt": b"beta\n"}, result
