/* jinja_scope: binds every name of a template to a slot, by the rules of Jinja's compiler. SPDX-License-Identifier: Apache-2.0
 *
 * Jinja decides scopes before it renders, and templates depend on the outcome. A scope is opened by a loop, a macro, a call, set,
 * filter or with block. When it is opened, each of its variables is loaded: a parameter is given; a name that is assigned in the
 * scope and known outside starts as a copy; one that is only read and unknown outside is looked up in the context; one that
 * is assigned first is missing until then. Branches of an `if` share their scope, but what they assign starts with the outer value.
 * So a variable set in a loop is forgotten after each round, and a macro sees later changes of outer variables.
 *
 * Two passes over each scope, as in Jinja: first all names in it are collected (analyze), then its nodes are bound (bind). */
#include <stdio.h>

#include "text/jinja_ast.h"

enum { VARS_MAX = 5000, DEPTH_MAX = 2500 };

struct resolver {
  struct jinja *jinja;
  struct error *err;
  bool failed;
  uint64_t clock; /* counts assignments, to know which ones a branch made */
  size_t n_vars;
  unsigned depth;
};

/* Where code is bound. */
struct place {
  struct jinja_scope *scope;
  bool toplevel; /* the root and the branches in it: assignments are visible to blocks */
  bool in_loop;  /* break and continue have something to act on */
  bool soft;     /* in an if: an unknown filter or test counts only when it is reached */
};

static void fail(struct resolver *r, const struct jinja_node *n, const char *what) {
  if (!r->failed) error_set(r->err, ERROR_INVALID, "The template is wrong at line %u, column %u: %s.", n->line, n->column, what);
  r->failed = true;
}

/* ---- walking ---- */

typedef void visit_fn(struct resolver *r, struct jinja_node *n, void *ctx);

static void each(struct resolver *r, const struct jinja_nodes *list, visit_fn *visit, void *ctx) {
  for (struct jinja_node *n = list->first; n && !r->failed; n = n->next) visit(r, n, ctx);
}

static void maybe(struct resolver *r, struct jinja_node *n, visit_fn *visit, void *ctx) {
  if (n && !r->failed) visit(r, n, ctx);
}

static void each_arg(struct resolver *r, struct jinja_node *n, visit_fn *visit, void *ctx) {
  maybe(r, n->call.subject, visit, ctx);
  each(r, &n->call.args.positional, visit, ctx);
  each(r, &n->call.args.keywords, visit, ctx);
  maybe(r, n->call.args.star, visit, ctx);
  maybe(r, n->call.args.star_star, visit, ctx);
}

static void each_in_expression(struct resolver *r, struct jinja_node *n, visit_fn *visit, void *ctx) {
  switch (n->kind) {
    case N_TUPLE:
    case N_LIST:
    case N_DICT:
    case N_CONCAT: each(r, &n->items, visit, ctx); break;
    case N_UNARY:
    case N_NOT:
    case N_BINARY:
    case N_AND:
    case N_OR:
      maybe(r, n->op.left, visit, ctx);
      maybe(r, n->op.right, visit, ctx);
      break;
    case N_COMPARE:
      maybe(r, n->compare.left, visit, ctx);
      each(r, &n->compare.links, visit, ctx);
      break;
    case N_COMPARE_WITH: maybe(r, n->link.right, visit, ctx); break;
    case N_COND:
      maybe(r, n->cond.test, visit, ctx);
      maybe(r, n->cond.yes, visit, ctx);
      maybe(r, n->cond.no, visit, ctx);
      break;
    case N_ATTR:
    case N_ITEM:
      maybe(r, n->item.object, visit, ctx);
      maybe(r, n->item.index, visit, ctx);
      break;
    case N_SLICE:
      maybe(r, n->slice.start, visit, ctx);
      maybe(r, n->slice.stop, visit, ctx);
      maybe(r, n->slice.step, visit, ctx);
      break;
    case N_CALL:
    case N_FILTER:
    case N_TEST: each_arg(r, n, visit, ctx); break;
    case N_KEYWORD: maybe(r, n->keyword.value, visit, ctx); break;
    default: break;
  }
}

static void each_in_statement(struct resolver *r, struct jinja_node *n, visit_fn *visit, void *ctx) {
  switch (n->kind) {
    case N_OUTPUT: each(r, &n->items, visit, ctx); break;
    case N_SET:
    case N_SET_BLOCK:
      maybe(r, n->set.target, visit, ctx);
      maybe(r, n->set.value, visit, ctx);
      each(r, &n->set.body, visit, ctx);
      break;
    case N_FOR:
      maybe(r, n->loop->target, visit, ctx);
      maybe(r, n->loop->iter, visit, ctx);
      each(r, &n->loop->body, visit, ctx);
      each(r, &n->loop->otherwise, visit, ctx);
      maybe(r, n->loop->test, visit, ctx);
      break;
    case N_IF:
      for (; n; n = n->branch.otherwise) {
        maybe(r, n->branch.test, visit, ctx);
        each(r, &n->branch.body, visit, ctx);
      }
      break;
    case N_MACRO:
    case N_CALL_BLOCK:
    case N_GENERATION:
      if (n->kind == N_CALL_BLOCK) maybe(r, n->macro.call, visit, ctx);
      each(r, &n->macro.macro->args, visit, ctx);
      each(r, &n->macro.macro->defaults, visit, ctx);
      each(r, &n->macro.macro->body, visit, ctx);
      break;
    case N_FILTER_BLOCK:
      each(r, &n->scoped.body, visit, ctx);
      maybe(r, n->scoped.subject, visit, ctx);
      break;
    case N_WITH:
    case N_AUTOESCAPE:
      maybe(r, n->scoped.subject, visit, ctx);
      each(r, &n->scoped.targets, visit, ctx);
      each(r, &n->scoped.values, visit, ctx);
      each(r, &n->scoped.body, visit, ctx);
      break;
    default: break;
  }
}

/* Visits the direct children in Jinja's order; blocks are left out. */
static void each_child(struct resolver *r, struct jinja_node *n, visit_fn *visit, void *ctx) {
  if (++r->depth > DEPTH_MAX) fail(r, n, "it is nested too deeply");
  else if (n->kind < N_DATA) each_in_expression(r, n, visit, ctx);
  else each_in_statement(r, n, visit, ctx);
  r->depth--;
}

/* Does a body read a name before anything in it assigns to it? */
struct use {
  struct slice name;
  bool read, assigned;
};

static void look_for_use(struct resolver *r, struct jinja_node *n, void *ctx) {
  struct use *use = ctx;
  if (use->read || use->assigned) return;
  if (n->kind == N_NAME && slice_eq(n->name.name, use->name)) {
    if (n->name.store) use->assigned = true;
    else use->read = true;
  }
  each_child(r, n, look_for_use, use);
}

static bool reads(struct resolver *r, const struct jinja_nodes *body, const char *name) {
  struct use use = {.name = slice_cstr(name)};
  each(r, body, look_for_use, &use);
  return use.read;
}

static void forbid_loop_target(struct resolver *r, struct jinja_node *n, void *ctx) {
  if (n->kind == N_NAME && n->name.store && slice_eq(n->name.name, SLICE("loop"))) fail(r, n, "\"loop\" cannot be assigned to in a loop");
  each_child(r, n, forbid_loop_target, ctx);
}

static void look_for_scoped_block(struct resolver *r, struct jinja_node *n, void *ctx) {
  if (n->kind == N_BLOCK && n->block.scoped) *(bool *)ctx = true;
  each_child(r, n, look_for_scoped_block, ctx);
}

/* ---- scopes ---- */

static struct jinja_scope *scope_new(struct resolver *r, struct jinja_scope *parent, bool own_function) {
  struct jinja_scope *s = arena_alloc(&r->jinja->arena, sizeof *s);
  s->parent = parent;
  s->function = own_function ? arena_alloc(&r->jinja->arena, sizeof *s->function) : parent->function;
  return s;
}

static struct jinja_var *find_here(const struct jinja_scope *s, struct slice name) {
  for (struct jinja_var *v = s->vars; v; v = v->next)
    if (slice_eq(v->name, name)) return v;
  return NULL;
}

/* The variable that name means in scope s (which may be NULL), and how to reach it from a function `hops` further in. */
static bool find(const struct jinja_scope *s, struct slice name, uint32_t hops, struct jinja_ref *ret) {
  for (; s; s = s->parent) {
    const struct jinja_var *v = find_here(s, name);
    if (v) {
      *ret = (struct jinja_ref){hops, v->slot};
      return true;
    }
    hops += s->parent && s->parent->function != s->function;
  }
  return false;
}

static bool find_outside(const struct jinja_scope *s, struct slice name, struct jinja_ref *ret) {
  return s->parent && find(s->parent, name, s->parent->function != s->function, ret);
}

static struct jinja_var *define(struct resolver *r, struct jinja_scope *s, struct slice name, enum jinja_load load) {
  struct jinja_var *v = find_here(s, name);
  if (!v) {
    v = arena_alloc(&r->jinja->arena, sizeof *v);
    v->name = name;
    v->slot = (uint32_t)s->function->n_slots++;
    if (s->vars_last) s->vars_last->next = v;
    else s->vars = v;
    s->vars_last = v;
    if (++r->n_vars > VARS_MAX && !r->failed)
      r->failed = error_set(r->err, ERROR_TOO_LARGE, "The template has more than %d variables.", VARS_MAX) != 0;
  }
  v->load = load;
  return v;
}

static void scope_load(struct resolver *r, struct jinja_scope *s, struct slice name) {
  struct jinja_ref ref;
  if (!find(s, name, 0, &ref)) define(r, s, name, LOAD_RESOLVE);
}

static void scope_store(struct resolver *r, struct jinja_scope *s, struct slice name) {
  struct jinja_var *v = find_here(s, name);
  struct jinja_ref outer;
  if (!v) {
    bool known = find_outside(s, name, &outer);
    v = define(r, s, name, known ? LOAD_ALIAS : LOAD_UNDEFINED);
    if (known) v->outer = outer;
  }
  if (!v->stored_at) v->stored_at = ++r->clock;
}

static struct jinja_ref scope_parameter(struct resolver *r, struct jinja_scope *s, struct slice name) {
  struct jinja_var *v = define(r, s, name, LOAD_PARAMETER);
  if (!v->stored_at) v->stored_at = ++r->clock;
  return (struct jinja_ref){0, v->slot};
}

/* ---- first pass: what names a scope has ---- */

static void analyze(struct resolver *r, struct jinja_node *n, void *ctx);

static void analyze_all(struct resolver *r, const struct jinja_nodes *list, struct jinja_scope *s) { each(r, list, analyze, s); }

/* What the branches assign begins with what it is outside. */
static void analyze_if(struct resolver *r, struct jinja_node *n, struct jinja_scope *s) {
  uint64_t before = r->clock;
  each_child(r, n, analyze, s);
  for (struct jinja_var *v = s->vars; v; v = v->next)
    if (v->stored_at > before) v->load = find_outside(s, v->name, &v->outer) ? LOAD_ALIAS : LOAD_RESOLVE;
}

static void analyze(struct resolver *r, struct jinja_node *n, void *ctx) {
  struct jinja_scope *s = ctx;
  switch (n->kind) {
    case N_NAME:
      if (n->name.store) scope_store(r, s, n->name.name);
      else scope_load(r, s, n->name.name);
      break;
    case N_NSREF: scope_load(r, s, n->name.name); break;
    case N_IF: analyze_if(r, n, s); break;
    case N_MACRO: scope_store(r, s, n->macro.macro->name); break;
    case N_FOR: analyze(r, n->loop->iter, s); break;
    case N_CALL_BLOCK: analyze(r, n->macro.call, s); break;
    case N_FILTER_BLOCK: analyze(r, n->scoped.subject, s); break;
    case N_WITH: analyze_all(r, &n->scoped.values, s); break;
    case N_SET:
      analyze(r, n->set.value, s);
      analyze(r, n->set.target, s);
      break;
    case N_SET_BLOCK: analyze(r, n->set.target, s); break;
    case N_AUTOESCAPE:
    case N_GENERATION:
    case N_BLOCK: break;
    default: each_child(r, n, analyze, s); break;
  }
}

/* The names of a target as parameters of the scope. */
static void analyze_parameter(struct resolver *r, struct jinja_node *n, void *ctx) {
  if (n->kind == N_NAME) scope_parameter(r, ctx, n->name.name);
  else each_child(r, n, analyze_parameter, ctx);
}

/* ---- second pass: binding ---- */

static void bind(struct resolver *r, struct jinja_node *n, void *ctx);

static void bind_all(struct resolver *r, const struct jinja_nodes *list, struct place place) { each(r, list, bind, &place); }

static struct jinja_ref bind_name(struct resolver *r, struct jinja_scope *s, struct slice name) {
  struct jinja_ref ref = {0};
  if (!find(s, name, 0, &ref)) ref.slot = define(r, s, name, LOAD_RESOLVE)->slot;
  return ref;
}

/* An inner scope of the same function: the place in it. */
static struct place inner(struct place outer, struct jinja_scope *s) { return (struct place){.scope = s, .in_loop = outer.in_loop}; }

static void bind_for(struct resolver *r, struct jinja_node *n, struct place place) {
  struct jinja_for *f = n->loop;
  bool scoped_block = false;
  each(r, &f->body, look_for_scoped_block, &scoped_block);
  f->extended = f->recursive || scoped_block || reads(r, &f->body, "loop");
  forbid_loop_target(r, n, NULL);
  f->scope = scope_new(r, place.scope, f->recursive);
  if (f->extended) f->loop = scope_parameter(r, f->scope, SLICE("loop"));
  analyze_parameter(r, f->target, f->scope);
  analyze_all(r, &f->body, f->scope);
  f->else_scope = scope_new(r, place.scope, false);
  if (f->recursive) f->else_scope->function = f->scope->function;
  analyze_all(r, &f->otherwise, f->else_scope);
  if (f->test) {
    f->test_scope = scope_new(r, place.scope, true);
    analyze_parameter(r, f->test_target, f->test_scope);
    analyze(r, f->test, f->test_scope);
    bind(r, f->test_target, &(struct place){.scope = f->test_scope});
    bind(r, f->test, &(struct place){.scope = f->test_scope});
  }
  bind(r, f->iter, &place);
  struct place body = {.scope = f->scope, .in_loop = true};
  bind(r, f->target, &body);
  bind_all(r, &f->body, body);
  bind_all(r, &f->otherwise, (struct place){.scope = f->else_scope, .in_loop = place.in_loop && !f->recursive});
}

/* Args, defaults and body of a macro or call block: a function of its own. */
static void bind_macro_body(struct resolver *r, struct jinja_node *n, struct place place) {
  struct jinja_macro *m = n->macro.macro;
  struct jinja_scope *s = m->scope = scope_new(r, place.scope, true);
  each(r, &m->args, analyze_parameter, s);
  analyze_all(r, &m->defaults, s);
  analyze_all(r, &m->body, s);
  bool own_kwargs = false, own_varargs = false;
  size_t i = 0, first_default = m->args.n - m->defaults.n;
  for (const struct jinja_node *a = m->args.first; a; a = a->next, i++) {
    if (slice_eq(a->name.name, SLICE("caller"))) {
      m->explicit_caller = true;
      if (i < first_default && reads(r, &m->body, "caller")) fail(r, n, "the argument \"caller\" needs a default");
    }
    own_kwargs = own_kwargs || slice_eq(a->name.name, SLICE("kwargs"));
    own_varargs = own_varargs || slice_eq(a->name.name, SLICE("varargs"));
  }
  m->uses_caller = reads(r, &m->body, "caller");
  m->uses_kwargs = !own_kwargs && reads(r, &m->body, "kwargs");
  m->uses_varargs = !own_varargs && reads(r, &m->body, "varargs");
  if (m->uses_caller) m->caller = scope_parameter(r, s, SLICE("caller"));
  if (m->uses_kwargs) m->kwargs = scope_parameter(r, s, SLICE("kwargs"));
  if (m->uses_varargs) m->varargs = scope_parameter(r, s, SLICE("varargs"));
  struct place body = {.scope = s};
  bind_all(r, &m->args, body);
  bind_all(r, &m->defaults, body);
  bind_all(r, &m->body, body);
}

static void bind_macro(struct resolver *r, struct jinja_node *n, struct place place) {
  bind_macro_body(r, n, place);
  if (n->kind == N_CALL_BLOCK) bind(r, n->macro.call, &place);
  if (n->kind != N_MACRO) return;
  n->macro.macro->target = bind_name(r, place.scope, n->macro.macro->name);
  n->macro.macro->exported = place.toplevel;
}

static void bind_scoped(struct resolver *r, struct jinja_node *n, struct place place) {
  struct jinja_scope *s = n->scoped.scope = scope_new(r, place.scope, false);
  struct place body = inner(place, s);
  if (n->kind == N_WITH) {
    each(r, &n->scoped.targets, analyze_parameter, s);
    analyze_all(r, &n->scoped.body, s);
    bind_all(r, &n->scoped.targets, body);
    bind_all(r, &n->scoped.values, place);
  } else {
    analyze(r, n->scoped.subject, s);
    analyze_all(r, &n->scoped.body, s);
    bind(r, n->scoped.subject, &body);
  }
  bind_all(r, &n->scoped.body, body);
}

static void bind_set_block(struct resolver *r, struct jinja_node *n, struct place place) {
  struct jinja_scope *s = n->set.scope = scope_new(r, place.scope, false);
  struct place body = inner(place, s);
  analyze_all(r, &n->set.body, s);
  if (n->set.value) analyze(r, n->set.value, s);
  bind_all(r, &n->set.body, body);
  bind(r, n->set.target, &place);
  if (n->set.value) bind(r, n->set.value, &body);
}

/* A scoped block sees every variable that was assigned around it. */
static void bind_block(struct resolver *r, struct jinja_node *n, struct place place) {
  for (const struct jinja_scope *s = place.scope; n->block.scoped && s; s = s->parent) {
    for (const struct jinja_var *v = s->vars; v; v = v->next) {
      struct jinja_ref ref;
      if (!v->stored_at || !find(place.scope, v->name, 0, &ref)) continue;
      struct jinja_var *seen = arena_alloc(&r->jinja->arena, sizeof *seen);
      *seen = (struct jinja_var){.name = v->name, .outer = ref, .next = n->block.visible};
      n->block.visible = seen;
      if (++r->n_vars > VARS_MAX) fail(r, n, "it has too many variables");
    }
  }
}

static void fail_unknown(struct resolver *r, const struct jinja_node *n) {
  char what[200];
  struct slice name = jinja_str_slice(n->call.name);
  snprintf(what, sizeof what, "there is no %s named \"%.*s\"", n->kind == N_FILTER ? "filter" : "test",
           (int)(name.len < 100 ? name.len : 100), name.data);
  fail(r, n, what);
}

static void bind(struct resolver *r, struct jinja_node *n, void *ctx) {
  struct place *place = ctx;
  switch (n->kind) {
    case N_NAME:
    case N_NSREF:
      n->name.ref = bind_name(r, place->scope, n->name.name);
      n->name.exported = n->name.store && place->toplevel;
      break;
    case N_FOR: bind_for(r, n, *place); break;
    case N_MACRO:
    case N_CALL_BLOCK:
    case N_GENERATION: bind_macro(r, n, *place); break;
    case N_FILTER_BLOCK:
    case N_WITH:
    case N_AUTOESCAPE: bind_scoped(r, n, *place); break;
    case N_SET_BLOCK: bind_set_block(r, n, *place); break;
    case N_BLOCK: bind_block(r, n, *place); break;
    case N_BREAK:
    case N_CONTINUE:
      if (!place->in_loop) fail(r, n, "break and continue need a loop around them");
      break;
    case N_FILTER:
    case N_TEST:
      if (!n->call.builtin && !place->soft) fail_unknown(r, n);
      each_child(r, n, bind, place);
      break;
    case N_IF:
    case N_COND: {
      struct place soft = *place;
      soft.soft = true;
      each_child(r, n, bind, &soft);
      break;
    }
    default: each_child(r, n, bind, place); break;
  }
}

/* A block is a function without surroundings: everything it reads comes from the context. */
static void bind_block_body(struct resolver *r, struct jinja_node *n) {
  struct jinja_scope *s = n->block.scope = scope_new(r, NULL, true);
  n->block.uses_self = reads(r, &n->block.body, "self");
  if (n->block.uses_self) n->block.self = scope_parameter(r, s, SLICE("self"));
  analyze_all(r, &n->block.body, s);
  bind_all(r, &n->block.body, (struct place){.scope = s});
}

int jinja_scope_resolve(struct jinja *j, struct error *err) {
  struct resolver r = {.jinja = j, .err = err};
  j->scope = scope_new(&r, NULL, true);
  j->uses_self = reads(&r, &j->body, "self");
  if (j->uses_self) j->self = scope_parameter(&r, j->scope, SLICE("self"));
  analyze_all(&r, &j->body, j->scope);
  bind_all(&r, &j->body, (struct place){.scope = j->scope, .toplevel = true});
  for (struct jinja_node *b = j->blocks; b && !r.failed; b = b->block.next_block) bind_block_body(&r, b);
  return r.failed ? -1 : 0;
}
