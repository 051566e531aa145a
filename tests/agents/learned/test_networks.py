"""Networks of learned policies: the scores worked out plainly, and the distribution as sb3-contrib has it."""

import torch
from sb3_contrib.common.maskable.distributions import MaskableCategorical

from agents.learned.networks import ActionScorer, ActionValues, draw, masked_log_softmax
from ppgym.core.state import LOOKAHEAD, SLOTS

REPRESENTATION, UNIT = [0, 0, 1, 2, 2], [0, 3, 1, 2, 0]


def make_scorer() -> ActionScorer:
    torch.manual_seed(0)
    scorer = ActionScorer(REPRESENTATION, UNIT, slot_width=5, context_width=7, candidate_width=6)
    for parameter in scorer.parameters():
        torch.nn.init.normal_(parameter)
    return scorer


def test_scores_are_products_of_codes() -> None:
    scorer = make_scorer()
    layout = scorer.encoder.layout
    observation = torch.rand(2, layout.size)
    candidates, slots, context = scorer.encoder(observation)
    scores = scorer(observation)
    assert scores.shape == (2, 1 + SLOTS * LOOKAHEAD * len(UNIT))
    torch.testing.assert_close(scores[:, 0], scorer.wait(context)[:, 0])
    for row in range(2):
        for slot in range(SLOTS):
            for look in range(LOOKAHEAD):
                around = scorer.from_slot(slots[row, slot]) + scorer.from_context(context[row])
                own = scorer.from_candidate(candidates[row, slot, look])
                code = torch.relu(scorer.mix(torch.relu(own + around + scorer.place[slot, look])))
                for option, (representation, unit) in enumerate(zip(REPRESENTATION, UNIT, strict=True)):
                    fields = (layout.unit_present + unit, layout.unit_backlog + unit, layout.unit_speed + unit)
                    features = observation[row, [layout.option_decode + option, *fields]]
                    code_of_option = (
                        scorer.from_option(features)
                        + scorer.representation.weight[representation]
                        + scorer.unit.weight[unit]
                    )
                    place = slot * LOOKAHEAD + look
                    expected = code @ code_of_option * scorer.scale + scorer.preference[place]
                    torch.testing.assert_close(scores[row, 1 + place * len(UNIT) + option], expected)


def test_values_are_the_states_plus_scores_in_their_unit() -> None:
    scorer = make_scorer()
    values = ActionValues(scorer, context_width=7, unit=0.25)
    observation = torch.rand(3, scorer.encoder.layout.size)
    context = scorer.encoder(observation)[2]
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
