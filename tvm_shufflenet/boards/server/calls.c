/* The functions that a client calls: those of TVM's servers that our client needs, and those of uploaded libraries. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server.h"

enum { NAME_MOST = 256, FILES = 64, REPEATS = 1000 };
enum { UPLOAD, REMOVE, LOAD, GET_FUNCTION, TIME_EVALUATOR, THREADS };
static const char *const built_ins[] = {
    "tvm.rpc.server.upload", "tvm.rpc.server.remove", "tvm.rpc.server.load_module", "tvm.rpc.server.ModuleGetFunction",
    "runtime.RPCTimeEvaluator", "runtime.NumThreads",
};

/* A name that the client gave, for what `refuse` prints with %.*s. */
#define SHOWN(value) (int)((value)->length < NAME_MOST ? (value)->length : NAME_MOST), (const char *)(value)->bytes

static int equal(const void *text, uint64_t length, const char *name) {
  return length == strlen(name) && !memcmp(text, name, length);
}

int built_in_named(const char *name, uint64_t length) {
  for (int i = 0; i < (int)(sizeof built_ins / sizeof *built_ins); ++i)
    if (equal(name, length, built_ins[i])) return i;
  return -1;
}

/* --------------------------------------------------------------- uploaded files: they are kept in memory alone */

typedef struct {
  char *name;
  void *data;
  size_t size;
} File;
static File files[FILES];

static File *file_named(const Value *name) {
  for (int i = 0; i < FILES; ++i)
    if (files[i].name && equal(name->bytes, name->length, files[i].name)) return &files[i];
  return 0;
}

static void forget(File *file) { free(file->name), free(file->data), *file = (File){0}; }

static int upload(const Value *name, const Value *data) {
  File *file = file_named(name);
  if (!name->length || name->length > NAME_MOST || memchr(name->bytes, 0, (size_t)name->length))
    return refuse("the name of a file is empty or too long");
  for (int i = 0; i < FILES && !file; ++i)
    if (!files[i].name) file = &files[i];
  if (!file) return refuse("more than %d files are kept: remove some", FILES);
  forget(file);
  *file = (File){strndup(name->bytes, (size_t)name->length), malloc((size_t)data->length + 1), (size_t)data->length};
  if (!file->name || !file->data) {
    forget(file);
    return refuse("no memory for a file of %llu bytes", (unsigned long long)data->length);
  }
  memcpy(file->data, data->bytes, file->size);
  return 1;
}

static int load(const Value *name, Value *result) {
  File *file = file_named(name);
  const char *why;
  if (!file) return refuse("there is no file %.*s", SHOWN(name));
  Object object = {.kind = IS_MODULE, .library = load_library(file->data, file->size, &why)};
  if (!object.library) return refuse("%s: %s", file->name, why);
  result->type = POINTER, result->number = handle_of(object);
  return result->number != 0;
}

/* ------------------------------------------------------------------------------------- functions of libraries */

static Function *function_of(const Value *module, const Value *name) {
  Object *object = object_of(module->number);
  Function *function = 0;
  if (!object || object->kind != IS_MODULE) refuse("a library is asked for that was not loaded");
  else if (!(function = library_function(object->library, name->bytes, (size_t)name->length)))
    refuse("the library has no function %.*s", SHOWN(name));
  return function;
}

/* Arguments as functions take them.  Tensors get their memory's address. */
static int prepare(Value *values, int count, Any *arguments) {
  for (int i = 0; i < count; ++i) {
    Value *value = &values[i];
    arguments[i] = (Any){.type = value->type};
    if (value->type == INTEGER || value->type == BOOLEAN || value->type == FLOAT) {
      arguments[i].integer = (int64_t)value->number;
    } else if (value->type == TENSOR) {
      uint64_t bytes = tensor_bytes(&value->tensor), offset = value->tensor.byte_offset;
      char *memory = memory_at(value, bytes);
      if (!memory) return 0;
      value->tensor.data = memory - offset, arguments[i].pointer = &value->tensor;
    } else if (value->type != NONE) {
      return refuse("argument %d is neither a number nor a tensor", i);
    }
  }
  return 1;
}

static int run(Function *function, const Any *arguments, int count, Any *result) {
  *result = (Any){0};
  raised();
  int status = function(0, arguments, count, result);
  const char *said = status ? raised() : "";
  return !status || (*said ? refuse("%s", said) : refuse("the function failed with status %d", status));
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Seconds per call, one number for each repeat, as TVM's evaluator has it; the first call of all is not counted. */
static int evaluate(Timer timer, const Any *arguments, int count, Value *result) {
  static double seconds[REPEATS];
  Any ignored;
  if (!run(timer.function, arguments, count, &ignored)) return 0;
  for (int64_t i = 0; i < timer.repeat; ++i) {
    for (;;) {
      double start = now();
      for (int64_t call = 0; call < timer.number; ++call)
        if (!run(timer.function, arguments, count, &ignored)) return 0;
      double whole = now() - start, least = 1e-3 * (double)timer.least_milliseconds;
      seconds[i] = whole / (double)timer.number;
      if (whole >= least || timer.number > INT32_MAX / 2) break;
      timer.number *= 2;
    }
  }
  result->type = BYTE_ARRAY, result->bytes = seconds, result->length = (uint64_t)timer.repeat * sizeof *seconds;
  return 1;
}

/* RPCTimeEvaluator(library, function, device, its number, number, repeat, least milliseconds, how often zero is
 * measured anew, pauses, their rhythm, bytes of caches to flush, a function to call before). */
static int make_timer(const Value *values, int count, Value *result) {
  enum { ARGUMENTS = 12 };
  static const char *const rest = "this server times calls of the processor alone, without pauses and flushes";
  if (count != ARGUMENTS || values[0].type != MODULE || values[1].type != TEXT || values[11].type != TEXT)
    return refuse("%s", rest);
  for (int i = 2; i < 11; ++i)
    if (values[i].type != INTEGER) return refuse("%s", rest);
  Object object = {.kind = IS_TIMER, .timer = {function_of(&values[0], &values[1]), (int64_t)values[4].number,
                                               (int64_t)values[5].number, (int64_t)values[6].number}};
  Timer *timer = &object.timer;
  if (!timer->function) return 0;
  if (values[2].number != 1 || values[3].number || values[8].number || values[10].number || values[11].length)
    return refuse("%s", rest);
  if (timer->number < 1 || timer->number > INT32_MAX || timer->repeat < 1 || timer->repeat > REPEATS ||
      timer->least_milliseconds < 0 || timer->least_milliseconds > 3600000)
    return refuse("this server times 1 to %d calls, and repeats that up to %d times", INT32_MAX, REPEATS);
  result->type = POINTER, result->number = handle_of(object);
  return result->number != 0;
}

static int call_built_in(int which, Value *values, int count, Value *result, int32_t *type) {
  int texts = count > 0 && values[0].type == TEXT;
  switch (which) {
    case UPLOAD:
      if (count == 2 && texts && (values[1].type == BYTE_ARRAY || values[1].type == BYTES || values[1].type == STRING))
        return upload(&values[0], &values[1]);
      break;
    case REMOVE:
      if (count != 1 || !texts) break;
      if (file_named(&values[0])) forget(file_named(&values[0]));
      return 1;
    case LOAD:
      *type = MODULE;
      if (count == 1 && texts) return load(&values[0], result);
      break;
    case GET_FUNCTION: {
      if (count != 3 || values[0].type != MODULE || values[1].type != TEXT) break;
      Object object = {.kind = IS_FUNCTION, .timer = {.function = function_of(&values[0], &values[1])}};
      if (!object.timer.function) return object_of(values[0].number) != 0; /* none: TVM's client says so */
      *type = FUNCTION, result->type = POINTER, result->number = handle_of(object);
      return result->number != 0;
    }
    case TIME_EVALUATOR: *type = FUNCTION; return make_timer(values, count, result);
    case THREADS: *type = result->type = INTEGER, result->number = 1; return 1;
  }
  return refuse("%s: other arguments were given", built_ins[which]);
}

int call_object(Object object, Value *values, int count, Value *result, int32_t *type) {
  static Any arguments[VALUES];
  Any found;
  *result = (Value){.type = NONE}, *type = NONE;
  if (object.kind == IS_BUILT_IN) return call_built_in(object.built_in, values, count, result, type);
  if (object.kind != IS_FUNCTION && object.kind != IS_TIMER) return refuse("what is called is not a function");
  if (!prepare(values, count, arguments)) return 0;
  if (object.kind == IS_TIMER) {
    *type = BYTES;
    return evaluate(object.timer, arguments, count, result);
  }
  if (!run(object.timer.function, arguments, count, &found)) return 0;
  if (found.type != NONE && found.type != INTEGER && found.type != BOOLEAN && found.type != FLOAT)
    return refuse("the function gives neither nothing nor a number");
  *type = result->type = found.type, result->number = (uint64_t)found.integer;
  return 1;
}
