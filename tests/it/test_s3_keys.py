"""What a declared S3 input means: every row of the key table, against a real S3 server, by fetch and in a container."""
import base64
import concurrent.futures
import hashlib
import io
import json
import tarfile
import zlib

import pytest

from conftest import bacalhau, nosana, resource, s3_input, tree

TAR = "tar -C /data -cf - ."
WRONG_SUM = hashlib.sha256(b"something else").hexdigest()
BUCKET = {
    "models/test/a.bin": b"a" * 70000, "models/test/sub/b.bin": b"b", "models/test/empty": b"", "models/testing/no.bin": b"no",
    "models/tes": b"no", "models/only": b"the object itself", "days/2024-01/x.gz": b"1", "days/2024-02/x.gz": b"2",
    "days/2024-02/x.txt": b"3", "days/2025-01/x.gz": b"4", "root/set1/x": b"s1", "root/set2/y/z": b"s2", "root/other": b"no",
    "lit/*star/x": b"literal", "lit/Astar/x": b"no", "lit/*star/y*": b"ends in one", "mark/": b"", "mark/hollow/": b"",
    "mark/full/": b"", "mark/full/f": b"f", "top": b"top",
}
LONG = "long/" + "/".join("x" * 200 for _ in range(4)) + "/" + "y" * 90
ODD = ["with space.txt", " leading and trailing ", "plus+plus", "per%20cent%", "q?uery", "h#ash", "a&b=c;d", "'quotes\"", "~tilde",
       ".hidden", "..two", "three...", "a..b", "back\\slash", "(b)[r]{a}<c>|^`$@!", "comma,co:lon", "star*in", "ünï/côdé-日本語.txt",
       "emoji-\U0001f6a2", "tab\there", "new\nline", "-dash", LONG]


def packed(result):
    """What the container's tar of /data holds."""
    with tarfile.open(fileobj=io.BytesIO(result.out)) as tar:
        return {m.name.removeprefix("./"): tar.extractfile(m).read() for m in tar if m.isfile()}


def folders(result):
    with tarfile.open(fileobj=io.BytesIO(result.out)) as tar:
        return {m.name.removeprefix("./").rstrip("/") for m in tar if m.isdir()} - {"", "."}


def below(prefix, start=None):
    """The files of BUCKET that begin with `start`, named from `prefix` on."""
    return {k[len(prefix):]: v for k, v in BUCKET.items() if k.startswith(start or prefix) and not k.endswith("/")}


@pytest.fixture(scope="module")
def bucket(s3):
    name = s3.bucket()
    s3.fill(name, BUCKET)
    return name


@pytest.fixture(scope="module")
def public(s3):
    name = s3.bucket(public=True)
    s3.fill(name, BUCKET)
    return name


def run(berth, servers, job, *options, env=None):
    engine = servers["docker"]["address"]
    return berth("run", "--engine", engine, "-r", berth.cwd / "results", *options, berth.job(job), env=env)


def fetched(berth, source, env, *options):
    """(result, files) of a fetch to an empty folder."""
    got = berth("fetch", *options, source, "out", env=env)
    return got, {k: v for k, v in tree(berth.cwd / "out").items() if not k.startswith(".berth-partial")}


# --- the table: s3:// and Bacalhau ------------------------------------------------------------------------------------

ROWS = {
    "exact": ("models/test/sub/b.bin", {"b.bin": b"b"}),
    "exact at the top": ("top", {"top": b"top"}),
    "exact and empty": ("models/test/empty", {"empty": b""}),
    "folder": ("models/test/", below("models/test/")),
    "prefix star": ("days/2024*", below("days/", "days/2024")),
    "prefix star inside a folder": ("days/2024-02/x*", below("days/2024-02/")),
    "folder star": ("days/*", below("days/")),
    "sets": ("root/set*", {"set1/x": b"s1", "set2/y/z": b"s2"}),
    "whole bucket": ("", below("")),
    "star in the middle is literal": ("lit/*star/", {"x": b"literal", "y*": b"ends in one"}),
    "star in an exact key is literal": ("lit/*star/x", {"x": b"literal"}),
    "markers": ("mark/", {"full/f": b"f"}),
}


@pytest.mark.parametrize("row", ROWS)
def test_fetch_brings_exactly_the_files_of_the_key(berth, s3, bucket, row):
    key, files = ROWS[row]
    got, found = fetched(berth, f"s3://{bucket}/{key}", s3.env)
    assert got.code == 0 and found == files, got


@pytest.mark.parametrize("row", ROWS)
def test_a_container_sees_exactly_the_files_of_the_key(berth, s3, servers, bucket, row):
    key, files = ROWS[row]
    got = run(berth, servers, bacalhau([s3_input(bucket, key)], TAR), env=s3.env)
    assert got.code == 0 and packed(got) == files, got


def test_folder_markers_become_folders(berth, s3, servers, bucket):
    got = run(berth, servers, bacalhau([s3_input(bucket, "mark/")], TAR), env=s3.env)
    assert folders(got) == {"hollow", "full"}
    assert berth("fetch", f"s3://{bucket}/mark/", "out", env=s3.env).code == 0
    assert (berth.cwd / "out/hollow").is_dir()


def test_an_exact_key_that_is_missing_is_an_error_and_never_a_prefix(berth, s3, servers, bucket):
    got, found = fetched(berth, f"s3://{bucket}/models/test", s3.env)
    assert got.code == 1 and found == {}
    assert "no such object" in got.errors and "'models/test/' is a folder" in got.errors, got
    assert f"berth: input s3://{bucket}/models/test: no such object" in got.errors, got
    got = run(berth, servers, bacalhau([s3_input(bucket, "models/test")], TAR), env=s3.env)
    assert got.code == 125 and got.out == b"" and "no such object" in got.errors


@pytest.mark.parametrize("key, near", [("models/tset/", "models/test/'"), ("models/onyl", "models/only"), ("days/2O24-1*", "days/2024-01"),
                                       ("modls/test/a.bin", "models/'")])
def test_what_is_missing_is_named_with_near_misses(berth, s3, bucket, key, near):
    got, found = fetched(berth, f"s3://{bucket}/{key}", s3.env)
    assert got.code == 1 and found == {}
    assert key.rstrip("*") in got.errors and "near it:" in got.errors and f"'{near}" in got.errors, got


def test_a_missing_bucket_says_so(berth, s3):
    got, _ = fetched(berth, "s3://no-such-bucket-here/k", s3.env)
    assert got.code == 1 and "no-such-bucket-here" in got.errors and "no such bucket" in got.errors.lower(), got


def test_an_empty_bucket_says_so(berth, s3):
    got, _ = fetched(berth, f"s3://{s3.bucket()}/", s3.env)
    assert got.code == 1 and "the bucket is empty" in got.errors


# --- the table: Nosana ------------------------------------------------------------------------------------------------

NOSANA = {
    "without slash: below, not beside": ("models/test", None, below("models/test/")),
    "with slash": ("models/test/", None, below("models/test/")),
    "without children: the object": ("models/only", None, {"only": b"the object itself"}),
    "star": ("days/2024*", None, below("days/", "days/2024")),
    "files": ("models", ["test/sub/b.bin", "only"], {"test/sub/b.bin": b"b", "only": b"the object itself"}),
    "files below a slash": ("models/test/", ["a.bin", "empty"], {"a.bin": BUCKET["models/test/a.bin"], "empty": b""}),
    "files at the top": ("", ["top", "root/other"], {"top": b"top", "root/other": b"no"}),
    "whole bucket": ("", None, below("")),
}


@pytest.mark.parametrize("row", NOSANA)
def test_a_nosana_url_of_a_public_bucket(berth, s3, servers, public, row):
    path, files, expected = NOSANA[row]
    more = {"files": files} if files else {}
    got = run(berth, servers, nosana([resource(f"{s3.endpoint}/{public}/{path}", **more)], TAR))
    assert got.code == 0 and packed(got) == expected, got


@pytest.mark.parametrize("row", NOSANA)
def test_a_nosana_url_of_a_private_bucket_with_keys_in_the_job(berth, s3, servers, bucket, row):
    path, files, expected = NOSANA[row]
    more = {"files": files} if files else {}
    got = run(berth, servers, nosana([resource(f"{s3.endpoint}/{bucket}/{path}", user=s3, **more)], TAR))
    assert got.code == 0 and packed(got) == expected, got
    assert s3.secret not in (berth.cwd / "results/berth.json").read_text()


def test_a_nosana_resource_can_name_its_bucket_apart(berth, s3, servers, bucket):
    got = run(berth, servers, nosana([resource(f"{s3.endpoint}/models/test", user=s3, bucket=bucket)], TAR))
    assert got.code == 0 and packed(got) == below("models/test/"), got
    got = berth("run", "-r", berth.cwd / "again", "--engine", servers["docker"]["address"],
                berth.job(nosana([resource(f"{s3.endpoint}/{bucket}/models", user=s3, bucket=bucket, files=["only"])], TAR)))
    assert got.code == 0 and packed(got) == {"only": b"the object itself"}, got


def test_buckets_of_one_resource_are_merged(berth, s3, servers, bucket, public):
    both = {"type": "S3", "target": "/data", "buckets": [{"url": f"{s3.endpoint}/{public}/models", "files": ["only"]},
                                                         {"url": f"{s3.endpoint}/{public}/root", "files": ["set1/x"]}]}
    got = run(berth, servers, nosana([both], TAR))
    assert got.code == 0 and packed(got) == {"only": b"the object itself", "set1/x": b"s1"}, got


def test_empty_IAM_strings_mean_not_given(berth, s3, servers, public):
    iam = {"ACCESS_KEY_ID": "", "SECRET_ACCESS_KEY": "", "REGION": ""}
    got = run(berth, servers, nosana([resource(f"{s3.endpoint}/{public}/models/only", IAM=iam)], TAR))
    assert got.code == 0 and packed(got) == {"only": b"the object itself"}, got


def test_a_nosana_file_that_is_missing_is_an_error_before_any_byte(berth, s3, servers, bucket):
    got = run(berth, servers, nosana([resource(f"{s3.endpoint}/{bucket}/models", user=s3, files=["only", "nope.bin"])], TAR))
    assert got.code == 125 and "models/nope.bin" in got.errors, got
    assert berth("cache", "ls", "--json").json == []


def test_a_nosana_prefix_that_matches_nothing_names_near_misses(berth, s3, servers, bucket):
    got = run(berth, servers, nosana([resource(f"{s3.endpoint}/{bucket}/models/tset", user=s3)], TAR))
    assert got.code == 125 and "models/tset" in got.errors and "'models/test" in got.errors, got


# --- Filter, versions, checksums --------------------------------------------------------------------------------------

@pytest.mark.parametrize("key, pattern, expected", [
    ("days/", r"\.gz$", {"2024-01/x.gz": b"1", "2024-02/x.gz": b"2", "2025-01/x.gz": b"4"}),
    ("days/", r"^2024", below("days/", "days/2024")),
    ("days/2024*", r"^-02/.*t$", {"2024-02/x.txt": b"3"}),
    ("", r"(only|top)$", {"models/only": b"the object itself", "top": b"top"}),
])
def test_a_filter_sees_the_key_after_the_prefix(berth, s3, servers, bucket, key, pattern, expected):
    got, found = fetched(berth, f"src=s3://{bucket}/{key},opt=filter={pattern}", s3.env)
    assert got.code == 0 and found == expected, got
    got = run(berth, servers, bacalhau([s3_input(bucket, key, Filter=pattern)], TAR), env=s3.env)
    assert got.code == 0 and packed(got) == expected, got


def test_a_filter_that_excludes_everything_gives_an_empty_folder_and_a_warning(berth, s3, servers, bucket):
    got = run(berth, servers, bacalhau([s3_input(bucket, "days/", Filter="nothing")], TAR), env=s3.env)
    assert got.code == 0 and packed(got) == {} and "Filter excludes every object" in got.errors, got


@pytest.fixture(scope="module")
def versions(s3):
    """A versioned bucket, and the version ids of its one key; the newest is a delete marker."""
    name = s3.bucket(versioning=True)
    ids = [s3.put(name, "k/f", body)["VersionId"] for body in ("one", "two", "three")]
    s3.put(name, "k/alive", "old")
    s3.put(name, "k/alive", "new")
    s3.client.delete_object(Bucket=name, Key="k/f")
    return name, ids


def test_a_version_id_brings_that_version(berth, s3, servers, versions):
    name, ids = versions
    for version, body in zip(ids, (b"one", b"two", b"three")):
        got, found = fetched(berth, f"src=s3://{name}/k/f,opt=versionID={version}", s3.env, "--force")
        assert got.code == 0 and found == {"f": body}, got
    got = run(berth, servers, bacalhau([s3_input(name, "k/f", VersionID=ids[0])], TAR), env=s3.env)
    assert got.code == 0 and packed(got) == {"f": b"one"}, got


def test_without_a_version_id_the_newest_counts_and_a_deleted_object_is_gone(berth, s3, versions):
    name, _ = versions
    got, found = fetched(berth, f"s3://{name}/k/", s3.env)
    assert got.code == 0 and found == {"alive": b"new"}, got
    got, _ = fetched(berth, f"s3://{name}/k/f", s3.env)
    assert got.code == 1 and "k/f" in got.errors


def test_a_version_that_is_not_there_is_an_error(berth, s3, versions):
    got, found = fetched(berth, f"src=s3://{versions[0]}/k/alive,opt=versionID=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", s3.env)
    assert got.code == 1 and found == {} and "k/alive" in got.errors and "ersion" in got.errors, got


def test_a_version_id_on_a_prefix_is_a_warning(berth, s3, servers, versions):
    got = run(berth, servers, bacalhau([s3_input(versions[0], "k/", VersionID=versions[1][0])], TAR), env=s3.env)
    assert got.code == 0 and packed(got) == {"alive": b"new"}, got
    assert "VersionID: has no effect" in got.errors, got


def sums(body):
    raw = hashlib.sha256(body).digest()
    return {"hex": raw.hex(), "0x": "0x" + raw.hex(), "upper": raw.hex().upper(), "base64": base64.b64encode(raw).decode()}


@pytest.mark.parametrize("form", ["hex", "0x", "upper", "base64"])
def test_the_right_checksum_is_accepted_in_every_form(berth, s3, bucket, form):
    stated = sums(BUCKET["models/test/a.bin"])[form]
    got, found = fetched(berth, f"src=s3://{bucket}/models/test/a.bin,opt=checksum-256={stated}", s3.env)
    assert got.code == 0 and found == {"a.bin": BUCKET["models/test/a.bin"]}, got


def test_a_wrong_checksum_fails_and_names_both_and_keeps_nothing(berth, s3, servers, bucket):
    right = sums(BUCKET["models/test/a.bin"])["hex"]
    got, found = fetched(berth, f"src=s3://{bucket}/models/test/a.bin,opt=checksum-256={WRONG_SUM}", s3.env)
    assert got.code == 1 and found == {}
    assert WRONG_SUM in got.errors and right in got.errors and "models/test/a.bin" in got.errors, got
    got = run(berth, servers, bacalhau([s3_input(bucket, "models/test/a.bin", ChecksumSHA256=WRONG_SUM)], TAR), env=s3.env)
    assert got.code == 125 and got.out == b"" and WRONG_SUM in got.errors, got
    assert berth("cache", "ls", "--json").json == []


def test_a_right_checksum_is_what_the_record_says(berth, s3, servers, bucket):
    right = sums(BUCKET["models/only"])["hex"]
    got = run(berth, servers, bacalhau([s3_input(bucket, "models/only", ChecksumSHA256=right)], TAR), env=s3.env)
    assert got.code == 0, got
    recorded = json.loads((berth.cwd / "results/berth.json").read_text())["inputs"][0]
    assert recorded["objects"][0]["sha256"] == right and recorded["files_verified_by_digest"] == 1


# --- many, odd, large -------------------------------------------------------------------------------------------------

def test_more_than_a_page_of_keys_arrives_whole(berth, s3, servers):
    name = s3.bucket()
    files = {f"{i % 7}/{i:04d}.txt": str(i).encode() for i in range(1500)}
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda kv: s3.put(name, "many/" + kv[0], kv[1]), files.items()))
    got, found = fetched(berth, f"s3://{name}/many/", s3.env)
    assert got.code == 0 and found == files
    got = run(berth, servers, bacalhau([s3_input(name, "many/")], TAR), env=s3.env)
    assert got.code == 0 and packed(got) == files


@pytest.fixture(scope="module")
def odd(s3):
    name = s3.bucket()
    s3.fill(name, {"odd/" + k: k.encode() for k in ODD})
    return name


def test_odd_keys_arrive_by_prefix(berth, s3, servers, odd):
    files = {k: k.encode() for k in ODD}
    got, found = fetched(berth, f"s3://{odd}/odd/", s3.env)
    assert got.code == 0 and found == files, got
    got = run(berth, servers, bacalhau([s3_input(odd, "odd/")], TAR), env=s3.env)
    assert got.code == 0 and packed(got) == files, got


@pytest.mark.parametrize("key", ODD, ids=range(len(ODD)))
def test_an_odd_key_arrives_by_its_exact_name(berth, s3, odd, key):
    got, found = fetched(berth, f"s3://{odd}/odd/{key}", s3.env)
    assert got.code == 0 and found == {key.rsplit("/", 1)[-1]: key.encode()}, got


def test_odd_keys_arrive_by_files_and_as_bacalhau_objects(berth, s3, servers, odd):
    files = {k: k.encode() for k in ODD}
    got = run(berth, servers, nosana([resource(f"{s3.endpoint}/{odd}/odd", user=s3, files=ODD)], TAR))
    assert got.code == 0 and packed(got) == files, got
    inputs = [s3_input(odd, "odd/" + k, target=f"/data/{i}") for i, k in enumerate(ODD) if "/" not in k]
    got = berth("run", "-r", berth.cwd / "again", "--engine", servers["docker"]["address"], berth.job(bacalhau(inputs, TAR)), env=s3.env)
    assert got.code == 0 and sorted(packed(got).values()) == sorted(k.encode() for k in ODD if "/" not in k), got


def test_a_marker_with_content_is_an_error(berth, s3):
    name = s3.bucket()
    s3.fill(name, {"d/x/": b"content", "d/y": b"fine"})
    got, found = fetched(berth, f"s3://{name}/d/", s3.env)
    assert got.code == 1 and found == {} and "d/x/" in got.errors and "folder" in got.errors, got


def test_a_multipart_object_arrives_whole(berth, s3, servers):
    name, parts = s3.bucket(), [bytes([i]) * (5 << 20) for i in (1, 2)] + [b"tail"]
    up = s3.client.create_multipart_upload(Bucket=name, Key="big")["UploadId"]
    tags = [{"PartNumber": i, "ETag": s3.client.upload_part(Bucket=name, Key="big", UploadId=up, PartNumber=i, Body=body)["ETag"]}
            for i, body in enumerate(parts, 1)]
    s3.client.complete_multipart_upload(Bucket=name, Key="big", UploadId=up, MultipartUpload={"Parts": tags})
    assert "-3" in s3.client.head_object(Bucket=name, Key="big")["ETag"]
    got, found = fetched(berth, f"s3://{name}/big", s3.env)
    assert got.code == 0 and found == {"big": b"".join(parts)}
    crc = zlib.crc32(b"".join(parts))
    got = run(berth, servers, bacalhau([s3_input(name, "big")], "crc32 /data/big"), env=s3.env)
    assert got.code == 0 and got.text.split()[0] == f"{crc:08x}", got


# --- partitions -------------------------------------------------------------------------------------------------------

PARTITIONS = {
    "object": {"Type": "object"},
    "regex": {"Type": "regex", "Pattern": "user-([0-9])"},
    "substring": {"Type": "substring", "StartIndex": 8, "EndIndex": 10},
    "date": {"Type": "date", "DateFormat": "%Y-%m-%d"},
}


@pytest.fixture(scope="module")
def logs(s3):
    name = s3.bucket()
    s3.fill(name, {f"logs/2024-01-{day:02d}/user-{user}.txt": f"{day} {user}" for day in range(1, 9) for user in range(4)})
    return name


@pytest.mark.parametrize("kind", PARTITIONS)
def test_partitions_share_all_keys_without_overlap(berth, s3, servers, logs, kind):
    job, shares = berth.job(bacalhau([s3_input(logs, "logs/", Partition=PARTITIONS[kind])], TAR)), []
    for i in range(3):
        got = berth("run", "--engine", servers["docker"]["address"], "-r", f"r{i}", "--partition", i, "--partitions", 3, job, env=s3.env)
        assert got.code == 0, got
        shares.append(packed(got))
    everything = {f"2024-01-{day:02d}/user-{user}.txt": f"{day} {user}".encode() for day in range(1, 9) for user in range(4)}
    assert sum(map(len, shares)) == len(everything) and shares[0] | shares[1] | shares[2] == everything
    assert sum(1 for share in shares if share) >= 2


def fnv1a(text):
    h = 2166136261
    for c in text.encode():
        h = (h ^ c) * 16777619 & 0xffffffff
    return h


def test_a_partition_by_object_is_fnv1a_of_the_key_and_the_container_knows_its_place(berth, s3, servers, logs):
    cmd = "echo $BACALHAU_PARTITION_INDEX/$BACALHAU_PARTITION_COUNT; find /data -type f"
    job = berth.job(bacalhau([s3_input(logs, "logs/", Partition=PARTITIONS["object"])], cmd))
    got = berth("run", "--engine", servers["docker"]["address"], "-r", "r", "--partition", 1, "--partitions", 2, job, env=s3.env)
    place, *files = got.text.splitlines()
    assert place == "1/2"
    keys = [f"logs/2024-01-{day:02d}/user-{user}.txt" for day in range(1, 9) for user in range(4)]
    assert sorted(files) == sorted("/data/" + k[5:] for k in keys if fnv1a(k) % 2 == 1)


# --- where and by whom ------------------------------------------------------------------------------------------------

def test_region_and_endpoint_of_the_source_win(berth, s3, servers, bucket):
    env = {**s3.env, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9", "AWS_REGION": "eu-west-1"}
    got, found = fetched(berth, f"src=s3://{bucket}/top,opt=endpoint={s3.endpoint},opt=region=us-east-1", env)
    assert got.code == 0 and found == {"top": b"top"}, got
    job = bacalhau([s3_input(bucket, "top", Endpoint=s3.endpoint, Region="us-east-1")], TAR)
    got = run(berth, servers, job, env=env)
    assert got.code == 0 and packed(got) == {"top": b"top"}, got


def test_an_endpoint_that_nobody_serves_is_named(berth, s3, bucket):
    got, _ = fetched(berth, f"src=s3://{bucket}/top,opt=endpoint=http://127.0.0.1:9", s3.env)
    assert got.code == 1 and "127.0.0.1:9" in got.errors and "refused" in got.errors, got


@pytest.mark.parametrize("how", ["AWS_CA_BUNDLE", "BERTH_XFER_CA_FILE", "SSL_CERT_FILE"])
def test_tls_with_a_private_authority(berth, s3, servers, bucket, how):
    env = {**s3.env, "AWS_ENDPOINT_URL_S3": servers["s3"]["tls"], how: servers["s3"]["ca"]}
    got, found = fetched(berth, f"s3://{bucket}/models/test/", env)
    assert got.code == 0 and found == below("models/test/"), got
    assert "plain http" not in got.errors


def test_tls_by_an_unknown_authority_is_refused_with_the_way_out(berth, s3, servers, bucket):
    got, found = fetched(berth, f"s3://{bucket}/top", {**s3.env, "AWS_ENDPOINT_URL_S3": servers["s3"]["tls"]})
    assert got.code == 1 and found == {}
    assert "certificate" in got.errors and "AWS_CA_BUNDLE" in got.errors, got


def test_anonymous_on_a_private_bucket_says_what_is_missing(berth, s3, servers, bucket):
    env = {"AWS_ENDPOINT_URL_S3": s3.endpoint}
    got, found = fetched(berth, f"s3://{bucket}/models/", env)
    assert got.code == 1 and found == {}
    for word in ("403", "s3:ListBucket", "anonymous", bucket):
        assert word in got.errors, got
    got, found = fetched(berth, f"s3://{bucket}/models/only", env)
    assert got.code == 1 and found == {} and "s3:GetObject" in got.errors and "anonymous" in got.errors, got


def test_an_unknown_access_key_is_told_from_a_wrong_secret(berth, s3, bucket):
    got, _ = fetched(berth, f"s3://{bucket}/models/", {**s3.env, "AWS_ACCESS_KEY_ID": "nobodyskey"})
    assert got.code == 1 and "does not know the access key id" in got.errors and "environment" in got.errors, got
    wrong = "wrongsecret-canary"
    got, _ = fetched(berth, f"s3://{bucket}/models/", {**s3.env, "AWS_SECRET_ACCESS_KEY": wrong})
    assert got.code == 1 and "secret access key is wrong" in got.errors and wrong not in got.errors, got


def test_keys_of_the_job_win_over_the_environment_and_are_named(berth, s3, stranger, servers, bucket):
    job = nosana([resource(f"{s3.endpoint}/{bucket}/models/", user=stranger)], TAR)
    got = run(berth, servers, job, env=s3.env)
    assert got.code == 125 and "AccessDenied" in got.errors and "s3:ListBucket" in got.errors and "job" in got.errors, got
    assert stranger.secret not in got.errors + got.text
    job = nosana([resource(f"{s3.endpoint}/{bucket}/models/only", user=s3)], TAR)
    got = berth("run", "-r", "again", "--engine", servers["docker"]["address"], berth.job(job), env=stranger.env)
    assert got.code == 0 and packed(got) == {"only": b"the object itself"}, got


@pytest.fixture(scope="module")
def readable(s3):
    """A bucket whose objects the other user may get; nobody else may list it."""
    name = s3.bucket()
    s3.fill(name, BUCKET)
    allow = {"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam:::user/other"]}, "Action": ["s3:GetObject"],
             "Resource": [f"arn:aws:s3:::{name}/*"]}
    s3.client.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
    return name


def test_an_exact_key_needs_no_right_to_list(berth, stranger, servers, readable):
    got, found = fetched(berth, f"s3://{readable}/models/only", stranger.env)
    assert got.code == 0 and found == {"only": b"the object itself"}, got
    got = run(berth, servers, nosana([resource(f"{stranger.endpoint}/{readable}/models/only", user=stranger)], TAR))
    assert got.code == 0 and packed(got) == {"only": b"the object itself"}, got


def test_named_files_need_no_right_to_list(berth, stranger, servers, readable):
    files = ["test/a.bin", "test/sub/b.bin"]
    got = run(berth, servers, nosana([resource(f"{stranger.endpoint}/{readable}/models", user=stranger, files=files)], TAR))
    assert got.code == 0 and packed(got) == {k: BUCKET["models/" + k] for k in files}, got


def test_a_prefix_without_the_right_to_list_names_that_right_and_the_way_out(berth, stranger, readable):
    got, found = fetched(berth, f"s3://{readable}/models/", stranger.env)
    assert got.code == 1 and found == {} and "s3:ListBucket" in got.errors and "files" in got.errors, got


def test_a_missing_key_without_the_right_to_list_says_that_it_may_be_missing(berth, stranger, readable):
    got, _ = fetched(berth, f"s3://{readable}/models/nope", stranger.env)
    assert got.code == 1 and "models/nope" in got.errors and "do not exist" in got.errors, got


def test_a_profile_gives_keys_and_region(berth, s3, bucket):
    aws = berth.home / ".aws"
    aws.mkdir()
    (aws / "credentials").write_text(f"[lab]\naws_access_key_id = {s3.access}\naws_secret_access_key = {s3.secret}\n")
    (aws / "config").write_text("[profile lab]\nregion = us-east-1\n")
    got, found = fetched(berth, f"s3://{bucket}/top", {"AWS_PROFILE": "lab", "AWS_ENDPOINT_URL": s3.endpoint})
    assert got.code == 0 and found == {"top": b"top"}, got
    got, _ = fetched(berth, f"s3://{bucket}/top", {"AWS_PROFILE": "lba", "AWS_ENDPOINT_URL": s3.endpoint})
    assert got.code == 1 and "lba" in got.errors, got


@pytest.mark.parametrize("front, from_, to", [
    ("https://models.example.test", "https://models.example.test", "/{bucket}"),
    ("https://models.example.test/{bucket}", "https://models.example.test", ""),
    ("https://models.example.test/{bucket}", "https://models.example.test/{bucket}", "/{bucket}"),
    ("https://{bucket}.s3.eu-west-3.amazonaws.com", "https://{bucket}.s3.eu-west-3.amazonaws.com", "/{bucket}"),
    ("https://{bucket}.s3.eu-west-3.amazonaws.com", "https://s3.eu-west-3.amazonaws.com", ""),
    ("https://account.r2.cloudflarestorage.com/{bucket}", "https://account.r2.cloudflarestorage.com", ""),
])
def test_mirrors_send_one_place_to_another(berth, s3, servers, public, front, from_, to):
    front, from_, to = (x.format(bucket=public) for x in (front, from_, to))
    (berth.cwd / "config.yaml").write_text(f"mirrors:\n  - {from_}={s3.endpoint}{to}\n")
    got = run(berth, servers, nosana([resource(f"{front}/models/test")], TAR), "--config", "config.yaml")
    assert got.code == 0 and packed(got) == below("models/test/"), got


def test_virtual_addressing_finds_the_bucket_in_the_host(berth, s3, bucket):
    port = s3.endpoint.rsplit(":", 1)[1]
    got, found = fetched(berth, f"src=s3://{bucket}/models/test/,opt=endpoint=http://localhost:{port}", s3.env, "--set",
                         "s3.addressing=virtual")
    assert got.code == 0 and found == below("models/test/"), got


def test_the_requester_pays_flag_of_a_record_is_sent_and_does_no_harm(berth, s3, servers, bucket):
    assert run(berth, servers, bacalhau([s3_input(bucket, "top")], TAR), env=s3.env).code == 0
    record = json.loads((berth.cwd / "results/berth.json").read_text())
    record["job"]["ops"][0]["inputs"][0]["requester_pays"] = True
    got = berth("run", "-r", "again", "--engine", servers["docker"]["address"], berth.job(record), env=s3.env)
    assert got.code == 0 and packed(got) == {"top": b"top"}, got
