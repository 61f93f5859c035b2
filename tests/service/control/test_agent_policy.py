"""Which agents a model must pass, whatever it asks for."""

from collections import Counter

import pytest
from hypothesis import given, strategies as st

from interlock.control.agent_policy import (
    AgentPolicy,
    Allowances,
    Candidate,
    Decision,
    Mode,
    Objection,
    Override,
    RequiredAgent,
    Rule,
    decide,
    is_heard,
)
from interlock.domain.config_agents import AgentConfig

RELEASE, VENDOR = "release", "vendor"
CHECKSUM = RequiredAgent("checksum", {"manifest": "manifest.json"})


def policy(*rules: Rule, mode: Mode = Mode.ENFORCE) -> AgentPolicy:
    return AgentPolicy(rules, mode, "policy.yaml")


def under(rule: Rule, **candidate: object) -> Decision:
    return decide(policy(rule), Candidate("m", **candidate))  # type: ignore[arg-type]


def every(**values: object) -> Rule:
    return Rule(("*",), line=3, **values)  # type: ignore[arg-type]


def agents(decision: Decision) -> list[tuple[str, dict[str, str]]]:
    return [(agent.name, dict(agent.parameters)) for agent in decision.agents]


def test_the_first_rule_that_matches_holds() -> None:
    first, second = Rule(("secret-*", "x")), Rule(("*",))

    assert policy(first, second).rule_for("secret-a") is first
    assert policy(first, second).rule_for("x") is first
    assert policy(first, second).rule_for("Secret-a") is second
    assert policy(first).rule_for("a") is None


@pytest.mark.parametrize(
    "candidate",
    [Candidate("m", other_names=("east::m",)), Candidate("east::m", other_names=("m",))],
)
@pytest.mark.parametrize("pattern", ["m", "east::*"])
def test_a_rule_holds_whether_or_not_another_repository_has_the_name(
    pattern: str, candidate: Candidate
) -> None:
    rules = policy(Rule((pattern,), required=(CHECKSUM,)), Rule(("*",)))
    names = (candidate.model, *candidate.other_names)

    assert agents(decide(rules, candidate)) == [("checksum", dict(CHECKSUM.parameters))]
    assert is_heard(rules, *names, is_overridden=False)


def test_a_model_that_no_rule_speaks_of_is_refused() -> None:
    decision = decide(policy(Rule(("a",))), Candidate("b"))

    assert decision.refusal == (
        "policy: no rule speaks of the model 'b': add one that matches its name "
        "('*' matches every name) (policy.yaml)"
    )


def test_a_policy_without_rules_refuses_everything() -> None:
    assert decide(policy(), Candidate("b")).refusal is not None


def test_what_is_required_runs_first_and_what_the_model_asks_for_is_added() -> None:
    asked = (AgentConfig("fetch", {"from": "x"}), AgentConfig("checksum", {"MD5:a": "0"}))
    decision = under(every(required=(CHECKSUM,)), agents=asked)

    assert agents(decision) == [
        ("checksum", {"manifest": "manifest.json"}),
        ("fetch", {"from": "x"}),
        ("checksum", {"MD5:a": "0"}),
    ]
    assert decision.refusal is None


def test_what_is_verified_is_taken_into_memory_before_anybody_sees_it() -> None:
    required = (RequiredAgent("antivirus"), CHECKSUM)

    decision = under(every(required=required, snapshot=True))

    assert [agent.name for agent in decision.agents] == ["snapshot", "antivirus", "checksum"]
    assert decision.agents[0].is_required


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        (every(required=(CHECKSUM,), snapshot=False), ["checksum"]),
        (every(required=(CHECKSUM,), snapshot=True, mode=Mode.WARN), ["checksum"]),
        (every(required=(RequiredAgent("antivirus"),), snapshot=True), ["antivirus"]),
        (
            every(
                required=(RequiredAgent("decrypt"), RequiredAgent("snapshot"), CHECKSUM),
                snapshot=True,
            ),
            ["decrypt", "snapshot", "checksum"],
        ),
    ],
)
def test_no_snapshot_is_taken_where_none_is_asked_for_or_the_rule_places_it(
    rule: Rule, names: list[str]
) -> None:
    assert [agent.name for agent in under(rule).agents] == names


def test_a_model_that_asks_for_the_snapshot_itself_does_what_the_rule_does_anyway() -> None:
    rule = every(required=(CHECKSUM,), forbidden=("*",), snapshot=True)

    decision = under(rule, agents=(AgentConfig("snapshot", {}),))

    assert [agent.name for agent in decision.agents] == ["snapshot", "checksum"]
    assert decision.refusal is None


@pytest.mark.parametrize("parameters", [{}, {"manifest": "manifest.json"}])
def test_an_agent_that_adds_nothing_runs_once(parameters: dict[str, str]) -> None:
    asked = (AgentConfig("checksum", parameters),)

    assert agents(under(every(required=(CHECKSUM,)), agents=asked)) == [
        ("checksum", {"manifest": "manifest.json"})
    ]


def test_a_model_may_add_the_parameters_that_a_rule_accepts() -> None:
    rule = every(required=(RequiredAgent("checksum", {"manifest": "m"}, ("SHA256:*",)),))
    asked = (AgentConfig("checksum", {"SHA256:a": "0"}),)

    assert agents(under(rule, agents=asked)) == [("checksum", {"manifest": "m", "SHA256:a": "0"})]


def test_a_model_cannot_change_a_parameter_even_where_it_may_add_any() -> None:
    rule = every(required=(RequiredAgent("checksum", {"manifest": "m"}, ("*",)),))
    asked = (AgentConfig("checksum", {"manifest": "mine"}),)

    assert agents(under(rule, agents=asked))[0] == ("checksum", {"manifest": "m"})


def test_the_signature_agent_is_told_who_counts_and_by_nobody_else() -> None:
    rule = every(required=(RequiredAgent("signature", accepts=("*",)),), signers=(RELEASE, VENDOR))
    asked = (AgentConfig("signature", {"signers": "evil", "name": "*"}),)

    told, *own = agents(under(rule, agents=asked))

    assert told == ("signature", {"signers": "release, vendor"})
    assert own == [("signature", {"signers": "evil", "name": "*"})]


def test_agents_of_the_repository_stay_where_a_request_leaves_them_out() -> None:
    decision = under(
        every(required=(CHECKSUM,), allow=Allowances(config_overrides=True)),
        agents=(AgentConfig("decrypt"),),
        override=Override.CONFIG,
        overriding=(AgentConfig("fetch"),),
    )

    assert [agent.name for agent in decision.agents] == ["checksum", "decrypt", "fetch"]


def test_agents_that_a_request_repeats_run_once() -> None:
    asked = (AgentConfig("decrypt"), AgentConfig("fetch"))
    decision = under(
        every(allow=Allowances(config_overrides=True)),
        agents=asked,
        override=Override.CONFIG,
        overriding=asked,
    )

    assert [agent.name for agent in decision.agents] == ["decrypt", "fetch"]


def test_files_of_a_request_are_another_model_and_held_to_the_same_rule() -> None:
    decision = under(
        every(required=(CHECKSUM,), allow=Allowances(file_overrides=True)),
        agents=(AgentConfig("decrypt"),),
        override=Override.FILES,
        overriding=(AgentConfig("fetch"),),
    )

    assert [agent.name for agent in decision.agents] == ["checksum", "fetch"]


def test_a_required_agent_must_not_run_again_the_models_way_where_it_is_forbidden() -> None:
    fetch = RequiredAgent("fetch", {"from": "vault"})
    rule = every(required=(fetch, CHECKSUM), forbidden=("*",))
    same, other = AgentConfig("fetch", {"from": "vault"}), AgentConfig("fetch", {"from": "evil"})

    assert under(rule, agents=(same,)).findings == ()
    for asked in ((other,), (same, same)):
        (finding,) = under(rule, agents=asked).findings
        assert finding.objection is Objection.FORBIDDEN_AGENT
        assert "with other parameters, or more often" in finding.reason


def test_forbidden_agents_are_named_and_what_is_required_anyway_is_exempt() -> None:
    asked = (AgentConfig("fetch"), AgentConfig("checksum"), AgentConfig("fetch"))
    decision = under(every(required=(CHECKSUM,), forbidden=("*",)), agents=asked)

    assert decision.refusal == (
        "policy: the agent 'fetch' is forbidden: remove it from model_repository_agents, or from "
        "what the rule forbids (rule '*', policy.yaml:3)"
    )


@pytest.mark.parametrize(
    ("brought", "objection", "key"),
    [
        ({"override": Override.CONFIG}, Objection.CONFIG_OVERRIDE, "config_overrides"),
        ({"override": Override.FILES}, Objection.FILE_OVERRIDE, "file_overrides"),
        ({"backend": "python"}, Objection.PYTHON_MODEL, "python_models"),
        ({"wants_host_code": True}, Objection.HOST_CODE, "host_code"),
    ],
)
def test_what_a_model_brings_along_must_be_allowed(
    brought: dict[str, object], objection: Objection, key: str
) -> None:
    refused = under(every(), **brought)
    allowed = under(every(allow=Allowances(**{key: True})), **brought)

    assert [finding.objection for finding in refused.findings] == [objection]
    assert f"'allow: {{{key}: true}}'" in (refused.refusal or "")
    assert allowed.findings == ()


@pytest.mark.parametrize(
    ("mode", "refuses", "warns"),
    [(Mode.AUDIT, False, False), (Mode.WARN, False, True), (Mode.ENFORCE, True, False)],
)
def test_the_mode_says_what_comes_of_a_finding(mode: Mode, *, refuses: bool, warns: bool) -> None:
    decision = under(every(mode=mode), backend="python")

    assert len(decision.findings) == 1
    assert (decision.refusal is not None, decision.warning is not None) == (refuses, warns)


def test_an_agent_that_runs_for_the_policy_alone_binds_where_it_is_enforced() -> None:
    asked = (AgentConfig("checksum"), AgentConfig("fetch"))
    required = (CHECKSUM, RequiredAgent("signature"))

    audited = under(every(mode=Mode.AUDIT, required=required), agents=asked)
    enforced = under(every(required=required), agents=asked)

    assert [agent.is_binding for agent in audited.agents] == [True, False, True]
    assert all(agent.is_binding for agent in enforced.agents)


def test_without_a_policy_the_configurations_say_everything() -> None:
    mine, theirs = (AgentConfig("checksum"),), (AgentConfig("fetch"),)
    plain = decide(None, Candidate("m", mine, backend="python"))
    overridden = decide(None, Candidate("m", mine, Override.CONFIG, theirs))
    other = decide(None, Candidate("m", mine, Override.FILES, theirs))

    assert [agent.name for agent in plain.agents] == ["checksum"]
    assert [agent.name for agent in overridden.agents] == ["checksum", "fetch"]
    assert [agent.name for agent in other.agents] == ["fetch"]
    assert plain.refusal is overridden.refusal is None
    assert plain.allow.host_code


NAMES = st.sampled_from(["checksum", "decrypt", "signature", "fetch"])
PARAMETERS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy"), max_size=3)
ASKED = st.lists(st.builds(AgentConfig, NAMES, PARAMETERS), max_size=4).map(tuple)
ALLOW = st.builds(Allowances, *[st.booleans()] * 4)
RULES = st.builds(
    Rule,
    match=st.lists(st.sampled_from(["*", "m", "n?", "x*"]), min_size=1, max_size=2).map(tuple),
    mode=st.sampled_from(Mode),
    required=st.lists(
        st.builds(
            RequiredAgent,
            NAMES,
            PARAMETERS,
            st.lists(st.sampled_from(["*", "a"]), max_size=1).map(tuple),
        ),
        max_size=4,
    ).map(tuple),
    forbidden=st.lists(st.sampled_from(["*", "fetch"]), max_size=2).map(tuple),
    signers=st.sampled_from([(), (RELEASE,), (RELEASE, VENDOR)]),
    allow=ALLOW,
)
POLICIES = st.builds(
    AgentPolicy, st.lists(RULES, max_size=3).map(tuple), mode=st.sampled_from(Mode)
)
CANDIDATES = st.builds(
    Candidate,
    model=st.sampled_from(["m", "n1", "x", "other"]),
    agents=ASKED,
    override=st.sampled_from(Override),
    overriding=ASKED,
    backend=st.sampled_from(["", "python", "onnxruntime"]),
    wants_host_code=st.booleans(),
)


@given(POLICIES, CANDIDATES)
def test_no_model_and_no_request_drops_or_weakens_what_is_required(
    policy: AgentPolicy, candidate: Candidate
) -> None:
    decision = decide(policy, candidate)
    required = () if decision.rule is None else decision.rule.agents()

    assert [agent.name for agent in decision.agents if agent.is_required] == [
        agent.name for agent in required
    ]
    for chosen, wanted in zip(decision.agents, required, strict=False):
        assert chosen.is_required
        assert wanted.parameters.items() <= chosen.parameters.items()
        if not wanted.accepts or wanted.name == "signature":
            assert chosen.parameters == wanted.parameters


def _words(agent: AgentConfig) -> tuple[str, tuple[tuple[str, str], ...]]:
    return agent.name, tuple(sorted(agent.parameters.items()))


@given(POLICIES, CANDIDATES)
def test_nothing_that_is_asked_for_is_lost(policy: AgentPolicy, candidate: Candidate) -> None:
    chosen = decide(policy, candidate).agents
    own = () if candidate.override is Override.FILES else candidate.agents
    # A request that repeats what the model has adds nothing.
    asked = Counter(map(_words, own)) | Counter(map(_words, candidate.overriding))

    assert len(chosen) >= asked.total()
    for name, parameters in asked:
        assert any(
            one.name == name and set(parameters) <= set(one.parameters.items()) for one in chosen
        )


@given(POLICIES, CANDIDATES)
def test_the_mode_never_changes_what_is_found(policy: AgentPolicy, candidate: Candidate) -> None:
    decision = decide(policy, candidate)

    assert decision == decide(policy, candidate)
    assert (decision.refusal is not None) == (
        decision.mode is Mode.ENFORCE and bool(decision.findings)
    )
    assert decision.findings or decision.rule is not None


@given(POLICIES, CANDIDATES)
def test_what_passes_an_enforced_rule_is_allowed_by_it(
    policy: AgentPolicy, candidate: Candidate
) -> None:
    decision = decide(policy, candidate)
    if decision.findings:
        return

    assert decision.allow.config_overrides or candidate.override is not Override.CONFIG
    assert decision.allow.file_overrides or candidate.override is not Override.FILES
    assert decision.allow.python_models or candidate.backend != "python"
    assert decision.allow.host_code or not candidate.wants_host_code
