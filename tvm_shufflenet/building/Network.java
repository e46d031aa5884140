package $package;

import android.graphics.Bitmap;
import androidx.annotation.NonNull;
import androidx.annotation.Nullable;
import java.io.Closeable;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/**
 * $what, compiled by tvm_shufflenet.
 *
 * <p>In Kotlin: {@code Network().use { it.classify(bitmap) }}. No Context is needed, the weights lie in the library.
 *
 * <p>Buffers are direct, numbers in them are floats in {@code ByteOrder.nativeOrder()}; what is used of a buffer is
 * what lies between its position and its limit, which stay as they are. Buffers of a call do not overlap. An object
 * runs one call at a time, several objects run side by side. What a method refuses is an IllegalArgumentException; on a
 * processor that lacks instructions of the library every run is an UnsupportedOperationException. After {@link #close}
 * a run is an IllegalStateException.
 */
public final class Network implements Closeable {
  /** Formats of pictures. The bytes of a Bitmap of ARGB_8888 are RGBA. */
  public static final int RGB = 0, BGR = 1, RGBA = 2, BGRA = 3, NV12 = 4, NV21 = 5, GREY = 6;

  private static final int ALIGNMENT = 64;
  private static final int[] INPUT = $input;
  private static final int[][] OUTPUTS = $outputs;

  static {
    System.loadLibrary("$library");
  }

  private ByteBuffer workspace = room(nativeWorkspaceBytes());
  private ByteBuffer imageWorkspace = room(0);
  private ByteBuffer bitmapPixels = ByteBuffer.allocateDirect(0);

  /** A class of the network, and how probable it is. */
  public static final class Guess {
    private final int index;
    private final String label;
    private final float probability;

    Guess(int index, String label, float probability) {
      this.index = index;
      this.label = label;
      this.probability = probability;
    }

    /** The number of the class, from 0 on. */
    public int getIndex() {
      return index;
    }

    /** The name of the class; null where the network has no names. */
    @Nullable
    public String getLabel() {
      return label;
    }

    /** From 0 to 1. */
    public float getProbability() {
      return probability;
    }

    /** For people: "parachute 97 %". */
    @Override
    @NonNull
    public String toString() {
      return String.format(Locale.ROOT, "%s %.0f %%", label == null ? "class " + index : label, 100 * probability);
    }
  }

  /** Shape of the input, such as {1, 3, 224, 224}; describe() tells its layout and preprocessing. */
  @NonNull
  public static int[] inputShape() {
    return INPUT.clone();
  }

  /** Shape of an output, such as {1, 1000}. */
  @NonNull
  public static int[] outputShape(int index) {
    return OUTPUTS[index].clone();
  }

  /** Number of outputs. */
  public static int outputs() {
    return OUTPUTS.length;
  }

  /** A buffer for an array of this shape. */
  @NonNull
  public static ByteBuffer buffer(@NonNull int[] shape) {
    return ByteBuffer.allocateDirect(bytes(shape)).order(ByteOrder.nativeOrder());
  }

  /** The network as a line of JSON: tsn_describe() in tvm_shufflenet.h. */
  @NonNull
  public static String describe() {
    return text(nativeDescribe());
  }

  /** The name of a class; null where the network has no names, or no such class. */
  @Nullable
  public static String label(int index) {
    return text(nativeLabel(index));
  }

  /** Runs the network; the input, whose numbers are finite, is preprocessed. Writes every output. */
  public synchronized void run(@NonNull ByteBuffer input, @NonNull ByteBuffer... outputs) {
    open();
    if (outputs.length != OUTPUTS.length) {
      throw new IllegalArgumentException(outputs.length + " outputs, expected " + OUTPUTS.length);
    }
    ByteBuffer[] places = new ByteBuffer[outputs.length];
    for (int i = 0; i < places.length; ++i) {
      places[i] = written(outputs[i], "output " + i, OUTPUTS[i]);
    }
    check(nativeRun(array(input, "input", INPUT), places, workspace));
  }

  /**
   * Runs the network on a picture, which the library turns, scales and normalises; writes the first output.
   *
   * @param pixels rows from the upper left pixel on; of NV12 and NV21 chroma lies behind the rows of luma
   * @param stride bytes from a row to the next; 0: rows lie one behind the other
   * @param rotation degrees clockwise that bring the picture upright: 0, 90, 180 or 270
   */
  public synchronized void runImage(
      @NonNull ByteBuffer pixels, int format, int width, int height, int stride, int rotation,
      @NonNull ByteBuffer output) {
    open();
    if (stride < 0) {
      throw new IllegalArgumentException("a stride of " + stride + ", expected 0 or more");
    }
    ByteBuffer from = direct(pixels, "pixels");
    ByteBuffer to = written(output, "output", OUTPUTS[0]);
    int bytes = from.remaining();
    long needed = nativeImageWorkspaceBytes(from, bytes, format, width, height, stride, rotation);
    if (imageWorkspace.capacity() < needed + ALIGNMENT - 1) {
      imageWorkspace = room(needed);
    }
    check(nativeRunImage(from, bytes, format, width, height, stride, rotation, to, imageWorkspace));
  }

  /**
   * The same of a Bitmap, which stays as it is. One that is not of ARGB_8888 is copied to that first. Colours of
   * translucent pixels are multiplied by their alpha, as they are in a Bitmap.
   */
  public synchronized void runImage(@NonNull Bitmap picture, int rotation, @NonNull ByteBuffer output) {
    open();
    boolean plain = picture.getConfig() == Bitmap.Config.ARGB_8888;
    Bitmap read = plain ? picture : picture.copy(Bitmap.Config.ARGB_8888, false);
    if (read == null) {
      throw new IllegalArgumentException("the Bitmap cannot be copied to ARGB_8888");
    }
    int stride = read.getRowBytes();
    long bytes = (long) stride * read.getHeight();
    if (bytes > Integer.MAX_VALUE) {
      throw new IllegalArgumentException("a Bitmap of " + bytes + " bytes, more than a buffer holds");
    }
    if (bitmapPixels.capacity() < bytes) {
      bitmapPixels = ByteBuffer.allocateDirect((int) bytes);
    }
    bitmapPixels.clear();
    bitmapPixels.limit((int) bytes);
    read.copyPixelsToBuffer(bitmapPixels);
    bitmapPixels.rewind();
    int width = read.getWidth();
    int height = read.getHeight();
    if (!plain) {
      read.recycle();
    }
    runImage(bitmapPixels, RGBA, width, height, stride, rotation, output);
  }

  /** The three likeliest classes of a picture that is upright. */
  @NonNull
  public List<Guess> classify(@NonNull Bitmap picture) {
    return classify(picture, 0);
  }

  /** The three likeliest classes of a picture. */
  @NonNull
  public List<Guess> classify(@NonNull Bitmap picture, int rotation) {
    return classify(picture, rotation, 3);
  }

  /**
   * The likeliest classes of a picture, the likeliest of all first.
   *
   * @param rotation degrees clockwise that bring the picture upright: 0, 90, 180 or 270
   * @param count how many classes, 0 or more; where the network has fewer these are all
   */
  @NonNull
  public List<Guess> classify(@NonNull Bitmap picture, int rotation, int count) {
    ByteBuffer output = buffer(OUTPUTS[0]);
    runImage(picture, rotation, output);
    return topK(output, count);
  }

  /** The likeliest classes of a first output, the likeliest first; of several pictures a call, the row of one. */
  @NonNull
  public static List<Guess> topK(@NonNull ByteBuffer output, int count) {
    if (count < 0) {
      throw new IllegalArgumentException("count: " + count + " classes, expected 0 or more");
    }
    int[] row = OUTPUTS[0].clone();
    row[0] /= INPUT[0];
    ByteBuffer shares = buffer(row);
    ByteBuffer classes = buffer(row);
    int found = nativeTopK(array(output, "output", row), shares, classes, Math.min(count, bytes(row) / Float.BYTES));
    check(Math.min(found, 0));
    List<Guess> guesses = new ArrayList<>(found);
    for (int i = 0; i < found; ++i) {
      int index = classes.getInt(Integer.BYTES * i);
      guesses.add(new Guess(index, label(index), shares.getFloat(Float.BYTES * index)));
    }
    return guesses;
  }

  /** Lets the memory of the object go, once no call runs; again: nothing. */
  @Override
  public synchronized void close() {
    workspace = imageWorkspace = bitmapPixels = null;
  }

  private void open() {
    if (workspace == null) {
      throw new IllegalStateException("the network is closed");
    }
  }

  private static ByteBuffer room(long bytes) {
    if (bytes > Integer.MAX_VALUE - ALIGNMENT) {
      throw new IllegalArgumentException("a workspace of " + bytes + " bytes, more than a buffer holds");
    }
    return ByteBuffer.allocateDirect((int) bytes + ALIGNMENT - 1);
  }

  private static int bytes(int[] shape) {
    int count = Float.BYTES;
    for (int extent : shape) {
      count *= extent;
    }
    return count;
  }

  private static ByteBuffer direct(ByteBuffer buffer, String what) {
    if (buffer == null || !buffer.isDirect()) {
      throw new IllegalArgumentException(what + ": expected a direct ByteBuffer");
    }
    return buffer.slice();
  }

  private static ByteBuffer array(ByteBuffer buffer, String what, int[] shape) {
    ByteBuffer found = direct(buffer, what);
    if (buffer.order() != ByteOrder.nativeOrder()) {
      throw new IllegalArgumentException(what + ": expected order(ByteOrder.nativeOrder())");
    }
    if (found.remaining() != bytes(shape)) {
      throw new IllegalArgumentException(
          what + ": " + found.remaining() + " bytes, expected " + bytes(shape) + " of " + Arrays.toString(shape));
    }
    return found;
  }

  private static ByteBuffer written(ByteBuffer buffer, String what, int[] shape) {
    ByteBuffer found = array(buffer, what, shape);
    if (found.isReadOnly()) {
      throw new IllegalArgumentException(what + ": it can only be read");
    }
    return found;
  }

  private static String text(ByteBuffer utf8) {
    return utf8 == null ? null : StandardCharsets.UTF_8.decode(utf8).toString();
  }

  /** Statuses of tvm_shufflenet.h. */
  private static void check(int status) {
    switch (status) {
      case 0:
        return;
      case -2:
        throw new IllegalArgumentException("a buffer does not begin at a multiple of 4 bytes");
      case -4:
        throw new IllegalArgumentException("the input holds NaN or infinity, expected finite numbers");
      case -5:
        throw new IllegalArgumentException("no such picture: format, size, stride, rotation or bytes contradict");
      case -6:
        throw new IllegalArgumentException("the network takes no pictures of three colours, or a call several");
      case -7:
        throw new IllegalArgumentException("the network gives no number for each class");
      case -9:
        throw new UnsupportedOperationException("this processor lacks instructions of the library, see describe()");
      default:
        throw new IllegalStateException("status " + status + ", see tvm_shufflenet.h");
    }
  }

  private static native ByteBuffer nativeDescribe();

  private static native ByteBuffer nativeLabel(int index);

  private static native int nativeTopK(ByteBuffer output, ByteBuffer shares, ByteBuffer classes, int count);

  private static native long nativeWorkspaceBytes();

  private static native int nativeRun(ByteBuffer input, ByteBuffer[] outputs, ByteBuffer workspace);

  private static native long nativeImageWorkspaceBytes(
      ByteBuffer pixels, int bytes, int format, int width, int height, int stride, int rotation);

  private static native int nativeRunImage(
      ByteBuffer pixels, int bytes, int format, int width, int height, int stride, int rotation, ByteBuffer output,
      ByteBuffer workspace);
}
