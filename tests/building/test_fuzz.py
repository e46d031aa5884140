"""Random networks against their PyTorch twins, and the generator itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from .. import conftest, emulator, fuzz, graphs

BATCH = 10


def agree(target: str, seed: int, count: int) -> None:
    failures = [
        fuzz.examine(network, number, fuzz.runner(target, number), fuzz.goes_through_onnx(number, 0.5))
        for number, network in fuzz.networks(count, seed, set())
    ]
    assert not [f"seed {f.seed}: {f.kind}: {f.why}\n{fuzz.describe(f.network)}" for f in failures if f]


def batches(count: int) -> list:
    """Seeds of `BATCH` networks each; the first batch is quick."""
    return [pytest.param(seed, marks=[pytest.mark.slow] if seed else []) for seed in range(0, count, BATCH)]


@pytest.mark.parametrize("seed", batches(100))
def test_random_networks_agree_with_pytorch(seed):
    agree("native", seed, BATCH)


@pytest.mark.emulator
@pytest.mark.parametrize("target", ["cortex-a72", "armv7"])
def test_a_random_network_on_arm(target):
    agree(target, 1, 1)


@pytest.mark.slow
@pytest.mark.emulator
@pytest.mark.parametrize("target,seed", [("cortex-a72", seed) for seed in range(0, 100, BATCH)]
                         + [("armv7", seed) for seed in range(100, 130, BATCH)])  # fmt: skip
def test_random_networks_on_arm(target, seed):
    """Between fences, in the emulator: the numbers are PyTorch's, whatever the workspace held."""
    agree(target, seed, BATCH)


def test_without_an_emulator_the_command_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(emulator, "ROOT", tmp_path)
    with pytest.raises(emulator.EmulatorUnavailable, match="python -m tests.emulator install"):
        fuzz.main(["--n", "1", "--target", "armv7"])


@pytest.mark.parametrize("required,outcome", [("", pytest.skip.Exception), ("1", pytest.fail.Exception)])
def test_without_an_emulator_its_tests_are_skipped_or_fail(monkeypatch, tmp_path, required, outcome):
    monkeypatch.setattr(emulator, "ROOT", tmp_path)
    monkeypatch.setenv("TSN_REQUIRE_EMULATOR", required)
    with pytest.raises(outcome, match="there is no emulator"):
        conftest.pytest_runtest_setup(SimpleNamespace(get_closest_marker={"emulator": True}.get))
    conftest.pytest_runtest_setup(SimpleNamespace(get_closest_marker={}.get))


def test_a_seed_is_a_network():
    assert graphs.random_network(7) == graphs.random_network(7) != graphs.random_network(8)


def test_a_thousand_networks_hold_every_possible_pair_of_neighbours():
    seen = set()
    for _ in fuzz.networks(fuzz.PAIRS_FROM, 0, seen):
        pass
    assert graphs.missing_pairs(seen) == []
    assert seen <= graphs.possible_pairs()


def test_a_wrong_number_is_found_and_shrunk():
    """A runner that halves what leaves every ReLU's network is found, and shrunk to a network without the rest."""
    network = next(n for n in map(graphs.random_network, range(1000)) if any(x.op == "relu" for x in n.layers[2:]))

    def wrong(given, parameters, data):
        found = fuzz.expected(given, parameters, data)
        return tuple(0.5 * array for array in found) if any(layer.op == "relu" for layer in given.layers) else found

    failure = fuzz.examine(network, 0, wrong)
    assert failure.kind == "wrong"
    small = fuzz.shrink(failure, wrong).network
    assert len(small.layers) <= len(network.layers) and any(layer.op == "relu" for layer in small.layers)
    assert fuzz.examine(network, 0, fuzz.expected) is None
