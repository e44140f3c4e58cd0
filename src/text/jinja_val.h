/* jinja_val: the values of a template, their strings, and the state of one rendering. Private to the room.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Everything a rendering makes lives in the arena of its `struct jinja_run` and dies with it. Values are immutable, apart from
 * namespaces, loops, iterators, cyclers and joiners; the sandbox that templates are written for forbids the rest.
 *
 * Errors stick: the first failure is kept in the run, every later operation does nothing useful but stays safe, and
 * loops stop because jinja_run_step answers false. So functions here return a value always, never a code. */
#ifndef TEXT_JINJA_VAL_H
#define TEXT_JINJA_VAL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/js.h"
#include "base/slice.h"
#include "text/text.h"

/* ---- strings: UTF-8 bytes, counted in characters as Python does, knowing which bytes came from outside ---- */

struct jstr {
  const char *data;
  size_t len;                     /* bytes */
  size_t n_chars;                 /* code points; equal to len for ASCII */
  const struct jinja_span *marks; /* ascending, disjoint, not touching: bytes that stem from marked input */
  size_t n_marks;
  bool markup; /* a string that is HTML already (the filter `safe`) */
};

/* ---- values ---- */

enum jtype {
  JV_MISSING, /* no value at all: an argument that was not given, a variable that was not set; never seen by a template */
  JV_UNDEFINED,
  JV_NONE,
  JV_BOOL,
  JV_INT,
  JV_BIG, /* an integer of the context that 64 bits do not hold: its digits; printed and compared, not computed with */
  JV_FLOAT,
  JV_STR,
  JV_LIST,
  JV_TUPLE,
  JV_DICT,
  JV_RANGE,
  JV_VIEW, /* dict.keys(), .values(), .items() */
  JV_ITER, /* a generator: can be walked once */
  JV_NAMESPACE,
  JV_MACRO,
  JV_FUNC, /* a global function, or a method with its object */
  JV_LOOP,
  JV_CYCLER,
  JV_JOINER,
};

struct jval {
  enum jtype type;
  union {
    bool b;
    int64_t i;
    double f;
    const struct jstr *str; /* JV_STR, JV_BIG */
    struct jlist *list;     /* JV_LIST, JV_TUPLE */
    struct jdict *dict;     /* JV_DICT, JV_NAMESPACE */
    struct jrange *range;
    struct jview *view;
    struct jiter *iter;
    const struct jundef *undef; /* may be NULL */
    const struct jmacro *macro;
    const struct jfunc *func;
    struct jloop *loop;
    struct jcycler *cycler;
    struct jcycler *joiner;
    const void *p; /* for identity */
  };
};

struct jlist {
  struct jval *items;
  size_t n, cap;
  bool grouped; /* the pair of the filter groupby: items 0 and 1 are also .grouper and .list */
};

struct jentry {
  struct jval key, value;
  uint64_t hash;
};
struct jdict {
  struct jentry *entries; /* in order of insertion */
  size_t n, cap;
  uint32_t *index; /* open addressing, entry number + 1; NULL while n is small */
  size_t index_cap;
};

struct jrange {
  int64_t start, stop, step;
  size_t n;
};

/* Item number i; wraps where Python's would not, but never inside the range. */
static inline int64_t jv_range_at(const struct jrange *range, uint64_t i) {
  return (int64_t)((uint64_t)range->start + i * (uint64_t)range->step);
}

enum jview_kind { JVIEW_KEYS, JVIEW_VALUES, JVIEW_ITEMS };
struct jview {
  struct jdict *dict;
  enum jview_kind kind;
};

struct jinja_run;
struct jiter {
  bool (*next)(struct jinja_run *r, struct jiter *it, struct jval *out); /* false at the end, and then always */
  struct jval source;                                                    /* what is walked */
  struct jiter *inner;
  int64_t pos; /* byte or item number */
  void *state; /* the next function's own */
  bool done;
};

/* Why a value is undefined, for the message when it is used. */
struct jundef {
  const char *hint;   /* a whole message; or NULL */
  struct jval object; /* JV_MISSING: a variable */
  struct jval name;
};

struct jframe;
struct jinja_node;
struct jmacro {
  const struct jinja_node *node;
  struct jframe *closure;
};

struct jfunc {
  const struct jinja_builtin *builtin;
  struct jval self; /* JV_MISSING for a global function */
};

struct jcycler {
  struct jval *items;
  size_t n, pos;
};

static inline struct jval jv_missing(void) { return (struct jval){.type = JV_MISSING}; }
static inline struct jval jv_none(void) { return (struct jval){.type = JV_NONE}; }
static inline struct jval jv_undefined(void) { return (struct jval){.type = JV_UNDEFINED}; }
static inline struct jval jv_bool(bool b) { return (struct jval){.type = JV_BOOL, .b = b}; }
static inline struct jval jv_int(int64_t i) { return (struct jval){.type = JV_INT, .i = i}; }
static inline struct jval jv_float(double f) { return (struct jval){.type = JV_FLOAT, .f = f}; }
static inline struct jval jv_str(const struct jstr *s) { return (struct jval){.type = JV_STR, .str = s}; }
static inline struct jval jv_list(struct jlist *l) { return (struct jval){.type = JV_LIST, .list = l}; }
static inline struct jval jv_tuple(struct jlist *l) { return (struct jval){.type = JV_TUPLE, .list = l}; }
static inline struct jval jv_dict(struct jdict *d) { return (struct jval){.type = JV_DICT, .dict = d}; }
static inline bool jv_given(struct jval v) { return v.type != JV_MISSING; }
static inline bool jv_is_str(struct jval v) { return v.type == JV_STR; }
static inline bool jv_is_seq(struct jval v) { return v.type == JV_LIST || v.type == JV_TUPLE; }
/* A Python int: bool counts. *out is written then. */
static inline bool jv_as_int(struct jval v, int64_t *out) {
  if (v.type != JV_INT && v.type != JV_BOOL) return false;
  *out = v.type == JV_INT ? v.i : v.b;
  return true;
}

/* ---- one rendering ---- */

struct jinja_run {
  const struct jinja *jinja;
  struct arena arena;
  struct error *err; /* the caller's; written once */
  bool failed;
  const struct jinja_node *at;        /* what is evaluated: where an error is said to be */
  const struct jinja_node *called_at; /* where the macro was called that is running; NULL: none is */
  uint64_t steps, steps_max;
  unsigned calls, calls_max; /* nested macros, callers, recursive loops */
  unsigned nesting;          /* nested evaluation in C */
  size_t memory_max, output_max;
  struct jinja_sb *out;
  struct jdict *context; /* what the caller gave */
  struct jdict *vars;    /* variables set at the top level, for blocks */
  int64_t now_s;
  uint64_t seed;                /* of hash tables; never changes */
  uint64_t random;              /* of the filter random */
  const struct jstr *continued; /* the text of the last message, when the output is to end with it */
  bool autoescape;
};

/* The first failure wins. The message is a sentence without its full stop; the place is added. */
void jinja_run_fail(struct jinja_run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
void jinja_run_fail_code(struct jinja_run *r, enum error_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The template's own message, exactly. */
void jinja_run_raise(struct jinja_run *r, struct slice message);
/* Counts work; false when the run has failed or does so now because its steps are used up. */
bool jinja_run_step(struct jinja_run *r, uint64_t n);
/* Counts the work of touching n bytes. */
static inline bool jinja_run_bytes(struct jinja_run *r, size_t n) { return jinja_run_step(r, 1 + n / 64); }
/* Counts the work of looking at n bytes character by character. */
static inline bool jinja_run_chars(struct jinja_run *r, size_t n) { return jinja_run_step(r, 1 + n / 8); }
/* Around every recursion over values and the tree: false, with a failure, when it is too deep. Each true one needs its leave. */
bool jinja_run_enter(struct jinja_run *r);
static inline void jinja_run_leave(struct jinja_run *r) { r->nesting--; }
/* Zeroed memory of the run. NULL, and the run has failed, when it is over its limit; never for size up to 4096. */
void *jinja_run_alloc(struct jinja_run *r, size_t count, size_t size);

/* ---- building strings ---- */

struct jinja_sb {
  struct buf buf;
  struct jinja_span *marks;
  size_t n_marks, cap_marks;
  size_t max; /* bytes; what would go beyond is dropped and over is set */
  bool over;
};
void jinja_sb_init(struct jinja_sb *sb, struct jinja_run *r);
void jinja_sb_free(struct jinja_sb *sb);
void jinja_sb_add(struct jinja_sb *sb, const char *data, size_t len);
void jinja_sb_cstr(struct jinja_sb *sb, const char *text);
void jinja_sb_str(struct jinja_sb *sb, const struct jstr *s);
void jinja_sb_sub(struct jinja_sb *sb, const struct jstr *s, size_t begin, size_t end); /* bytes [begin, end) */
void jinja_sb_char(struct jinja_sb *sb, uint32_t codepoint, bool marked);
void jinja_sb_fill(struct jinja_sb *sb, const struct jstr *fill, int64_t count); /* fill repeated; count <= 0: nothing */
/* The string, in the run's memory; frees sb. */
const struct jstr *jinja_sb_done(struct jinja_run *r, struct jinja_sb *sb);
static inline struct jval jinja_sb_value(struct jinja_run *r, struct jinja_sb *sb) { return jv_str(jinja_sb_done(r, sb)); }

/* ---- strings (jinja_str.c) ---- */

/* A string in arena memory that borrows data. */
struct jstr *jinja_str_borrow(struct arena *a, struct slice s);
struct jval jinja_str_value(struct jinja_run *r, struct slice s);  /* copies */
struct jval jinja_str_cstr(struct jinja_run *r, const char *text); /* borrows: text must be a literal */
extern const struct jstr jinja_str_empty;
struct slice jinja_str_slice(const struct jstr *s);
bool jinja_str_is(struct jval v, const char *text);             /* a string equal to text */
size_t jinja_str_mark_after(const struct jstr *s, size_t byte); /* the first mark that ends behind byte; n_marks when none does */
bool jinja_str_marked_at(const struct jstr *s, size_t byte);
/* Byte offset of character number index (0 … n_chars). */
size_t jinja_str_offset(const struct jstr *s, size_t index);
/* Number of characters in front of byte offset. */
size_t jinja_str_index(const struct jstr *s, size_t offset);
/* Bytes [begin, end) as a string of its own. */
const struct jstr *jinja_str_sub(struct jinja_run *r, const struct jstr *s, size_t begin, size_t end);
const struct jstr *jinja_str_concat(struct jinja_run *r, const struct jstr *a, const struct jstr *b);
const struct jstr *jinja_str_repeat(struct jinja_run *r, const struct jstr *s, int64_t count);
const struct jstr *jinja_str_markup(struct jinja_run *r, const struct jstr *s, bool markup); /* the same text, that flag */
/* First byte offset of needle in [begin, end) of s; SIZE_MAX when it is not there. */
size_t jinja_str_find(const struct jstr *s, size_t begin, size_t end, struct slice needle);
size_t jinja_str_rfind(const struct jstr *s, size_t begin, size_t end, struct slice needle);
const struct jstr *jinja_str_replace(struct jinja_run *r, const struct jstr *s, const struct jstr *old, const struct jstr *new,
                                     int64_t count);
/* Python's strip: chars NULL means white space. */
const struct jstr *jinja_str_strip(struct jinja_run *r, const struct jstr *s, const struct jstr *chars, bool left, bool right);
const struct jstr *jinja_str_escape(struct jinja_run *r, const struct jstr *s); /* HTML; the result is markup */
int jinja_str_compare(const struct jstr *a, const struct jstr *b);              /* by code points: <0, 0, >0 */

/* ---- characters as Python sees them (jinja_char.c) ---- */

/* The character at byte *pos, which moves behind it. s is valid UTF-8 and *pos < len. */
uint32_t jinja_char_next(const struct jstr *s, size_t *pos);
bool jinja_char_space(uint32_t c);     /* str.isspace */
bool jinja_char_linebreak(uint32_t c); /* str.splitlines */
bool jinja_char_alpha(uint32_t c);
bool jinja_char_alnum(uint32_t c);
bool jinja_char_decimal(uint32_t c, int *ret_digit); /* ret_digit may be NULL */
bool jinja_char_digit(uint32_t c);
bool jinja_char_numeric(uint32_t c);
bool jinja_char_upper(uint32_t c);
bool jinja_char_lower(uint32_t c);
bool jinja_char_title(uint32_t c);
bool jinja_char_printable(uint32_t c);
bool jinja_char_id(uint32_t c, bool first);
enum jinja_case { JINJA_UPPER, JINJA_LOWER, JINJA_TITLE, JINJA_FOLD, JINJA_SAME };
/* Appends c in another case: one to three characters. */
void jinja_char_put(struct jinja_sb *sb, uint32_t c, enum jinja_case to, bool marked);
const struct jstr *jinja_char_convert(struct jinja_run *r, const struct jstr *s, enum jinja_case to);
const struct jstr *jinja_char_capitalize(struct jinja_run *r, const struct jstr *s);
const struct jstr *jinja_char_titlecase(struct jinja_run *r, const struct jstr *s);
const struct jstr *jinja_char_swapcase(struct jinja_run *r, const struct jstr *s);

/* ---- values (jinja_val.c) ---- */

struct jlist *jinja_val_list(struct jinja_run *r, size_t n); /* n items JV_NONE; n becomes 0 when memory is over */
void jinja_val_push(struct jinja_run *r, struct jlist *l, struct jval v);
struct jval jinja_val_pair(struct jinja_run *r, struct jval a, struct jval b); /* a tuple */
struct jdict *jinja_val_dict(struct jinja_run *r);
/* Fails when key cannot be hashed. */
void jinja_val_set(struct jinja_run *r, struct jdict *d, struct jval key, struct jval value);
void jinja_val_setn(struct jinja_run *r, struct jdict *d, struct slice key, struct jval value);
struct jval *jinja_val_get(struct jinja_run *r, const struct jdict *d, struct jval key); /* NULL: absent */
struct jval *jinja_val_getn(struct jinja_run *r, const struct jdict *d, struct slice key);
struct jdict *jinja_val_copy(struct jinja_run *r, const struct jdict *d);
bool jinja_val_hashable(struct jval v);

bool jinja_val_true(struct jval v);
bool jinja_val_equal(struct jinja_run *r, struct jval a, struct jval b);
bool jinja_val_same(struct jval a, struct jval b); /* Python's `is` */
/* a < b as Python orders; fails for what has no order. */
bool jinja_val_less(struct jinja_run *r, struct jval a, struct jval b);
const char *jinja_val_type_name(struct jval v); /* Python's type name: "str", "dict", … */
/* False when v has no length. */
bool jinja_val_len(struct jinja_run *r, struct jval v, size_t *ret_n);
struct jval jinja_val_undefined(struct jinja_run *r, const char *hint, struct jval object, struct jval name);
/* Fails with the reason why v is undefined. */
void jinja_val_use_undefined(struct jinja_run *r, struct jval v);
/* From JSON; marked: every string below counts as input from outside. */
struct jval jinja_val_from_js(struct jinja_run *r, const struct js *v, bool marked);

/* ---- walking (jinja_iter.c) ---- */

/* NULL, without a failure, when v cannot be walked. */
struct jiter *jinja_iter_try(struct jinja_run *r, struct jval v);
/* NULL with a failure. */
struct jiter *jinja_iter_open(struct jinja_run *r, struct jval v);
struct jiter *jinja_iter_reversed(struct jinja_run *r, struct jval v);         /* NULL, no failure, when it cannot be */
bool jinja_iter_next(struct jinja_run *r, struct jiter *it, struct jval *out); /* false at the end or after a failure */
struct jval jinja_iter_value(struct jiter *it);
struct jiter *jinja_iter_make(struct jinja_run *r, bool (*next)(struct jinja_run *, struct jiter *, struct jval *), struct jval source,
                              void *state);
struct jlist *jinja_iter_list(struct jinja_run *r, struct jval v); /* list(v) */

/* ---- text of values (jinja_repr.c) ---- */

const struct jstr *jinja_repr_str(struct jinja_run *r, struct jval v); /* str(v) */
struct jval jinja_repr_repr(struct jinja_run *r, struct jval v);
void jinja_repr_add(struct jinja_run *r, struct jinja_sb *sb, struct jval v); /* appends repr(v) */
void jinja_repr_float(struct jinja_sb *sb, double f);
struct jval jinja_repr_pprint(struct jinja_run *r, struct jval v);

#endif
