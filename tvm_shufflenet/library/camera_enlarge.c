/* Pillow's resize to the bit, of the upright picture: across first, rounded to 8 bits, then down; 22 bits behind the
 * point.  A pixel is four bytes: red, green, blue, and one that means nothing.
 */

enum { PILLOW_BITS = 32 - 8 - 2 };
typedef uint8_t Bytes4 __attribute__((vector_size(4)));
typedef int32_t Words4 __attribute__((vector_size(16)));

typedef struct {
  int32_t *windows; /* first and count of each pixel of the crop, then `longest` weights of each */
  int32_t *weights;
  int32_t room; /* weights of a window */
} Weights;

static uint64_t weights_bytes(const Axis *axis) {
  return (uint64_t)(uint32_t)axis->count * (2 + (uint32_t)longest(axis)) * sizeof(int32_t);
}

static Weights weights_at(void *memory, const Axis *axis) {
  Weights found = {memory, (int32_t *)memory + 2 * axis->count, longest(axis)};
  for (int32_t i = 0; i < axis->count; ++i) {
    Window window = window_of(axis, i);
    found.windows[2 * i] = window.first, found.windows[2 * i + 1] = window.count;
    int32_t *weights = found.weights + (size_t)i * (size_t)found.room;
    for (int32_t k = 0; k < window.count; ++k) {
      double weight = weight_at(axis, &window, window.first + k);
      if (window.total != 0) weight /= window.total;
      weights[k] = (int32_t)(0.5 + weight * (1 << PILLOW_BITS));
    }
  }
  return found;
}

/* The pixels of the picture that the crop needs: *begin to *end. */
static void span_of(const Axis *axis, int32_t *begin, int32_t *end) {
  Window last = window_of(axis, axis->count - 1);
  *begin = window_of(axis, 0).first, *end = last.first + last.count;
}

ALWAYS uint8_t clamp(int32_t value) { return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value); }

/* One pixel, by its place in memory. */
ALWAYS Bytes4 pixel_at(const Source *source, int32_t x, int32_t y) {
  const uint8_t *at = source->pixels + (size_t)y * source->stride;
  if (source->format == TSN_GREY) return (Bytes4){at[x], at[x], at[x], 0};
  if (!is_yuv(source->format)) {
    at += (size_t)x * (size_t)bytes_per_pixel(source->format);
    return blue_first(source->format) ? (Bytes4){at[2], at[1], at[0], 0} : (Bytes4){at[0], at[1], at[2], 0};
  }
  const uint8_t *pair = source->chroma + (size_t)(y >> 1) * source->chroma_stride + (x & ~1);
  const Matrix *m = &source->matrix;
  int32_t u = ((int32_t)pair[source->format == TSN_NV21] - 128) * 256;
  int32_t v = ((int32_t)pair[source->format == TSN_NV12] - 128) * 256;
  int32_t luma = (int32_t)((uint32_t)at[x] * 256 * m->luma >> 16);
  int32_t red = luma + (v * m->red_v >> 16) + m->round;
  int32_t green = luma + (u * m->green_u >> 16) + (v * m->green_v >> 16) + m->round;
  int32_t blue = luma + (u * m->blue_u >> 16) + m->round;
  return (Bytes4){clamp(red >> COLOUR_BITS), clamp(green >> COLOUR_BITS), clamp(blue >> COLOUR_BITS), 0};
}

/* A row of the upright picture, from pixel `begin` to `end`. */
static void upright_row(const Source *source, int32_t row, int32_t begin, int32_t end, Bytes4 *to) {
  int32_t right = source->width - 1, bottom = source->height - 1;
  for (int32_t i = begin; i < end; ++i)
    switch (source->rotation) {
      case 0: *to++ = pixel_at(source, i, row); break;
      case 90: *to++ = pixel_at(source, row, bottom - i); break;
      case 180: *to++ = pixel_at(source, right - i, bottom - row); break;
      default: *to++ = pixel_at(source, right - row, i); break;
    }
}

ALWAYS Bytes4 rounded(Words4 sum) {
  sum >>= PILLOW_BITS;
  return (Bytes4){clamp(sum[0]), clamp(sum[1]), clamp(sum[2]), 0};
}

static uint64_t scratch_to_enlarge(const Axis axes[2]) {
  int32_t top, bottom, left, right;
  span_of(&axes[0], &top, &bottom), span_of(&axes[1], &left, &right);
  uint64_t rows = (uint64_t)(uint32_t)(bottom - top) * (uint32_t)axes[1].count * sizeof(Bytes4);
  return weights_bytes(&axes[0]) + weights_bytes(&axes[1]) + rows + (uint32_t)(right - left) * sizeof(Bytes4) +
         (uint64_t)3 * (uint32_t)axes[1].count * sizeof(uint16_t);
}

static void enlarge(const Source *source, const Axis axes[2], float *input, void *workspace) {
  const Words4 half = {1 << (PILLOW_BITS - 1), 1 << (PILLOW_BITS - 1), 1 << (PILLOW_BITS - 1), 0};
  const int32_t width = axes[1].count, height = axes[0].count;
  char *memory = workspace;
  Weights down = weights_at(memory, &axes[0]);
  memory += weights_bytes(&axes[0]);
  Weights across = weights_at(memory, &axes[1]);
  memory += weights_bytes(&axes[1]);
  int32_t top, bottom, left, right;
  span_of(&axes[0], &top, &bottom), span_of(&axes[1], &left, &right);
  Bytes4 *narrow = (Bytes4 *)memory, *row = narrow + (size_t)(bottom - top) * (size_t)width;
  uint16_t *values = (uint16_t *)(row + (right - left));

  for (int32_t y = top; y < bottom; ++y) {
    Bytes4 *to = narrow + (size_t)(y - top) * (size_t)width;
    upright_row(source, y, left, right, row);
    for (int32_t x = 0; x < width; ++x) {
      const int32_t *weights = across.weights + (size_t)x * (size_t)across.room;
      const Bytes4 *from = row + (across.windows[2 * x] - left);
      Words4 sum = half;
      for (int32_t k = 0; k < across.windows[2 * x + 1]; ++k)
        sum += __builtin_convertvector(from[k], Words4) * weights[k];
      to[x] = rounded(sum);
    }
  }
  for (int32_t y = 0; y < height; ++y) {
    const int32_t *weights = down.weights + (size_t)y * (size_t)down.room, count = down.windows[2 * y + 1];
    const Bytes4 *from = narrow + (size_t)(down.windows[2 * y] - top) * (size_t)width;
    for (int32_t x = 0; x < width; ++x) {
      Words4 sum = half;
      for (int32_t k = 0; k < count; ++k)
        sum += __builtin_convertvector(from[(size_t)k * (size_t)width + (size_t)x], Words4) * weights[k];
      Bytes4 pixel = rounded(sum);
      for (int plane = 0; plane < 3; ++plane) values[plane * width + x] = pixel[plane];
    }
    for (int plane = 0; plane < 3; ++plane)
      normalise(values + plane * width, width, plane, plane_of(input, plane) + y * step_down(), step_right());
  }
}
