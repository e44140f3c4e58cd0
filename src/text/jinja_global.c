/* jinja_global: the functions that every template may call. SPDX-License-Identifier: Apache-2.0
 * Jinja's own range, dict, cycler, joiner, namespace, and raise_exception and strftime_now of transformers. lipsum is left out: its
 * text is random. */
#include <time.h>

#include "base/clock.h"
#include "text/jinja_call.h"

enum { RANGE_MAX = 100000 };

static struct jval make_range(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest) {
  (void)self, (void)rest;
  struct jrange *range = jinja_run_alloc(r, 1, sizeof *range);
  int64_t first = jinja_call_int(r, a[0], 0, false);
  range->start = jv_given(a[1]) ? first : 0;
  range->stop = jinja_call_int(r, a[1], first, false);
  range->step = jinja_call_int(r, a[2], 1, false);
  if (range->step == 0) jinja_run_fail(r, "range() arg 3 must not be zero");
  uint64_t n = 0;
  if (range->step > 0 && range->stop > range->start) n = ((uint64_t)range->stop - (uint64_t)range->start - 1) / (uint64_t)range->step + 1;
  if (range->step < 0 && range->stop < range->start)
    n = ((uint64_t)range->start - (uint64_t)range->stop - 1) / (0 - (uint64_t)range->step) + 1;
  if (n > RANGE_MAX) jinja_run_fail(r, "Range too big. The sandbox blocks ranges larger than %d", RANGE_MAX);
  range->n = n > RANGE_MAX ? 0 : (size_t)n;
  return (struct jval){.type = JV_RANGE, .range = range};
}

/* Adds what dict(value) holds: a mapping, or pairs. */
static void add_members(struct jinja_run *r, struct jdict *d, struct jval value) {
  if (value.type == JV_DICT) {
    for (size_t i = 0; i < value.dict->n; i++) jinja_val_set(r, d, value.dict->entries[i].key, value.dict->entries[i].value);
    return;
  }
  struct jiter *it = jinja_iter_open(r, value);
  struct jval pair;
  while (it && jinja_iter_next(r, it, &pair)) {
    struct jlist *two = jinja_iter_list(r, pair);
    if (two->n == 2) jinja_val_set(r, d, two->items[0], two->items[1]);
    else jinja_run_fail(r, "dict() takes pairs, but an element has length %zu", two->n);
  }
}

static struct jdict *members(struct jinja_run *r, struct jval first, const struct jargs *rest) {
  struct jdict *d = jinja_val_dict(r);
  if (jv_given(first)) add_members(r, d, first);
  for (size_t i = 0; i < rest->n_kw; i++) jinja_val_set(r, d, rest->kw[i].key, rest->kw[i].value);
  return d;
}

static struct jval make_dict(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest) {
  (void)self;
  return jv_dict(members(r, a[0], rest));
}

static struct jval make_namespace(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest) {
  (void)self;
  struct jdict *d = members(r, a[0], rest);
  for (size_t i = 0; i < d->n; i++)
    if (jv_is_str(d->entries[i].key) && slice_starts(jinja_str_slice(d->entries[i].key.str), SLICE("_")))
      jinja_run_fail(r, "Chat templates cannot store underscore-prefixed attributes on a namespace");
  return (struct jval){.type = JV_NAMESPACE, .dict = d};
}

static struct jval make_cycler(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest) {
  (void)self, (void)a;
  if (rest->n_pos == 0) {
    jinja_run_fail(r, "at least one item has to be provided");
    return jv_undefined();
  }
  struct jlist *items = jinja_val_list(r, rest->n_pos);
  for (size_t i = 0; i < items->n; i++) items->items[i] = rest->pos[i];
  struct jcycler *c = jinja_run_alloc(r, 1, sizeof *c);
  *c = (struct jcycler){.items = items->items, .n = items->n};
  return items->n ? (struct jval){.type = JV_CYCLER, .cycler = c} : jv_undefined();
}

static struct jval make_joiner(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest) {
  (void)self, (void)rest;
  struct jcycler *j = jinja_run_alloc(r, 1, sizeof *j);
  j->items = jinja_run_alloc(r, 1, sizeof *j->items);
  j->items[0] = jv_given(a[0]) ? a[0] : jinja_str_cstr(r, ", ");
  return (struct jval){.type = JV_JOINER, .joiner = j};
}

static struct jval raise_exception(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest) {
  (void)self, (void)rest;
  jinja_run_raise(r, jinja_str_slice(jinja_repr_str(r, a[0])));
  return jv_undefined();
}

static struct jval strftime_now(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest) {
  (void)self, (void)rest;
  const struct jstr *format = jinja_call_str(r, a[0]);
  time_t now = (time_t)(r->now_s < 0 ? clock_wall_s() : r->now_s);
  struct tm local;
  char text[1024];
  if (!localtime_r(&now, &local)) return jv_str(&jinja_str_empty);
  struct jinja_sb sb;
  jinja_sb_init(&sb, r);
  /* One directive at a time: text between them may hold anything, and a long result cannot be cut. */
  for (size_t i = 0; i < format->len; i++) {
    size_t n = 2;
    char one[4] = {'%', 0, 0, 0};
    if (format->data[i] != '%' || i + 1 == format->len) {
      jinja_sb_sub(&sb, format, i, i + 1);
      continue;
    }
    if (strchr("-_0^#EO", format->data[i + 1]) && i + 2 < format->len) n = 3;
    memcpy(one + 1, format->data + i + 1, n - 1);
    if (slice_eq(slice_make(one, 2), SLICE("%f"))) jinja_sb_cstr(&sb, "000000"); /* Python's microseconds */
    else if (one[1] != 'z' && one[1] != 'Z') jinja_sb_add(&sb, text, strftime(text, sizeof text, one, &local));
    i += n - 1; /* %z and %Z of a time without a zone are empty */
  }
  return jinja_sb_value(r, &sb);
}

static const struct jinja_builtin globals[] = {
    {"range", "_start _stop? _step?", make_range},
    {"dict", "_members? **", make_dict},
    {"namespace", "_members? **", make_namespace},
    {"cycler", "*", make_cycler},
    {"joiner", "sep?", make_joiner},
    {"raise_exception", "message", raise_exception},
    {"strftime_now", "format", strftime_now},
    {NULL, NULL, NULL},
};

const struct jinja_builtin *jinja_global_find(struct slice name) { return jinja_call_lookup(globals, name); }
