"""The PyTorch twin, the parameters and the checkpoints, and every bad file that is refused."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from tvm_shufflenet import bridge
from tvm_shufflenet.architectures import BATCH_NORM_EPS, NetworkBuilder, model_names, network
from tvm_shufflenet.bridge.twin import Shuffle
from tvm_shufflenet.errors import UserError

from ..conftest import EARLIER, ROOT, STRUCTURES

SMALL = "shufflenet-v1-0.25x-g3"


def loaded_twin(name: str, size=(64, 64), classes=10, seed=0):
    """A twin in evaluation mode with random parameters, and those parameters."""
    net = network(name, size, classes)
    parameters = bridge.random_parameters(net, seed)
    with torch.device("meta"):
        twin = bridge.torch_module(net)
    twin.load_state_dict({name: torch.from_numpy(a) for name, a in parameters.items()}, assign=True)
    return twin.eval(), parameters


@pytest.mark.parametrize("name", model_names())
def test_state_dict_has_the_names_shapes_and_order_of_the_network(name):
    with torch.device("meta"):
        state = bridge.torch_module(name).state_dict()
    expected = {}
    for key, shape in network(name).parameters().items():
        expected[key] = shape
        if key.endswith(".running_var"):
            expected[key.replace("running_var", "num_batches_tracked")] = ()
    assert [(key, tuple(value.shape)) for key, value in state.items()] == list(expected.items())


@pytest.mark.parametrize("name", [n for n in (*EARLIER, *STRUCTURES) if "noshuffle" not in n])
def test_random_parameters_keep_activations_alive_through_every_network(name):
    twin, _ = loaded_twin(name, (128, 128), 1000)
    with torch.inference_mode():
        logits = twin(torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)))
    assert logits.shape == (2, 1000)
    assert 0.1 < logits.std(1).min() and logits.std(1).max() < 10
    assert (logits[0] - logits[1]).std() > 1e-3


def test_random_parameters_depend_on_the_seed_and_each_tensor_alone():
    net = network(SMALL)
    first, again, other = (bridge.random_parameters(net, seed) for seed in (0, 0, 1))
    assert list(first) == list(net.parameters())
    assert all(a.dtype == np.float32 and a.flags.c_contiguous for a in first.values())
    assert all(np.array_equal(first[n], again[n]) for n in first)
    assert not any(np.array_equal(first[n], other[n]) for n in first)
    ten = bridge.random_parameters(network(SMALL, classes=10))
    assert {n for n in first if not np.array_equal(first[n], ten[n])} == {"classifier.weight", "classifier.bias"}
    assert all(a.std() > 0.01 for n, a in first.items() if ".bn" in n)


def test_shuffle_moves_channel_a_n_plus_b_to_b_g_plus_a():
    groups, n = 3, 4
    x = torch.arange(groups * n, dtype=torch.float32).reshape(1, -1, 1, 1).expand(2, -1, 5, 7)
    y = Shuffle(groups)(x)
    assert y.shape == x.shape
    for a in range(groups):
        for b in range(n):
            assert (y[:, b * groups + a] == a * n + b).all()


def reference_unit(x, p, groups, first_groups, downsample, shuffle=True):
    """One ShuffleNet unit from the paper's text: its groups cut by hand, channels shuffled one by one."""

    def conv(x, i, groups, **options):
        weights = p[f"conv{i}.weight"].chunk(groups)
        x = torch.cat([F.conv2d(part, w, **options) for part, w in zip(x.chunk(groups, 1), weights)], 1)
        gamma, beta, mean, var = (
            p[f"bn{i}.{key}"].reshape(1, -1, 1, 1) for key in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / (var + BATCH_NORM_EPS).sqrt() * gamma + beta

    y = conv(x, 1, first_groups).clamp(min=0)
    if shuffle:
        n = y.shape[1] // first_groups
        y = torch.stack([y[:, c % first_groups * n + c // first_groups] for c in range(y.shape[1])], 1)
    y = conv(y, 2, y.shape[1], padding=1, stride=2 if downsample else 1)
    y = conv(y, 3, groups)
    if not downsample:
        return (x + y).clamp(min=0)
    nine = F.pad(x, (1, 1, 1, 1)).unfold(2, 3, 2).unfold(3, 3, 2)
    return torch.cat((nine.sum((4, 5)) / 9, y), 1).clamp(min=0)


@pytest.mark.parametrize(
    ("name", "unit", "options"),
    [
        ("shufflenet-v1-0.5x-g3", "stage2.0", dict(groups=3, first_groups=1, downsample=True)),
        ("shufflenet-v1-0.5x-g8", "stage2.0", dict(groups=4, first_groups=1, downsample=True)),
        ("shufflenet-v1-0.5x-g3", "stage3.0", dict(groups=3, first_groups=3, downsample=True)),
        ("shufflenet-v1-0.5x-g8", "stage3.1", dict(groups=8, first_groups=8, downsample=False)),
        ("shufflenet-v1-0.5x-g1", "stage2.1", dict(groups=1, first_groups=1, downsample=False)),
        (
            "shufflenet-v1-0.5x-g3-noshuffle",
            "stage3.1",
            dict(groups=3, first_groups=3, downsample=False, shuffle=False),
        ),
    ],
)
def test_twin_agrees_with_a_unit_written_by_hand(name, unit, options):
    twin, parameters = loaded_twin(name)
    seen = {}
    twin.get_submodule(f"{unit}.conv1").register_forward_hook(lambda m, args, out: seen.update(x=args[0]))
    twin.get_submodule(f"{unit}.relu").register_forward_hook(lambda m, args, out: seen.update(y=out))
    with torch.inference_mode():
        twin(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)))
        own = {n.removeprefix(unit + "."): torch.from_numpy(a) for n, a in parameters.items() if n.startswith(unit)}
        torch.testing.assert_close(reference_unit(seen["x"], own, **options), seen["y"])


def test_alexnet_normalises_as_its_paper_says():
    """b = a / (2 + 1e-4 * sum over 5 neighbouring channels of a^2) ^ 0.75 (section 3.3)."""
    norm = bridge.torch_module("alexnet").get_submodule("norm1")
    a = 30 * torch.randn(1, 96, 2, 2, generator=torch.Generator().manual_seed(0))
    b = torch.empty_like(a)
    for i in range(96):
        b[:, i] = a[:, i] / (2 + 1e-4 * (a[:, max(0, i - 2) : i + 3] ** 2).sum(1)) ** 0.75
    torch.testing.assert_close(norm(a), b)


def test_training_reaches_every_parameter():
    torch.manual_seed(0)
    twin = bridge.torch_module(SMALL, classes=5, size=(64, 64)).train()
    loss = F.cross_entropy(twin(torch.randn(4, 3, 64, 64)), torch.tensor([0, 1, 2, 3]))
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in twin.parameters())
    assert all(n == 1 for key, n in twin.state_dict().items() if key.endswith("num_batches_tracked"))


def test_forward_takes_other_batches_and_sizes_and_a_replaced_classifier():
    twin, _ = loaded_twin(SMALL)
    x = torch.randn(3, 3, 80, 48)
    with torch.inference_mode():
        logits = twin(x)
        torch.testing.assert_close(logits[1:2], twin(x[1:2]))
        twin.classifier = torch.nn.Linear(twin.classifier.in_features, 4)
        assert logits.shape == (3, 10) and twin(x).shape == (3, 4)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
@pytest.mark.parametrize("metadata", [{}, {"class_names": '["cat", "dög"]', "note": "x"}])
def test_checkpoints_round_trip(tmp_path, suffix, metadata):
    net = network(SMALL, classes=2)
    parameters = bridge.random_parameters(net)
    path = tmp_path / f"a{suffix}"
    bridge.save_checkpoint(path, parameters, metadata)
    again, found = bridge.load_parameters(net, path)
    assert found == metadata and list(again) == list(parameters)
    assert all(np.array_equal(again[n], parameters[n]) for n in parameters)
    assert list(tmp_path.iterdir()) == [path]
    names = bridge.class_names(found, 2, "x")
    assert names == (["cat", "dög"] if metadata else None)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_checkpoints_come_from_and_go_to_pytorch(tmp_path, suffix):
    twin, parameters = loaded_twin(SMALL)
    path, back = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    save_file(twin.state_dict(), path) if suffix == ".safetensors" else torch.save(twin.state_dict(), path)
    found, _ = bridge.load_parameters(twin.network, path)
    assert all(np.array_equal(found[n], parameters[n]) for n in parameters)
    bridge.save_checkpoint(back, found)
    if suffix == ".pth":
        bridge.torch_module(twin.network).load_state_dict(torch.load(back, weights_only=True))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_dtypes_become_float32(tmp_path, suffix, dtype):
    twin, _ = loaded_twin(SMALL)
    state = {f"module.{n}": t.to(dtype) if t.is_floating_point() else t for n, t in twin.state_dict().items()}
    path = tmp_path / f"a{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save({"epoch": 3, "state_dict": state}, path)
    found, _ = bridge.load_parameters(twin.network, path)
    for name, array in found.items():
        assert array.dtype == np.float32 and np.array_equal(array, state[f"module.{name}"].float().numpy())


class Code:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def bad_file(folder: Path, kind: str) -> Path:
    """Writes the bad checkpoint of that kind; returns its path."""
    parameters = bridge.random_parameters(network(SMALL))
    suffix = ".safetensors" if "safetensors" in kind else ".pth"
    path = folder / f"bad{suffix}"
    if kind == "missing":
        return folder / "none.pth"
    if kind == "directory":
        path.mkdir()
    elif kind == "suffix":
        (path := folder / "bad.onnx").write_bytes(b"x")
    elif kind.startswith(("truncated", "empty", "garbage")):
        bridge.save_checkpoint(path, parameters)
        data = path.read_bytes()
        path.write_bytes({"t": data[: len(data) // 2], "e": b"", "g": b"\x07garbage" * 50}[kind[0]])
    elif kind == "float8.safetensors":
        save_file({"a": torch.zeros(2).to(torch.float8_e4m3fn)}, path)
    else:
        content = {
            "code": {"a": Code()},
            "old code": {"a": Code()},
            "module": torch.nn.Linear(2, 2),
            "list": [1, 2],
            "epoch": {"epoch": 3, "loss": 0.5},
            "sparse": {"a": torch.ones(2).to_sparse()},
            "torchscript": None,
        }[kind]
        if kind == "torchscript":
            torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)).save(path)
        elif kind == "old code":
            path.write_bytes(pickle.dumps(content, protocol=2))
        else:
            torch.save(content, path)
    return path


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "does not exist"),
        ("directory", "is a directory"),
        ("suffix", "truncated, corrupt or no .onnx file"),
        ("truncated .safetensors", "truncated, corrupt or no .safetensors file"),
        ("empty .safetensors", "truncated, corrupt or no .safetensors file"),
        ("garbage .safetensors", "truncated, corrupt or no .safetensors file"),
        ("float8.safetensors", "tensor a is F8_E4M3"),
        ("truncated", "truncated, corrupt or no .pth file"),
        ("empty", "truncated, corrupt or no .pth file"),
        ("garbage", "truncated, corrupt or no .pth file"),
        ("code", r"holds code \(\w+.mkdir\), which is refused"),
        ("old code", r"holds code \(\w+.mkdir\), which is refused"),
        ("module", r"holds code \(torch.nn.modules.linear.Linear\).*state_dict"),
        ("list", "holds a list, expected a state dict"),
        ("epoch", "no state dict: its entry 'epoch' has the type int"),
        ("sparse", "tensor a is sparse or quantized"),
        ("torchscript", "TorchScript"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path, monkeypatch, kind, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        bridge.load_checkpoint(bad_file(tmp_path, kind))
    assert "\n" not in str(error.value) and "weights_only" not in str(error.value)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.pop("stem.conv.weight"), "tensor stem.conv.weight is missing$"),
        (lambda p: p.update(extra=np.zeros(1)), "tensor extra is unexpected$"),
        (lambda p: p.update({"stem.bn.bias": np.zeros((12, 1))}), "stem.bn.bias has the shape 12x1, expected 12$"),
        (lambda p: p.update({"stem.bn.bias": np.zeros(12, int)}), "tensor stem.bn.bias is int64, expected float"),
        (lambda p: p["stem.bn.bias"].__setitem__(3, np.nan), "tensor stem.bn.bias holds NaN or infinity"),
        (lambda p: p.update({"stem.bn.bias": np.full(12, 1e300)}), "tensor stem.bn.bias holds NaN or infinity"),
        (lambda p: p["stem.bn.running_var"].__setitem__(0, -1), "stem.bn.running_var holds a negative variance"),
        (lambda p: [p.pop(n) for n in list(p)[:3]], r"tensor stem.conv.weight is missing \(and 2 more\)$"),
        (lambda p: p.clear(), "none of its 0 tensors belongs to " + SMALL),
    ],
)
def test_bad_parameters_are_refused_by_name(change, message):
    net = network(SMALL)
    parameters = bridge.random_parameters(net)
    change(parameters)
    with pytest.raises(UserError, match=message) as error:
        bridge.check_parameters(net, parameters, "checkpoint a.pth")
    assert str(error.value).startswith("checkpoint a.pth") and "--classes" not in str(error.value)


def test_another_number_of_classes_hints_at_the_option():
    parameters = bridge.random_parameters(network(SMALL, classes=10))
    with pytest.raises(UserError, match="classifier.weight .*10x.*expected 1000x.*use --classes 10$"):
        bridge.check_parameters(network(SMALL), parameters, "a.pth")


@pytest.mark.parametrize("names", ["[1, 2]", "{", '["one"]', '"ab"'])
def test_bad_class_names_are_refused(tmp_path, names):
    net = network(SMALL, classes=2)
    path = tmp_path / "a.safetensors"
    bridge.save_checkpoint(path, bridge.random_parameters(net), {"class_names": names})
    with pytest.raises(UserError, match="class"):
        bridge.load_parameters(net, path)


def test_unwritable_checkpoints_are_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for path in ("missing/a.pth", "file/a.safetensors", "a.onnx", "a"):
        with pytest.raises(UserError):
            bridge.save_checkpoint(tmp_path / path, {"a": np.zeros(1, np.float32)})
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_relax_tensors_round_trip():
    pytest.importorskip("tvm")
    parameters = bridge.random_parameters(network(SMALL))
    again = bridge.from_relax(bridge.to_relax(parameters))
    assert list(again) == list(parameters)
    assert all(np.array_equal(again[n], parameters[n]) for n in parameters)


def test_safetensors_and_the_models_table_need_neither_torch_nor_tvm(tmp_path):
    """In a process where both are missing; the functions that do need PyTorch say so."""
    script = """
import sys
sys.modules["torch"] = sys.modules["tvm"] = None
from tvm_shufflenet import bridge, models
from tvm_shufflenet.architectures import network
from tvm_shufflenet.errors import UserError
net = network("shufflenet-v1-0.25x-g3")
bridge.save_checkpoint("a.safetensors", bridge.random_parameters(net), {"a": "b"})
assert bridge.load_parameters(net, "a.safetensors")[1] == {"a": "b"}
open("a.pth", "wb").close()
for use in (lambda: bridge.load_checkpoint("a.pth"), lambda: bridge.torch_module(net)):
    try:
        use()
    except UserError as error:
        assert "pip install torch" in str(error)
    else:
        raise AssertionError
assert models.main([]) is None
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("eps", [1e-3, 1e-5])
def test_a_batch_norm_has_its_own_epsilon(tmp_path, eps):
    """In the twin, the description and ONNX; a variance of nearly zero shows which."""
    from tvm_shufflenet.architectures.described import describe, from_description
    from tvm_shufflenet.exchange import Imported, load_network, save_network
    from tvm_shufflenet.pipeline import check_compiles

    builder = NetworkBuilder((4, 4))
    x = builder.conv_bn("stem", "", 0, 4, eps=eps)
    builder.dense("classifier", builder.global_avg_pool("pool", x), 3)
    net = builder.network("tiny")
    parameters = bridge.random_parameters(net)
    parameters["stem.bn.running_var"][:] = 1e-3
    assert from_description(describe(net)).layers == net.layers
    save_network(tmp_path / "tiny.onnx", Imported(net, parameters, ""))
    again = load_network(tmp_path / "tiny.onnx")
    x = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    p = {name: torch.from_numpy(array) for name, array in parameters.items()}
    y = F.conv2d(x, p["stem.conv.weight"]) - p["stem.bn.running_mean"].reshape(-1, 1, 1)
    y = y / (1e-3 + eps) ** 0.5 * p["stem.bn.weight"].reshape(-1, 1, 1) + p["stem.bn.bias"].reshape(-1, 1, 1)
    expected = y.mean((2, 3)) @ p["classifier.weight"].T + p["classifier.bias"]
    for made, its in ((net, parameters), (again.network, again.parameters)):
        module = bridge.torch_module(made).eval()
        module.load_state_dict({name: torch.from_numpy(array) for name, array in its.items()}, strict=False)
        assert torch.allclose(module(x), expected, rtol=1e-4, atol=1e-5)
        check_compiles(made, its)
    with pytest.raises(UserError, match="stem.bn: its epsilon is 0, expected"):
        NetworkBuilder((4, 4)).conv_bn("stem", "", 0, 4, eps=0)
