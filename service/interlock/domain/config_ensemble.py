"""Refuse ensembles whose steps do not fit together, as far as their own configuration tells.

What the composing models say of their tensors is not looked at.
"""

from collections.abc import Iterable, Iterator, Mapping

from interlock.domain.config_backend import ENSEMBLE
from interlock.domain.config_text import ConfigError
from interlock.domain.config_tokens import FieldPath
from interlock.pb import model_config_pb2 as pb

_Step = pb.ModelEnsembling.Step


def check_ensemble(config: pb.ModelConfig) -> None:
    scheduled = config.HasField("ensemble_scheduling")
    if config.platform != ENSEMBLE:
        if scheduled:
            raise ConfigError(
                f"ensemble scheduling cannot be set for model '{config.name}' whose platform is "
                f"'{config.platform}'",
                hint='Write: platform: "ensemble", without backend',
                field=("ensemble_scheduling",),
            )
        return
    _check_shape(config)
    _check_connections(config)


def _check_shape(config: pb.ModelConfig) -> None:
    if config.backend:
        raise ConfigError(
            f"ensemble model '{config.name}' must have platform type 'ensemble' and empty backend",
            hint="Remove the line with backend.",
            field=("backend",),
        )
    for name in ("instance_group", "optimization", "model_warmup"):
        if _is_set(config, name):
            raise ConfigError(
                f"{name} should not be specified for ensemble '{config.name}'",
                hint=f"Remove {name}: the models of the steps have their own.",
                field=(name,),
            )
    if not config.ensemble_scheduling.step:
        raise ConfigError(
            f"must specify 'step' for ensemble '{config.name}'",
            hint='Write: ensemble_scheduling { step [ { model_name: "…" … } ] }',
            field=(
                "ensemble_scheduling" if _is_set(config, "ensemble_scheduling") else "platform",
            ),
        )
    for index, step in enumerate(config.ensemble_scheduling.step):
        for part in ("model_name", "input_map", "output_map"):
            if not getattr(step, part):
                raise ConfigError(
                    f"must specify '{part}' in step {index} of ensemble '{config.name}'",
                    hint=_part_hint(part),
                    field=("ensemble_scheduling", "step", index),
                )


def _is_set(config: pb.ModelConfig, name: str) -> bool:
    return any(field.name == name for field, _ in config.ListFields())


def _part_hint(part: str) -> str:
    if part == "model_name":
        return 'Write: model_name: "…"'
    return f'Write: {part} {{ key: "tensor of the model" value: "tensor of the ensemble" }}'


def _check_connections(config: pb.ModelConfig) -> None:
    """Each tensor is made once and used; each output is made, from tensors that are made."""
    made = _made(config)
    inputs = {tensor.name for tensor in config.input}
    used = {name for step in config.ensemble_scheduling.step for name in step.input_map.values()}
    for index, tensor in enumerate(config.input):
        if tensor.name not in used:
            raise ConfigError(
                f"ensemble input '{tensor.name}' for ensemble {config.name} is not used",
                hint=f'Write it into a step: input_map {{ key: "…" value: "{tensor.name}" }}',
                field=("input", index, "name"),
            )
    for index, output in enumerate(config.output):
        _check_written(config, output.name, made, inputs, ("output", index, "name"))
    unused = set(made) - used - {tensor.name for tensor in config.output}
    for name in sorted(unused):
        raise ConfigError(
            f"ensemble tensor '{name}' is unused in ensemble '{config.name}'",
            hint="Remove it from the output_map, or feed it to a step or to an output.",
            field=("ensemble_scheduling", "step", made[name], "output_map"),
        )


def _made(config: pb.ModelConfig) -> Mapping[str, int]:
    """Return which step makes each tensor."""
    made: dict[str, int] = {}
    for index, step in enumerate(config.ensemble_scheduling.step):
        for name in sorted(step.output_map.values()):
            if name in made or name in {tensor.name for tensor in config.input}:
                raise ConfigError(
                    f"ensemble tensor '{name}' can appear in an output map only once for ensemble "
                    f"'{config.name}' step {index}",
                    hint="Give the tensor another name in one of the steps.",
                    field=("ensemble_scheduling", "step", index, "output_map"),
                )
            made[name] = index
    return made


def _check_written(
    config: pb.ModelConfig, name: str, made: Mapping[str, int], inputs: set[str], field: FieldPath
) -> None:
    message = f"output '{name}' for ensemble '{config.name}' is not written"
    if name not in made:
        raise ConfigError(
            message,
            hint=f'Write it into a step: output_map {{ key: "…" value: "{name}" }}',
            field=field,
        )
    for needed in _needed(config.ensemble_scheduling.step, name, made):
        if needed not in made and needed not in inputs:
            raise ConfigError(
                f"{message}: at least one of its depending tensors, '{needed}', is not connected",
                hint=f"Make '{needed}' in a step, or add it to the inputs.",
                field=field,
            )


def _needed(steps: Iterable[_Step], name: str, made: Mapping[str, int]) -> Iterator[str]:
    """Yield every tensor that a tensor depends on, each once."""
    ordered = list(steps)
    seen = {name}
    waiting = [name]
    while waiting:
        index = made.get(waiting.pop())
        if index is None:
            continue
        for needed in sorted(set(ordered[index].input_map.values()) - seen):
            seen.add(needed)
            waiting.append(needed)
            yield needed
