/* The functions of the C library that compiled kernels call.  A library has its own: it depends on none. */
#include <stddef.h>
#include <stdint.h>

/* LLVM turns loops into calls of these three.  The empty assembler statements keep the compiler from
 * doing that to their own loops.
 */
typedef uint8_t Block __attribute__((vector_size(16), aligned(1), may_alias));
#define KEEP_LOOP __asm__ volatile("" ::: "memory")

static void copy_up(uint8_t *to, const uint8_t *from, size_t size) {
  for (; size >= sizeof(Block); size -= sizeof(Block), to += sizeof(Block), from += sizeof(Block)) {
    *(Block *)to = *(const Block *)from;
    KEEP_LOOP;
  }
  for (; size; --size) {
    *to++ = *from++;
    KEEP_LOOP;
  }
}

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
  copy_up((uint8_t *)to, (const uint8_t *)from, size);
  return to;
}

void *memmove(void *to, const void *from, size_t size) {
  if ((uintptr_t)to - (uintptr_t)from >= size) { /* below, or clear of it */
    copy_up((uint8_t *)to, (const uint8_t *)from, size);
    return to;
  }
  while (size--) {
    ((uint8_t *)to)[size] = ((const uint8_t *)from)[size];
    KEEP_LOOP;
  }
  return to;
}

void *memset(void *to, int value, size_t size) {
  uint8_t *at = (uint8_t *)to, byte = (uint8_t)value;
  Block block = {byte, byte, byte, byte, byte, byte, byte, byte,
                 byte, byte, byte, byte, byte, byte, byte, byte};
  for (; size >= sizeof block; size -= sizeof block, at += sizeof block) {
    *(Block *)at = block;
    KEEP_LOOP;
  }
  for (; size; --size) {
    *at++ = byte;
    KEEP_LOOP;
  }
  return to;
}
