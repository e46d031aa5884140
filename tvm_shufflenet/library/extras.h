/* The numbers of a network that extras.c needs.  runtime.c, compiled for each network, has them; extras.c is the same
 * for all networks of a processor, since compiling takes seconds.
 */
#include <stdint.h>

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
#pragma GCC visibility pop
