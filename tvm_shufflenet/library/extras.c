/* What a library has around tsn_run, for programs with a camera: pictures in, classes out.
 *
 * Compiled apart from runtime.c, since it is made of vectors: with the processor's, where runtime.c needs none.
 * -DTSN_PICTURES is 0 where the network takes no pictures of three colours, -DTSN_SEVERAL is there where a call takes
 * several.
 */
#include "extras.h"

#if TSN_PICTURES
#include "camera.c"
#else
size_t own_image_workspace_bytes(const tsn_image *image) { return image ? 0 : 0; }
int own_prepare_image(const tsn_image *image, float *input, void *workspace) {
  return image && input && workspace ? TSN_ERROR_PICTURES : TSN_ERROR_NULL;
}
int own_run_image(const tsn_image *image, float *output, void *workspace) {
  return image && output && workspace ? TSN_ERROR_PICTURES : TSN_ERROR_NULL;
}
#endif

#include "classes.c"
