"""Configurations and model facts for tests, made from as little as possible."""

from collections.abc import Sequence

from hypothesis import strategies as st

from interlock.domain.config import ModelConfig, ModelFacts, TensorFacts
from interlock.domain.config_rules import configure
from interlock.domain.config_text import ConfigError
from interlock.domain.config_values import message_of
from interlock.pb import model_config_pb2 as pb

PATH = "repo/m/config.pbtxt"

RICH = """\
# A comment.
name: "m"
backend: "onnxruntime"
max_batch_size: 8
input [
  {
    name: "x"
    data_type: TYPE_FP32
    dims: [ 3, -1 ]
    reshape { shape: [ 1, 3, -1 ] }
  },
  { name: 'ids' data_type: TYPE_INT64 dims: 1 reshape: { } }
]
output < name: "y" data_type: TYPE_STRING dims: [ 10 ] label_filename: "labels.txt" >
dynamic_batching {
  preferred_batch_size: [ 4, 8 ]; max_queue_delay_microseconds: 100
  default_queue_policy { timeout_action: DELAY }
  priority_queue_policy { key: 1 value: { max_queue_size: 3 } }
}
instance_group [ { count: 2 kind: KIND_CPU, rate_limiter { resources { name: "r" count: 1 } } } ]
optimization { graph { level: -1 } cuda { graph_spec { input { key: "x" value { dim: 1 } } } } }
model_warmup { name: "two " "parts" batch_size: 1 inputs { key: "x" value { zero_data: true } } }
parameters { key: "intra_op_thread_count" value { string_value: "1" } }
model_metrics { metric_control { histogram_options { buckets: [ 0.5, 1e3, inf ] } } }
"""


def configured(
    text: str | None = "",
    *,
    model: str = "m",
    first_entries: Sequence[str] = ("model.onnx",),
    auto_complete: bool = True,
) -> ModelConfig:
    return configure(
        text, model=model, path=PATH, first_entries=first_entries, auto_complete=auto_complete
    )


def normalised(
    text: str | None = "", *, model: str = "m", first_entries: Sequence[str] = ("model.onnx",)
) -> pb.ModelConfig:
    """The whole configuration as clients get it."""
    return message_of(configured(text, model=model, first_entries=first_entries))


def complaint(
    text: str | None,
    *,
    auto_complete: bool = False,
    model: str = "m",
    first_entries: Sequence[str] = ("model.onnx",),
) -> ConfigError:
    """The error that a configuration gets; it must get one."""
    try:
        configured(text, model=model, first_entries=first_entries, auto_complete=auto_complete)
    except ConfigError as error:
        return error
    raise AssertionError(f"no complaint about {text!r}")


def facts(*inputs: TensorFacts | None, outputs: Sequence[TensorFacts] = ()) -> ModelFacts:
    return ModelFacts(tuple(one for one in inputs if one is not None), tuple(outputs))


def tensor(name: str, *dims: int, datatype: str = "FP32") -> TensorFacts:
    return TensorFacts(name, datatype, dims)


def pieces() -> st.SearchStrategy[str]:
    """Bits that are likely to break a configuration somewhere."""
    words = [
        "{",
        "}",
        "[",
        "]",
        "<",
        ">",
        ":",
        ",",
        '"',
        "'",
        "\\",
        "#",
        "\n",
        "\t",
        "\0",
        "\ufeff",
    ]
    words += ["input", "dims", "name", "TYPE_FP32", "true", "-1", "99999999999999999999", "1e400"]
    words += ["\\377", "\\ud800", "\\x", "\u2028", "\x85", "é", "\udcff", "\ud800", "\U0010ffff"]
    return st.one_of(st.sampled_from(words), st.text(max_size=3))


@st.composite
def mutated(draw: st.DrawFn, text: str = RICH) -> str:
    """The text with a few places overwritten, doubled, or everything behind them cut off."""
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(text)))
        end = min(len(text), begin + draw(st.sampled_from([0, 0, 1, 2, 7, 40])))
        kind = draw(st.sampled_from(["replace", "double", "cut"]))
        if kind == "cut":
            text = text[:begin]
        elif kind == "double":
            text = text[:end] + text[begin:]
        else:
            text = text[:begin] + draw(pieces()) + text[end:]
    return text
