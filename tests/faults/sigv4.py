"""Whether a request is signed by whom it says: Signature Version 4 from the server's side, header form only.

"Authenticating Requests (AWS Signature Version 4)" of the Amazon S3 API reference."""
import calendar
import hashlib
import hmac
import re
import time
import urllib.parse

SKEW_SECONDS = 15 * 60
_FORM = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, *"
                   r"SignedHeaders=([^,]+), *Signature=([0-9a-f]{64})$")


class Refused(Exception):
    def __init__(self, status, code, message="", **elements):
        super().__init__(code)
        self.status, self.code, self.message, self.elements = status, code, message, elements


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _canonical_query(query):
    pairs = urllib.parse.parse_qsl(query, keep_blank_values=True) if query else []
    encode = lambda s: urllib.parse.quote(s, safe="-_.~")
    return "&".join(sorted(f"{encode(k)}={encode(v)}" for k, v in pairs))


def _signature(request, secret, day, region, names, when):
    headers = "".join(f"{n}:{' '.join(request.headers.get(n, '').split())}\n" for n in names)
    canonical = "\n".join([request.method, request.raw_path, _canonical_query(request.raw_query), headers,
                           ";".join(names), request.headers.get("x-amz-content-sha256", "")])
    scope = f"{day}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{when}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = _hmac(key, part)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def claimed(request):
    """Access key and region that the request says it is signed by, unchecked; None, None where it is not."""
    m = _FORM.match(request.headers.get("authorization", ""))
    return (m[1], m[3]) if m else (None, None)


def verify(request, identities, region, now):
    """The identity that signed the request, None where nobody did. Raises Refused as S3 would answer."""
    header = request.headers.get("authorization")
    if header is None:
        return None
    m = _FORM.match(header)
    if not m:
        raise Refused(400, "AuthorizationHeaderMalformed", "the header can't be read")
    access, day, signed_region, names, signature = m.groups()
    names = names.split(";")
    who = identities.get(access)
    if who is None:
        raise Refused(403, "InvalidAccessKeyId", AWSAccessKeyId=access)
    if region and signed_region != region:
        raise Refused(400, "AuthorizationHeaderMalformed", f"the region '{signed_region}' is wrong; expecting '{region}'",
                      Region=region)
    when = request.headers.get("x-amz-date", "")
    if not re.fullmatch(r"\d{8}T\d{6}Z", when) or when[:8] != day:
        raise Refused(403, "AccessDenied", "no usable x-amz-date")
    if abs(calendar.timegm(time.strptime(when, "%Y%m%dT%H%M%SZ")) - now) > SKEW_SECONDS:
        raise Refused(403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")
    loose = [n for n in request.headers if n.startswith("x-amz-") and n not in names]
    if "host" not in names or loose:
        raise Refused(403, "AccessDenied", f"there were headers present that were not signed: {loose or ['host']}")
    if not hmac.compare_digest(signature, _signature(request, who.secret, day, signed_region, names, when)):
        raise Refused(403, "SignatureDoesNotMatch")
    if request.headers.get("x-amz-security-token") != who.token:
        raise Refused(400, "InvalidToken")
    if who.expired:
        raise Refused(400, "ExpiredToken", "The provided token has expired.")
    return who
