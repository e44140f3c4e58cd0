/* js: see js.h. SPDX-License-Identifier: Apache-2.0
 * A `struct js` is a json_t of jansson under another name; no other file knows. An integer that 64 bits do not hold is a string that begins
 * with the byte FF, which no string of a JSON text does, and goes on with the digits. */
#include "base/js.h"

#include <jansson.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"

static json_t *raw(const struct js *v) { return (json_t *)v; }

/* jansson's own depth limit is 2,048; ours is tighter, and counted before the parser recurses. */
static int check_depth(struct slice text, struct error *err) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.len; i++) {
    char c = text.data[i];
    if (in_string) {
      if (c == '\\') i++;
      else if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > JS_DEPTH_MAX)
        return error_set(err, ERROR_INVALID, "The JSON text is nested more than %d levels deep (at byte %zu).", JS_DEPTH_MAX, i);
    } else if (c == '}' || c == ']') {
      depth--;
    }
  }
  return 0;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* s is digits behind an optional minus, and no 64 bits hold them. */
static bool is_wide(struct slice s) {
  bool negative = s.len && s.data[0] == '-';
  uint64_t n = 0, most = (uint64_t)INT64_MAX + negative;
  bool wide = false;
  for (size_t i = negative; i < s.len; i++) {
    if (!is_digit(s.data[i])) return false;
    unsigned digit = (unsigned)(s.data[i] - '0');
    wide |= n > (most - digit) / 10;
    n = n * 10 + digit;
  }
  return wide;
}

/* The length of the number that text begins with, as far as its characters go; 0: none. */
static size_t number_len(struct slice text) {
  size_t n = 0;
  if (text.len && (text.data[0] == '-' || is_digit(text.data[0])))
    while (n < text.len && (is_digit(text.data[n]) || memchr("+-.eE", text.data[n], 5))) n++;
  return n;
}

#define WIDE_MARK '\xFF'

/* Integers that 64 bits do not hold, in the order of the text. */
struct wides {
  struct buf texts;   /* each with the mark in front */
  size_t *begins;     /* [n + 1] in texts */
  size_t *numbers;    /* [n] which of all numbers of the text it is */
  size_t n, next, at; /* next, at: of the walk through the values; the wide one to come, and the numbers passed */
};

static void add_wide(struct wides *w, struct slice digits, size_t number) {
  if ((w->n & (w->n - 1)) == 0) {
    w->begins = mem_realloc(w->begins, 2 * w->n + 2, sizeof *w->begins);
    w->numbers = mem_realloc(w->numbers, 2 * w->n + 2, sizeof *w->numbers);
  }
  w->begins[w->n] = w->texts.len;
  w->numbers[w->n++] = number;
  buf_add_byte(&w->texts, (unsigned char)WIDE_MARK);
  buf_add_slice(&w->texts, digits);
  w->begins[w->n] = w->texts.len;
}

/* Writes 0 in place of every integer that 64 bits do not hold. */
static void widen(struct slice text, struct buf *out, struct wides *wides) {
  bool in_string = false;
  size_t number = 0;
  for (size_t i = 0; i < text.len;) {
    size_t n = in_string ? 0 : number_len(slice_from(text, i)), step = n ? n : 1;
    struct slice token = slice_make(text.data + i, n);
    if (in_string && text.data[i] == '\\' && i + 1 < text.len) step = 2;
    else if (text.data[i] == '"') in_string = !in_string;
    bool whole = n && (token.data[0] != '-' || n > 1) && token.data[token.data[0] == '-'] != '0'; /* what JSON's grammar refuses stays */
    if (whole && is_wide(token)) add_wide(wides, token, number), buf_add_byte(out, '0');
    else buf_add(out, text.data + i, step);
    number += n > 0;
    i += step;
  }
}

/* The wide integer that stands here, or NULL for another value. Values come in the order of the text. */
static json_t *next_wide(struct wides *w, const json_t *v) {
  if (!json_is_number(v) || w->next == w->n || w->at++ != w->numbers[w->next]) return NULL;
  size_t begin = w->begins[w->next++];
  return json_stringn_nocheck(w->texts.data + begin, w->begins[w->next] - begin);
}

static json_t *restore(json_t *v, struct wides *w) {
  json_t *member, *wide = next_wide(w, v);
  for (size_t i = 0; json_is_array(v) && i < json_array_size(v); i++) {
    member = json_array_get(v, i);
    json_t *now = restore(member, w);
    if (now != member) json_array_set_new(v, i, now);
  }
  for (void *it = json_is_object(v) ? json_object_iter(v) : NULL; it; it = json_object_iter_next(v, it)) {
    member = json_object_iter_value(it);
    json_t *now = restore(member, w);
    if (now != member) json_object_iter_set_new(v, it, now);
  }
  return wide ? wide : v;
}

static json_t *load(struct slice text, json_error_t *why) {
  return json_loadb(text.data ? text.data : "", text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, why);
}

struct js *js_parse(struct slice text, struct error *err) {
  if (check_depth(text, err) < 0) return NULL;
  json_error_t why;
  json_t *root = load(text, &why);
  if (!root && json_error_code(&why) == json_error_numeric_overflow) {
    struct buf narrow = {0};
    struct wides wides = {0};
    widen(text, &narrow, &wides);
    json_t *read = load(buf_view(&narrow), &why);
    root = read ? restore(read, &wides) : NULL;
    if (root != read) json_decref(read);
    buf_free(&narrow);
    buf_free(&wides.texts);
    free(wides.begins);
    free(wides.numbers);
  }
  if (!root) error_set(err, ERROR_INVALID, "The text is not valid JSON: %s (line %d, column %d).", why.text, why.line, why.column);
  return (struct js *)root;
}

void js_free(struct js *root) { json_decref(raw(root)); }

enum js_type js_type(const struct js *v) {
  if (!v) return JS_NONE;
  switch (json_typeof(raw(v))) {
    case JSON_NULL: return JS_NULL;
    case JSON_FALSE: return JS_FALSE;
    case JSON_TRUE: return JS_TRUE;
    case JSON_INTEGER: return JS_INT;
    case JSON_REAL: return JS_REAL;
    case JSON_STRING: return json_string_value(raw(v))[0] == WIDE_MARK ? JS_REAL : JS_STRING;
    case JSON_ARRAY: return JS_ARRAY;
    case JSON_OBJECT: return JS_OBJECT;
  }
  return JS_NONE;
}

const char *js_type_name(const struct js *v) {
  static const char *const names[] = {"nothing", "null", "boolean", "boolean", "integer", "number", "string", "array", "object"};
  return names[js_type(v)];
}

const struct js *js_get(const struct js *object, const char *key) { return (const struct js *)json_object_get(raw(object), key); }

const struct js *js_getn(const struct js *object, struct slice key) {
  struct slice k;
  const struct js *v;
  for (void *it = js_iter(object); it; it = js_iter_next(object, it)) {
    js_iter_get(it, &k, &v);
    if (slice_eq(k, key)) return v;
  }
  return NULL;
}

const struct js *js_at(const struct js *array, size_t index) { return (const struct js *)json_array_get(raw(array), index); }

size_t js_len(const struct js *v) {
  enum js_type type = js_type(v);
  return type == JS_ARRAY ? json_array_size(raw(v)) : type == JS_OBJECT ? json_object_size(raw(v)) : 0;
}

void *js_iter(const struct js *object) { return js_type(object) == JS_OBJECT ? json_object_iter(raw(object)) : NULL; }

void *js_iter_next(const struct js *object, void *it) { return json_object_iter_next(raw(object), it); }

void js_iter_get(void *it, struct slice *key, const struct js **value) {
  const char *name = json_object_iter_key(it); /* jansson refuses \u0000 in keys, so this is the whole key */
  *key = slice_cstr(name);
  *value = (const struct js *)json_object_iter_value(it);
}

bool js_str(const struct js *v, struct slice *out) {
  if (js_type(v) != JS_STRING) return false;
  *out = slice_make(json_string_value(raw(v)), json_string_length(raw(v)));
  return true;
}

bool js_int(const struct js *v, int64_t *out) {
  if (js_type(v) != JS_INT) return false;
  *out = json_integer_value(raw(v));
  return true;
}

bool js_real(const struct js *v, double *out) {
  enum js_type type = js_type(v);
  struct slice digits;
  if (type != JS_INT && type != JS_REAL) return false;
  *out = js_wide(v, &digits) ? strtod(digits.data, NULL) : json_number_value(raw(v));
  return true;
}

bool js_wide(const struct js *v, struct slice *out) {
  if (!v || !json_is_string(raw(v)) || js_type(v) != JS_REAL) return false;
  *out = slice_make(json_string_value(raw(v)) + 1, json_string_length(raw(v)) - 1);
  return true;
}

bool js_bool(const struct js *v, bool *out) {
  enum js_type type = js_type(v);
  if (type != JS_TRUE && type != JS_FALSE) return false;
  *out = type == JS_TRUE;
  return true;
}
