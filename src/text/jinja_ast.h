/* jinja_ast: tokens, the tree, and the variables of a parsed template. Private to the room. SPDX-License-Identifier: Apache-2.0
 *
 * source -> jinja_lex -> tokens -> jinja_parse, jinja_expr -> tree -> jinja_scope -> tree with every name bound to a slot.
 * All of it lives in the arena of struct jinja and never changes afterwards: renderings on several threads share it. */
#ifndef TEXT_JINJA_AST_H
#define TEXT_JINJA_AST_H
#include "text/jinja_val.h"

/* ---- tokens ---- */

enum jinja_tok {
  TOK_EOF,
  TOK_DATA,
  TOK_VAR_BEGIN,
  TOK_VAR_END,
  TOK_BLOCK_BEGIN,
  TOK_BLOCK_END,
  TOK_NAME,
  TOK_STRING,
  TOK_INT,
  TOK_FLOAT,
  /* operators */
  TOK_ADD,
  TOK_SUB,
  TOK_MUL,
  TOK_DIV,
  TOK_FLOORDIV,
  TOK_MOD,
  TOK_POW,
  TOK_TILDE,
  TOK_LBRACKET,
  TOK_RBRACKET,
  TOK_LPAREN,
  TOK_RPAREN,
  TOK_LBRACE,
  TOK_RBRACE,
  TOK_EQ,
  TOK_NE,
  TOK_GT,
  TOK_GE,
  TOK_LT,
  TOK_LE,
  TOK_ASSIGN,
  TOK_DOT,
  TOK_COLON,
  TOK_PIPE,
  TOK_COMMA,
  TOK_SEMICOLON,
};

struct jinja_token {
  enum jinja_tok kind;
  uint32_t line, column; /* from 1 */
  struct slice text;     /* data, name, decoded string */
  int64_t i;
  double f;
};

struct jinja_tokens {
  struct jinja_token *items; /* owned by the caller's arena; the last is TOK_EOF */
  size_t n;
};

/* source: valid UTF-8 with "\n" as the only newline, its final one dropped. Fails with line and column. */
int jinja_lex(struct slice source, struct arena *arena, struct jinja_tokens *out, struct error *err);
const char *jinja_lex_name(enum jinja_tok kind); /* for messages */

/* ---- variables ---- */

/* A function of the template: the root, a macro, the body of a call block, a recursive loop, the condition of a loop, a block.
 * Each activation has slots of its own. */
struct jinja_function {
  size_t n_slots;
};

struct jinja_ref {
  uint32_t hops; /* functions outward */
  uint32_t slot;
};

enum jinja_load {
  LOAD_PARAMETER, /* set by who enters the scope */
  LOAD_RESOLVE,   /* from the context by name */
  LOAD_ALIAS,     /* starts as a copy of the outer variable */
  LOAD_UNDEFINED,
};

struct jinja_var {
  struct slice name;
  uint32_t slot;
  enum jinja_load load;
  struct jinja_ref outer; /* LOAD_ALIAS: as seen from this scope's function */
  uint64_t stored_at;     /* when it was first assigned to, in the order of the analysis; 0: never */
  struct jinja_var *next;
};

struct jinja_scope {
  struct jinja_scope *parent; /* NULL: the root or a block */
  struct jinja_function *function;
  struct jinja_var *vars, *vars_last;
};

/* ---- the tree ---- */

enum jinja_kind {
  /* expressions */
  N_CONST,
  N_NAME,
  N_NSREF,
  N_TUPLE,
  N_LIST,
  N_DICT, /* keys and values by turns */
  N_UNARY,
  N_BINARY,
  N_AND,
  N_OR,
  N_NOT,
  N_CONCAT,
  N_COMPARE,
  N_COMPARE_WITH, /* one link of a comparison chain */
  N_COND,
  N_ATTR,
  N_ITEM,
  N_SLICE,
  N_CALL,
  N_KEYWORD,
  N_FILTER,
  N_TEST,
  /* statements */
  N_DATA,
  N_OUTPUT,
  N_SET,
  N_SET_BLOCK,
  N_FOR,
  N_IF,
  N_MACRO,
  N_CALL_BLOCK,
  N_FILTER_BLOCK,
  N_GENERATION,
  N_WITH,
  N_AUTOESCAPE,
  N_BLOCK,
  N_BREAK,
  N_CONTINUE,
  N_NEEDS_LOADER, /* extends, include, import: there is nothing to load from */
};

struct jinja_nodes {
  struct jinja_node *first, *last;
  size_t n;
};

struct jinja_args {
  struct jinja_nodes positional, keywords; /* keywords: N_KEYWORD */
  struct jinja_node *star, *star_star;
};

enum jinja_compare { CMP_EQ, CMP_NE, CMP_LT, CMP_LE, CMP_GT, CMP_GE, CMP_IN, CMP_NOT_IN };

struct jinja_builtin;

struct jinja_macro {
  struct slice name;           /* empty: a call block */
  struct jinja_nodes args;     /* N_NAME */
  struct jinja_nodes defaults; /* of the last arguments */
  struct jinja_nodes body;
  struct jinja_scope *scope;
  struct jinja_ref target; /* where the macro is stored */
  bool uses_caller, uses_kwargs, uses_varargs, explicit_caller, exported;
  struct jinja_ref caller, kwargs, varargs;
};

struct jinja_for {
  struct jinja_node *target, *iter, *test;
  struct jinja_nodes body, otherwise;
  bool recursive, extended; /* extended: the body uses `loop` */
  struct jinja_ref loop;
  struct jinja_scope *scope, *test_scope, *else_scope;
  struct jinja_node *test_target; /* the target again, bound in test_scope */
};

struct jinja_node {
  enum jinja_kind kind;
  uint32_t line, column;
  struct jinja_node *next; /* in a list */
  union {
    struct jval constant;
    struct {
      struct slice name;
      struct slice attr; /* N_NSREF */
      struct jinja_ref ref;
      bool store, exported;
    } name;
    struct jinja_nodes items; /* N_TUPLE, N_LIST, N_DICT, N_CONCAT, N_OUTPUT */
    struct {
      enum jinja_tok op;
      struct jinja_node *left, *right; /* N_UNARY, N_NOT: left only */
    } op;
    struct {
      struct jinja_node *left;
      struct jinja_nodes links;
    } compare;
    struct {
      enum jinja_compare op;
      struct jinja_node *right;
    } link;
    struct {
      struct jinja_node *test, *yes, *no; /* no may be NULL */
    } cond;
    struct {
      struct jinja_node *object, *index;
      const struct jstr *name; /* N_ATTR */
    } item;
    struct {
      struct jinja_node *start, *stop, *step; /* each may be NULL */
    } slice;
    struct {
      struct jinja_node *subject;          /* the callee; a filter's may be NULL: the captured block */
      const struct jstr *name;             /* N_FILTER, N_TEST */
      const struct jinja_builtin *builtin; /* NULL: no filter or test has this name */
      struct jinja_args args;
    } call;
    struct {
      struct slice name;
      const struct jstr *key;
      struct jinja_node *value;
    } keyword;
    struct {
      struct jinja_node *target, *value; /* N_SET_BLOCK: value is the filter or NULL */
      struct jinja_nodes body;           /* N_SET_BLOCK */
      struct jinja_scope *scope;         /* N_SET_BLOCK */
    } set;
    struct {
      struct jinja_node *test; /* NULL: else */
      struct jinja_nodes body;
      struct jinja_node *otherwise; /* N_IF */
    } branch;
    struct {
      struct jinja_node *subject;         /* filter of N_FILTER_BLOCK; value of N_AUTOESCAPE */
      struct jinja_nodes targets, values; /* N_WITH */
      struct jinja_nodes body;
      struct jinja_scope *scope;
    } scoped;
    struct {
      struct jinja_macro *macro;
      struct jinja_node *call; /* N_CALL_BLOCK */
    } macro;                   /* N_MACRO, N_CALL_BLOCK, N_GENERATION */
    struct jinja_for *loop;
    struct {
      struct slice name;
      struct jinja_nodes body;
      struct jinja_scope *scope;
      bool scoped, required;
      struct jinja_ref self;
      bool uses_self;
      struct jinja_var *visible; /* scoped: the variables around it */
      struct jinja_node *next_block;
    } block;
  };
};

struct jinja {
  struct arena arena;
  struct jinja_nodes body;
  struct jinja_scope *scope;
  struct jinja_node *blocks; /* N_BLOCK by next_block */
  struct jinja_ref self;
  bool uses_self;
};

/* ---- parsing ---- */

struct jinja_parser {
  struct jinja *jinja;
  const struct jinja_token *tokens;
  size_t at;
  unsigned depth;
  bool failed;
  struct error *err;
};

/* Statements (jinja_parse.c). */
int jinja_parse_template(struct jinja *j, const struct jinja_tokens *tokens, struct error *err);

/* Expressions (jinja_expr.c); each returns a node, an empty one after a failure (p->failed). */
struct jinja_node *jinja_expr_parse(struct jinja_parser *p, bool with_cond);
enum {
  TUPLE_SIMPLE = 1,      /* names and literals only: targets */
  TUPLE_NO_COND = 2,     /* no inline if */
  TUPLE_PARENTHESES = 4, /* may be empty */
  TUPLE_NAMESPACE = 8,   /* a.b as a target */
};
/* stop: a name that ends the tuple, or NULL. */
struct jinja_node *jinja_expr_tuple(struct jinja_parser *p, unsigned flags, const char *stop);
/* Filters behind subject (NULL: of a block); inline: the first one without its "|". */
struct jinja_node *jinja_expr_filters(struct jinja_parser *p, struct jinja_node *subject, bool inline_first);

/* The token stream (jinja_expr.c). */
const struct jinja_token *jinja_expr_peek(const struct jinja_parser *p);
const struct jinja_token *jinja_expr_take(struct jinja_parser *p);
bool jinja_expr_is(const struct jinja_parser *p, enum jinja_tok kind);
bool jinja_expr_is_name(const struct jinja_parser *p, const char *name);
bool jinja_expr_skip(struct jinja_parser *p, enum jinja_tok kind); /* takes it when it is there */
bool jinja_expr_skip_name(struct jinja_parser *p, const char *name);
const struct jinja_token *jinja_expr_expect(struct jinja_parser *p, enum jinja_tok kind); /* fails when it is not there */
void jinja_expr_fail(struct jinja_parser *p, const struct jinja_token *where, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
struct jinja_node *jinja_expr_node(struct jinja_parser *p, enum jinja_kind kind, const struct jinja_token *where);
void jinja_expr_append(struct jinja_nodes *list, struct jinja_node *node);
/* Nesting: false, with a failure, when it is too deep. Each true enter needs its leave. */
bool jinja_expr_enter(struct jinja_parser *p);
static inline void jinja_expr_leave(struct jinja_parser *p) { p->depth--; }

/* Binds every name (jinja_scope.c). */
int jinja_scope_resolve(struct jinja *j, struct error *err);

#endif
