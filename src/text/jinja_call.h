/* jinja_call: functions, filters, tests and methods, and how they are called; evaluation. Private to the room.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TEXT_JINJA_CALL_H
#define TEXT_JINJA_CALL_H
#include "text/jinja_ast.h"

struct jkeyword {
  struct jval key, value; /* key: a string */
};
struct jargs {
  const struct jval *pos;
  size_t n_pos;
  const struct jkeyword *kw;
  size_t n_kw;
};

/* a: the declared parameters in order, JV_MISSING for those not given. rest: what "*" and "**" took. self: what the filter, test
 * or method is applied to. */
typedef struct jval jinja_fn(struct jinja_run *r, struct jval self, const struct jval *a, const struct jargs *rest);

/* params: names with a space between them; "name?" may be left out; "_name" cannot be given by keyword; "*" and "**" at the end
 * take what is left. At most JINJA_PARAMS_MAX. */
enum { JINJA_PARAMS_MAX = 8 };
struct jinja_builtin {
  const char *name;
  const char *params;
  jinja_fn *fn;
};

/* NULL when there is none. */
const struct jinja_builtin *jinja_filter_find(struct slice name);
const struct jinja_builtin *jinja_test_find(struct slice name);
/* Tables end in a NULL name. */
extern const struct jinja_builtin jinja_seq_filters[], jinja_text_filters[], jinja_html_filters[];
extern const struct jinja_builtin jinja_strmethod_table[];
const struct jinja_builtin *jinja_call_lookup(const struct jinja_builtin *table, struct slice name);

/* jinja_call.c */
struct jval jinja_call_builtin(struct jinja_run *r, const struct jinja_builtin *b, struct jval self, const struct jargs *args);
struct jval jinja_call_value(struct jinja_run *r, struct jval callee, const struct jargs *args);
struct jval jinja_call_method(struct jinja_run *r, const struct jinja_builtin *b, struct jval self); /* a bound method */
/* Reads an integer argument; fails for anything else. absent: for JV_MISSING and, when none_ok, None. */
int64_t jinja_call_int(struct jinja_run *r, struct jval v, int64_t absent, bool none_ok);
/* Reads a string argument; fails for anything else. */
const struct jstr *jinja_call_str(struct jinja_run *r, struct jval v);
bool jinja_call_callable(struct jval v);

/* jinja_attr.c: x.name and x[index] as the sandbox resolves them */
struct jval jinja_attr_get(struct jinja_run *r, struct jval object, const struct jstr *name);
struct jval jinja_attr_item(struct jinja_run *r, struct jval object, struct jval index);
/* The attribute of the object itself, methods too, without looking into it; JV_MISSING when there is none. */
struct jval jinja_attr_own(struct jinja_run *r, struct jval object, struct slice name);
struct jval jinja_attr_slice(struct jinja_run *r, struct jval object, struct jval start, struct jval stop, struct jval step);
/* "a.b.0" or a value, as filters take them: JV_MISSING path is the item itself. deflt: instead of what is undefined, unless missing. */
struct jval jinja_attr_path(struct jinja_run *r, struct jval item, struct jval path, struct jval deflt);

/* jinja_ops.c */
struct jval jinja_ops_binary(struct jinja_run *r, enum jinja_tok op, struct jval a, struct jval b);
struct jval jinja_ops_unary(struct jinja_run *r, enum jinja_tok op, struct jval a);
bool jinja_ops_compare(struct jinja_run *r, enum jinja_compare op, struct jval a, struct jval b);
bool jinja_ops_contains(struct jinja_run *r, struct jval container, struct jval item);
struct jval jinja_ops_round(struct jinja_run *r, struct jval v, int64_t digits);

/* jinja_format.c */
struct jval jinja_format_percent(struct jinja_run *r, const struct jstr *format, struct jval args); /* format % args */
/* jinja_braces.c */
struct jval jinja_braces_format(struct jinja_run *r, const struct jstr *format, const struct jargs *args); /* str.format */

/* jinja_seq.c: sorts items by keys (as many), stably; both are changed. Fails where keys have no order. */
void jinja_seq_sort(struct jinja_run *r, struct jlist *keys, struct jlist *items, bool reverse);

/* jinja_strmethod.c */
struct jlist *jinja_strmethod_lines(struct jinja_run *r, const struct jstr *s, bool keep_ends); /* str.splitlines */
const struct jstr *jinja_strmethod_center(struct jinja_run *r, const struct jstr *s, int64_t width, const struct jstr *fill);
bool jinja_strmethod_is_case(const struct jstr *s, bool upper); /* isupper, islower */
struct jval jinja_strmethod_split(struct jinja_run *r, const struct jstr *s, const struct jstr *separator, int64_t max, bool from_right);

/* jinja_number.c: Python's int(text, base) and float(text); false when text is no number */
bool jinja_number_int(struct jinja_run *r, const struct jstr *s, int64_t base, int64_t *out);
bool jinja_number_float(const struct jstr *s, double *out);

/* jinja_wrap.c: textwrap.wrap of one line: a list of strings */
struct jlist *jinja_wrap_line(struct jinja_run *r, const struct jstr *line, int64_t width, bool break_long_words, bool break_on_hyphens);

/* jinja_json.c */
struct jval jinja_json_dump(struct jinja_run *r, struct jval v, struct jval indent, struct jval separators, bool ascii, bool sort_keys);

/* jinja_global.c */
const struct jinja_builtin *jinja_global_find(struct slice name);

/* jinja_eval.c: expressions in an activation */
struct jframe {
  struct jval *slots;
  struct jframe *outer;
};
struct jval jinja_eval(struct jinja_run *r, const struct jinja_node *n, struct jframe *f);
/* A filter on a value that is there already (filter blocks). */
struct jval jinja_eval_filter_on(struct jinja_run *r, const struct jinja_node *n, struct jval captured, struct jframe *f);
/* A call with the additional keyword caller. */
struct jval jinja_eval_call_with(struct jinja_run *r, const struct jinja_node *n, struct jval caller, struct jframe *f);
struct jval *jinja_eval_slot(struct jframe *f, struct jinja_ref ref);
struct jval jinja_eval_resolve(struct jinja_run *r, struct slice name); /* from the context; JV_MISSING */

/* jinja_exec.c: statements */
void jinja_exec_template(struct jinja_run *r);
struct jval jinja_exec_macro(struct jinja_run *r, const struct jmacro *m, const struct jargs *args);

/* loops, as templates see them (jinja_loop.c) */
struct jloop {
  struct jval iterable;
  struct jiter *it;
  int64_t index0, length;             /* length -1: not known yet */
  struct jval before, current, after; /* JV_MISSING: none */
  struct jval changed;                /* arguments of the last loop.changed; JV_MISSING */
  const struct jinja_node *node;      /* recursive loops */
  struct jframe *closure;
  int64_t depth0;
};
struct jloop *jinja_loop_new(struct jinja_run *r, struct jval iterable, struct jiter *it);
bool jinja_loop_next(struct jinja_run *r, struct jloop *l, struct jval *out);
struct jval jinja_loop_attr(struct jinja_run *r, struct jloop *l, struct slice name); /* JV_MISSING: none */
/* Runs a recursive loop over iterable and returns its text (jinja_exec.c). */
struct jval jinja_exec_recurse(struct jinja_run *r, const struct jloop *l, struct jval iterable);

#endif
