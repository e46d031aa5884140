/* Random pictures, rotations and strides through a library, each array of the very size that the interface asks for.
 *
 * Compiled with the address sanitizer, a step outside of an array ends the program.  Then descriptions that contradict
 * themselves: each must be refused, or run without harm.
 *
 *     cc -fsanitize=address,undefined -DHEIGHT=224 -DWIDTH=224 -DOUTPUTS=1 \
 *         -DTSN_PICTURES=1 -DTSN_NHWC=0 -DTSN_NETWORK=... -I tvm_shufflenet/library tests/fuzz_camera.c -o fuzz
 *     ./fuzz COUNT SEED
 *
 * With TSN_NETWORK that is extras.c around a network that adds; without, a real library that is linked beside
 * (tests/sanitized.py), whose run of a picture must be the run of what it prepares, to the bit.
 */
#ifdef TSN_NETWORK
#include "extras.c"
#include "cpu.c"
#include "guarded.c"
#else
#include "tvm_shufflenet.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef TSN_NETWORK
#define WORKSPACE 128
const char tsn_labels_data[] = "";
const Network tsn_network = TSN_NETWORK;
size_t tsn_workspace_bytes(void) { return WORKSPACE; }
int tsn_run(const float *input, float *output, void *workspace) {
  memset(workspace, 7, WORKSPACE);
  for (int i = 0; i < 3 * HEIGHT * WIDTH; ++i) *output += input[i];
  return TSN_OK;
}
#endif

static const size_t PIXEL[] = {3, 3, 4, 4, 1, 1, 1}; /* bytes, of luma alone */
static int has_chroma(int32_t format) { return format == TSN_NV12 || format == TSN_NV21; }

static uint64_t state;
static uint32_t random_below(uint32_t end) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)((state >> 33) % end);
}

static void *allocate(size_t bytes) {
  void *memory = 0;
  if (posix_memalign(&memory, TSN_ALIGNMENT, bytes ? bytes : 1)) exit(2);
  return memory;
}

static int32_t side(void) {
  static const uint32_t most[] = {4, 40, 300, 900};
  return 1 + (int32_t)random_below(most[random_below(4)]);
}

/* Memory that ends where the picture does, at any address. */
static uint8_t *picture_of(size_t bytes, uint8_t **whole) {
  size_t before = random_below(9);
  *whole = malloc(before + bytes);
  for (size_t i = 0; i < bytes; i += 1 + random_below(5)) (*whole)[before + i] = (uint8_t)random_below(256);
  return *whole + before;
}

/* What is prepared makes sense, and the network makes of it what it made of the picture. */
static const char *wrong_result(const float *input, const float *output) {
#ifdef TSN_NETWORK
  for (int n = 0; n < 3 * HEIGHT * WIDTH; ++n)
    if (!(input[n] >= -0.001f && input[n] <= 255.001f)) return "no pixel"; /* its scale is 1 */
  (void)output;
#else
  float *again = malloc(OUTPUTS * sizeof(float));
  void *workspace = allocate(tsn_workspace_bytes());
  if (tsn_check_input(input) != TSN_OK) return "not finite";
  if (tsn_run(input, again, workspace) != TSN_OK) return "not run again";
  if (memcmp(again, output, OUTPUTS * sizeof(float))) return "another result";
  free(again), free(workspace);
#endif
  return 0;
}

int main(int argc, char **argv) {
  long count = argc > 1 ? atol(argv[1]) : 1000, refused = 0;
  state = argc > 2 ? (uint64_t)atol(argv[2]) : 0;
  const size_t input_bytes = sizeof(float) * 3 * HEIGHT * WIDTH;
  float *input = malloc(input_bytes), *output = malloc(OUTPUTS * sizeof(float)); /* aligned as floats are, no more */
  for (long i = 0; i < count; ++i) {
    tsn_image image = {.format = (int32_t)random_below(7), .width = side(), .height = side()};
    image.rotation = (int32_t)random_below(4) * 90, image.colours = (int32_t)random_below(4);
    size_t row = (size_t)image.width * PIXEL[image.format];
    size_t stride = row + (random_below(2) ? random_below(70) : 0), pairs = ((size_t)image.width + 1) / 2 * 2;
    size_t lines = ((size_t)image.height + 1) / 2, step = stride > pairs ? stride : pairs;
    image.stride = stride == row && random_below(2) ? 0 : stride;
    image.bytes = stride * ((size_t)image.height - 1) + row;
    uint8_t *first, *second = 0;
    if (has_chroma(image.format) && random_below(2)) {
      image.chroma_stride = step + random_below(9);
      image.chroma_bytes = image.chroma_stride * (lines - 1) + pairs;
      image.chroma = picture_of(image.chroma_bytes, &second);
    } else if (has_chroma(image.format)) {
      image.chroma_stride = random_below(2) ? step : 0;
      if (!image.chroma_stride) step = image.stride ? image.stride : pairs;
      if (step < pairs) image.chroma_stride = step = pairs;
      image.bytes = stride * (size_t)image.height + step * (lines - 1) + pairs;
    }
    image.pixels = picture_of(image.bytes, &first);
    size_t bytes = tsn_image_workspace_bytes(&image);
    if (!bytes || bytes % TSN_ALIGNMENT) return fprintf(stderr, "a good picture is refused\n"), 1;
    void *workspace = allocate(bytes);
    memset(output, 0, OUTPUTS * sizeof(float));
    /* Preparing takes less than running, whose input lies behind the scratch. */
    void *scratch = allocate(bytes - (input_bytes + TSN_ALIGNMENT - 1) / TSN_ALIGNMENT * TSN_ALIGNMENT);
    if (tsn_prepare_image(&image, input, scratch) != TSN_OK) return fprintf(stderr, "not prepared\n"), 1;
    free(scratch);
    if (tsn_run_image(&image, output, workspace) != TSN_OK) return fprintf(stderr, "not run\n"), 1;
    const char *why = wrong_result(input, output);
    if (why) return fprintf(stderr, "%s: case %ld\n", why, i), 1;

    tsn_image wrong = image; /* one field is changed: what is still accepted must fit into the same memory */
    static const int32_t odd[] = {-1, 0, 7, 45, 360, 65536, INT32_MAX, INT32_MIN};
    int32_t value = odd[random_below(8)];
    switch (random_below(7)) {
      case 0: wrong.format = value < 0 || value > 6 ? value : -1; break;
      case 1: wrong.width = value > 0 && value < 65536 ? image.width + 2 : value; break; /* a pair of chroma more */
      case 2: wrong.height = value > 0 && value < 65536 ? image.height + 2 : value; break;
      case 3: wrong.stride = random_below(2) ? row - 1 : (size_t)-1 - random_below(99); break;
      case 4: wrong.rotation = value == 0 ? 1 : value; break;
      case 5: wrong.colours = value == 0 ? 4 : value; break;
      default: wrong.bytes = random_below((uint32_t)image.bytes); break;
    }
    if (row == 1 && wrong.stride == 0) wrong.format = 9;
    int status = tsn_prepare_image(&wrong, input, workspace);
    if (status != TSN_ERROR_IMAGE) return fprintf(stderr, "accepted: %d, case %ld\n", status, i), 1;
    if (tsn_image_workspace_bytes(&wrong)) return fprintf(stderr, "a workspace for nothing\n"), 1;
    ++refused;
    free(first), free(second), free(workspace);
  }
  printf("%ld pictures, %ld refused\n", count, refused);
  free(input), free(output);
  return 0;
}
