"""What an app does with a Bitmap and the class of an Android archive, in Java and in Kotlin, with stubs of Android."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

import tvm_shufflenet
from tvm_shufflenet.architectures import network
from tvm_shufflenet.bridge import random_parameters, save_checkpoint

from ..conftest import ROOT
from .test_android import MODEL, java_prints, javac, write_classes

__all__ = ["javac"]
NAMES = ["tench", "Pekingese", "Dachshund", "Löwchen", "cliff", "jay", "hen"]
APP = ROOT / "examples" / "android" / "app" / "src" / "main" / "kotlin" / "com" / "example" / "dogs"
PACKAGE = "com.example.dogs"

# Over bytes in memory; of a picture of another format than ARGB_8888 only a copy gives its bytes.
BITMAP = """
package android.graphics;
public final class Bitmap {
  public enum Config { RGB_565, ARGB_8888 }
  private final int width, height;
  private final Config config;
  private byte[] pixels;
  public Bitmap(int width, int height, byte[] pixels, Config config) {
    this.width = width;
    this.height = height;
    this.pixels = pixels;
    this.config = config;
  }
  public Config getConfig() { return config; }
  public Bitmap copy(Config config, boolean mutable) {
    return pixels.length == 0 ? null : new Bitmap(width, height, pixels, config);
  }
  public int getWidth() { return width; }
  public int getHeight() { return height; }
  public int getRowBytes() { return pixels.length / height; }
  public void copyPixelsToBuffer(java.nio.Buffer buffer) {
    if (config != Config.ARGB_8888) throw new IllegalStateException("not copied to ARGB_8888");
    if (buffer.remaining() != pixels.length) throw new IllegalStateException("a buffer of another size");
    ((java.nio.ByteBuffer) buffer).put(pixels);
  }
  public void recycle() { pixels = null; }
}
"""
PROGRAM = """
import android.graphics.Bitmap;
import com.example.dogs.Network;
import java.nio.*;
import java.nio.file.*;
import java.util.List;

class Program {
  static void refused(Runnable call) {
    try {
      call.run();
      System.out.println("nothing");
    } catch (IllegalArgumentException | IllegalStateException error) {
      System.out.println(error.getMessage());
    }
  }
  static Bitmap bitmap(int bytes) { return new Bitmap(70, 90, new byte[bytes], Bitmap.Config.RGB_565); }
  public static void main(String[] names) throws Exception {
    byte[] rows = Files.readAllBytes(Paths.get("pixels"));
    Network network = new Network();
    ByteBuffer first = Network.buffer(Network.outputShape(0));
    network.classify(bitmap(90 * 1280));  // a larger picture before: its buffer is taken again
    for (Bitmap.Config config : Bitmap.Config.values()) {
      Bitmap bitmap = new Bitmap(70, 90, rows, config);
      network.runImage(bitmap, 90, first);
      byte[] logits = new byte[first.remaining()];
      first.duplicate().get(logits);
      Files.write(Paths.get("logits-" + config), logits);
      for (Network.Guess each : Network.topK(first, 5)) {
        System.out.println(each.getIndex() + "|" + each.getLabel() + "|" + each.getProbability() + "|" + each);
      }
      for (int count : new int[] {0, 5, 7, 100}) {
        List<Network.Guess> guesses = network.classify(bitmap, 90, count);
        if (!guesses.toString().equals(Network.topK(first, count).toString())) throw new Exception("topK");
        if (guesses.size() != Math.min(count, 7)) throw new Exception("count");
      }
      if (network.classify(bitmap, 90).size() != 3 || network.classify(bitmap).size() != 3) throw new Exception("3");
    }
    System.out.println("refused");
    refused(() -> network.classify(bitmap(0)));
    refused(() -> network.classify(bitmap(90 * 320), 45));
    refused(() -> network.classify(bitmap(90 * 200)));
    refused(() -> Network.topK(Network.buffer(Network.inputShape()), 3));
    refused(() -> Network.topK(first, -1));
    try (Network another = network) {
      another.classify(bitmap(90 * 320));
    }
    network.close();
    refused(() -> network.run(Network.buffer(Network.inputShape()), first));
    refused(() -> network.runImage(first, Network.GREY, 7, 4, 0, 0, first));
    refused(() -> network.classify(bitmap(90 * 320)));
    System.out.println(new Network().classify(bitmap(90 * 320)).size());
  }
}
"""
REFUSED = """\
the Bitmap cannot be copied to ARGB_8888
no such picture: format, size, stride, rotation or bytes contradict
no such picture: format, size, stride, rotation or bytes contradict
output: 49152 bytes, expected 28 of [1, 7]
count: -1 classes, expected 0 or more
the network is closed
the network is closed
the network is closed
3
"""


@pytest.fixture(scope="module")
def named(build, tmp_path_factory):
    """A library of seven classes that have names."""
    path = tmp_path_factory.mktemp("named") / "dogs.safetensors"
    parameters = random_parameters(network(MODEL, (64, 64), len(NAMES)))
    save_checkpoint(path, parameters, {"model": MODEL, "size": "64", "class_names": json.dumps(NAMES)})
    return build(None, weights=path, name="libdogs")


def pictures(built, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Writes a picture whose lines are wider than the 70 pixels of it; its logits, and its probabilities, by Python."""
    pixels = np.random.default_rng(3).integers(0, 256, (90, 80, 4), np.uint8)
    (folder / "pixels").write_bytes(pixels.tobytes())
    logits = tvm_shufflenet.load(built.path).run_image(np.ascontiguousarray(pixels[:, :70]), "RGBA", rotation=90)
    shares = np.exp(logits - logits.max()).ravel()
    return logits, shares / shares.sum()


def check_guesses(lines: list[str], shares: np.ndarray) -> None:
    """Lines `class|name|probability|for people`, the likeliest first."""
    for line, index in zip(lines, np.argsort(-shares)[: len(lines)], strict=True):
        number, name, probability, people = line.split("|")
        assert (int(number), name) == (index, NAMES[index])
        np.testing.assert_allclose(float(probability), shares[index], rtol=1e-5)
        assert people == f"{name} {100 * float(probability):.0f} %"


def test_java_classifies_bitmaps(javac, named, tmp_path):
    logits, shares = pictures(named, tmp_path)
    write_classes(named, PACKAGE, tmp_path)
    (tmp_path / "Bitmap.java").write_text(BITMAP)
    (tmp_path / "Program.java").write_text(PROGRAM)
    sources = tmp_path / "Bitmap.java", tmp_path / "Program.java"
    subprocess.run([javac, "-cp", tmp_path, "-d", tmp_path, *sources], check=True)
    guesses, refused = java_prints(named, tmp_path, "Program").split("refused\n")
    for config, number in (("RGB_565", 0), ("ARGB_8888", 5)):
        assert (tmp_path / f"logits-{config}").read_bytes() == logits.tobytes()
        check_guesses(guesses.splitlines()[number : number + 5], shares)
    assert refused == REFUSED


# Debian's package `kotlin`, whose compiler runs on this Java machine with these options.
KOTLIN = Path(os.environ.get("KOTLIN_JARS", "/usr/share/java"))
OPENED = [word for part in ("lang", "util") for word in ("--add-opens", f"java.base/java.{part}=ALL-UNNAMED")]
OPENED += ["--add-opens", "java.base/sun.nio.ch=ALL-UNNAMED"]
# What MainActivity.kt says of Android beside Bitmap: it is compiled, never run.
ANDROID = {
    "android.app.Activity": """
public class Activity extends android.content.Context {
  public static final int RESULT_OK = -1;
  protected void onCreate(android.os.Bundle state) {}
  protected void onActivityResult(int request, int result, android.content.Intent data) {}
  public void startActivityForResult(android.content.Intent intent, int request) {}
  public void setContentView(android.view.View view) {}
  public android.content.ContentResolver getContentResolver() { return null; }
  public final void runOnUiThread(Runnable action) {}
}""",
    "android.content.Context": "public class Context {}",
    "android.content.ContentResolver": """
public class ContentResolver {
  public java.io.InputStream openInputStream(android.net.Uri place) { return null; }
}""",
    "android.content.Intent": """
public class Intent {
  public static final String ACTION_GET_CONTENT = "";
  public Intent(String action) {}
  public Intent setType(String type) { return this; }
  public android.net.Uri getData() { return null; }
}""",
    "android.graphics.BitmapFactory": """
public class BitmapFactory { public static Bitmap decodeStream(java.io.InputStream stream) { return null; } }""",
    "android.net.Uri": "public class Uri {}",
    "android.os.Bundle": "public class Bundle {}",
    "android.view.View": """
public class View {
  public interface OnClickListener { void onClick(View view); }
  public void setOnClickListener(OnClickListener listener) {}
}""",
    "android.widget.TextView": """
public class TextView extends android.view.View {
  public TextView(android.content.Context context) {}
  public void setText(CharSequence text) {}
  public CharSequence getText() { return null; }
}""",
    "android.widget.Button": """
public class Button extends TextView { public Button(android.content.Context context) { super(context); } }""",
    "android.widget.LinearLayout": """
public class LinearLayout extends android.view.View {
  public static final int VERTICAL = 1;
  public LinearLayout(android.content.Context context) {}
  public void setOrientation(int orientation) {}
  public int getOrientation() { return 0; }
  public void addView(android.view.View view) {}
}""",
}
KOTLIN_PROGRAM = """
package com.example.dogs
import android.graphics.Bitmap
import java.io.File

fun main() {
  val bitmap = Bitmap(70, 90, File("pixels").readBytes(), Bitmap.Config.RGB_565)
  Network().use { network ->
    for (guess in network.classify(bitmap, 90)) {
      println("${guess.index}|${guess.label ?: "none"}|${guess.probability}|$guess")
    }
  }
}
"""


@pytest.mark.slow  # Kotlin's compiler takes about 15 s
def test_kotlin_classifies_bitmaps(javac, named, tmp_path):
    """With the warnings of Kotlin as errors; the example's MainActivity.kt is compiled, too."""
    jars = [KOTLIN / f"{name}.jar" for name in ("kotlin-compiler", "kotlin-stdlib", "kotlin-reflect")]
    if missing := [jar for jar in jars if not jar.exists()]:
        pytest.skip(f"there is no {missing[0]}: apt-get install kotlin")
    jars += [KOTLIN / "kotlin-script-runtime.jar", *KOTLIN.glob("*trove*.jar"), *KOTLIN.glob("*annotations*.jar")]
    _, shares = pictures(named, tmp_path)
    write_classes(named, PACKAGE, tmp_path)
    sources = tmp_path / "sources"
    for name, text in {**ANDROID, "android.graphics.Bitmap": BITMAP}.items():
        place, _, word = name.rpartition(".")
        file = sources / place.replace(".", "/") / f"{word}.java"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text if text == BITMAP else f"package {place};\n{text}\n")
    subprocess.run([javac, "-d", tmp_path, *sources.rglob("*.java")], check=True)
    (tmp_path / "Program.kt").write_text(KOTLIN_PROGRAM)
    compiler = ["java", *OPENED, "-noverify", "-Xmx1g", "-cp", ":".join(map(str, jars))]
    compiler += ["org.jetbrains.kotlin.cli.jvm.K2JVMCompiler", "-no-stdlib", "-no-reflect", "-Werror"]
    path = f"{tmp_path}:{jars[1]}"
    programs = [APP / "MainActivity.kt", tmp_path / "Program.kt"]
    subprocess.run([*compiler, "-cp", path, "-d", tmp_path, *programs], check=True)
    check_guesses(java_prints(named, tmp_path, "com.example.dogs.ProgramKt", path=path).splitlines(), shares)
