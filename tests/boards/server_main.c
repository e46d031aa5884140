/* The RPC server of the benchmark program alone: server_main KEY [TRACKER], on a free port of 127.0.0.1. */
#include "../../tvm_shufflenet/boards/server/server.h"

int main(int argc, char **argv) {
  const ServeOptions options = {"127.0.0.1", 0, argv[1], argc > 2 ? argv[2] : 0};
  serve(&options);
}
