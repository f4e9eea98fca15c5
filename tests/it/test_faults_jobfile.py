"""F33: job files that are none. A clear error each, at once: the limit on time is a generous one."""
import json
import random

import pytest

from conftest import bacalhau, nosana, s3_input

SECONDS = 10


def refused(berth, *files):
    """What validate says about files that it must refuse; by file."""
    result = berth("validate", "--json", *files, timeout=SECONDS)
    assert result.code == 1, result
    verdicts = {v["file"]: v for v in result.json}
    assert len(verdicts) == len(files)
    for v in verdicts.values():
        assert not v["ok"] and v["error"] and v["code"] != "nomem", v
    return verdicts


def error_of(berth, content):
    path = berth.cwd / "job"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return refused(berth, path)[str(path)]["error"].replace(str(path), "job")


@pytest.mark.parametrize("filler", [" ", "a", "[", "- "], ids=["spaces", "text", "brackets", "dashes"])
def test_F33_a_hundred_megabytes_are_refused_by_their_size(berth, filler):
    assert "longer than 4194304 bytes" in error_of(berth, '{"version": "' + filler * ((100 << 20) // len(filler)))


@pytest.mark.parametrize("opening", ["[", '{"a":', "- ", '[{"a":'], ids=["lists", "objects", "yaml", "both"])
def test_F33_ten_thousand_levels_are_refused_by_their_depth(berth, opening):
    assert "deep" in error_of(berth, opening * 10_000)


def test_F33_ten_thousand_levels_of_keys_are_refused(berth):
    assert "a key must be plain text" in error_of(berth, "? " * 10_000)


def test_F33_ten_thousand_levels_that_end_well_are_refused_too(berth):
    assert "64" in error_of(berth, "[" * 10_000 + "]" * 10_000)


def test_F33_an_alias_bomb_is_refused(berth):
    laughs = "a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]\n"
    for n in range(1, 30):
        laughs += f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 9) + "]\n"
    assert "aliases expanded" in error_of(berth, laughs)


def test_F33_an_alias_of_itself_is_refused(berth):
    assert error_of(berth, "a: &a [*a]\n")


def test_F33_many_aliases_of_something_long_are_refused(berth):
    assert "aliases expanded" in error_of(berth, "x: &x " + "y" * 100_000 + "\nz: [" + ", ".join(["*x"] * 200_000) + "]\n")


@pytest.mark.parametrize("text", ['{"version": "0.1", "type": "container", "type": "container", "ops": []}',
                                  "Name: a\nName: b\nTasks: []\n", '{"ops": [{"id": "a", "id": "b"}]}'],
                         ids=["json", "yaml", "nested"])
def test_F33_a_key_that_is_there_twice_is_refused_by_name(berth, text):
    error = error_of(berth, text)
    assert "twice" in error or "duplicate" in error, error


NOSANA = nosana([{"type": "S3", "url": "s3://b/k", "target": "/data", "IAM": {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}}], "true")
BACALHAU = bacalhau([s3_input("b", "k", Endpoint="http://127.0.0.1:1")], "true")
WRONG = [None, True, 7, -1.5, 1e308, "x" * 100_000, "", [], {}, [[]], [None], {"a": {"b": None}}, "\u0000", 10**400]


def places(value, path=()):
    """The paths of all values below `value`."""
    yield path
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, v in below:
        yield from places(v, (*path, key))


def replaced(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy


@pytest.mark.parametrize("job", [NOSANA, BACALHAU], ids=["nosana", "bacalhau"])
def test_F33_wrong_types_anywhere_give_an_error_or_a_job_and_never_a_crash(berth, job):
    files = []
    for path in places(job):
        for wrong in WRONG:
            files.append(berth.job(replaced(job, path, wrong), f"job{len(files)}.json"))
    result = berth("validate", "--json", *files, timeout=SECONDS * 3)
    assert result.code == 1 and len(result.json) == len(files) > 200, result
    assert all(v["ok"] or v["error"] for v in result.json)


def test_F33_wrong_types_are_named_with_their_place(berth):
    for path, wrong, place in ((("ops",), {}, "ops"), (("ops", 0, "args", "resources", 0, "target"), 7, "target"),
                               (("ops", 0, "args", "image"), ["x"], "image")):
        assert place in error_of(berth, json.dumps(replaced(NOSANA, path, wrong)))


def test_F33_random_bytes_are_refused(berth):
    rng, files = random.Random(33), []
    for n in range(200):
        path = berth.cwd / f"noise{n}"
        path.write_bytes(rng.randbytes(rng.randrange(1, 5000)))
        files.append(path)
    refused(berth, *files)


@pytest.mark.parametrize("job", [NOSANA, BACALHAU], ids=["nosana", "bacalhau"])
def test_F33_jobs_with_random_damage_give_an_error_or_a_job_and_never_a_crash(berth, job):
    rng, files, text = random.Random(34), [], json.dumps(job).encode()
    for n in range(300):
        damaged = bytearray(text)
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(damaged))
            damaged[at:at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        path = berth.cwd / f"damaged{n}"
        path.write_bytes(damaged[:rng.randrange(len(damaged) + 1)] if n % 3 == 0 else damaged)
        files.append(path)
    result = berth("validate", "--json", *files, timeout=SECONDS)
    assert result.code == 1 and len(result.json) == 300, result


@pytest.mark.parametrize("text", [b"", b"\n", b"\0", b"\xff\xfe{}", b"null", b"[]", b"{}", b"7", b'"x"', b"%YAML 9.9\n---\n", b"---\n---\n",
                                  b"\xef\xbb\xbf", b"!!python/object/apply:os.system [id]"], ids=repr)
def test_F33_files_that_hold_no_job_are_refused(berth, text):
    assert error_of(berth, text)


@pytest.mark.parametrize("path", ["/", "/dev/null", "/proc/self/mem", "missing"])
def test_F33_things_that_are_no_files_are_refused(berth, path):
    refused(berth, path)
