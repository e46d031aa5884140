/* What the machine says of itself, for the JSON of bench.c, of which this is a part. */

#define PATH_MAX_LENGTH 128
#define TEXT (1 << 16)

/* The text of a file, up to `size` - 1 bytes, without the end of its last line; empty where there is none. */
static const char *read_text(char *text, size_t size, const char *format, ...) {
  char path[PATH_MAX_LENGTH];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(path, sizeof path, format, arguments);
  va_end(arguments);
  FILE *file = fopen(path, "r");
  size_t length = file ? fread(text, 1, size - 1, file) : 0;
  if (file) fclose(file);
  while (length && text[length - 1] == '\n') --length;
  text[length] = 0;
  return text;
}

static void put_string(const char *text) {
  fputc('"', out);
  for (; *text; ++text) {
    unsigned char c = (unsigned char)*text;
    if (c == '"' || c == '\\') fprintf(out, "\\%c", c);
    else if (c < ' ' || c > '~') fprintf(out, "\\u%04x", c); /* such text is ASCII: a byte for a byte */
    else fputc(c, out);
  }
  fputc('"', out);
}

static struct utsname system_names;
static char modalias[4096], cpuinfo[TEXT];

/* processor.py decides from the same texts whether figures count; this mark is for those who read them here. */
static int is_emulated(void) {
#if defined(__x86_64__)
  return strstr(cpuinfo, ": QEMU") || strstr(cpuinfo, ": VirtualApple") || strstr(cpuinfo, "CPU implementer") != 0;
#else
  const char *implementer = strstr(cpuinfo, "CPU implementer"), *timer = strstr(cpuinfo, "BogoMIPS");
  int is_qemu = implementer && strtol(strchr(implementer, ':') + 1, 0, 0) == 0;
  int is_machine = timer && strtod(strchr(timer, ':') + 1, 0) == 125.0; /* QEMU's timer of 62.5 MHz */
  return !implementer || is_qemu || is_machine || strstr(modalias, "cpu:type:x86") != 0;
#endif
}

/* Clocks in kHz and temperatures in degrees, as the kernel says; whatever it does not say is left out. */
static void put_state(const char *name) {
  char text[256], value[64], *comma = "";
  fprintf(out, "\"%s\":{\"kilohertz\":{", name);
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    read_text(value, sizeof value, "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq", core);
    if (atol(value) > 0) fprintf(out, "%s\"%d\":%ld", comma, core, atol(value)), comma = ",";
  }
  fprintf(out, "},\"celsius\":["), comma = "";
  for (int zone = 0; zone < 100; ++zone) {
    read_text(value, sizeof value, "/sys/class/thermal/thermal_zone%d/temp", zone);
    if (!*value) continue;
    fprintf(out, "%s[", comma), put_string(read_text(text, sizeof text, "/sys/class/thermal/thermal_zone%d/type", zone));
    fprintf(out, ",%.1f]", atof(value) / 1000), comma = ",";
  }
  fprintf(out, "]}");
}

static int pin(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  return sched_setaffinity(0, sizeof set, &set);
}
