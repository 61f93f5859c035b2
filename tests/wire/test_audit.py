"""The audit log of a server, and the digest of what it serves."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb

from interlock.pb import control_pb2
from tests.support import onnx_small
from tests.support.audit import AuditFile
from tests.support.boundary import Authority, CertificateFiles
from tests.support.models import Repository
from tests.support.publishing import naming_with
from tests.support.server_process import ServerProcess, ServerProcessError
from tests.support.wire import (
    TIMEOUT_S,
    Client,
    WireServer,
    eventually,
    server_process,
    serving,
)

ONCE = pytest.mark.skipif(
    os.environ.get("INTERLOCK_TEST_TRANSPORT") == "public",
    reason="nothing here depends on what carries the inference RPCs",
)
KEY = "triton-grpc-protocol-admin"
SECRET = "do-not-tell"
SERVER = {"peer": "", "subject": "", "key_name": ""}
POLL = (
    "--model-control-mode=poll",
    "--repository-poll-secs=0.3",
    "--repository-settle-secs=0.2",
)
WITHIN_S = 30.0
LOOSE = """\
version: 1
rules: [{match: "*"}]
"""
STRICT = """\
version: 1
rules:
  - {match: tried, mode: audit, required: [{agent: checksum, parameters: {manifest: m.json}}]}
  - {match: warned, mode: warn, required: [{agent: checksum, parameters: {manifest: m.json}}]}
  - {match: "*", required: [{agent: checksum, parameters: {manifest: m.json}}]}
"""
OVERRIDE = """{"backend": "identity",
    "input": [{"name": "INPUT0", "data_type": "TYPE_FP32", "dims": [-1]}],
    "output": [{"name": "OUTPUT0", "data_type": "TYPE_FP32", "dims": [-1]}]}"""


def digest_of(files: dict[str, bytes]) -> str:
    """The digest of a version, as docs/audit.md says it is made."""
    lines = (
        f"{hashlib.sha256(content).hexdigest()} {len(content)} {path}\0"
        for path, content in sorted(files.items())
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def files_of(repository: Repository, model: str) -> dict[str, bytes]:
    folder = repository.root / model
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def shown_digest(client: Client, model: str, version: str = "") -> tuple[str, str]:
    """The version and the digest that come behind an answer to ModelMetadata."""
    _, call = client.stub.ModelMetadata.with_call(
        pb.ModelMetadataRequest(name=model, version=version),
        metadata=client.metadata,
        timeout=TIMEOUT_S,
    )
    trailers = dict(call.trailing_metadata())
    return trailers["x-interlock-version"], trailers.get("x-interlock-digest", "")


def control(client: Client, method: str, **fields: Any) -> Any:
    """Call interlock.v1.Control."""
    call = client.channel.unary_unary(
        f"/interlock.v1.Control/{method}",
        getattr(control_pb2, f"{method}Request").SerializeToString,
        getattr(control_pb2, f"{method}Response").FromString,
    )
    request = getattr(control_pb2, f"{method}Request")(**fields)
    return call(request, metadata=client.metadata, timeout=TIMEOUT_S)


def naming_checksum(digest: str) -> str:
    return naming_with("checksum", {"SHA256:1/model.onnx": digest})


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> AuditFile:
    return AuditFile(tmp_path_factory.mktemp("logs") / "audit.jsonl")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def server(
    audit: AuditFile, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WireServer]:
    """One that lets only clients with a certificate in, and only those with a key load."""
    repository = Repository(tmp_path_factory.mktemp("repository"))
    repository.identity("first")
    files = CertificateFiles(tmp_path_factory.mktemp("certificates"))
    files.write(authority.issue("server"), authority.root)
    pair = authority.issue("operator")
    credentials = grpc.ssl_channel_credentials(authority.root, pair.key, pair.certificate)

    def connect(address: str) -> Client:
        return Client(address, credentials=credentials, metadata=[(KEY, SECRET)])

    flags = (
        "--grpc-use-ssl-mutual=true",
        f"--grpc-server-cert={files.cert}",
        f"--grpc-server-key={files.key}",
        f"--grpc-root-cert={files.root}",
        f"--grpc-restricted-protocol=model-repository:admin={SECRET}",
        "--rollback-window-secs=600",
        f"--audit-log={audit.path}",
    )
    with serving(repository, *flags, connect=connect) as server:
        yield server
    assert [line["what"] for line in audit.lines()][-1] == "server-stop"
    assert SECRET not in audit.path.read_text()


@pytest.fixture
def repository(server: WireServer) -> Repository:
    return server.repository


@pytest.mark.usefixtures("server")
def test_what_the_server_loads_at_its_start_is_its_own_doing(audit: AuditFile) -> None:
    first, *_ = audit.wait_for()
    (loaded,) = audit.wait_for(what="start-load", model="first")

    assert (first["what"], first["outcome"], first["seq"]) == ("server-start", "ok", 1)
    assert (loaded["who"], loaded["version"], loaded["outcome"]) == (SERVER, 1, "ok")


def test_a_load_tells_who_asked_and_what_serves_since(
    repository: Repository, client: Client, audit: AuditFile
) -> None:
    repository.identity("loaded", versions=(1, 2))
    client.load("loaded")
    client.unload("loaded")

    audit.wait_for_story("loaded", ("unload", None, "ok"))
    loaded, asked, unloaded, asked_again = [
        line for line in audit.lines(model="loaded") if line["what"] != "digest"
    ]
    assert (loaded["what"], loaded["version"], loaded["outcome"]) == ("load", 2, "ok")
    assert (asked["what"], asked["version"], asked["outcome"]) == ("load", None, "ok")
    assert (unloaded["what"], unloaded["version"]) == ("unload", 2)
    assert (asked_again["what"], asked_again["version"]) == ("unload", None)
    for line in (loaded, asked, unloaded, asked_again):
        who = line["who"]
        assert who["peer"].startswith("ipv4:127.0.0.1:")
        assert (who["subject"], who["key_name"]) == ("CN=operator", KEY)


def test_the_digest_of_what_serves_is_told_wherever_one_asks(
    repository: Repository, client: Client, audit: AuditFile
) -> None:
    repository.identity("digested")
    client.load("digested")
    eventually(lambda: shown_digest(client, "digested")[1] not in {"", "pending"})
    expected = digest_of(files_of(repository, "digested"))

    assert shown_digest(client, "digested") == ("1", expected)
    assert shown_digest(client, "digested", "1") == ("1", expected)
    assert client.generations("digested")[0].digest == expected
    eventually(lambda: audit.digest_of("digested", 1) == expected)


def test_what_agents_say_is_told(repository: Repository, client: Client, audit: AuditFile) -> None:
    content = onnx_small.add_constant(1)
    digest = hashlib.sha256(content).hexdigest()
    repository.onnx("checked", content, extra=naming_checksum(digest))
    client.load("checked")
    repository.onnx("checked", content, extra=naming_checksum("00" * 32))
    refusal = client.load_refusal("checked")

    audit.wait_for_story("checked", ("load", None, "failed"))
    passed, refused = [line for line in audit.lines(model="checked") if line["agents"]]
    assert (passed["outcome"], passed["agents"][0]["agent"]) == ("ok", "checksum")
    assert passed["agents"][0]["passed"]
    (agent,) = refused["agents"]
    assert (refused["what"], refused["outcome"], refused["version"]) == ("load", "refused", 1)
    assert not agent["passed"]
    assert agent["reason"] in refused["reason"]
    assert agent["reason"] in refusal.text
    assert audit.lines(model="checked", version=None)[-1]["outcome"] == "failed"
    before, after = client.generations("checked")
    assert (before.verdict.outcome, after.verdict.outcome) == ("passed", "refused")
    assert [(one.name, one.passed) for one in after.verdict.agents] == [("checksum", False)]


def test_a_load_that_finds_nothing_is_told(client: Client, audit: AuditFile) -> None:
    refusal = client.load_refusal("nobody")

    (line,) = audit.wait_for(model="nobody")
    assert (line["what"], line["outcome"], line["version"]) == ("load", "failed", None)
    assert line["reason"] == refusal.text


def test_a_configuration_that_comes_with_a_load_is_called_so(
    repository: Repository, client: Client, audit: AuditFile
) -> None:
    repository.identity("overridden")
    client.load("overridden", config=OVERRIDE)

    audit.wait_for_story("overridden", ("config-override", None, "ok"))
    assert audit.story("overridden") == [
        ("config-override", 1, "ok"),
        ("config-override", None, "ok"),
    ]


def test_who_does_not_wait_is_told_of_as_begun(
    repository: Repository, client: Client, audit: AuditFile
) -> None:
    repository.identity("begun")
    client.load("begun", wait=False)

    audit.wait_for_story("begun", ("load", 1, "ok"), ("load", None, "begun"))
    assert sorted(audit.story("begun"), key=str) == [
        ("load", 1, "ok"),
        ("load", None, "begun"),
    ]


def test_the_way_back_and_the_end_of_its_hold_are_told(
    repository: Repository, client: Client, audit: AuditFile
) -> None:
    repository.identity("swapped")
    client.load("swapped")
    repository.identity("swapped", versions=(1, 2))
    client.load("swapped")
    control(client, "Rollback", model="swapped")
    control(client, "Rollback", model="swapped", release=True)
    with pytest.raises(grpc.RpcError):
        control(client, "Retry", model="swapped", version="2")

    audit.wait_for_story("swapped", ("unload", 2, "ok"), ("retry", 2, "failed"))
    told = audit.story("swapped")
    assert [one for one in told if one[0] in {"rollback", "release", "retry"}] == [
        ("rollback", 1, "ok"),
        ("rollback", None, "ok"),
        ("release", None, "ok"),
        ("retry", 2, "failed"),
    ]


def test_who_lacks_the_key_is_refused_and_told_of(
    server: WireServer, authority: Authority, audit: AuditFile
) -> None:
    pair = authority.issue("stranger")
    credentials = grpc.ssl_channel_credentials(authority.root, pair.key, pair.certificate)
    with Client(server.address, credentials=credentials, metadata=[(KEY, "wrong")]) as stranger:
        refusal = stranger.load_refusal("first")
        with pytest.raises(grpc.RpcError):
            stranger.describe("first")

    def refused() -> list[dict[str, Any]]:
        lines = audit.lines(outcome="refused", model="first")
        return [line for line in lines if line["who"]["subject"] == "CN=stranger"]

    eventually(lambda: len(refused()) == 2)
    load, describe = refused()
    assert (load["what"], describe["what"]) == ("load", "describe")
    assert load["reason"] == describe["reason"] == refusal.text
    assert load["who"]["key_name"] == ""


# The last of this server: for those behind it, what was told before has gone.
def test_a_rotation_loses_nothing(
    repository: Repository, client: Client, audit: AuditFile, tmp_path: Path
) -> None:
    repository.identity("rotated")
    client.load("rotated")
    eventually(lambda: audit.digest_of("rotated", 1) != "", within_s=WITHIN_S)
    moved = AuditFile(audit.path.rename(tmp_path / "audit.jsonl.1"))
    client.unload("rotated")
    audit.wait_for_story("rotated", ("unload", None, "ok"))

    assert ("unload", 1, "ok") in audit.story("rotated")
    assert ("load", 1, "ok") in moved.story("rotated")
    numbers = [line["seq"] for line in moved.lines() + audit.lines()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert SECRET not in moved.path.read_text()


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Followed"]:
    repository = Repository(tmp_path_factory.mktemp("followed"))
    content = onnx_small.add_constant(1)
    digest = hashlib.sha256(content).hexdigest()
    repository.onnx("m", content, extra=naming_checksum(digest))
    audit = AuditFile(tmp_path_factory.mktemp("logs") / "audit.jsonl")
    with (
        server_process(repository, *POLL, f"--audit-log={audit.path}") as process,
        Client(process.address) as client,
    ):
        yield Followed(repository, audit, process, client)


class Followed:
    """A server in poll mode."""

    def __init__(
        self, repository: Repository, audit: AuditFile, process: ServerProcess, client: Client
    ) -> None:
        self.repository = repository
        self.audit = audit
        self.process = process
        self.client = client


@ONCE
def test_in_poll_mode_a_load_by_name_is_refused_and_told_of(followed: Followed) -> None:
    refusal = followed.client.load_refusal("other")

    (line,) = followed.audit.wait_for(model="other")
    assert (line["what"], line["outcome"], line["reason"]) == ("load", "refused", refusal.text)
    assert line["who"]["peer"].startswith("ipv4:127.0.0.1:")


@ONCE
def test_what_the_repository_brings_and_takes_is_told(followed: Followed) -> None:
    repository, audit = followed.repository, followed.audit
    repository.identity("passing")
    eventually(lambda: ("poll-load", 1, "ok") in audit.story("passing"), within_s=WITHIN_S)
    for path in sorted((repository.root / "passing").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (repository.root / "passing").rmdir()
    eventually(lambda: ("poll-unload", 1, "ok") in audit.story("passing"), within_s=WITHIN_S)

    assert [line["who"] for line in audit.lines(model="passing")] == [SERVER] * len(
        audit.lines(model="passing")
    )


@ONCE
def test_what_serves_keeps_its_digest_when_its_successor_is_refused(followed: Followed) -> None:
    expected = digest_of(files_of(followed.repository, "m"))
    eventually(
        lambda: shown_digest(followed.client, "m")[1] not in {"", "pending"}, within_s=WITHIN_S
    )
    assert shown_digest(followed.client, "m") == ("1", expected)

    followed.repository.replace("m", "1/model.onnx", onnx_small.add_constant(2))
    eventually(lambda: ("poll-load", 1, "refused") in followed.audit.story("m"), within_s=WITHIN_S)

    assert shown_digest(followed.client, "m") == ("1", expected)
    assert followed.client.generations("m")[0].digest == expected


@ONCE
def test_a_server_does_not_start_without_its_audit_log(tmp_path: Path) -> None:
    with (
        pytest.raises(ServerProcessError, match="ended with 1") as failed,
        server_process(Repository(tmp_path), f"--audit-log={tmp_path / 'audit.jsonl'}"),
    ):
        pass

    assert "lies in the model repository" in str(failed.value)


@ONCE
def test_what_a_policy_makes_of_models_is_told_in_every_mode(tmp_path: Path) -> None:
    for name in ("models", "policy"):
        (tmp_path / name).mkdir()
    repository = Repository(tmp_path / "models")
    for model in ("tried", "warned", "kept-out"):
        repository.identity(model)
    audit, policy = AuditFile(tmp_path / "audit.jsonl"), tmp_path / "policy" / "policy.yaml"
    policy.write_text(LOOSE)
    flags = (
        "--model-control-mode=explicit",
        "--load-model=*",
        f"--audit-log={audit.path}",
        f"--agent-policy={policy}",
        "--agent-policy-grace-secs=0.2",
    )
    with server_process(repository, *flags):
        loads = audit.wait_for(at_least=3, what="start-load", outcome="ok")
        loaded = {line["model"] for line in loads}
        assert loaded == {"tried", "warned", "kept-out"}

        policy.write_text(STRICT)
        audit.wait_for(what="policy-unload", model="kept-out")
        audit.wait_for(what="policy-load", model="kept-out", outcome="refused")
        audit.wait_for(what="policy-load", model="tried", outcome="would-refuse")
        audit.wait_for(what="policy-load", model="warned", outcome="warned")

        policy.write_text("version: 2")
        audit.wait_for(what="policy", model="", outcome="refused")

    in_force = [line["digest"] for line in audit.lines(what="policy", outcome="ok", model="")]
    texts = (LOOSE.encode(), STRICT.encode())
    assert in_force == [hashlib.sha256(text).hexdigest() for text in texts]
    (line, *_) = audit.lines(what="policy-load", model="warned")
    assert [(one["agent"], one["passed"]) for one in line["agents"]] == [("checksum", False)]
    assert "checksum" in line["reason"]
    assert {line["who"]["peer"] for line in audit.lines()} == {""}
