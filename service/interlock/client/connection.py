"""How a client reaches a server: address, encryption, headers.

Imports grpc only when a channel is opened, so that the command line can show its help
without it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import grpc

DEFAULT_SERVER: Final = "localhost:8001"
_DEFAULT_PORT: Final = "8001"
_LOOPBACK: Final = ("localhost", "127.", "[::1]", "unix:")


class ConnectionSettingsError(ValueError):
    """A connection that cannot be: a file that is not there, a key without a certificate."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the server is and what it wants to see."""

    server: str = DEFAULT_SERVER
    tls: bool = False
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_server_name: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    timeout_s: float | None = None
    """How long a call may take; None is as long as it takes."""

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConnectionSettingsError("--tls-cert and --tls-key belong together")

    @property
    def encrypted(self) -> bool:
        """Whether TLS is used: asked for, or implied by one of its files."""
        return self.tls or bool(self.tls_ca or self.tls_cert or self.tls_server_name)

    @property
    def target(self) -> str:
        """The address with a port: ours where none was given."""
        is_bare_name = ":" not in self.server
        return f"{self.server}:{_DEFAULT_PORT}" if is_bare_name else self.server

    def channel_options(self) -> list[tuple[str, int | str]]:
        options: list[tuple[str, int | str]] = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
        ]
        if self.target.startswith(_LOOPBACK):
            # A proxy that is set for the outside world cannot reach this machine's own server.
            options.append(("grpc.enable_http_proxy", 0))
        if self.tls_server_name:
            options.append(("grpc.ssl_target_name_override", self.tls_server_name))
        return options


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConnectionSettingsError(f"cannot read {path}: {error.strerror}") from error


def open_channel(connection: Connection) -> "grpc.Channel":
    """Open a channel; it connects with the first call."""
    import grpc

    options = connection.channel_options()
    if not connection.encrypted:
        return grpc.insecure_channel(connection.target, options=options)
    credentials = grpc.ssl_channel_credentials(
        _read(connection.tls_ca), _read(connection.tls_key), _read(connection.tls_cert)
    )
    return grpc.secure_channel(connection.target, credentials, options=options)
