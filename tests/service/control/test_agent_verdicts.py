"""What is made of what agents say, and what of it a change of policy leaves."""

import pytest
from hypothesis import given, strategies as st

from interlock.control.agent_policy import (
    AgentPolicy,
    Candidate,
    Decision,
    Mode,
    Objection,
    RequiredAgent,
    Rule,
    decide,
)
from interlock.control.agent_verdicts import (
    Graces,
    Heard,
    Reassessment,
    Standing,
    Verdict,
    judge,
    reassess,
)
from interlock.domain.config_agents import AgentConfig
from tests.support.control import key

CHECKSUM = RequiredAgent("checksum", {"manifest": "m"})
SIGNATURE = RequiredAgent("signature")
RELEASE, VENDOR = "release", "vendor"


def decision(
    *required: RequiredAgent,
    signers: tuple[str, ...] = (),
    mode: Mode = Mode.ENFORCE,
    asked: tuple[AgentConfig, ...] = (),
    forbidden: tuple[str, ...] = (),
    backend: str = "",
) -> Decision:
    rule = Rule(("*",), mode, required, forbidden, signers, line=1)
    return decide(AgentPolicy((rule,)), Candidate("m", asked, backend=backend))


def obeyed(decision: Decision, signer: str = "release") -> tuple[Heard, ...]:
    """Return what is heard of agents that all pass the model."""
    return tuple(
        Heard(
            agent.name,
            agent.parameters,
            notes={"signer": signer} if agent.name == "signature" else {},
        )
        for agent in decision.agents
    )


def kinds(verdict: Verdict | Reassessment) -> list[Objection]:
    return [finding.objection for finding in verdict.findings]


def test_a_model_that_all_agents_pass_passes() -> None:
    wanted = decision(CHECKSUM, SIGNATURE, signers=(RELEASE,))

    verdict = judge(wanted, obeyed(wanted))

    assert verdict.passes
    assert verdict.refusal is None


def test_a_required_agent_that_did_not_run_is_missed() -> None:
    verdict = judge(decision(CHECKSUM), ())

    assert verdict.refusal == (
        "policy: the agent 'checksum' is required and has not run (rule '*', policy:1)"
    )


def test_an_agent_that_ran_with_other_parameters_is_missed() -> None:
    assert kinds(judge(decision(CHECKSUM), (Heard("checksum", {}),))) == [Objection.MISSING_AGENT]


def test_required_agents_that_ran_in_another_order_are_missed() -> None:
    wanted = decision(CHECKSUM, SIGNATURE)

    assert kinds(judge(wanted, obeyed(wanted)[::-1])) == [Objection.MISSING_AGENT]


def test_a_refusal_is_what_is_told_and_not_those_that_it_kept_from_running() -> None:
    verdict = judge(
        decision(CHECKSUM, SIGNATURE, mode=Mode.WARN),
        (Heard("checksum", CHECKSUM.parameters, refusal="Mismatched file"),),
    )

    assert verdict.refusal is None
    assert verdict.warning == (
        "policy: the agent 'checksum' refuses it: Mismatched file (rule '*', policy:1)"
    )


def test_the_refusal_of_an_agent_that_only_the_model_asked_for_counts_too() -> None:
    wanted = decision(asked=(AgentConfig("fetch"),))

    assert not judge(wanted, (Heard("fetch", {}, refusal="gone"),)).passes


@pytest.mark.parametrize("notes", [{}, {"signer": "vendor"}])
def test_the_signature_of_somebody_else_does_not_count(notes: dict[str, str]) -> None:
    wanted = decision(SIGNATURE, signers=(RELEASE,))
    heard = (Heard("signature", {"signers": "release"}, notes=notes),)

    assert kinds(judge(wanted, heard)) == [Objection.SIGNER]


def test_a_signer_that_the_models_own_agent_found_does_not_count() -> None:
    asked = (AgentConfig("signature", {"name": "*"}),)
    wanted = decision(SIGNATURE, signers=(RELEASE,), asked=asked)
    mine, theirs = obeyed(wanted)
    assert theirs.parameters == {"name": "*"}

    verdict = judge(wanted, (Heard(mine.name, mine.parameters), theirs))

    assert kinds(verdict) == [Objection.SIGNER]


def test_a_version_that_still_passes_is_left_alone() -> None:
    wanted = decision(CHECKSUM, SIGNATURE, signers=(RELEASE,))
    verdict = judge(wanted, obeyed(wanted))

    assert reassess(wanted, verdict).standing is Standing.PASSES
    assert reassess(decision(SIGNATURE, signers=(RELEASE, VENDOR)), verdict).standing is (
        Standing.PASSES
    )
    assert reassess(decision(), verdict).standing is Standing.PASSES


def test_a_version_that_an_agent_has_not_seen_lacks_a_verdict() -> None:
    verdict = judge(decision(CHECKSUM), obeyed(decision(CHECKSUM)))

    for wanted in (
        decision(CHECKSUM, RequiredAgent("decrypt")),
        decision(RequiredAgent("checksum", {"manifest": "other"})),
        decision(CHECKSUM, SIGNATURE, signers=(RELEASE,)),
    ):
        reassessment = reassess(wanted, verdict)
        assert reassessment.standing is Standing.LACKS
        assert not reassessment.is_to_go


def test_a_version_from_before_there_was_a_policy_lacks_a_verdict() -> None:
    assert reassess(decision(CHECKSUM), None).standing is Standing.LACKS
    assert reassess(decision(), None).standing is Standing.PASSES


def test_a_version_whose_signer_no_longer_counts_fails_at_once() -> None:
    before = decision(SIGNATURE, signers=(RELEASE, VENDOR))
    verdict = judge(before, obeyed(before, "vendor"))

    reassessment = reassess(decision(SIGNATURE, signers=(RELEASE,)), verdict)

    assert reassessment.standing is Standing.FAILS
    assert reassessment.is_to_go
    assert reassessment.reason == (
        "policy: it is signed by 'vendor', and what counts is the signature of release "
        "(rule '*', policy:1)"
    )


@pytest.mark.parametrize("known", ["vendor", None])
def test_a_signer_counts_no_longer_where_the_parameters_said_that_they_did(
    known: str | None,
) -> None:
    before = decision(RequiredAgent("signature", {"signers": "release, vendor"}))
    notes = {} if known is None else {"signer": known}
    heard = tuple(Heard(one.name, one.parameters, notes=notes) for one in before.agents)
    wanted = decision(RequiredAgent("signature", {"signers": "release"}))

    assert reassess(wanted, Verdict(heard)).is_to_go
    assert reassess(wanted, judge(before, obeyed(before, RELEASE))).standing is Standing.PASSES


def test_whom_a_model_trusted_before_counts_for_nothing() -> None:
    own = (Heard("signature", {"signers": "mallory"}, notes={"signer": "mallory"}),)

    assert reassess(
        decision(RequiredAgent("signature", {"signers": "release"})), Verdict(own)
    ).is_to_go


def test_what_was_refused_when_others_counted_is_looked_at_again() -> None:
    before = decision(SIGNATURE, signers=(RELEASE,), mode=Mode.AUDIT)
    refused = tuple(
        Heard(agent.name, agent.parameters, refusal="signed by another") for agent in before.agents
    )
    verdict = judge(before, refused)

    assert reassess(before, verdict).standing is Standing.FAILS
    assert reassess(decision(SIGNATURE, signers=(VENDOR,)), verdict).standing is Standing.LACKS


@pytest.mark.parametrize("notes", [{}, {"signer": "release"}])
@pytest.mark.parametrize("signers", [(), (RELEASE,)])
def test_what_a_model_had_checked_its_own_way_is_looked_at_again(
    notes: dict[str, str], signers: tuple[str, ...]
) -> None:
    own = (Heard("signature", {"name": "another"}, notes=notes),)
    wanted = decision(SIGNATURE, signers=signers)

    assert reassess(wanted, Verdict(own)).standing is not Standing.PASSES
    assert not judge(wanted, own).passes


@pytest.mark.parametrize(
    ("mode", "outcome"),
    [(Mode.AUDIT, "would-refuse"), (Mode.WARN, "warned"), (Mode.ENFORCE, "refused")],
)
def test_the_outcome_is_in_the_words_of_the_audit_log(mode: Mode, outcome: str) -> None:
    assert judge(decision(CHECKSUM, mode=mode), ()).outcome == outcome
    assert judge(decision(mode=mode), ()).outcome == "passed"


def test_a_version_of_a_kind_that_is_forbidden_now_fails() -> None:
    asked = (AgentConfig("fetch"),)
    verdict = judge(decision(asked=asked), obeyed(decision(asked=asked)))

    assert reassess(decision(asked=asked, forbidden=("*",)), verdict).is_to_go
    assert reassess(decision(asked=asked, backend="python"), verdict).is_to_go


def test_what_an_agent_made_that_is_forbidden_now_is_loaded_again() -> None:
    before = decision(CHECKSUM, RequiredAgent("fetch"))
    verdict = judge(before, obeyed(before))

    assert reassess(decision(CHECKSUM, forbidden=("*",)), verdict).standing is Standing.LACKS
    assert reassess(decision(CHECKSUM), verdict).standing is Standing.PASSES
    assert reassess(before, verdict).standing is Standing.PASSES


def test_what_was_tolerated_fails_once_the_policy_is_enforced() -> None:
    audited = decision(CHECKSUM, mode=Mode.AUDIT)
    verdict = judge(audited, (Heard("checksum", CHECKSUM.parameters, refusal="Mismatched"),))
    assert verdict.refusal is verdict.warning is None

    assert reassess(decision(CHECKSUM, mode=Mode.WARN), verdict).standing is Standing.FAILS
    assert not reassess(decision(CHECKSUM, mode=Mode.WARN), verdict).is_to_go
    assert reassess(decision(CHECKSUM), verdict).is_to_go


REQUIRED = st.lists(
    st.builds(
        RequiredAgent,
        st.sampled_from(["checksum", "signature", "decrypt"]),
        st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"), max_size=2),
    ),
    max_size=3,
)
SIGNERS = st.sampled_from([(), (RELEASE,), (VENDOR,), (RELEASE, VENDOR)])


@given(REQUIRED, SIGNERS, REQUIRED, SIGNERS, st.sampled_from(["release", "vendor", "x"]))
def test_what_stands_after_a_change_would_pass_a_load_as_well(
    old: list[RequiredAgent],
    old_signers: tuple[str, ...],
    new: list[RequiredAgent],
    new_signers: tuple[str, ...],
    signer: str,
) -> None:
    before = decision(*old, signers=old_signers)
    verdict = judge(before, obeyed(before, signer))
    after = decision(*new, signers=new_signers)

    standing = reassess(after, verdict).standing

    assert standing is not Standing.PASSES or judge(after, verdict.heard).passes
    if verdict.passes:
        assert reassess(before, verdict).standing is Standing.PASSES


FAILS = Reassessment(Standing.FAILS)
PASSES = Reassessment(Standing.PASSES)


def test_a_version_goes_when_its_grace_is_over() -> None:
    graces = Graces(10.0)

    assert graces.step({key(1): FAILS, key(2): PASSES}, 100.0) == ()
    assert graces.due() == 110.0
    assert graces.step({key(1): FAILS, key(2): FAILS}, 105.0) == ()
    assert graces.step({key(1): FAILS, key(2): FAILS}, 110.0) == (key(1),)
    assert graces.step({key(1): FAILS, key(2): FAILS}, 115.0) == (key(1), key(2))


def test_a_version_that_passes_again_has_its_whole_grace_again() -> None:
    graces = Graces(10.0)
    graces.step({key(1): FAILS}, 100.0)
    graces.step({key(1): PASSES}, 105.0)

    assert graces.due() is None
    assert graces.step({key(1): FAILS}, 112.0) == ()


def test_without_a_grace_a_version_goes_at_once() -> None:
    assert Graces(0.0).step({key(1): FAILS}, 5.0) == (key(1),)


@pytest.mark.parametrize("mode", [Mode.AUDIT, Mode.WARN])
def test_nothing_goes_where_the_policy_only_looks_on(mode: Mode) -> None:
    assert Graces(0.0).step({key(1): Reassessment(Standing.FAILS, mode=mode)}, 5.0) == ()
