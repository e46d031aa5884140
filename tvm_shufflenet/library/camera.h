/* What the files of the camera share: a picture that was checked, its windows, colours, and the last step.
 *
 * -DTSN_NHWC is 1 where the input's layout is NHWC, 0 where it is NCHW: what is written in one go depends on it.
 *
 * Sources: Pillow 13, src/libImaging/Resample.c (windows, weights, fixed point); ITU-R BT.601 and BT.709.
 */
#define ALWAYS static inline __attribute__((always_inline))
#define UNALIGNED aligned(1), may_alias
#define ROUND_UP(bytes) (((bytes) + TSN_ALIGNMENT - 1) & ~(uint64_t)(TSN_ALIGNMENT - 1))

/* 16-bit numbers of one native vector: as many bytes as a strip of a row has pixels. */
#if defined(__AVX512BW__)
#define STRIP 64
#elif defined(__AVX2__)
#define STRIP 32
#else
#define STRIP 16
#endif
enum { LANES = STRIP / 2 };
typedef uint16_t Vector __attribute__((vector_size(STRIP)));
typedef int16_t Signed __attribute__((vector_size(STRIP)));
typedef uint32_t Wide __attribute__((vector_size(2 * STRIP)));
typedef int32_t SignedWide __attribute__((vector_size(2 * STRIP)));
typedef uint16_t AnyVector __attribute__((vector_size(STRIP), UNALIGNED));

/* The camera's matrix: a product of 13 bits behind the point, shifted by 8 as C - 128 is, has 5 of them. */
enum { COLOUR_BITS = 5 };
typedef struct {
  uint16_t luma;                           /* factor */
  int16_t red_v, green_u, green_v, blue_u; /* factors */
  /* A half, and half a unit for a product that was cut, without what the luma's least value comes to.  The same for
   * each colour: grey stays grey.
   */
  int16_t round;
} Matrix;

/* A picture as it lies in memory. */
typedef struct {
  const uint8_t *pixels, *chroma;
  size_t stride, chroma_stride;
  int32_t width, height; /* as it lies there */
  int32_t format, rotation;
  Matrix matrix;
} Source;

/* One axis of the upright picture: its pixels, and those of the crop that are made of them. */
typedef struct {
  int32_t pixels, count; /* of the picture, of the crop */
  int32_t first;         /* the crop's first of all that the scaled picture would have */
  double start, scale, support, inverse; /* 1 / support */
} Axis;

/* The pixels that one of the crop's is made of. */
typedef struct {
  int32_t first, count;
  double centre, total;
} Window;

ALWAYS double weight_at(const Axis *axis, const Window *window, int32_t pixel) {
  double distance = (pixel - window->centre + 0.5) * axis->inverse;
  if (distance < 0) distance = -distance;
  return distance < 1 ? 1 - distance : 0;
}

static Window window_of(const Axis *axis, int32_t index) {
  Window window;
  window.centre = axis->start + (axis->first + index + 0.5) * axis->scale;
  window.total = 0;
  int32_t end = (int32_t)(window.centre + axis->support + 0.5);
  window.first = (int32_t)(window.centre - axis->support + 0.5);
  if (window.first < 0) window.first = 0;
  if (end > axis->pixels) end = axis->pixels;
  window.count = end - window.first;
  for (int32_t i = 0; i < window.count; ++i) window.total += weight_at(axis, &window, window.first + i);
  return window;
}

/* The most pixels of a window. */
ALWAYS int32_t longest(const Axis *axis) { return 2 * ((int32_t)axis->support + 1) + 1; }

ALWAYS int is_yuv(int32_t format) { return format == TSN_NV12 || format == TSN_NV21; }
ALWAYS int32_t bytes_per_pixel(int32_t format) {
  return format == TSN_RGBA || format == TSN_BGRA ? 4 : format == TSN_RGB || format == TSN_BGR ? 3 : 1;
}
ALWAYS int blue_first(int32_t format) { return format == TSN_BGR || format == TSN_BGRA; }

/* ------------------------------------------------------------------------------------ the last step */

/* Writes `count` pixels of the red, green or blue plane, `step` floats apart; `values` are 0 to 255. */
ALWAYS void normalise(const uint16_t *values, int32_t count, int plane, float *to, ptrdiff_t step) {
  int channel = tsn_network.blue_first ? 2 - plane : plane;
  const float factor = (float)tsn_network.scale, minus = tsn_network.mean[channel],
              times = 1 / tsn_network.deviation[channel];
  if (step == 1)
    for (int32_t i = 0; i < count; ++i) to[i] = ((float)values[i] * factor - minus) * times;
  else
    for (int32_t i = 0; i < count; ++i) to[i * step] = ((float)values[i] * factor - minus) * times;
}

/* Where a plane's upper left pixel goes, and how far one pixel is from the next to the right and below. */
ALWAYS float *plane_of(float *input, int plane) {
  ptrdiff_t channel = tsn_network.blue_first ? 2 - plane : plane;
  return input + (TSN_NHWC ? channel : channel * tsn_network.crop[0] * tsn_network.crop[1]);
}
ALWAYS ptrdiff_t step_right(void) { return TSN_NHWC ? 3 : 1; }
ALWAYS ptrdiff_t step_down(void) { return step_right() * tsn_network.crop[1]; }
