/* The fast way to a smaller picture, as it lies in memory: LANES rows of the crop at a time.
 *
 * 1. Rows: a strip of STRIP pixels gets its colours, and is added to the two rows of the crop that it is part of.
 * 2. The LANES rows that are done are transposed, 8 x 8 numbers at a time: a vector has a pixel of each row.
 * 3. Columns, in the same way as rows.
 * 4. Each pixel is rounded, normalised and put where the rotation wants it.
 *
 * A pixel is part of two windows at most where the picture gets smaller, since windows are twice as wide as their
 * distance.  Numbers have 8 bits behind the point.  A product of two 16-bit numbers loses half a unit on the average:
 * sums begin with half a unit for each product.
 *
 * Vectors of a strip hold every other pixel, since a word of memory has an even pixel below and an odd one above.
 */

/* Pairs of lines that one of the crop's needs for the first time: a whole window of them at most. */
enum { MOST_PAIRS = (2 * LARGEST_SCALE + 1) / 2 + 2 };

typedef uint64_t Pairs __attribute__((vector_size(4 * STRIP))); /* of pixels with four bytes */
typedef uint64_t AnyPairs __attribute__((vector_size(4 * STRIP), UNALIGNED));

/* What a line of the picture is part of: crop line `to` by `own` / 65536, and the next by `next` / 65536. */
typedef struct {
  int32_t to;
  uint16_t own, next;
} Line;

typedef struct {
  Line *lines;         /* of the picture */
  uint16_t *begin_sum; /* of each line of the crop, and two more */
  int32_t begin, end;  /* of the lines that are part of something */
  int32_t count;       /* lines of the crop */
} Lines;

static uint64_t lines_bytes(const Axis *axis) {
  uint64_t bytes = (uint32_t)axis->pixels * sizeof(Line) + ((uint32_t)axis->count + 2) * sizeof(uint16_t);
  return ROUND_UP(bytes);
}

/* Of an axis as it lies in memory: `reversed` where the upright picture begins at its end. */
static Lines lines_at(void *memory, const Axis *axis, int reversed) {
  Lines found = {memory, (uint16_t *)((Line *)memory + axis->pixels), axis->pixels, 0, axis->count};
  for (int32_t i = 0; i < axis->pixels; ++i) found.lines[i] = (Line){-1, 0, 0};
  for (int32_t i = 0; i < axis->count; ++i) {
    Window window = window_of(axis, reversed ? axis->count - 1 - i : i);
    int32_t products = 0;
    double unit = 65536 / window.total; /* of a window that is never empty, as pictures get smaller here */
    for (int32_t k = 0; k < window.count; ++k) {
      int32_t weight = (int32_t)(weight_at(axis, &window, window.first + k) * unit + 0.5);
      int32_t pixel = reversed ? axis->pixels - 1 - (window.first + k) : window.first + k;
      Line *line = &found.lines[pixel];
      if (weight > 65535) weight = 65535;
      if (!weight) continue;
      ++products;
      if (line->to < 0) line->to = i, line->own = (uint16_t)weight;
      else if (line->to == i - 1) line->next = (uint16_t)weight;
      if (pixel < found.begin) found.begin = pixel;
      if (pixel >= found.end) found.end = pixel + 1;
    }
    found.begin_sum[i] = (uint16_t)(products / 2);
  }
  found.begin_sum[axis->count] = found.begin_sum[axis->count + 1] = 0;
  return found;
}

ALWAYS Vector high(Vector a, Vector b) {
  return __builtin_convertvector((__builtin_convertvector(a, Wide) * __builtin_convertvector(b, Wide)) >> 16, Vector);
}
ALWAYS Signed high_signed(Signed a, Signed b) {
  SignedWide product = __builtin_convertvector(a, SignedWide) * __builtin_convertvector(b, SignedWide);
  return __builtin_convertvector(product >> 16, Signed);
}
ALWAYS Vector all(uint16_t value) { return (Vector){0} + value; }
ALWAYS Signed all_signed(int16_t value) { return (Signed){0} + value; }
ALWAYS Vector load(const void *from) { return *(const AnyVector *)from; }
ALWAYS void store(void *to, Vector value) { *(AnyVector *)to = value; }

/* The lower byte of each word, or the upper one, with 8 bits behind the point.  What a compiler concludes from the zeros
 * behind it takes it away from the one instruction that multiplies.
 */
#ifdef __x86_64__
#define FORGET(vector) __asm__("" : "+x"(vector))
#else
#define FORGET(vector) __asm__("" : "+w"(vector))
#endif
ALWAYS Vector every_other(Vector words, int odd) {
  Vector found = odd ? words & 0xff00 : words << 8;
  FORGET(found);
  return found;
}

/* The units of a colour, 5 bits behind the point, as 0 to 255 with 8 bits behind it. */
ALWAYS Vector colour(Signed value) {
  const Signed none = all_signed(0), most = all_signed(255 << COLOUR_BITS);
  value &= value > none;
  value = (value & (value < most)) | (most & (value >= most));
  return (Vector)(value >> COLOUR_BITS) << 8;
}

/* So many bytes of a row: where they lie if a `whole` strip is left there, else copied from what is left. */
ALWAYS const uint8_t *strip_at(const uint8_t *row, int whole, int32_t left, int32_t needed, uint8_t *copy) {
  if (whole) return row;
  for (int32_t i = 0; i < needed; ++i) copy[i] = i < left ? row[i] : 0;
  return copy;
}

/* What chroma adds to red, green and blue, of a strip from pixel `x` on and the pairs of lines of `begin` to `end`. */
ALWAYS void chroma_of(const Source *source, int32_t format, int whole, int32_t x, int32_t begin, int32_t end,
                      Signed (*parts)[3]) {
  const Matrix *m = &source->matrix;
  uint8_t copy[STRIP];
  for (int32_t line = begin >> 1; line <= (end - 1) >> 1; ++line, ++parts) {
    const uint8_t *pairs = source->chroma + (size_t)line * source->chroma_stride + x;
    Vector both = load(strip_at(pairs, whole, (source->width - x + 1) & ~1, STRIP, copy));
    Signed u = (Signed)(every_other(both, format == TSN_NV21) ^ 0x8000);
    Signed v = (Signed)(every_other(both, format == TSN_NV12) ^ 0x8000);
    Signed green = high_signed(u, all_signed(m->green_u)) + high_signed(v, all_signed(m->green_v));
    (*parts)[0] = high_signed(v, all_signed(m->red_v)) + m->round;
    (*parts)[1] = green + m->round;
    (*parts)[2] = high_signed(u, all_signed(m->blue_u)) + m->round;
  }
}

/* Every other pixel of a strip: pixels x to x + STRIP of line y, x even, those that are `odd` or the others; red, green
 * and blue.  `format`, `whole` and `odd` are constants where this is called; `parts` are of the line's chroma.
 */
ALWAYS void half_strip(const Source *source, int32_t format, int whole, int odd, int32_t x, int32_t y,
                       const Signed parts[3], Vector colours[3]) {
  const uint8_t *row = source->pixels + (size_t)y * source->stride;
  const int32_t size = bytes_per_pixel(format), left = source->width - x;
  uint8_t copy[4 * STRIP], apart[3][STRIP];
  row = strip_at(row + (size_t)x * (size_t)size, whole, left * size, STRIP * size, copy);
  if (size == 4) {
    Pairs pairs = *(const AnyPairs *)row;
    for (int plane = 0; plane < 3; ++plane) {
      int place = blue_first(format) ? 2 - plane : plane;
      colours[plane] = __builtin_convertvector(pairs >> (8 * place + 32 * odd) & 0xff, Vector) << 8;
    }
  } else if (size == 3) {
    for (int32_t i = 0; i < STRIP; ++i) {
      apart[0][i] = row[i * size + (blue_first(format) ? 2 : 0)];
      apart[1][i] = row[i * size + 1];
      apart[2][i] = row[i * size + (blue_first(format) ? 0 : 2)];
    }
    for (int plane = 0; plane < 3; ++plane) colours[plane] = every_other(load(apart[plane]), odd);
  } else if (!is_yuv(format)) {
    colours[0] = colours[1] = colours[2] = every_other(load(row), odd);
  } else {
    /* Half the luma by twice the factor: both have a sign, as vectors of x86 multiply them best. */
    Vector words = load(row);
    Signed luma = (Signed)((odd ? words >> 1 : words << 7) & 0x7f80);
    luma = high_signed(luma, all_signed((int16_t)(2 * source->matrix.luma)));
    for (int plane = 0; plane < 3; ++plane) colours[plane] = colour(luma + parts[plane]);
  }
}

/* ---------------------------------------------------------------------------------------- transposing */

typedef uint16_t Eight __attribute__((vector_size(16)));
typedef uint16_t AnyEight __attribute__((vector_size(16), UNALIGNED));

#if defined(__clang__) || __GNUC__ >= 12
#define LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#define LOW(a, b) __builtin_shuffle(a, b, (Eight){0, 8, 1, 9, 2, 10, 3, 11})
#define HIGH(a, b) __builtin_shuffle(a, b, (Eight){4, 12, 5, 13, 6, 14, 7, 15})
#endif

/* 8 x 8 numbers; rows are so many numbers apart. */
ALWAYS void transpose(const uint16_t *from, size_t from_row, uint16_t *to, size_t to_row) {
  Eight a[8], b[8];
  for (size_t i = 0; i < 8; ++i) a[i] = *(const AnyEight *)(from + i * from_row);
  /* Three times, each number moves up by one bit of its place among 64: rows 0 and 4, 1 and 5, ... are woven. */
  for (int i = 0; i < 4; ++i) b[2 * i] = LOW(a[i], a[i + 4]), b[2 * i + 1] = HIGH(a[i], a[i + 4]);
  for (int i = 0; i < 4; ++i) a[2 * i] = LOW(b[i], b[i + 4]), a[2 * i + 1] = HIGH(b[i], b[i + 4]);
  for (int i = 0; i < 4; ++i) b[2 * i] = LOW(a[i], a[i + 4]), b[2 * i + 1] = HIGH(a[i], a[i + 4]);
  for (size_t i = 0; i < 8; ++i) *(AnyEight *)(to + i * to_row) = b[i];
}

/* -------------------------------------------------------------------------------------------- passes */

/* What lies in the workspace: `rows` that are done, [LANES][3][strips][2][LANES]; `part` of the next; and `columns`
 * that are done, [3][count][LANES].
 */
typedef struct {
  uint16_t *rows, *part, *columns;
  int32_t left, strips;
} Block;

/* Of a strip, every other pixel of lines `begin` to `end` is added to line `to` of the crop and to the next. */
ALWAYS void add_half(const Source *source, int32_t format, int whole, int odd, const Lines *down, const Block *block,
                     int32_t strip, int32_t to, int32_t begin, int32_t end, Signed (*parts)[3]) {
  size_t plane_step = (size_t)block->strips * STRIP, at = (size_t)strip * STRIP + (size_t)odd * LANES;
  uint16_t *done = block->rows + (size_t)(to % LANES) * 3 * plane_step + at, *part = block->part + at;
  Vector sum[3], next[3], pixels[3];
  for (size_t plane = 0; plane < 3; ++plane) {
    sum[plane] = load(part + plane * plane_step);
    next[plane] = all(down->begin_sum[to + 1]);
  }
  for (int32_t y = begin; y < end; ++y) {
    half_strip(source, format, whole, odd, block->left + strip * STRIP, y, parts[(y >> 1) - (begin >> 1)], pixels);
    Vector own = all(down->lines[y].own), other = all(down->lines[y].next);
    for (int plane = 0; plane < 3; ++plane) {
      sum[plane] += high(pixels[plane], own);
      next[plane] += high(pixels[plane], other);
    }
  }
  for (size_t plane = 0; plane < 3; ++plane) {
    store(done + plane * plane_step, sum[plane]);
    store(part + plane * plane_step, next[plane]);
  }
}

ALWAYS void add_strip(const Source *source, int32_t format, int whole, const Lines *down, const Block *block,
                      int32_t strip, int32_t to, int32_t begin, int32_t end) {
  Signed parts[MOST_PAIRS][3];
  if (is_yuv(format) && begin < end)
    chroma_of(source, format, whole, block->left + strip * STRIP, begin, end, parts);
  add_half(source, format, whole, 0, down, block, strip, to, begin, end, parts);
  add_half(source, format, whole, 1, down, block, strip, to, begin, end, parts);
}

ALWAYS void add_lines(const Source *source, int32_t format, const Lines *down, const Block *block, int32_t to,
                      int32_t begin, int32_t end) {
  int32_t whole = (source->width - block->left) / STRIP;
  if (whole > block->strips) whole = block->strips;
  for (int32_t strip = 0; strip < whole; ++strip) add_strip(source, format, 1, down, block, strip, to, begin, end);
  for (int32_t strip = whole; strip < block->strips; ++strip)
    add_strip(source, format, 0, down, block, strip, to, begin, end);
}

/* Line `to` of the crop, and the part of the next that is known by then; `*line` is the first that is not used yet. */
static void add_rows(const Source *source, const Lines *down, const Block *block, int32_t to, int32_t *line) {
  int32_t begin = *line, end = begin;
  while (end < down->end && down->lines[end].to == to) ++end;
  *line = end;
#define OF_FORMAT(format) \
  case format: add_lines(source, format, down, block, to, begin, end); break;
  switch (source->format) {
    OF_FORMAT(TSN_RGB)
    OF_FORMAT(TSN_BGR)
    OF_FORMAT(TSN_RGBA)
    OF_FORMAT(TSN_BGRA)
    OF_FORMAT(TSN_NV12)
    OF_FORMAT(TSN_NV21)
    OF_FORMAT(TSN_GREY)
  }
#undef OF_FORMAT
}

/* The column `to` of the crop is done: 0 to 255.  Its place among the sums goes to the next. */
ALWAYS void finish_column(const Lines *across, const Block *block, int32_t to, Vector sum[3], Vector next[3]) {
  for (int plane = 0; plane < 3; ++plane) {
    size_t column = (size_t)plane * (size_t)across->count + (size_t)to;
    store(block->columns + column * LANES, (sum[plane] + 128) >> 8);
    sum[plane] = next[plane], next[plane] = all(across->begin_sum[to + 2]);
  }
}

/* All columns of the crop, of the rows that are done. */
static void add_columns(const Lines *across, const Block *block) {
  uint16_t turned[STRIP][3][LANES] __attribute__((aligned(STRIP)));
  size_t plane_step = (size_t)block->strips * STRIP, row_step = 3 * plane_step;
  Vector sum[3], next[3];
  for (int plane = 0; plane < 3; ++plane)
    sum[plane] = all(across->begin_sum[0]), next[plane] = all(across->begin_sum[1]);
  int32_t to = 0;
  for (int32_t strip = 0; strip < block->strips; ++strip) {
    const uint16_t *from = block->rows + (size_t)strip * STRIP;
    for (size_t plane = 0; plane < 3; ++plane)
      for (size_t odd = 0; odd < 2; ++odd)
        for (size_t column = 0; column < LANES; column += 8)
          for (size_t row = 0; row < LANES; row += 8)
            transpose(from + row * row_step + plane * plane_step + odd * LANES + column, row_step,
                      &turned[2 * column + odd][plane][row], 2 * 3 * LANES);
    int32_t x = block->left + strip * STRIP, end = across->end - x < STRIP ? across->end - x : STRIP;
    for (int32_t i = across->begin > x ? across->begin - x : 0; i < end; ++i) {
      Line line = across->lines[x + i];
      for (; to < line.to; ++to) finish_column(across, block, to, sum, next);
      Vector own = all(line.own), other = all(line.next);
      for (int plane = 0; plane < 3; ++plane) {
        Vector pixels = load(turned[i][plane]);
        sum[plane] += high(pixels, own), next[plane] += high(pixels, other);
      }
    }
  }
  for (; to < across->count; ++to) finish_column(across, block, to, sum, next);
}

/* Puts the columns, of `rows` rows from row `first` on, into the input; steps are of the network's array. */
static void put(const Block *block, int32_t columns, int32_t first, int32_t rows, int32_t height, int32_t rotation,
                float *input) {
  ptrdiff_t right = step_right(), down = step_down();
  ptrdiff_t by_column = rotation == 0 ? right : rotation == 90 ? down : rotation == 180 ? -right : -down;
  ptrdiff_t by_row = rotation == 0 ? down : rotation == 90 ? -right : rotation == 180 ? -down : right;
  for (int plane = 0; plane < 3; ++plane) {
    const uint16_t *from = block->columns + (size_t)plane * (size_t)columns * LANES;
    float *to = plane_of(input, plane) + first * by_row;
    if (by_column < 0) to -= by_column * (columns - 1);
    if (by_row < 0) to -= by_row * (height - 1);
    if (rotation == 90 || rotation == 270) { /* rows are side by side there, too */
      for (int32_t x = 0; x < columns; ++x) normalise(from + (size_t)x * LANES, rows, plane, to + x * by_column, by_row);
      continue;
    }
    uint16_t turned[LANES][8] __attribute__((aligned(16)));
    for (int32_t x = 0; x < columns; x += 8) {
      int32_t count = columns - x < 8 ? columns - x : 8;
      for (size_t row = 0; row < LANES; row += 8) transpose(from + (size_t)x * LANES + row, LANES, turned[row], 8);
      for (int32_t row = 0; row < rows; ++row)
        normalise(turned[row], count, plane, to + x * by_column + row * by_row, by_column);
    }
  }
}

static uint64_t block_bytes(int32_t strips, int32_t columns) {
  uint64_t row = (uint64_t)3 * (uint32_t)strips * STRIP * sizeof(uint16_t);
  /* Eight columns more: they are transposed eight at a time. */
  return row * (LANES + 1) + (uint64_t)(3 * (uint32_t)columns + 8) * LANES * sizeof(uint16_t);
}

/* Strips of the widest that a crop may need of so many pixels. */
static int32_t strips_of(int32_t pixels) { return (pixels + 1 + STRIP - 1) / STRIP + 1; }

static uint64_t scratch_to_reduce(const Source *source, const Axis axes[2]) {
  int turned = source->rotation == 90 || source->rotation == 270;
  return lines_bytes(&axes[0]) + lines_bytes(&axes[1]) + block_bytes(strips_of(source->width), axes[!turned].count);
}

static void reduce(const Source *source, const Axis axes[2], float *input, void *workspace) {
  int32_t rotation = source->rotation;
  int turned = rotation == 90 || rotation == 270;
  const Axis *vertical = &axes[turned], *horizontal = &axes[!turned]; /* as the picture lies in memory */
  char *memory = workspace;
  Lines down = lines_at(memory, vertical, rotation == 90 || rotation == 180);
  memory += lines_bytes(vertical);
  Lines across = lines_at(memory, horizontal, rotation == 180 || rotation == 270);
  memory += lines_bytes(horizontal);

  Block block = {.left = across.begin & ~1};
  block.strips = (across.end - block.left + STRIP - 1) / STRIP;
  size_t row = (size_t)3 * (size_t)block.strips * STRIP;
  block.rows = (uint16_t *)memory, block.part = block.rows + LANES * row, block.columns = block.part + row;
  for (size_t i = 0; i < row; ++i) block.part[i] = down.begin_sum[0];
  int32_t line = down.begin;
  for (int32_t to = 0; to < down.count; ++to) {
    add_rows(source, &down, &block, to, &line);
    if (to % LANES != LANES - 1 && to != down.count - 1) continue;
    add_columns(&across, &block);
    put(&block, across.count, to - to % LANES, to % LANES + 1, down.count, rotation, input);
  }
}
