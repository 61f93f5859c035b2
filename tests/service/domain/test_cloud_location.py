"""The URLs of object stores: Triton's forms, and what is none of them."""

from pathlib import PurePath

import pytest

from interlock.domain.cloud_location import CloudLocation, Scheme, is_cloud, parse_location


@pytest.mark.parametrize(
    ("url", "scheme", "bucket", "prefix", "endpoint", "account"),
    [
        ("s3://b/models", Scheme.S3, "b", "models", "", ""),
        ("s3://b", Scheme.S3, "b", "", "", ""),
        ("s3://b/a/b/", Scheme.S3, "b", "a/b", "", ""),
        ("s3://host:9000/b/models", Scheme.S3, "b", "models", "http://host:9000", ""),
        ("s3://127.0.0.1:9/b", Scheme.S3, "b", "", "http://127.0.0.1:9", ""),
        ("s3://https://host:9/b/p", Scheme.S3, "b", "p", "https://host:9", ""),
        ("s3://http://host:9/b", Scheme.S3, "b", "", "http://host:9", ""),
        ("s3://https://host/b", Scheme.S3, "b", "", "https://host", ""),
        ("gs://b/models", Scheme.GOOGLE, "b", "models", "", ""),
        ("as://acct/cont/models", Scheme.AZURE, "cont", "models", "", "acct"),
        ("as://acct/cont", Scheme.AZURE, "cont", "", "", "acct"),
        ("memory://name/p", Scheme.MEMORY, "name", "p", "", ""),
    ],
)
def test_a_url_is_taken_apart(
    url: str, scheme: Scheme, bucket: str, prefix: str, endpoint: str, account: str
) -> None:
    assert is_cloud(url)
    assert parse_location(url) == CloudLocation(
        url=url.rstrip("/"),
        scheme=scheme,
        bucket=bucket,
        prefix=prefix,
        endpoint=endpoint,
        account=account,
    )


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///models",
        "s3://b//x",
        "s3://b/../x",
        "s3://b/.",
        "s3://b/\0",
        "s3://h:1",
        "s3://https://host:9",
        "gs:///",
        "as://acct",
        "as://acct//p",
    ],
)
def test_what_names_no_bucket_or_leads_out_of_it_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expects"):
        parse_location(url)


@pytest.mark.parametrize("url", ["s3://key:hush@host:9/b", "s3://https://key:hush@host:9/b"])
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="no credentials") as caught:
        parse_location(url)

    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "end"),
    [
        ("s3://b", "s3/b"),
        ("s3://https://host:9/b/x/y/", "host:9/b/x/y"),
        ("as://account/container/x", "account/container/x"),
        (f"gs://b/{'ä' * 200}", f"gs/b/{'ä' * 100}"),
    ],
)
def test_a_url_is_the_end_of_a_path(url: str, end: str) -> None:
    assert parse_location(url).within == PurePath(end)


@pytest.mark.parametrize("text", ["models", "/s3://b", "ftp://b/x", "s3:/b/x", "", "./s3"])
def test_the_rest_is_a_folder(text: str) -> None:
    assert not is_cloud(text)
