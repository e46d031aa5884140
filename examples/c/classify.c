/* Classifies one image with a compiled network, without TVM or Python:
 *
 *     ./classify model.so image.raw
 *     ./classify model.so image.raw 4        on four threads, with the pool of pool.h
 *
 * Of a library of several pictures a call image.raw holds as many, one behind the other.
 *
 * The image is preprocessed: raw float32 numbers, in the layout and of the shape of the network's input, as
 * `python -m tvm_shufflenet.classify model.so picture.jpg --raw image.raw` writes them.
 *
 *     cc -O2 -I tvm_shufflenet/library examples/c/classify.c -o classify -ldl -lpthread
 *     python -m ziglang cc -target aarch64-linux-gnu -O2 -I tvm_shufflenet/library \
 *         examples/c/classify.c -o classify -ldl -lpthread
 */
#include "pool.h" /* first: it asks for more of the C library */

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tvm_shufflenet.h"

static void fail(const char *what, const char *why) {
  fprintf(stderr, "error: %s: %s\n", what, why);
  exit(1);
}

static void *find(void *library, const char *name, const char *path) {
  void *found = dlsym(library, name);
  if (!found) fail(path, "not a library of tvm_shufflenet");
  return found;
}

/* The number of elements of the first array in the manifest's list "inputs" or "outputs"; of how many pictures. */
static size_t elements(const char *manifest, const char *list, size_t *pictures) {
  const char *at = strstr(manifest, list);
  size_t count = 1;
  at = at ? strstr(at, "\"shape\":[") : NULL;
  at = at ? strchr(at, '[') : NULL;
  *pictures = at ? strtoul(at + 1, NULL, 10) : 1;
  for (; at && *at != ']'; at = strpbrk(at + 1, ",]")) count *= strtoul(at + 1, NULL, 10);
  return count;
}

static float *allocate(size_t bytes) {
  void *memory = aligned_alloc(TSN_ALIGNMENT, (bytes + TSN_ALIGNMENT - 1) / TSN_ALIGNMENT * TSN_ALIGNMENT);
  if (!memory) fail("memory", "there is not enough");
  return memory;
}

int main(int argc, char **argv) {
  if (argc != 3 && argc != 4) fail("usage", "classify LIBRARY IMAGE.raw [THREADS]");
  int threads = argc == 4 ? atoi(argv[3]) : 1;
  if (threads < 1 || threads > TSN_THREADS_MAX) fail(argv[3], "expected a number of threads");
  char *path = realpath(argv[1], NULL); /* dlopen looks elsewhere for a name without slashes */
  if (!path) fail(argv[1], "no such library");
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) fail("cannot load", dlerror());
  const char *(*describe)(void) = find(library, "tsn_describe", argv[1]);
  size_t (*workspace_bytes)(void) = find(library, "tsn_workspace_bytes", argv[1]);
  int (*check)(const float *) = find(library, "tsn_check_input", argv[1]); /* since format 2 */
  int (*run)(const float *, float *, void *) = find(library, "tsn_run", argv[1]);
  const char *(*label)(int) = (const char *(*)(int))dlsym(library, "tsn_label"); /* since format 3 */

  size_t pictures, pixels = elements(describe(), "\"inputs\":", &pictures);
  size_t results = elements(describe(), "\"outputs\":", &pictures), classes = results / pictures;
  float *input = allocate(pixels * sizeof(float)), *output = allocate(results * sizeof(float));
  FILE *file = fopen(argv[2], "rb");
  if (!file) fail(argv[2], "cannot be read");
  if (fread(input, sizeof(float), pixels, file) != pixels || fgetc(file) != EOF) {
    fprintf(stderr, "error: %s: expected %zu bytes, that is %zu floats\n", argv[2], pixels * sizeof(float), pixels);
    return 1;
  }
  fclose(file);

  if (check(input) != TSN_OK) fail(argv[2], "expected finite numbers");
  float *workspace = allocate(workspace_bytes());
  int status;
  if (threads == 1) {
    status = run(input, output, workspace);
  } else {
    Pool *pool = pool_start(library, threads, 0);
    if (!pool) fail(argv[1], "no pool: not made for threads, or no memory or threads for it");
    status = pool_run(pool, input, &output, workspace);
    pool_stop(pool);
  }
  if (status == TSN_ERROR_CPU) fail(argv[1], "this processor lacks instructions of the library");
  if (status != TSN_OK) {
    fprintf(stderr, "error: tsn_run returned %d\n", status);
    return 1;
  }
  for (float *row = output; row < output + results; row += classes) {
    for (int rank = 0; rank < 5 && (size_t)rank < classes; ++rank) {
      size_t best = 0;
      for (size_t i = 1; i < classes; ++i)
        if (row[i] > row[best]) best = i;
      const char *name = label ? label((int)best) : NULL; /* not every network has names */
      printf("%zu %.9g%s%s\n", best, row[best], name ? " " : "", name ? name : ""); /* all bits */
      row[best] = -3.4e38f;
    }
  }
  return 0;
}
