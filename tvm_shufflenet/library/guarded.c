/* The functions of the interface that extras.c is the body of.  It is made of the processor's vectors, which any
 * instruction of a function may use, its first and last ones too: so these are compiled without and ask first.  Part of
 * runtime.c, behind cpu.c.
 */

size_t tsn_image_workspace_bytes(const tsn_image *image) {
  return tsn_supported() ? own_image_workspace_bytes(image) : 0;
}

int tsn_prepare_image(const tsn_image *image, float *input, void *workspace) {
  return tsn_supported() ? own_prepare_image(image, input, workspace) : TSN_ERROR_CPU;
}

int tsn_run_image(const tsn_image *image, float *output, void *workspace) {
  return tsn_supported() ? own_run_image(image, output, workspace) : TSN_ERROR_CPU;
}

int tsn_softmax(const float *output, float *shares) {
  return tsn_supported() ? own_softmax(output, shares) : TSN_ERROR_CPU;
}

int tsn_top_k(const float *output, int count, int32_t *classes) {
  return tsn_supported() ? own_top_k(output, count, classes) : TSN_ERROR_CPU;
}

const char *tsn_label(int index) {
  const char *at = tsn_labels_data;
  if (index < 0 || index >= tsn_network.labels) return 0;
  while (index--)
    while (*at++) {
    }
  return at;
}
