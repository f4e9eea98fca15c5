"""Storing objects: PutObject, and the requests of a multipart upload. What a bucket takes of checksums is its `sums`:
"crc32c" (checked and told again, as Amazon does), "md5" (others pass unseen, as older servers do) or "refuse" (an error).

"Uploading and copying objects using multipart upload" of the Amazon S3 user guide."""
import base64
import hashlib
import re
from xml.sax.saxutils import escape

from faults import s3
from faults.sigv4 import Refused

MIN_PART = 5 << 20


def op_of(method, key, query):
    """How rules call the request; None: it stores nothing."""
    if "uploadId" in query:
        return {"PUT": "part", "POST": "complete", "DELETE": "abort", "GET": "parts"}.get(method)
    if "uploads" in query:
        return {"POST": "create", "GET": "uploads"}.get(method)
    return {"PUT": "put", "DELETE": "delete"}.get(method) if key else None


def _crc32c_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = (n >> 1) ^ (0x82f63b78 if n & 1 else 0)
        table.append(n)
    return table


TABLE = _crc32c_table()


def crc32c(data):
    crc = 0xffffffff
    for b in data:
        crc = TABLE[(crc ^ b) & 0xff] ^ (crc >> 8)
    return base64.b64encode((crc ^ 0xffffffff).to_bytes(4, "big")).decode()


def _check_payload(bucket, request, body):
    """The headers of the answer; raises what a damaged payload gets."""
    h = request.headers
    stated = h.get("x-amz-checksum-crc32c")
    if stated and bucket.sums == "refuse":
        raise Refused(400, "InvalidRequest", "x-amz-checksum-crc32c is not known here")
    if "content-md5" in h and h["content-md5"] != base64.b64encode(hashlib.md5(body).digest()).decode():
        raise Refused(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")
    signed = h.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
    if signed != "UNSIGNED-PAYLOAD" and signed != hashlib.sha256(body).hexdigest():
        raise Refused(400, "XAmzContentSHA256Mismatch")
    if not stated or bucket.sums != "crc32c":
        return {}
    if len(body) <= 1 << 16 and stated != crc32c(body):  # this one is slow here
        raise Refused(400, "BadDigest", "The CRC32C you specified did not match the calculated checksum.")
    return {"x-amz-checksum-crc32c": stated}


def _only_new(bucket, request):
    if request.headers.get("if-none-match") == "*" and request.key in bucket.objects:
        raise Refused(412, "PreconditionFailed", Condition="If-None-Match")


def put(bucket, request, body):
    told = _check_payload(bucket, request, body)
    _only_new(bucket, request)
    bucket.objects[request.key] = s3.Object(request.key, body)
    return s3.Answer(200, {"ETag": bucket.objects[request.key].now.etag, **told})


def create(bucket, request, body):
    declared = request.headers.get("x-amz-checksum-algorithm")
    if declared and bucket.sums == "refuse":
        raise Refused(501, "NotImplemented", "A header you provided implies functionality that is not implemented")
    bucket.upload_count += 1
    upload = f"upload-{bucket.upload_count}"
    bucket.uploads[upload] = (request.key, {})
    told = {"x-amz-checksum-algorithm": declared} if declared and bucket.sums == "crc32c" else {}
    return s3.document(200, f"<InitiateMultipartUploadResult><Bucket>{bucket.name}</Bucket><Key>{escape(request.key)}</Key>"
                            f"<UploadId>{upload}</UploadId></InitiateMultipartUploadResult>", told)


def _parts(bucket, request):
    key, parts = bucket.uploads.get(request.query["uploadId"], (None, None))
    if key != request.key:
        raise Refused(404, "NoSuchUpload", "The specified upload does not exist.")
    return parts


def part(bucket, request, body):
    parts = _parts(bucket, request)
    told = _check_payload(bucket, request, body)
    md5 = hashlib.md5(body)
    parts[int(request.query["partNumber"])] = body, md5
    return s3.Answer(200, {"ETag": f'"{md5.hexdigest()}"', **told})


def list_parts(bucket, request, body):
    if bucket.muddled and request.query["uploadId"] not in bucket.uploads:
        raise Refused(404, "NoSuchKey")
    rows = "".join(f"<Part><PartNumber>{n}</PartNumber></Part>" for n in sorted(_parts(bucket, request)))
    return s3.document(200, f"<ListPartsResult><IsTruncated>false</IsTruncated>{rows}</ListPartsResult>")


def complete(bucket, request, body):
    if bucket.muddled and request.query["uploadId"] not in bucket.uploads:
        raise Refused(500, "InternalError")
    parts = _parts(bucket, request)
    _only_new(bucket, request)
    wanted = re.findall(r"<PartNumber>(\d+)</PartNumber><ETag>&quot;([0-9a-f]{32})&quot;</ETag>", body.decode())
    bodies, sums = [], []
    for number, tag in wanted:
        content, md5 = parts.get(int(number), (None, None))
        if content is None or md5.hexdigest() != tag:
            raise Refused(400, "InvalidPart")
        bodies.append(content)
        sums.append(md5.digest())
    if not bodies or any(len(b) < MIN_PART for b in bodies[:-1]):
        raise Refused(400, "EntityTooSmall" if bodies else "MalformedXML")
    del bucket.uploads[request.query["uploadId"]]
    whole = hashlib.md5(b"".join(sums)).hexdigest()
    bucket.objects[request.key] = s3.Object(request.key, b"".join(bodies), etag=f'"{whole}-{len(bodies)}"')
    return s3.document(200, f"<CompleteMultipartUploadResult><Key>{escape(request.key)}</Key><ETag>&quot;{whole}-{len(bodies)}"
                            "&quot;</ETag></CompleteMultipartUploadResult>")


def abort(bucket, request, body):
    _parts(bucket, request)
    del bucket.uploads[request.query["uploadId"]]
    return s3.Answer(204)


def uploads(bucket, request, body):
    rows = "".join(f"<Upload><Key>{escape(key)}</Key><UploadId>{u}</UploadId><Initiated>{s3.iso(s3.MODIFIED)}</Initiated></Upload>"
                   for u, (key, _) in bucket.uploads.items() if key.startswith(request.query.get("prefix", "")))
    return s3.document(200, f"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>{rows}</ListMultipartUploadsResult>")


OPS = {"put": put, "create": create, "part": part, "complete": complete, "abort": abort, "parts": list_parts, "uploads": uploads}
