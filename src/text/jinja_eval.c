/* jinja_eval: evaluates expressions. SPDX-License-Identifier: Apache-2.0
 * A recursive walk over the tree; run->at always holds the node in work, so that an error knows its place. */
#include "text/jinja_call.h"

/* ---- variables ---- */

struct jval *jinja_eval_slot(struct jframe *f, struct jinja_ref ref) {
  for (uint32_t i = 0; i < ref.hops; i++) f = f->outer;
  return &f->slots[ref.slot];
}

struct jval jinja_eval_resolve(struct jinja_run *r, struct slice name) {
  struct jval *v = r->vars ? jinja_val_getn(r, r->vars, name) : NULL;
  if (!v) v = jinja_val_getn(r, r->context, name);
  if (v) return *v;
  const struct jinja_builtin *global = jinja_global_find(name);
  return global ? jinja_call_method(r, global, jv_missing()) : jv_missing();
}

static struct jval eval_name(struct jinja_run *r, const struct jinja_node *n, struct jframe *f) {
  struct jval v = *jinja_eval_slot(f, n->name.ref);
  if (jv_given(v)) return v;
  return jinja_val_undefined(r, NULL, jv_missing(), jv_str(jinja_str_borrow(&r->arena, n->name.name)));
}

/* ---- literals ---- */

static struct jval eval_list(struct jinja_run *r, const struct jinja_node *n, struct jframe *f) {
  struct jlist *l = jinja_val_list(r, n->items.n);
  size_t i = 0;
  for (const struct jinja_node *item = n->items.first; item && i < l->n; item = item->next) l->items[i++] = jinja_eval(r, item, f);
  return n->kind == N_TUPLE ? jv_tuple(l) : jv_list(l);
}

static struct jval eval_dict(struct jinja_run *r, const struct jinja_node *n, struct jframe *f) {
  struct jdict *d = jinja_val_dict(r);
  for (const struct jinja_node *key = n->items.first; key && key->next; key = key->next->next) {
    struct jval k = jinja_eval(r, key, f);
    jinja_val_set(r, d, k, jinja_eval(r, key->next, f));
  }
  return jv_dict(d);
}

/* ---- operators ---- */

static struct jval eval_concat(struct jinja_run *r, const struct jinja_node *n, struct jframe *f) {
  struct jinja_sb sb;
  jinja_sb_init(&sb, r);
  for (const struct jinja_node *part = n->items.first; part && !r->failed; part = part->next) {
    const struct jstr *text = jinja_repr_str(r, jinja_eval(r, part, f));
    jinja_sb_str(&sb, r->autoescape ? jinja_str_escape(r, text) : text);
  }
  const struct jstr *joined = jinja_sb_done(r, &sb);
  return jv_str(r->autoescape ? jinja_str_markup(r, joined, true) : joined);
}

static struct jval eval_compare(struct jinja_run *r, const struct jinja_node *n, struct jframe *f) {
  struct jval left = jinja_eval(r, n->compare.left, f);
  for (const struct jinja_node *link = n->compare.links.first; link; link = link->next) {
    struct jval right = jinja_eval(r, link->link.right, f);
    r->at = link;
    if (!jinja_ops_compare(r, link->link.op, left, right) || r->failed) return jv_bool(false);
    left = right;
  }
  return jv_bool(true);
}

static struct jval eval_cond(struct jinja_run *r, const struct jinja_node *n, struct jframe *f) {
  if (jinja_val_true(jinja_eval(r, n->cond.test, f))) return jinja_eval(r, n->cond.yes, f);
  if (n->cond.no) return jinja_eval(r, n->cond.no, f);
  return jinja_val_undefined(r, "the inline if-expression evaluated to false and no else section was defined", jv_missing(), jv_missing());
}

static struct jval eval_and_or(struct jinja_run *r, const struct jinja_node *n, struct jframe *f) {
  struct jval left = jinja_eval(r, n->op.left, f);
  return jinja_val_true(left) == (n->kind == N_OR) ? left : jinja_eval(r, n->op.right, f);
}

static struct jval eval_binary(struct jinja_run *r, const struct jinja_node *n, struct jframe *f) {
  struct jval left = jinja_eval(r, n->op.left, f), right = jinja_eval(r, n->op.right, f);
  r->at = n;
  return jinja_ops_binary(r, n->op.op, left, right);
}

/* ---- subscripts ---- */

static struct jval eval_bound(struct jinja_run *r, const struct jinja_node *n, struct jframe *f) {
  return n ? jinja_eval(r, n, f) : jv_none();
}

static struct jval eval_item(struct jinja_run *r, const struct jinja_node *n, struct jframe *f) {
  struct jval object = jinja_eval(r, n->item.object, f);
  const struct jinja_node *index = n->item.index;
  if (index->kind == N_SLICE) {
    struct jval start = eval_bound(r, index->slice.start, f), stop = eval_bound(r, index->slice.stop, f),
                step = eval_bound(r, index->slice.step, f);
    r->at = n;
    return jinja_attr_slice(r, object, start, stop, step);
  }
  struct jval key = jinja_eval(r, index, f);
  r->at = n;
  return jinja_attr_item(r, object, key);
}

static struct jval eval_attr(struct jinja_run *r, const struct jinja_node *n, struct jframe *f) {
  struct jval object = jinja_eval(r, n->item.object, f);
  r->at = n;
  return jinja_attr_get(r, object, n->item.name);
}

/* ---- calls ---- */

/* Adds the items of *args. */
static void spread(struct jinja_run *r, const struct jinja_node *star, struct jframe *f, struct jargs *out) {
  struct jlist *all = jinja_val_list(r, out->n_pos), *more = jinja_iter_list(r, jinja_eval(r, star, f));
  for (size_t i = 0; i < all->n; i++) all->items[i] = out->pos[i];
  for (size_t i = 0; i < more->n; i++) jinja_val_push(r, all, more->items[i]);
  out->pos = all->items;
  out->n_pos = all->n;
}

/* Adds the members of **kwargs. */
static void spread_keywords(struct jinja_run *r, const struct jinja_node *node, struct jframe *f, struct jargs *out) {
  struct jval more = jinja_eval(r, node, f);
  if (more.type != JV_DICT) {
    jinja_run_fail(r, "the argument after ** must be a mapping, not %s", jinja_val_type_name(more));
    return;
  }
  struct jkeyword *kw = jinja_run_alloc(r, out->n_kw + more.dict->n, sizeof *kw);
  if (!kw) return;
  for (size_t i = 0; i < out->n_kw; i++) kw[i] = out->kw[i];
  for (size_t i = 0; i < more.dict->n; i++) {
    const struct jentry *e = &more.dict->entries[i];
    if (!jv_is_str(e->key)) jinja_run_fail(r, "keywords must be strings");
    for (size_t k = 0; k < out->n_kw; k++)
      if (jinja_val_equal(r, kw[k].key, e->key)) jinja_run_fail(r, "a keyword argument is given twice");
    kw[out->n_kw + i] = (struct jkeyword){e->key, e->value};
  }
  out->kw = kw;
  out->n_kw += more.dict->n;
}

static void eval_args(struct jinja_run *r, const struct jinja_args *args, struct jval caller, struct jframe *f, struct jargs *out) {
  size_t n = args->positional.n, n_kw = args->keywords.n + jv_given(caller), i = 0;
  struct jval *pos = jinja_run_alloc(r, n, sizeof *pos);
  struct jkeyword *kw = jinja_run_alloc(r, n_kw, sizeof *kw);
  *out = (struct jargs){0};
  if (!pos || !kw) return;
  for (const struct jinja_node *a = args->positional.first; a; a = a->next) pos[i++] = jinja_eval(r, a, f);
  i = 0;
  for (const struct jinja_node *k = args->keywords.first; k; k = k->next)
    kw[i++] = (struct jkeyword){jv_str(k->keyword.key), jinja_eval(r, k->keyword.value, f)};
  if (jv_given(caller)) kw[i] = (struct jkeyword){jinja_str_cstr(r, "caller"), caller};
  *out = (struct jargs){pos, n, kw, n_kw};
  if (args->star) spread(r, args->star, f, out);
  if (args->star_star) spread_keywords(r, args->star_star, f, out);
}

struct jval jinja_eval_call_with(struct jinja_run *r, const struct jinja_node *n, struct jval caller, struct jframe *f) {
  struct jargs args;
  struct jval callee = jinja_eval(r, n->call.subject, f);
  eval_args(r, &n->call.args, caller, f, &args);
  r->at = n;
  return r->failed ? jv_undefined() : jinja_call_value(r, callee, &args);
}

/* A filter or test on a subject. */
static struct jval apply(struct jinja_run *r, const struct jinja_node *n, struct jval subject, struct jframe *f) {
  struct jargs args;
  eval_args(r, &n->call.args, jv_missing(), f, &args);
  r->at = n;
  if (!n->call.builtin)
    jinja_run_fail(r, "No %s named '%.*s' found", n->kind == N_FILTER ? "filter" : "test",
                   (int)(n->call.name->len < 80 ? n->call.name->len : 80), n->call.name->data);
  return r->failed ? jv_undefined() : jinja_call_builtin(r, n->call.builtin, subject, &args);
}

struct jval jinja_eval_filter_on(struct jinja_run *r, const struct jinja_node *n, struct jval captured, struct jframe *f) {
  const struct jinja_node *inner = n->call.subject;
  struct jval subject = inner ? jinja_eval_filter_on(r, inner, captured, f) : captured;
  return apply(r, n, subject, f);
}

/* ---- the walk ---- */

static struct jval eval(struct jinja_run *r, const struct jinja_node *n, struct jframe *f) {
  r->at = n;
  switch (n->kind) {
    case N_CONST: return n->constant;
    case N_NAME: return eval_name(r, n, f);
    case N_TUPLE:
    case N_LIST: return eval_list(r, n, f);
    case N_DICT: return eval_dict(r, n, f);
    case N_UNARY: return jinja_ops_unary(r, n->op.op, jinja_eval(r, n->op.left, f));
    case N_NOT: return jv_bool(!jinja_val_true(jinja_eval(r, n->op.left, f)));
    case N_BINARY: return eval_binary(r, n, f);
    case N_AND:
    case N_OR: return eval_and_or(r, n, f);
    case N_CONCAT: return eval_concat(r, n, f);
    case N_COMPARE: return eval_compare(r, n, f);
    case N_COND: return eval_cond(r, n, f);
    case N_ATTR: return eval_attr(r, n, f);
    case N_ITEM: return eval_item(r, n, f);
    case N_CALL: return jinja_eval_call_with(r, n, jv_missing(), f);
    case N_FILTER:
    case N_TEST: return apply(r, n, jinja_eval(r, n->call.subject, f), f);
    default: jinja_run_fail(r, "this is no expression"); return jv_undefined();
  }
}

struct jval jinja_eval(struct jinja_run *r, const struct jinja_node *n, struct jframe *f) {
  if (!jinja_run_step(r, 1) || !jinja_run_enter(r)) return jv_undefined();
  struct jval v = eval(r, n, f);
  jinja_run_leave(r);
  return v;
}
