/* jinja_lex: cuts a template into tokens, with trim_blocks and lstrip_blocks on. SPDX-License-Identifier: Apache-2.0
 *
 * Outside of tags: data up to the next "{%", "{{" or "{#". A "-" beside a delimiter strips white space on that side, a "+" keeps
 * it; a newline behind a block or comment is dropped, and so are blanks in front of one at a line's start.
 * Inside of tags brackets are counted: a closing delimiter counts only outside of them, as in Jinja. */
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/jinja_ast.h"

struct lexer {
  struct slice source;
  size_t at;
  uint32_t line;
  size_t column_at; /* an offset on this line whose column is known */
  uint32_t column;
  bool line_starting; /* what came before ends in a newline, or nothing came before */
  struct arena *arena;
  struct jinja_token *items; /* heap while it grows */
  size_t n, cap;
  char closing[256]; /* brackets that are open */
  size_t n_closing;
  struct error *err;
  bool failed;
};

static const char *const names[] = {
    [TOK_EOF] = "end of template",
    [TOK_DATA] = "template text",
    [TOK_VAR_BEGIN] = "{{",
    [TOK_VAR_END] = "}}",
    [TOK_BLOCK_BEGIN] = "{%",
    [TOK_BLOCK_END] = "%}",
    [TOK_NAME] = "name",
    [TOK_STRING] = "string",
    [TOK_INT] = "integer",
    [TOK_FLOAT] = "float",
    [TOK_ADD] = "+",
    [TOK_SUB] = "-",
    [TOK_MUL] = "*",
    [TOK_DIV] = "/",
    [TOK_FLOORDIV] = "//",
    [TOK_MOD] = "%",
    [TOK_POW] = "**",
    [TOK_TILDE] = "~",
    [TOK_LBRACKET] = "[",
    [TOK_RBRACKET] = "]",
    [TOK_LPAREN] = "(",
    [TOK_RPAREN] = ")",
    [TOK_LBRACE] = "{",
    [TOK_RBRACE] = "}",
    [TOK_EQ] = "==",
    [TOK_NE] = "!=",
    [TOK_GT] = ">",
    [TOK_GE] = ">=",
    [TOK_LT] = "<",
    [TOK_LE] = "<=",
    [TOK_ASSIGN] = "=",
    [TOK_DOT] = ".",
    [TOK_COLON] = ":",
    [TOK_PIPE] = "|",
    [TOK_COMMA] = ",",
    [TOK_SEMICOLON] = ";",
};

const char *jinja_lex_name(enum jinja_tok kind) { return names[kind]; }

static int peek(const struct lexer *l, size_t ahead) {
  size_t i = l->at + ahead;
  return i < l->source.len ? (unsigned char)l->source.data[i] : -1;
}

static bool looking_at(const struct lexer *l, size_t at, const char *text) {
  return slice_starts(slice_from(l->source, at), slice_cstr(text));
}

/* The column of where the lexer stands. */
static uint32_t column_here(struct lexer *l) {
  for (; l->column_at < l->at; l->column_at++) l->column += ((unsigned char)l->source.data[l->column_at] & 0xC0) != 0x80;
  return l->column;
}

static void fail(struct lexer *l, const char *what) {
  if (!l->failed) error_set(l->err, ERROR_INVALID, "The template is wrong at line %u, column %u: %s.", l->line, column_here(l), what);
  l->failed = true;
}

/* Moves to offset to, counting lines. */
static void advance(struct lexer *l, size_t to) {
  if (to > l->at) l->line_starting = l->source.data[to - 1] == '\n';
  for (; l->at < to; l->at++) {
    if (l->source.data[l->at] != '\n') continue;
    l->line++;
    l->column_at = l->at + 1;
    l->column = 1;
  }
}

static struct jinja_token *emit(struct lexer *l, enum jinja_tok kind, struct slice text) {
  if (l->n == l->cap) {
    l->cap = l->cap ? 2 * l->cap : 256;
    l->items = mem_realloc(l->items, l->cap, sizeof *l->items);
  }
  struct jinja_token *t = &l->items[l->n++];
  *t = (struct jinja_token){.kind = kind, .line = l->line, .column = column_here(l), .text = text};
  return t;
}

static size_t skip_space(const struct lexer *l, size_t at) {
  uint32_t c;
  for (size_t n; at < l->source.len; at += n) {
    n = utf8_get(slice_from(l->source, at), &c);
    if (n == 0 || !jinja_char_space(c)) break;
  }
  return at;
}

/* The end of data [begin, end) without white space at its end. */
static size_t strip_end(const struct lexer *l, size_t begin, size_t end) {
  while (end > begin) {
    size_t last = end - 1;
    uint32_t c;
    while (last > begin && ((unsigned char)l->source.data[last] & 0xC0) == 0x80) last--;
    if (!utf8_get(slice_make(l->source.data + last, end - last), &c) || !jinja_char_space(c)) break;
    end = last;
  }
  return end;
}

/* Where the data [begin, end) ends when a tag with this sign follows. */
static size_t data_end(const struct lexer *l, size_t begin, size_t end, int sign, bool is_variable) {
  if (sign == '-') return strip_end(l, begin, end);
  if (sign == '+' || is_variable) return end;
  size_t line = end;
  while (line > begin && l->source.data[line - 1] != '\n') line--;
  if (line == begin && !l->line_starting) return end;
  return skip_space(l, line) >= end ? line : end; /* only blanks between the newline and the tag */
}

/* ---- inside of tags ---- */

static void lex_name(struct lexer *l) {
  size_t end = l->at, n;
  uint32_t c = 0;
  while ((n = utf8_get(slice_from(l->source, end), &c)) > 0 && jinja_char_id(c, end == l->at)) end += n;
  emit(l, TOK_NAME, slice_make(l->source.data + l->at, end - l->at));
  advance(l, end);
}

static bool is_digit(int c, int base) {
  if (c >= '0' && c <= '9') return c - '0' < base;
  return base == 16 && ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'));
}

/* Digits with single underscores between them, copied to text without; returns how many bytes they take. */
static size_t digits(const struct lexer *l, size_t ahead, int base, struct buf *text) {
  size_t n = 0;
  while (is_digit(peek(l, ahead + n), base) || (n && peek(l, ahead + n) == '_' && is_digit(peek(l, ahead + n + 1), base))) {
    if (peek(l, ahead + n) != '_') buf_add_byte(text, (unsigned char)peek(l, ahead + n));
    n++;
  }
  return n;
}

/* ".5" and "e-3" behind the digits at length n: the length with them. */
static size_t lex_fraction(const struct lexer *l, size_t n, struct buf *text) {
  size_t end = n;
  if (peek(l, n) == '.' && is_digit(peek(l, n + 1), 10)) {
    buf_add_byte(text, '.');
    end = n + 1 + digits(l, n + 1, 10, text);
  }
  int e = peek(l, end);
  size_t sign = peek(l, end + 1) == '+' || peek(l, end + 1) == '-';
  if ((e == 'e' || e == 'E') && is_digit(peek(l, end + 1 + sign), 10)) {
    buf_add_byte(text, 'e');
    if (sign) buf_add_byte(text, (unsigned char)peek(l, end + 1));
    end += 1 + sign;
    end += digits(l, end, 10, text);
  }
  return end;
}

static void lex_number(struct lexer *l) {
  int second = peek(l, 1) | 0x20, base = peek(l, 0) != '0' ? 10 : second == 'x' ? 16 : second == 'o' ? 8 : second == 'b' ? 2 : 10;
  struct buf text = {0};
  size_t prefix = base == 10 ? 0 : 2, n = 0;
  if (prefix && peek(l, prefix) == '_') prefix++;
  if (base != 10) n = digits(l, prefix, base, &text);
  if (n == 0) {
    prefix = 0;
    base = 10;
    n = digits(l, 0, 10, &text);
  }
  bool after_dot = l->at > 0 && l->source.data[l->at - 1] == '.';
  size_t end = base == 10 && !after_dot ? lex_fraction(l, n, &text) : n;
  struct jinja_token *t;
  if (end > n) {
    t = emit(l, TOK_FLOAT, slice_make(NULL, 0));
    t->f = strtod(text.data, NULL);
  } else {
    if (base == 10 && text.data[0] == '0') { /* only zeros may follow a leading zero: "012" is 0 and then 12 */
      n = 1;
      while (peek(l, n) == '0' || (peek(l, n) == '_' && peek(l, n + 1) == '0')) n++;
      buf_clear(&text);
      buf_add_byte(&text, '0');
    }
    t = emit(l, TOK_INT, slice_make(NULL, 0));
    errno = 0;
    t->i = strtoll(text.data, NULL, base);
    if (errno) fail(l, "the integer does not fit into 64 bits");
    end = prefix + n;
  }
  buf_free(&text);
  advance(l, l->at + end);
}

/* The code point of \x, \u, \U or an octal escape; *used: bytes behind the backslash. */
static bool escape_code(struct slice s, uint32_t *ret_code, size_t *used) {
  char kind = s.data[0];
  size_t n = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0, from = n ? 1 : 0;
  int base = n ? 16 : 8;
  if (!n)
    while (n < 3 && n < s.len && is_digit((unsigned char)s.data[n], 8)) n++;
  if (s.len < from + n) return false;
  uint64_t code = 0;
  for (size_t i = 0; i < n; i++) {
    int c = (unsigned char)s.data[from + i];
    if (!is_digit(c, base)) return false;
    code = code * (unsigned)base + (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
  }
  *used = from + n;
  *ret_code = (uint32_t)code;
  return code <= 0x10FFFF && !(code >= 0xD800 && code <= 0xDFFF);
}

/* Decodes one escape behind a backslash; returns the bytes it takes, 0 for a broken one. */
static size_t unescape(struct slice s, struct buf *out) {
  static const char plain[] = "\\\\''\"\"a\ab\bf\fn\nr\rt\tv\v";
  char c = s.data[0];
  uint32_t code;
  size_t used;
  if (c == '\n') return 1;
  for (const char *p = plain; *p; p += 2) {
    if (*p != c) continue;
    buf_add_byte(out, (unsigned char)p[1]);
    return 1;
  }
  if (c == 'N') return 0;
  if (c == 'x' || c == 'u' || c == 'U' || (c >= '0' && c <= '7')) {
    if (!escape_code(s, &code, &used)) return 0;
    buf_add_utf8(out, code);
    return used;
  }
  buf_add_byte(out, '\\'); /* an unknown escape stays as it is */
  return SIZE_MAX;
}

static void lex_string(struct lexer *l) {
  size_t end = l->at + 1;
  char quote = l->source.data[l->at];
  while (end < l->source.len && l->source.data[end] != quote) end += l->source.data[end] == '\\' ? 2 : 1;
  if (end >= l->source.len) {
    fail(l, "the string has no end");
    return;
  }
  struct slice raw = slice_make(l->source.data + l->at + 1, end - l->at - 1);
  struct buf text = {0};
  for (size_t i = 0; i < raw.len && !l->failed;) {
    if (raw.data[i] != '\\') {
      buf_add_byte(&text, (unsigned char)raw.data[i++]);
      continue;
    }
    size_t used = unescape(slice_from(raw, i + 1), &text);
    if (used == 0) fail(l, "the string holds an escape that is broken or not supported");
    i += used == SIZE_MAX ? 1 : 1 + used;
  }
  emit(l, TOK_STRING, arena_copy(l->arena, buf_view(&text)));
  buf_free(&text);
  advance(l, end + 1);
}

static void count_bracket(struct lexer *l, enum jinja_tok kind) {
  static const char opening[] = "{([", closing[] = "})]";
  char c = names[kind][0];
  const char *open = names[kind][1] ? NULL : strchr(opening, c), *close = names[kind][1] ? NULL : strchr(closing, c);
  if (open) {
    if (l->n_closing == sizeof l->closing) fail(l, "brackets are nested too deeply");
    else l->closing[l->n_closing++] = closing[open - opening];
  } else if (close) {
    if (l->n_closing == 0) fail(l, "a bracket is closed that was not opened");
    else if (l->closing[--l->n_closing] != c) fail(l, "a bracket is closed by one of another kind");
  }
}

static void lex_operator(struct lexer *l) {
  enum jinja_tok best = TOK_EOF;
  for (enum jinja_tok kind = TOK_ADD; kind <= TOK_SEMICOLON; kind++)
    if (looking_at(l, l->at, names[kind]) && (best == TOK_EOF || names[kind][1])) best = kind;
  if (best == TOK_EOF) {
    fail(l, "this character has no meaning here");
    return;
  }
  count_bracket(l, best);
  emit(l, best, slice_cstr(names[best]));
  advance(l, l->at + strlen(names[best]));
}

/* If the tag ends here: the offset behind it, else 0. */
static size_t tag_end(const struct lexer *l, const char *closing, bool is_block) {
  if (l->n_closing) return 0;
  if (peek(l, 0) == '-' && looking_at(l, l->at + 1, closing)) return skip_space(l, l->at + 3);
  if (is_block && peek(l, 0) == '+' && looking_at(l, l->at + 1, closing)) return l->at + 3;
  if (!looking_at(l, l->at, closing)) return 0;
  return l->at + 2 + (is_block && peek(l, 2) == '\n');
}

static void lex_tag(struct lexer *l, bool is_block) {
  const char *closing = is_block ? "%}" : "}}";
  l->n_closing = 0;
  while (!l->failed && l->at < l->source.len) {
    size_t end = tag_end(l, closing, is_block), blank = skip_space(l, l->at);
    uint32_t c = 0;
    utf8_get(slice_from(l->source, l->at), &c);
    if (end) {
      emit(l, is_block ? TOK_BLOCK_END : TOK_VAR_END, slice_cstr(closing));
      advance(l, end);
      return;
    }
    if (blank > l->at) advance(l, blank);
    else if (c >= '0' && c <= '9') lex_number(l);
    else if (jinja_char_id(c, true)) lex_name(l);
    else if (c == '"' || c == '\'') lex_string(l);
    else lex_operator(l);
  }
}

/* ---- outside of tags ---- */

static void lex_comment(struct lexer *l) {
  for (size_t end = l->at; end + 1 < l->source.len; end++) {
    if (!looking_at(l, end, "#}")) continue;
    int sign = end > l->at ? l->source.data[end - 1] : 0;
    end += 2;
    if (sign == '-') end = skip_space(l, end);
    else if (sign != '+' && end < l->source.len && l->source.data[end] == '\n') end++;
    advance(l, end);
    return;
  }
  fail(l, "the comment has no end (\"#}\")");
}

/* Behind "{%" and its sign: "raw" and the end of its tag? Returns the offset behind, or 0. */
static size_t raw_begin(const struct lexer *l, size_t at) {
  at = skip_space(l, at);
  if (!looking_at(l, at, "raw")) return 0;
  at = skip_space(l, at + 3);
  if (looking_at(l, at, "-%}")) return skip_space(l, at + 3);
  return looking_at(l, at, "%}") ? at + 2 : 0;
}

/* Is "{%" at offset at an endraw tag? Returns the offset behind it, or 0. */
static size_t raw_end(const struct lexer *l, size_t at, int *ret_sign) {
  int next = at + 2 < l->source.len ? l->source.data[at + 2] : 0;
  *ret_sign = next == '-' || next == '+' ? next : 0;
  at = skip_space(l, at + 2 + (*ret_sign != 0));
  if (!looking_at(l, at, "endraw")) return 0;
  at = skip_space(l, at + 6);
  if (looking_at(l, at, "+%}")) return at + 3;
  if (looking_at(l, at, "-%}")) return skip_space(l, at + 3);
  if (!looking_at(l, at, "%}")) return 0;
  return at + 2 + looking_at(l, at + 2, "\n");
}

static void lex_raw(struct lexer *l) {
  for (size_t at = l->at; at < l->source.len; at++) {
    int sign;
    size_t end = looking_at(l, at, "{%") ? raw_end(l, at, &sign) : 0;
    if (!end) continue;
    size_t stop = data_end(l, l->at, at, sign, false);
    if (stop > l->at) emit(l, TOK_DATA, slice_make(l->source.data + l->at, stop - l->at));
    advance(l, end);
    return;
  }
  if (l->at < l->source.len) fail(l, "the raw block has no end (\"{% endraw %}\")"); /* Jinja lets an empty one be */
}

static void lex_root(struct lexer *l) {
  size_t tag = l->at;
  while (tag < l->source.len &&
         !(l->source.data[tag] == '{' && tag + 1 < l->source.len && strchr("%{#", l->source.data[tag + 1]) && l->source.data[tag + 1]))
    tag++;
  if (tag >= l->source.len) {
    if (l->at < l->source.len) emit(l, TOK_DATA, slice_from(l->source, l->at));
    advance(l, l->source.len);
    return;
  }
  char kind = l->source.data[tag + 1];
  int next = tag + 2 < l->source.len ? l->source.data[tag + 2] : 0, sign = next == '-' || next == '+' ? next : 0;
  size_t end = data_end(l, l->at, tag, sign, kind == '{'), behind = tag + 2 + (sign != 0);
  if (end > l->at) emit(l, TOK_DATA, slice_make(l->source.data + l->at, end - l->at));
  advance(l, tag);
  size_t raw = kind == '%' ? raw_begin(l, behind) : 0;
  if (raw) {
    advance(l, raw);
    lex_raw(l);
  } else if (kind == '#') {
    advance(l, behind);
    lex_comment(l);
  } else {
    emit(l, kind == '%' ? TOK_BLOCK_BEGIN : TOK_VAR_BEGIN, slice_make(l->source.data + tag, 2));
    advance(l, behind);
    lex_tag(l, kind == '%');
  }
}

int jinja_lex(struct slice source, struct arena *arena, struct jinja_tokens *out, struct error *err) {
  struct lexer l = {.source = source, .line = 1, .column = 1, .line_starting = true, .arena = arena, .err = err};
  while (!l.failed && l.at < source.len) lex_root(&l);
  emit(&l, TOK_EOF, slice_make("", 0));
  out->items = arena_array(arena, l.n, sizeof *l.items);
  out->n = l.n;
  memcpy(out->items, l.items, l.n * sizeof *l.items);
  free(l.items);
  return l.failed ? -1 : 0;
}
