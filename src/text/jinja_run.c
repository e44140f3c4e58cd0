/* jinja_run: the bookkeeping of one rendering: failures that stick, limits, memory; and the builder of strings.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A template comes from outside. Steps bound its time, the arena's bytes its memory, the builder's max its output. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/jinja_ast.h"
#include "text/jinja_val.h"

/* ---- failures ---- */

static void fail_va(struct jinja_run *r, enum error_code code, const char *format, va_list args) {
  if (r->failed) return;
  r->failed = true;
  error_vset(r->err, code, format, args);
  size_t n = r->err ? strlen(r->err->message) : 0;
  if (n && n + 1 < sizeof r->err->message && r->err->message[n - 1] != '.') r->err->message[n] = '.', r->err->message[n + 1] = '\0';
  if (r->at && r->called_at)
    error_prefix(r->err, "The template failed at line %u, column %u (in what line %u, column %u calls)", r->at->line, r->at->column,
                 r->called_at->line, r->called_at->column);
  else if (r->at) error_prefix(r->err, "The template failed at line %u, column %u", r->at->line, r->at->column);
}

void jinja_run_fail(struct jinja_run *r, const char *format, ...) {
  va_list args;
  va_start(args, format);
  fail_va(r, ERROR_INVALID, format, args);
  va_end(args);
}

void jinja_run_fail_code(struct jinja_run *r, enum error_code code, const char *format, ...) {
  va_list args;
  va_start(args, format);
  fail_va(r, code, format, args);
  va_end(args);
}

void jinja_run_raise(struct jinja_run *r, struct slice message) {
  if (r->failed) return;
  r->failed = true;
  if (message.len) error_set(r->err, ERROR_INVALID, "%.*s", SLICE_ARG(message));
  else error_set(r->err, ERROR_INVALID, "The template refuses this and does not say why.");
}

bool jinja_run_step(struct jinja_run *r, uint64_t n) {
  if (r->failed) return false;
  if (n > r->steps_max - r->steps) {
    r->steps = r->steps_max;
    jinja_run_fail_code(r, ERROR_TOO_LARGE, "it takes more than %llu steps", (unsigned long long)r->steps_max);
    return false;
  }
  r->steps += n;
  return true;
}

bool jinja_run_enter(struct jinja_run *r) {
  enum { NESTING_MAX = 2500 };
  if (r->nesting >= NESTING_MAX) jinja_run_fail_code(r, ERROR_TOO_LARGE, "it is nested too deeply");
  if (r->failed) return false;
  r->nesting++;
  return true;
}

void *jinja_run_alloc(struct jinja_run *r, size_t count, size_t size) {
  enum { ALWAYS_MAX = 4096 };
  size_t bytes;
  bool over = __builtin_mul_overflow(count, size, &bytes) || bytes > r->memory_max || r->arena.used_bytes > r->memory_max - bytes;
  if (over) {
    jinja_run_fail_code(r, ERROR_TOO_LARGE, "it needs more than %zu bytes of memory", r->memory_max);
    if (count > ALWAYS_MAX / size) return NULL;
  }
  return arena_alloc(&r->arena, bytes);
}

/* ---- the builder ---- */

void jinja_sb_init(struct jinja_sb *sb, struct jinja_run *r) {
  *sb = (struct jinja_sb){.max = r->memory_max > r->arena.used_bytes ? r->memory_max - r->arena.used_bytes : 0};
}

void jinja_sb_free(struct jinja_sb *sb) {
  buf_free(&sb->buf);
  free(sb->marks);
  *sb = (struct jinja_sb){0};
}

/* Room for n more bytes within the maximum? */
static bool sb_room(struct jinja_sb *sb, size_t n) {
  if (n > sb->max || sb->buf.len > sb->max - n) sb->over = true;
  return !sb->over;
}

enum { MARKS_ALWAYS = 65536 };

static void sb_mark(struct jinja_sb *sb, size_t begin, size_t end) {
  if (begin == end) return;
  if (sb->n_marks && sb->marks[sb->n_marks - 1].end == begin) {
    sb->marks[sb->n_marks - 1].end = end;
    return;
  }
  if (sb->n_marks >= MARKS_ALWAYS && sb->n_marks > sb->max / sizeof *sb->marks) {
    sb->over = true; /* marks are memory too */
    return;
  }
  if (sb->n_marks == sb->cap_marks) {
    sb->cap_marks = sb->cap_marks ? 2 * sb->cap_marks : 8;
    sb->marks = mem_realloc(sb->marks, sb->cap_marks, sizeof *sb->marks);
  }
  sb->marks[sb->n_marks++] = (struct jinja_span){begin, end};
}

void jinja_sb_add(struct jinja_sb *sb, const char *data, size_t len) {
  if (len && sb_room(sb, len)) buf_add(&sb->buf, data, len);
}

void jinja_sb_cstr(struct jinja_sb *sb, const char *text) { jinja_sb_add(sb, text, strlen(text)); }

void jinja_sb_str(struct jinja_sb *sb, const struct jstr *s) { jinja_sb_sub(sb, s, 0, s->len); }

void jinja_sb_sub(struct jinja_sb *sb, const struct jstr *s, size_t begin, size_t end) {
  if (begin >= end || !sb_room(sb, end - begin)) return;
  size_t at = sb->buf.len;
  buf_add(&sb->buf, s->data + begin, end - begin);
  for (size_t i = jinja_str_mark_after(s, begin); i < s->n_marks && s->marks[i].begin < end; i++) {
    size_t from = s->marks[i].begin > begin ? s->marks[i].begin : begin;
    size_t to = s->marks[i].end < end ? s->marks[i].end : end;
    if (from < to) sb_mark(sb, at + from - begin, at + to - begin);
  }
}

void jinja_sb_char(struct jinja_sb *sb, uint32_t codepoint, bool marked) {
  char bytes[4];
  size_t n = utf8_put(bytes, codepoint), at = sb->buf.len;
  if (!sb_room(sb, n)) return;
  buf_add(&sb->buf, bytes, n);
  if (marked) sb_mark(sb, at, at + n);
}

void jinja_sb_fill(struct jinja_sb *sb, const struct jstr *fill, int64_t count) {
  size_t bytes;
  if (count <= 0 || fill->len == 0) return;
  if (__builtin_mul_overflow(fill->len, (size_t)count, &bytes)) bytes = SIZE_MAX;
  if (!sb_room(sb, bytes)) return;
  if (fill->n_marks == 0) { /* once, then doubled */
    char *to = buf_reserve(&sb->buf, bytes);
    memcpy(to, fill->data, fill->len);
    for (size_t n = fill->len; n < bytes; n *= 2) memcpy(to + n, to, n < bytes - n ? n : bytes - n);
    buf_advance(&sb->buf, bytes);
    return;
  }
  for (int64_t i = 0; i < count; i++) jinja_sb_str(sb, fill);
}

const struct jstr *jinja_sb_done(struct jinja_run *r, struct jinja_sb *sb) {
  const struct jstr *s = &jinja_str_empty;
  size_t len = sb->buf.len;
  if (sb->over) {
    jinja_run_fail_code(r, ERROR_TOO_LARGE, "a text in it grows over %zu bytes", sb->max);
  } else if (len && jinja_run_bytes(r, len + sb->n_marks * sizeof *sb->marks)) {
    char *data = jinja_run_alloc(r, len, 1);
    struct jinja_span *marks = sb->n_marks ? jinja_run_alloc(r, sb->n_marks, sizeof *marks) : NULL;
    if (data && (marks || !sb->n_marks)) {
      memcpy(data, sb->buf.data, len);
      if (marks) memcpy(marks, sb->marks, sb->n_marks * sizeof *marks);
      struct jstr *made = jinja_str_borrow(&r->arena, slice_make(data, len));
      made->marks = marks;
      made->n_marks = sb->n_marks;
      s = made;
    }
  }
  jinja_sb_free(sb);
  return s;
}
