/* Puts a shared library into memory without a dynamic linker: a static program has none.
 *
 * The library needs no other; of this program it may have what `known` lists.  Its segments are copied into memory of
 * their own, relocated, and get the protection that the file asks for.  Nothing that the file says is believed: it has
 * come over a network, perhaps not whole.
 */
#include <elf.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server.h"

#if defined(__x86_64__)
enum { MACHINE = EM_X86_64, RELATIVE = R_X86_64_RELATIVE, ABSOLUTE = R_X86_64_64 };
enum { DATA = R_X86_64_GLOB_DAT, JUMP = R_X86_64_JUMP_SLOT };
#elif defined(__aarch64__)
enum { MACHINE = EM_AARCH64, RELATIVE = R_AARCH64_RELATIVE, ABSOLUTE = R_AARCH64_ABS64 };
enum { DATA = R_AARCH64_GLOB_DAT, JUMP = R_AARCH64_JUMP_SLOT };
#elif defined(__arm__)
enum { MACHINE = EM_ARM, RELATIVE = R_ARM_RELATIVE, ABSOLUTE = R_ARM_ABS32 };
enum { DATA = R_ARM_GLOB_DAT, JUMP = R_ARM_JUMP_SLOT };
#else
#error "loader.c knows the relocations of AArch64, 32-bit Arm and x86-64"
#endif

typedef uintptr_t Word;
enum { WORD_CLASS = sizeof(Word) == 8 ? ELFCLASS64 : ELFCLASS32, SYMBOL_SHIFT = sizeof(Word) == 8 ? 32 : 8 };
enum { SEGMENTS = 16 };
static const Word span_most = (Word)1 << (sizeof(Word) == 8 ? 32 : 30), align_most = 1 << 21;

struct Library {
  char *base; /* of address 0 of the file */
  Word start, end, code_start, code_end; /* addresses of the file; code: of its one executable segment */
  ElfW(Sym) *symbols;
  Word symbol_count;
  const char *texts;
  Word text_size;
};

static char why[256];

static int wrong(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(why, sizeof why, format, arguments);
  va_end(arguments);
  return 0;
}

static char last_raised[512];

const char *raised(void) {
  static char said[sizeof last_raised];
  memcpy(said, last_raised, sizeof said), last_raised[0] = 0;
  return said;
}

/* What TVM's code calls before it returns an error. */
static void raise_error(const char *kind, const char **parts, int32_t count) {
  size_t at = (size_t)snprintf(last_raised, sizeof last_raised, "%s: ", kind);
  for (int32_t i = 0; i < count && at < sizeof last_raised; ++i)
    at += (size_t)snprintf(last_raised + at, sizeof last_raised - at, "%s", parts[i]);
}

static const struct {
  const char *name;
  void (*function)(void);
} known[] = {
    {"TVMFFIErrorSetRaisedFromCStrParts", (void (*)(void))raise_error},
    {"signal", (void (*)(void))signal}, /* for crashes.c */
    {"_exit", (void (*)(void))_exit},
};

/* `size` bytes at an address of the file, as they are in memory; null where the library has not as many. */
static void *at(const Library *library, Word address, Word size) {
  int inside = address >= library->start && address <= library->end && size <= library->end - address;
  return inside ? library->base + address : 0;
}

static const char *name_of(const Library *library, const ElfW(Sym) *symbol) {
  const char *name = symbol->st_name < library->text_size ? library->texts + symbol->st_name : "";
  return memchr(name, 0, (size_t)(library->text_size - (Word)(name - library->texts))) ? name : "";
}

/* The address of a symbol; 0 where a weak one is missing.  `*missing` becomes the name of another. */
static Word resolve(const Library *library, Word number, const char **missing) {
  if (number >= library->symbol_count) {
    *missing = "a symbol that it does not name";
    return 0;
  }
  const ElfW(Sym) *symbol = &library->symbols[number];
  const char *name = name_of(library, symbol);
  if (symbol->st_shndx != SHN_UNDEF) return (Word)library->base + symbol->st_value;
  for (size_t i = 0; i < sizeof known / sizeof *known; ++i)
    if (!strcmp(name, known[i].name)) return (Word)known[i].function;
  if (symbol->st_info >> 4 != STB_WEAK) *missing = name;
  return 0;
}

static int relocate(const Library *library, Word table, Word size, int has_addends) {
  const Word each = has_addends ? sizeof(ElfW(Rela)) : sizeof(ElfW(Rel));
  const char *entries = at(library, table, size), *missing = 0;
  if (size && !entries) return wrong("its relocations lie outside it");
  for (Word offset = 0; size - offset >= each; offset += each) {
    ElfW(Rela) entry = {0}; /* of which the first two fields are a Rel */
    memcpy(&entry, entries + offset, each);
    Word kind = entry.r_info & (((Word)1 << SYMBOL_SHIFT) - 1), symbol = entry.r_info >> SYMBOL_SHIFT, value;
    void *place = at(library, entry.r_offset, sizeof value);
    if (!place) return wrong("a relocation changes what lies outside it");
    memcpy(&value, place, sizeof value);
    if (has_addends) value = (Word)entry.r_addend;
    if (kind == RELATIVE) value += (Word)library->base;
    else if (kind == ABSOLUTE) value += resolve(library, symbol, &missing);
    else if (kind == DATA || kind == JUMP) value = resolve(library, symbol, &missing) + (has_addends ? value : 0);
    else return wrong("a relocation of type %lu is not known here", (unsigned long)kind);
    if (missing) return wrong("it needs %s, which this server has not", missing);
    memcpy(place, &value, sizeof value);
  }
  return 1;
}

/* Its tables, out of the dynamic segment. */
static int link_it(Library *library, Word dynamic, Word size) {
  Word tags[DT_JMPREL + 1] = {0};
  const char *entries = at(library, dynamic, size);
  if (!entries) return wrong("it has no dynamic segment");
  for (Word offset = 0; size - offset >= sizeof(ElfW(Dyn)); offset += sizeof(ElfW(Dyn))) {
    ElfW(Dyn) entry;
    memcpy(&entry, entries + offset, sizeof entry);
    if (entry.d_tag == DT_NULL) break;
    if (entry.d_tag == DT_NEEDED) return wrong("it needs other libraries");
    if (entry.d_tag == DT_INIT || entry.d_tag == DT_INIT_ARRAY || entry.d_tag == 36 /* DT_RELR */)
      return wrong("it has code to start with, or packed relocations, which this server does not know");
    if (entry.d_tag > 0 && entry.d_tag <= DT_JMPREL) tags[entry.d_tag] = (Word)entry.d_un.d_val;
  }
  const uint32_t *hash = at(library, tags[DT_HASH], 2 * sizeof *hash); /* numbers of buckets, and of symbols */
  if (!tags[DT_HASH] || !hash || tags[DT_HASH] % sizeof *hash)
    return wrong("it has no table of symbols: link it with --hash-style=both");
  library->symbol_count = hash[1], library->text_size = tags[DT_STRSZ];
  library->texts = at(library, tags[DT_STRTAB], library->text_size);
  library->symbols = library->symbol_count <= span_most / sizeof(ElfW(Sym)) && tags[DT_SYMTAB] % sizeof(Word) == 0
                         ? at(library, tags[DT_SYMTAB], library->symbol_count * sizeof(ElfW(Sym))) : 0;
  if (!library->texts || !library->symbols) return wrong("its symbols lie outside it");
  return relocate(library, tags[DT_RELA], tags[DT_RELASZ], 1) &&
         relocate(library, tags[DT_REL], tags[DT_RELSZ], 0) &&
         relocate(library, tags[DT_JMPREL], tags[DT_PLTRELSZ], tags[DT_PLTREL] == DT_RELA);
}

/* Memory for the segments, and their contents; they are in the order of their addresses, as ELF has it. */
static int place_segments(Library *library, const ElfW(Phdr) *segments, int count, const char *file, size_t size) {
  Word page = (Word)sysconf(_SC_PAGESIZE), alignment = page, last = 0;
  library->start = (Word)-1;
  for (int i = 0; i < count; ++i) {
    const ElfW(Phdr) *segment = &segments[i];
    if (segment->p_type == PT_TLS) return wrong("it has variables of threads");
    if (segment->p_type != PT_LOAD || !segment->p_memsz) continue;
    if (segment->p_offset > size || segment->p_filesz > size - segment->p_offset ||
        segment->p_filesz > segment->p_memsz || segment->p_vaddr > span_most || segment->p_memsz > span_most)
      return wrong("it is damaged, or ends early");
    if (segment->p_vaddr < last) return wrong("two segments share a page of %lu bytes", (unsigned long)page);
    last = (segment->p_vaddr + segment->p_memsz + page - 1) / page * page;
    if (library->start == (Word)-1) library->start = segment->p_vaddr / page * page;
    if (segment->p_align > alignment) alignment = segment->p_align;
    if (segment->p_flags & PF_X)
      library->code_start = segment->p_vaddr, library->code_end = segment->p_vaddr + segment->p_memsz;
  }
  library->end = last;
  if (!last || alignment > align_most || alignment & (alignment - 1)) return wrong("it has no segments");
  char *memory = mmap(0, last - library->start + alignment, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return wrong("there is no memory for its %lu bytes", (unsigned long)last);
  library->base = (char *)(((Word)memory - library->start + alignment - 1) & ~(alignment - 1));
  madvise(memory, last - library->start + alignment, MADV_NOHUGEPAGE); /* as pages of a file are: times stay the same */
  for (int i = 0; i < count; ++i)
    if (segments[i].p_type == PT_LOAD)
      memcpy(library->base + segments[i].p_vaddr, file + segments[i].p_offset, segments[i].p_filesz);
  return 1;
}

static int protect(const Library *library, const ElfW(Phdr) *segments, int count) {
  Word page = (Word)sysconf(_SC_PAGESIZE);
  for (int i = 0; i < count; ++i) {
    if (segments[i].p_type != PT_LOAD || !segments[i].p_memsz) continue;
    Word from = segments[i].p_vaddr / page * page, flags = segments[i].p_flags;
    int protection = (flags & PF_R ? PROT_READ : 0) | (flags & PF_W ? PROT_WRITE : 0) | (flags & PF_X ? PROT_EXEC : 0);
    __builtin___clear_cache(library->base + from, library->base + segments[i].p_vaddr + segments[i].p_memsz);
    if (mprotect(library->base + from, segments[i].p_vaddr + segments[i].p_memsz - from, protection))
      return wrong("the system allows no new code in a program (SELinux: execmem)");
  }
  return 1;
}

Library *load_library(const void *file, size_t size, const char **reason) {
  ElfW(Ehdr) header;
  ElfW(Phdr) segments[SEGMENTS];
  *reason = why;
  wrong("it is not a shared library of ELF");
  if (size < sizeof header) return 0;
  memcpy(&header, file, sizeof header);
  if (memcmp(header.e_ident, ELFMAG, SELFMAG) || header.e_type != ET_DYN) return 0;
  wrong("it is for another architecture than this server");
  if (header.e_ident[EI_CLASS] != WORD_CLASS || header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_machine != MACHINE)
    return 0;
  wrong("it is damaged, or ends early");
  if (header.e_phentsize != sizeof *segments || header.e_phnum > SEGMENTS || header.e_phoff > size ||
      header.e_phnum * sizeof *segments > size - header.e_phoff)
    return 0;
  memcpy(segments, (const char *)file + header.e_phoff, header.e_phnum * sizeof *segments);
  Library *library = calloc(1, sizeof *library);
  if (!library || !place_segments(library, segments, header.e_phnum, file, size)) {
    free(library);
    return 0;
  }
  wrong("it has no dynamic segment");
  for (int i = 0; i < header.e_phnum; ++i)
    if (segments[i].p_type == PT_DYNAMIC && link_it(library, segments[i].p_vaddr, segments[i].p_memsz) &&
        protect(library, segments, header.e_phnum))
      return library;
  return 0; /* its memory stays: a session that loads such files ends soon */
}

Function *library_function(const Library *library, const char *name, size_t length) {
  static const char prefix[] = "__tvm_ffi_";
  for (Word i = 1; i < library->symbol_count; ++i) {
    const ElfW(Sym) *symbol = &library->symbols[i];
    const char *own = name_of(library, symbol);
    if (symbol->st_shndx == SHN_UNDEF || strncmp(own, prefix, strlen(prefix))) continue;
    own += strlen(prefix);
    Word address = symbol->st_value & ~(Word)(MACHINE == EM_ARM); /* bit 0: Thumb */
    if (strlen(own) == length && !memcmp(own, name, length) && address >= library->code_start &&
        address < library->code_end)
      return (Function *)(Word)(library->base + symbol->st_value);
  }
  return 0;
}
