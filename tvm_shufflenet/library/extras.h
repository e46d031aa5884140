/* The numbers of a network that extras.c needs.  runtime.c, compiled for each network, has them; extras.c is the same
 * for all networks of a processor, since compiling takes seconds.
 */
#ifndef TSN_EXTRAS_H
#define TSN_EXTRAS_H

#include <stdint.h>

#pragma GCC visibility push(default)
#include "tvm_shufflenet.h"
#pragma GCC visibility pop

typedef struct {
  int32_t crop[2];              /* height and width of the input */
  int32_t blue_first;           /* 1 where the network takes blue first */
  double margin, scale;         /* "resize_shorter_side_ratio" of the manifest's "preprocessing"; a pixel p from 0 to */
  float mean[3], deviation[3];  /* 255 becomes (p * scale - mean) / deviation, of each channel as the network has them */
  int32_t classes;              /* numbers of the first output, one for each class; 0 where it is something else */
  int32_t probabilities;        /* 1 where these are probabilities already */
  int32_t labels;               /* names of classes that link.py embeds, each with a zero behind it */
} Network;

#pragma GCC visibility push(hidden)
extern const Network tsn_network;
extern const char tsn_labels_data[];

/* Of extras.c: guarded.c asks the processor before it calls them. */
extern size_t own_image_workspace_bytes(const tsn_image *image);
extern int own_prepare_image(const tsn_image *image, float *input, void *workspace);
extern int own_run_image(const tsn_image *image, float *output, void *workspace);
extern int own_softmax(const float *output, float *shares);
extern int own_top_k(const float *output, int count, int32_t *classes);
#pragma GCC visibility pop

#endif
