"""berth publish by a grant: URLs that the test signs in advance, on the real server; and on one that breaks off."""
import base64
import hashlib
import json
import time
import types
import urllib.request

import boto3
import botocore.client
import pytest

from faults.kit import server  # noqa: F401 (a fixture)
from lab import noise

PART = 5 << 20


@pytest.fixture
def folder(berth):
    """Content that does not compress, of about three parts."""
    path = berth.cwd / "out"
    path.mkdir()
    (path / "big").write_bytes(noise(2 * PART + 12345))
    (path / "stdout").write_text("hello\n")
    return path


def signed(s3, action, bucket, key="r.tar.gz", seconds=600, **more):
    return s3.client.generate_presigned_url(action, Params={"Bucket": bucket, "Key": key, **more}, ExpiresIn=seconds)


def in_parts(s3, bucket, parts=3, **more):
    upload = {"UploadId": s3.client.create_multipart_upload(Bucket=bucket, Key="r.tar.gz")["UploadId"]}
    return {"version": 1, "method": "multipart", "part_size": PART,
            "parts": [signed(s3, "upload_part", bucket, PartNumber=i + 1, **upload) for i in range(parts)],
            "complete": signed(s3, "complete_multipart_upload", bucket, **upload),
            "abort": signed(s3, "abort_multipart_upload", bucket, **upload), **more}


def by_grant(berth, folder, document, *flags):
    """berth publish --grant -; no credentials are anywhere near."""
    return berth("publish", "--json", "--no-progress", *flags, "--grant", "-", folder, input=json.dumps(document).encode())


def stored(s3, bucket):
    return s3.client.get_object(Bucket=bucket, Key="r.tar.gz")["Body"].read()


def sum_of(body):
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def unfinished(s3, bucket):
    return s3.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])


def archive(berth, folder):
    assert berth("publish", folder, "./same.tar.gz").code == 0
    return (berth.cwd / "same.tar.gz").read_bytes()


# ---- on the real server ----

def test_a_presigned_url_takes_the_archive_that_credentials_would_store(berth, s3, folder):
    bucket = s3.bucket()
    done = berth("publish", "--json", folder, signed(s3, "put_object", bucket))
    assert done.code == 0 and stored(s3, bucket) == archive(berth, folder), done
    assert done.json == {"Type": "s3managed", "Params": {"URL": f"{s3.endpoint}/{bucket}/r.tar.gz",
                                                         "ChecksumSHA256": sum_of(stored(s3, bucket))}}
    assert "Signature" not in done.errors


def test_a_put_sends_the_headers_that_were_signed_and_names_the_result(berth, s3, folder):
    bucket = s3.bucket(versioning=True)
    where = {"Type": "s3", "Params": {"Bucket": bucket, "Key": "r.tar.gz", "Endpoint": s3.endpoint, "Region": s3.region}}
    document = {"version": 1, "method": "put", "url": signed(s3, "put_object", bucket, ContentType="application/x-results"),
                "headers": {"Content-Type": "application/x-results"}, "max_bytes": 1 << 30,
                "expires_unix": int(time.time()) + 600, "result": where}
    done = by_grant(berth, folder, document)
    assert done.code == 0, done
    head = s3.client.head_object(Bucket=bucket, Key="r.tar.gz")
    assert head["ContentType"] == "application/x-results" and done.json["Params"]["VersionID"] == head["VersionId"]
    (berth.cwd / "r.json").write_bytes(done.out)
    got = berth("job", "get", "r.json", "-d", "got", env=s3.env)
    assert got.code == 0 and (berth.cwd / "got/big").read_bytes() == (folder / "big").read_bytes(), got
    without = by_grant(berth, folder, {**document, "headers": {}})
    assert without.code == 1 and "as they were signed" in without.errors, without


def test_parts_are_put_together_by_signed_urls_alone(berth, s3, folder):
    bucket = s3.bucket()
    done = by_grant(berth, folder, in_parts(s3, bucket, parts=5))
    assert done.code == 0 and stored(s3, bucket) == archive(berth, folder), done
    assert done.json["Params"]["ChecksumSHA256"] == sum_of(stored(s3, bucket)) and not unfinished(s3, bucket)


def test_an_empty_folder_is_one_part(berth, s3):
    bucket = s3.bucket()
    (berth.cwd / "none").mkdir()
    assert by_grant(berth, "none", in_parts(s3, bucket)).code == 0
    assert stored(s3, bucket) == archive(berth, "none")


@pytest.mark.parametrize("change, words", [({"parts": 2}, "URLs for 2 parts"), ({"max_bytes": PART}, "larger than the")])
def test_a_grant_that_is_too_small_is_told_and_its_upload_aborted(berth, s3, folder, change, words):
    bucket = s3.bucket()
    done = by_grant(berth, folder, in_parts(s3, bucket, **change))
    assert done.code == 1 and words in done.errors, done
    assert not unfinished(s3, bucket) and not s3.client.list_objects_v2(Bucket=bucket).get("Contents")


def test_a_put_that_is_too_large_is_not_even_begun(berth, server, folder):
    server.bucket("b")
    done = by_grant(berth, folder, {"version": 1, "method": "put", "url": f"{server.url}/b/r", "max_bytes": PART})
    assert done.code == 1 and "grant is for" in done.errors and not server.asked(), done


@pytest.mark.parametrize("method", ["put", "multipart"])
def test_an_expired_grant_says_so_and_no_signature(berth, s3, folder, method):
    bucket, past = s3.bucket(), int(time.time()) - 3600
    document = {"version": 1, "method": "put", "url": signed(s3, "put_object", bucket)} if method == "put" else in_parts(s3, bucket)

    def age(url):  # signed an hour ago, for a minute; what else the signature says does not matter any more
        then = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(past - 60))
        head, _, rest = url.partition("X-Amz-Date=")
        return head.replace("X-Amz-Expires=600", "X-Amz-Expires=60") + "X-Amz-Date=" + then + rest[16:].replace("X-Amz-Expires=600", "X-Amz-Expires=60")

    old = {k: age(v) if k == "url" else [age(u) for u in v] if k == "parts" else v for k, v in document.items()}
    done = by_grant(berth, folder, {**old, "expires_unix": past})
    assert done.code == 1 and "has expired" in done.errors and "good until" in done.errors, done
    assert "Signature" not in done.errors and "AWSAccessKeyId" not in done.errors and s3.access not in done.errors
    assert not unfinished(s3, bucket)


def test_a_refused_url_says_so_and_no_signature(berth, s3, stranger, folder):
    bucket = s3.bucket()
    done = berth("publish", folder, signed(stranger, "put_object", bucket))
    assert done.code == 1 and "was refused (HTTP 403" in done.errors, done
    assert "Signature" not in done.errors and stranger.access not in done.errors


@pytest.mark.parametrize("document, words", [
    ({"version": 2, "method": "put"}, "knows 1"), ({"version": 1, "method": "post"}, "put and multipart"),
    ({"version": 1, "method": "put", "url": "ftp://x"}, "'url'"), ([], "not a grant"),
    ({"version": 1, "method": "multipart", "part_size": 1, "parts": []}, "'part_size'"),
    ({"version": 1, "method": "put", "url": "https://x/?secret", "headers": {"a": 1}}, "'headers'")])
def test_a_grant_that_is_none_is_told(berth, document, words):
    (berth.cwd / "out").mkdir()
    done = by_grant(berth, "out", document)
    assert done.code == 2 and words in done.errors and "secret" not in done.errors, done


def test_a_grant_that_is_cut_off_is_told_without_what_it_holds(berth):
    (berth.cwd / "out").mkdir()
    done = berth("publish", "--grant", "-", "out", input=b'{"version": 1, "method": "put", "url": "https://h/o?X-Amz-Signature=abcdef')
    assert done.code == 2 and "not JSON" in done.errors and "Signature" not in done.errors, done


def test_s3managed_needs_a_grant(berth):
    (berth.cwd / "out").mkdir()
    done = berth("publish", "out", "s3managed")
    assert done.code == 2 and "--grant" in done.errors, done


# ---- on a server that breaks off ----

@pytest.fixture
def broken(server):
    """A grant of three parts on the fault server, which takes any signature."""
    server.bucket("b")
    client = boto3.client("s3", endpoint_url=server.url, region_name="us-east-1", aws_access_key_id="any", aws_secret_access_key="any",
                          config=botocore.client.Config(s3={"addressing_style": "path"}, signature_version="s3v4"))

    return types.SimpleNamespace(client=client)


def test_a_part_that_breaks_is_sent_again_alone(berth, server, broken, folder):
    document = in_parts(broken, "b")
    server.forget()
    server.rule(op="part", nth=[2], status=503, code="SlowDown")
    server.rule(op="complete", nth=[1], status=500, code="InternalError")
    done = by_grant(berth, folder, document)
    assert done.code == 0 and len(server.asked(op="part")) == 4, (done, server.told())
    assert all("content-md5" in r.headers for r in server.asked(op="part"))


def test_a_put_that_breaks_is_made_and_sent_again(berth, server, broken, folder):
    server.rule(op="put", nth=[1], status=503, code="SlowDown")
    done = berth("publish", "--json", folder, signed(broken, "put_object", "b"))
    assert done.code == 0 and len(server.asked(op="put")) == 2, (done, server.told())
    with urllib.request.urlopen(f"{server.url}/b/r.tar.gz") as answer:
        assert answer.read() == archive(berth, folder)


def test_what_fails_for_good_is_aborted(berth, server, broken, folder):
    document = in_parts(broken, "b")
    server.rule(op="part", nth=[3], status=403, code="AccessDenied")
    done = by_grant(berth, folder, document)
    assert done.code == 1 and "part " in done.errors and "was refused" in done.errors, done
    assert len(server.asked(op="abort")) == 1, server.told()
