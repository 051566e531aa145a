"""The generators: distributions, classes against the facts, whole numbers that are the same on every machine."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from ppgym.world import generators
from ppgym.world.generators import PUBLIC, SAMPLE_S, digest_of, generate_rates, generate_sizes, stream
from ppgym.world.networks import NETWORKS, SPLITS, generate_traces, traces_digest
from ppgym.world.videos import generate_videos, videos_digest

# network: mean of the class and of its 10th and 90th percentile, Mbit/s; FACTS of the MMGC 2022 networks, 5g assumed
CLASSES = {
    "low": (1.20, 0.62, 1.95),
    "medium": (1.61, 0.73, 2.74),
    "high": (3.58, 1.50, 5.84),
    "mixed": (1.59, 0.59, 2.78),
    "5g": (60.0, 14.0, 115.0),
}


def rates_of(network: str, traces: int) -> np.ndarray:
    """Rates of fresh traces in Mbit/s, [traces, samples]."""
    return np.array([generate_rates(network, stream(99, index)) for index in range(traces)]) / 1e6


def test_a_stream_is_the_generator_that_its_docstring_names() -> None:
    sequence = np.random.SeedSequence(2**255 + 1, spawn_key=(3, 1, 2))
    expected = np.random.Generator(np.random.PCG64(sequence)).random(4)
    np.testing.assert_array_equal(stream(2**255 + 1, 3, 1, 2).random(4), expected)
    with pytest.raises(ValueError, match="secret of at least 0, got -1"):
        stream(-1)


def test_a_digest_by_hand() -> None:
    content = b"".join(n.to_bytes(8, "little", signed=True) for n in (2, 7, -1, 1, 2**40))
    assert digest_of([[7, -1], np.array([2.0**40])]) == hashlib.sha256(content).hexdigest()
    assert digest_of([[1], [2]]) != digest_of([[1, 2]])
    with pytest.raises(ValueError, match=r"whole numbers, got 1\.5"):
        digest_of([[1.0, 1.5]])


def test_noise_is_normal_and_gamma() -> None:
    assert stats.kstest(generators._normals(stream(0), 20_000), "norm").pvalue > 0.01
    for shape in (1.0, 1.24, 7.3, 16.0):
        values = generators._gammas(stream(0), np.full(20_000, shape))
        assert stats.kstest(values, "gamma", args=(shape,)).pvalue > 0.01


@pytest.mark.parametrize("network", NETWORKS)
def test_public_traces_look_like_the_facts_in_every_split(network: str) -> None:
    mean, p10, p90 = CLASSES[network]
    floor, peak = (1.0, 250.0) if network == "5g" else (0.2, 12.0)
    spans = set()
    for split in SPLITS:
        traces = generate_traces(network, split)
        rates_mbps = np.array([trace.rates_bps for trace in traces]) / 1e6
        assert rates_mbps.shape == (256, 1200)
        assert rates_mbps.mean() == pytest.approx(mean, rel=0.03)
        np.testing.assert_allclose(np.percentile(rates_mbps, [10, 90]), [p10, p90], rtol=0.2)
        assert floor <= rates_mbps.min() <= rates_mbps.max() <= peak
        assert all((trace.rates_bps % 1000 == 0).all() for trace in traces)
        assert {trace.duration_s for trace in traces} == {600}
        assert [trace.name for trace in traces[::255]] == [f"{network}/{split}/0", f"{network}/{split}/255"]
        spans |= {trace.rates_bps.tobytes() for trace in traces}
    assert len(spans) == 3 * 256


def test_mixed_traces_differ_from_each_other_and_plain_ones_do_not() -> None:
    means = {network: rates_of(network, 100).mean(axis=1) for network in ("low", "mixed")}
    assert np.ptp(means["low"]) < 0.4
    assert 1.0 < means["mixed"].min() < 1.2
    assert 3.0 < means["mixed"].max() < 4.0


def test_rates_have_a_memory_of_seconds_not_of_minutes() -> None:
    """Lag 0.5 s of the MMGC 2022 low class: 0.25 to 0.29; lag 20 s: -0.01 to 0.07."""
    rates = rates_of("low", 40)

    def autocorrelation(samples: int) -> float:
        return float(np.mean([np.corrcoef(x[:-samples], x[samples:])[0, 1] for x in rates]))

    assert autocorrelation(1) == pytest.approx(0.27, abs=0.06)
    assert autocorrelation(40) == pytest.approx(0.0, abs=0.06)


def test_5g_fades_last_seconds() -> None:
    faded = (rates_of("5g", 60) < 2).ravel()
    assert faded.mean() == pytest.approx(0.1, abs=0.025)
    lengths = np.diff(np.flatnonzero(np.diff(np.concatenate(([0], faded.astype(int), [0])))))[::2] * SAMPLE_S
    assert 2 <= np.median(lengths) <= 20


def test_sizes_look_like_the_facts() -> None:
    videos = [generate_sizes(stream(0, index)) for index in range(2000)]
    durations_s = np.array([len(sizes) for sizes in videos])
    np.testing.assert_allclose(np.percentile(durations_s, [10, 50, 90]), [7.6, 14.9, 23.8], atol=1.0)
    assert durations_s.min() >= 3
    assert durations_s.max() <= 60
    means_bps = np.array([sizes.mean(axis=0) * 8 for sizes in videos])
    np.testing.assert_allclose(means_bps.mean(axis=0), [750e3, 1200e3, 1850e3], rtol=0.03)
    spread = np.percentile(means_bps, 90, axis=0) / np.median(means_bps, axis=0)
    assert ((spread > 1.8) & (spread < 2.1)).all()
    long = [sizes for sizes in videos if len(sizes) >= 20]
    variation = [sizes[:, 0].std() / sizes[:, 0].mean() for sizes in long]
    assert 0.15 < np.median(variation) < 0.35
    assert np.median([np.corrcoef(sizes.T)[0, 2] for sizes in long]) > 0.9
    memory = np.mean([np.corrcoef(np.log(sizes[:-1, 0]), np.log(sizes[1:, 0]))[0, 1] for sizes in long])
    assert 0.4 < memory < 0.6  # 0.6, less the bias of short series
    assert all((np.diff(sizes) > 0).all() for sizes in videos)


def test_a_secret_gives_a_world_of_its_own_and_the_same_one_again() -> None:
    secret = 2**255 + 12345
    digests = [traces_digest(generate_traces("mixed", "test", s)) for s in (secret, secret, secret + 1, PUBLIC)]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    digests = [videos_digest(generate_videos("test", s)) for s in (secret, secret, secret + 1, PUBLIC)]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


@pytest.mark.parametrize("toward", [-np.inf, np.inf])
def test_last_digits_do_not_matter(monkeypatch: pytest.MonkeyPatch, toward: float) -> None:
    """Machines differ in the last digit of these functions; here all of their results are one digit off."""
    wanted = [*(traces_digest(generate_traces(n, "test")) for n in NETWORKS), videos_digest(generate_videos("test"))]
    for name in ("log", "exp", "cos", "sqrt"):
        exact = getattr(np, name)
        monkeypatch.setattr(np, name, lambda x, exact=exact: np.nextafter(exact(x), toward))
    got = [*(traces_digest(generate_traces(n, "test")) for n in NETWORKS), videos_digest(generate_videos("test"))]
    assert got == wanted


def test_generation_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="unknown network 'hihg'; did you mean 'high'"):
        generate_rates("hihg", stream(0))
    with pytest.raises(ValueError, match="unknown network 'hihg'; did you mean 'high'"):
        generate_traces("hihg", "train")
    with pytest.raises(ValueError, match="unknown split 'tst'; did you mean 'test'"):
        generate_traces("low", "tst")
    with pytest.raises(ValueError, match="unknown split 'tst'; did you mean 'test'"):
        generate_videos("tst")


def test_importing_ppgym_generates_nothing() -> None:
    code = "import numpy as np; np.random.SeedSequence = None; import ppgym; ppgym.Scenario.parse('mixed/h200/sticky')"
    subprocess.run([sys.executable, "-c", code], check=True)
    failed = subprocess.run([sys.executable, "-c", f"{code}; ppgym.make_world(ppgym.Scenario())"], capture_output=True)
    assert b"'NoneType' object is not callable" in failed.stderr
