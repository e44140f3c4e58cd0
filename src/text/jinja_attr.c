/* jinja_attr: x.name, x[index] and slices, with what the sandbox lets templates see. SPDX-License-Identifier: Apache-2.0
 *
 * x.name is the attribute of the object if there is one (a method), else the item; x["name"] the other way round. What is not
 * there is undefined. Methods that change their object, and names with underscores, are undefined with a reason. */
#include <math.h>
#include <stdio.h>

#include "text/jinja_call.h"

/* ---- methods of dictionaries, lists and numbers ---- */

static struct jval view(struct jinja_run *r, struct jval self, enum jview_kind kind) {
  struct jview *v = jinja_run_alloc(r, 1, sizeof *v);
  *v = (struct jview){self.dict, kind};
  return (struct jval){.type = JV_VIEW, .view = v};
}

static struct jval dict_keys(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest) {
  (void)a, (void)rest;
  return view(r, self, JVIEW_KEYS);
}

static struct jval dict_values(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest) {
  (void)a, (void)rest;
  return view(r, self, JVIEW_VALUES);
}

static struct jval dict_items(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest) {
  (void)a, (void)rest;
  return view(r, self, JVIEW_ITEMS);
}

static struct jval dict_get(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest) {
  (void)rest;
  struct jval *found = jinja_val_get(r, self.dict, a[0]);
  return found ? *found : jv_given(a[1]) ? a[1] : jv_none();
}

static struct jval dict_copy(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest) {
  (void)a, (void)rest;
  return jv_dict(jinja_val_copy(r, self.dict));
}

static struct jval dict_fromkeys(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest) {
  (void)self, (void)rest;
  struct jdict *d = jinja_val_dict(r);
  struct jiter *it = jinja_iter_open(r, a[0]);
  struct jval key;
  while (it && jinja_iter_next(r, it, &key)) jinja_val_set(r, d, key, jv_given(a[1]) ? a[1] : jv_none());
  return jv_dict(d);
}

static struct jval list_count(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest) {
  (void)rest;
  int64_t n = 0;
  struct jiter *it = jinja_iter_open(r, self);
  struct jval item;
  while (it && jinja_iter_next(r, it, &item)) n += jinja_val_equal(r, item, a[0]);
  return jv_int(n);
}

/* Python's clamping of a start or stop. */
static int64_t clamp(int64_t i, size_t n) {
  if (i < 0) i += (int64_t)n;
  return i<0 ? 0 : i>(int64_t) n ? (int64_t)n : i;
}

static struct jval list_index(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest) {
  (void)rest;
  struct jlist *l = self.type == JV_RANGE ? jinja_iter_list(r, self) : self.list;
  int64_t from = clamp(jinja_call_int(r, a[1], 0, false), l->n), to = clamp(jinja_call_int(r, a[2], INT64_MAX, false), l->n);
  for (int64_t i = from; i < to && jinja_run_step(r, 1); i++)
    if (jinja_val_equal(r, l->items[i], a[0])) return jv_int(i);
  jinja_run_fail(r, "the value is not in the %s", jinja_val_type_name(self));
  return jv_int(0);
}

static struct jval list_copy(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest) {
  (void)a, (void)rest;
  return jv_list(jinja_iter_list(r, self));
}

static struct jval number_self(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest) {
  (void)a, (void)rest;
  return jinja_ops_unary(r, TOK_ADD, self);
}

static struct jval int_bit_length(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest) {
  (void)r, (void)a, (void)rest;
  int64_t i = 0, bits = 0;
  jv_as_int(self, &i);
  for (uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i; u; u >>= 1) bits++;
  return jv_int(bits);
}

static struct jval float_is_integer(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest) {
  (void)r, (void)a, (void)rest;
  return jv_bool(isfinite(self.f) && self.f == floor(self.f));
}

static struct jval cycler_next(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest) {
  (void)r, (void)a, (void)rest;
  struct jcycler *c = self.cycler;
  struct jval item = c->items[c->pos];
  c->pos = (c->pos + 1) % c->n;
  return item;
}

static struct jval cycler_reset(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest) {
  (void)r, (void)a, (void)rest;
  self.cycler->pos = 0;
  return jv_none();
}

static const struct jinja_builtin dict_table[] = {
    {"keys", "", dict_keys},   {"values", "", dict_values},
    {"items", "", dict_items}, {"get", "_key _default?", dict_get},
    {"copy", "", dict_copy},   {"fromkeys", "_keys _value?", dict_fromkeys},
    {NULL, NULL, NULL},
};
static const struct jinja_builtin list_table[] = {
    {"count", "_value", list_count},
    {"index", "_value _start? _stop?", list_index},
    {"copy", "", list_copy},
    {NULL, NULL, NULL},
};
static const struct jinja_builtin int_table[] = {
    {"bit_length", "", int_bit_length},
    {"conjugate", "", number_self},
    {NULL, NULL, NULL},
};
static const struct jinja_builtin float_table[] = {
    {"is_integer", "", float_is_integer},
    {"conjugate", "", number_self},
    {NULL, NULL, NULL},
};
static const struct jinja_builtin cycler_table[] = {
    {"next", "", cycler_next},
    {"reset", "", cycler_reset},
    {NULL, NULL, NULL},
};
static const struct jinja_builtin dict_global_table[] = {
    {"fromkeys", "_keys _value?", dict_fromkeys},
    {NULL, NULL, NULL},
};

/* ---- attributes ---- */

static bool is_one_of(struct slice name, const char *const *names) {
  for (; *names; names++)
    if (slice_eq(name, slice_cstr(*names))) return true;
  return false;
}

static bool changes_object(struct jval object, struct slice name) {
  static const char *const of_lists[] = {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove", NULL};
  static const char *const of_dicts[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
  return (object.type == JV_LIST && is_one_of(name, of_lists)) || (object.type == JV_DICT && is_one_of(name, of_dicts));
}

static struct jval macro_attr(struct jinja_run *r, const struct jmacro *m, struct slice name) {
  const struct jinja_macro *macro = m->node->kind == N_BLOCK ? NULL : m->node->macro.macro;
  if (!macro) return jv_missing();
  if (slice_eq(name, SLICE("name"))) return macro->name.len ? jv_str(jinja_str_borrow(&r->arena, macro->name)) : jv_none();
  if (slice_eq(name, SLICE("catch_kwargs"))) return jv_bool(macro->uses_kwargs);
  if (slice_eq(name, SLICE("catch_varargs"))) return jv_bool(macro->uses_varargs);
  if (slice_eq(name, SLICE("caller"))) return jv_bool(macro->uses_caller);
  if (slice_eq(name, SLICE("explicit_caller"))) return jv_bool(macro->explicit_caller);
  if (!slice_eq(name, SLICE("arguments"))) return jv_missing();
  struct jlist *names = jinja_val_list(r, 0);
  for (const struct jinja_node *a = macro->args.first; a; a = a->next)
    jinja_val_push(r, names, jv_str(jinja_str_borrow(&r->arena, a->name.name)));
  return jv_tuple(names);
}

static struct jval number_attr(struct jinja_run *r, struct jval v, struct slice name) {
  bool is_int = v.type != JV_FLOAT;
  if (slice_eq(name, SLICE("real")) || (is_int && slice_eq(name, SLICE("numerator")))) return jinja_ops_unary(r, TOK_ADD, v);
  if (slice_eq(name, SLICE("imag"))) return is_int ? jv_int(0) : jv_float(0);
  return is_int && slice_eq(name, SLICE("denominator")) ? jv_int(1) : jv_missing();
}

static struct jval range_attr(const struct jrange *range, struct slice name) {
  if (slice_eq(name, SLICE("start"))) return jv_int(range->start);
  if (slice_eq(name, SLICE("stop"))) return jv_int(range->stop);
  return slice_eq(name, SLICE("step")) ? jv_int(range->step) : jv_missing();
}

static const struct jinja_builtin *method_table(struct jval object) {
  switch (object.type) {
    case JV_STR: return jinja_strmethod_table;
    case JV_DICT: return dict_table;
    case JV_LIST: return list_table;
    case JV_TUPLE:
    case JV_RANGE: return list_table;
    case JV_BOOL:
    case JV_INT: return int_table;
    case JV_FLOAT: return float_table;
    case JV_CYCLER: return cycler_table;
    case JV_FUNC: return slice_eq(slice_cstr(object.func->builtin->name), SLICE("dict")) ? dict_global_table : NULL;
    default: return NULL;
  }
}

struct jval jinja_attr_own(struct jinja_run *r, struct jval object, struct slice name) {
  struct jval v = jv_missing(), *found;
  const struct jinja_builtin *table = method_table(object), *method = table ? jinja_call_lookup(table, name) : NULL;
  if (method && !(method->fn == list_copy && object.type != JV_LIST)) return jinja_call_method(r, method, object);
  switch (object.type) {
    case JV_NAMESPACE:
      found = jinja_val_getn(r, object.dict, name);
      if (found) v = *found;
      break;
    case JV_LOOP: v = jinja_loop_attr(r, object.loop, name); break;
    case JV_MACRO: v = macro_attr(r, object.macro, name); break;
    case JV_BOOL:
    case JV_INT:
    case JV_FLOAT: v = number_attr(r, object, name); break;
    case JV_RANGE: v = range_attr(object.range, name); break;
    case JV_CYCLER:
      if (slice_eq(name, SLICE("current"))) v = object.cycler->items[object.cycler->pos];
      break;
    case JV_TUPLE:
      if (object.list->grouped && object.list->n == 2 && slice_eq(name, SLICE("grouper"))) v = object.list->items[0];
      if (object.list->grouped && object.list->n == 2 && slice_eq(name, SLICE("list"))) v = object.list->items[1];
      break;
    default: break;
  }
  return v;
}

/* obj[index]; JV_MISSING when there is none. */
static struct jval own_item(struct jinja_run *r, struct jval object, struct jval index) {
  int64_t i;
  size_t n = 0;
  if (object.type == JV_DICT) {
    struct jval *found = jinja_val_hashable(index) ? jinja_val_get(r, object.dict, index) : NULL;
    return found ? *found : jv_missing();
  }
  if (object.type != JV_STR && object.type != JV_RANGE && !jv_is_seq(object)) return jv_missing();
  if (!jv_as_int(index, &i) || !jinja_val_len(r, object, &n)) return jv_missing();
  if (i < 0) i += (int64_t)n;
  if (i < 0 || i >= (int64_t)n) return jv_missing();
  if (object.type == JV_RANGE) return jv_int(jv_range_at(object.range, (uint64_t)i));
  if (object.type != JV_STR) return object.list->items[i];
  size_t begin = jinja_str_offset(object.str, (size_t)i), end = begin;
  if (object.str->n_chars != object.str->len) jinja_run_bytes(r, 4 * begin);
  jinja_char_next(object.str, &end);
  return jv_str(jinja_str_sub(r, object.str, begin, end));
}

static struct jval unsafe(struct jinja_run *r, struct jval object, struct slice name) {
  char *hint = jinja_run_alloc(r, 1, 200);
  snprintf(hint, 200, "access to attribute '%.*s' of '%s' object is unsafe", (int)(name.len < 80 ? name.len : 80), name.data,
           jinja_val_type_name(object));
  return jinja_val_undefined(r, hint, object, jv_missing());
}

static bool is_internal(struct slice name) { return slice_starts(name, SLICE("__")) && slice_ends(name, SLICE("__")); }

struct jval jinja_attr_get(struct jinja_run *r, struct jval object, const struct jstr *name) {
  struct slice key = jinja_str_slice(name);
  if (object.type == JV_UNDEFINED) {
    if (is_internal(key)) return unsafe(r, object, key);
    jinja_val_use_undefined(r, object);
    return object;
  }
  if (changes_object(object, key)) return unsafe(r, object, key);
  struct jval v = jinja_attr_own(r, object, key);
  if (!jv_given(v)) v = own_item(r, object, jv_str(name));
  if (jv_given(v)) return v;
  return is_internal(key) ? unsafe(r, object, key) : jinja_val_undefined(r, NULL, object, jv_str(name));
}

struct jval jinja_attr_item(struct jinja_run *r, struct jval object, struct jval index) {
  if (object.type == JV_UNDEFINED) {
    jinja_val_use_undefined(r, object);
    return object;
  }
  struct jval v = own_item(r, object, index);
  if (jv_given(v)) return v;
  if (jv_is_str(index)) {
    struct slice key = jinja_str_slice(index.str);
    if (changes_object(object, key) || is_internal(key)) return unsafe(r, object, key);
    v = jinja_attr_own(r, object, key);
  }
  return jv_given(v) ? v : jinja_val_undefined(r, NULL, object, index);
}

struct jval jinja_attr_path(struct jinja_run *r, struct jval item, struct jval path, struct jval deflt) {
  if (!jv_given(path) || path.type == JV_NONE) return item;
  if (!jv_is_str(path)) {
    item = jinja_attr_item(r, item, path);
    return item.type == JV_UNDEFINED && jv_given(deflt) && deflt.type != JV_NONE ? deflt : item;
  }
  struct slice rest = jinja_str_slice(path.str);
  for (bool more = true; more && jinja_run_step(r, 1);) {
    const char *dot = rest.len ? memchr(rest.data, '.', rest.len) : NULL;
    struct slice part = slice_make(rest.data, dot ? (size_t)(dot - rest.data) : rest.len);
    int64_t number = 0;
    bool digits = part.len > 0 && part.len < 18;
    for (size_t i = 0; i < part.len && digits; i++) {
      digits = part.data[i] >= '0' && part.data[i] <= '9';
      number = 10 * number + (part.data[i] - '0');
    }
    item = jinja_attr_item(r, item, digits ? jv_int(number) : jv_str(jinja_str_borrow(&r->arena, part)));
    if (item.type == JV_UNDEFINED && jv_given(deflt) && deflt.type != JV_NONE) item = deflt;
    more = dot != NULL;
    if (more) rest = slice_from(rest, part.len + 1);
  }
  return item;
}

/* ---- slices ---- */

struct bounds {
  int64_t start, stop, step;
  size_t n;
};

static bool slice_int(struct jinja_run *r, struct jval v, int64_t *out) {
  if (v.type == JV_NONE) return false;
  if (!jv_as_int(v, out)) jinja_run_fail(r, "slice indices must be integers or None");
  return !r->failed;
}

/* Python's slice.indices. */
static struct bounds bounds(struct jinja_run *r, size_t len, struct jval start, struct jval stop, struct jval step) {
  int64_t n = (int64_t)len, by = 1, from = 0, to = 0;
  if (slice_int(r, step, &by) && by == 0) jinja_run_fail(r, "slice step cannot be zero");
  if (r->failed) return (struct bounds){0};
  int64_t low = by < 0 ? -1 : 0, high = by < 0 ? n - 1 : n;
  if (!slice_int(r, start, &from)) from = by < 0 ? high : low;
  else if (from < 0) from = from + n < low ? low : from + n;
  else if (from > high) from = high;
  if (!slice_int(r, stop, &to)) to = by < 0 ? low : high;
  else if (to < 0) to = to + n < low ? low : to + n;
  else if (to > high) to = high;
  struct bounds b = {.start = from, .stop = to, .step = by};
  if (by > 0 && to > from) b.n = (size_t)((uint64_t)(to - from - 1) / (uint64_t)by + 1);
  if (by < 0 && to < from) b.n = (size_t)((uint64_t)(from - to - 1) / (0 - (uint64_t)by) + 1);
  return b;
}

static struct jval slice_str(struct jinja_run *r, const struct jstr *s, struct bounds b) {
  if (b.n == 0 || !jinja_run_bytes(r, s->len)) return jv_str(jinja_str_markup(r, &jinja_str_empty, s->markup));
  if (b.step == 1) {
    size_t begin = jinja_str_offset(s, (size_t)b.start), end = jinja_str_offset(s, (size_t)b.start + b.n);
    return jv_str(jinja_str_sub(r, s, begin, end));
  }
  /* Where each character begins, so that any step takes linear time. */
  uint32_t *at = s->len < UINT32_MAX ? jinja_run_alloc(r, s->n_chars + 1, sizeof *at) : NULL;
  if (!at) return jv_str(&jinja_str_empty);
  size_t count = 0;
  for (size_t i = 0; i < s->len; i++)
    if (((unsigned char)s->data[i] & 0xC0) != 0x80) at[count++] = (uint32_t)i;
  at[count] = (uint32_t)s->len;
  struct jinja_sb sb;
  jinja_sb_init(&sb, r);
  for (size_t i = 0; i < b.n && jinja_run_step(r, s->n_marks ? 1 + s->n_marks / 8 : 1); i++) {
    int64_t index = b.start + (int64_t)i * b.step;
    jinja_sb_sub(&sb, s, at[index], at[index + 1]);
  }
  return jv_str(jinja_str_markup(r, jinja_sb_done(r, &sb), s->markup));
}

struct jval jinja_attr_slice(struct jinja_run *r, struct jval object, struct jval start, struct jval stop, struct jval step) {
  size_t n = 0;
  if (object.type == JV_UNDEFINED) jinja_val_use_undefined(r, object);
  bool fits = object.type == JV_STR || object.type == JV_RANGE || jv_is_seq(object);
  if (!fits || !jinja_val_len(r, object, &n)) {
    jinja_run_fail(r, "'%s' object cannot be sliced", jinja_val_type_name(object));
    return jv_undefined();
  }
  struct bounds b = bounds(r, n, start, stop, step);
  if (object.type == JV_STR) return slice_str(r, object.str, b);
  if (object.type == JV_RANGE) {
    const struct jrange *whole = object.range;
    struct jrange *part = jinja_run_alloc(r, 1, sizeof *part);
    part->start = jv_range_at(whole, (uint64_t)b.start);
    part->step = (int64_t)((uint64_t)whole->step * (uint64_t)b.step);
    part->n = b.n;
    part->stop = jv_range_at(whole, (uint64_t)b.stop);
    return (struct jval){.type = JV_RANGE, .range = part};
  }
  struct jlist *out = jinja_val_list(r, b.n);
  for (size_t i = 0; i < out->n; i++) out->items[i] = object.list->items[b.start + (int64_t)i * b.step];
  return (struct jval){.type = object.type, .list = out};
}
