"""Say where in an object store a model repository lies: Triton's URLs, taken apart."""

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePath
from typing import Final


class Scheme(Enum):
    """The kinds of object stores, by what their URLs begin with."""

    S3 = "s3"
    GOOGLE = "gs"
    AZURE = "as"
    MEMORY = "memory"
    """Lives in this process and ends with it: for tests."""


_MAX_PART_BYTES: Final = 200
_URL: Final = re.compile(r"(s3|gs|as|memory)://(.*)", re.DOTALL)
_ENDPOINT: Final = re.compile(r"(https?://)?([^/@]+:[0-9]+|(?<=://)[^/@]+)(?:/|\Z)")
"""`host:port`, or a host behind `http://` or `https://`."""

FORMS: Final = (
    "s3://BUCKET/PATH, s3://HOST:PORT/BUCKET/PATH, s3://https://HOST:PORT/BUCKET/PATH, "
    "gs://BUCKET/PATH or as://ACCOUNT/CONTAINER/PATH"
)


@dataclass(frozen=True, slots=True)
class CloudLocation:
    """A prefix in a bucket; of Azure's stores the bucket is the container.

    `endpoint` is set for S3's stores other than Amazon's, with `http://` or `https://`.
    `account` is Azure's. `url` is what was given, less slashes at its end.
    """

    url: str
    scheme: Scheme
    bucket: str
    prefix: str = ""
    endpoint: str = ""
    account: str = ""

    @property
    def within(self) -> PurePath:
        """The URL as the end of a path, its longest parts cut."""
        host = self.endpoint.partition("://")[2] or self.account or self.scheme.value
        parts = (host, self.bucket, *self.prefix.split("/"))
        return PurePath(
            *(part.encode()[:_MAX_PART_BYTES].decode(errors="ignore") for part in parts)
        )


def is_cloud(text: str) -> bool:
    """Whether a model repository lies in an object store, or is meant to."""
    return _URL.match(text) is not None


def parse_location(text: str) -> CloudLocation:
    """Take a URL apart. Raise ValueError, with the end of a sentence, where it is none."""
    found = _URL.fullmatch(text)
    if found is None:
        raise ValueError(f"expects {FORMS}, got '{text}'")
    scheme, rest = Scheme(found[1]), found[2]
    if "@" in rest.split("/")[0] or re.match(r"https?://[^/]*@", rest):
        # Not repeated: what stands there is a secret, and this goes to a log.
        raise ValueError("expects no credentials in the URL of an object store")
    endpoint = ""
    if scheme is Scheme.S3 and (host := _ENDPOINT.match(rest)):
        endpoint = (host[1] or "http://") + host[2]
        rest = rest[host.end() :]
    segments = rest.rstrip("/").split("/")
    names = 2 if scheme is Scheme.AZURE else 1
    if len(segments) < names or any(segment in {"", ".", ".."} for segment in segments):
        raise ValueError(f"expects {FORMS}, got '{text}'")
    if "\0" in text:
        raise ValueError("expects no NUL in the URL of an object store")
    return CloudLocation(
        url=text.rstrip("/"),
        scheme=scheme,
        bucket=segments[names - 1],
        prefix="/".join(segments[names:]),
        endpoint=endpoint,
        account=segments[0] if scheme is Scheme.AZURE else "",
    )
