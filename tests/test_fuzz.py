"""Random networks against their PyTorch twins, and the generator itself."""

from __future__ import annotations

import pytest

from . import fuzz, graphs

pytestmark = pytest.mark.usefixtures("one_thread")
COUNT, BATCH = 100, 10


@pytest.mark.parametrize("seed", range(0, COUNT, BATCH))
def test_random_networks_agree_with_pytorch(seed):
    failures = [
        fuzz.examine(
            network, number, fuzz.run_library if number % fuzz.LIBRARY_EVERY == 0 else fuzz.run_object,
            onnx=fuzz.goes_through_onnx(number, 0.5),
        )
        for number, network in fuzz.networks(BATCH, seed, set())
    ]  # fmt: skip
    assert not [f"seed {f.seed}: {f.kind}: {f.why}\n{fuzz.describe(f.network)}" for f in failures if f]


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
