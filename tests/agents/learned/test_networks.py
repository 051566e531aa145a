"""Networks of learned policies: the scores worked out plainly, and the distribution as sb3-contrib has it."""

import numpy as np
import pytest
import torch
from sb3_contrib.common.maskable.distributions import MaskableCategorical

from agents.learned.networks import CENTRE, GAIN, ActionScorer, ActionValues, draw, masked_log_softmax
from agents.learned.padding import PLACES, Padding
from ppgym.core.observation import observation_fields
from ppgym.core.state import LOOKAHEAD, SLOTS
from ppgym.env import PromptPreamEnv
from ppgym.world.options import Option

R = 3


def make_scorer(representations: int = R) -> ActionScorer:
    torch.manual_seed(0)
    scorer = ActionScorer(representations, slot_width=5, context_width=7, candidate_width=6)
    for parameter in scorer.parameters():
        torch.nn.init.normal_(parameter)
    return scorer.double()


def fields_of(scorer: ActionScorer, observation: torch.Tensor) -> dict[str, torch.Tensor]:
    """The fields of one observation by name."""
    count, found = scorer.encoder.representations, {}
    for field in observation_fields(count, PLACES * count):
        first = getattr(scorer.encoder.layout, field.name)
        found[field.name] = observation[first : first + int(np.prod(field.shape))].reshape(field.shape)
    return found


def test_scores_are_products_of_codes() -> None:
    """Worked out for each request by itself, from the fields of the table."""
    scorer = make_scorer()
    observations = torch.rand(2, scorer.encoder.layout.size, dtype=torch.float64)
    for observation in observations:
        kinds = [0.0] * PLACES + [1.0] * PLACES + [0.0] * PLACES
        fields_of(scorer, observation)["option_generative"][:] = torch.tensor(kinds)
    scores, contexts = scorer(observations), scorer.encoder(observations).context
    assert scores.shape == (2, 1 + SLOTS * LOOKAHEAD * R * PLACES)
    torch.testing.assert_close(scores[:, 0], scorer.wait(contexts)[:, 0])
    for observation, score, context in zip(observations, scores, contexts, strict=True):
        seen, expected = fields_of(scorer, GAIN * (observation - CENTRE)), []
        ladder = torch.stack([seen[f"candidate_{name}"] for name in ("bytes", "quality", "decode")], dim=-1)
        chunks = torch.relu(ladder @ scorer.encoder.pool.weight[:, :, 0].T + scorer.encoder.pool.bias)
        means = ladder.mean((0, 1))
        plain = torch.cat([seen["survival"][..., None], seen["candidate_ahead"][..., None], chunks.amax(2)], dim=-1)
        for slot in range(SLOTS):
            names = ("present", "duration", "position", "decoded", "queued", "in_flight")
            own = torch.stack([seen[f"slot_{name}"][slot] for name in names])
            of_slot = torch.relu(scorer.encoder.slot(torch.cat([own, plain[slot].flatten()])))
            around = scorer.from_slot(of_slot) + scorer.from_context(context)
            for look in range(LOOKAHEAD):
                code = torch.relu(scorer.from_candidate(plain[slot, look]) + around + scorer.place[slot, look])
                request, of_chunk = torch.relu(scorer.mix(code)), scorer.of_chunk(code)
                for option in range(R * PLACES):
                    r, place = divmod(option, PLACES)
                    unit = [(0, 3, 3), (0, 1, 2), (0, 3, 3)][r][place]
                    features = [seen[f"option_{name}"][option] for name in ("decode", "load", "energy", "generative")]
                    features += [seen[f"unit_{name}"][unit] for name in ("present", "backlog", "speed", "throttle")]
                    features += [torch.tensor(float(unit == other), dtype=torch.float64) for other in range(4)]
                    of_option = torch.relu(scorer.encoder.option(torch.cat([torch.stack(features), means[r]])))
                    expected.append(
                        request @ scorer.from_option(of_option)
                        + of_chunk @ chunks[slot, look, r]
                        + scorer.preference[slot * LOOKAHEAD + look]
                    )
        torch.testing.assert_close(score[1:], torch.stack(expected))


def test_a_longer_ladder_that_nobody_can_decode_changes_no_score() -> None:
    env = PromptPreamEnv()
    observation, _ = env.reset(seed=0)
    own, padded = Padding(env.options), Padding(env.options, 12)
    here, there = (
        make_scorer(padding.representations)(torch.from_numpy(padding.observations(observation[None])).double())[
            0
        ].detach()
        for padding in (own, padded)
    )
    assert own.representations == 6
    actions = np.arange(env.action_space.n)
    torch.testing.assert_close(here[own.from_world(actions)], there[padded.from_world(actions)])


def test_the_order_of_the_ladder_changes_no_score() -> None:
    scorer = make_scorer()
    observation = torch.rand(1, scorer.encoder.layout.size, dtype=torch.float64)
    shuffled, order = observation.clone(), [2, 0, 1]
    for name, values in fields_of(scorer, shuffled[0]).items():
        if name in ("candidate_bytes", "candidate_quality", "candidate_decode"):
            values[:] = values[..., order].clone()
        if name.startswith("option_"):
            values[:] = values.view(R, PLACES)[order].flatten().clone()
    there = scorer(shuffled)[0, 1:].view(SLOTS * LOOKAHEAD, R, PLACES)
    here = scorer(observation)[0, 1:].view(SLOTS * LOOKAHEAD, R, PLACES)
    torch.testing.assert_close(there, here[:, order])


def test_padding_goes_there_and_back() -> None:
    options = (
        Option("av1@cpu", 0, "av1", False, "cpu", 0.1, True),
        Option("av1@vdec", 0, "av1", False, "vdec", 0.1, True),
        Option("token@cpu", 1, "token", True, "cpu", 9.0, True),
        Option("token@gpu", 1, "token", True, "gpu", 1.0, True),
        Option("token@npu", 1, "token", True, "npu", 0.5, False),
    )
    padding = Padding(options, 3)
    assert padding.places.tolist() == [0, 1, 3, 4, 5]
    actions = np.arange(1 + SLOTS * LOOKAHEAD * 5)
    there = padding.from_world(actions)
    assert padding.to_world(there).tolist() == actions.tolist()
    assert there[:7].tolist() == [0, 1, 2, 4, 5, 6, 10]  # 9 options of the network to a candidate
    assert padding.to_world([3, 7, 8, 9]).tolist() == [-1] * 4
    masks = np.random.default_rng(0).random((4, len(actions))) < 0.5
    padded = padding.masks(masks)
    assert padded.shape == (4, 1 + SLOTS * LOOKAHEAD * 9)
    np.testing.assert_array_equal(padded[:, there], masks)
    assert padded.sum() == masks.sum()
    with pytest.raises(ValueError, match="expected a ladder of at most 1 representations, as in training; got 2"):
        Padding(options, 1)


def test_values_are_the_states_plus_scores_in_their_unit() -> None:
    scorer = make_scorer()
    values = ActionValues(scorer, context_width=7, unit=0.25).double()
    observation = torch.rand(3, scorer.encoder.layout.size, dtype=torch.float64)
    context = scorer.encoder(observation).context
    torch.testing.assert_close(values(observation), values.state(context) + 0.25 * scorer(observation))


def test_masked_log_softmax_equals_sb3_contrib() -> None:
    torch.manual_seed(0)
    logits, masks = 3.0 * torch.randn(50, 9), torch.rand(50, 9) < 0.4
    masks[:, 0] = True
    expected = MaskableCategorical(logits=logits, masks=masks)
    found = masked_log_softmax(logits, masks)
    torch.testing.assert_close(found.exp(), expected.probs)
    torch.testing.assert_close(found[masks], expected.logits[masks])
    torch.testing.assert_close(-(found.exp() * found).sum(1), expected.entropy())
    torch.testing.assert_close(masked_log_softmax(logits, None), torch.log_softmax(logits, 1))


def test_drawn_actions_are_as_frequent_as_likely() -> None:
    torch.manual_seed(0)
    shares = torch.tensor([0.0, 0.2, 0.0, 0.5, 0.3, 0.0])
    counts = torch.bincount(draw(shares.repeat(100_000, 1)), minlength=6) / 100_000
    assert counts[shares == 0.0].sum() == 0.0
    torch.testing.assert_close(counts, shares, atol=0.01, rtol=0.0)
