/* jinja_call: hands arguments to built-in functions, filters, tests, methods, macros and loops. SPDX-License-Identifier: Apache-2.0 */
#include "text/jinja_call.h"

const struct jinja_builtin *jinja_call_lookup(const struct jinja_builtin *table, struct slice name) {
  for (; table->name; table++)
    if (slice_eq(slice_cstr(table->name), name)) return table;
  return NULL;
}

/* ---- binding ---- */

/* One declared parameter, cut off the front of *params; false at the end or at "*". */
struct parameter {
  struct slice name;
  bool optional, positional_only;
};

static bool next_parameter(const char **params, struct parameter *out) {
  const char *p = *params;
  while (*p == ' ') p++;
  if (*p == '\0' || *p == '*') {
    *params = p;
    return false;
  }
  size_t len = strcspn(p, " ");
  *params = p + len;
  out->optional = p[len - 1] == '?';
  out->positional_only = *p == '_';
  out->name = slice_make(p + out->positional_only, len - out->positional_only - out->optional);
  return true;
}

static const struct jkeyword *keyword(const struct jargs *args, struct slice name) {
  for (size_t i = 0; i < args->n_kw; i++)
    if (slice_eq(jinja_str_slice(args->kw[i].key.str), name)) return &args->kw[i];
  return NULL;
}

static bool bind_parameter(struct jinja_run *r, const char *function, const struct parameter *p, size_t i, const struct jargs *args,
                           struct jval *out) {
  const struct jkeyword *k = p->positional_only ? NULL : keyword(args, p->name);
  *out = i < args->n_pos ? args->pos[i] : k ? k->value : jv_missing();
  if (k && i < args->n_pos) jinja_run_fail(r, "%s() got multiple values for argument '%.*s'", function, SLICE_ARG(p->name));
  if (!jv_given(*out) && !p->optional) jinja_run_fail(r, "%s() misses its argument '%.*s'", function, SLICE_ARG(p->name));
  return k != NULL;
}

/* Keyword arguments that are no parameter: what "**" takes. */
static size_t leftover_keywords(struct jinja_run *r, const struct jinja_builtin *b, const struct jargs *args, struct jkeyword **ret) {
  struct jkeyword *left = jinja_run_alloc(r, args->n_kw, sizeof *left);
  size_t n = 0;
  for (size_t i = 0; left && i < args->n_kw; i++) {
    const char *params = b->params;
    struct parameter p;
    bool known = false;
    while (!known && next_parameter(&params, &p)) known = !p.positional_only && slice_eq(p.name, jinja_str_slice(args->kw[i].key.str));
    if (!known) left[n++] = args->kw[i];
  }
  *ret = left;
  return n;
}

struct jval jinja_call_builtin(struct jinja_run *r, const struct jinja_builtin *b, struct jval self, const struct jargs *args) {
  struct jval bound[JINJA_PARAMS_MAX];
  const char *params = b->params;
  struct parameter p;
  size_t n = 0, by_keyword = 0;
  for (; next_parameter(&params, &p); n++) by_keyword += bind_parameter(r, b->name, &p, n, args, &bound[n]);
  bool more = strchr(params, '*') != NULL, more_keywords = strstr(params, "**") != NULL;
  if (strcmp(params, "**") == 0) more = false;
  struct jargs rest = {0};
  if (args->n_pos > n) {
    if (!more) jinja_run_fail(r, "%s() takes at most %zu arguments (%zu given)", b->name, n, args->n_pos);
    rest.pos = args->pos + n;
    rest.n_pos = args->n_pos - n;
  }
  if (args->n_kw > by_keyword) {
    struct jkeyword *left;
    rest.n_kw = leftover_keywords(r, b, args, &left);
    rest.kw = left;
    if (!more_keywords && rest.n_kw)
      jinja_run_fail(r, "%s() got an unexpected keyword argument '%.*s'", b->name,
                     (int)(left[0].key.str->len < 80 ? left[0].key.str->len : 80), left[0].key.str->data);
  }
  return r->failed ? jv_undefined() : b->fn(r, self, bound, &rest);
}

struct jval jinja_call_method(struct jinja_run *r, const struct jinja_builtin *b, struct jval self) {
  struct jfunc *f = jinja_run_alloc(r, 1, sizeof *f);
  *f = (struct jfunc){b, self};
  return (struct jval){.type = JV_FUNC, .func = f};
}

/* ---- arguments ---- */

int64_t jinja_call_int(struct jinja_run *r, struct jval v, int64_t absent, bool none_ok) {
  int64_t i = absent;
  if (!jv_given(v) || (none_ok && v.type == JV_NONE) || jv_as_int(v, &i)) return i;
  if (v.type == JV_UNDEFINED) jinja_val_use_undefined(r, v);
  jinja_run_fail(r, "'%s' object cannot be interpreted as an integer", jinja_val_type_name(v));
  return absent;
}

const struct jstr *jinja_call_str(struct jinja_run *r, struct jval v) {
  if (jv_is_str(v)) return v.str;
  if (v.type == JV_UNDEFINED) jinja_val_use_undefined(r, v);
  jinja_run_fail(r, "a string was expected, not '%s'", jinja_val_type_name(v));
  return &jinja_str_empty;
}

/* ---- calls ---- */

bool jinja_call_callable(struct jval v) {
  return v.type == JV_MACRO || v.type == JV_FUNC || v.type == JV_LOOP || v.type == JV_JOINER || v.type == JV_UNDEFINED;
}

static struct jval call_joiner(struct jinja_run *r, struct jcycler *j, const struct jargs *args) {
  if (args->n_pos || args->n_kw) jinja_run_fail(r, "a joiner takes no arguments");
  if (j->pos) return j->items[0];
  j->pos = 1;
  return jv_str(&jinja_str_empty);
}

static struct jval call_loop(struct jinja_run *r, const struct jloop *l, const struct jargs *args) {
  bool named = args->n_kw == 1 && jinja_str_is(args->kw[0].key, "iterable");
  if (args->n_pos + args->n_kw != 1 || (args->n_kw && !named)) jinja_run_fail(r, "loop() takes one argument");
  if (!l->node) jinja_run_fail(r, "The loop must have the 'recursive' marker to be called recursively.");
  return r->failed ? jv_undefined() : jinja_exec_recurse(r, l, args->n_pos ? args->pos[0] : args->kw[0].value);
}

static struct jval dispatch(struct jinja_run *r, struct jval callee, const struct jargs *args) {
  switch (callee.type) {
    case JV_FUNC: return jinja_call_builtin(r, callee.func->builtin, callee.func->self, args);
    case JV_MACRO: return jinja_exec_macro(r, callee.macro, args);
    case JV_LOOP: return call_loop(r, callee.loop, args);
    case JV_JOINER: return call_joiner(r, callee.joiner, args);
    case JV_UNDEFINED: jinja_val_use_undefined(r, callee); return callee;
    default: jinja_run_fail(r, "'%s' object is not callable", jinja_val_type_name(callee)); return jv_undefined();
  }
}

struct jval jinja_call_value(struct jinja_run *r, struct jval callee, const struct jargs *args) {
  if (!jinja_run_enter(r)) return jv_undefined();
  struct jval v = dispatch(r, callee, args);
  jinja_run_leave(r);
  return v;
}
