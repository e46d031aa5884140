/* What the first output says of classes: probabilities, the likeliest ones. */

/* e^x for x <= 0, to 1e-15 of it: x = n ln 2 + r with |r| <= ln 2 / 2, and Taylor's series of r to its 13th power. */
static double exponential(double x) {
  if (!(x > -700)) return x == x ? 0 : x; /* below any float; NaN stays */
  const double ln2 = 0.693147180559945309417;
  int32_t n = (int32_t)(x / ln2 - 0.5);
  double r = x - n * ln2, sum = 1;
  for (int32_t i = 13; i > 0; --i) sum = 1 + sum * r * (1.0 / i);
  union {
    uint64_t bits;
    double value;
  } power = {(uint64_t)(uint32_t)(n + 1023) << 52};
  return sum * power.value;
}

int own_softmax(const float *output, float *shares) {
  if (!output || !shares) return TSN_ERROR_NULL;
  if (((uintptr_t)output | (uintptr_t)shares) % sizeof(float)) return TSN_ERROR_ALIGNMENT;
  if (!tsn_network.classes) return TSN_ERROR_CLASSES;
  if (tsn_network.probabilities) {
    for (int32_t i = 0; i < tsn_network.classes; ++i) shares[i] = output[i];
    return TSN_OK;
  }
  double largest = output[0], sum = 0;
  for (int32_t i = 0; i < tsn_network.classes; ++i)
    if (output[i] > largest) largest = output[i];
  for (int32_t i = 0; i < tsn_network.classes; ++i) sum += exponential(output[i] - largest);
  for (int32_t i = 0; i < tsn_network.classes; ++i) shares[i] = (float)(exponential(output[i] - largest) / sum);
  return TSN_OK;
}

/* Whether class `one` comes before `other`. */
static int is_before(const float *output, int32_t one, int32_t other) {
  float a = output[one], b = output[other];
  if (a > b) return 1;
  if (a < b) return 0;
  if ((a != a) != (b != b)) return a == a;
  return one < other;
}

int own_top_k(const float *output, int count, int32_t *classes) {
  if (!output || !classes) return TSN_ERROR_NULL;
  if (((uintptr_t)output | (uintptr_t)classes) % sizeof(float)) return TSN_ERROR_ALIGNMENT;
  if (!tsn_network.classes) return TSN_ERROR_CLASSES;
  int32_t found = 0;
  for (int32_t i = 0; i < tsn_network.classes && count > 0; ++i) {
    int32_t place = found;
    if (found < count) ++found;
    else if (is_before(output, i, classes[count - 1])) place = count - 1;
    else continue;
    for (; place > 0 && is_before(output, i, classes[place - 1]); --place) classes[place] = classes[place - 1];
    classes[place] = i;
  }
  return found;
}
