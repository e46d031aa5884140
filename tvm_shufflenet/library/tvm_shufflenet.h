/* The interface of every compiled network, for C and C++.
 *
 * A library holds one network with its weights.  It needs no other library and no files, allocates
 * nothing, starts no threads and writes to nothing of the caller but outputs and `workspace` (and a `team`).  All libraries
 * export the same names: to use several in one program, dlopen each and dlsym the functions, or build each with
 * `--prefix NAME`: its functions are NAME_run for tsn_run and so on, which its header NAME.h declares.  In a library of
 * several sizes these are the functions of the first; tsn_480x640_run and so on are in tsn_480x640.h.
 *
 *     void *workspace = aligned_alloc(TSN_ALIGNMENT, tsn_workspace_bytes());
 *     int status = tsn_run(input, output, workspace);
 *
 * This is number 6 of the interface.  A library of a number has all functions of that number and of lower ones:
 *
 *     1   tsn_describe, tsn_workspace_bytes, tsn_run
 *     2   tsn_run_outputs, tsn_check_input
 *     3   tsn_image_workspace_bytes, tsn_prepare_image, tsn_run_image, tsn_softmax, tsn_top_k, tsn_label
 *     4   tsn_abi
 *     5   tsn_supported
 *     6   of teams: tsn_team_begin, tsn_team_work
 *
 * What is here keeps its name, its arguments and its meaning, structures and constants included; a later number only
 * adds.  So a program runs with every library of the number that the program was written for, and of later ones.
 */
#ifndef TVM_SHUFFLENET_H
#define TVM_SHUFFLENET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TSN_ABI 6        /* the number of this interface */
#define TSN_ALIGNMENT 64 /* bytes: of the workspace */

#define TSN_OK 0
#define TSN_ERROR_NULL (-1)      /* a pointer is null */
#define TSN_ERROR_ALIGNMENT (-2) /* of the workspace to TSN_ALIGNMENT, or of another array as floats are */
#define TSN_ERROR_INTERNAL (-3)  /* a bug of the compiler: the library contradicts itself */
#define TSN_ERROR_INPUT (-4)     /* the input holds NaN or infinity */
#define TSN_ERROR_IMAGE (-5)     /* a tsn_image contradicts itself, or is of a size that none has */
#define TSN_ERROR_PICTURES (-6)  /* the network takes no pictures of three colours, or a call several */
#define TSN_ERROR_CLASSES (-7)   /* the network gives no number for each class */
#define TSN_ERROR_TEAM (-8)      /* no such team, thread or number; or a thread of the team has given up */
#define TSN_ERROR_CPU (-9)       /* the processor lacks instructions of the library: see tsn_supported */

/* The number of the interface that the library has, which "format" of tsn_describe() says too.  A program may ask
 * whether it is at least that of the functions that the program calls.
 */
int tsn_abi(void);

/* 1 where this processor has all instructions that the library is made of, which "needs" of tsn_describe() names; else 0,
 * and all functions that run a network, prepare a picture or read an output return TSN_ERROR_CPU (a size is 0) and do
 * nothing.  The processor is asked once: the answer is all that a library keeps.
 */
int tsn_supported(void);

/* The network as one line of JSON, which lives as long as the library.  It begins with the arrays that
 * the functions take:
 *
 *     {"format":5,
 *      "inputs":[{"name":"input","shape":[1,3,224,224],"dtype":"float32","layout":"NCHW"}],
 *      "outputs":[{"name":"fc","shape":[1,1000],"dtype":"float32","layout":"NC"}],
 *      "workspace_bytes":...
 *
 * There is one input, of any number of channels; its "layout" is NCHW or NHWC.  There are one or more
 * outputs: NCHW, or NC where a network has no pixels left.  N is 1, or N of `build --batch N`: all arrays
 * then hold so many pictures, one behind the other, and a call runs the network for all of them.  "probabilities" is true where the
 * first output has been through a softmax or a sigmoid, false where it holds logits or features.
 */
const char *tsn_describe(void);

/* The size of the workspace, for either function that runs the network: a multiple of TSN_ALIGNMENT.  Of several sizes
 * it is that of the one that needs most.
 */
size_t tsn_workspace_bytes(void);

/* Runs the network once and writes its first output.
 *
 * input      the array that "inputs" describes, preprocessed; it is not changed.  Its numbers are finite:
 *            of NaN and infinity the network may make anything, ordinary numbers too.
 * output     the first of those that "outputs" describes.
 * workspace  tsn_workspace_bytes() bytes.  What they hold before does not matter, and what they
 *            hold afterwards means nothing.
 *
 * The arrays belong to the caller, are dense and do not overlap.  The workspace is aligned to
 * TSN_ALIGNMENT, the others as floats are.  Returns TSN_OK or a negative error.  Threads may run at the
 * same time if each has a workspace and outputs of its own.  A call needs up to 64 KiB of stack.
 */
int tsn_run(const float *input, float *output, void *workspace);

/* The same, and writes all outputs: `outputs` has a pointer for each, in the order of "outputs". */
int tsn_run_outputs(const float *input, float *const outputs[], void *workspace);

/* Reads the input once: TSN_OK where all its numbers are finite, TSN_ERROR_INPUT where one is not. */
int tsn_check_input(const float *input);

/* ------------------------------------------------------------------------------------ pictures of a camera */

/* Formats: one byte for each colour of a pixel, in the order of the name. */
#define TSN_RGB 0
#define TSN_BGR 1
#define TSN_RGBA 2 /* the fourth byte is not looked at */
#define TSN_BGRA 3
#define TSN_NV12 4 /* luma, then a pair of chroma, U before V, for each 2 x 2 pixels */
#define TSN_NV21 5 /* the same, V before U: Android's */
#define TSN_GREY 6

/* What NV12 and NV21 mean. */
#define TSN_BT601 0      /* limited range, luma from 16 to 235: what cameras usually give */
#define TSN_BT601_FULL 1 /* 0 to 255, as in JPEG files */
#define TSN_BT709 2
#define TSN_BT709_FULL 3

/* A picture in memory.  What is 0 has its usual meaning: fill the rest of the structure with zeros. */
typedef struct {
  const void *pixels;    /* the upper left pixel; of NV12 and NV21 its luma */
  size_t bytes;          /* that may be read from `pixels` on */
  int32_t format;        /* TSN_RGB ... */
  int32_t width, height; /* in pixels, as the picture lies in memory: 1 to 65535 */
  size_t stride;         /* bytes from a row to the next; 0: rows lie one behind the other */
  int32_t rotation;      /* degrees clockwise that bring the picture upright: 0, 90, 180 or 270 */
  int32_t colours;       /* of NV12 and NV21: TSN_BT601 ... */
  const void *chroma;    /* of NV12 and NV21; NULL: behind `height` rows of luma */
  size_t chroma_bytes;   /* that may be read from `chroma` on, where it is not NULL */
  size_t chroma_stride;  /* bytes; 0: as `stride` */
} tsn_image;

/* The size of the workspace for the two functions below, for pictures of this format, size and rotation: a multiple
 * of TSN_ALIGNMENT, and 0 where such a picture is refused.  The pixels are not looked at.
 */
size_t tsn_image_workspace_bytes(const tsn_image *image);

/* Makes the input of a picture, as the manifest's "preprocessing" says: turned upright, scaled to cover the input with
 * its margin, cut out of the middle, normalised.  Each pixel of 0 to 255 is within 1 of what Pillow's bilinear resize
 * makes of it.  NV12 and NV21 become 8 bits RGB before that, each pixel with the chroma that it lies in.
 *
 * input      the array that tsn_run takes; of a library for several pictures the place of one of them in it
 * workspace  tsn_image_workspace_bytes(image) bytes, aligned to TSN_ALIGNMENT, not overlapping the input
 */
int tsn_prepare_image(const tsn_image *image, float *input, void *workspace);

/* Makes the input within the workspace and runs the network; `output` as for tsn_run.  A library for several pictures
 * returns TSN_ERROR_PICTURES.
 */
int tsn_run_image(const tsn_image *image, float *output, void *workspace);

/* --------------------------------------------------------------------------------------- what the output says
 * Of a library for several pictures `output` is the row of one of them.
 */

/* Probabilities of the classes: `shares` may be `output` itself.  The first output of tsn_run, as it is where
 * "probabilities" is true, else its softmax.
 */
int tsn_softmax(const float *output, float *shares);

/* Writes the indices of the `count` classes with the largest numbers, the largest first; of equal numbers the class
 * of the lower index comes first.  Returns how many were written: all classes where there are fewer.  NaN comes last.
 */
int tsn_top_k(const float *output, int count, int32_t *classes);

/* The name of a class as UTF-8, which lives as long as the library; NULL where the network has no names, or no such
 * class.
 */
const char *tsn_label(int index);
/* ---- Several threads, one picture.  Libraries whose manifest has "threads" export these functions.
 *
 * The threads are the caller's, at most TSN_THREADS_MAX, and as many as a team has; the result is that of tsn_run, to
 * the bit, for any number.  `team` is memory of the caller, tsn_team_bytes(threads) bytes, aligned to TSN_ALIGNMENT:
 *
 *     void *team = aligned_alloc(TSN_ALIGNMENT, tsn_team_bytes(4));
 *     int status = tsn_team_init(team, 4);                             // once, or again after an error
 *     ...
 *     int status = tsn_run_team(input, output, workspace, team, me);   // in each of 4 threads, me = 0, 1, 2 or 3
 *
 * Threads wait for each other at some dozens of places in a run, spinning: each needs a processor of its own.
 */
#define TSN_THREADS_MAX 64
#define TSN_PARTS_MAX 64

/* The size of a team of 1 to TSN_THREADS_MAX threads, with what they need beside the workspace; else 0.  Of several
 * sizes it is that of the one that needs most.
 */
size_t tsn_team_bytes(int threads);

/* Makes a team; returns TSN_OK or a negative error. */
int tsn_team_init(void *team, int threads);

/* What a thread of the team calls again and again once it has waited for longer than usual (some microseconds), such as
 * sched_yield where there are more threads than processors.  It returns 0 to wait on.  Anything else gives up: all
 * threads that are here, and those that arrive later, return TSN_ERROR_TEAM from the run, and the outputs mean nothing.
 * Without it threads wait for ever for one that does not come.
 */
typedef int tsn_wait(void *context);

/* Sets that function, or none (null), while no thread runs. */
int tsn_team_wait(void *team, tsn_wait *wait, void *context);

/* Work is cut into `parts` pieces for each thread, 1 to TSN_PARTS_MAX.  Of one piece (as after tsn_team_init) each
 * thread has its own, which is best where all cores are equally fast.  Of several who is first takes the next: where
 * cores differ (big.LITTLE), 4 for example.  To be called while no thread runs.
 */
int tsn_team_parts(void *team, int parts);

/* The part of thread number `thread` in one run.  All threads of the team call it with the same other arguments, which
 * are those of tsn_run, and it returns in each once all have done their parts.  The input is complete before the first
 * thread calls.
 */
int tsn_run_team(const float *input, float *output, void *workspace, void *team, int thread);

/* The same for all outputs, as tsn_run_outputs. */
int tsn_run_team_outputs(const float *input, float *const outputs[], void *workspace, void *team, int thread);

/* Threads that stay in the library from picture to picture, for pools: waking a thread may take as long as a picture.
 *
 *     for (;;) { tsn_team_work(team, me, 20000); sleep until woken; }                // in threads 1, 2, ...
 *
 *     int count = tsn_team_begin(input, outputs, workspace, team, asleep);           // in thread 0
 *     wake the threads asleep[0] to asleep[count - 1];
 *     int status = tsn_run_team_outputs(input, outputs, workspace, team, 0);
 *
 * tsn_team_begin begins a picture and returns how many threads sleep, whose numbers are then in `asleep`, an array for
 * all of them; or a negative error.  The arguments stay as they are until thread 0 has returned from the run.  A thread
 * that begins with tsn_team_work calls no tsn_run_team of the same team.
 */
int tsn_team_begin(const float *input, float *const outputs[], void *workspace, void *team, int32_t *asleep);

/* Runs, as thread number `thread` from 1 on, all pictures that tsn_team_begin begins, whichever size of the library they
 * are of.  Returns TSN_OK once it has looked `spins` times for the next one: the thread then sleeps until it is woken,
 * and calls again.  A wake too many does no harm.  TSN_ERROR_TEAM: the team has given up.
 */
int tsn_team_work(void *team, int thread, int spins);

#ifdef __cplusplus
}
#endif

#endif
