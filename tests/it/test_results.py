"""berth job get of several executions, and of one that was interrupted."""
import json
import os

import pytest

from conftest import tree
from test_publish import allow, publish, published, shape


def execution(berth, s3, bucket, name, files, **record):
    """One execution's published results, and its record as berth.json."""
    root = berth.cwd / f"made-{name}"
    for path, content in {"stdout": f"I am {name}\n", "exitCode": "0", **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    done = publish(berth, s3, root, f"s3://{bucket}/{name}")
    assert published(done)
    return {"published": done.json, **record}


def save(berth, name, document):
    (berth.cwd / name).write_text(json.dumps(document))
    return name


SHARED = {"outputs/same": "the same everywhere", "outputs/d/common": "x"}


@pytest.fixture
def two(berth, s3):
    bucket = s3.bucket()
    return [execution(berth, s3, bucket, f"e{i}", {**SHARED, f"outputs/only-{i}": str(i)}, index=i) for i in (0, 1)]


def test_each_execution_has_a_folder_of_its_index(berth, s3, two):
    got = berth("job", "get", "--json", "-d", "all/", save(berth, "list.json", {"results": two}), env=s3.env)
    assert got.code == 0 and got.json["verified"] and got.json["files"] == 10, got
    assert tree(berth.cwd / "all/0") == tree(berth.cwd / "made-e0") and tree(berth.cwd / "all/1") == tree(berth.cwd / "made-e1")
    assert sorted(p.name for p in berth.cwd.iterdir()) == ["all", "list.json", "made-e0", "made-e1"]


def test_signed_urls_in_a_list_spare_credentials(berth, s3, two):
    for x in two:
        at = x["published"]["Params"]
        x["url"] = s3.client.generate_presigned_url("get_object", Params={"Bucket": at["Bucket"], "Key": at["Key"]})
    got = berth("job", "get", "--json", "--merge", "-d", "all", save(berth, "list.json", {"results": two}))
    assert got.code == 0 and got.json["verified"] and got.json["files"] == 8, got
    one = berth("job", "get", "--json", "-d", "one", save(berth, "one.json", {k: v for k, v in two[0].items() if k != "index"}))
    assert one.code == 0 and tree(berth.cwd / "one") == tree(berth.cwd / "made-e0"), one


def test_without_indexes_it_is_their_ids_and_else_their_places(berth, s3, two):
    files = [save(berth, f"{i}.json", {"id": f"j-{i}aaaabbbbcccc", "published": x["published"]}) for i, x in enumerate(two)]
    assert berth("job", "get", *files, "-d", "by-id", env=s3.env).code == 0
    assert sorted(p.name for p in (berth.cwd / "by-id").iterdir()) == ["0aaaabbb", "1aaaabbb"]
    same = [save(berth, f"{i}.json", {"id": "j-1", "published": x["published"]}) for i, x in enumerate(two)]
    assert berth("job", "get", *same, "-d", "by-place", env=s3.env).code == 0
    assert sorted(p.name for p in (berth.cwd / "by-place").iterdir()) == ["0", "1"]


def test_merged_what_is_equal_is_one_and_streams_stay_apart(berth, s3, two):
    got = berth("job", "get", "--merge", "--json", "-d", "all", save(berth, "list.json", two), env=s3.env)
    assert got.code == 0 and got.json["files"] == 8, got
    assert tree(berth.cwd / "all") == {
        "outputs/same": b"the same everywhere", "outputs/d/common": b"x", "outputs/only-0": b"0", "outputs/only-1": b"1",
        "0/stdout": b"I am e0\n", "1/stdout": b"I am e1\n", "0/exitCode": b"0", "1/exitCode": b"0"}
    assert not (berth.cwd / "all.part").exists()


@pytest.mark.parametrize("other", ["longer", "size"], ids=["another size", "another content"])
def test_merged_what_differs_is_an_error_that_names_both_and_nothing_is_written(berth, s3, other):
    bucket = s3.bucket()
    found = [execution(berth, s3, bucket, "a", {"outputs/f": "same"}, index=3), execution(berth, s3, bucket, "b", {"outputs/f": other}, index=5)]
    got = berth("job", "get", "--merge", "-d", "all", save(berth, "list.json", found), env=s3.env)
    assert got.code == 1 and "outputs/f: executions 3 and 5" in got.errors and not (berth.cwd / "all").exists(), got
    # What was fetched is still there for the other way to get it.
    for x in found:
        s3.client.delete_object(Bucket=bucket, Key=x["published"]["Params"]["Key"])
    assert berth("job", "get", "-d", "all", "list.json", env=s3.env).code == 0
    assert (berth.cwd / "all/3/outputs/f").read_text() == "same" and not (berth.cwd / "all.part").exists()


@pytest.mark.parametrize("files, words", [({"outputs": "a file"}, "different things"), ({"0": "taken"}, "called 0")])
def test_merged_what_cannot_stand_side_by_side_is_told(berth, s3, files, words):
    bucket = s3.bucket()
    found = [execution(berth, s3, bucket, "a", SHARED, index=0), execution(berth, s3, bucket, "b", files, index=1)]
    got = berth("job", "get", "--merge", "-d", "all", save(berth, "list.json", found), env=s3.env)
    assert got.code == 1 and words in got.errors and not (berth.cwd / "all").exists(), got


def test_links_and_empty_folders_are_merged_too(berth, s3):
    bucket, found = s3.bucket(), []
    for i in (0, 1):
        root = berth.cwd / f"made-{i}"
        (root / "empty/er").mkdir(parents=True)
        (root / "link").symlink_to("empty/er")
        done = publish(berth, s3, root, f"s3://{bucket}/{i}")
        found.append({"index": i, "published": done.json})
    (berth.cwd / "made-1/link").unlink()
    (berth.cwd / "made-1/link").symlink_to("empty")
    assert berth("job", "get", "--merge", "-d", "all", save(berth, "list.json", found), env=s3.env).code == 0
    assert shape(berth.cwd / "all") == shape(berth.cwd / "made-0")
    found[1]["published"] = publish(berth, s3, berth.cwd / "made-1", f"s3://{bucket}/1b").json
    got = berth("job", "get", "--merge", "-d", "all2", save(berth, "list.json", found), env=s3.env)
    assert got.code == 1 and "different links" in got.errors, got


def test_one_result_given_twice_is_told(berth, s3, two):
    got = berth("job", "get", "-d", "all", save(berth, "list.json", [two[0], two[0]]), env=s3.env)
    assert got.code == 1 and "one and the same" in got.errors, got


def test_one_that_fails_is_named_and_the_rest_is_not_fetched_again(berth, s3, two):
    bucket, key = two[0]["published"]["Params"]["Bucket"], two[1]["published"]["Params"]["Key"]
    body = s3.client.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.client.delete_object(Bucket=bucket, Key=key)
    got = berth("job", "get", "-d", "all", save(berth, "list.json", two), env=s3.env)
    assert got.code == 1 and "execution 1" in got.errors and not (berth.cwd / "all").exists(), got
    s3.put(bucket, key, body)
    s3.client.delete_object(Bucket=bucket, Key=two[0]["published"]["Params"]["Key"])
    assert berth("job", "get", "-d", "all", "list.json", env=s3.env).code == 0
    assert tree(berth.cwd / "all/0") == tree(berth.cwd / "made-e0")
