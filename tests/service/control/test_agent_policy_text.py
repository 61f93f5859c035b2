"""What a policy file may say, and where a mistake in one is said to be."""

import pytest
from hypothesis import given, strategies as st

from interlock.control.agent_policy import (
    AgentPolicy,
    Allowances,
    Mode,
    RequiredAgent,
    Rule,
)
from interlock.control.agent_policy_text import PolicyError, parse_policy
from tests.support.server_process import ROOT
from tests.test_documents import blocks

DOCUMENT = (ROOT / "docs" / "agent-policy.md").read_text()
KNOWN = ("checksum", "decrypt", "signature", "snapshot")


def parsed(text: str) -> AgentPolicy:
    return parse_policy(text.encode(), "p.yaml", known_agents=KNOWN)


def refusal(text: str) -> str:
    with pytest.raises(PolicyError) as caught:
        parsed(text)
    return str(caught.value)


def rule(text: str) -> str:
    """Return a policy of one rule that has these lines as well."""
    return f'version: 1\nrules:\n  - match: "*"\n{text}'


def test_the_policy_that_the_document_shows_is_read() -> None:
    (example,) = blocks(DOCUMENT, "yaml")

    policy = parsed(example)

    secret, shared, free = policy.rules
    assert policy.mode is Mode.ENFORCE
    assert secret == Rule(
        match=("secret-*",),
        required=(
            RequiredAgent("signature"),
            RequiredAgent("decrypt", {"clear_files": "refuse"}),
        ),
        forbidden=("*",),
        signers=("release",),
        snapshot=True,
        line=secret.line,
    )
    assert shared == Rule(
        match=("vendor-*", "shared::*"),
        mode=Mode.WARN,
        required=(
            RequiredAgent("signature"),
            RequiredAgent("checksum", {"manifest": "manifest.json"}, ("SHA256:*",)),
        ),
        signers=("release", "vendor"),
        allow=Allowances(config_overrides=True),
        snapshot=True,
        line=shared.line,
    )
    assert free.mode is Mode.AUDIT
    assert free.allow == Allowances(
        config_overrides=True, file_overrides=True, python_models=True, host_code=True
    )
    assert example.splitlines()[secret.line - 1].strip() == '- match: "secret-*"'


@pytest.mark.parametrize(("line", "snapshot"), [("", True), ("    snapshot: false", False)])
def test_a_rule_takes_a_snapshot_unless_it_says_that_it_does_not(line: str, snapshot: bool) -> None:
    (only,) = parsed(rule(f"{line}\n")).rules

    assert only.snapshot is snapshot


def test_the_error_that_the_document_shows_is_what_is_said() -> None:
    (example,) = blocks(DOCUMENT, "yaml")
    (shown,) = [line for line in DOCUMENT.splitlines() if line.startswith("    /etc/")]

    said = refusal(example.replace("    required:", "    requires:", 1))

    assert said.startswith(shown.strip().replace("/etc/interlock/policy.yaml", "p.yaml")[:-9])


def test_rules_take_the_mode_of_the_policy() -> None:
    assert parsed("version: 1\nmode: audit\nrules: [{match: a}]").rules[0].mode is Mode.AUDIT


def test_numbers_and_truths_are_texts_where_they_are_parameters() -> None:
    text = rule("    required: [{agent: checksum, parameters: {a: 5, b: true, c: ''}}]\n")

    assert parsed(text).rules[0].required[0].parameters == {"a": "5", "b": "true", "c": ""}


def test_any_agent_may_be_required_where_nobody_says_which_there_are() -> None:
    text = rule("    required: [{agent: own}]\n").encode()

    assert parse_policy(text, "p").rules[0].required == (RequiredAgent("own"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("[]", "p.yaml:1:1: a policy is written as 'key: value'", id="a list"),
        pytest.param("rules: []", "p.yaml:1:1: a policy needs the key 'version'", id="no version"),
        pytest.param(
            "version: 2\nrules: []", "p.yaml:1:10: this server reads version 1", id="version 2"
        ),
        pytest.param("version: 1\n", "p.yaml:1:1: a policy needs the key 'rules'", id="no rules"),
        pytest.param(
            "version: 1\nrules: {}\n",
            "p.yaml:2:8: 'rules' is a list: write '- ' in front of each of them",
            id="rules without dashes",
        ),
        pytest.param(
            "version: 1\nrule: []\n",
            "p.yaml:2:1: a policy has no key 'rule'; did you mean 'rules'? "
            "(keys: version, mode, rules)",
            id="unknown key",
        ),
        pytest.param(
            "version: 1\nmode: enforced\nrules: []\n",
            "p.yaml:2:7: 'enforced' is no mode: audit, warn, enforce are; did you mean 'enforce'?",
            id="unknown mode",
        ),
        pytest.param(
            "version: 1\nrules:\n  - mode: warn\n",
            "p.yaml:3:5: a rule needs the key 'match'",
            id="no match",
        ),
        pytest.param(
            "version: 1\nrules:\n  - match: []\n",
            "p.yaml:3:12: 'match' names no model: '*' is every one",
            id="empty match",
        ),
        pytest.param(
            "version: 1\nrules:\n  - match:\n",
            "p.yaml:3:11: 'match' has no value",
            id="match without a value",
        ),
        pytest.param(
            rule("    required: [{agent: checksun}]\n"),
            "p.yaml:4:24: there is no agent 'checksun'; did you mean 'checksum'?",
            id="unknown agent",
        ),
        pytest.param(
            rule("    required: [{agent: checksum, parameters: {manifest: [a]}}]\n"),
            "p.yaml:4:57: 'manifest' is one word or text",
            id="a list as parameter",
        ),
        pytest.param(
            rule("    required: [{agent: checksum, parameters: {manifest: }}]\n"),
            "p.yaml:4:56: 'manifest' has no value",
            id="a parameter without a value",
        ),
        pytest.param(
            rule("    required: [{agent: signature, accepts: ['*']}]\n"),
            "p.yaml:4:35: a model may not add parameters to 'signature'",
            id="open trust",
        ),
        pytest.param(
            rule("    allow: {python_models: yes}\n"),
            "p.yaml:4:28: 'python_models' is true or false, not 'yes'",
            id="a yes",
        ),
        pytest.param(
            rule("    allow: {python: true}\n"),
            "p.yaml:4:13: allow has no key 'python'; did you mean 'python_models'?",
            id="unknown allowance",
        ),
        pytest.param(
            rule("    signers: [a]\n"),
            "p.yaml:4:5: signers count where the agent 'signature' is required",
            id="signers without signature",
        ),
        pytest.param(
            rule(
                "    required: [{agent: signature, parameters: {signers: a}}]\n    signers: [a]\n"
            ),
            "p.yaml:5:5: the parameters of 'signature' say who counts already: keep one of the two",
            id="signers twice",
        ),
        pytest.param(
            rule("    required: [{agent: signature}]\n    signers: []\n"),
            "p.yaml:5:5: nobody counts: name a signer, or leave 'signers' out",
            id="nobody counts",
        ),
        pytest.param(
            rule("    required: [{agent: signature}]\n    signers: ['../a']\n"),
            "p.yaml:5:15: '../a' is no name of a signer",
            id="a way out of the directory",
        ),
        pytest.param(
            "version: 1\nversion: 1\n",
            "p.yaml:2:1: 'version' stands in line 1 already: keep one of the two",
            id="a key twice",
        ),
        pytest.param(
            rule("  - match: a\n"),
            "p.yaml:4:5: this rule never holds: that of line 3 is before it",
            id="a rule behind one for every name",
        ),
        pytest.param("version: [1\n", "p.yaml:2:1: while parsing", id="not YAML"),
    ],
)
def test_a_mistake_has_a_line_and_a_column(text: str, said: str) -> None:
    assert refusal(text).startswith(said)


@given(st.text(alphabet="abc:{}[]-,'\"*&! \n#1", max_size=80))
def test_whatever_stands_in_a_rule_it_is_read_or_refused(text: str) -> None:
    said = "p.yaml:"
    try:
        parsed(rule(text))
    except PolicyError as error:
        said = str(error)

    assert said.startswith("p.yaml:")
