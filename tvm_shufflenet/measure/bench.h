/* What the file that packing.py writes holds of the networks that are linked in; bench.c reads it. */
#include <stddef.h>
#include <stdint.h>

typedef struct {
  const char *label;
  const char *(*describe)(void);
  int (*supported)(void);
  size_t (*workspace_bytes)(void);
  int (*run_outputs)(const float *, float *const[], void *);
  size_t input;          /* floats */
  int outputs;           /* how many there are */
  const size_t *sizes;   /* floats of each */
  const float *expected; /* of all outputs, one behind the other, from the machine that built; null: not known there */
  double tolerance;      /* of the largest difference, relative to the largest number of an output */
} Packed;

extern const Packed packed[];
extern const int packed_count;
extern const char packed_target[]; /* JSON: what peak.py's kernel was compiled for */
extern const char packed_target_name[];
extern const int64_t peak_chains, peak_lanes;
extern const float peak_factor;
