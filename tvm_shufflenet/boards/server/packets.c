/* Numbers and values of the protocol, out of packets and into replies.
 *
 * A packet is the number of its bytes (uint64), a code (int32), and what belongs to the code.  Values are their count
 * (int32), then for each its type (int32) and its contents.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "server.h"

enum { REPLY = 4, ERROR = 5, COPY = 8 };             /* codes */
enum { PIECE = 1 << 20, ROOM = 16384, LONGEST = 1024 }; /* bytes: read at a time; of a reply; of an error */
static const uint64_t packet_most = (uint64_t)1 << (sizeof(void *) == 8 ? 32 : 29);

int receive_all(int socket, void *data, size_t size) {
  for (char *at = data; size;) {
    ssize_t count = recv(socket, at, size, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return 0;
    at += count, size -= (size_t)count;
  }
  return 1;
}

int send_all(int socket, const void *data, size_t size) {
  for (const char *at = data; size;) {
    ssize_t count = send(socket, at, size, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return 0;
    at += count, size -= (size_t)count;
  }
  return 1;
}

/* Memory grows with what has come: a size that is a lie costs nothing. */
int receive_packet(int socket, Packet *packet) {
  uint64_t size;
  do
    if (!receive_all(socket, &size, sizeof size)) return 0;
  while (!size);
  free(packet->data);
  *packet = (Packet){0};
  for (size_t room = 0; packet->size < size;) {
    if (size > packet_most) return 0;
    if (packet->size == room) {
      room = room ? 2 * room : PIECE;
      if (room > size) room = (size_t)size;
      unsigned char *larger = realloc(packet->data, room);
      if (!larger) return 0;
      packet->data = larger;
    }
    size_t piece = room - packet->size < PIECE ? room - packet->size : PIECE;
    if (!receive_all(socket, packet->data + packet->size, piece)) return 0;
    packet->size += piece;
  }
  return 1;
}

const void *take_bytes(Packet *packet, uint64_t count) {
  if (packet->broken || count > packet->size - packet->at) {
    packet->broken = 1;
    return 0;
  }
  packet->at += (size_t)count;
  return packet->data + packet->at - (size_t)count;
}

uint64_t take(Packet *packet, size_t bytes) {
  uint64_t number = 0;
  const void *found = take_bytes(packet, bytes);
  if (found) memcpy(&number, found, bytes);
  return number;
}

void take_tensor(Packet *packet, Value *value) {
  Tensor *tensor = &value->tensor;
  *tensor = (Tensor){.shape = value->shape};
  value->type = TENSOR;
  value->number = take(packet, 8);
  tensor->device_type = (int32_t)take(packet, 4), tensor->device_id = (int32_t)take(packet, 4);
  tensor->dimensions = (int32_t)take(packet, 4);
  tensor->type_code = (uint8_t)take(packet, 1), tensor->type_bits = (uint8_t)take(packet, 1);
  tensor->type_lanes = (uint16_t)take(packet, 2);
  if (tensor->dimensions < 0 || tensor->dimensions > DIMENSIONS) packet->broken = 1;
  for (int i = 0; i < tensor->dimensions && !packet->broken; ++i) value->shape[i] = (int64_t)take(packet, 8);
  tensor->byte_offset = take(packet, 8);
}

static void take_value(Packet *packet, Value *value) {
  *value = (Value){.type = (int32_t)take(packet, 4)};
  switch (value->type) {
    case NONE: return;
    case INTEGER: case BOOLEAN: case FLOAT: case POINTER: case DATA_TYPE: case DEVICE: case FUNCTION: case MODULE:
      value->number = take(packet, 8);
      return;
    case TENSOR: take_tensor(packet, value); return;
    case SMALL_STRING: case SMALL_BYTES: case STRING: case BYTES: /* a second type, which says string or bytes */
      value->type = (int32_t)take(packet, 4);
      if (value->type != STRING && value->type != BYTES) packet->broken = 1;
      break;
    case TEXT: case BYTE_ARRAY: break;
    default: packet->broken = 1; return;
  }
  value->length = take(packet, 8);
  value->bytes = take_bytes(packet, value->length);
}

int take_values(Packet *packet, Value *values) {
  int32_t count = (int32_t)take(packet, 4);
  if (count < 0 || count > VALUES) packet->broken = 1;
  for (int i = 0; i < count && !packet->broken; ++i) take_value(packet, &values[i]);
  return packet->broken ? 0 : count;
}

/* -------------------------------------------------------------------------------------------------- replies */

static unsigned char reply_bytes[ROOM];
static size_t reply_size;

static void put(const void *data, uint64_t size) { /* callers keep below ROOM */
  if (size > sizeof reply_bytes - reply_size) abort();
  memcpy(reply_bytes + reply_size, data, (size_t)size), reply_size += (size_t)size;
}

static void start(int32_t code) { reply_size = sizeof(uint64_t), put(&code, sizeof code); }

static int finish(int socket, uint64_t more) {
  uint64_t size = reply_size - sizeof size + more;
  memcpy(reply_bytes, &size, sizeof size);
  return send_all(socket, reply_bytes, reply_size);
}

int reply(int socket, const Value *values, int count) {
  start(REPLY), put(&count, sizeof count);
  for (int i = 0; i < count; ++i) {
    put(&values[i].type, sizeof values[i].type);
    if (values[i].type == BYTE_ARRAY) put(&values[i].length, 8), put(values[i].bytes, values[i].length);
    else if (values[i].type != NONE) put(&values[i].number, 8);
  }
  return finish(socket, 0);
}

int reply_error(int socket, const char *text) {
  int32_t count = 1, type = TEXT;
  uint64_t length = strnlen(text, LONGEST);
  start(ERROR), put(&count, sizeof count), put(&type, sizeof type), put(&length, 8), put(text, length);
  return finish(socket, 0);
}

int reply_copy(int socket, const void *data, uint64_t size) {
  start(COPY);
  return finish(socket, size) && send_all(socket, data, (size_t)size);
}
