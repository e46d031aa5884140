/* Prints the boxes that a compiled detector finds in one image, without TVM or Python:
 *
 *     ./detect model.so image.raw
 *
 * The image is preprocessed: raw float32 numbers, in the layout and of the shape of the network's input.  Boxes are in
 * pixels of that input; a picture that was stretched to it has them at its own width / the input's, and so on.  Where
 * the manifest's "resize" is "fit", the picture lies in the middle of the input, scaled alike in both directions.
 *
 *     cc -O2 -I tvm_shufflenet/library examples/c/detect.c -o detect -ldl
 *     python -m ziglang cc -target aarch64-linux-gnu -O2 -I tvm_shufflenet/library \
 *         examples/c/detect.c -o detect -ldl
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tvm_shufflenet.h"

enum { BOXES, SCORES, LABELS, COUNT, OUTPUTS }; /* in the order of the manifest's "outputs" */
static const float LEAST = 0.3f;                /* of the scores that are printed */

static void fail(const char *what, const char *why) {
  fprintf(stderr, "error: %s: %s\n", what, why);
  exit(1);
}

static void *find(void *library, const char *name, const char *path) {
  void *found = dlsym(library, name);
  if (!found) fail(path, "not a library of tvm_shufflenet, or an old one");
  return found;
}

/* The number of elements of the array that the text describes from there on. */
static size_t elements(const char *at) {
  size_t count = 1;
  at = at ? strstr(at, "\"shape\":[") : NULL;
  for (at = at ? strchr(at, '[') : NULL; at && *at != ']'; at = strpbrk(at + 1, ",]"))
    count *= strtoul(at + 1, NULL, 10);
  return count;
}

static float *allocate(size_t bytes) {
  void *memory = aligned_alloc(TSN_ALIGNMENT, (bytes + TSN_ALIGNMENT - 1) / TSN_ALIGNMENT * TSN_ALIGNMENT);
  if (!memory) fail("memory", "there is not enough");
  return memory;
}

int main(int argc, char **argv) {
  if (argc != 3) fail("usage", "detect LIBRARY IMAGE.raw");
  char *path = realpath(argv[1], NULL); /* dlopen looks elsewhere for a name without slashes */
  if (!path) fail(argv[1], "no such library");
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) fail("cannot load", dlerror());
  const char *(*describe)(void) = find(library, "tsn_describe", argv[1]);
  size_t (*workspace_bytes)(void) = find(library, "tsn_workspace_bytes", argv[1]);
  int (*check)(const float *) = find(library, "tsn_check_input", argv[1]);
  int (*run)(const float *, float *const *, void *) = find(library, "tsn_run_outputs", argv[1]);

  const char *manifest = describe(), *outputs = strstr(manifest, "\"outputs\":");
  if (!strstr(manifest, "\"detector\":") || !outputs) fail(argv[1], "no detector");
  size_t pixels = elements(strstr(manifest, "\"inputs\":"));
  float *input = allocate(pixels * sizeof(float)), *results[OUTPUTS];
  for (int i = 0; i < OUTPUTS; ++i) {
    results[i] = allocate(elements(outputs) * sizeof(float));
    outputs = strstr(outputs, "\"shape\":[") + 1;
  }
  FILE *file = fopen(argv[2], "rb");
  if (!file) fail(argv[2], "cannot be read");
  if (fread(input, sizeof(float), pixels, file) != pixels || fgetc(file) != EOF) {
    fprintf(stderr, "error: %s: expected %zu bytes, that is %zu floats\n", argv[2], pixels * sizeof(float), pixels);
    return 1;
  }
  fclose(file);

  if (check(input) != TSN_OK) fail(argv[2], "expected finite numbers");
  int status = run(input, results, allocate(workspace_bytes()));
  if (status == TSN_ERROR_CPU) fail(argv[1], "this processor lacks instructions of the library");
  if (status != TSN_OK) {
    fprintf(stderr, "error: tsn_run_outputs returned %d\n", status);
    return 1;
  }
  for (size_t i = 0; i < (size_t)results[COUNT][0] && results[SCORES][i] > LEAST; ++i) {
    const float *box = results[BOXES] + 4 * i; /* left, top, right, bottom */
    printf("%.0f %f %f %f %f %f\n", results[LABELS][i], results[SCORES][i], box[0], box[1], box[2], box[3]);
  }
  return 0;
}
