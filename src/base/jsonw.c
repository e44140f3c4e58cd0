/* jsonw: see jsonw.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/jsonw.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

static void before_value(struct jsonw *w) {
  if (w->comma) buf_add_byte(w->out, ',');
  w->comma = true;
}

static void open_with(struct jsonw *w, char c) {
  before_value(w);
  buf_add_byte(w->out, (unsigned char)c);
  w->comma = false;
}

static void close_with(struct jsonw *w, char c) {
  buf_add_byte(w->out, (unsigned char)c);
  w->comma = true;
}

void jsonw_object_begin(struct jsonw *w) { open_with(w, '{'); }
void jsonw_object_end(struct jsonw *w) { close_with(w, '}'); }
void jsonw_array_begin(struct jsonw *w) { open_with(w, '['); }
void jsonw_array_end(struct jsonw *w) { close_with(w, ']'); }

static void add_escaped(struct buf *out, unsigned char c) {
  switch (c) {
    case '"': buf_add_cstr(out, "\\\""); break;
    case '\\': buf_add_cstr(out, "\\\\"); break;
    case '\n': buf_add_cstr(out, "\\n"); break;
    case '\r': buf_add_cstr(out, "\\r"); break;
    case '\t': buf_add_cstr(out, "\\t"); break;
    default: buf_printf(out, "\\u%04x", c);
  }
}

/* Whether the byte stands for itself inside a JSON string. */
static bool plain(unsigned char c) { return c >= 0x20 && c != '"' && c != '\\' && c < 0x80; }

static void add_string(struct buf *out, struct slice s) {
  buf_add_byte(out, '"');
  while (s.len) {
    size_t run = 0;
    while (run < s.len && plain((unsigned char)s.data[run])) run++;
    buf_add(out, s.data, run);
    s = slice_from(s, run);
    if (!s.len) break;
    unsigned char c = (unsigned char)s.data[0];
    uint32_t codepoint;
    size_t n = utf8_get(s, &codepoint);
    if (c < 0x80) add_escaped(out, c);
    else if (n) buf_add(out, s.data, n);
    else buf_add_utf8(out, UTF8_REPLACEMENT);
    s = slice_from(s, n ? n : utf8_invalid_len(s));
  }
  buf_add_byte(out, '"');
}

void jsonw_key_slice(struct jsonw *w, struct slice key) {
  before_value(w);
  add_string(w->out, key);
  buf_add_byte(w->out, ':');
  w->comma = false;
}

void jsonw_key(struct jsonw *w, const char *key) { jsonw_key_slice(w, slice_cstr(key)); }

void jsonw_str(struct jsonw *w, struct slice s) {
  before_value(w);
  add_string(w->out, s);
}

void jsonw_cstr(struct jsonw *w, const char *s) {
  if (s) jsonw_str(w, slice_cstr(s));
  else jsonw_null(w);
}

void jsonw_int(struct jsonw *w, int64_t v) {
  before_value(w);
  buf_printf(w->out, "%lld", (long long)v);
}

void jsonw_real(struct jsonw *w, double v) {
  if (!isfinite(v)) {
    jsonw_null(w);
    return;
  }
  char text[40];
  /* 15 digits always survive, and %g drops their zeros; below the normal numbers there are fewer to begin with. */
  for (int digits = fabs(v) < DBL_MIN ? 1 : 15; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, v);
    if (strtod(text, NULL) == v) break;
  }
  before_value(w);
  buf_add_cstr(w->out, text);
}

void jsonw_float(struct jsonw *w, float v) {
  if (!isfinite(v)) {
    jsonw_null(w);
    return;
  }
  char text[40];
  for (int digits = fabsf(v) < FLT_MIN ? 1 : 6; digits <= 9; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, (double)v);
    if (strtof(text, NULL) == v) break;
  }
  before_value(w);
  buf_add_cstr(w->out, text);
}

void jsonw_bool(struct jsonw *w, bool v) { jsonw_raw(w, v ? SLICE("true") : SLICE("false")); }

void jsonw_null(struct jsonw *w) { jsonw_raw(w, SLICE("null")); }

void jsonw_raw(struct jsonw *w, struct slice json) {
  before_value(w);
  buf_add_slice(w->out, json);
}

static void write_array(struct jsonw *w, const struct js *v) {
  jsonw_array_begin(w);
  for (size_t i = 0; i < js_len(v); i++) jsonw_value(w, js_at(v, i));
  jsonw_array_end(w);
}

static void write_object(struct jsonw *w, const struct js *v) {
  jsonw_object_begin(w);
  for (void *it = js_iter(v); it; it = js_iter_next(v, it)) {
    struct slice key;
    const struct js *member;
    js_iter_get(it, &key, &member);
    jsonw_key_slice(w, key);
    jsonw_value(w, member);
  }
  jsonw_object_end(w);
}

/* What was a real stays one: 1.0 is not 1 for who reads it. */
static void write_real(struct jsonw *w, const struct js *v) {
  struct slice digits;
  double d = 0;
  if (js_wide(v, &digits)) {
    jsonw_raw(w, digits);
    return;
  }
  js_real(v, &d);
  size_t begin = w->out->len;
  jsonw_real(w, d);
  if (strcspn(w->out->data + begin, ".en") == w->out->len - begin) buf_add_cstr(w->out, ".0");
}

void jsonw_value(struct jsonw *w, const struct js *v) {
  struct slice s;
  int64_t i;
  switch (js_type(v)) {
    case JS_ARRAY: write_array(w, v); break;
    case JS_OBJECT: write_object(w, v); break;
    case JS_STRING: js_str(v, &s), jsonw_str(w, s); break;
    case JS_INT: js_int(v, &i), jsonw_int(w, i); break;
    case JS_REAL: write_real(w, v); break;
    case JS_TRUE: jsonw_bool(w, true); break;
    case JS_FALSE: jsonw_bool(w, false); break;
    case JS_NULL:
    case JS_NONE: jsonw_null(w); break;
  }
}

void jsonw_key_str(struct jsonw *w, const char *key, struct slice s) {
  jsonw_key(w, key);
  jsonw_str(w, s);
}

void jsonw_key_cstr(struct jsonw *w, const char *key, const char *s) {
  jsonw_key(w, key);
  jsonw_cstr(w, s);
}

void jsonw_key_int(struct jsonw *w, const char *key, int64_t v) {
  jsonw_key(w, key);
  jsonw_int(w, v);
}

void jsonw_key_real(struct jsonw *w, const char *key, double v) {
  jsonw_key(w, key);
  jsonw_real(w, v);
}

void jsonw_key_bool(struct jsonw *w, const char *key, bool v) {
  jsonw_key(w, key);
  jsonw_bool(w, v);
}

void jsonw_key_null(struct jsonw *w, const char *key) {
  jsonw_key(w, key);
  jsonw_null(w);
}
