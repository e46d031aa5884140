/* The port: who connects and gives the right key has a session, in a process of its own, one at a time.
 *
 * The process may crash or hang: it is killed at the end of the time that its client asked for, or when the client is
 * gone.  Neither ends the server.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <netinet/tcp.h>

#include "tracker.h"

enum { MAGIC = 0xff271, MISMATCH = MAGIC + 2 };
enum { KEY_MOST = 64, GREETING_MOST = 512 };         /* bytes */
enum { GREETING_MS = 5000, GRACE_MS = 2000 };        /* for a handshake; to end by itself once its client is gone */
enum { PING_MS = 2000, PINGS = 4, RETRY_SECONDS = 5 }; /* of trackers, as TVM's servers have it */

static void stop(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void stop(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("error: ", stderr), vfprintf(stderr, format, arguments), fputc('\n', stderr);
  exit(2);
}

static int64_t milliseconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static struct sockaddr_in address_of(const char *text, int port, const char *option) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  if (inet_pton(AF_INET, text, &address.sin_addr) != 1)
    stop("%s %s: expected an IPv4 address, such as 127.0.0.1", option, text);
  return address;
}

static struct sockaddr_in tracker_address(const char *text) {
  char host[INET_ADDRSTRLEN] = "", *end;
  const char *colon = strrchr(text, ':');
  long port = colon ? strtol(colon + 1, &end, 10) : 0;
  if (!colon || end == colon + 1 || *end || port < 1 || port > 65535 || (size_t)(colon - text) >= sizeof host)
    stop("--tracker %s: expected an IPv4 address and a port, such as 192.168.1.2:9190", text);
  memcpy(host, text, (size_t)(colon - text));
  return address_of(host, (int)port, "--tracker");
}

/* --------------------------------------------------------------------------------------------- the handshake */

/* Receives until `end`, a time in milliseconds: who says nothing keeps others waiting no longer. */
static int receive_until(int socket, void *data, size_t size, int64_t end) {
  for (char *at = data; size;) {
    struct pollfd waiting = {socket, POLLIN, 0};
    int64_t left = end - milliseconds();
    if (left <= 0 || poll(&waiting, 1, (int)left) <= 0) return 0;
    ssize_t count = recv(socket, at, size, 0);
    if (count <= 0) return 0;
    at += count, size -= (size_t)count;
  }
  return 1;
}

/* Whether the client knows the key; `limit` becomes the milliseconds that its session may take, or 0. */
static int greet(int socket, const char *key, const char *match, int64_t *limit) {
  char greeting[GREETING_MOST], expected[GREETING_MOST], *rest;
  int64_t end = milliseconds() + GREETING_MS;
  int32_t magic = 0, length = 0;
  if (!receive_until(socket, &magic, sizeof magic, end) || magic != MAGIC) return 0;
  if (!receive_until(socket, &length, sizeof length, end) || length < 0 || length >= GREETING_MOST) return 0;
  if (!receive_until(socket, greeting, (size_t)length, end)) return 0;
  greeting[length] = 0;
  snprintf(expected, sizeof expected, "client:%s", match);
  const char *given = strtok_r(greeting, " ", &rest), *option;
  if (!given || strcmp(given, expected)) {
    magic = MISMATCH;
    send_all(socket, &magic, sizeof magic);
    return 0;
  }
  for (*limit = 0; (option = strtok_r(0, " ", &rest));) {
    double seconds = strncmp(option, "-timeout=", 9) ? 0 : strtod(option + 9, 0);
    if (seconds > 0 && seconds < 1e6) *limit = (int64_t)(1000 * seconds) + 1;
  }
  snprintf(expected, sizeof expected, "server:%s", key);
  length = (int32_t)strlen(expected);
  return send_all(socket, &magic, sizeof magic) && send_all(socket, &length, sizeof length) &&
         send_all(socket, expected, (size_t)length);
}

/* A connection that may become a session; -1 where a tracker is lost, or has given it to a client that did not come. */
static int next_connection(int listener, Tracker *tracker, const char *match) {
  for (int missed = 0; missed < PINGS;) {
    struct pollfd waiting = {listener, POLLIN, 0};
    int ready = poll(&waiting, 1, tracker ? PING_MS : -1);
    if (ready > 0) {
      int socket = accept4(listener, 0, 0, SOCK_CLOEXEC);
      if (socket >= 0) return socket;
    } else if (ready == 0) {
      int offered = is_offered(tracker, match);
      if (offered < 0) return -1;
      missed = offered ? 0 : missed + 1;
    }
  }
  return -1;
}

/* ------------------------------------------------------------------------------------------------ a session */

/* Waits for the end of a session's process, which holds the other end of the pipe `alive`. */
static void supervise(pid_t process, int socket, int alive, int64_t limit) {
  int64_t end = limit ? milliseconds() + limit : 0;
  int gone = 0, late = 0, status = 0;
  for (;;) {
    struct pollfd waiting[2] = {{alive, POLLIN, 0}, {socket, POLLRDHUP, 0}};
    int64_t left = end ? end - milliseconds() : -1;
    if (end && left <= 0) {
      late = !gone;
      break;
    }
    if (poll(waiting, gone ? 1 : 2, left > INT32_MAX ? INT32_MAX : (int)left) < 0 && errno != EINTR) break;
    if (waiting[0].revents) break;
    if (!gone && waiting[1].revents) {
      int64_t soon = milliseconds() + GRACE_MS;
      gone = 1, end = !end || soon < end ? soon : end;
    }
  }
  kill(-process, SIGKILL); /* and what it has started */
  waitpid(process, &status, 0);
  if (late) {
    fputs("a session took longer than its client had asked for: it is ended\n", stderr);
    reply_error(socket, "RPCSessionTimeoutError: the time of the session is over");
  } else if (WIFSIGNALED(status) && !gone) {
    fprintf(stderr, "a session crashed with signal %d\n", WTERMSIG(status));
  }
}

static void hold_session(int listener, int socket, Tracker *tracker, int64_t limit) {
  int ends[2], on = 1, idle = 60;
  if (pipe(ends)) stop("no pipe: %s", strerror(errno));
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on); /* a client whose machine is gone frees this one */
  setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  pid_t server = getpid(), process = fork();
  if (process < 0) fprintf(stderr, "no process for a session: %s\n", strerror(errno));
  if (process == 0) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != server) _exit(0);
    close(listener), close(ends[0]);
    if (tracker) close(tracker->socket);
    run_session(socket);
    _exit(0);
  }
  close(ends[1]);
  if (process > 0) {
    setpgid(process, process); /* whoever is first */
    supervise(process, socket, ends[0], limit);
  }
  close(ends[0]);
}

void serve(const ServeOptions *options) {
  struct sockaddr_in address = address_of(options->address, options->port, "--address");
  socklen_t length = sizeof address;
  Tracker tracker = {.key = options->key, .socket = -1}, *its = options->tracker ? &tracker : 0;
  char match[KEY_MOST + 32];
  size_t key_length = strlen(options->key);
  for (const char *at = options->key; *at; ++at)
    if (*at <= ' ' || *at > '~' || *at == '"' || *at == '\\') key_length = KEY_MOST + 1;
  if (!key_length || key_length > KEY_MOST)
    stop("--key: expected up to %d letters, digits and signs without spaces, quotes and backslashes", KEY_MOST);
  if (its) tracker.address = tracker_address(options->tracker);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16))
    stop("--serve %d: cannot listen at %s: %s", options->port, options->address, strerror(errno));
  getsockname(listener, (struct sockaddr *)&address, &length);
  tracker.port = ntohs(address.sin_port);
  fprintf(stderr, "serving TVM's RPC at %s:%d, key %s; Ctrl-C ends it\n", options->address, tracker.port, options->key);
  snprintf(match, sizeof match, "%s", options->key);
  for (int told = 0;;) {
    if (its && !offer(its, match, sizeof match)) {
      if (!told++) fprintf(stderr, "no tracker answers at %s: trying again\n", options->tracker);
      sleep(RETRY_SECONDS);
      continue;
    }
    if (its && told != -1) fprintf(stderr, "registered with the tracker at %s\n", options->tracker), told = -1;
    for (int held = 0; !held;) {
      int64_t limit;
      int socket = next_connection(listener, its, match);
      if (socket < 0) break;
      held = greet(socket, options->key, match, &limit);
      if (held) hold_session(listener, socket, its, limit);
      close(socket);
    }
    if (its && tracker.socket < 0) told = 0;
  }
}
