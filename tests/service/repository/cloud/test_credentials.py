"""Which credentials an object store is asked with: Triton's variables, file and precedence."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from interlock.domain.cloud_location import parse_location
from interlock.repository.cloud.credentials import (
    FILE_VARIABLE,
    Access,
    CredentialError,
    access_to,
)

S3 = "s3://bucket/models"
KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "hush"}


def access(url: str, environment: Mapping[str, str] | None = None) -> Access:
    return access_to(parse_location(url), environment or {})


def secret(found: Access) -> Mapping[str, str | None]:
    return {} if found.provider is None else found.provider()


def test_amazons_variables() -> None:
    found = access(S3, {**KEYS, "AWS_SESSION_TOKEN": "token", "AWS_DEFAULT_REGION": "eu-central-1"})

    assert found.config == {"region": "eu-central-1"}
    assert secret(found) == {
        "access_key_id": "id",
        "secret_access_key": "hush",
        "token": "token",
        "expires_at": None,
    }


def test_without_any_the_store_is_left_to_find_its_own() -> None:
    for url in (S3, "gs://bucket", "memory://bucket"):
        assert access(url) == Access()
    assert access("as://account/container") == Access({"account_name": "account"})


@pytest.mark.parametrize(
    ("url", "environment", "expected"),
    [
        ("s3://host:9000/bucket", {}, True),
        ("s3://https://host:9000/bucket", {}, False),
        (S3, {}, False),
        (S3, {"AWS_ENDPOINT_URL": "http://minio:9000"}, True),
        (S3, {"AWS_ENDPOINT_URL": "https://minio:9000"}, False),
        ("s3://https://host/bucket", {"AWS_ENDPOINT_URL": "http://minio:9000"}, False),
        ("as://a/c", {"AZURE_STORAGE_ENDPOINT": "http://azurite:10000"}, True),
        ("gs://b", {"AWS_ENDPOINT_URL": "http://minio:9000"}, False),
    ],
)
def test_a_connection_without_encryption_is_made_where_it_was_asked_for(
    url: str, environment: Mapping[str, str], expected: bool
) -> None:
    assert access(url, environment).allow_http is expected


def test_a_profile_is_read_from_amazons_files(tmp_path: Path) -> None:
    folder = tmp_path / ".aws"
    folder.mkdir()
    (folder / "credentials").write_text(
        "[work]\naws_access_key_id = id\naws_secret_access_key = hu%sh\naws_session_token = t\n"
    )
    (folder / "config").write_text("[profile work]\nregion = eu-west-1\n")
    environment = {"AWS_PROFILE": "work", "HOME": str(tmp_path)}

    found = access(S3, environment)

    assert found.config == {"region": "eu-west-1"}
    assert secret(found)["secret_access_key"] == "hu%sh"
    assert secret(access(S3, {**environment, **KEYS}))["secret_access_key"] == "hush"
    with pytest.raises(CredentialError, match="profile 'other' has no aws_access_key_id"):
        access(S3, {**environment, "AWS_PROFILE": "other"})
    (folder / "config").write_text("nonsense")
    with pytest.raises(CredentialError, match="cannot be read"):
        access(S3, environment)


def test_googles_file() -> None:
    found = access("gs://bucket", {"GOOGLE_APPLICATION_CREDENTIALS": "/keys.json"})

    assert found == Access({"application_credentials": "/keys.json"})


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"AZURE_STORAGE_KEY": "k"}, {"access_key": "k", "expires_at": None}),
        ({"AZURE_STORAGE_KEY": "k", "AZURE_STORAGE_AUTH_TYPE": "managed_identity"}, {}),
        (
            {"AZURE_STORAGE_KEY": "k", "AZURE_STORAGE_AUTH_TYPE": "KEY"},
            {"access_key": "k", "expires_at": None},
        ),
        ({"AZURE_STORAGE_AUTH_TYPE": "default"}, {}),
    ],
)
def test_azures_variables(environment: Mapping[str, str], expected: Mapping[str, str]) -> None:
    assert secret(access("as://account/container", environment)) == expected


def test_azures_client_and_what_contradicts_itself() -> None:
    url = "as://account/container"

    found = access(url, {"AZURE_STORAGE_CLIENT_ID": "me"})
    assert found.config == {"account_name": "account", "client_id": "me"}
    with pytest.raises(CredentialError, match="AZURE_STORAGE_KEY is not set"):
        access(url, {"AZURE_STORAGE_AUTH_TYPE": "key"})
    with pytest.raises(CredentialError, match="must be key, managed_identity or default"):
        access(url, {"AZURE_STORAGE_AUTH_TYPE": "magic"})


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables that name a file; the file wins over the others."""
    path = tmp_path / "credentials.json"
    path.write_text(
        json.dumps(
            {
                "s3": {
                    "": {"key_id": "any", "secret_key": "1", "region": "r"},
                    "s3://bucket": {"key_id": "bucket", "secret_key": "2"},
                    "s3://bucket/models/a": {"key_id": "other", "secret_key": "3"},
                    "s3://list": ["no object"],
                },
                "gs": {"gs://bucket": "/keys.json", "gs://list": []},
                "as": {"": {"account_str": "real", "account_key": "k"}},
            }
        )
    )
    return {**KEYS, FILE_VARIABLE: str(path)}


def test_of_tritons_file_the_longest_prefix_counts(environment: dict[str, str]) -> None:
    assert secret(access(S3, environment))["access_key_id"] == "bucket"
    assert secret(access("s3://elsewhere", environment))["access_key_id"] == "any"
    assert access("s3://elsewhere", environment).config == {"region": "r"}
    assert access("gs://bucket/x", environment).config == {"application_credentials": "/keys.json"}
    assert access("gs://other", environment) == Access()
    found = access("as://alias/container", environment)
    assert found.config == {"account_name": "real"}
    assert secret(found) == {"access_key": "k", "expires_at": None}


def test_tritons_file_is_read_each_time(environment: dict[str, str]) -> None:
    access(S3, environment)
    Path(environment[FILE_VARIABLE]).write_text('{"s3": {"": {"key_id": "new"}}}')

    assert secret(access(S3, environment))["access_key_id"] == "new"


@pytest.mark.parametrize("url", ["s3://list", "gs://list"])
def test_an_entry_of_another_kind_is_refused(environment: dict[str, str], url: str) -> None:
    with pytest.raises(CredentialError, match="must be"):
        access(url, environment)


@pytest.mark.parametrize("content", ["[]", "{}", '{"s3": "hush"}'])
def test_a_file_that_says_nothing_of_a_store_leaves_it_to_the_variables(
    environment: dict[str, str], content: str
) -> None:
    Path(environment[FILE_VARIABLE]).write_text(content)

    assert secret(access(S3, environment))["access_key_id"] == "id"


def test_a_file_that_cannot_be_read_is_not_quoted(environment: dict[str, str]) -> None:
    Path(environment[FILE_VARIABLE]).write_text("hush {")

    with pytest.raises(CredentialError, match="is not JSON") as caught:
        access(S3, environment)
    assert "{" not in str(caught.value)


def test_a_file_that_is_not_there_is_said(environment: dict[str, str], tmp_path: Path) -> None:
    Path(environment[FILE_VARIABLE]).unlink()

    with pytest.raises(CredentialError, match="No such file"):
        access(S3, environment)


def test_no_secret_is_shown() -> None:
    assert "hush" not in repr(access(S3, KEYS))
