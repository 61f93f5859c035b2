from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from interlock.backends.base import Instance, VersionFiles
from interlock.cli.examination import Examination, Finding, Severity, unreadable
from interlock.cli.rehearsal import Gap, Left
from interlock.domain.config import ModelConfig, ModelFacts
from interlock.domain.config_agents import AgentConfig
from interlock.domain.errors import ServiceError, UnavailableError
from interlock.repository.snapshot import ModelSource, read_model
from tests.support.configs import tensor

FACTS = ModelFacts((tensor("x", -1, 4),), (tensor("y", -1, 2),))
TENSORS = """\
input { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] }
output { name: "y" data_type: TYPE_FP32 dims: [ -1, 2 ] }
"""


@dataclass
class FakeModel:
    """An opened model that only tells its facts, and whether it was closed."""

    facts: ModelFacts | None
    closed: bool = False

    def make_instance(self, config: ModelConfig, *, name: str, index: int) -> Instance:
        raise AssertionError("nothing is to be run")

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeOpener:
    """Opens every version as the same facts, or fails with `error`."""

    facts: ModelFacts | None = FACTS
    error: ServiceError | None = None
    opened: list[tuple[VersionFiles, FakeModel]] = field(default_factory=list)

    def __call__(self, files: VersionFiles, config: ModelConfig) -> FakeModel:
        if self.error is not None:
            raise self.error
        model = FakeModel(self.facts)
        self.opened.append((files, model))
        return model


@dataclass
class FakeAgents:
    """Leave a model as it was, but for `config` and `directory`, or refuse it with `error`."""

    directory: Path | None = None
    config: str | None = None
    gaps: tuple[Gap, ...] = ()
    is_able: bool = True
    error: ServiceError | None = None
    asked: list[tuple[str, Sequence[int]]] = field(default_factory=list)

    @contextmanager
    def at_work(
        self, source: ModelSource, agents: Sequence[AgentConfig], versions: Sequence[int]
    ) -> Iterator[Left]:
        self.asked += [(agent.name, versions) for agent in agents]
        if self.error is not None:
            raise self.error
        left = replace(
            source,
            directory=self.directory or source.directory,
            config_text=self.config or source.config_text,
        )
        yield Left(left if self.is_able else None, tuple(versions), self.gaps)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An ONNX model without a configuration, in version 1."""
    directory = tmp_path / "m"
    (directory / "1").mkdir(parents=True)
    (directory / "1" / "model.onnx").touch()
    return directory


def examined(
    model: Path,
    config: str | None = None,
    *,
    opener: FakeOpener | None = None,
    agents: FakeAgents | None = None,
    auto_complete: bool = True,
) -> tuple[Finding, ...]:
    if config is not None:
        (model / "config.pbtxt").write_text(config)
    source = read_model([model.parent], model.name)
    return Examination(
        source, opener or FakeOpener(), agents or FakeAgents(), auto_complete=auto_complete
    ).run()


def test_a_model_that_would_load_is_ok_in_each_version(model: Path) -> None:
    (model / "2").mkdir()

    assert examined(model, "version_policy { all { } }") == (
        Finding("m", Severity.OK, version=1),
        Finding("m", Severity.OK, version=2),
    )


def test_only_versions_that_would_be_served_are_opened_and_all_are_closed(model: Path) -> None:
    (model / "2").mkdir()
    opener = FakeOpener()

    examined(model, opener=opener)

    ((files, opened),) = opener.opened
    assert files == VersionFiles(model, model / "2", 2)
    assert opened.closed


def test_a_broken_configuration_is_shown_with_its_place(model: Path) -> None:
    (finding,) = examined(model, "\nnmae: 'm'")

    assert finding.severity is Severity.ERROR
    assert (finding.path, finding.line, finding.column) == (str(model / "config.pbtxt"), 2, 1)
    assert finding.excerpt == "    nmae: 'm'\n    ^"
    assert finding.hint == "Write: name: 'm'"


def test_a_contradiction_with_the_graph_is_shown_where_it_is_written(model: Path) -> None:
    opener = FakeOpener()

    (finding,) = examined(model, TENSORS.replace("4", "5"), opener=opener)

    assert finding.version == 1
    assert finding.message.startswith("model 'm', tensor 'x': the model expects 2 dimensions")
    assert (finding.line, finding.column) == (1, 40)
    assert "The graph has 'x' TYPE_FP32 [-1,4]" in finding.hint
    assert opener.opened[0][1].closed


def test_each_version_is_held_against_the_configuration(model: Path) -> None:
    (model / "2").mkdir()

    findings = examined(model, f"{TENSORS.replace('4', '5')} version_policy {{ all {{ }} }}")

    assert [finding.version for finding in findings] == [1, 2]


def test_the_graph_fills_in_what_is_missing(model: Path) -> None:
    assert examined(model, "max_batch_size: 8")[0].severity is Severity.OK


def test_nothing_is_filled_in_without_auto_complete(model: Path) -> None:
    (finding,) = examined(model, "max_batch_size: 0", auto_complete=False)

    assert finding.message == (
        "unable to load model 'm', configuration expects 0 inputs, model provides 1"
    )


def test_a_missing_configuration_is_an_error_without_auto_complete(model: Path) -> None:
    (finding,) = examined(model, auto_complete=False)

    assert finding.message.startswith("failed to open text file for read")
    assert finding.path == str(model / "config.pbtxt")


def test_what_the_backend_says_is_shown_for_its_version(model: Path) -> None:
    opener = FakeOpener(error=UnavailableError("unable to find 'model.onnx'"))

    assert examined(model, opener=opener) == (
        Finding(
            "m", Severity.ERROR, "unable to find 'model.onnx'", version=1, path=str(model / "1")
        ),
    )


def test_a_backend_without_facts_is_taken_at_its_configuration(model: Path) -> None:
    assert examined(model, TENSORS, opener=FakeOpener(facts=None))[0].severity is Severity.OK


def test_remarks_on_directories_are_warnings(model: Path) -> None:
    (model / "003").mkdir()

    assert examined(model) == (
        Finding(
            "m",
            Severity.WARNING,
            "ignore version directory '003' which contains leading zeros in its directory name.",
            path=str(model),
        ),
    )


@pytest.mark.parametrize(
    ("policy", "hint", "line"),
    [
        ("latest { }", "Write: version_policy { latest { num_versions: 1 } }", 1),
        ("specific { versions: 7 }", "The version directories are: 1.", 1),
    ],
)
def test_a_policy_that_selects_nothing_is_an_error(
    model: Path, policy: str, hint: str, line: int
) -> None:
    finding = examined(model, f"version_policy {{ {policy} }}")[-1]

    assert finding.severity is Severity.ERROR
    assert finding.message == (
        "at least one version must be available under the version policy of model 'm'"
    )
    assert (finding.hint, finding.line) == (hint, line)


def test_a_model_without_a_version_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()

    (finding,) = examined(tmp_path / "m", 'backend: "onnxruntime"')

    assert finding.severity is Severity.ERROR
    assert finding.hint == (
        f"Make a directory with a number for a name in {tmp_path / 'm'}, with model.onnx inside."
    )


def test_a_version_that_is_named_and_not_there_is_a_warning(model: Path) -> None:
    (finding,) = examined(model, "version_policy { specific { versions: [ 1, 7 ] } }")

    assert (finding.severity, finding.version) == (Severity.WARNING, 7)
    assert finding.message == (
        "version 7 is specified for model 'm', but the version directory is not present"
    )
    assert finding.line == 1


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("sequence_batching { }", "sequence_batching, and this version has no sequence batcher"),
        (
            "model_transaction_policy { decoupled: true }",
            "model_transaction_policy, and this version has no decoupled backend",
        ),
        (
            (
                'ensemble_scheduling { step { model_name: "a" input_map { key: "x" value: "x" } '
                'output_map { key: "y" value: "y" } } }'
                "input { name: 'x' } output { name: 'y' }"
            ),
            "ensemble_scheduling, and this version does not run ensembles",
        ),
    ],
)
def test_what_this_version_does_not_run_is_an_error(model: Path, text: str, what: str) -> None:
    (finding,) = examined(model, text)

    assert finding.message == f"model 'm' asks for {what}"
    assert finding.line == 1


def test_a_label_file_that_is_not_there_is_a_warning(model: Path) -> None:
    text = TENSORS.replace("[ -1, 2 ]", "[ -1, 2 ]\nlabel_filename: 'l.txt'")

    (finding,) = examined(model, text)

    assert finding.severity is Severity.WARNING
    assert finding.message == "label file 'l.txt' of output 'y' is not there"
    assert finding.line == 3


def test_a_label_file_that_is_no_text_is_an_error(model: Path) -> None:
    (model / "l.txt").write_bytes(b"caf\xe9")

    findings = examined(model, TENSORS.replace("[ -1, 2 ]", "[ -1, 2 ] label_filename: 'l.txt'"))

    assert [finding.severity for finding in findings] == [Severity.ERROR]
    assert "is not UTF-8 text" in findings[0].message


def test_a_model_that_cannot_be_read_has_its_problem() -> None:
    assert unreadable("m", "no", Path("/r")) == Finding("m", Severity.ERROR, "no", path="/r/m")


NAMING = 'model_repository_agents { agents [ { name: "checksum" } ] }'


def test_agents_see_the_versions_that_would_be_loaded(model: Path) -> None:
    (model / "2").mkdir()
    agents = FakeAgents()

    findings = examined(model, NAMING, agents=agents)

    assert agents.asked == [("checksum", (2,))]
    assert findings == (Finding("m", Severity.OK, version=2),)


def test_what_agents_leave_behind_is_what_counts(model: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    opener = FakeOpener()
    agents = FakeAgents(scratch, config=TENSORS.replace("4", "5"))

    (finding,) = examined(model, NAMING, opener=opener, agents=agents)

    assert opener.opened[0][0].version_directory == scratch / "1"
    assert "shape [-1,5]" in finding.message
    assert str(scratch) not in repr(finding)


def test_a_configuration_that_is_broken_behind_its_agents_is_shown_nevertheless(
    model: Path,
) -> None:
    (finding,) = examined(model, f"{NAMING}\nmax_batch_size: -1")

    assert (finding.severity, finding.line) == (Severity.ERROR, 2)


def test_what_agents_have_against_a_model_is_an_error(model: Path) -> None:
    (finding,) = examined(model, NAMING, agents=FakeAgents(error=UnavailableError("not today")))

    assert finding == Finding("m", Severity.ERROR, "not today", path=str(model / "config.pbtxt"))


def test_what_could_not_be_looked_at_is_a_warning(model: Path) -> None:
    gap = Gap("not examined: a.enc", "See --key-directory.", ("a.enc",))

    (finding,) = examined(model, NAMING, agents=FakeAgents(gaps=(gap,), is_able=False))

    assert finding == Finding(
        "m",
        Severity.WARNING,
        "not examined: a.enc",
        path=str(model),
        hint="See --key-directory.",
        unexamined=("a.enc",),
    )


def test_agents_are_not_asked_where_nothing_would_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    agents = FakeAgents()

    (finding,) = examined(tmp_path / "m", NAMING, agents=agents)

    assert finding.message.startswith("at least one version must be available")
    assert agents.asked == []
