/* jinja_str: strings of templates: UTF-8 in memory, characters in the arithmetic. SPDX-License-Identifier: Apache-2.0
 *
 * Invariants: data is valid UTF-8; n_chars is counted when a string is made, so that strings may be shared between threads.
 * A string without marks and a part of one never allocate more than the header. */
#include <stdint.h>
#include <stdlib.h>

#include "base/mem.h"
#include "text/jinja_val.h"

const struct jstr jinja_str_empty = {.data = ""};

static size_t count_chars(const char *data, size_t len) {
  size_t n = 0;
  for (size_t i = 0; i < len; i++) n += ((unsigned char)data[i] & 0xC0) != 0x80;
  return n;
}

struct jstr *jinja_str_borrow(struct arena *a, struct slice s) {
  struct jstr *str = arena_alloc(a, sizeof *str);
  str->data = s.len ? s.data : "";
  str->len = s.len;
  str->n_chars = count_chars(s.data, s.len);
  return str;
}

struct jval jinja_str_value(struct jinja_run *r, struct slice s) {
  char *data = jinja_run_alloc(r, s.len + 1, 1);
  if (!data) return jv_str(&jinja_str_empty);
  if (s.len) memcpy(data, s.data, s.len);
  return jv_str(jinja_str_borrow(&r->arena, slice_make(data, s.len)));
}

struct jval jinja_str_cstr(struct jinja_run *r, const char *text) { return jv_str(jinja_str_borrow(&r->arena, slice_cstr(text))); }

struct slice jinja_str_slice(const struct jstr *s) { return slice_make(s->data, s->len); }

bool jinja_str_is(struct jval v, const char *text) { return jv_is_str(v) && slice_eq(jinja_str_slice(v.str), slice_cstr(text)); }

size_t jinja_str_mark_after(const struct jstr *s, size_t byte) {
  size_t low = 0, high = s->n_marks;
  while (low < high) {
    size_t mid = (low + high) / 2;
    if (s->marks[mid].end <= byte) low = mid + 1;
    else high = mid;
  }
  return low;
}

bool jinja_str_marked_at(const struct jstr *s, size_t byte) {
  size_t i = jinja_str_mark_after(s, byte);
  return i < s->n_marks && s->marks[i].begin <= byte;
}

size_t jinja_str_offset(const struct jstr *s, size_t index) {
  if (index >= s->n_chars) return s->len;
  if (s->n_chars == s->len) return index;
  size_t at = 0;
  for (size_t seen = 0; at < s->len; at++) {
    if (((unsigned char)s->data[at] & 0xC0) == 0x80) continue;
    if (seen++ == index) break;
  }
  return at;
}

size_t jinja_str_index(const struct jstr *s, size_t offset) { return s->n_chars == s->len ? offset : count_chars(s->data, offset); }

const struct jstr *jinja_str_sub(struct jinja_run *r, const struct jstr *s, size_t begin, size_t end) {
  if (begin == 0 && end == s->len) return s;
  if (begin >= end) return jinja_str_markup(r, &jinja_str_empty, s->markup);
  jinja_run_bytes(r, end - begin);
  if (s->n_marks) {
    struct jinja_sb sb;
    jinja_sb_init(&sb, r);
    jinja_sb_sub(&sb, s, begin, end);
    return jinja_str_markup(r, jinja_sb_done(r, &sb), s->markup);
  }
  struct jstr *part = jinja_run_alloc(r, 1, sizeof *part);
  *part = (struct jstr){.data = s->data + begin, .len = end - begin, .markup = s->markup};
  part->n_chars = s->n_chars == s->len ? part->len : count_chars(part->data, part->len);
  return part;
}

const struct jstr *jinja_str_markup(struct jinja_run *r, const struct jstr *s, bool markup) {
  if (s->markup == markup) return s;
  struct jstr *copy = jinja_run_alloc(r, 1, sizeof *copy);
  *copy = *s;
  copy->markup = markup;
  return copy;
}

const struct jstr *jinja_str_concat(struct jinja_run *r, const struct jstr *a, const struct jstr *b) {
  if (a->len == 0 && !a->markup && !b->markup) return b;
  if (b->len == 0 && !a->markup && !b->markup) return a;
  struct jinja_sb sb;
  jinja_sb_init(&sb, r);
  jinja_sb_str(&sb, a);
  jinja_sb_str(&sb, b);
  return jinja_sb_done(r, &sb);
}

const struct jstr *jinja_str_repeat(struct jinja_run *r, const struct jstr *s, int64_t count) {
  if (count <= 0 || s->len == 0) return jinja_str_markup(r, &jinja_str_empty, s->markup);
  if (count == 1) return s;
  struct jinja_sb sb;
  jinja_sb_init(&sb, r);
  if ((uint64_t)count > sb.max / s->len) sb.over = true;
  else jinja_run_bytes(r, (size_t)count * s->len);
  if (!r->failed) jinja_sb_fill(&sb, s, count);
  return jinja_str_markup(r, jinja_sb_done(r, &sb), s->markup);
}

size_t jinja_str_find(const struct jstr *s, size_t begin, size_t end, struct slice needle) {
  if (begin > end || needle.len > end - begin) return SIZE_MAX;
  if (needle.len == 0) return begin;
  const char *hit = memmem(s->data + begin, end - begin, needle.data, needle.len);
  return hit ? (size_t)(hit - s->data) : SIZE_MAX;
}

static char *mirrored(const char *data, size_t len) {
  char *copy = mem_alloc(len);
  for (size_t i = 0; i < len; i++) copy[i] = data[len - 1 - i];
  return copy;
}

size_t jinja_str_rfind(const struct jstr *s, size_t begin, size_t end, struct slice needle) {
  if (begin > end || needle.len > end - begin) return SIZE_MAX;
  if (needle.len == 0) return end;
  /* Mirrored copies make it a search from the front, which takes linear time. */
  char *text = mirrored(s->data + begin, end - begin), *mirror = mirrored(needle.data, needle.len);
  const char *hit = memmem(text, end - begin, mirror, needle.len);
  size_t at = hit ? end - (size_t)(hit - text) - needle.len : SIZE_MAX;
  free(text);
  free(mirror);
  return at;
}

/* Python's replace of the empty string: between all characters. */
static void replace_between(struct jinja_sb *sb, const struct jstr *s, const struct jstr *new, int64_t count) {
  size_t at = 0;
  for (int64_t done = 0; (count < 0 || done < count) && !sb->over; done++) {
    jinja_sb_str(sb, new);
    if (at == s->len) return;
    size_t from = at;
    jinja_char_next(s, &at);
    jinja_sb_sub(sb, s, from, at);
  }
  jinja_sb_sub(sb, s, at, s->len);
}

const struct jstr *jinja_str_replace(struct jinja_run *r, const struct jstr *s, const struct jstr *old, const struct jstr *new,
                                     int64_t count) {
  if (!jinja_run_bytes(r, s->len)) return s;
  struct jinja_sb sb;
  jinja_sb_init(&sb, r);
  if (old->len == 0) {
    if (!jinja_run_chars(r, s->len)) return s;
    replace_between(&sb, s, new, count);
    return jinja_sb_done(r, &sb);
  }
  size_t from = 0;
  for (int64_t done = 0; (count < 0 || done < count) && !sb.over; done++) {
    size_t hit = jinja_str_find(s, from, s->len, jinja_str_slice(old));
    if (hit == SIZE_MAX) break;
    jinja_sb_sub(&sb, s, from, hit);
    jinja_sb_str(&sb, new);
    if (!jinja_run_step(r, 1)) break;
    from = hit + old->len;
  }
  if (from == 0) {
    jinja_sb_free(&sb);
    return s;
  }
  jinja_sb_sub(&sb, s, from, s->len);
  return jinja_sb_done(r, &sb);
}

static bool strips(uint32_t c, const struct jstr *chars) {
  if (!chars) return jinja_char_space(c);
  for (size_t at = 0; at < chars->len;)
    if (jinja_char_next(chars, &at) == c) return true;
  return false;
}

const struct jstr *jinja_str_strip(struct jinja_run *r, const struct jstr *s, const struct jstr *chars, bool left, bool right) {
  size_t begin = 0, end = s->len;
  if (!jinja_run_bytes(r, s->len + (chars ? chars->len : 0))) return s;
  while (left && begin < end) {
    size_t next = begin;
    if (!strips(jinja_char_next(s, &next), chars) || (chars && !jinja_run_bytes(r, chars->len))) break;
    begin = next;
  }
  while (right && begin < end) {
    size_t last = end - 1, next;
    while (last > begin && ((unsigned char)s->data[last] & 0xC0) == 0x80) last--;
    next = last;
    if (!strips(jinja_char_next(s, &next), chars) || (chars && !jinja_run_bytes(r, chars->len))) break;
    end = last;
  }
  return jinja_str_sub(r, s, begin, end);
}

const struct jstr *jinja_str_escape(struct jinja_run *r, const struct jstr *s) {
  static const char *const entities[128] = {['&'] = "&amp;", ['<'] = "&lt;", ['>'] = "&gt;", ['\''] = "&#39;", ['"'] = "&#34;"};
  if (s->markup || !jinja_run_chars(r, s->len)) return s;
  struct jinja_sb sb;
  jinja_sb_init(&sb, r);
  size_t from = 0;
  for (size_t i = 0; i < s->len; i++) {
    unsigned char c = (unsigned char)s->data[i];
    const char *entity = c < 128 ? entities[c] : NULL;
    if (!entity) continue;
    jinja_sb_sub(&sb, s, from, i);
    bool marked = jinja_str_marked_at(s, i);
    for (const char *p = entity; *p; p++) jinja_sb_char(&sb, (unsigned char)*p, marked);
    from = i + 1;
  }
  jinja_sb_sub(&sb, s, from, s->len);
  return jinja_str_markup(r, jinja_sb_done(r, &sb), true);
}

int jinja_str_compare(const struct jstr *a, const struct jstr *b) {
  /* The order of UTF-8 bytes is the order of code points. */
  size_t n = a->len < b->len ? a->len : b->len;
  int order = n ? memcmp(a->data, b->data, n) : 0;
  return order ? order : (a->len > b->len) - (a->len < b->len);
}
