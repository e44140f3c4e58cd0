/* jinja_loop: the variable `loop`. SPDX-License-Identifier: Apache-2.0
 * Looks ahead at most one item, and only when the template asks; the length of a generator is found by reading it to its end. */
#include "text/jinja_call.h"

struct jloop *jinja_loop_new(struct jinja_run *r, struct jval iterable, struct jiter *it) {
  struct jloop *l = jinja_run_alloc(r, 1, sizeof *l);
  *l = (struct jloop){.iterable = iterable, .it = it, .index0 = -1, .length = -1};
  return l; /* JV_MISSING is 0: before, current, after and changed are missing */
}

static void peek(struct jinja_run *r, struct jloop *l) {
  struct jval item;
  if (!jv_given(l->after) && jinja_iter_next(r, l->it, &item)) l->after = item;
}

bool jinja_loop_next(struct jinja_run *r, struct jloop *l, struct jval *out) {
  struct jval item = l->after;
  if (!jv_given(item) && !jinja_iter_next(r, l->it, &item)) return false;
  l->after = jv_missing();
  l->index0++;
  l->before = l->current;
  l->current = item;
  *out = item;
  return true;
}

static int64_t length(struct jinja_run *r, struct jloop *l) {
  size_t n;
  if (l->length >= 0) return l->length;
  if (jinja_val_len(r, l->iterable, &n)) return l->length = (int64_t)n;
  struct jval rest = jv_list(jinja_iter_list(r, jinja_iter_value(l->it)));
  l->it = jinja_iter_open(r, rest);
  return l->length = (int64_t)rest.list->n + l->index0 + 1 + jv_given(l->after);
}

static struct jval loop_cycle(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest) {
  (void)a;
  if (rest->n_pos == 0) {
    jinja_run_fail(r, "no items for cycling given");
    return jv_undefined();
  }
  return rest->pos[(uint64_t)self.loop->index0 % rest->n_pos];
}

static struct jval loop_changed(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest) {
  (void)a;
  struct jlist *now = jinja_val_list(r, rest->n_pos);
  for (size_t i = 0; i < now->n; i++) now->items[i] = rest->pos[i];
  if (jv_given(self.loop->changed) && jinja_val_equal(r, self.loop->changed, jv_tuple(now))) return jv_bool(false);
  self.loop->changed = jv_tuple(now);
  return jv_bool(true);
}

static const struct jinja_builtin methods[] = {
    {"cycle", "*", loop_cycle},
    {"changed", "*", loop_changed},
    {NULL, NULL, NULL},
};

static struct jval neighbour(struct jinja_run *r, struct jval item, const char *hint) {
  return jv_given(item) ? item : jinja_val_undefined(r, hint, jv_missing(), jv_missing());
}

struct jval jinja_loop_attr(struct jinja_run *r, struct jloop *l, struct slice name) {
  struct jval self = {.type = JV_LOOP, .loop = l};
  const struct jinja_builtin *method = jinja_call_lookup(methods, name);
  if (method) return jinja_call_method(r, method, self);
  if (slice_eq(name, SLICE("index0"))) return jv_int(l->index0);
  if (slice_eq(name, SLICE("index"))) return jv_int(l->index0 + 1);
  if (slice_eq(name, SLICE("first"))) return jv_bool(l->index0 == 0);
  if (slice_eq(name, SLICE("length"))) return jv_int(length(r, l));
  if (slice_eq(name, SLICE("revindex0"))) return jv_int(length(r, l) - l->index0 - 1);
  if (slice_eq(name, SLICE("revindex"))) return jv_int(length(r, l) - l->index0);
  if (slice_eq(name, SLICE("depth0"))) return jv_int(l->depth0);
  if (slice_eq(name, SLICE("depth"))) return jv_int(l->depth0 + 1);
  if (slice_eq(name, SLICE("previtem"))) return neighbour(r, l->index0 == 0 ? jv_missing() : l->before, "there is no previous item");
  if (slice_eq(name, SLICE("last")) || slice_eq(name, SLICE("nextitem"))) {
    peek(r, l);
    return name.data[0] == 'l' ? jv_bool(!jv_given(l->after)) : neighbour(r, l->after, "there is no next item");
  }
  return jv_missing();
}
