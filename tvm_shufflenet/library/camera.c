/* A camera's picture becomes what the network takes: colours, resize, crop, rotation and normalisation.
 *
 * The same as library/preprocess.py, which asks Pillow to resize with its antialiased bilinear filter:
 *
 * - camera_enlarge.c does Pillow's arithmetic, to the bit, for pictures that are smaller than the network wants;
 * - camera_reduce.c, for larger ones, is the fast way: vectors of 16-bit numbers, lines before columns, rounded once
 *   where Pillow rounds twice.  A pixel of 0 to 255 then differs from Pillow's by 1 at most: by less than 0.5 before
 *   it is rounded as long as a window has at most 2 * LARGEST_SCALE + 1 pixels, and Pillow's by 1 from the exact one.
 *
 * No C library, no allocation, no division of integers, which some Arm processors lack.
 */
#include "camera.h"

enum { LARGEST_SIDE = 65535, LARGEST_SCALE = 28 };
enum { SPARE = 16 }; /* as in preprocess.py: times the pixels of its crop that a scaled picture may have */

#include "camera_enlarge.c"
#include "camera_reduce.c"

/* The nearest whole number, the even one of two: Python's round(). */
static double to_nearest(double value) {
  const double magic = 6755399441055744.0; /* 1.5 * 2^52: what is below 1 does not fit beside it */
  return value + magic - magic;
}

static Matrix matrix_of(int32_t colours) {
  int full = colours == TSN_BT601_FULL || colours == TSN_BT709_FULL;
  int wide = colours == TSN_BT709 || colours == TSN_BT709_FULL;
  double red = wide ? 0.2126 : 0.299, blue = wide ? 0.0722 : 0.114, green = 1 - red - blue;
  double luma = full ? 1 : 255.0 / 219, chroma = 8192 * (full ? 1 : 255.0 / 224);
  double red_v = 2 * (1 - red), blue_u = 2 * (1 - blue);
  int32_t least = full ? 0 : (int32_t)(16 * 32 * luma + 0.5);
  return (Matrix){
      .luma = (uint16_t)(8192 * luma + 0.5),
      .red_v = (int16_t)(chroma * red_v + 0.5),
      .green_u = (int16_t)-(int16_t)(chroma * blue_u * blue / green + 0.5),
      .green_v = (int16_t)-(int16_t)(chroma * red_v * red / green + 0.5),
      .blue_u = (int16_t)(chroma * blue_u + 0.5),
      .round = (int16_t)(17 - least),
  };
}

/* What is known of a picture before its pixels are looked at; TSN_OK, or what is wrong with it. */
static int describe(const tsn_image *image, Source *source) {
  if (!image) return TSN_ERROR_NULL;
  int32_t width = image->width, height = image->height, colours = image->colours;
  if (width < 1 || height < 1 || width > LARGEST_SIDE || height > LARGEST_SIDE) return TSN_ERROR_IMAGE;
  if (image->format < TSN_RGB || image->format > TSN_GREY) return TSN_ERROR_IMAGE;
  if (image->rotation < 0 || image->rotation > 270 || image->rotation % 90) return TSN_ERROR_IMAGE;
  if (colours < TSN_BT601 || colours > TSN_BT709_FULL) return TSN_ERROR_IMAGE;
  uint64_t row = (uint64_t)width * (uint32_t)bytes_per_pixel(image->format);
  uint64_t stride = image->stride ? image->stride : row;
  uint64_t luma = stride * (uint32_t)(height - 1) + row;
  if (stride < row || stride > INT32_MAX || luma > image->bytes) return TSN_ERROR_IMAGE;
  *source = (Source){.pixels = image->pixels, .stride = (size_t)stride, .width = width, .height = height,
                     .format = image->format, .rotation = image->rotation};
  if (is_yuv(image->format)) {
    uint64_t pairs = 2 * (((uint64_t)width + 1) / 2), lines = ((uint64_t)height + 1) / 2;
    uint64_t step = image->chroma_stride ? image->chroma_stride : image->stride ? stride : pairs;
    uint64_t behind = stride * (uint32_t)height, needed = step * (lines - 1) + pairs;
    if (step < pairs || step > INT32_MAX) return TSN_ERROR_IMAGE;
    if (image->chroma ? needed > image->chroma_bytes : behind + needed > image->bytes) return TSN_ERROR_IMAGE;
    source->chroma = image->chroma;
    if (!image->chroma && image->pixels) source->chroma = source->pixels + behind;
    source->chroma_stride = (size_t)step;
    source->matrix = matrix_of(colours);
  }
  return TSN_OK;
}

/* The axes of the upright picture: down, across. */
static void axes_of(const Source *source, Axis axes[2]) {
  int turned = source->rotation == 90 || source->rotation == 270;
  int32_t sides[2] = {turned ? source->width : source->height, turned ? source->height : source->width};
  double scale = 0, sizes[2], needed;
  for (int i = 0; i < 2; ++i) {
    needed = tsn_network.crop[i] * tsn_network.margin / sides[i];
    if (needed > scale) scale = needed;
  }
  for (int i = 0; i < 2; ++i) {
    sizes[i] = to_nearest(sides[i] * scale);
    if (sizes[i] < tsn_network.crop[i]) sizes[i] = tsn_network.crop[i];
  }
  double most = SPARE * tsn_network.margin * tsn_network.margin * tsn_network.crop[0] * tsn_network.crop[1];
  int crop_only = sizes[0] * sizes[1] > most;
  for (int i = 0; i < 2; ++i) {
    int32_t before = ((int32_t)sizes[i] - tsn_network.crop[i]) / 2;
    double step = sides[i] / sizes[i];
    Axis axis = {.pixels = sides[i], .count = tsn_network.crop[i], .first = before, .scale = step};
    if (crop_only) { /* Pillow takes the box as floats */
      float start = (float)(before * step), end = (float)((before + tsn_network.crop[i]) * step);
      axis.first = 0, axis.start = start, axis.scale = (double)(end - start) / tsn_network.crop[i];
    }
    axis.support = axis.scale < 1 ? 1 : axis.scale, axis.inverse = 1 / axis.support;
    axes[i] = axis;
  }
}

static int reduces(const Axis axes[2]) {
  for (int i = 0; i < 2; ++i)
    if (axes[i].scale < 1 || axes[i].scale > LARGEST_SCALE) return 0;
  return 1;
}

/* Bytes that preparing the picture takes of the workspace. */
static uint64_t scratch_for(const Source *source, const Axis axes[2]) {
  return ROUND_UP(reduces(axes) ? scratch_to_reduce(source, axes) : scratch_to_enlarge(axes));
}

/* The network's own workspace, or that of the picture, which is done by then: whichever is larger. */
static uint64_t before_input(uint64_t scratch) {
  uint64_t own = ROUND_UP((uint64_t)tsn_workspace_bytes());
  return own > scratch ? own : scratch;
}

static uint64_t input_bytes(void) { return ROUND_UP((uint64_t)12 * (uint32_t)tsn_network.crop[0] * (uint32_t)tsn_network.crop[1]); }

size_t own_image_workspace_bytes(const tsn_image *image) {
  Source source;
  Axis axes[2];
  if (describe(image, &source) != TSN_OK) return 0;
  axes_of(&source, axes);
  uint64_t bytes = before_input(scratch_for(&source, axes)) + input_bytes();
  return bytes < SIZE_MAX / 2 ? (size_t)bytes : 0;
}

/* Checks the rest, and prepares the picture; `*end` is where the scratch in the workspace ends. */
static int prepare(const tsn_image *image, float *input, void *workspace, uint64_t *end) {
  Source source;
  Axis axes[2];
  int status = describe(image, &source);
  if (status != TSN_OK) return status;
  if (!workspace || !source.pixels) return TSN_ERROR_NULL;
  if ((uintptr_t)workspace % TSN_ALIGNMENT || (uintptr_t)input % sizeof(float)) return TSN_ERROR_ALIGNMENT;
  if (!own_image_workspace_bytes(image)) return TSN_ERROR_IMAGE;
  axes_of(&source, axes);
  if (end) {
    *end = before_input(scratch_for(&source, axes));
    input = (float *)((char *)workspace + *end);
  }
  if (!input) return TSN_ERROR_NULL;
  if (reduces(axes))
    reduce(&source, axes, input, workspace);
  else
    enlarge(&source, axes, input, workspace);
  return TSN_OK;
}

int own_prepare_image(const tsn_image *image, float *input, void *workspace) {
  if (!input) return TSN_ERROR_NULL;
  return prepare(image, input, workspace, 0);
}

#ifdef TSN_SEVERAL /* one picture is not enough for a call */
int own_run_image(const tsn_image *image, float *output, void *workspace) {
  return image && output && workspace ? TSN_ERROR_PICTURES : TSN_ERROR_NULL;
}
#else
int own_run_image(const tsn_image *image, float *output, void *workspace) {
  uint64_t input = 0;
  if (!output) return TSN_ERROR_NULL;
  if ((uintptr_t)output % sizeof(float)) return TSN_ERROR_ALIGNMENT;
  int status = prepare(image, 0, workspace, &input);
  return status != TSN_OK ? status : tsn_run((const float *)((char *)workspace + input), output, workspace);
}
#endif
