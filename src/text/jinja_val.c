/* jinja_val: lists, dictionaries, truth, equality, order. SPDX-License-Identifier: Apache-2.0
 *
 * Dictionaries keep the order of insertion; nothing is ever removed from one. Small ones are searched, larger ones have an open
 * table of entry numbers. 1, 1.0 and True are one key, as in Python. */
#include "text/jinja_val.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja_ast.h"

#include "base/mix.h"

enum { INDEX_FROM = 9 };

/* ---- lists ---- */

struct jlist *jinja_val_list(struct jinja_run *r, size_t n) {
  struct jlist *l = jinja_run_alloc(r, 1, sizeof *l);
  if (n == 0 || !jinja_run_step(r, 1 + n / 8)) return l;
  l->items = jinja_run_alloc(r, n, sizeof *l->items);
  if (!l->items) return l;
  l->n = l->cap = n;
  for (size_t i = 0; i < n; i++) l->items[i] = jv_none();
  return l;
}

void jinja_val_push(struct jinja_run *r, struct jlist *l, struct jval v) {
  if (!jinja_run_step(r, 1)) return;
  if (l->n == l->cap) {
    size_t cap = l->cap ? 2 * l->cap : 8;
    struct jval *items = jinja_run_alloc(r, cap, sizeof *items);
    if (!items) return;
    if (l->n) memcpy(items, l->items, l->n * sizeof *items);
    l->items = items;
    l->cap = cap;
  }
  l->items[l->n++] = v;
}

struct jval jinja_val_pair(struct jinja_run *r, struct jval a, struct jval b) {
  struct jlist *l = jinja_val_list(r, 2);
  if (l->n == 2) l->items[0] = a, l->items[1] = b;
  return jv_tuple(l);
}

/* ---- hashing ---- */

static uint64_t hash_bytes(uint64_t h, const char *data, size_t len) {
  for (; len >= 8; data += 8, len -= 8) {
    uint64_t v;
    memcpy(&v, data, 8);
    h = mix(h, v);
  }
  uint64_t tail = len;
  for (size_t i = 0; i < len; i++) tail = tail << 8 | (unsigned char)data[i];
  return mix(mix(h, tail), 0x2545F4914F6CDD1Du);
}

static bool hashable(struct jval v, int depth) {
  if (v.type == JV_TUPLE)
    for (size_t i = 0; i < v.list->n && depth < 100; i++)
      if (!hashable(v.list->items[i], depth + 1)) return false;
  return v.type != JV_LIST && v.type != JV_DICT && v.type != JV_VIEW;
}

bool jinja_val_hashable(struct jval v) { return hashable(v, 0); }

static uint64_t hash(struct jinja_run *r, struct jval v) {
  uint64_t h = r->seed;
  double f;
  switch (v.type) {
    case JV_STR: jinja_run_bytes(r, v.str->len); return hash_bytes(h, v.str->data, v.str->len);
    case JV_BOOL: return mix(mix(h, 2), v.b);
    case JV_INT: return mix(mix(h, 2), (uint64_t)v.i);
    case JV_BIG: /* as a float that is equal */
      jinja_run_bytes(r, 8 * v.str->len);
      f = strtod(v.str->data, NULL);
      return hash_bytes(h, (const char *)&f, sizeof f);
    case JV_FLOAT:
      if (v.f == floor(v.f) && fabs(v.f) < 9e18) return mix(mix(h, 2), (uint64_t)(int64_t)v.f);
      return hash_bytes(h, (const char *)&v.f, sizeof v.f);
    case JV_TUPLE:
      if (!jinja_run_enter(r)) return h;
      for (size_t i = 0; i < v.list->n; i++) h = mix(h, hash(r, v.list->items[i]));
      jinja_run_leave(r);
      return h;
    case JV_UNDEFINED:
    case JV_NONE: return mix(h, v.type);
    case JV_LIST:
    case JV_DICT:
    case JV_VIEW: jinja_run_fail(r, "unhashable type: '%s'", jinja_val_type_name(v)); return h;
    default: return mix(h, (uintptr_t)v.p);
  }
}

/* ---- dictionaries ---- */

struct jdict *jinja_val_dict(struct jinja_run *r) { return jinja_run_alloc(r, 1, sizeof(struct jdict)); }

static struct jval *find(struct jinja_run *r, const struct jdict *d, struct jval key, uint64_t h) {
  if (!d->index) {
    for (size_t i = 0; i < d->n; i++)
      if (d->entries[i].hash == h && jinja_val_equal(r, d->entries[i].key, key)) return &d->entries[i].value;
    return NULL;
  }
  for (size_t at = h & (d->index_cap - 1); d->index[at]; at = (at + 1) & (d->index_cap - 1)) {
    struct jentry *e = &d->entries[d->index[at] - 1];
    if (e->hash == h && jinja_val_equal(r, e->key, key)) return &e->value;
  }
  return NULL;
}

static void index_entry(struct jdict *d, size_t entry) {
  size_t at = d->entries[entry].hash & (d->index_cap - 1);
  while (d->index[at]) at = (at + 1) & (d->index_cap - 1);
  d->index[at] = (uint32_t)entry + 1;
}

/* Room for one more entry; false when memory is over. */
static bool grow(struct jinja_run *r, struct jdict *d) {
  if (d->n == UINT32_MAX - 1) return false;
  if (d->n == d->cap) {
    size_t cap = d->cap ? 2 * d->cap : 4;
    struct jentry *entries = jinja_run_alloc(r, cap, sizeof *entries);
    if (!entries) return false;
    if (d->n) memcpy(entries, d->entries, d->n * sizeof *entries);
    d->entries = entries;
    d->cap = cap;
  }
  if (d->n + 1 >= INDEX_FROM && 2 * (d->n + 1) > d->index_cap) {
    size_t cap = d->index_cap ? 2 * d->index_cap : 32;
    uint32_t *index = jinja_run_alloc(r, cap, sizeof *index);
    if (!index) return false;
    d->index = index;
    d->index_cap = cap;
    for (size_t i = 0; i < d->n; i++) index_entry(d, i);
  }
  return true;
}

void jinja_val_set(struct jinja_run *r, struct jdict *d, struct jval key, struct jval value) {
  if (!jinja_run_step(r, 1)) return;
  uint64_t h = hash(r, key);
  struct jval *there = find(r, d, key, h);
  if (there) {
    *there = value;
  } else if (!r->failed && grow(r, d)) {
    d->entries[d->n++] = (struct jentry){key, value, h};
    if (d->index) index_entry(d, d->n - 1);
  }
}

void jinja_val_setn(struct jinja_run *r, struct jdict *d, struct slice key, struct jval value) {
  jinja_val_set(r, d, jv_str(jinja_str_borrow(&r->arena, key)), value);
}

struct jval *jinja_val_get(struct jinja_run *r, const struct jdict *d, struct jval key) {
  return d->n ? find(r, d, key, hash(r, key)) : NULL;
}

struct jval *jinja_val_getn(struct jinja_run *r, const struct jdict *d, struct slice key) {
  struct jstr text = {.data = key.data, .len = key.len};
  return jinja_val_get(r, d, jv_str(&text));
}

struct jdict *jinja_val_copy(struct jinja_run *r, const struct jdict *d) {
  struct jdict *copy = jinja_val_dict(r);
  for (size_t i = 0; i < d->n; i++) jinja_val_set(r, copy, d->entries[i].key, d->entries[i].value);
  return copy;
}

/* ---- truth, equality, order ---- */

bool jinja_val_true(struct jval v) {
  switch (v.type) {
    case JV_MISSING:
    case JV_UNDEFINED:
    case JV_NONE: return false;
    case JV_BOOL: return v.b;
    case JV_INT: return v.i != 0;
    case JV_FLOAT: return v.f != 0;
    case JV_STR: return v.str->len != 0;
    case JV_LIST:
    case JV_TUPLE: return v.list->n != 0;
    case JV_DICT: return v.dict->n != 0;
    case JV_VIEW: return v.view->dict->n != 0;
    case JV_RANGE: return v.range->n != 0;
    default: return true;
  }
}

bool jinja_val_same(struct jval a, struct jval b) {
  if (a.type != b.type) return false;
  switch (a.type) {
    case JV_MISSING:
    case JV_NONE: return true;
    case JV_BOOL: return a.b == b.b;
    case JV_INT: return a.i == b.i;
    case JV_FLOAT: return a.f == b.f;
    case JV_BIG:
    case JV_STR: return slice_eq(jinja_str_slice(a.str), jinja_str_slice(b.str));
    default: return a.p == b.p && a.p;
  }
}

/* Sign of a - b, exact; 2 when one is not a number. */
static int compare_int_float(int64_t a, double b) {
  if (isnan(b)) return 2;
  if (b >= 9223372036854775808.0) return -1;
  if (b < -9223372036854775808.0) return 1;
  double whole = trunc(b);
  int64_t w = (int64_t)whole;
  if (a != w) return a < w ? -1 : 1;
  return b > whole ? -1 : b < whole ? 1 : 0;
}

/* Sign of the difference of two integers in digits. */
static int compare_digits(struct slice a, struct slice b) {
  bool minus = a.data[0] == '-';
  if (minus != (b.data[0] == '-')) return minus ? -1 : 1;
  int c = a.len != b.len ? (a.len < b.len ? -1 : 1) : memcmp(a.data, b.data, a.len);
  c = (c > 0) - (c < 0);
  return minus ? -c : c;
}

/* a is a JV_BIG. */
static int compare_big(struct jval a, struct jval b) {
  char text[400];
  int64_t i;
  struct slice digits = jinja_str_slice(a.str);
  int sign = digits.data[0] == '-' ? -1 : 1;
  if (b.type == JV_BIG) return compare_digits(digits, jinja_str_slice(b.str));
  if (jv_as_int(b, &i)) return sign;
  if (isnan(b.f)) return 2;
  if (isinf(b.f)) return b.f > 0 ? -1 : 1;
  if (fabs(b.f) < 9223372036854775808.0) return sign;
  return compare_digits(digits, slice_make(text, (size_t)snprintf(text, sizeof text, "%.0f", b.f))); /* so large, it is whole */
}

static int compare_numbers(struct jval a, struct jval b) {
  int64_t ai, bi;
  if (a.type == JV_BIG) return compare_big(a, b);
  if (b.type == JV_BIG) {
    int c = compare_big(b, a);
    return c == 2 ? 2 : -c;
  }
  bool a_int = jv_as_int(a, &ai), b_int = jv_as_int(b, &bi);
  if (a_int && b_int) return (ai > bi) - (ai < bi);
  if (a_int) return compare_int_float(ai, b.f);
  if (b_int) {
    int c = compare_int_float(bi, a.f);
    return c == 2 ? 2 : -c;
  }
  if (isnan(a.f) || isnan(b.f)) return 2;
  return (a.f > b.f) - (a.f < b.f);
}

static bool is_number(struct jval v) { return v.type == JV_BOOL || v.type == JV_INT || v.type == JV_BIG || v.type == JV_FLOAT; }

static bool equal_lists(struct jinja_run *r, const struct jlist *a, const struct jlist *b) {
  if (a->n != b->n || !jinja_run_enter(r)) return false;
  bool equal = true;
  for (size_t i = 0; i < a->n && equal; i++) equal = jinja_run_step(r, 1) && jinja_val_equal(r, a->items[i], b->items[i]);
  jinja_run_leave(r);
  return equal;
}

static bool equal_dicts(struct jinja_run *r, const struct jdict *a, const struct jdict *b) {
  if (a->n != b->n || !jinja_run_enter(r)) return false;
  bool equal = true;
  for (size_t i = 0; i < a->n && equal; i++) {
    struct jval *other = jinja_run_step(r, 1) ? jinja_val_get(r, b, a->entries[i].key) : NULL;
    equal = other && jinja_val_equal(r, a->entries[i].value, *other);
  }
  jinja_run_leave(r);
  return equal;
}

bool jinja_val_equal(struct jinja_run *r, struct jval a, struct jval b) {
  if (is_number(a) && is_number(b)) return compare_numbers(a, b) == 0;
  if (a.type != b.type) return false;
  switch (a.type) {
    case JV_MISSING:
    case JV_UNDEFINED:
    case JV_NONE: return true;
    case JV_STR:
      if (a.str->len == b.str->len) jinja_run_bytes(r, a.str->len);
      return slice_eq(jinja_str_slice(a.str), jinja_str_slice(b.str));
    case JV_LIST:
    case JV_TUPLE: return a.list == b.list || equal_lists(r, a.list, b.list);
    case JV_DICT: return a.dict == b.dict || equal_dicts(r, a.dict, b.dict);
    case JV_RANGE:
      return a.range->n == b.range->n &&
             (a.range->n == 0 || (a.range->start == b.range->start && (a.range->n == 1 || a.range->step == b.range->step)));
    case JV_FUNC: return a.func->builtin == b.func->builtin && jinja_val_same(a.func->self, b.func->self);
    default: return a.p == b.p;
  }
}

static bool less_lists(struct jinja_run *r, const struct jlist *a, const struct jlist *b) {
  if (!jinja_run_enter(r)) return false;
  size_t i = 0;
  while (i < a->n && i < b->n && jinja_run_step(r, 1) && jinja_val_equal(r, a->items[i], b->items[i])) i++;
  bool less = i < a->n && i < b->n ? jinja_val_less(r, a->items[i], b->items[i]) : a->n < b->n;
  jinja_run_leave(r);
  return less;
}

bool jinja_val_less(struct jinja_run *r, struct jval a, struct jval b) {
  if (is_number(a) && is_number(b)) return compare_numbers(a, b) == -1;
  if (a.type == JV_STR && b.type == JV_STR) {
    jinja_run_bytes(r, a.str->len < b.str->len ? a.str->len : b.str->len);
    return jinja_str_compare(a.str, b.str) < 0;
  }
  if (a.type == b.type && jv_is_seq(a)) return less_lists(r, a.list, b.list);
  if (a.type == JV_UNDEFINED || b.type == JV_UNDEFINED) jinja_val_use_undefined(r, a.type == JV_UNDEFINED ? a : b);
  else jinja_run_fail(r, "'<' not supported between instances of '%s' and '%s'", jinja_val_type_name(a), jinja_val_type_name(b));
  return false;
}

/* ---- odds and ends ---- */

const char *jinja_val_type_name(struct jval v) {
  static const char *const views[] = {"dict_keys", "dict_values", "dict_items"};
  static const char *const names[] = {
      [JV_MISSING] = "missing",
      [JV_UNDEFINED] = "Undefined",
      [JV_NONE] = "NoneType",
      [JV_BOOL] = "bool",
      [JV_INT] = "int",
      [JV_BIG] = "int",
      [JV_FLOAT] = "float",
      [JV_STR] = "str",
      [JV_LIST] = "list",
      [JV_TUPLE] = "tuple",
      [JV_DICT] = "dict",
      [JV_RANGE] = "range",
      [JV_VIEW] = "dict_keys",
      [JV_ITER] = "generator",
      [JV_NAMESPACE] = "Namespace",
      [JV_MACRO] = "Macro",
      [JV_FUNC] = "function",
      [JV_LOOP] = "LoopContext",
      [JV_CYCLER] = "Cycler",
      [JV_JOINER] = "Joiner",
  };
  if (v.type == JV_VIEW) return views[v.view->kind];
  if (v.type == JV_STR && v.str->markup) return "Markup";
  return names[v.type];
}

struct jval jinja_val_undefined(struct jinja_run *r, const char *hint, struct jval object, struct jval name) {
  struct jundef *u = jinja_run_alloc(r, 1, sizeof *u);
  *u = (struct jundef){.hint = hint, .object = object, .name = name};
  return (struct jval){.type = JV_UNDEFINED, .undef = u};
}

void jinja_val_use_undefined(struct jinja_run *r, struct jval v) {
  const struct jundef *u = v.undef;
  if (!u || (!u->hint && !jv_given(u->name))) {
    jinja_run_fail(r, "an undefined value is used");
    return;
  }
  if (u->hint) {
    jinja_run_fail(r, "%s", u->hint);
    return;
  }
  const struct jstr *name = jinja_repr_repr(r, u->name).str;
  struct slice shown = slice_make(name->data, name->len < 100 ? name->len : 100);
  if (!jv_given(u->object)) jinja_run_fail(r, "%.*s is undefined", SLICE_ARG(shown));
  else if (u->object.type == JV_NONE) jinja_run_fail(r, "'None' has no attribute %.*s", SLICE_ARG(shown));
  else if (jv_is_str(u->name)) jinja_run_fail(r, "'%s object' has no attribute %.*s", jinja_val_type_name(u->object), SLICE_ARG(shown));
  else jinja_run_fail(r, "%s object has no element %.*s", jinja_val_type_name(u->object), SLICE_ARG(shown));
}

static const struct jstr *str_from_js(struct jinja_run *r, struct slice text, bool marked) {
  struct jstr *s = jinja_str_borrow(&r->arena, text);
  jinja_run_bytes(r, text.len);
  if (marked && text.len) {
    struct jinja_span *all = jinja_run_alloc(r, 1, sizeof *all);
    all->end = text.len;
    s->marks = all;
    s->n_marks = 1;
  }
  return s;
}

struct jval jinja_val_from_js(struct jinja_run *r, const struct js *v, bool marked) {
  struct slice text;
  int64_t i = 0;
  double f = 0;
  if (!jinja_run_enter(r)) return jv_none();
  struct jval out = jv_none();
  switch (js_type(v)) {
    case JS_NONE:
    case JS_NULL: break;
    case JS_TRUE:
    case JS_FALSE: out = jv_bool(js_type(v) == JS_TRUE); break;
    case JS_INT:
      js_int(v, &i);
      out = jv_int(i);
      break;
    case JS_REAL:
      js_real(v, &f);
      out = js_wide(v, &text) ? (struct jval){.type = JV_BIG, .str = str_from_js(r, text, false)} : jv_float(f);
      break;
    case JS_STRING:
      js_str(v, &text);
      out = jv_str(str_from_js(r, text, marked));
      break;
    case JS_ARRAY:
      out = jv_list(jinja_val_list(r, js_len(v)));
      for (size_t k = 0; k < out.list->n; k++) out.list->items[k] = jinja_val_from_js(r, js_at(v, k), marked);
      break;
    case JS_OBJECT:
      out = jv_dict(jinja_val_dict(r));
      for (void *it = js_iter(v); it; it = js_iter_next(v, it)) {
        const struct js *member;
        js_iter_get(it, &text, &member);
        jinja_val_set(r, out.dict, jv_str(str_from_js(r, text, marked)), jinja_val_from_js(r, member, marked));
      }
      break;
  }
  jinja_run_leave(r);
  return out;
}

bool jinja_val_len(struct jinja_run *r, struct jval v, size_t *ret_n) {
  (void)r;
  switch (v.type) {
    case JV_UNDEFINED: *ret_n = 0; return true;
    case JV_STR: *ret_n = v.str->n_chars; return true;
    case JV_LIST:
    case JV_TUPLE: *ret_n = v.list->n; return true;
    case JV_DICT: *ret_n = v.dict->n; return true;
    case JV_VIEW: *ret_n = v.view->dict->n; return true;
    case JV_RANGE: *ret_n = v.range->n; return true;
    default: return false;
  }
}
