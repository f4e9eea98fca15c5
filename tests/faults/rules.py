"""Rules: which requests go wrong, and how. One flat record each, so that a script is a list of JSON objects.

Which requests (all that are given must fit):
  bucket, key, method, op   equal; `key` may be a shell pattern; `op` is list, head, get or page; put, create,
                            part, complete, abort or uploads
  access                    the access key that signed it
  range                     True: only requests with a Range; False: only those without
  last                      the last byte of the range
  nth                       1, [1, 2] or "3-" of the matching requests; absent: all
  per                       "part": `nth` counts for every part on its own, by key and last byte of the range
  until                     a gate: the rule is off once it was released
  seconds                   the rule is off so long after its first match

What happens (several may be combined):
  status, code, message, headers, body   this answer instead; `body` as it stands, else an S3 error made from `code`
  stream                    {"head", "unit", "count", "tail"}: an answer of any length
  region_header             x-amz-bucket-region of an error
  location                  with status 301, 302, 307 …: where to
  hold                      a gate: nothing is answered before it is released
  delay_ms                  so long before the answer, so that requests under way at once are seen to be
  hold_at, gate             the body stops after so many bytes until the gate is released
  trickle_ms                so long between the bytes of the body, one at a time
  truncate                  the connection ends after so many bytes of the body
  reset                     likewise, by RST
  short                     only so many bytes of the body, framed as if that were all
  read                      only so many bytes of the request's body are taken, then the connection ends by RST
  take_at, gate             no more than so many bytes of the request's body are taken before the gate is released
  lost                      all is done, and instead of the answer comes a RST
  extra                     so many bytes more than are right, and a Content-Length that agrees with them
  flip                      the lowest bit of the object's byte at this offset is turned
  content_range             this Content-Range; None: none at all
  ignore_range              a 200 with the whole object
  change                    the object's next version is in place before the request is looked at
  expire                    the access key that signed this request has expired from now on
  framing                   "chunked" or "close": no Content-Length
  without                   names of headers that the answer leaves out"""
import dataclasses
import fnmatch
import time
import typing

ABSENT = "absent"


@dataclasses.dataclass
class Rule:
    bucket: str | None = None
    key: str | None = None
    method: str | None = None
    op: str | None = None
    access: str | None = None
    range: bool | None = None
    last: int | None = None
    nth: typing.Any = None
    per: str | None = None
    until: str | None = None
    seconds: float | None = None

    status: int | None = None
    code: str = ""
    message: str = ""
    headers: dict = dataclasses.field(default_factory=dict)
    body: str | bytes | None = None
    stream: dict | None = None
    region_header: str | None = None
    location: str | None = None
    hold: str | None = None
    delay_ms: int = 0
    hold_at: int | None = None
    gate: str | None = None
    trickle_ms: int = 0
    truncate: int | None = None
    reset: int | None = None
    short: int | None = None
    read: int | None = None
    take_at: int | None = None
    lost: bool = False
    extra: int = 0
    flip: int | None = None
    content_range: str | None = ABSENT
    ignore_range: bool = False
    change: bool = False
    expire: bool = False
    framing: str | None = None
    without: tuple = ()

    def __post_init__(self):
        self.counts, self.first_match, self.applied = {}, None, 0

    def _fits(self, request):
        fits = [self.bucket in (None, request.bucket), self.method in (None, request.method), self.op in (None, request.op),
                self.access in (None, request.access),
                self.key is None or (request.key is not None and fnmatch.fnmatchcase(request.key, self.key)),
                self.range in (None, request.range is not None),
                self.last is None or (request.range is not None and request.range[1] == self.last)]
        return all(fits)

    def _counted(self, n):
        if self.nth is None:
            return True
        if isinstance(self.nth, str):
            return n >= int(self.nth.rstrip("-"))
        return n in self.nth if isinstance(self.nth, (list, tuple)) else n == self.nth

    def takes(self, request, released):
        """Whether the rule acts on this request. The caller holds the server's lock."""
        if not self._fits(request) or (self.until and released(self.until)):
            return False
        now = time.monotonic()
        self.first_match = self.first_match or now
        if self.seconds is not None and now - self.first_match >= self.seconds:
            return False
        what = (request.key, request.range and request.range[1]) if self.per == "part" else None
        self.counts[what] = self.counts.get(what, 0) + 1
        if not self._counted(self.counts[what]):
            return False
        self.applied += 1
        return True
