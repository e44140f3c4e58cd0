/* jinja_exec: runs statements: output, assignments, loops, macros, captures. SPDX-License-Identifier: Apache-2.0
 * run->out is where text goes; a capture puts a builder of its own there for a while. */
#include "text/jinja_call.h"

enum flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE };

static enum flow exec_all(struct jinja_run *r, const struct jinja_nodes *body, struct jframe *f);

/* ---- output ---- */

static void write_str(struct jinja_run *r, const struct jstr *s) {
  if (!jinja_run_bytes(r, s->len)) return;
  jinja_sb_str(r->out, s);
  if (r->out->over) jinja_run_fail_code(r, ERROR_TOO_LARGE, "its text grows over %zu bytes", r->output_max);
}

static void write_value(struct jinja_run *r, struct jval v) {
  const struct jstr *s = jinja_repr_str(r, v);
  write_str(r, r->autoescape ? jinja_str_escape(r, s) : s);
}

static void capture_begin(struct jinja_run *r, struct jinja_sb *sb, struct jinja_sb **saved) {
  jinja_sb_init(sb, r);
  if (sb->max > r->output_max) sb->max = r->output_max;
  *saved = r->out;
  r->out = sb;
}

static const struct jstr *capture_end(struct jinja_run *r, struct jinja_sb *sb, struct jinja_sb *saved) {
  r->out = saved;
  const struct jstr *text = jinja_sb_done(r, sb);
  return r->autoescape ? jinja_str_markup(r, text, true) : text;
}

/* ---- scopes ---- */

static struct jframe *activate(struct jinja_run *r, const struct jinja_function *function, struct jframe *outer) {
  struct jframe *f = jinja_run_alloc(r, 1, sizeof *f);
  f->outer = outer;
  f->slots = jinja_run_alloc(r, function->n_slots, sizeof *f->slots);
  return f->slots ? f : NULL;
}

/* Loads the variables of a scope that is entered; f: the activation of its function. */
static void enter(struct jinja_run *r, const struct jinja_scope *s, struct jframe *f) {
  for (const struct jinja_var *v = s->vars; v && jinja_run_step(r, 1); v = v->next) {
    if (v->load == LOAD_RESOLVE) f->slots[v->slot] = jinja_eval_resolve(r, v->name);
    else if (v->load == LOAD_ALIAS) f->slots[v->slot] = *jinja_eval_slot(f, v->outer);
    else if (v->load == LOAD_UNDEFINED) f->slots[v->slot] = jv_missing();
  }
}

static void leave(const struct jinja_scope *s, struct jframe *f) {
  for (const struct jinja_var *v = s->vars; v; v = v->next) f->slots[v->slot] = jv_missing();
}

/* ---- assignment ---- */

static void assign(struct jinja_run *r, const struct jinja_node *target, struct jval v, struct jframe *f);

static void assign_tuple(struct jinja_run *r, const struct jinja_node *target, struct jval v, struct jframe *f) {
  struct jiter *it = jinja_iter_open(r, v);
  struct jval item;
  size_t n = 0;
  for (const struct jinja_node *t = target->items.first; t && it; t = t->next, n++) {
    if (!jinja_iter_next(r, it, &item)) {
      jinja_run_fail(r, "not enough values to unpack (expected %zu, got %zu)", target->items.n, n);
      return;
    }
    assign(r, t, item, f);
  }
  if (it && jinja_iter_next(r, it, &item)) jinja_run_fail(r, "too many values to unpack (expected %zu)", target->items.n);
}

static void assign_attribute(struct jinja_run *r, const struct jinja_node *target, struct jval v, struct jframe *f) {
  struct jval ns = *jinja_eval_slot(f, target->name.ref);
  if (ns.type != JV_NAMESPACE) jinja_run_fail(r, "cannot assign attribute on non-namespace object");
  else if (slice_starts(target->name.attr, SLICE("_")))
    jinja_run_fail(r, "Chat templates cannot store underscore-prefixed attributes on a namespace");
  else jinja_val_setn(r, ns.dict, target->name.attr, v);
}

static void assign(struct jinja_run *r, const struct jinja_node *target, struct jval v, struct jframe *f) {
  if (r->failed) return;
  if (target->kind == N_TUPLE) {
    assign_tuple(r, target, v, f);
  } else if (target->kind == N_NSREF) {
    assign_attribute(r, target, v, f);
  } else {
    *jinja_eval_slot(f, target->name.ref) = v;
    if (target->name.exported && r->jinja->blocks) jinja_val_setn(r, r->vars, target->name.name, v);
  }
}

static void check_namespaces(struct jinja_run *r, const struct jinja_node *target, struct jframe *f) {
  if (target->kind == N_TUPLE)
    for (const struct jinja_node *t = target->items.first; t; t = t->next) check_namespaces(r, t, f);
  if (target->kind == N_NSREF && jinja_eval_slot(f, target->name.ref)->type != JV_NAMESPACE)
    jinja_run_fail(r, "cannot assign attribute on non-namespace object");
}

static void exec_set(struct jinja_run *r, const struct jinja_node *n, struct jframe *f) {
  check_namespaces(r, n->set.target, f);
  struct jval v = jinja_eval(r, n->set.value, f);
  r->at = n;
  assign(r, n->set.target, v, f);
}

static enum flow exec_set_block(struct jinja_run *r, const struct jinja_node *n, struct jframe *f) {
  struct jinja_sb sb, *saved;
  enter(r, n->set.scope, f);
  capture_begin(r, &sb, &saved);
  enum flow flow = exec_all(r, &n->set.body, f);
  struct jval v = jv_str(capture_end(r, &sb, saved));
  if (flow == FLOW_ON) {
    if (n->set.value) v = jinja_eval_filter_on(r, n->set.value, v, f);
    assign(r, n->set.target, v, f);
    leave(n->set.scope, f);
  }
  return flow;
}

/* ---- loops ---- */

/* `for … if`: the items whose test holds, found while they are asked for. */
struct filtered {
  const struct jinja_for *loop;
  struct jframe *frame;
};

/* What a target holds after an assignment: Jinja hands the unpacked items on, not the item itself. */
static struct jval target_value(struct jinja_run *r, const struct jinja_node *target, struct jframe *f) {
  if (target->kind != N_TUPLE) return *jinja_eval_slot(f, target->name.ref);
  struct jlist *items = jinja_val_list(r, target->items.n);
  size_t i = 0;
  for (const struct jinja_node *t = target->items.first; t && i < items->n; t = t->next) items->items[i++] = target_value(r, t, f);
  return jv_tuple(items);
}

static bool next_filtered(struct jinja_run *r, struct jiter *it, struct jval *out) {
  struct filtered *state = it->state;
  while (jinja_iter_next(r, it->inner, out)) {
    assign(r, state->loop->test_target, *out, state->frame);
    if (!jinja_val_true(jinja_eval(r, state->loop->test, state->frame))) continue;
    *out = target_value(r, state->loop->test_target, state->frame);
    return true;
  }
  return false;
}

/* What the loop walks; outer: the activation around the loop. */
static struct jiter *open_loop(struct jinja_run *r, const struct jinja_for *loop, struct jval *iterable, struct jframe *outer) {
  struct jiter *inner = jinja_iter_open(r, *iterable);
  if (!inner || !loop->test) return inner;
  struct filtered *state = jinja_run_alloc(r, 1, sizeof *state);
  *state = (struct filtered){loop, activate(r, loop->test_scope->function, outer)};
  if (!state->frame) return NULL;
  enter(r, loop->test_scope, state->frame);
  struct jiter *it = jinja_iter_make(r, next_filtered, *iterable, state);
  it->inner = inner;
  *iterable = jinja_iter_value(it);
  return it;
}

/* f: the activation that the body runs in. */
static enum flow run_loop(struct jinja_run *r, const struct jinja_for *loop, struct jloop *state, struct jframe *f) {
  struct jval item;
  bool empty = true;
  enum flow flow = FLOW_ON;
  while (!r->failed && jinja_loop_next(r, state, &item)) {
    if (loop->extended) *jinja_eval_slot(f, loop->loop) = (struct jval){.type = JV_LOOP, .loop = state};
    assign(r, loop->target, item, f);
    enter(r, loop->scope, f);
    flow = exec_all(r, &loop->body, f);
    if (flow == FLOW_BREAK) break;
    if (flow == FLOW_ON) empty = false; /* as in Jinja, a round that is cut short does not count for else */
  }
  leave(loop->scope, f);
  if (!empty || !loop->otherwise.n || r->failed) return FLOW_ON;
  enter(r, loop->else_scope, f);
  flow = exec_all(r, &loop->otherwise, f);
  leave(loop->else_scope, f);
  return flow;
}

static struct jval run_recursive(struct jinja_run *r, const struct jinja_node *n, struct jval iterable, struct jframe *outer,
                                 int64_t depth0) {
  struct jinja_sb sb, *saved;
  struct jiter *it = open_loop(r, n->loop, &iterable, outer);
  struct jframe *f = it ? activate(r, n->loop->scope->function, outer) : NULL;
  if (!f) return jv_undefined();
  struct jloop *state = jinja_loop_new(r, iterable, it);
  state->node = n;
  state->closure = outer;
  state->depth0 = depth0;
  capture_begin(r, &sb, &saved);
  run_loop(r, n->loop, state, f);
  return jv_str(capture_end(r, &sb, saved));
}

static bool begin_call(struct jinja_run *r) {
  if (r->calls >= r->calls_max) jinja_run_fail_code(r, ERROR_TOO_LARGE, "macros and loops call each other more than %u deep", r->calls_max);
  if (r->failed) return false;
  r->calls++;
  return true;
}

struct jval jinja_exec_recurse(struct jinja_run *r, const struct jloop *l, struct jval iterable) {
  if (!begin_call(r)) return jv_undefined();
  struct jval text = run_recursive(r, l->node, iterable, l->closure, l->depth0 + 1);
  r->calls--;
  return text;
}

static enum flow exec_for(struct jinja_run *r, const struct jinja_node *n, struct jframe *f) {
  struct jval iterable = jinja_eval(r, n->loop->iter, f);
  r->at = n;
  if (n->loop->recursive) {
    write_value(r, run_recursive(r, n, iterable, f, 0));
    return FLOW_ON;
  }
  struct jiter *it = open_loop(r, n->loop, &iterable, f);
  return it ? run_loop(r, n->loop, jinja_loop_new(r, iterable, it), f) : FLOW_ON;
}

/* ---- macros ---- */

static struct jval macro_value(struct jinja_run *r, const struct jinja_node *n, struct jframe *closure) {
  struct jmacro *m = jinja_run_alloc(r, 1, sizeof *m);
  *m = (struct jmacro){n, closure};
  return (struct jval){.type = JV_MACRO, .macro = m};
}

/* Which arguments of a call a macro has used. */
struct taken {
  const struct jargs *args;
  bool *keywords;
};

static struct jval take_keyword(const struct taken *t, struct slice name) {
  for (size_t i = 0; i < t->args->n_kw; i++) {
    if (t->keywords[i] || !slice_eq(jinja_str_slice(t->args->kw[i].key.str), name)) continue;
    t->keywords[i] = true;
    return t->args->kw[i].value;
  }
  return jv_missing();
}

static void fill_varargs(struct jinja_run *r, const struct jinja_macro *m, const struct jargs *args, struct jframe *f) {
  size_t n = args->n_pos > m->args.n ? args->n_pos - m->args.n : 0;
  if (n && !m->uses_varargs) jinja_run_fail(r, "macro takes not more than %zu argument(s)", m->args.n);
  if (!m->uses_varargs) return;
  struct jlist *more = jinja_val_list(r, n);
  for (size_t i = 0; i < more->n; i++) more->items[i] = args->pos[m->args.n + i];
  f->slots[m->varargs.slot] = jv_tuple(more);
}

static void fill_kwargs(struct jinja_run *r, const struct jinja_macro *m, const struct taken *t, struct jframe *f) {
  struct jdict *d = m->uses_kwargs ? jinja_val_dict(r) : NULL;
  for (size_t i = 0; i < t->args->n_kw; i++) {
    const struct jstr *key = t->args->kw[i].key.str;
    if (t->keywords[i]) continue;
    if (d) jinja_val_set(r, d, t->args->kw[i].key, t->args->kw[i].value);
    else jinja_run_fail(r, "macro takes no keyword argument '%.*s'", (int)(key->len < 80 ? key->len : 80), key->data);
  }
  if (d) f->slots[m->kwargs.slot] = jv_dict(d);
}

/* Puts the arguments into the parameters' slots; what is missing stays missing. */
static void fill_parameters(struct jinja_run *r, const struct jinja_macro *m, const struct jargs *args, struct jframe *f) {
  struct taken t = {args, jinja_run_alloc(r, args->n_kw, sizeof(bool))};
  if (!t.keywords) return;
  size_t i = 0;
  bool found_caller = m->explicit_caller;
  for (const struct jinja_node *a = m->args.first; a; a = a->next, i++)
    f->slots[a->name.ref.slot] = i < args->n_pos ? args->pos[i] : take_keyword(&t, a->name.name);
  if (m->uses_caller && !found_caller) {
    struct jval caller = take_keyword(&t, SLICE("caller"));
    if (!jv_given(caller) || caller.type == JV_NONE) caller = jinja_val_undefined(r, "No caller defined", jv_missing(), jv_missing());
    f->slots[m->caller.slot] = caller;
  }
  fill_kwargs(r, m, &t, f);
  fill_varargs(r, m, args, f);
}

static void fill_defaults(struct jinja_run *r, const struct jinja_macro *m, struct jframe *f) {
  size_t i = 0, first_default = m->args.n - m->defaults.n;
  const struct jinja_node *deflt = m->defaults.first;
  for (const struct jinja_node *a = m->args.first; a; a = a->next, i++) {
    struct jval *slot = &f->slots[a->name.ref.slot];
    if (!jv_given(*slot)) {
      if (i >= first_default) *slot = jinja_eval(r, deflt, f);
      else *slot = jinja_val_undefined(r, "a parameter of the macro was not provided", jv_missing(), jv_missing());
    }
    if (i >= first_default) deflt = deflt->next;
  }
}

static struct jval run_macro(struct jinja_run *r, const struct jmacro *m, const struct jargs *args) {
  const struct jinja_macro *macro = m->node->macro.macro;
  struct jinja_sb sb, *saved;
  struct jframe *f = activate(r, macro->scope->function, m->closure);
  if (!f) return jv_undefined();
  fill_parameters(r, macro, args, f);
  enter(r, macro->scope, f);
  fill_defaults(r, macro, f);
  capture_begin(r, &sb, &saved);
  exec_all(r, &macro->body, f);
  return jv_str(capture_end(r, &sb, saved));
}

static struct jval run_block(struct jinja_run *r, const struct jinja_node *n, bool captured);

struct jval jinja_exec_macro(struct jinja_run *r, const struct jmacro *m, const struct jargs *args) {
  if (!begin_call(r)) return jv_undefined();
  const struct jinja_node *at = r->at, *called_at = r->called_at;
  r->called_at = at;
  struct jval text = m->node->kind == N_BLOCK ? run_block(r, m->node, true) : run_macro(r, m, args);
  r->called_at = called_at;
  if (!r->failed) r->at = at;
  r->calls--;
  return text;
}

static void exec_macro(struct jinja_run *r, const struct jinja_node *n, struct jframe *f) {
  const struct jinja_macro *macro = n->macro.macro;
  struct jval m = macro_value(r, n, f);
  *jinja_eval_slot(f, macro->target) = m;
  if (macro->exported && r->jinja->blocks) jinja_val_setn(r, r->vars, macro->name, m);
}

/* ---- blocks ---- */

static struct jval self_value(struct jinja_run *r) {
  struct jdict *d = jinja_val_dict(r);
  for (const struct jinja_node *b = r->jinja->blocks; b; b = b->block.next_block)
    jinja_val_setn(r, d, b->block.name, macro_value(r, b, NULL));
  return (struct jval){.type = JV_NAMESPACE, .dict = d};
}

static struct jval run_block(struct jinja_run *r, const struct jinja_node *n, bool captured) {
  struct jinja_sb sb, *saved;
  struct jframe *f = activate(r, n->block.scope->function, NULL);
  if (!f) return jv_undefined();
  if (n->block.required)
    jinja_run_fail(r, "Required block '%.*s' not found", (int)(n->block.name.len < 80 ? n->block.name.len : 80), n->block.name.data);
  if (n->block.uses_self) f->slots[n->block.self.slot] = self_value(r);
  enter(r, n->block.scope, f);
  if (captured) capture_begin(r, &sb, &saved);
  exec_all(r, &n->block.body, f);
  return captured ? jv_str(capture_end(r, &sb, saved)) : jv_none();
}

static void exec_block(struct jinja_run *r, const struct jinja_node *n, struct jframe *f) {
  struct jdict *vars = r->vars;
  if (!begin_call(r)) return;
  if (n->block.scoped) {
    r->vars = jinja_val_copy(r, vars);
    for (const struct jinja_var *v = n->block.visible; v; v = v->next) {
      struct jval value = *jinja_eval_slot(f, v->outer);
      if (jv_given(value)) jinja_val_setn(r, r->vars, v->name, value);
    }
  }
  run_block(r, n, false);
  r->vars = vars;
  r->calls--;
}

/* ---- the walk ---- */

static enum flow exec_scoped(struct jinja_run *r, const struct jinja_node *n, struct jframe *f) {
  struct jinja_sb sb, *saved;
  bool autoescape = r->autoescape, filter = n->kind == N_FILTER_BLOCK;
  const struct jinja_node *value = n->scoped.values.first;
  enter(r, n->scoped.scope, f);
  if (n->kind == N_AUTOESCAPE) r->autoescape = jinja_val_true(jinja_eval(r, n->scoped.subject, f));
  for (const struct jinja_node *t = n->scoped.targets.first; t; t = t->next, value = value->next) assign(r, t, jinja_eval(r, value, f), f);
  if (filter) capture_begin(r, &sb, &saved);
  enum flow flow = exec_all(r, &n->scoped.body, f);
  if (filter) {
    struct jval text = jv_str(capture_end(r, &sb, saved));
    if (flow == FLOW_ON) text = jinja_eval_filter_on(r, n->scoped.subject, text, f);
    if (!jv_is_str(text)) jinja_run_fail(r, "the filter of a block must give text, not '%s'", jinja_val_type_name(text));
    if (flow == FLOW_ON) write_value(r, text);
  }
  r->autoescape = autoescape;
  if (flow == FLOW_ON) leave(n->scoped.scope, f);
  return flow;
}

static enum flow exec_if(struct jinja_run *r, const struct jinja_node *n, struct jframe *f) {
  for (; n; n = n->branch.otherwise)
    if (!n->branch.test || jinja_val_true(jinja_eval(r, n->branch.test, f))) return exec_all(r, &n->branch.body, f);
  return FLOW_ON;
}

static enum flow exec(struct jinja_run *r, const struct jinja_node *n, struct jframe *f) {
  r->at = n;
  switch (n->kind) {
    case N_DATA: write_str(r, n->constant.str); break;
    case N_OUTPUT:
      for (const struct jinja_node *item = n->items.first; item; item = item->next) write_value(r, jinja_eval(r, item, f));
      break;
    case N_SET: exec_set(r, n, f); break;
    case N_SET_BLOCK: return exec_set_block(r, n, f);
    case N_FOR: return exec_for(r, n, f);
    case N_IF: return exec_if(r, n, f);
    case N_MACRO: exec_macro(r, n, f); break;
    case N_CALL_BLOCK: write_value(r, jinja_eval_call_with(r, n->macro.call, macro_value(r, n, f), f)); break;
    case N_GENERATION: write_value(r, jinja_call_value(r, macro_value(r, n, f), &(struct jargs){0})); break;
    case N_FILTER_BLOCK:
    case N_WITH:
    case N_AUTOESCAPE: return exec_scoped(r, n, f);
    case N_BLOCK: exec_block(r, n, f); break;
    case N_BREAK: return FLOW_BREAK;
    case N_CONTINUE: return FLOW_CONTINUE;
    case N_NEEDS_LOADER: jinja_run_fail(r, "extends, include and import need a loader, and chat templates have none"); break;
    default: jinja_run_fail(r, "this is no statement"); break;
  }
  return FLOW_ON;
}

static enum flow exec_all(struct jinja_run *r, const struct jinja_nodes *body, struct jframe *f) {
  enum flow flow = FLOW_ON;
  for (const struct jinja_node *n = body->first; n && flow == FLOW_ON; n = n->next) {
    if (!jinja_run_step(r, 1) || !jinja_run_enter(r)) return FLOW_BREAK;
    flow = exec(r, n, f);
    jinja_run_leave(r);
  }
  return r->failed ? FLOW_BREAK : flow;
}

void jinja_exec_template(struct jinja_run *r) {
  struct jframe *f = activate(r, r->jinja->scope->function, NULL);
  if (!f) return;
  if (r->jinja->uses_self) f->slots[r->jinja->self.slot] = self_value(r);
  enter(r, r->jinja->scope, f);
  exec_all(r, &r->jinja->body, f);
}
