/* A server of TVM's RPC protocol (0.27) for machines that have neither TVM nor Python: packing.py links it into the
 * benchmark program.
 *
 *   listen.c   the port: handshakes, a process for each session, its end
 *   tracker.c  offers this machine to a tracker
 *   session.c  the packets of a session: memory, handles
 *   calls.c    the functions that a client calls, those of libraries among them
 *   loader.c   puts an uploaded library into memory
 *   packets.c  reads and writes the protocol's numbers and values
 *
 * Whatever a client sends ends its session at most.  Who reaches the port runs code here: that is what the protocol is
 * for.  All numbers of the protocol are little-endian, as the machines are that this is compiled for.
 */
#include <stddef.h>
#include <stdint.h>

typedef struct {
  const char *address; /* of this machine, on which it listens */
  int port;            /* 0: any */
  const char *key;
  const char *tracker; /* IPv4 address and port; null: none */
} ServeOptions;

/* Does not return; errors go to stderr, with status 2. */
void serve(const ServeOptions *options) __attribute__((noreturn));

/* ------------------------------------------------------------------------------------------- packets.c */

enum {
  VALUES = 64,    /* arguments of a call, at most */
  DIMENSIONS = 8, /* of a tensor, at most */
};

typedef enum { /* TVMFFITypeIndex */
  NONE = 0, INTEGER = 1, BOOLEAN = 2, FLOAT = 3, POINTER = 4, DATA_TYPE = 5, DEVICE = 6, TENSOR = 7, TEXT = 8,
  BYTE_ARRAY = 9, SMALL_STRING = 11, SMALL_BYTES = 12, STRING = 65, BYTES = 66, FUNCTION = 68, MODULE = 73,
} Type;

typedef struct { /* DLTensor */
  void *data;
  int32_t device_type, device_id, dimensions;
  uint8_t type_code, type_bits;
  uint16_t type_lanes;
  int64_t *shape, *strides;
  uint64_t byte_offset;
} Tensor;

typedef struct { /* a value of the protocol */
  int32_t type;
  uint64_t number; /* the bits of a number, a handle, or that of a tensor's memory */
  const void *bytes; /* of texts, strings and bytes */
  uint64_t length;
  Tensor tensor; /* without data */
  int64_t shape[DIMENSIONS];
} Value;

typedef struct {
  unsigned char *data;
  size_t size, at;
  int broken; /* it ended early, or holds what is not known */
} Packet;

int receive_all(int socket, void *data, size_t size); /* 1; 0 where the connection ends before */
int send_all(int socket, const void *data, size_t size);
int receive_packet(int socket, Packet *packet); /* writes over the last one */
uint64_t take(Packet *packet, size_t bytes);    /* a number of up to 8 bytes */
const void *take_bytes(Packet *packet, uint64_t count);
void take_tensor(Packet *packet, Value *value);
int take_values(Packet *packet, Value *values); /* how many; VALUES are there */
int reply(int socket, const Value *values, int count);
int reply_error(int socket, const char *text);
int reply_copy(int socket, const void *data, uint64_t size);

/* ------------------------------------------------------------------------------------------- loader.c */

typedef struct Library Library;
typedef struct { /* TVMFFIAny */
  int32_t type;
  uint32_t padding;
  union {
    int64_t integer;
    double number;
    void *pointer;
  };
} Any;
typedef int Function(void *self, const Any *arguments, int32_t count, Any *result);

/* Null, and a reason, for a file that is damaged or for another machine.  It stays for the whole session: a handler of
 * signals may be in it. */
Library *load_library(const void *file, size_t size, const char **reason);
Function *library_function(const Library *library, const char *name, size_t length); /* null: there is none */
const char *raised(void); /* what a function of a library last said of its failure; empty: nothing.  Forgets it */

/* ----------------------------------------------------------------------------------- session.c, calls.c */

typedef struct {
  Function *function;
  int64_t number, repeat, least_milliseconds;
} Timer;

typedef struct { /* what a handle of the client stands for */
  enum { FREE, IS_BUILT_IN, IS_MODULE, IS_FUNCTION, IS_TIMER, IS_MEMORY } kind;
  union {
    int built_in;
    Library *library;
    Timer timer; /* of a function too, without the numbers */
    struct {
      char *memory;
      uint64_t size;
    };
  };
} Object;

void run_session(int socket); /* until the client ends it */
int refuse(const char *format, ...) __attribute__((format(printf, 1, 2))); /* says why a call fails; 0 */
uint64_t handle_of(Object object);    /* a new handle; 0 and refused where there is no memory */
Object *object_of(uint64_t handle);   /* null where the handle stands for nothing */
char *memory_at(const Value *tensor, uint64_t bytes); /* null and refused where the tensor has not as many */
uint64_t tensor_bytes(const Tensor *tensor);          /* UINT64_MAX for a tensor that cannot be */
int built_in_named(const char *name, uint64_t length); /* its number; -1: there is none */
int call_object(Object object, Value *values, int count, Value *result, int32_t *type); /* 0 and refused, or 1 */
