"""The two official policies by hand, against naive ones, and against the official recordings."""

import pytest

from ppgym.mmgc import OFFICIAL_POLICIES, FixedPreload, MMGCDataset, MMGCPlayer, MMGCSession, NoSave, play, viewer_seeds
from tests.mmgc.oracle import NaiveFixedPreload, NaiveNoSave, write_dataset
from tests.mmgc.small import FAST, RUNG_BYTES, SEEDS, STAYS, needs_golden, small_dataset


def test_fixed_preload_by_hand(dataset):
    """Video 0 in order; then up to four chunks of each next video, all of them likely here."""
    actions = play(FixedPreload(), MMGCSession(dataset, "low", 0, SEEDS))
    # One second arrives per 1,080 ms and more: the buffer never passes 1,000 ms while video 0 is fetched.
    assert actions[:3] == [(0, 0, 0.0), (0, 0, 0.0), (0, 0, 0.0)]
    # The viewer has left video 0 during its chunk 2. Video 1 now plays, and likewise up to the end.
    assert actions[3:6] == [(1, 0, 0.0), (1, 0, 0.0), (1, 0, 0.0)]


def test_fixed_preload_stops_at_unlikely_chunks_and_then_sleeps(tmp_path):
    """Video 0 plays; the chunks 0 and 1 of the others are likely (1, 0.7), their chunk 2 (0.6) is not."""
    curve = [(0, 1), (1, 0.7), (2, 0.6), (3, 0.6), (4, 0.0)]
    dataset = small_dataset(tmp_path, 3, [STAYS] + [curve] * 6, FAST)
    actions = play(FixedPreload(), MMGCSession(dataset, "low", 0, SEEDS))
    assert actions[:3] == [(0, 0, 0.0), (0, 0, 0.0), (0, 1, 0.0)]  # buffers 0, 1,000 and 1,910 ms
    preloads = [(video, 0, 0.0) for video in (1, 1, 2, 2, 3, 3, 4, 4)]
    assert actions[3:11] == preloads  # their buffers: 0 and exactly 1,000 ms
    assert actions[11] == (0, 0, 500.0)


def test_no_save_by_hand(tmp_path):
    """Rung 2 first; a link so fast that every stall but the first is nil."""
    dataset = small_dataset(tmp_path, 3, [STAYS] * 7, FAST)
    actions = play(NoSave(), MMGCSession(dataset, "low", 0, SEEDS))
    assert actions[:3] == [(0, 2, 0.0)] * 3
    # 190,000 bytes a chunk: three chunks of a video are 570,000 < 800,000, so that each is filled before the next.
    assert [action[0] for action in actions[3:15]] == [video for video in (1, 2, 3, 4) for _ in range(3)]
    assert actions[15] == (0, 0, 500.0)


def test_no_save_preloads_in_rounds_of_800_kb(tmp_path):
    sizes = [[[size] * chunks for size in RUNG_BYTES] for chunks in (1, 9, 9, 5, 9, 9, 9)]
    curves = [[*((second, 1) for second in range(len(rungs[0]) + 1)), (len(rungs[0]) + 1, 0)] for rungs in sizes]
    root = write_dataset(tmp_path, sizes, curves, {"low": [FAST]})
    session = MMGCSession(MMGCDataset.load(root), "low", 0, SEEDS)
    actions = play(NoSave(), session)
    # Five chunks of 190,000 bytes pass 800,000, nine pass 1,600,000; the one with five is full by then.
    assert [action[0] for action in actions[:5]] == [0, 1, 1, 1, 1]


@pytest.mark.parametrize(("policy", "naive"), [(FixedPreload, NaiveFixedPreload), (NoSave, NaiveNoSave)])
@pytest.mark.parametrize("trace", [0, 1, 2])
def test_official_policies_equal_naive_ones(varied, policy, naive, trace):
    for seed in range(5):
        actions, expected = (
            play(algorithm(), MMGCSession(varied, "odd", trace, viewer_seeds(seed))) for algorithm in (policy, naive)
        )
        assert actions == expected


@pytest.mark.parametrize("name", OFFICIAL_POLICIES)
def test_official_policies_only_use_official_methods(dataset, name):
    """They play alike on objects that have nothing but the official methods."""
    official = [name for name in vars(MMGCPlayer) if name.startswith("get_")]
    assert len(official) == 13

    class Bare:
        def __init__(self, player):
            for method in official:
                setattr(self, method, getattr(player, method))

    class Wrapped:
        def __init__(self):
            self.policy = OFFICIAL_POLICIES[name]()

        def Initialize(self):  # noqa: N802
            self.policy.Initialize()

        def run(self, delay, rebuf, video_size, end_of_video, play_video_id, Players, first_step=False):  # noqa: N803
            bare = [Bare(player) for player in Players]
            return self.policy.run(delay, rebuf, video_size, end_of_video, play_video_id, bare, first_step)

    plain = play(OFFICIAL_POLICIES[name](), MMGCSession(dataset, "low", 0, SEEDS))
    assert play(Wrapped(), MMGCSession(dataset, "low", 0, SEEDS)) == plain


@needs_golden
@pytest.mark.parametrize("name", OFFICIAL_POLICIES)
def test_official_policies_in_closed_loop(official_data, golden, name):
    episodes = [episode for episode in golden if episode["policy"] == name]
    assert episodes
    for episode in episodes:
        session = MMGCSession(official_data, episode["class"], episode["trace"], episode["seeds"])
        actions = play(OFFICIAL_POLICIES[name](), session)
        assert actions == [tuple(step[:3]) for step in episode["steps"]]
        assert session.result()._asdict() == pytest.approx(episode["result"], rel=1e-9)
