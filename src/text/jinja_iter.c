/* jinja_iter: walking over values, one item at a time. SPDX-License-Identifier: Apache-2.0
 * Generators (map, select, …) are iterators whose next function works when it is asked, as Python's do. */
#include "text/jinja_call.h"

struct jiter *jinja_iter_make(struct jinja_run *r, bool (*next)(struct jinja_run *, struct jiter *, struct jval *), struct jval source,
                              void *state) {
  struct jiter *it = jinja_run_alloc(r, 1, sizeof *it);
  it->next = next;
  it->source = source;
  it->state = state;
  return it;
}

struct jval jinja_iter_value(struct jiter *it) { return (struct jval){.type = JV_ITER, .iter = it}; }

bool jinja_iter_next(struct jinja_run *r, struct jiter *it, struct jval *out) {
  *out = jv_undefined();
  if (it->done || !jinja_run_step(r, 1)) return false;
  if (!jinja_run_enter(r)) return false; /* generators on generators */
  bool more = it->next(r, it, out);
  jinja_run_leave(r);
  if (!more || r->failed) it->done = true;
  return !it->done;
}

static bool next_in_list(struct jinja_run *r, struct jiter *it, struct jval *out) {
  (void)r;
  if ((size_t)it->pos >= it->source.list->n) return false;
  *out = it->source.list->items[it->pos++];
  return true;
}

static bool next_in_str(struct jinja_run *r, struct jiter *it, struct jval *out) {
  const struct jstr *s = it->source.str;
  size_t from = (size_t)it->pos, to = from;
  if (from >= s->len) return false;
  jinja_char_next(s, &to);
  *out = jv_str(jinja_str_markup(r, jinja_str_sub(r, s, from, to), false)); /* characters of markup are plain, as in Python */
  it->pos = (int64_t)to;
  return true;
}

static struct jval entry_item(struct jinja_run *r, const struct jentry *e, enum jview_kind kind) {
  return kind == JVIEW_KEYS ? e->key : kind == JVIEW_VALUES ? e->value : jinja_val_pair(r, e->key, e->value);
}

static bool next_in_dict(struct jinja_run *r, struct jiter *it, struct jval *out) {
  bool view = it->source.type == JV_VIEW;
  const struct jdict *d = view ? it->source.view->dict : it->source.dict;
  if ((size_t)it->pos >= d->n) return false;
  *out = entry_item(r, &d->entries[it->pos++], view ? it->source.view->kind : JVIEW_KEYS);
  return true;
}

static bool next_in_range(struct jinja_run *r, struct jiter *it, struct jval *out) {
  (void)r;
  const struct jrange *range = it->source.range;
  if ((size_t)it->pos >= range->n) return false;
  *out = jv_int(jv_range_at(range, (uint64_t)it->pos++));
  return true;
}

static bool next_in_loop(struct jinja_run *r, struct jiter *it, struct jval *out) {
  struct jval item;
  if (!jinja_loop_next(r, it->source.loop, &item)) return false;
  *out = jinja_val_pair(r, item, it->source);
  return true;
}

static bool next_of_nothing(struct jinja_run *r, struct jiter *it, struct jval *out) {
  (void)r, (void)it, (void)out;
  return false;
}

struct jiter *jinja_iter_try(struct jinja_run *r, struct jval v) {
  switch (v.type) {
    case JV_UNDEFINED: return jinja_iter_make(r, next_of_nothing, v, NULL);
    case JV_STR: return jinja_iter_make(r, next_in_str, v, NULL);
    case JV_LIST:
    case JV_TUPLE: return jinja_iter_make(r, next_in_list, v, NULL);
    case JV_DICT:
    case JV_VIEW: return jinja_iter_make(r, next_in_dict, v, NULL);
    case JV_RANGE: return jinja_iter_make(r, next_in_range, v, NULL);
    case JV_LOOP: return jinja_iter_make(r, next_in_loop, v, NULL);
    case JV_ITER: return v.iter;
    default: return NULL;
  }
}

struct jiter *jinja_iter_open(struct jinja_run *r, struct jval v) {
  struct jiter *it = jinja_iter_try(r, v);
  if (!it) jinja_run_fail(r, "'%s' object is not iterable", jinja_val_type_name(v));
  return it;
}

struct jlist *jinja_iter_list(struct jinja_run *r, struct jval v) {
  struct jlist *l = jinja_val_list(r, 0);
  struct jiter *it = jinja_iter_open(r, v);
  struct jval item;
  while (it && jinja_iter_next(r, it, &item)) jinja_val_push(r, l, item);
  return l;
}

static bool next_reversed(struct jinja_run *r, struct jiter *it, struct jval *out) {
  (void)r;
  if (it->pos <= 0) return false;
  *out = it->source.list->items[--it->pos];
  return true;
}

struct jiter *jinja_iter_reversed(struct jinja_run *r, struct jval v) {
  switch (v.type) {
    case JV_UNDEFINED: return jinja_iter_make(r, next_of_nothing, v, NULL);
    case JV_STR:
    case JV_LIST:
    case JV_TUPLE:
    case JV_DICT:
    case JV_VIEW:
    case JV_RANGE: {
      struct jval items = jv_is_seq(v) ? v : jv_list(jinja_iter_list(r, v));
      struct jiter *it = jinja_iter_make(r, next_reversed, items, NULL);
      it->pos = (int64_t)items.list->n;
      return it;
    }
    default: return NULL;
  }
}
