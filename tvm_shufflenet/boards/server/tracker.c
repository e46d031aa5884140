/* A tracker hands boards out: this machine tells it its key and port, and for each session a key of its own.
 *
 * Messages are JSON behind their length (int32).  Keys have no characters that JSON would write otherwise: see serve().
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "tracker.h"

enum { MAGIC = 0x2f271, PUT = 3, UPDATE_INFO = 5, GET_PENDING = 7 };
enum { SECONDS = 10, ANSWER_MOST = 1 << 20 };

static void lose(Tracker *tracker) { close(tracker->socket), tracker->socket = -1; }

static int say(Tracker *tracker, const char *format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  int32_t length = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return length < (int)sizeof text && send_all(tracker->socket, &length, sizeof length) &&
         send_all(tracker->socket, text, (size_t)length);
}

/* What it answers, as a text to free; null where it does not. */
static char *answer(Tracker *tracker) {
  int32_t length = 0;
  char *text = 0;
  if (receive_all(tracker->socket, &length, sizeof length) && length > 0 && length <= ANSWER_MOST &&
      (text = calloc(1, (size_t)length + 1)) && !receive_all(tracker->socket, text, (size_t)length)) {
    free(text);
    text = 0;
  }
  return text;
}

static int agrees(Tracker *tracker) {
  char *text = answer(tracker);
  int good = text && !strcmp(text, "0"); /* success */
  free(text);
  return good;
}

static int greets(Tracker *tracker) {
  int32_t magic = MAGIC;
  const struct timeval limit = {SECONDS, 0};
  tracker->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(tracker->socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(tracker->socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  return !connect(tracker->socket, (const struct sockaddr *)&tracker->address, sizeof tracker->address) &&
         send_all(tracker->socket, &magic, sizeof magic) && receive_all(tracker->socket, &magic, sizeof magic) &&
         magic == MAGIC &&
         say(tracker, "[%d, {\"key\": \"server:%s\", \"addr\": [null, %d]}]", UPDATE_INFO, tracker->key,
             tracker->port) &&
         agrees(tracker);
}

int offer(Tracker *tracker, char *match, size_t room) {
  uint64_t number = 0;
  if (tracker->socket < 0 && !greets(tracker)) {
    lose(tracker);
    return 0;
  }
  if (getrandom(&number, sizeof number, 0) < 0) number = (uint64_t)getpid();
  snprintf(match, room, "%s:%016llx", tracker->key, (unsigned long long)number);
  if (say(tracker, "[%d, \"%s\", [%d, \"%s\"], null]", PUT, tracker->key, tracker->port, match) && agrees(tracker))
    return 1;
  lose(tracker);
  return 0;
}

int is_offered(Tracker *tracker, const char *match) {
  char quoted[512], *text = 0;
  snprintf(quoted, sizeof quoted, "\"%s\"", match);
  if (!say(tracker, "[%d]", GET_PENDING) || !(text = answer(tracker))) {
    lose(tracker);
    return -1;
  }
  int found = strstr(text, quoted) != 0;
  free(text);
  return found;
}
