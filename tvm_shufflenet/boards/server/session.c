/* A session: the packets that a client sends, one after the other, each with its reply. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server.h"

enum { /* RPCCode */
  SHUTDOWN = 1, INIT = 2, CALL = 3, COPY_FROM = 6, COPY_TO = 7, GET_FUNCTION = 9, FREE_HANDLE = 10, SET_DEVICE = 11,
  GET_ATTRIBUTE = 12, ALLOCATE = 13, FREE_DATA = 14, STREAM_SYNC = 15, COPY_AMONG = 16, ALLOCATE_SCOPED = 17,
  SET_STREAM = 20, GET_STREAM = 21,
};
enum { CPU = 1, EXISTS = 0 /* DeviceAttrKind */, ALIGNMENT = 128, HANDLES = 1 << 20 };
static const char version[] = "0.8.0";
static const uint64_t memory_most = (uint64_t)1 << (sizeof(void *) == 8 ? 34 : 30);

static char reason[1024];

int refuse(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(reason, sizeof reason, format, arguments);
  va_end(arguments);
  return 0;
}

/* ------------------------------------------------------------------------------------------------- handles */

static Object *objects;
static uint64_t object_count;

uint64_t handle_of(Object object) { /* 1 and higher: 0 stands for nothing */
  uint64_t at = 0;
  while (at < object_count && objects[at].kind != FREE) ++at;
  if (at == object_count) {
    Object *more = at < HANDLES ? realloc(objects, (size_t)(2 * at + 16) * sizeof *objects) : 0;
    if (!more) return (uint64_t)refuse("no memory for one more handle");
    objects = more, object_count = 2 * at + 16;
    memset(objects + at, 0, (size_t)(object_count - at) * sizeof *objects);
  }
  objects[at] = object;
  return at + 1;
}

Object *object_of(uint64_t handle) {
  return handle && handle <= object_count && objects[handle - 1].kind != FREE ? &objects[handle - 1] : 0;
}

static int free_handle(uint64_t handle, int is_memory) {
  Object *object = object_of(handle);
  if (!object || (object->kind == IS_MEMORY) != is_memory) return refuse("a handle that stands for nothing is freed");
  if (is_memory) free(object->memory);
  *object = (Object){0};
  return 1;
}

/* -------------------------------------------------------------------------------------------------- memory */

uint64_t tensor_bytes(const Tensor *tensor) {
  uint64_t bytes = ((uint64_t)tensor->type_bits * tensor->type_lanes + 7) / 8;
  for (int i = 0; i < tensor->dimensions; ++i)
    if (tensor->shape[i] < 0 || __builtin_mul_overflow(bytes, (uint64_t)tensor->shape[i], &bytes)) return UINT64_MAX;
  return bytes;
}

char *memory_at(const Value *value, uint64_t bytes) {
  Object *object = object_of(value->number);
  if (value->tensor.device_type != CPU || !object || object->kind != IS_MEMORY ||
      value->tensor.byte_offset > object->size || bytes > object->size - value->tensor.byte_offset) {
    refuse("a tensor lies outside the memory that was allocated");
    return 0;
  }
  return object->memory + value->tensor.byte_offset;
}

static int allocate(int device, uint64_t bytes, Value *result) {
  Object object = {.kind = IS_MEMORY, .size = bytes};
  void *memory;
  if (device != CPU) return refuse("this machine has no device but its processor");
  if (bytes > memory_most || posix_memalign(&memory, ALIGNMENT, bytes ? (size_t)bytes : 1))
    return refuse("no memory for %llu bytes", (unsigned long long)bytes);
  object.memory = memory, result->type = POINTER, result->number = handle_of(object);
  if (!result->number) free(memory);
  return result->number != 0;
}

/* ------------------------------------------------------------------------------------------------- packets */

static int is(const Value *values, int count, const Type *types, int expected) {
  int good = count == expected;
  for (int i = 0; good && i < count; ++i) good = values[i].type == (int32_t)types[i];
  return good || refuse("other arguments were given than the protocol has");
}
#define IS(...) is(values, count, (const Type[]){__VA_ARGS__}, sizeof((const Type[]){__VA_ARGS__}) / sizeof(Type))

/* What the protocol calls system calls: one value comes of them. */
static int system_call(int32_t code, const Value *values, int count, Value *result) {
  *result = (Value){.type = NONE};
  switch (code) {
    case GET_FUNCTION: {
      if (!IS(TEXT) && !IS(STRING)) return 0;
      Object object = {.kind = IS_BUILT_IN, .built_in = built_in_named(values[0].bytes, values[0].length)};
      result->type = POINTER, result->number = object.built_in < 0 ? 0 : handle_of(object);
      return object.built_in < 0 || result->number;
    }
    case FREE_HANDLE: return IS(POINTER) && free_handle(values[0].number, 0);
    case FREE_DATA: return IS(DEVICE, POINTER) && free_handle(values[1].number, 1);
    case ALLOCATE:
      return IS(DEVICE, INTEGER, INTEGER, DATA_TYPE) &&
             allocate((int32_t)values[0].number, values[1].number, result);
    case ALLOCATE_SCOPED:
      return IS(TENSOR, NONE) && allocate(values[0].tensor.device_type, tensor_bytes(&values[0].tensor), result);
    case GET_ATTRIBUTE:
      if (!IS(DEVICE, INTEGER)) return 0;
      if (values[1].number == EXISTS) result->type = INTEGER, result->number = (int32_t)values[0].number == CPU;
      return 1;
    case COPY_AMONG: {
      if (!IS(TENSOR, TENSOR, POINTER) && !IS(TENSOR, TENSOR, NONE)) return 0;
      uint64_t bytes = tensor_bytes(&values[0].tensor);
      char *from = memory_at(&values[0], bytes), *to = memory_at(&values[1], bytes);
      if (from && to) memmove(to, from, (size_t)bytes);
      return from && to;
    }
    case SET_DEVICE: case STREAM_SYNC: case SET_STREAM: return 1; /* a processor has no streams */
    case GET_STREAM: result->type = POINTER; return 1;
    default: return refuse("this server does not know the packet %d", code);
  }
}

static void put_result(int socket, int done, const Value *values, int count) {
  if (!(done ? reply(socket, values, count) : reply_error(socket, reason))) exit(0);
}

static void handle_packet(int socket, int32_t code, Packet *packet) {
  static Value values[VALUES];
  static int begun;
  Value results[2] = {{.type = INTEGER}};
  uint64_t number = 0, length = 0;
  const char *text = 0;
  int count = 0;
  switch (code) { /* what it holds: all of it, and no more */
    case INIT:
      length = take(packet, 8), text = take_bytes(packet, length), count = take_values(packet, values);
      break;
    case COPY_FROM: case COPY_TO:
      take_tensor(packet, &values[0]), length = take(packet, 8);
      text = take_bytes(packet, code == COPY_TO ? length : 0);
      break;
    case CALL: number = take(packet, 8); /* falls through */
    default: count = take_values(packet, values);
  }
  if (packet->broken || packet->at != packet->size) {
    fputs("a client sent what is not TVM's protocol: its session ends\n", stderr);
    exit(0);
  }
  int done = begun || code == INIT || refuse("the session has not begun");
  if (!done) {
    put_result(socket, 0, 0, 0);
  } else if (code == INIT) {
    if (count) done = refuse("this server does not go on to other servers");
    if (length != strlen(version) || memcmp(text, version, strlen(version)))
      done = refuse("the client speaks version %.*s of TVM's protocol, this server %s",
                    (int)(length < 32 ? length : 32), text, version);
    begun |= done;
    put_result(socket, done, &(Value){.type = NONE}, 1);
  } else if (code == COPY_FROM) {
    const char *from = memory_at(&values[0], length);
    if (!(from ? reply_copy(socket, from, length) : reply_error(socket, reason))) exit(0);
  } else if (code == COPY_TO) {
    char *to = memory_at(&values[0], length);
    if (to) memcpy(to, text, (size_t)length);
    put_result(socket, to != 0, &(Value){.type = NONE}, 1);
  } else if (code == CALL) { /* its result is two values: the type, and what is sent of it */
    Object *object = object_of(number);
    int32_t type = NONE;
    done = object ? call_object(*object, values, count, &results[1], &type)
                  : refuse("a handle that stands for nothing is called");
    results[0].number = (uint64_t)type;
    put_result(socket, done, results, 2);
  } else {
    done = system_call(code, values, count, &results[0]);
    put_result(socket, done, results, 1);
  }
}

void run_session(int socket) {
  Packet packet = {0};
  while (receive_packet(socket, &packet)) {
    int32_t code = (int32_t)take(&packet, 4);
    if (code == SHUTDOWN) return;
    handle_packet(socket, code, &packet);
  }
}
