/* What Network.java calls of a library: addresses of direct buffers in, statuses of tvm_shufflenet.h out.
 *
 * Network.java has looked at sizes, and nothing else calls these functions.  They take and give pointers and integers
 * alone, so that the soft-float calling convention of Android's armeabi-v7a and the hard-float one are the same.
 * TSN_JNI(name) is the name that a Java machine looks for, TSN_JNI_OUTPUTS the number of outputs.
 */
#include <stddef.h>
#include <stdint.h>

#include "tvm_shufflenet.h"

typedef void *object;
typedef void function(void);
typedef function *const **environment; /* JNIEnv *: a pointer to the table of the machine's functions */

/* Indices in that table: chapter 4 of the JNI specification. */
#define GET_OBJECT_ARRAY_ELEMENT 173
#define NEW_DIRECT_BYTE_BUFFER 229
#define GET_DIRECT_BUFFER_ADDRESS 230

#define EXPORTED __attribute__((visibility("default")))

static void *address(environment env, object buffer) {
  return ((void *(*)(environment, object))(*env)[GET_DIRECT_BUFFER_ADDRESS])(env, buffer);
}

/* The first aligned byte of a buffer that Network.java made larger by TSN_ALIGNMENT - 1. */
static void *aligned(environment env, object buffer) {
  uintptr_t start = (uintptr_t)address(env, buffer);
  return (void *)((start + TSN_ALIGNMENT - 1) & ~(uintptr_t)(TSN_ALIGNMENT - 1));
}

/* Bytes of UTF-8, since a string of JNI is of another encoding; null for none. */
static object text(environment env, const char *start) {
  int64_t bytes = 0;
  if (!start) return NULL;
  while (start[bytes]) ++bytes;
  return ((object(*)(environment, void *, int64_t))(*env)[NEW_DIRECT_BYTE_BUFFER])(env, (void *)start, bytes);
}

static tsn_image picture(environment env, object pixels, int32_t bytes, int32_t format, int32_t width, int32_t height,
                         int32_t stride, int32_t rotation) {
  tsn_image image = {0};
  image.pixels = address(env, pixels);
  image.bytes = (size_t)bytes;
  image.format = format;
  image.width = width;
  image.height = height;
  image.stride = (size_t)stride;
  image.rotation = rotation;
  return image;
}

EXPORTED object TSN_JNI(nativeDescribe)(environment env, object class) {
  (void)class;
  return text(env, tsn_describe());
}

EXPORTED object TSN_JNI(nativeLabel)(environment env, object class, int32_t index) {
  (void)class;
  return text(env, tsn_label(index));
}

/* The likeliest classes and the probabilities of all; the number of classes written, or a status. */
EXPORTED int32_t TSN_JNI(nativeTopK)(environment env, object class, object output, object shares, object classes,
                                     int32_t count) {
  const float *from = address(env, output);
  int status = tsn_softmax(from, address(env, shares));
  (void)class;
  return status ? status : tsn_top_k(from, count, address(env, classes));
}

EXPORTED int64_t TSN_JNI(nativeWorkspaceBytes)(environment env, object class) {
  (void)env, (void)class;
  return (int64_t)tsn_workspace_bytes();
}

EXPORTED int32_t TSN_JNI(nativeRun)(environment env, object class, object input, object outputs, object workspace) {
  const float *from = address(env, input);
  float *to[TSN_JNI_OUTPUTS];
  int status = tsn_check_input(from);
  (void)class;
  for (int32_t i = 0; i < TSN_JNI_OUTPUTS; ++i)
    to[i] = address(env, ((object(*)(environment, object, int32_t))(*env)[GET_OBJECT_ARRAY_ELEMENT])(env, outputs, i));
  return status ? status : tsn_run_outputs(from, to, aligned(env, workspace));
}

EXPORTED int64_t TSN_JNI(nativeImageWorkspaceBytes)(environment env, object class, object pixels, int32_t bytes,
                                                    int32_t format, int32_t width, int32_t height, int32_t stride,
                                                    int32_t rotation) {
  tsn_image image = picture(env, pixels, bytes, format, width, height, stride, rotation);
  (void)class;
  return (int64_t)tsn_image_workspace_bytes(&image);
}

EXPORTED int32_t TSN_JNI(nativeRunImage)(environment env, object class, object pixels, int32_t bytes, int32_t format,
                                         int32_t width, int32_t height, int32_t stride, int32_t rotation,
                                         object output, object workspace) {
  tsn_image image = picture(env, pixels, bytes, format, width, height, stride, rotation);
  (void)class;
  return tsn_run_image(&image, address(env, output), aligned(env, workspace));
}
