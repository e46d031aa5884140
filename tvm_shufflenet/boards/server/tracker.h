#include <netinet/in.h>

#include "server.h"

typedef struct {
  struct sockaddr_in address;
  const char *key; /* under which this machine is asked for */
  int port, socket; /* the port of this server; the connection, -1: none */
} Tracker;

/* Offers this machine for one session, whose key it writes to `match`; 0 where the tracker is not to be reached. */
int offer(Tracker *tracker, char *match, size_t room);
/* Whether the tracker still has that session to give away; -1 where it is lost. */
int is_offered(Tracker *tracker, const char *match);
