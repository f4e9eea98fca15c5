"""What the server holds, and what S3 answers about it. Nothing here goes wrong by itself; that is rules.py's part.

"ListObjectsV2", "HeadObject", "GetObject" of the Amazon S3 API reference."""
import bisect
import dataclasses
import email.utils
import hashlib
import re
import time
import urllib.parse
from xml.sax.saxutils import escape

from faults.content import Content, KINDS
from faults.sigv4 import Refused

MODIFIED = 1_700_000_000
PAGE_KEYS = 1000


@dataclasses.dataclass
class Identity:
    """An access key. `buckets`: those it may read; None: all."""
    access: str
    secret: str
    token: str | None = None
    buckets: list | None = None
    expired: bool = False


class Version:
    def __init__(self, content, number, options):
        self.content, self.size, self.number, self.options = content, content.size, number, options

    @property
    def etag(self):
        """`etag`: "md5" (the default), "weak", "none", one in quotes, or any other word, which gets the version's
        number."""
        given = self.options.get("etag", "md5")
        if given == "none":
            return None
        if given.startswith('"'):
            return given
        if given == "md5":
            return f'"{self.content.hex("md5")}"'
        return f'W/"{self.number}"' if given == "weak" else f'"{given}-{self.number + 1}"'

    def checksums(self):
        kinds, part = self.options.get("checksums", ()), self.options.get("part_bytes")
        out = {f"x-amz-checksum-{k}": self.content.composite(k, part) if part else self.content.base64(k) for k in kinds}
        if out:
            out["x-amz-checksum-type"] = "COMPOSITE" if part else "FULL_OBJECT"
        return out


class Object:
    """A key and its successive versions. Options: etag, checksums (kinds), part_bytes (composite checksums),
    range_checksums (stated for ranges, too), headers, version_id, modified, listed_size (what listings claim)."""

    def __init__(self, key, data=None, size=0, seed=None, **options):
        unknown = set(options) - {"etag", "checksums", "part_bytes", "range_checksums", "headers", "version_id", "modified",
                                  "listed_size"}
        if unknown or not set(options.get("checksums", ())) <= set(KINDS):
            raise ValueError(f"unknown options {unknown or options['checksums']}")
        self.key, self.options = key, options
        self.data, self.size = data.encode() if isinstance(data, str) else data, size
        self.seed = key if seed is None else seed
        self.versions = []
        self.change()

    def change(self):
        n = len(self.versions)
        data = self.data if n == 0 or self.data is None else self.data[::-1] + b"%d" % n
        self.versions.append(Version(Content(data, self.size, f"{self.seed}#{n}"), n, self.options))

    @property
    def now(self):
        return self.versions[-1]

    @property
    def modified(self):
        return self.options.get("modified", MODIFIED) + self.now.number


class Bucket:
    """Objects by key. `generated`: (count, pattern, size): that many keys more, made up as they are asked for; the
    pattern is a format of one number whose results sort as the numbers do."""

    def __init__(self, name, public=False, generated=None):
        self.name, self.public, self.objects = name, public, {}
        self.sums, self.uploads, self.upload_count = "md5", {}, 0
        self.muddled = False  # answers for uploads that are gone as Ceph does: an internal error for the completion, no such key for the parts
        self.count, self.pattern, self.each_size = generated or (0, "", 0)

    def find(self, key):
        made_up = self.count and key not in self.objects and re.fullmatch(r"\D*(\d+)\D*", key)
        if made_up and int(made_up[1]) < self.count and self.pattern.format(int(made_up[1])) == key:
            return Object(key, size=self.each_size, etag=self._tag(int(made_up[1])))
        return self.objects.get(key)

    @staticmethod
    def _tag(i):
        return f"{i:032x}"

    def page(self, prefix, after, limit):
        """Up to `limit` (key, size, etag, modified) after a key, and whether there are more."""
        if self.count:
            return self._generated(after, limit)
        keys = sorted(k for k in self.objects if k.startswith(prefix))
        at = bisect.bisect_right(keys, after) if after else 0
        rows = [self._row(self.objects[k]) for k in keys[at:at + limit]]
        return rows, len(keys) > at + limit

    def _generated(self, after, limit):
        first = int(re.findall(r"\d+", after)[-1]) + 1 if after else 0
        end = min(first + limit, self.count)
        rows = [(self.pattern.format(i), self.each_size, f'"{self._tag(i)}-1"', MODIFIED) for i in range(first, end)]
        return rows, end < self.count

    @staticmethod
    def _row(o):
        return o.key, o.options.get("listed_size", o.now.size), o.now.etag, o.modified


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict = dataclasses.field(default_factory=dict)
    body: Content | None = None
    first: int = 0  # of the body's bytes
    end: int = 0

    @property
    def length(self):
        return self.end - self.first


def document(status, text, headers=None, kind="application/xml"):
    body = Content(text.encode() if isinstance(text, str) else text)
    return Answer(status, {"Content-Type": kind, **(headers or {})}, body, 0, body.size)


def error(status, code, message="", headers=None, **elements):
    more = "".join(f"<{k}>{escape(v)}</{k}>" for k, v in elements.items())
    return document(status, f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>'
                            f"<Message>{escape(message)}</Message>{more}</Error>", headers)


def iso(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))


def listing(bucket, request):
    q = request.query
    prefix, limit = q.get("prefix", ""), min(int(q.get("max-keys", PAGE_KEYS)), PAGE_KEYS)
    token = q.get("continuation-token")
    after = urllib.parse.unquote(token) if token else q.get("start-after", "")
    rows, more = bucket.page(prefix, after, limit)
    encode = (lambda s: urllib.parse.quote(s, safe="/-_.~*")) if q.get("encoding-type") == "url" else escape
    out = [f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
           f"<Name>{bucket.name}</Name><Prefix>{encode(prefix)}</Prefix><KeyCount>{len(rows)}</KeyCount>"
           f"<MaxKeys>{limit}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>"]
    if q.get("encoding-type") == "url":
        out.append("<EncodingType>url</EncodingType>")
    if more:
        out.append(f"<NextContinuationToken>{escape(urllib.parse.quote(rows[-1][0]))}</NextContinuationToken>")
    for key, size, etag, modified in rows:
        tag = f"<ETag>{escape(etag)}</ETag>" if etag else ""
        out.append(f"<Contents><Key>{encode(key)}</Key><LastModified>{iso(modified)}</LastModified>{tag}"
                   f"<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>")
    out.append("</ListBucketResult>")
    return document(200, "".join(out))


def parse_range(text, size=None):
    """(first, last) of "bytes=first-last"; None where it is no such range."""
    m = re.fullmatch(r"bytes=(\d+)-(\d*)", text or "")
    if not m:
        return None
    return int(m[1]), int(m[2]) if m[2] else (size or 0) - 1


def _precondition(request, v):
    wanted = request.headers.get("if-match")
    if wanted is not None and (v.etag is None or v.etag.startswith("W/") or wanted not in (v.etag, "*")):
        raise Refused(412, "PreconditionFailed", "At least one of the preconditions you specified did not hold.")


def fetch(o, request, ignore_range=False):
    """HeadObject and GetObject."""
    wanted = request.query.get("versionId")
    if wanted is not None and wanted != o.options.get("version_id"):
        raise Refused(404, "NoSuchVersion", Key=o.key)
    v = o.now
    _precondition(request, v)
    headers = {"Last-Modified": email.utils.formatdate(o.modified, usegmt=True), "Accept-Ranges": "bytes",
               "Content-Type": "application/octet-stream", **o.options.get("headers", {})}
    if v.etag:
        headers["ETag"] = v.etag
    if "version_id" in o.options:
        headers["x-amz-version-id"] = o.options["version_id"]
    part = None if ignore_range else parse_range(request.headers.get("range"), v.size)
    asked = request.headers.get("x-amz-checksum-mode") == "ENABLED"
    if asked and (part is None or o.options.get("range_checksums")):
        headers.update(v.checksums())
    if part is None:
        return Answer(200, headers, v.content, 0, v.size)
    if part[0] >= v.size:
        return error(416, "InvalidRange", headers={"Content-Range": f"bytes */{v.size}"})
    last = min(part[1], v.size - 1)
    headers["Content-Range"] = f"bytes {part[0]}-{last}/{v.size}"
    return Answer(206, headers, v.content, part[0], last + 1)


def request_id(number):
    return hashlib.md5(b"%d" % number).hexdigest()[:16].upper()
