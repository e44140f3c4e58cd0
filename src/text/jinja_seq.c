/* jinja_seq: filters on sequences: sorting, grouping, picking, joining. SPDX-License-Identifier: Apache-2.0
 * Where Jinja's filter is a generator, ours is an iterator: it works, and fails, only when it is asked for items. */
#include <stdlib.h>

#include "text/jinja_call.h"

#include "base/mix.h"

#define FILTER(name) static struct jval name(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest)

/* ---- sorting ---- */

struct sorting {
  struct jinja_run *r;
  struct jval *keys, *items, *spare_keys, *spare_items;
  bool reverse;
};

/* Merges [low, mid) and [mid, high). Equal keys keep their order, reversed or not. */
static void merge(struct sorting *s, size_t low, size_t mid, size_t high) {
  size_t left = low, right = mid;
  for (size_t to = low; to < high; to++) {
    bool take_right = left == mid;
    if (left < mid && right < high && jinja_run_step(s->r, 1))
      take_right = s->reverse ? jinja_val_less(s->r, s->keys[left], s->keys[right]) : jinja_val_less(s->r, s->keys[right], s->keys[left]);
    size_t from = take_right ? right++ : left++;
    s->spare_keys[to] = s->keys[from];
    s->spare_items[to] = s->items[from];
  }
  for (size_t i = low; i < high; i++) s->keys[i] = s->spare_keys[i], s->items[i] = s->spare_items[i];
}

void jinja_seq_sort(struct jinja_run *r, struct jlist *keys, struct jlist *items, bool reverse) {
  size_t n = keys->n < items->n ? keys->n : items->n;
  if (n < 2) return;
  struct sorting s = {
      r, keys->items, items->items, jinja_run_alloc(r, n, sizeof(struct jval)), jinja_run_alloc(r, n, sizeof(struct jval)), reverse};
  if (!s.spare_keys || !s.spare_items) return;
  for (size_t width = 1; width < n && !r->failed; width *= 2)
    for (size_t low = 0; low + width < n && !r->failed; low += 2 * width)
      merge(&s, low, low + width, low + 2 * width < n ? low + 2 * width : n);
}

static struct jval fold_case(struct jinja_run *r, struct jval v, bool case_sensitive) {
  return jv_is_str(v) && !case_sensitive ? jv_str(jinja_char_convert(r, v.str, JINJA_LOWER)) : v;
}

/* The sort key of an item by "a.b,c": a list, as in Jinja. */
static struct jval sort_key(struct jinja_run *r, struct jval item, struct jval attribute, bool case_sensitive) {
  struct jlist *key = jinja_val_list(r, 0);
  if (!jv_is_str(attribute)) {
    jinja_val_push(r, key, fold_case(r, jinja_attr_path(r, item, attribute, jv_missing()), case_sensitive));
    return jv_list(key);
  }
  struct slice rest = jinja_str_slice(attribute.str);
  for (bool more = true; more && !r->failed;) {
    const char *comma = rest.len ? memchr(rest.data, ',', rest.len) : NULL;
    struct slice part = slice_make(rest.data, comma ? (size_t)(comma - rest.data) : rest.len);
    struct jval path = jv_str(jinja_str_borrow(&r->arena, part));
    jinja_val_push(r, key, fold_case(r, jinja_attr_path(r, item, path, jv_missing()), case_sensitive));
    more = comma != NULL;
    if (more) rest = slice_from(rest, part.len + 1);
  }
  return jv_list(key);
}

FILTER(do_sort) { /* reverse case_sensitive attribute */
  (void)rest;
  struct jlist *items = jinja_iter_list(r, self), *keys = jinja_val_list(r, items->n);
  for (size_t i = 0; i < keys->n && !r->failed; i++) keys->items[i] = sort_key(r, items->items[i], a[2], jinja_val_true(a[1]));
  jinja_seq_sort(r, keys, items, jinja_val_true(a[0]));
  return jv_list(items);
}

FILTER(do_dictsort) { /* case_sensitive by reverse */
  (void)rest;
  bool by_value = jinja_str_is(a[1], "value");
  if (jv_given(a[1]) && !by_value && !jinja_str_is(a[1], "key")) jinja_run_fail(r, "You can only sort by either \"key\" or \"value\"");
  if (self.type != JV_DICT) {
    if (self.type == JV_UNDEFINED) jinja_val_use_undefined(r, self);
    jinja_run_fail(r, "dictsort needs a dictionary, not '%s'", jinja_val_type_name(self));
    return self;
  }
  struct jlist *items = jinja_val_list(r, self.dict->n), *keys = jinja_val_list(r, self.dict->n);
  for (size_t i = 0; i < items->n && i < keys->n; i++) {
    const struct jentry *e = &self.dict->entries[i];
    items->items[i] = jinja_val_pair(r, e->key, e->value);
    keys->items[i] = fold_case(r, by_value ? e->value : e->key, jinja_val_true(a[0]));
  }
  jinja_seq_sort(r, keys, items, jinja_val_true(a[2]));
  return jv_list(items);
}

static struct jval extreme(struct jinja_run *r, struct jval self, const struct jval *a, bool max) {
  struct jiter *it = jinja_iter_open(r, self);
  struct jval item, best;
  if (!it || !jinja_iter_next(r, it, &best))
    return jinja_val_undefined(r, "No aggregated item, sequence was empty.", jv_missing(), jv_missing());
  struct jval best_key = fold_case(r, jinja_attr_path(r, best, a[1], jv_missing()), jinja_val_true(a[0]));
  while (jinja_iter_next(r, it, &item)) {
    struct jval key = fold_case(r, jinja_attr_path(r, item, a[1], jv_missing()), jinja_val_true(a[0]));
    if (max ? !jinja_val_less(r, best_key, key) : !jinja_val_less(r, key, best_key)) continue;
    best = item;
    best_key = key;
  }
  return best;
}

FILTER(do_min) {
  (void)rest;
  return extreme(r, self, a, false);
}

FILTER(do_max) {
  (void)rest;
  return extreme(r, self, a, true);
}

FILTER(do_groupby) { /* attribute default case_sensitive */
  (void)rest;
  struct jlist *items = jinja_iter_list(r, self), *keys = jinja_val_list(r, items->n), *out = jinja_val_list(r, 0);
  for (size_t i = 0; i < keys->n && !r->failed; i++)
    keys->items[i] = fold_case(r, jinja_attr_path(r, items->items[i], a[0], a[1]), jinja_val_true(a[2]));
  jinja_seq_sort(r, keys, items, false);
  for (size_t i = 0; i < keys->n && !r->failed;) {
    struct jval shown = jinja_attr_path(r, items->items[i], a[0], a[1]);
    struct jval group = jinja_val_pair(r, jinja_val_true(a[2]) ? keys->items[i] : shown, jv_list(jinja_val_list(r, 0)));
    struct jval first = keys->items[i];
    if (group.list->n != 2) break;
    do jinja_val_push(r, group.list->items[1].list, items->items[i++]);
    while (i < keys->n && jinja_val_equal(r, first, keys->items[i]));
    group.list->grouped = true;
    jinja_val_push(r, out, group);
  }
  return jv_list(out);
}

/* ---- unique, map, select, reject ---- */

struct unique {
  struct jdict *seen;
  struct jval attribute;
  bool case_sensitive;
};

static bool next_unique(struct jinja_run *r, struct jiter *it, struct jval *out) {
  struct unique *u = it->state;
  if (!it->inner) it->inner = jinja_iter_open(r, it->source);
  while (it->inner && jinja_iter_next(r, it->inner, out)) {
    struct jval key = fold_case(r, jinja_attr_path(r, *out, u->attribute, jv_missing()), u->case_sensitive);
    if (jinja_val_get(r, u->seen, key)) continue;
    jinja_val_set(r, u->seen, key, jv_none());
    return !r->failed;
  }
  return false;
}

FILTER(do_unique) { /* case_sensitive attribute */
  (void)rest;
  struct unique *u = jinja_run_alloc(r, 1, sizeof *u);
  *u = (struct unique){jinja_val_dict(r), a[1], jinja_val_true(a[0])};
  return jinja_iter_value(jinja_iter_make(r, next_unique, self, u));
}

/* What map, select and their kin do to each item. */
struct transform {
  struct jval attribute, deflt;         /* JV_MISSING: the item itself */
  const struct jinja_builtin *function; /* filter or test; NULL: truth */
  struct jargs args;
  bool negate;
};

static bool next_mapped(struct jinja_run *r, struct jiter *it, struct jval *out) {
  struct transform *t = it->state;
  if (!it->inner) it->inner = jinja_val_true(it->source) ? jinja_iter_open(r, it->source) : NULL;
  if (!it->inner || !jinja_iter_next(r, it->inner, out)) return false;
  *out = t->function ? jinja_call_builtin(r, t->function, *out, &t->args) : jinja_attr_path(r, *out, t->attribute, t->deflt);
  return true;
}

static bool next_selected(struct jinja_run *r, struct jiter *it, struct jval *out) {
  struct transform *t = it->state;
  if (!it->inner) it->inner = jinja_val_true(it->source) ? jinja_iter_open(r, it->source) : NULL;
  while (it->inner && jinja_iter_next(r, it->inner, out)) {
    struct jval v = jinja_attr_path(r, *out, t->attribute, jv_missing());
    if (t->function) v = jinja_call_builtin(r, t->function, v, &t->args);
    if (jinja_val_true(v) != t->negate) return true;
  }
  return false;
}

/* A generator that fails when it is asked first, as one whose arguments are wrong. */
static bool next_broken(struct jinja_run *r, struct jiter *it, struct jval *out) {
  (void)out;
  if (jinja_val_true(it->source)) jinja_run_fail(r, "%s", (const char *)it->state);
  return false;
}

static struct jval broken(struct jinja_run *r, struct jval source, const char *why) {
  return jinja_iter_value(jinja_iter_make(r, next_broken, source, (void *)(uintptr_t)why)); /* a literal */
}

/* Takes the first n positional arguments off. */
static struct jargs without(const struct jargs *args, size_t n) {
  struct jargs left = *args;
  left.pos += n;
  left.n_pos -= n;
  return left;
}

FILTER(do_map) {
  (void)a;
  struct transform *t = jinja_run_alloc(r, 1, sizeof *t);
  t->attribute = t->deflt = jv_missing();
  if (rest->n_pos == 0) {
    for (size_t i = 0; i < rest->n_kw; i++) {
      if (jinja_str_is(rest->kw[i].key, "attribute")) t->attribute = rest->kw[i].value;
      else if (jinja_str_is(rest->kw[i].key, "default")) t->deflt = rest->kw[i].value;
      else return broken(r, self, "map got an unexpected keyword argument");
    }
    if (!jv_given(t->attribute)) return broken(r, self, "map requires a filter argument");
  } else {
    t->function = jv_is_str(rest->pos[0]) ? jinja_filter_find(jinja_str_slice(rest->pos[0].str)) : NULL;
    t->args = without(rest, 1);
    if (!t->function) return broken(r, self, "map is given a filter that does not exist");
  }
  return jinja_iter_value(jinja_iter_make(r, next_mapped, self, t));
}

static struct jval select_items(struct jinja_run *r, struct jval self, const struct jargs *args, bool by_attribute, bool negate) {
  struct transform *t = jinja_run_alloc(r, 1, sizeof *t);
  *t = (struct transform){.attribute = jv_missing(), .negate = negate, .args = *args};
  if (by_attribute) {
    if (args->n_pos == 0) return broken(r, self, "Missing parameter for attribute name");
    t->attribute = args->pos[0];
    t->args = without(args, 1);
  }
  if (t->args.n_pos) {
    struct jval name = t->args.pos[0];
    t->function = jv_is_str(name) ? jinja_test_find(jinja_str_slice(name.str)) : NULL;
    t->args = without(&t->args, 1);
    if (!t->function) return broken(r, self, "a test is named that does not exist");
  }
  return jinja_iter_value(jinja_iter_make(r, next_selected, self, t));
}

FILTER(do_select) {
  (void)a;
  return select_items(r, self, rest, false, false);
}

FILTER(do_reject) {
  (void)a;
  return select_items(r, self, rest, false, true);
}

FILTER(do_selectattr) {
  (void)a;
  return select_items(r, self, rest, true, false);
}

FILTER(do_rejectattr) {
  (void)a;
  return select_items(r, self, rest, true, true);
}

static bool next_item_pair(struct jinja_run *r, struct jiter *it, struct jval *out) {
  if (it->source.type == JV_UNDEFINED) return false;
  if (it->source.type != JV_DICT) {
    jinja_run_fail(r, "Can only get item pairs from a mapping.");
    return false;
  }
  if ((size_t)it->pos >= it->source.dict->n) return false;
  const struct jentry *e = &it->source.dict->entries[it->pos++];
  *out = jinja_val_pair(r, e->key, e->value);
  return true;
}

FILTER(do_items) {
  (void)a, (void)rest;
  return jinja_iter_value(jinja_iter_make(r, next_item_pair, self, NULL));
}

/* ---- cutting ---- */

struct cutting {
  int64_t n;
  struct jval fill; /* JV_MISSING or None: none */
  struct jlist *all;
};

static bool fills(const struct cutting *c) { return jv_given(c->fill) && c->fill.type != JV_NONE; }

/* A batch of no items: Python yields an empty one and then all that is left. */
static bool next_batch_of_none(struct jinja_run *r, struct jiter *it, struct jval *out) {
  struct cutting *c = it->state;
  if (!c->all) c->all = jinja_iter_list(r, it->source);
  if (!c->all->n || it->pos == 2) return false;
  bool first = it->pos++ == 0 && c->n == 0;
  *out = jv_list(first ? jinja_val_list(r, 0) : c->all);
  if (!first) it->pos = 2;
  return true;
}

static bool next_batch(struct jinja_run *r, struct jiter *it, struct jval *out) {
  struct cutting *c = it->state;
  struct jval item;
  if (c->n <= 0) return next_batch_of_none(r, it, out);
  if (!it->inner) it->inner = jinja_iter_open(r, it->source);
  struct jlist *l = jinja_val_list(r, 0);
  while (it->inner && (int64_t)l->n < c->n && jinja_iter_next(r, it->inner, &item)) jinja_val_push(r, l, item);
  if (!l->n) return false;
  while (fills(c) && (int64_t)l->n < c->n && !r->failed) jinja_val_push(r, l, c->fill);
  *out = jv_list(l);
  return true;
}

FILTER(do_batch) { /* linecount fill_with */
  (void)rest;
  struct cutting *c = jinja_run_alloc(r, 1, sizeof *c);
  *c = (struct cutting){.n = jinja_call_int(r, a[0], 0, false), .fill = a[1]};
  return jinja_iter_value(jinja_iter_make(r, next_batch, self, c));
}

static bool next_slice(struct jinja_run *r, struct jiter *it, struct jval *out) {
  struct cutting *c = it->state;
  if (!c->all) c->all = jinja_iter_list(r, it->source);
  if (c->n == 0) jinja_run_fail(r, "division by zero");
  if (r->failed || it->pos >= c->n) return false;
  int64_t len = (int64_t)c->all->n, each = len / c->n, extra = len % c->n, k = it->pos++;
  int64_t begin = k * each + (k < extra ? k : extra), end = begin + each + (k < extra);
  struct jlist *l = jinja_val_list(r, 0);
  for (int64_t i = begin; i < end; i++) jinja_val_push(r, l, c->all->items[i]);
  if (fills(c) && k >= extra) jinja_val_push(r, l, c->fill);
  *out = jv_list(l);
  return true;
}

FILTER(do_slice) { /* slices fill_with */
  (void)rest;
  struct cutting *c = jinja_run_alloc(r, 1, sizeof *c);
  *c = (struct cutting){.n = jinja_call_int(r, a[0], 0, false), .fill = a[1]};
  return jinja_iter_value(jinja_iter_make(r, next_slice, self, c));
}

/* ---- the rest ---- */

FILTER(do_join) { /* d attribute */
  (void)rest;
  struct jiter *it = jinja_iter_open(r, self);
  struct jval item;
  const struct jstr *between = jv_given(a[0]) ? jinja_repr_str(r, a[0]) : &jinja_str_empty;
  bool escape = r->autoescape, first = true;
  struct jinja_sb sb;
  jinja_sb_init(&sb, r);
  for (; it && jinja_iter_next(r, it, &item) && !sb.over; first = false) {
    const struct jstr *text = jinja_repr_str(r, jinja_attr_path(r, item, a[1], jv_missing()));
    if (!first) jinja_sb_str(&sb, escape ? jinja_str_escape(r, between) : between);
    jinja_sb_str(&sb, escape ? jinja_str_escape(r, text) : text);
    jinja_run_bytes(r, text->len + between->len);
  }
  return jv_str(jinja_str_markup(r, jinja_sb_done(r, &sb), escape));
}

FILTER(do_first) {
  (void)a, (void)rest;
  struct jiter *it = jinja_iter_open(r, self);
  struct jval item;
  if (it && jinja_iter_next(r, it, &item)) return item;
  return jinja_val_undefined(r, "No first item, sequence was empty.", jv_missing(), jv_missing());
}

static struct jiter *reversed(struct jinja_run *r, struct jval v) {
  struct jiter *it = jinja_iter_reversed(r, v);
  if (!it) jinja_run_fail(r, "'%s' object is not reversible", jinja_val_type_name(v));
  return it;
}

FILTER(do_last) {
  (void)a, (void)rest;
  struct jval item;
  size_t n = 0;
  if (jv_is_seq(self) && jinja_val_len(r, self, &n) && n) return self.list->items[n - 1];
  struct jiter *it = reversed(r, self);
  if (it && jinja_iter_next(r, it, &item)) return item;
  return jinja_val_undefined(r, "No last item, sequence was empty.", jv_missing(), jv_missing());
}

FILTER(do_random) {
  (void)a, (void)rest;
  size_t n = 0;
  if (self.type == JV_DICT || !jinja_val_len(r, self, &n))
    jinja_run_fail(r, "random needs a sequence, not '%s'", jinja_val_type_name(self));
  if (n == 0) return jinja_val_undefined(r, "No random item, sequence was empty.", jv_missing(), jv_missing());
  return jinja_attr_item(r, self, jv_int((int64_t)(mix_next(&r->random) % n)));
}

FILTER(do_length) {
  (void)a, (void)rest;
  size_t n = 0;
  if (self.type == JV_LOOP) return jinja_loop_attr(r, self.loop, SLICE("length"));
  if (!jinja_val_len(r, self, &n)) jinja_run_fail(r, "object of type '%s' has no len()", jinja_val_type_name(self));
  return jv_int((int64_t)n);
}

FILTER(do_list) {
  (void)a, (void)rest;
  return jv_list(jinja_iter_list(r, self));
}

FILTER(do_reverse) {
  (void)a, (void)rest;
  if (jv_is_str(self)) return jinja_attr_slice(r, self, jv_none(), jv_none(), jv_int(-1));
  struct jiter *it = jinja_iter_reversed(r, self);
  if (it) return jinja_iter_value(it);
  it = jinja_iter_reversed(r, jv_list(jinja_iter_list(r, self)));
  return jv_list(jinja_iter_list(r, jinja_iter_value(it)));
}

FILTER(do_sum) { /* attribute start */
  (void)rest;
  struct jiter *it = jinja_iter_open(r, self);
  struct jval item, sum = jv_given(a[1]) ? a[1] : jv_int(0);
  if (jv_is_str(sum)) jinja_run_fail(r, "sum() can't sum strings");
  while (it && jinja_iter_next(r, it, &item)) sum = jinja_ops_binary(r, TOK_ADD, sum, jinja_attr_path(r, item, a[0], jv_missing()));
  return sum;
}

FILTER(do_attr) { /* name */
  (void)rest;
  const struct jstr *name = jinja_call_str(r, a[0]);
  if (self.type == JV_UNDEFINED) return jinja_attr_get(r, self, name);
  struct jval own = jinja_attr_own(r, self, jinja_str_slice(name));
  return jv_given(own) ? own : jinja_val_undefined(r, NULL, self, jv_str(name));
}

FILTER(do_default) { /* default_value boolean */
  (void)rest;
  if (self.type != JV_UNDEFINED && !(jinja_val_true(a[1]) && !jinja_val_true(self))) return self;
  return jv_given(a[0]) ? a[0] : jinja_str_cstr(r, "");
}

const struct jinja_builtin jinja_seq_filters[] = {
    {"attr", "name", do_attr},
    {"batch", "linecount fill_with?", do_batch},
    {"count", "", do_length},
    {"d", "default_value? boolean?", do_default},
    {"default", "default_value? boolean?", do_default},
    {"dictsort", "case_sensitive? by? reverse?", do_dictsort},
    {"first", "", do_first},
    {"groupby", "attribute default? case_sensitive?", do_groupby},
    {"items", "", do_items},
    {"join", "d? attribute?", do_join},
    {"last", "", do_last},
    {"length", "", do_length},
    {"list", "", do_list},
    {"map", "* **", do_map},
    {"max", "case_sensitive? attribute?", do_max},
    {"min", "case_sensitive? attribute?", do_min},
    {"random", "", do_random},
    {"reject", "* **", do_reject},
    {"rejectattr", "* **", do_rejectattr},
    {"reverse", "", do_reverse},
    {"select", "* **", do_select},
    {"selectattr", "* **", do_selectattr},
    {"slice", "slices fill_with?", do_slice},
    {"sort", "reverse? case_sensitive? attribute?", do_sort},
    {"sum", "attribute? start?", do_sum},
    {"unique", "case_sensitive? attribute?", do_unique},
    {NULL, NULL, NULL},
};
