package com.example.dogs

import android.graphics.Bitmap
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.exp

/** A class of the network, and how probable it is. */
data class Guess(val label: String, val probability: Float)

/**
 * Runs the network on a picture and gives its first output, the logits. [rotation] is in degrees clockwise, as a camera
 * tells: 0, 90, 180 or 270. Pictures that are not of ARGB_8888 are copied to it. One thread at a time.
 */
fun Network.logits(picture: Bitmap, rotation: Int = 0): FloatArray {
  val plain =
      if (picture.config == Bitmap.Config.ARGB_8888) picture else picture.copy(Bitmap.Config.ARGB_8888, false)
  val pixels = ByteBuffer.allocateDirect(plain.rowBytes * plain.height)
  plain.copyPixelsToBuffer(pixels)
  pixels.rewind()
  val output = Network.buffer(Network.outputShape(0))
  runImage(pixels, Network.RGBA, plain.width, plain.height, plain.rowBytes, rotation, output)
  output.rewind()
  val found = FloatArray(Network.outputShape(0).reduce { count, extent -> count * extent })
  output.order(ByteOrder.nativeOrder()).asFloatBuffer().get(found)
  return found
}

/** The [count] classes that are most probable, the first of all first. */
fun guesses(logits: FloatArray, count: Int = 3): List<Guess> {
  val largest = logits.fold(Float.NEGATIVE_INFINITY, ::maxOf)
  val weights = logits.map { exp(it - largest) }
  val sum = weights.sum()
  return logits.indices
      .sortedByDescending { logits[it] }
      .take(count)
      .map { Guess(Network.label(it) ?: "class $it", weights[it] / sum) }
}
