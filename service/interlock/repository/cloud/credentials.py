"""Find out with which credentials an object store is to be asked: Triton's variables and file.

What is not found here obstore looks for itself: service accounts of a cloud's machines,
web identities, and its own variables.
"""

import configparser
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from interlock.domain.cloud_location import CloudLocation, Scheme

FILE_VARIABLE: Final = "TRITON_CLOUD_CREDENTIAL_PATH"
VARIABLES: Final = ("AWS_", "AZURE_", "GOOGLE_", FILE_VARIABLE, "HOME")
"""What the variables begin with that are looked at here."""
_ENDPOINT_OF_S3: Final = "AWS_ENDPOINT_URL_S3"
_ENDPOINTS: Final = {
    Scheme.S3: (_ENDPOINT_OF_S3, "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    Scheme.AZURE: ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}


class CredentialError(Exception):
    """Credentials were named that cannot be had; the text says which, and never what they are."""


Secret = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Access:
    """How to get at a store: obstore's configuration by its names for things.

    `provider` hands out credentials that are not to be mixed with those of the environment.
    """

    config: Mapping[str, str] = field(default_factory=dict, repr=False)
    provider: Callable[[], Secret] | None = None
    allow_http: bool = False


def access_to(location: CloudLocation, environment: Mapping[str, str]) -> Access:
    """Return how to get at the store. Reads files; raise CredentialError."""
    entry = _file_entry(location, environment)
    match location.scheme:
        case Scheme.S3:
            return _s3(location, environment, entry)
        case Scheme.GOOGLE:
            return _google(environment, entry)
        case Scheme.AZURE:
            return _azure(location, environment, entry)
        case Scheme.MEMORY:
            return Access()


def _s3(location: CloudLocation, environment: Mapping[str, str], entry: object) -> Access:
    config: dict[str, str] = {}
    if endpoint := location.endpoint or _named_endpoint(location, environment):
        config["endpoint"] = endpoint
    if environment.get(_ENDPOINT_OF_S3):
        # Which obstore would find for itself, and put above the URL's own.
        config[_ENDPOINT_OF_S3.lower()] = endpoint
    keys: Mapping[str, str] = {
        name: environment.get(variable, "")
        for name, variable in (
            ("key_id", "AWS_ACCESS_KEY_ID"),
            ("secret_key", "AWS_SECRET_ACCESS_KEY"),
            ("session_token", "AWS_SESSION_TOKEN"),
            ("region", "AWS_DEFAULT_REGION"),
            ("profile", "AWS_PROFILE"),
        )
    }
    if entry is not None:
        keys = _texts(entry, location)
    if keys.get("profile") and not keys.get("key_id"):
        keys = {**keys, **_profile(keys["profile"], environment)}
    region = keys.get("region") or environment.get("AWS_REGION")
    if region:
        config["region"] = region
    provider = None
    if keys.get("key_id"):
        secret: Secret = {
            "access_key_id": keys["key_id"],
            "secret_access_key": keys.get("secret_key", ""),
            "token": keys.get("session_token") or None,
            "expires_at": None,
        }
        provider = _handing_out(secret)
    return Access(config, provider, allow_http=_is_http(location, environment))


def _google(environment: Mapping[str, str], entry: object) -> Access:
    path = environment.get("GOOGLE_APPLICATION_CREDENTIALS", "") if entry is None else entry
    if not isinstance(path, str):
        raise CredentialError(f"{FILE_VARIABLE}: an entry of 'gs' must be a path")
    return Access({"application_credentials": path} if path else {})


def _azure(location: CloudLocation, environment: Mapping[str, str], entry: object) -> Access:
    config = {"account_name": location.account}
    if endpoint := _named_endpoint(location, environment):
        config["endpoint"] = endpoint
    kind = environment.get("AZURE_STORAGE_AUTH_TYPE", "").lower() or "default"
    key = environment.get("AZURE_STORAGE_KEY", "")
    if entry is not None:
        kind, texts = "key", _texts(entry, location)
        key = texts.get("account_key", "")
        config["account_name"] = texts.get("account_str") or location.account
    if kind not in {"key", "managed_identity", "default"}:
        raise CredentialError(
            f"AZURE_STORAGE_AUTH_TYPE must be key, managed_identity or default, not '{kind}'"
        )
    if kind == "key" and not key:
        raise CredentialError("AZURE_STORAGE_AUTH_TYPE is key, and AZURE_STORAGE_KEY is not set")
    if client := environment.get("AZURE_STORAGE_CLIENT_ID"):
        config["client_id"] = client
    provider = None
    if key and kind != "managed_identity":
        provider = _handing_out({"access_key": key, "expires_at": None})
    return Access(config, provider, allow_http=_is_http(location, environment))


def _handing_out(secret: Secret) -> Callable[[], Secret]:
    return lambda: secret


def _is_http(location: CloudLocation, environment: Mapping[str, str]) -> bool:
    """Whether the operator has named an address without encryption."""
    return (location.endpoint or _named_endpoint(location, environment)).startswith("http://")


def _named_endpoint(location: CloudLocation, environment: Mapping[str, str]) -> str:
    variables = _ENDPOINTS.get(location.scheme, ())
    return next((environment[one] for one in variables if environment.get(one)), "")


def _file_entry(location: CloudLocation, environment: Mapping[str, str]) -> object:
    """Return what Triton's file says of the longest prefix of the URL; `None` without one."""
    path = environment.get(FILE_VARIABLE)
    if not path:
        return None
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise CredentialError(f"{FILE_VARIABLE}: {path}: {error.strerror}") from error
    except ValueError:
        # Without its text, which may quote the file.
        raise CredentialError(f"{FILE_VARIABLE}: {path} is not JSON") from None
    section = content.get(location.scheme.value) if isinstance(content, dict) else None
    if not isinstance(section, dict):
        return None
    fitting = [prefix for prefix in section if location.url.startswith(prefix)]
    return section[max(fitting, key=len)] if fitting else None


def _texts(entry: object, location: CloudLocation) -> Mapping[str, str]:
    if not isinstance(entry, dict) or not all(isinstance(text, str) for text in entry.values()):
        raise CredentialError(
            f"{FILE_VARIABLE}: an entry of '{location.scheme.value}' must be an object of strings"
        )
    return entry


def _profile(name: str, environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return the keys of a profile in Amazon's own files."""
    home = Path(environment.get("HOME", "/")) / ".aws"
    credentials = environment.get("AWS_SHARED_CREDENTIALS_FILE") or str(home / "credentials")
    config = environment.get("AWS_CONFIG_FILE") or str(home / "config")
    files = configparser.RawConfigParser()
    try:
        files.read([config, credentials], encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        raise CredentialError(f"{config} and {credentials} cannot be read") from None
    found: dict[str, str] = {}
    for section in (f"profile {name}", name):
        if files.has_section(section):
            found.update(files.items(section))
    if not found.get("aws_access_key_id"):
        raise CredentialError(f"profile '{name}' has no aws_access_key_id in {credentials}")
    return {
        "key_id": found["aws_access_key_id"],
        "secret_key": found.get("aws_secret_access_key", ""),
        "session_token": found.get("aws_session_token", ""),
        "region": environment.get("AWS_DEFAULT_REGION") or found.get("region", ""),
    }
