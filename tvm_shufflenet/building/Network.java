package $package;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * $what, compiled by tvm_shufflenet.
 *
 * <p>Buffers are direct, numbers in them are floats in {@code ByteOrder.nativeOrder()}; what is used of a buffer is
 * what lies between its position and its limit, which stay as they are. Buffers of a call do not overlap. An object
 * runs one call at a time, several objects run side by side. What a method refuses is an IllegalArgumentException; on a
 * processor that lacks instructions of the library every run is an UnsupportedOperationException.
 */
public final class Network {
  /** Formats of pictures. The bytes of a Bitmap of ARGB_8888 are RGBA. */
  public static final int RGB = 0, BGR = 1, RGBA = 2, BGRA = 3, NV12 = 4, NV21 = 5, GREY = 6;

  private static final int ALIGNMENT = 64;
  private static final int[] INPUT = $input;
  private static final int[][] OUTPUTS = $outputs;

  static {
    System.loadLibrary("$library");
  }

  private final ByteBuffer workspace = room(nativeWorkspaceBytes());
  private ByteBuffer imageWorkspace = room(0);

  /** Shape of the input, such as {1, 3, 224, 224}; describe() tells its layout and preprocessing. */
  public static int[] inputShape() {
    return INPUT.clone();
  }

  /** Shape of an output, such as {1, 1000}. */
  public static int[] outputShape(int index) {
    return OUTPUTS[index].clone();
  }

  /** Number of outputs. */
  public static int outputs() {
    return OUTPUTS.length;
  }

  /** A buffer for an array of this shape. */
  public static ByteBuffer buffer(int[] shape) {
    return ByteBuffer.allocateDirect(bytes(shape)).order(ByteOrder.nativeOrder());
  }

  /** The network as a line of JSON: tsn_describe() in tvm_shufflenet.h. */
  public static String describe() {
    return text(nativeDescribe());
  }

  /** The name of a class; null where the network has no names, or no such class. */
  public static String label(int index) {
    return text(nativeLabel(index));
  }

  /** Runs the network; the input, whose numbers are finite, is preprocessed. Writes every output. */
  public synchronized void run(ByteBuffer input, ByteBuffer... outputs) {
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
      ByteBuffer pixels, int format, int width, int height, int stride, int rotation, ByteBuffer output) {
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
      case -9:
        throw new UnsupportedOperationException("this processor lacks instructions of the library, see describe()");
      default:
        throw new IllegalStateException("status " + status + ", see tvm_shufflenet.h");
    }
  }

  private static native ByteBuffer nativeDescribe();

  private static native ByteBuffer nativeLabel(int index);

  private static native long nativeWorkspaceBytes();

  private static native int nativeRun(ByteBuffer input, ByteBuffer[] outputs, ByteBuffer workspace);

  private static native long nativeImageWorkspaceBytes(
      ByteBuffer pixels, int bytes, int format, int width, int height, int stride, int rotation);

  private static native int nativeRunImage(
      ByteBuffer pixels, int bytes, int format, int width, int height, int stride, int rotation, ByteBuffer output,
      ByteBuffer workspace);
}
