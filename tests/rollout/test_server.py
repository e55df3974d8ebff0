"""Rollouts over HTTP, against a real server on loopback."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from accord.errors import ConfigError
from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.record import Group
from accord.rollout import CompletionServer, ServerError, VllmServer, sampler_gap
from accord.testing import preference_groups, tiny_model
from accord.testing.completions import StandIn


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return load_policy(tiny_model(tmp_path_factory.mktemp("policy"), "llama"))


@pytest.fixture
def stand_in(policy: Policy) -> Iterator[StandIn]:
    server = StandIn(policy)
    yield server
    server.close()


GROUPS = preference_groups(5)
SAMPLING = Sampling(max_tokens=6, seed=3, temperature=0.8)


def test_vllm_gives_what_the_trainer_reads(stand_in: StandIn, policy: Policy) -> None:
    server = VllmServer(stand_in.url, parallel=2)
    server.version = "step-3"
    seen: list[tuple[int, int]] = []
    groups = server.rollout(
        policy.renderer, GROUPS, n=2, sampling=SAMPLING, progress=lambda done, total: seen.append((done, total))
    )
    assert [group.prompt for group in groups] == [group.prompt for group in GROUPS]
    assert seen == [(2 * done, 10) for done in range(1, 6)]
    assert stand_in.most == 2
    for group, (path, body) in zip(groups, stand_in.requests, strict=False):
        assert path == "/v1/completions"
        assert body["model"] == "tiny"
        assert body["stop_token_ids"] == list(policy.renderer.stop_ids)
        assert all(response.version == "step-3" for response in group.responses)
        encoded = policy.renderer.encode(group)
        assert [ids.tokens for ids in encoded.responses] == [response.tokens for response in group.responses]
    assert {tuple(body["prompt"]) for _, body in stand_in.requests} == {
        policy.renderer.encode_prompt(group.prompt) for group in GROUPS
    }
    assert sampler_gap(policy, groups, temperature=0.8).largest <= 1e-5
    assert server.rollout(policy.renderer, GROUPS, n=2, sampling=SAMPLING) == groups


def test_a_share_of_the_prompts_is_seeded_as_in_all_of_them(stand_in: StandIn, policy: Policy) -> None:
    server = VllmServer(stand_in.url)
    groups = server.rollout(policy.renderer, GROUPS, n=2, sampling=SAMPLING)
    share = server.rollout(policy.renderer, GROUPS[1::2], n=2, sampling=SAMPLING, places=(1, 3))
    assert share == groups[1::2]


@pytest.mark.parametrize("takes_ids", [True, False])
def test_without_token_ids_there_is_text_and_a_warning(stand_in: StandIn, policy: Policy, takes_ids: bool) -> None:
    stand_in.ids = takes_ids
    server = CompletionServer(stand_in.url, parallel=1)
    with pytest.warns(UserWarning, match="returns no token ids"):
        groups = server.rollout(policy.renderer, GROUPS[:2], n=2, sampling=SAMPLING)
    for group in groups:
        for response in group.responses:
            assert response.tokens is None
            assert response.logprobs is None
    assert any(response.text for group in groups for response in group.responses)
    prompts = [body["prompt"] for _, body in stand_in.requests]
    if takes_ids:
        assert all(isinstance(prompt, list) for prompt in prompts)
    else:
        assert [type(prompt) for prompt in prompts] == [list, str, str], "refused once, it is not tried again"


def test_a_server_that_gives_fewer_choices_is_asked_again(stand_in: StandIn, policy: Policy) -> None:
    stand_in.largest = 2
    (group,) = VllmServer(stand_in.url).rollout(policy.renderer, GROUPS[:1], n=5, sampling=SAMPLING)
    assert len({response.tokens for response in group.responses}) == 5
    assert [body["n"] for _, body in stand_in.requests] == [5, 3, 1]
    assert len({body["seed"] for _, body in stand_in.requests}) == 3


def test_faults_are_tried_again(stand_in: StandIn, policy: Policy) -> None:
    expected = VllmServer(stand_in.url).rollout(policy.renderer, GROUPS, n=2, sampling=SAMPLING)
    stand_in.requests.clear()
    stand_in.faults = ["dropped", "500", "429", "malformed", "slow"]
    server = VllmServer(stand_in.url, timeout=0.4, retries=5, parallel=1)
    assert server.rollout(policy.renderer, GROUPS, n=2, sampling=SAMPLING) == expected
    assert len(stand_in.requests) == len(GROUPS) + 5


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("500", "answered 500 to /v1/completions: .*try later"),
        ("429", "answered 429"),
        ("403", "answered 403"),
        ("malformed", "answered what cannot be read .* last of 2 attempts"),
        ("dropped", "cannot be reached"),
        ("slow", r"took longer than 0\.3 s"),
    ],
)
def test_what_goes_on_failing_names_the_server(stand_in: StandIn, policy: Policy, fault: str, said: str) -> None:
    stand_in.faults = [fault] * 9
    server = VllmServer(stand_in.url, timeout=0.3, retries=1, parallel=1)
    with pytest.raises(ServerError, match=f"^rollout server {stand_in.url}: {said}"):
        server.rollout(policy.renderer, GROUPS, n=1, sampling=SAMPLING)


def test_nobody_there() -> None:
    server = VllmServer("http://127.0.0.1:9/v1", retries=0, timeout=1)
    with pytest.raises(ServerError, match=r"^rollout server http://127\.0\.0\.1:9/v1: cannot be reached"):
        server.check_version()


def test_new_weights_are_loaded_and_the_cache_is_forgotten(stand_in: StandIn, tmp_path: Path) -> None:
    server = VllmServer(stand_in.url, retries=0)
    server.load(tmp_path, version="step-7")
    assert server.version == "step-7"
    assert stand_in.requests == [
        ("/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(tmp_path.resolve())}}),
        ("/reset_prefix_cache", {}),
    ]
    stand_in.loads = False
    with pytest.raises(ServerError, match=r"did not load .*answered 404.*VLLM_SERVER_DEV_MODE=1"):
        server.load(tmp_path, version="step-8")
    assert server.version == "step-7"
    with pytest.raises(ServerError, match="takes no new weights"):
        CompletionServer(stand_in.url).load(tmp_path, version="step-8")


@pytest.mark.parametrize("version", ["0.9.2", "0.10.1.1", ""])
def test_an_old_vllm_is_refused(stand_in: StandIn, policy: Policy, version: str) -> None:
    stand_in.version = version
    with pytest.raises(ServerError, match=r"is vLLM .* returns no token ids\. Serve with vLLM 0\.10\.2"):
        VllmServer(stand_in.url, retries=0).rollout(policy.renderer, GROUPS, n=1, sampling=SAMPLING)
    stand_in.version = "0.12.0+cu129"
    assert VllmServer(stand_in.url).check_version() == "0.12.0+cu129"


def test_top_k_goes_to_vllm_alone(stand_in: StandIn, policy: Policy) -> None:
    top_k = Sampling(max_tokens=2, top_k=5, stop=("zzz",))
    VllmServer(stand_in.url).rollout(policy.renderer, [Group("x")], n=1, sampling=top_k)
    _, body = stand_in.requests[0]
    assert (body["top_k"], body["stop"], body["include_stop_str_in_output"]) == (5, ["zzz"], True)
    with pytest.raises(ConfigError, match=r"^--top-k"):
        CompletionServer(stand_in.url).rollout(policy.renderer, [Group("x")], n=1, sampling=top_k)


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="rollout server ftp://x"):
        CompletionServer("ftp://x")
    with warnings.catch_warnings(), pytest.raises(ConfigError):
        CompletionServer("http://x", parallel=0)
