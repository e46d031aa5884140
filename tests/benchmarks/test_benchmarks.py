"""Rivals compute our networks, on this machine and in the emulator; the benchmarks refuse in one line."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from benchmarks import accuracy, contest, footprint, latency, yardstick
from benchmarks.contest import Contest, Contestant, Files
from benchmarks.rivals import INSTALL, OURS, RIVALS, agreement, calibration, folded, install, ncnn, onnx_model, worker
from benchmarks.rivals.worker import Failed, Worker
from benchmarks.tables import TABLES
from tvm_shufflenet.architectures import NetworkBuilder, model_names, network
from tvm_shufflenet.bridge import random_parameters
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.exchange import load_network
from tvm_shufflenet.library.processors import allowed_processors
from tvm_shufflenet.targets import resolve

from ..conftest import ROOT, relative_error, twin_logits


def needs(*names: str):
    missing = [RIVALS[name].title for name in names if not RIVALS[name].version]
    return pytest.mark.skipif(bool(missing), reason=f"no {', '.join(missing)}: {INSTALL}")


SLOW = {"executorch": pytest.mark.slow, "torch_compile": pytest.mark.full}  # to export for: torch compiles minutes
needs_emulator = [
    pytest.mark.emulator,
    needs("ncnn"),
    pytest.mark.skipif(not install.installed(), reason=f"no rivals for AArch64: {install.HOW}"),
]
NAMES = ("shufflenet-v1-0.25x-g3", "mobilenet-v1-0.25", "alexnet")


def small(name: str = "shufflenet-v1-0.25x-g3"):
    return network(name, (224, 224) if name == "alexnet" else (64, 64), 10)


def call(command: str, *arguments) -> subprocess.CompletedProcess:
    argv = [sys.executable, "-m", f"benchmarks.{command}", *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=300, cwd=ROOT)


@pytest.mark.parametrize("name", NAMES)
def test_folding_leaves_what_has_to_be_computed(name):
    net = small(name)
    steps = folded.fold(net, random_parameters(net))
    kinds = [step.op for step in steps]
    assert not {"batch_norm", "dropout"} & set(kinds)
    for index, step in enumerate(steps):
        assert all(source < index for source in step.inputs)
        if step.op == "relu":  # its input is read elsewhere, too, or is no layer with weights
            assert steps[step.inputs[0]].op in ("add", "concat")
    relus = sum(layer.op == "relu" for layer in net.layers)
    assert kinds.count("relu") + sum(step.relu for step in steps) == relus


def folded_and_back(net, folder) -> float:
    """How far the folded network is from the twin, by way of ONNX."""
    parameters = random_parameters(net)
    onnx_model.write(net, parameters, folder / "folded.onnx")
    found = load_network(folder / "folded.onnx")
    image = worker.picture(net.layers[0].shape)
    return relative_error(twin_logits(found.network, found.parameters, image), twin_logits(net, parameters, image))


@pytest.mark.parametrize("name,remaining", [
    ("pvanet", 16), ("condensenet-74-g8", 73), ("shufflenet-v2-0.5x-se", 0), ("mobilenet-v2-0.35", 0)
])  # fmt: skip
def test_a_batch_norm_that_no_convolution_can_have_remains(tmp_path, name, remaining):
    net = small(name)
    kinds = [step.op for step in folded.fold(net, random_parameters(net))]
    assert kinds.count("batch_norm") == remaining
    assert folded_and_back(net, tmp_path) < 1e-5


def test_nothing_is_folded_across_a_relu_or_into_what_others_read(tmp_path):
    net = NetworkBuilder((8, 8))
    x = net.batch_norm("behind", net.relu("relu", net.conv("conv1", 0, 4)))
    y = net.conv("conv2", x, 4)
    y = net.add("add", y, net.batch_norm("shared", net.dropout("dropout", y, 0.5)))
    net.dense("fc", net.global_avg_pool("pool", y), 10)
    net = net.network("net")
    kinds = [step.op for step in folded.fold(net, random_parameters(net))]
    assert kinds.count("batch_norm") == 2
    assert folded_and_back(net, tmp_path) < 1e-5


def test_a_network_that_is_not_written_for_an_engine_is_refused_in_one_line(tmp_path):
    net = NetworkBuilder((8, 8))
    net.dense("fc", net.global_avg_pool("pool", net.max_pool("up", 0, 3, 2, 1, ceil=True)), 10)
    padded = net.network("net")
    for net, says in (
        (small("condensenet-74-g8"), r"\S+: no \w+ is written for ncnn"),
        (
            padded,
            "up: the rivals are given square windows only, without dilation and rounding up where they are padded",
        ),
    ):
        with pytest.raises(UserError, match=f"^{says}"):
            ncnn.export(net, random_parameters(net), tmp_path)


def test_the_others_are_counted_where_an_engine_cannot_have_a_network(monkeypatch, tmp_path):
    def rival(engine, exported, name, caches):
        if engine == "ncnn":
            raise Failed("ncnn failed on this machine: no slice")
        return engine, name

    monkeypatch.setattr(yardstick, "ours", lambda model, name, folder, caches, records="kept": ("ours", name, records))
    monkeypatch.setattr(yardstick, "rival", rival)
    absent: list[str] = []
    found = list(yardstick.costs(
        ["shufflenet-v2-1x"], ["ncnn", "mnn"], ["cortex-a53", "cortex-a72"], tmp_path, False, str, absent
    ))  # fmt: skip
    cores = ("cortex-a53", "cortex-a72")
    both = [("ours", core, records) for core in cores for records in ("kept", None)]
    assert found == [*both, *(("mnn", core) for core in cores)]
    assert absent == ["no shufflenet-v2-1x: ncnn failed on this machine: no slice"]


# Slices of halves and of every second channel, clips, channel attention, batch norms that remain, rounding up.
FOR_NCNN = ("shufflenet-v2-0.5x", "shufflenet-v2-0.5x-torchvision", "mobilenet-v2-0.35", "shufflenet-v1-0.5x-g3-se",
            "pvanet", "squeezenet-1.1")  # fmt: skip


@pytest.mark.parametrize("name", [*NAMES, *FOR_NCNN])
def test_ncnn_files_are_consistent(tmp_path, name):
    """Each blob is written once and read once, and the weights are all there."""
    net = small(name)
    ncnn.export(net, random_parameters(net), tmp_path)
    magic, counts, *lines = (tmp_path / "network.param").read_text().splitlines()
    written, read = [], []
    for line in lines:
        _, _, inputs, outputs, *names = line.split()
        read += names[: int(inputs)]
        written += names[int(inputs) :][: int(outputs)]
    assert magic == "7767517" and counts.split() == [str(len(lines)), str(len(written))]
    assert len(set(written)) == len(written) and sorted(read) == sorted(set(written) - {"output"})
    weighted = [step for step in folded.fold(net, random_parameters(net)) if step.weight is not None]
    floats = sum((step.op != "batch_norm") + step.weight.size + step.bias.size for step in weighted)
    assert (tmp_path / "network.bin").stat().st_size == 4 * floats


FOR_LITERT = tuple(name for name in FOR_NCNN if name not in ("pvanet", "squeezenet-1.1"))
WRITTEN = [pytest.param("ncnn", name, marks=needs("ncnn")) for name in FOR_NCNN]
WRITTEN += [pytest.param("litert", name, marks=needs("litert")) for name in FOR_LITERT]


@pytest.mark.parametrize(("rival", "name"), WRITTEN)
def test_an_engine_computes_all_that_is_written_for_it(tmp_path, rival, name):
    net = small(name)
    expected = twin_logits(net, random_parameters(net), worker.picture(net.layers[0].shape)).ravel()
    engine = Worker(rival, Files(tmp_path).of(rival, net))
    try:
        assert relative_error(engine.logits.ravel(), expected) < 1e-4
    finally:
        engine.close()


def test_slices_that_leave_channels_out_are_refused(tmp_path):
    net = NetworkBuilder((8, 8))
    net.dense("fc", net.global_avg_pool("pool", net.slice("half", net.conv("conv", 0, 4), 0, 2)), 10)
    net = net.network("net")
    with pytest.raises(UserError, match="^conv: ncnn is given slices only that take all channels, in their order"):
        ncnn.export(net, random_parameters(net), tmp_path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What the engines read of the small network."""
    return Files(tmp_path_factory.mktemp("files"))


@pytest.mark.parametrize(
    "rival", [pytest.param(name, marks=[needs(name), *([SLOW[name]] if name in SLOW else [])]) for name in RIVALS]
)
def test_rivals_agree_with_pytorch_and_sleep_while_others_work(files, rival):
    net = small()
    folder = files.of(rival, net)
    expected = twin_logits(net, random_parameters(net), worker.picture(net.layers[0].shape)).ravel()
    for variant in RIVALS[rival].variants:
        engine = Worker(rival, folder, variant)
        try:
            assert relative_error(engine.logits, expected) < 1e-4
            assert 1e-5 < engine.timer(5)() < 1
            process = psutil.Process(engine.pid)
            before = sum(process.cpu_times()[:2])
            time.sleep(0.5)
            assert sum(process.cpu_times()[:2]) - before < 0.1
        finally:
            engine.close()


def test_other_logits_are_refused():
    expected = np.arange(1, 11, dtype=np.float32)
    assert agreement.check(expected * (1 + 1e-5), expected, "an engine") < 1e-4
    with pytest.raises(UserError, match="^MNN here: the logits differ from ours by 1.0e-03 of the largest"):
        agreement.check(expected * 1.001, expected, "MNN here")
    for wrong in (expected[:9], expected * np.nan):
        with pytest.raises(UserError, match="differ from ours by (inf|nan)"):
            agreement.check(wrong, expected, "MNN here")


def test_what_int8_computes_is_held_against_fp32():
    """The tolerances are those of our own libraries."""
    expected = np.arange(1, 11, dtype=np.float32)
    for precision, within in (("fp16", 1.01), ("int8", 1.2)):
        assert agreement.check(expected * within, expected, "MNN here", precision) > 1e-3
        with pytest.raises(UserError, match="MNN here: the logits differ from ours in fp32 by 3.0e-01 of the largest"):
            agreement.check(expected * 1.3, expected, "MNN here", precision)


def test_a_rival_that_loses_too_much_is_left_out_and_named():
    expected = np.arange(1, 11, dtype=np.float32)
    result = Contest(small(), precision="int8")
    assert result.add(OURS, "", expected * 1.1, expected) and not result.add("mnn", "", expected * 1.3, expected)
    assert [each.engine for each in result.contestants] == [OURS]
    (line,) = latency.not_run([result], [])
    assert line.startswith("MNN: no shufflenet-v1-0.25x-g3: ") and "differ from ours in fp32 by 3.0e-01" in line
    for engine, precision in ((OURS, "int8"), ("mnn", "fp32")):
        with pytest.raises(UserError, match="one of the two is wrong"):
            Contest(small(), precision=precision).add(engine, "", expected * 1.3, expected)


def test_the_pictures_of_the_calibration():
    net = small()
    found = list(calibration.pictures(net))
    assert len(found) == calibration.COUNT and {each.shape for each in found} == {net.layers[0].shape}
    timed = worker.picture(net.layers[0].shape)
    assert not any(np.array_equal(each, timed) for each in found)
    assert all(np.array_equal(one, again) for one, again in zip(found, calibration.pictures(net)))


def test_ncnn_files_of_bytes_are_consistent(tmp_path):
    """Every layer with weights has bytes, scales and a term that says of which kind; the weights are those of fp32."""
    net = small("mobilenet-v1-0.25")
    parameters = random_parameters(net)
    ncnn.export(net, parameters, tmp_path, "int8")
    weighted = [step for step in folded.fold(net, parameters) if step.weight is not None]
    lines = {line.split()[1]: line.split() for line in (tmp_path / "network.param").read_text().splitlines()[2:]}
    file, at = (tmp_path / "network.bin").read_bytes(), 0
    for step in weighted:
        words = dict(word.split("=") for word in lines[step.name] if "=" in word)
        term = int(words["8"])
        assert term % 100 == (ncnn.BY_GROUP if lines[step.name][0] == "ConvolutionDepthWise" else ncnn.BY_CHANNEL)
        assert file[at : at + 4] == ncnn.INT8
        size, rows = step.weight.size, len(step.weight)
        whole, at = np.frombuffer(file, np.int8, size, at + 4), at + 4 + -(-size // 4) * 4
        _, scales, read = np.split(np.frombuffer(file, "<f4", 2 * rows + 1 + (term > 100), at), [rows, 2 * rows])
        at += 4 * (2 * rows + len(read))
        assert (read > 0).all() and abs(whole.astype(int)).max() == 127
        back = whole.reshape(rows, -1) / scales[:, None]
        assert np.abs(back - step.weight.reshape(rows, -1)).max() <= 0.5001 / scales.min()
    assert at == len(file)
    terms = [int(dict(w.split("=") for w in lines[s.name] if "=" in w)["8"]) for s in weighted]
    assert sum(term > 100 for term in terms) == len(weighted) - 2  # all but the last convolution and the classifier


@pytest.mark.slow
@pytest.mark.parametrize(
    "rival",
    [
        pytest.param(name, marks=needs(name, *(["onnxruntime"] if name == "openvino" else [])))
        for name, rival in RIVALS.items()
        if "int8" not in rival.lacks and name != "mnn"  # whose ranges lose more than the bound on noise
    ],
)
def test_rivals_at_int8_are_near_fp32(files, rival):
    net = small("mobilenet-v1-0.25") if rival == "executorch" else small()  # it refuses padded pooling in int8
    expected = twin_logits(net, random_parameters(net), worker.picture(net.layers[0].shape)).ravel()
    engine = Worker(rival, files.of(rival, net, "int8"), precision="int8")
    try:
        assert 1e-4 < relative_error(engine.logits, expected) < agreement.TOLERANCES["int8"]
    finally:
        engine.close()


def test_a_precision_that_an_engine_does_not_run_in_is_told(tmp_path):
    """Before anything is exported, with the reason, and the others go on."""
    for precision in ("fp16", "int8"):
        for name, rival in RIVALS.items():
            if precision in rival.lacks:
                with pytest.raises(Failed, match=f"^{rival.lacks[precision]}$"):
                    Files(tmp_path).of(name, small(), precision)
    assert not list(tmp_path.rglob("*.raw"))


def test_ours_at_int8_is_near_fp32(files):
    if resolve("native").arch == "arm":
        pytest.skip("no precision but fp32 is for 32-bit processors")
    net = small()
    expected = twin_logits(net, random_parameters(net), worker.picture(net.layers[0].shape)).ravel()
    engine = Worker(OURS, files.of(OURS, net, "int8"), precision="int8")
    try:
        assert 1e-4 < relative_error(engine.logits, expected) < agreement.TOLERANCES["int8"]
    finally:
        engine.close()


class TestWorker:
    def test_a_crash_is_told(self, files):
        engine = Worker(OURS, files.of(OURS, small()))
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(Failed, match="it crashed, SIGKILL"):
            engine.timer(1)()
        engine.close()

    def test_of_several_threads_none_spins_while_another_engine_works(self, files, monkeypatch):
        monkeypatch.setattr(worker, "COUNT", 2)
        engine = Worker(OURS, files.of(OURS, small()))
        try:
            for _ in range(2):
                assert psutil.Process(engine.pid).status() == psutil.STATUS_STOPPED
                assert engine.timer(1)() > 0
        finally:
            engine.close()

    def test_what_an_engine_cannot_is_told(self, tmp_path):
        with pytest.raises(Failed, match="no local response normalisation"):
            Files(tmp_path).of("executorch", network("alexnet", (224, 224), 10))

    def test_an_exception_is_told(self, tmp_path):
        with pytest.raises(Failed, match="FileNotFoundError"):
            Worker(OURS, tmp_path)


class TestFiles:
    def test_are_made_once_while_they_are_current(self, tmp_path, monkeypatch):
        made = []

        def export(engine, net, folder, precision):
            made.append((engine, net.name))
            folder.mkdir(parents=True)

        monkeypatch.setattr(contest, "export", export)
        files = Files(tmp_path)
        for net in (small(), small(), small("mobilenet-v1-0.25")):
            files.of("ncnn", net)
        assert made == [("ncnn", "shufflenet-v1-0.25x-g3"), ("ncnn", "mobilenet-v1-0.25")]
        monkeypatch.setitem(RIVALS, "ncnn", dataclasses.replace(RIVALS["ncnn"], package="numpy"))  # another version
        files.of("ncnn", small())
        assert len(made) == 3


def finished(name="shufflenet-v1-0.25x-g3", **seconds) -> Contest:
    """A contest with these seconds for `engine` or `engine_variant`."""
    result = Contest(
        small(name),
        absent={"executorch": "it cannot"},
        core=0,
        peak=1e11,
        rounds=3,
        kernels={"tuned": 2, "total": 9, "tuned_by": {"measured": 2}},
    )
    for key, value in {"ours": 2e-3, **seconds}.items():
        engine, _, variant = key.partition("__")
        result.contestants.append(Contestant(engine, variant, 1e-6, [value, 2 * value, 1.5 * value]))
    return result


class TestLatency:
    def test_each_rival_stands_with_its_better_variant(self):
        result = finished(mnn=6e-3, torch_compile__NCHW=5e-3, torch_compile__NHWC=4e-3)
        assert [(each.engine, each.variant) for each in result.standing] == [
            ("ours", ""), ("torch_compile", "NHWC"), ("mnn", ""),
        ]  # fmt: skip
        assert [result.ratio(each) for each in result.standing] == pytest.approx([1, 2, 3])
        assert result.ours.median == pytest.approx(3e-3)
        assert result.share_of_peak(result.ours) == pytest.approx(small().multiply_adds() / 2e-3 / 1e11)

    def test_markdown_has_a_row_for_each_network_and_a_column_for_each_engine(self):
        contests = [finished(mnn=6e-3, ncnn=1e-2), finished("alexnet", mnn=1e-3)]
        heading, rule, first, second = latency.markdown(contests)
        assert heading == "| ms | ours | % of peak | ncnn | MNN | best rival / ours |"
        assert heading.count("|") == rule.count("|") == first.count("|") == second.count("|")
        assert first.split(" | ")[3:] == ["10.00", "6.000", "3.00 |"]
        assert second.split(" | ")[3:] == ["-", "1.000", "0.50 |"]

    def test_says_how_many_kernels_are_tuned(self):
        said = "shufflenet-v1-0.25x-g3 2 of 9 kernels tuned; alexnet 2 of 9 kernels tuned"
        assert f"ours: {said}" in latency.footer([finished(), finished("alexnet")])

    def test_says_what_did_not_run_and_why(self):
        lines = latency.not_run([finished(), finished("alexnet")], ["openvino"])
        assert lines == [
            f"OpenVINO: not run, it is not installed ({INSTALL})",
            "ExecuTorch: no shufflenet-v1-0.25x-g3, alexnet: it cannot",
        ]

    def test_runs_what_is_installed(self, monkeypatch):
        for name in RIVALS:
            package = "numpy" if name in ("ncnn", "mnn") else "no-such-package"
            monkeypatch.setitem(RIVALS, name, dataclasses.replace(RIVALS[name], package=package))
        chosen, missing = latency.choose(None)
        assert chosen == ["ncnn", "mnn"] and set(missing) == set(RIVALS) - set(chosen)
        assert latency.choose(["mnn"]) == (["mnn"], [])
        with pytest.raises(UserError, match="OpenVINO is not installed; run: pip install"):
            latency.choose(["mnn", "openvino"])
        for name in chosen:
            monkeypatch.setitem(RIVALS, name, dataclasses.replace(RIVALS[name], package="no-such-package"))
        with pytest.raises(UserError, match="no rival is installed; run: pip install"):
            latency.choose(None)

    @needs("ncnn", "mnn")
    def test_the_command(self, tmp_path):
        arguments = ["shufflenet-v1-0.25x-g3", "--size", "64x96", "--rivals", "ncnn,mnn", "--rounds", "2"]
        done = call("latency", *arguments, "--json", str(tmp_path / "found.json"))
        assert done.returncode == 0, done
        for text in ("ours", "ncnn", "MNN", "64x96 pixels", f"ncnn {RIVALS['ncnn'].version}", "2 interleaved rounds"):
            assert text in done.stdout
        (found,) = json.loads((tmp_path / "found.json").read_text())["networks"]
        assert [each["engine"] for each in found["engines"]] == ["ours", "ncnn", "mnn"]
        assert all(each["output_difference"] < 1e-4 for each in found["engines"])
        assert all(len(each["seconds_of_rounds"]) == 2 for each in found["engines"])
        assert found["best_rival_over_ours"] == min(each["over_ours"] for each in found["engines"][1:])


class TestFootprint:
    @pytest.mark.parametrize(
        "name,floats",
        [
            ("shufflenet-v1-1x-g3", 24 * 112 * 112 + 24 * 56 * 56),  # the stem and its maximum
            ("mobilenet-v1-1.0", 32 * 112 * 112 + 64 * 112 * 112),  # the first pointwise convolution
            ("alexnet", 2 * 96 * 55 * 55),  # the first normalisation
        ],
    )
    def test_alive_at_once(self, name, floats):
        assert footprint.alive_bytes(network(name)) == 4 * floats

    def test_names_the_bounds_that_are_missed(self):
        good = footprint.Footprint("a network", 1200, 1000, 2_000_000, 1_000_000, 60.0, 0)
        assert good.missed() == []
        bad = dataclasses.replace(good, workspace=1201, library=2_000_001, build_seconds=60.1)
        assert bad.missed() == ["over_alive", "excess", "build_seconds"]

    def test_the_command(self, tmp_path):
        name = "shufflenet-v1-0.5x-g3"  # of which the project holds weights for ten classes
        done = call("footprint", name, "--size", "64", "--json", str(tmp_path / "found.json"))
        assert done.returncode == 0 and "import tvm_shufflenet" in done.stdout, done
        everything = json.loads((tmp_path / "found.json").read_text())
        (found,) = everything["networks"]
        net = network(name, (64, 64))
        steps = folded.fold(net, random_parameters(net))
        assert found["weights"] == sum(s.weight.nbytes + s.bias.nbytes for s in steps if s.weight is not None)
        assert found["library"] > found["weights"] and found["build_seconds"] > everything["import_seconds"] > 0
        assert found["build_memory"] > 1e8  # TVM alone


class TestInTheEmulator:
    pytestmark = needs_emulator

    def test_programs_see_the_board(self):
        from benchmarks.rivals.board import board
        from tvm_shufflenet.targets.cores import core

        place = board(core("cortex-a53"))
        files = ["/proc/cpuinfo", "/sys/devices/system/cpu/cpu3/cache/index2/size"]
        code = f"print([open(name).read() for name in {files}])"
        argv = ["qemu-aarch64", "-cpu", place.cpu, *place.options, str(place.python), "-c", code]
        done = subprocess.run(argv, capture_output=True, text=True, env=place.environment, timeout=60)
        assert "0xd03" in done.stdout and "512K" in done.stdout, done

    def test_counts_are_the_same_each_time(self, tmp_path, monkeypatch):
        """And are kept: the second time nothing runs.  Most of it is convolutions."""
        from benchmarks.rivals import counted
        from tvm_shufflenet.estimation.estimates import figures
        from tvm_shufflenet.targets.cores import core

        results = []
        with counted.Exported(small()) as exported:
            for attempt in range(2):
                path = tmp_path / f"{attempt}.gz"
                monkeypatch.setattr(counted, "_path", lambda *_, path=path: path)
                results.append(counted.inference("ncnn", exported, core("cortex-a72")))
            monkeypatch.setattr(counted, "count", None)
            assert counted.inference("ncnn", exported, core("cortex-a72")) == results[1]
        native = [[block for block in blocks if "/ncnn" in block.module] for blocks in results]
        first, second = (figures("", blocks, [_Free()] * len(blocks)) for blocks in native)
        assert dataclasses.replace(first, misses=[]) == dataclasses.replace(second, misses=[])
        assert first.multiply_adds >= 0.9 * small().multiply_adds()


class _Free:
    cycles = refused = 0


@pytest.mark.parametrize(
    "command,arguments,said",
    [
        ("arm_rivals", ["shufflenet-v1-3x-g3"], "unknown model 'shufflenet-v1-3x-g3'"),
        ("arm_rivals", ["--rivals", "ncnn,tengine"], "unknown rival 'tengine'"),
        ("arm_rivals", ["--core", "cortex-z99"], "cortex-z99"),
        ("arm_rivals", ["--core", "armv7"], "only AArch64 cores"),
        ("arm_rivals", ["--json", "missing/folder/file.json"], "there is no such folder"),
        ("latency", ["shufflenet-v1-3x-g3"], "unknown model 'shufflenet-v1-3x-g3'"),
        ("latency", ["--rivals", "ncnn,tengine"], "unknown rival 'tengine'"),
        ("latency", ["--size", "tiny"], "--size tiny"),
        ("latency", ["--rounds", "0"], "--rounds 0: expected 1 or more"),
        ("latency", ["--prepare"], "say where with --keep"),
        ("latency", ["--keep", "/proc/rivals"], "--keep /proc/rivals: "),
        ("latency", ["--json", "missing/folder/file.json"], "there is no such folder"),
        ("tuning_gains", ["shufflenet-v1-3x-g3"], "unknown model 'shufflenet-v1-3x-g3'"),
        ("tuning_gains", ["--core", "native"], "only AArch64 cores"),
        ("tuning_gains", ["--records", "missing"], "--records missing: there is no such folder"),
        ("threads", ["missing.so"], "No such file"),
        ("threads", ["missing.so", "--load", "-1"], "--load -1: expected 0 or more"),
        ("footprint", ["shufflenet-v1-3x-g3"], "unknown model 'shufflenet-v1-3x-g3'"),
        ("footprint", ["--target", "z80"], "z80"),
        ("footprint", ["--json", "missing/folder/file.json"], "there is no such folder"),
        ("model_trust", ["--json", "missing/folder/file.json"], "there is no such folder"),
        ("model_trust", ["--kernels", "--no-caches"], "--kernels counts nothing"),
        ("model_trust", ["--kernels", "--sources", "missing"], "git clone https://github.com/sonos/tract"),
    ],
)
def test_refused_in_one_line(command, arguments, said):
    done = call(command, *arguments)
    assert done.returncode == 2 and not done.stdout, done
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and said in line


@pytest.mark.slow
def test_threads_on_too_few_processors(build, tmp_path):
    """Right, and done: how long it takes depends on the machine."""
    library = build("shufflenet-v1-0.25x-g3", classes=10, size=(64, 64), team=True).path
    threads, found = allowed_processors() + 2, tmp_path / "found.json"
    done = call("threads", library, "--threads", threads, "--load", 1, "--rounds", 2)
    assert done.returncode == 2 and "this process may use" in done.stderr
    done = call(
        "threads", library, "--threads", threads, "--oversubscribe", "--load", 1, "--rounds", 2, "--json", found
    )
    assert done.returncode == 0, done.stderr
    assert "times one thread, of medians; results equal to the bit" in done.stdout
    assert "1 process computing beside" in done.stdout
    told = json.loads(found.read_text())
    assert told["equal"] and told["load"] == 1 and [each["threads"] for each in told["runs"]] == [1, threads]


@pytest.mark.parametrize("command", [
    "arm_rivals", "model_trust", "latency", "footprint", "rivals.install", "threads", "tuning_gains",
])  # fmt: skip
def test_help_has_an_example(command):
    done = call(command, "--help")
    assert done.returncode == 0 and f"benchmarks.{command}" in done.stdout.partition("example")[2]


@pytest.mark.emulator
def test_what_tuning_gains(tmp_path):
    """Some kernels have shipped records, chosen with misses; the table has what the command wrote."""
    found = tmp_path / "gains.json"
    done = call("tuning_gains", "shufflenet-v1-0.25x-g3", "--core", "cortex-a72", "--json", found)
    assert done.returncode == 0, done.stderr
    assert "model, not a measurement" in done.stdout
    data = json.loads(found.read_text())
    (gain,) = data["gains"]
    assert 1e6 < gain["default"] < gain["default_total"] > gain["tuned_total"] and "by estimate" in gain["kernels"]
    lines = TABLES["gains"](data)
    default, tuned = (f"{gain[key] / 1e6:.2f}" for key in ("default_total", "tuned_total"))
    assert lines[3].startswith(f"| shufflenet-v1-0.25x-g3 | {default}, {tuned} (")
    assert "with misses" in lines[1] and "cortex-a72" in lines[1] and f"llvm {data['versions']['llvm']}" in lines[-1]


class TestAccuracy:
    """The command trains what its file does not hold; the training itself is that of `train`."""

    @pytest.fixture
    def trained(self, monkeypatch):
        asked = []

        def train(model, seed, args):
            asked.append((model, seed))
            return {"model": model, "seed": seed, "epochs": args.epochs, "size": args.size, "top1": 0.5 + seed / 10,
                    "top5": 0.9, "images": 2000}  # fmt: skip

        monkeypatch.setattr(accuracy, "trained", train)
        return asked

    def test_runs_are_kept_and_shown(self, trained, tmp_path, capsys):
        argv = ["v1-table-2", "--data", "pictures/train.tar", "--json", str(tmp_path / "accuracy.json")]
        assert accuracy.main([*argv, "--seeds", "1"]) == 0
        assert trained == [(f"shufflenet-v1-0.25x-g{g}", 0) for g in (1, 3, 8)]
        assert accuracy.main(argv) == 0
        assert trained[3:] == [(f"shufflenet-v1-0.25x-g{g}", 1) for g in (1, 3, 8)]
        assert "| shufflenet-v1-0.25x-g8 | 55.00 ± 5.00 | 50.00, 60.00 | 90.00 | 2000 | " in capsys.readouterr().out

    def test_other_recipes_are_not_mixed(self, trained, tmp_path):
        path = tmp_path / "accuracy.json"
        argv = ["v1-table-2", "--data", "pictures/train.tar", "--json", str(path)]
        accuracy.main(argv)
        before = path.read_bytes()
        with pytest.raises(UserError, match="12 epochs at 128 pixels, not 3 at 128: name another file"):
            accuracy.main([*argv, "--epochs", "3"])
        assert path.read_bytes() == before
        path.write_text("[]")
        with pytest.raises(UserError, match="holds no figures of python -m benchmarks.accuracy"):
            accuracy.main(argv)

    def test_all_networks_are_known(self):
        for _, models in accuracy.GROUPS.values():
            assert set(models) <= set(model_names())
