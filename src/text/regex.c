/* regex: see regex.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/regex.h"

#include <assert.h>
#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "text/regex_newer.h"
#include "text/scanner.h"

enum { PATTERN_MAX = 64 << 10, MATCH_LIMIT = 10000000, DEPTH_LIMIT = 1000000, HEAP_LIMIT_KIB = 64 << 10 };

enum regex_kind { REGEX_LITERAL, REGEX_SCANNER, REGEX_PCRE2 };

struct regex {
  enum regex_kind kind;
  char *source; /* the pattern, or the literal text; owned */
  size_t source_len;
  size_t (*scan)(struct slice s);
  pcre2_code *code;            /* owned */
  pcre2_code *code_newer;      /* owned; with the characters that PCRE2 may not know, for texts that have some; NULL: the same */
  pcre2_match_context *limits; /* owned; never changed after the pattern was compiled */
};

const char *const regex_gpt2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const char *const regex_llama3 =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* ---- from Oniguruma's syntax to PCRE2's ---- */

/* Oniguruma's \w has marks. Outside of brackets, and for \b, it also has the numbers of Latin-1 that are no digits. */
#define WORD_NEWER "\1" /* stands for the newer ones */
#define WORD_INSIDE "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}" WORD_NEWER
#define WORD WORD_INSIDE "\\xB2\\xB3\\xB9\\xBC-\\xBE"

/* What an escape is called in PCRE2, outside brackets and inside; NULL: the same there. The classes are Unicode's in Oniguruma,
 * and `\h` is a hexadecimal digit. */
static const struct escape {
  char letter;
  const char *outside, *inside;
} escapes[] = {
    {'s', "\\p{White_Space}", "\\p{White_Space}"},
    {'S', "\\P{White_Space}", "\\P{White_Space}"},
    {'h', "[0-9a-fA-F]", "0-9a-fA-F"},
    {'H', "[^0-9a-fA-F]", NULL},
    {'w', "[" WORD "]", WORD_INSIDE},
    {'W', "[^" WORD "]", NULL},
    {'b', "(?:(?<=[" WORD "])(?![" WORD "])|(?<![" WORD "])(?=[" WORD "]))", "\\x08"},
    {'B', "(?:(?<=[" WORD "])(?=[" WORD "])|(?<![" WORD "])(?![" WORD "]))", NULL},
};

/* ---- characters newer than PCRE2's Unicode ---- */

enum { N_NEWER = sizeof newer / sizeof newer[0] };

/* A pattern on its way to PCRE2. */
struct translation {
  struct buf *out;
  bool with_newer;
  bool differs; /* the newer characters make a difference to the pattern */
};

static bool newer_is_word(const struct newer *n) {
  return n->alphabetic || n->category[0] == 'M' || strcmp(n->category, "Nd") == 0 || strcmp(n->category, "Pc") == 0;
}

/* name: a general category of one or two letters, Alphabetic, Han; of others (they are rare) the newer characters stay unknown. */
static bool newer_has(const struct newer *n, struct slice name) {
  if (slice_eq(name, SLICE("Alphabetic")) || slice_eq(name, SLICE("Alpha"))) return n->alphabetic;
  if (slice_eq(name, SLICE("Han"))) return n->han;
  return name.len >= 1 && name.len <= 2 && memcmp(n->category, name.data, name.len) == 0;
}

/* The newer characters of a property, or those of \w, as ranges of a class. */
static void add_newer(struct translation *t, bool word, struct slice name) {
  for (size_t i = 0; i < N_NEWER; i++) {
    if (!(word ? newer_is_word(&newer[i]) : newer_has(&newer[i], name))) continue;
    t->differs = true;
    if (t->with_newer) buf_printf(t->out, "\\x{%X}-\\x{%X}", (unsigned)newer[i].first, (unsigned)newer[i].last);
  }
}

/* Whether the text has one. They all take three bytes or more. */
static bool has_newer(struct slice text) {
  for (size_t i = 0; i < text.len; i++) {
    if ((unsigned char)text.data[i] < 0xE0) continue;
    uint32_t c;
    utf8_get(slice_from(text, i), &c);
    size_t low = 0, high = N_NEWER;
    while (low < high) {
      size_t middle = (low + high) / 2;
      if (newer[middle].last < c) low = middle + 1;
      else high = middle;
    }
    if (low < N_NEWER && newer[low].first <= c) return true;
  }
  return false;
}

/* \p{Name}, \P{Name} and \p{^Name}. [\P{Name}] keeps the newer characters that have the property: a class cannot take some out. */
static void translate_property(struct slice *p, bool in_class, struct translation *t) {
  const char *close = p->len > 2 && p->data[2] == '{' ? memchr(p->data, '}', p->len) : NULL;
  size_t len = close ? (size_t)(close - p->data) + 1 : 2;
  struct slice whole = slice_make(p->data, len), name = close ? slice_make(p->data + 3, len - 4) : SLICE("");
  bool negative = p->data[1] == 'P';
  if (name.len && name.data[0] == '^') negative = !negative, name = slice_from(name, 1);
  *p = slice_from(*p, len);
  struct buf plain = {0};
  if (slice_eq(name, SLICE("Han")))
    buf_add_cstr(&plain, negative ? "\\P{sc:Han}" : "\\p{sc:Han}"); /* the script itself, not its extensions */
  else buf_add_slice(&plain, whole);
  struct translation asked = {.out = t->out};
  add_newer(&asked, false, name);
  if (asked.differs && t->with_newer && !(in_class && negative)) {
    if (!in_class) buf_add_cstr(t->out, negative ? "[^" : "[");
    buf_printf(t->out, "\\p{%s%.*s}", slice_eq(name, SLICE("Han")) ? "sc:" : "", SLICE_ARG(name));
    add_newer(t, false, name);
    if (!in_class) buf_add_byte(t->out, ']');
  } else {
    buf_add_slice(t->out, buf_view(&plain));
  }
  t->differs |= asked.differs;
  buf_free(&plain);
}

/* ---- the translation ---- */

/* What an escape is called, with the newer characters in their place. */
static void add_name(struct translation *t, const char *text) {
  for (; *text; text++)
    if (*text == WORD_NEWER[0]) add_newer(t, true, SLICE(""));
    else buf_add_byte(t->out, (unsigned char)*text);
}

static int translate_escape(struct slice *p, bool in_class, struct translation *t, struct error *err) {
  for (size_t i = 0; i < sizeof escapes / sizeof escapes[0]; i++) {
    if (p->data[1] != escapes[i].letter) continue;
    const char *text = in_class ? escapes[i].inside : escapes[i].outside;
    if (!text)
      return error_set(err, ERROR_UNSUPPORTED, "A pattern of the tokenizer has \\%c inside brackets, which is not supported.", p->data[1]);
    add_name(t, text);
    *p = slice_from(*p, 2);
    return 0;
  }
  if (p->data[1] == 'p' || p->data[1] == 'P') {
    translate_property(p, in_class, t);
    return 0;
  }
  if (p->data[1] == 'd' || p->data[1] == 'D') {
    struct slice property = p->data[1] == 'd' ? SLICE("\\p{Nd}") : SLICE("\\P{Nd}");
    translate_property(&property, in_class, t);
    *p = slice_from(*p, 2);
    return 0;
  }
  buf_add(t->out, p->data, 2);
  *p = slice_from(*p, 2);
  return 0;
}

static int translate(struct slice pattern, struct translation *t, struct error *err) {
  bool in_class = false;
  for (struct slice p = pattern; p.len;) {
    char c = p.data[0];
    if (c == '\\' && p.len > 1) {
      if (translate_escape(&p, in_class, t, err) < 0) return -1;
      continue;
    }
    bool posix = slice_starts(p, SLICE("[:"));
    if (in_class && ((c == '[' && !posix) || slice_starts(p, SLICE("&&"))))
      return error_set(err, ERROR_UNSUPPORTED, "The pattern '%.*s' combines character classes, which is not supported.",
                       SLICE_ARG(pattern));
    size_t n = 1;
    if (in_class && posix) {
      while (n < p.len && p.data[n] != ']') n++;
      if (n < p.len) n++;
    } else if (!in_class && c == '[') {
      in_class = true;
      if (n < p.len && p.data[n] == '^') n++;
      if (n < p.len && p.data[n] == ']') n++;
    } else if (in_class && c == ']') {
      in_class = false;
    }
    buf_add(t->out, p.data, n);
    p = slice_from(p, n);
  }
  return 0;
}

static struct regex *create(enum regex_kind kind, struct slice source) {
  struct regex *r = mem_zalloc(1, sizeof *r);
  r->kind = kind;
  r->source = mem_dup(source.data, source.len);
  r->source_len = source.len;
  return r;
}

/* What PCRE2 makes of a translated pattern; NULL with its code of the fault. */
static pcre2_code *compile(const struct buf *text, int *ret_fault) {
  PCRE2_SIZE at;
  pcre2_code *code =
      pcre2_compile((PCRE2_SPTR)(text->data ? text->data : ""), text->len,
                    PCRE2_UTF | PCRE2_UCP | PCRE2_USE_OFFSET_LIMIT | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, ret_fault, &at, NULL);
  if (code) pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* where the system forbids it, matching is slower but the same */
  return code;
}

/* The pattern with the newer characters written out. NULL where that is too much for PCRE2: then they stay unknown. */
static pcre2_code *compile_newer(struct slice pattern) {
  struct buf text = {0};
  int fault;
  struct translation t = {.out = &text, .with_newer = true};
  pcre2_code *code = translate(pattern, &t, NULL) < 0 ? NULL : compile(&text, &fault);
  buf_free(&text);
  return code;
}

struct regex *regex_compile_pcre2(struct slice pattern, struct error *err) {
  if (pattern.len > PATTERN_MAX) {
    error_set(err, ERROR_TOO_LARGE, "A pattern of the tokenizer is longer than %d bytes.", PATTERN_MAX);
    return NULL;
  }
  struct buf text = {0};
  struct translation t = {.out = &text};
  if (translate(pattern, &t, err) < 0) {
    buf_free(&text);
    return NULL;
  }
  int code;
  pcre2_code *compiled = compile(&text, &code);
  buf_free(&text);
  if (!compiled) {
    PCRE2_UCHAR why[128];
    pcre2_get_error_message(code, why, sizeof why);
    error_set(err, ERROR_UNSUPPORTED, "The pattern '%.*s' cannot be used: %s.", SLICE_ARG(pattern), (const char *)why);
    return NULL;
  }
  struct regex *r = create(REGEX_PCRE2, pattern);
  r->code = compiled;
  if (t.differs) r->code_newer = compile_newer(pattern);
  r->limits = pcre2_match_context_create(NULL);
  if (!r->limits) mem_alloc(SIZE_MAX); /* says so and aborts */
  pcre2_set_match_limit(r->limits, MATCH_LIMIT);
  pcre2_set_depth_limit(r->limits, DEPTH_LIMIT);
  pcre2_set_heap_limit(r->limits, HEAP_LIMIT_KIB);
  return r;
}

struct regex *regex_compile(struct slice pattern, struct error *err) {
  size_t (*scan)(struct slice) = NULL;
  if (slice_eq(pattern, slice_cstr(regex_gpt2))) scan = scanner_gpt2;
  if (slice_eq(pattern, slice_cstr(regex_llama3))) scan = scanner_llama3;
  if (!scan) return regex_compile_pcre2(pattern, err);
  struct regex *r = create(REGEX_SCANNER, pattern);
  r->scan = scan;
  return r;
}

struct regex *regex_literal(struct slice text) { return create(REGEX_LITERAL, text); }

bool regex_source(const struct regex *r, struct slice *ret) {
  *ret = slice_make(r->source, r->source_len);
  return r->kind == REGEX_LITERAL;
}

void regex_free(struct regex *r) {
  if (!r) return;
  free(r->source);
  pcre2_code_free(r->code);
  pcre2_code_free(r->code_newer);
  pcre2_match_context_free(r->limits);
  free(r);
}

/* ---- matching ---- */

enum { BUDGET_NS = 500000000, BUDGET_NS_PER_BYTE = 5000, LOOK_NS = 1000000, PLACES_MAX = 2048 };

struct regex_budget regex_budget(size_t text_bytes) {
  return (struct regex_budget){.end_ns = clock_thread_ns() + BUDGET_NS + (uint64_t)text_bytes * BUDGET_NS_PER_BYTE};
}

/* Asking for the processor time is slow, so it is done only when time has passed. */
static bool spent(struct regex_budget *b) {
  uint64_t now_ns = b ? clock_ns() : 0;
  if (!b || now_ns - b->looked_ns < LOOK_NS) return false;
  b->looked_ns = now_ns;
  return clock_thread_ns() > b->end_ns;
}

void regex_begin(struct regex_walk *w, const struct regex *r, struct slice text, struct regex_budget *budget) {
  *w = (struct regex_walk){.regex = r, .budget = budget, .text = text, .empty_end = SIZE_MAX};
  if (r->kind == REGEX_PCRE2) {
    w->newer = r->code_newer && has_newer(text);
    w->matcher = pcre2_match_data_create(1, NULL);
    w->context = pcre2_match_context_copy(r->limits);
    if (!w->matcher || !w->context) mem_alloc(SIZE_MAX);
  }
}

void regex_finish(struct regex_walk *w) {
  if (w->matcher) pcre2_match_data_free(w->matcher);
  if (w->context) pcre2_match_context_free(w->context);
  w->matcher = w->context = NULL;
}

/* A match that begins at one of the next PLACES_MAX bytes. */
static int match_near(struct regex_walk *w, size_t at, struct error *err) {
  PCRE2_SPTR text = (PCRE2_SPTR)(w->text.data ? w->text.data : "");
  uint32_t options = PCRE2_NO_UTF_CHECK; /* segments are valid UTF-8 */
  pcre2_set_offset_limit(w->context, at + PLACES_MAX - 1);
  const pcre2_code *code = w->newer ? w->regex->code_newer : w->regex->code;
  int rc = pcre2_match(code, text, w->text.len, at, options, w->matcher, w->context);
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter takes its memory from the heap, within a limit */
    rc = pcre2_match(code, text, w->text.len, at, options | PCRE2_NO_JIT, w->matcher, w->context);
  if (rc == PCRE2_ERROR_NOMATCH) return 0;
  if (rc >= 0) return 1;
  return error_set(err, ERROR_TOO_LARGE, "The text is too hard for a pattern of the model's tokenizer (limit %d); shorten it.", rc);
}

/* The first match from byte at on. One search may be as long as the text from each of its places, so it goes in steps. */
static int match_at(struct regex_walk *w, size_t at, struct error *err) {
  int rc = 0;
  while (rc == 0 && at <= w->text.len) {
    if (spent(w->budget)) return error_set(err, ERROR_TOO_LARGE, "The text takes a pattern of the model's tokenizer too long; shorten it.");
    rc = match_near(w, at, err);
    at += PLACES_MAX;
    while (at < w->text.len && ((unsigned char)w->text.data[at] & 0xC0) == 0x80) at++;
  }
  return rc;
}

static int next_pcre2(struct regex_walk *w, size_t *begin, size_t *end, struct error *err) {
  while (w->at <= w->text.len) {
    int rc = match_at(w, w->at, err);
    if (rc <= 0) {
      w->end = true;
      return rc;
    }
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(w->matcher);
    *begin = found[0];
    *end = found[1];
    w->at = *end;
    if (*end > *begin) {
      w->empty_end = *end;
      return 1;
    }
    /* Empty (\K may even turn it round): step over one character, and not right behind the last match. */
    bool again = *begin != *end || *begin == w->empty_end;
    struct slice rest = slice_from(w->text, w->at);
    uint32_t c;
    size_t n = rest.len ? utf8_get(rest, &c) : 1;
    w->at += n ? n : 1;
    if (!again) return 1;
  }
  w->end = true;
  return 0;
}

int regex_next(struct regex_walk *w, size_t *begin, size_t *end, struct error *err) {
  if (w->end) return 0;
  switch (w->regex->kind) {
    case REGEX_PCRE2: return next_pcre2(w, begin, end, err);
    case REGEX_SCANNER:
      if (w->at >= w->text.len) break;
      *begin = w->at;
      w->at += w->regex->scan(slice_from(w->text, w->at));
      *end = w->at;
      assert(*end > *begin && *end <= w->text.len);
      return 1;
    case REGEX_LITERAL: {
      struct slice rest = slice_from(w->text, w->at);
      if (w->regex->source_len == 0 || rest.len < w->regex->source_len) break;
      const char *hit = memmem(rest.data, rest.len, w->regex->source, w->regex->source_len);
      if (!hit) break;
      *begin = (size_t)(hit - w->text.data);
      w->at = *end = *begin + w->regex->source_len;
      return 1;
    }
  }
  w->end = true;
  return 0;
}
