/* On a board: a crash of this session's process ends it quietly.
 *
 * TVM's RPC server (0.27) never answers again once the process of a session ended with a failure.  One
 * that exits with status 0 is a session that the other side has closed.  `signal` and `_exit` are those
 * of the C library that the process has.
 */
typedef struct {
  int type, zero;
  long long value;
} Any;

void (*signal(int number, void (*handler)(int)))(int);
void _exit(int status);

static void quietly(int number) {
  (void)number;
  _exit(0);
}

__attribute__((visibility("default"))) int __tvm_ffi_survive(void *self, const Any *arguments, int count, Any *result) {
  static const int crashes[] = {4 /* ILL */, 5 /* TRAP */, 6 /* ABRT */, 7 /* BUS */, 8 /* FPE */, 11 /* SEGV */};
  for (unsigned i = 0; i < sizeof crashes / sizeof *crashes; ++i) signal(crashes[i], quietly);
  *result = (Any){1, 0, 0};
  return 0;
}
