"""Read the text of a policy file: its keys, and what may stand behind them.

docs/agent-policy.md describes the file. Every error names a line and a column; a key that is
not known is one, for what is spelled wrong must not be what is not checked.
"""

import difflib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from typing import Final

from interlock.control.agent_policy import (
    SIGNATURE,
    SIGNERS,
    AgentPolicy,
    Allowances,
    Mode,
    RequiredAgent,
    Rule,
)
from interlock.domain.yaml_text import Field, Fields, Items, Node, Text, YamlError, read

VERSION: Final = "1"

_ALLOWANCES: Final = tuple(one.name for one in fields(Allowances))
_BOOLEANS: Final = {"true": True, "false": False}
_MODES: Final = {mode.value: mode for mode in Mode}
_SIGNER_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*", re.ASCII)


class PolicyError(Exception):
    """Why a policy cannot be used; the text names the file, and the place where it has one."""


def parse_policy(
    content: bytes,
    name: str,
    *,
    known_agents: Collection[str] | None = None,
) -> AgentPolicy:
    """Return the policy of a file. Raise PolicyError.

    With `known_agents` it may require no others.
    """
    try:
        return _Reader(name, known_agents).policy(read(content))
    except YamlError as error:
        raise PolicyError(error.located(name)) from error


@dataclass(frozen=True, slots=True)
class _Reader:
    name: str
    known_agents: Collection[str] | None

    def policy(self, node: Node) -> AgentPolicy:
        top = _fields(node, "a policy", ("version", "mode", "rules"))
        version = _needed(top, "version", "a policy")
        if _text(version, "version") != VERSION:
            raise YamlError(f"this server reads version {VERSION}", version.place)
        mode = _mode(top, Mode.ENFORCE)
        rules = _items(_needed(top, "rules", "a policy"), "rules")
        read_rules = tuple(self._rule(rule, mode) for rule in rules)
        _check_reach(rules, read_rules)
        return AgentPolicy(
            rules=read_rules,
            mode=mode,
            name=self.name,
        )

    def _rule(self, node: Node, mode: Mode) -> Rule:
        known = ("match", "mode", "required", "forbidden", "signers", "allow", "snapshot")
        rule = _fields(node, "a rule", known)
        required = tuple(self._required(rule.fields.get("required")))
        return Rule(
            match=_match(_needed(rule, "match", "a rule")),
            mode=_mode(rule, mode),
            required=required,
            forbidden=tuple(_texts(rule.fields.get("forbidden"), "forbidden")),
            signers=_counting(rule.fields.get(SIGNERS), required),
            allow=_allowances(rule.fields.get("allow")),
            snapshot=_snapshot(rule.fields.get("snapshot")),
            line=node.place.line,
        )

    def _required(self, field: Field | None) -> Iterable[RequiredAgent]:
        for node in () if field is None else _items(field.value, "required"):
            known = ("agent", "parameters", "accepts")
            given = _fields(node, "a required agent", known)
            name = self._agent(_needed(given, "agent", "a required agent"))
            accepts = given.fields.get("accepts")
            if accepts is not None and name == SIGNATURE:
                raise YamlError(
                    f"a model may not add parameters to '{SIGNATURE}': they say whom it trusts",
                    accepts.place,
                )
            yield RequiredAgent(name, _parameters(given), tuple(_texts(accepts, "accepts")))

    def _agent(self, node: Node) -> str:
        name = _text(node, "agent")
        if self.known_agents is not None and name not in self.known_agents:
            raise YamlError(
                f"there is no agent '{name}'{_near(name, self.known_agents)}", node.place
            )
        return name


def _check_reach(nodes: Iterable[Node], rules: Iterable[Rule]) -> None:
    """Refuse rules that never hold, since their author thinks that they do."""
    catching_all: Rule | None = None
    for node, rule in zip(nodes, rules, strict=True):
        if catching_all is not None:
            raise YamlError(
                f"this rule never holds: that of line {catching_all.line} is before it and "
                "matches every name",
                node.place,
            )
        if "*" in rule.match:
            catching_all = rule


def _parameters(agent: Fields) -> dict[str, str]:
    field = agent.fields.get("parameters")
    if field is None:
        return {}
    given = _fields(field.value, "parameters").fields
    return {key: _text(one.value, key, may_be_empty=True) for key, one in given.items()}


def _match(node: Node) -> tuple[str, ...]:
    """Return one pattern or several."""
    nodes = node.items if isinstance(node, Items) else (node,)
    if not nodes:
        raise YamlError("'match' names no model: '*' is every one", node.place)
    return tuple(_text(one, "match") for one in nodes)


def _counting(field: Field | None, required: Iterable[RequiredAgent]) -> tuple[str, ...]:
    if field is None:
        return ()
    told = [agent for agent in required if agent.name == SIGNATURE]
    if not told:
        raise YamlError(
            f"signers count where the agent '{SIGNATURE}' is required: add it to 'required'",
            field.place,
        )
    if any(SIGNERS in agent.parameters for agent in told):
        raise YamlError(
            f"the parameters of '{SIGNATURE}' say who counts already: keep one of the two",
            field.place,
        )
    nodes = _items(field.value, SIGNERS)
    if not nodes:
        raise YamlError("nobody counts: name a signer, or leave 'signers' out", field.place)
    return tuple(_signer(node) for node in nodes)


def _signer(node: Node) -> str:
    name = _text(node, SIGNERS)
    if _SIGNER_NAME.fullmatch(name) is None:
        raise YamlError(
            f"'{name}' is no name of a signer: letters, digits, '.', '_', '@' and '-' are",
            node.place,
        )
    return name


def _allowances(field: Field | None) -> Allowances:
    if field is None:
        return Allowances()
    given = _fields(field.value, "allow", _ALLOWANCES).fields
    return Allowances(**{key: _boolean(one.value, key) for key, one in given.items()})


def _snapshot(field: Field | None) -> bool:
    return field is None or _boolean(field.value, "snapshot")


def _mode(owner: Fields, otherwise: Mode) -> Mode:
    field = owner.fields.get("mode")
    if field is None:
        return otherwise
    text = _text(field.value, "mode")
    if text not in _MODES:
        raise YamlError(
            f"'{text}' is no mode: {', '.join(_MODES)} are{_near(text, _MODES)}", field.value.place
        )
    return _MODES[text]


def _fields(node: Node, what: str, known: Collection[str] | None = None) -> Fields:
    if not isinstance(node, Fields):
        raise YamlError(f"{what} is written as 'key: value'", node.place)
    for name, field in node.fields.items():
        if known is not None and name not in known:
            raise YamlError(
                f"{what} has no key '{name}'{_near(name, known)} (keys: {', '.join(known)})",
                field.place,
            )
    return node


def _needed(owner: Fields, key: str, what: str) -> Node:
    field = owner.fields.get(key)
    if field is None:
        raise YamlError(f"{what} needs the key '{key}'", owner.place)
    return field.value


def _items(node: Node, what: str) -> tuple[Node, ...]:
    if not isinstance(node, Items):
        raise YamlError(f"'{what}' is a list: write '- ' in front of each of them", node.place)
    return node.items


def _texts(field: Field | None, what: str) -> Iterable[str]:
    nodes = () if field is None else _items(field.value, what)
    return [_text(node, what) for node in nodes]


def _text(node: Node, what: str, *, may_be_empty: bool = False) -> str:
    if not isinstance(node, Text):
        raise YamlError(f"'{what}' is one word or text", node.place)
    is_given = node.is_quoted and may_be_empty
    if not is_given and (not node.text or (node.text in {"~", "null"} and not node.is_quoted)):
        raise YamlError(f"'{what}' has no value", node.place)
    return node.text


def _boolean(node: Node, what: str) -> bool:
    text = _text(node, what)
    if text not in _BOOLEANS:
        raise YamlError(f"'{what}' is true or false, not '{text}'", node.place)
    return _BOOLEANS[text]


def _near(name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean '{nearest[0]}'?" if nearest else ""
