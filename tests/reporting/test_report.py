"""`report`: a page that needs nothing beside itself, whose pictures show what the profile and the plan say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from tvm_shufflenet.architectures import network
from tvm_shufflenet.cli import profile as profile_command
from tvm_shufflenet.cli import report as command
from tvm_shufflenet.errors import UserError
from tvm_shufflenet.reporting import rivals, subjects
from tvm_shufflenet.reporting.page import page as page_of

NAME = "shufflenet-v1-0.25x-g3"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LATENCY = {
    "processor": {"name": "a test's"}, "versions": {"ONNX Runtime": "0"}, "networks": [{
        "network": NAME, "size": [64, 64], "rounds": 3, "engines": [
            {"engine": "ours", "minimum_ms": 0.5}, {"engine": "onnxruntime", "minimum_ms": 1.25},
            {"engine": "onnxruntime", "minimum_ms": 1.0},
        ],
    }],
}  # fmt: skip


class Pictures(HTMLParser):
    """The pictures of a page: for each its class, what it says to hold, and how many shapes it has."""

    def __init__(self):
        super().__init__()
        self.found: list[dict] = []
        self.depth = 0

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "svg":
            name = given["class"].removeprefix("picture ")
            self.found.append({"name": name, "items": int(given["data-items"]), "shapes": 0})
            self.depth += 1
        elif self.depth and tag in ("rect", "path", "polyline"):
            self.found[-1]["shapes"] += 1

    def handle_endtag(self, tag):
        self.depth -= tag == "svg"


def pictures(html: str) -> list[dict]:
    parser = Pictures()
    parser.feed(html)
    return parser.found


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A page of a real profile, with rivals, and the profile."""
    folder = tmp_path_factory.mktemp("report")
    profile, latency, page = (folder / name for name in ("profile.json", "latency.json", "report.html"))
    profile_command.main([NAME, "--size", "64", "--rounds", "1", "--json", str(profile)])
    latency.write_text(json.dumps(LATENCY))
    assert command.main(["-o", str(page), str(profile), "--rivals", str(latency)]) == 0
    return page, json.loads(profile.read_text())


def test_every_picture_has_its_data(written):
    page, profile = written
    found = pictures(page.read_text())
    assert all(each["items"] > 0 and each["shapes"] >= 1 for each in found)
    by_name = {each["name"]: each for each in found}
    assert by_name["timeline"]["shapes"] == len(profile["calls"])
    assert by_name["workspace"]["shapes"] == len(profile["manifest"]["plan"]["memory"]["rows"])
    units = [each for each in found if each["name"] == "unit"]
    assert len(units) == 1 + 16 + 2  # stem, the units, pooling and classifier
    assert sum(each["name"] == "bar" for each in found) >= 2 * len(profile["kernels"])


def test_what_the_page_says(written):
    page, profile = written
    text = page.read_text()
    assert f"{profile['library']['ms']:.3f} ms" in text and profile["processor"]["name"] in text
    shuffles = sum(layer.op == "shuffle" for layer in network(NAME).layers)
    assert text.count('class="shuffle"') == shuffles == 15  # stage 2's first unit has none
    assert (
        "onnxruntime: 1.000 ms" in text and "2.00" in text and "onnxruntime: 1.250 ms" not in text
    )  # the faster of its variants
    for row in profile["kernels"]:
        assert row["kernel"] in text and f"{1e3 * row['ms']:.1f}" in text


def test_the_page_needs_nothing_beside_itself(written):
    text = written[0].read_text()
    assert not re.search(r"https?:|//[a-z]|<script|@import|url\(|src=", text)
    assert text.count("href=") == 1 and 'href="data:,"' in text


def test_a_page_without_times(tmp_path, build):
    library = build(NAME, target="arm", size=(64, 64), classes=10).path
    page = tmp_path / "report.html"
    assert command.main(["-o", str(page), "--no-measure", str(library)]) == 0
    text = page.read_text()
    assert "Nothing was timed" in text and "Multiply-adds of each kernel" in text
    assert command.main(["-o", str(page), "--no-measure", "--size", "64", "--target", "cortex-a72", NAME]) == 0
    assert all(each["items"] > 0 for each in pictures(page.read_text()))


def test_names_are_escaped(written, tmp_path):
    _, profile = written
    profile = {**profile, "network": "<b>&", "command": "<script>"}
    (tmp_path / "profile.json").write_text(json.dumps(profile))
    command.main(["-o", str(tmp_path / "report.html"), str(tmp_path / "profile.json")])
    text = (tmp_path / "report.html").read_text()
    assert "<script" not in text and "&lt;b&gt;&amp;" in text


def test_refusals(tmp_path, written):
    _, profile = written
    bad, page = tmp_path / "bad.json", str(tmp_path / "report.html")

    def refused(said: str, *arguments: str) -> None:
        with pytest.raises(UserError, match=said):
            command.main(["-o", page, *arguments])

    bad.write_text("{}")
    refused("no profile that this version can show", str(bad))
    refused("holds no rivals", NAME, "--rivals", str(bad))
    bad.write_text(json.dumps({**profile, "calls": profile["calls"][1:]}))
    refused("it has not the calls", str(bad))
    bad.write_text("no JSON")
    refused("is no JSON", str(bad))
    refused("cannot read", str(tmp_path / "missing.json"))
    refused("unknown model", "no-such-net", "--no-measure")
    refused("leave out --rpc", "--no-measure", "--rpc", "board:9090")
    with pytest.raises(UserError, match="-o no/page.html: there is no such folder"):
        command.main(["-o", "no/page.html"])
    assert not (tmp_path / "report.html").exists()


def test_a_profile_that_lacks_something_is_refused_or_shown(written, tmp_path):
    """Whatever key is missing or of another kind: one line, or a page."""
    _, profile = written
    path, refused = tmp_path / "profile.json", 0
    damaged = [{key: value for key, value in profile.items() if key != gone} for gone in profile]
    damaged += [{**profile, key: value} for key in profile for value in (None, "x", -1, [], {})]
    for each in damaged:
        path.write_text(json.dumps(each))
        try:
            subject = subjects.load_profile(path)
        except UserError:
            refused += 1
            continue
        assert "</html>" in page_of([subject], {}, "command")
    assert refused > len(damaged) / 3


def test_rivals_at_another_size_are_not_shown(written):
    subject = subjects.from_profile(written[1], "profile")
    assert len(rivals.standings(subject, {"a": LATENCY})) == 1
    other = {**LATENCY, "networks": [{**LATENCY["networks"][0], "size": [224, 224]}]}
    assert rivals.standings(subject, {"a": other}) == []


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
@pytest.mark.parametrize("width", [500, 1600])
def test_a_browser_shows_it(written, tmp_path, width):
    """From a file, without a word on the console; what it holds then is what was written."""
    page, _ = written
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--window-size={width},1200",
               f"--user-data-dir={tmp_path}"]  # fmt: skip
    done = subprocess.run(
        [CHROMIUM, *options, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert pictures(done.stdout) == pictures(page.read_text())
    shot = tmp_path / "shot.png"
    subprocess.run([CHROMIUM, *options, f"--screenshot={shot}", page.as_uri()], capture_output=True, timeout=300)
    assert shot.stat().st_size > 10_000
