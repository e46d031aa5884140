package com.example.dogs

import android.app.Activity
import android.content.Intent
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.os.Bundle
import android.widget.Button
import android.widget.LinearLayout
import android.widget.TextView
import kotlin.concurrent.thread

/** Asks for a picture and shows what the network sees in it. */
class MainActivity : Activity() {
  private val network by lazy { Network() }
  private lateinit var answer: TextView

  override fun onCreate(state: Bundle?) {
    super.onCreate(state)
    answer = TextView(this)
    val button = Button(this)
    button.text = "Picture"
    button.setOnClickListener {
      startActivityForResult(Intent(Intent.ACTION_GET_CONTENT).setType("image/*"), PICTURE)
    }
    val column = LinearLayout(this)
    column.orientation = LinearLayout.VERTICAL
    column.addView(button)
    column.addView(answer)
    setContentView(column)
  }

  override fun onActivityResult(request: Int, result: Int, data: Intent?) {
    super.onActivityResult(request, result, data)
    val place = data?.data
    if (request != PICTURE || result != RESULT_OK || place == null) return
    val picture = contentResolver.openInputStream(place).use { BitmapFactory.decodeStream(it) }
    if (picture == null) answer.text = "not a picture" else show(picture)
  }

  private fun show(picture: Bitmap) {
    thread {
      val start = System.nanoTime()
      val found = network.classify(picture)
      val milliseconds = (System.nanoTime() - start) / 1e6
      val lines = found.map { it.toString() }
      runOnUiThread { answer.text = (lines + "%.1f ms".format(milliseconds)).joinToString("\n") }
    }
  }

  private companion object {
    const val PICTURE = 1
  }
}
