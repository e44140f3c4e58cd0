/* jinja_expr: parses expressions, with Jinja's precedence. SPDX-License-Identifier: Apache-2.0
 *
 *   if-else < or < and < not < comparison, in < + - < ~ < * / // % < ** < unary < . [] () < | filter, is test
 * A failure sets p->failed and moves to the end of the tokens, so that every loop ends. */
#include <stdio.h>

#include "text/jinja_ast.h"
#include "text/jinja_call.h"

enum { DEPTH_MAX = 150, CHAIN_MAX = 1000 };

/* ---- the token stream ---- */

const struct jinja_token *jinja_expr_peek(const struct jinja_parser *p) { return &p->tokens[p->at]; }

static const struct jinja_token *peek_second(const struct jinja_parser *p) {
  return &p->tokens[p->tokens[p->at].kind == TOK_EOF ? p->at : p->at + 1];
}

const struct jinja_token *jinja_expr_take(struct jinja_parser *p) {
  const struct jinja_token *t = jinja_expr_peek(p);
  if (t->kind != TOK_EOF) p->at++;
  return t;
}

bool jinja_expr_is(const struct jinja_parser *p, enum jinja_tok kind) { return jinja_expr_peek(p)->kind == kind; }

static bool token_named(const struct jinja_token *t, const char *name) {
  return t->kind == TOK_NAME && slice_eq(t->text, slice_cstr(name));
}

bool jinja_expr_is_name(const struct jinja_parser *p, const char *name) { return token_named(jinja_expr_peek(p), name); }

bool jinja_expr_skip(struct jinja_parser *p, enum jinja_tok kind) {
  bool there = jinja_expr_is(p, kind);
  if (there) jinja_expr_take(p);
  return there;
}

bool jinja_expr_skip_name(struct jinja_parser *p, const char *name) {
  bool there = jinja_expr_is_name(p, name);
  if (there) jinja_expr_take(p);
  return there;
}

void jinja_expr_fail(struct jinja_parser *p, const struct jinja_token *where, const char *format, ...) {
  if (p->failed) return;
  char what[400];
  va_list args;
  va_start(args, format);
  vsnprintf(what, sizeof what, format, args);
  va_end(args);
  error_set(p->err, ERROR_INVALID, "The template is wrong at line %u, column %u: %s.", where->line, where->column, what);
  p->failed = true;
  while (p->tokens[p->at].kind != TOK_EOF) p->at++;
}

static int shown_len(const struct jinja_token *t) { return t->text.len < 60 ? (int)t->text.len : 60; }

const struct jinja_token *jinja_expr_expect(struct jinja_parser *p, enum jinja_tok kind) {
  const struct jinja_token *t = jinja_expr_peek(p);
  if (t->kind == kind) return jinja_expr_take(p);
  if (t->kind == TOK_NAME)
    jinja_expr_fail(p, t, "\"%.*s\" stands where \"%s\" was expected", shown_len(t), t->text.data, jinja_lex_name(kind));
  else jinja_expr_fail(p, t, "\"%s\" stands where \"%s\" was expected", jinja_lex_name(t->kind), jinja_lex_name(kind));
  return t;
}

struct jinja_node *jinja_expr_node(struct jinja_parser *p, enum jinja_kind kind, const struct jinja_token *where) {
  struct jinja_node *n = arena_alloc(&p->jinja->arena, sizeof *n);
  n->kind = kind;
  n->line = where->line;
  n->column = where->column;
  return n;
}

void jinja_expr_append(struct jinja_nodes *list, struct jinja_node *node) {
  if (list->last) list->last->next = node;
  else list->first = node;
  list->last = node;
  list->n++;
}

bool jinja_expr_enter(struct jinja_parser *p) {
  if (++p->depth > DEPTH_MAX) jinja_expr_fail(p, jinja_expr_peek(p), "it is nested more than %d levels deep", DEPTH_MAX);
  return !p->failed;
}

static struct jinja_node *constant(struct jinja_parser *p, const struct jinja_token *t, struct jval v) {
  struct jinja_node *n = jinja_expr_node(p, N_CONST, t);
  n->constant = v;
  return n;
}

static const struct jstr *string_of(struct jinja_parser *p, struct slice s) { return jinja_str_borrow(&p->jinja->arena, s); }

/* ---- literals ---- */

static struct jinja_node *parse_list(struct jinja_parser *p) {
  struct jinja_node *list = jinja_expr_node(p, N_LIST, jinja_expr_take(p));
  while (!p->failed && !jinja_expr_is(p, TOK_RBRACKET)) {
    if (list->items.n) jinja_expr_expect(p, TOK_COMMA);
    if (jinja_expr_is(p, TOK_RBRACKET)) break;
    jinja_expr_append(&list->items, jinja_expr_parse(p, true));
  }
  jinja_expr_expect(p, TOK_RBRACKET);
  return list;
}

static struct jinja_node *parse_dict(struct jinja_parser *p) {
  struct jinja_node *dict = jinja_expr_node(p, N_DICT, jinja_expr_take(p));
  while (!p->failed && !jinja_expr_is(p, TOK_RBRACE)) {
    if (dict->items.n) jinja_expr_expect(p, TOK_COMMA);
    if (jinja_expr_is(p, TOK_RBRACE)) break;
    jinja_expr_append(&dict->items, jinja_expr_parse(p, true));
    jinja_expr_expect(p, TOK_COLON);
    jinja_expr_append(&dict->items, jinja_expr_parse(p, true));
  }
  jinja_expr_expect(p, TOK_RBRACE);
  return dict;
}

static struct jinja_node *parse_strings(struct jinja_parser *p) {
  const struct jinja_token *first = jinja_expr_take(p);
  struct slice text = first->text;
  if (jinja_expr_is(p, TOK_STRING)) { /* neighbours are joined */
    struct buf joined = {0};
    buf_add_slice(&joined, text);
    while (jinja_expr_is(p, TOK_STRING)) buf_add_slice(&joined, jinja_expr_take(p)->text);
    text = arena_copy(&p->jinja->arena, buf_view(&joined));
    buf_free(&joined);
  }
  return constant(p, first, jv_str(string_of(p, text)));
}

static struct jinja_node *parse_name(struct jinja_parser *p, bool namespaces) {
  const struct jinja_token *t = jinja_expr_take(p);
  if (token_named(t, "true") || token_named(t, "True")) return constant(p, t, jv_bool(true));
  if (token_named(t, "false") || token_named(t, "False")) return constant(p, t, jv_bool(false));
  if (token_named(t, "none") || token_named(t, "None")) return constant(p, t, jv_none());
  struct jinja_node *n = jinja_expr_node(p, N_NAME, t);
  n->name.name = t->text;
  if (namespaces && jinja_expr_skip(p, TOK_DOT)) {
    n->kind = N_NSREF;
    n->name.attr = jinja_expr_expect(p, TOK_NAME)->text;
  }
  return n;
}

static struct jinja_node *parse_primary(struct jinja_parser *p, bool namespaces) {
  const struct jinja_token *t = jinja_expr_peek(p);
  struct jinja_node *n;
  switch (t->kind) {
    case TOK_NAME: return parse_name(p, namespaces);
    case TOK_STRING: return parse_strings(p);
    case TOK_INT: return constant(p, jinja_expr_take(p), jv_int(t->i));
    case TOK_FLOAT: return constant(p, jinja_expr_take(p), jv_float(t->f));
    case TOK_LBRACKET: return parse_list(p);
    case TOK_LBRACE: return parse_dict(p);
    case TOK_LPAREN:
      jinja_expr_take(p);
      n = jinja_expr_tuple(p, TUPLE_PARENTHESES, NULL);
      jinja_expr_expect(p, TOK_RPAREN);
      return n;
    default: jinja_expr_fail(p, t, "\"%s\" stands where a value was expected", jinja_lex_name(t->kind)); return constant(p, t, jv_none());
  }
}

static bool tuple_ends(const struct jinja_parser *p, const char *stop) {
  enum jinja_tok kind = jinja_expr_peek(p)->kind;
  return kind == TOK_VAR_END || kind == TOK_BLOCK_END || kind == TOK_RPAREN || (stop && jinja_expr_is_name(p, stop));
}

struct jinja_node *jinja_expr_tuple(struct jinja_parser *p, unsigned flags, const char *stop) {
  const struct jinja_token *where = jinja_expr_peek(p);
  struct jinja_nodes items = {0};
  bool is_tuple = false;
  while (!p->failed) {
    if (items.n) jinja_expr_expect(p, TOK_COMMA);
    if (tuple_ends(p, stop)) break;
    bool simple = flags & TUPLE_SIMPLE;
    if (!jinja_expr_enter(p)) break;
    jinja_expr_append(&items, simple ? parse_primary(p, flags & TUPLE_NAMESPACE) : jinja_expr_parse(p, !(flags & TUPLE_NO_COND)));
    jinja_expr_leave(p);
    if (!jinja_expr_is(p, TOK_COMMA)) break;
    is_tuple = true;
  }
  if (!is_tuple && items.n) return items.first;
  if (!is_tuple && !(flags & TUPLE_PARENTHESES))
    jinja_expr_fail(p, jinja_expr_peek(p), "an expression was expected, but there is \"%s\"", jinja_lex_name(jinja_expr_peek(p)->kind));
  struct jinja_node *tuple = jinja_expr_node(p, N_TUPLE, where);
  tuple->items = items;
  return tuple;
}

/* ---- behind a value: subscripts, calls, filters, tests ---- */

static void check_keyword(struct jinja_parser *p, const struct jinja_args *args, const struct jinja_token *t) {
  for (const struct jinja_node *k = args->keywords.first; k; k = k->next)
    if (slice_eq(k->keyword.name, t->text)) jinja_expr_fail(p, t, "the argument \"%.*s\" is given twice", shown_len(t), t->text.data);
}

static void parse_keyword(struct jinja_parser *p, struct jinja_args *args) {
  const struct jinja_token *name = jinja_expr_take(p);
  check_keyword(p, args, name);
  jinja_expr_expect(p, TOK_ASSIGN);
  struct jinja_node *k = jinja_expr_node(p, N_KEYWORD, name);
  k->keyword.name = name->text;
  k->keyword.key = string_of(p, name->text);
  k->keyword.value = jinja_expr_parse(p, true);
  jinja_expr_append(&args->keywords, k);
}

static void parse_args(struct jinja_parser *p, struct jinja_args *args) {
  const struct jinja_token *open = jinja_expr_expect(p, TOK_LPAREN);
  bool comma = false, fine = true;
  while (!p->failed && !jinja_expr_is(p, TOK_RPAREN)) {
    if (comma) jinja_expr_expect(p, TOK_COMMA);
    if (jinja_expr_is(p, TOK_RPAREN)) break;
    if (jinja_expr_skip(p, TOK_MUL)) {
      fine = fine && !args->star && !args->star_star;
      args->star = jinja_expr_parse(p, true);
    } else if (jinja_expr_skip(p, TOK_POW)) {
      fine = fine && !args->star_star;
      args->star_star = jinja_expr_parse(p, true);
    } else if (jinja_expr_is(p, TOK_NAME) && peek_second(p)->kind == TOK_ASSIGN) {
      fine = fine && !args->star_star;
      parse_keyword(p, args);
    } else {
      fine = fine && !args->star && !args->star_star && !args->keywords.n;
      jinja_expr_append(&args->positional, jinja_expr_parse(p, true));
    }
    if (!fine) jinja_expr_fail(p, open, "the arguments of this call are in an order that is not allowed");
    comma = true;
  }
  jinja_expr_expect(p, TOK_RPAREN);
}

static struct jinja_node *parse_index(struct jinja_parser *p) {
  const struct jinja_token *where = jinja_expr_peek(p);
  struct jinja_node *first = NULL, *part[2] = {NULL, NULL};
  if (!jinja_expr_is(p, TOK_COLON)) {
    first = jinja_expr_parse(p, true);
    if (!jinja_expr_is(p, TOK_COLON)) return first;
  }
  for (int i = 0; i < 2 && jinja_expr_skip(p, TOK_COLON); i++) {
    enum jinja_tok kind = jinja_expr_peek(p)->kind;
    if (kind != TOK_COLON && kind != TOK_RBRACKET && kind != TOK_COMMA) part[i] = jinja_expr_parse(p, true);
  }
  struct jinja_node *slice = jinja_expr_node(p, N_SLICE, where);
  slice->slice.start = first;
  slice->slice.stop = part[0];
  slice->slice.step = part[1];
  return slice;
}

static struct jinja_node *parse_dot(struct jinja_parser *p, struct jinja_node *object) {
  const struct jinja_token *dot = jinja_expr_take(p), *t = jinja_expr_take(p);
  struct jinja_node *n = jinja_expr_node(p, t->kind == TOK_INT ? N_ITEM : N_ATTR, dot);
  n->item.object = object;
  if (t->kind == TOK_INT) n->item.index = constant(p, t, jv_int(t->i));
  else if (t->kind == TOK_NAME) n->item.name = string_of(p, t->text);
  else jinja_expr_fail(p, t, "a name or a number was expected behind the dot");
  return n;
}

static struct jinja_node *parse_brackets(struct jinja_parser *p, struct jinja_node *object) {
  const struct jinja_token *open = jinja_expr_take(p);
  struct jinja_nodes parts = {0};
  while (!p->failed && !jinja_expr_is(p, TOK_RBRACKET)) {
    if (parts.n) jinja_expr_expect(p, TOK_COMMA);
    jinja_expr_append(&parts, parse_index(p));
  }
  jinja_expr_expect(p, TOK_RBRACKET);
  struct jinja_node *n = jinja_expr_node(p, N_ITEM, open);
  n->item.object = object;
  n->item.index = parts.first;
  if (parts.n != 1) {
    for (const struct jinja_node *part = parts.first; part; part = part->next)
      if (part->kind == N_SLICE) jinja_expr_fail(p, open, "a slice cannot be one of several subscripts");
    n->item.index = jinja_expr_node(p, N_TUPLE, open);
    n->item.index->items = parts;
  }
  return n;
}

static struct jinja_node *parse_call(struct jinja_parser *p, struct jinja_node *callee) {
  struct jinja_node *n = jinja_expr_node(p, N_CALL, jinja_expr_peek(p));
  n->call.subject = callee;
  parse_args(p, &n->call.args);
  return n;
}

static struct jinja_node *parse_postfix(struct jinja_parser *p, struct jinja_node *n) {
  unsigned depth = p->depth;
  while (!p->failed) {
    enum jinja_tok kind = jinja_expr_peek(p)->kind;
    if (kind != TOK_DOT && kind != TOK_LBRACKET && kind != TOK_LPAREN) break;
    if (!jinja_expr_enter(p)) break; /* each one nests the tree deeper */
    n = kind == TOK_DOT ? parse_dot(p, n) : kind == TOK_LBRACKET ? parse_brackets(p, n) : parse_call(p, n);
  }
  p->depth = depth;
  return n;
}

/* "name" or "a.b" of a filter or test. */
static struct slice dotted_name(struct jinja_parser *p) {
  struct slice name = jinja_expr_expect(p, TOK_NAME)->text;
  while (jinja_expr_skip(p, TOK_DOT)) {
    struct slice part = jinja_expr_expect(p, TOK_NAME)->text;
    if (p->failed) break;
    char *joined = arena_alloc(&p->jinja->arena, name.len + part.len + 1);
    memcpy(joined, name.data, name.len);
    joined[name.len] = '.';
    memcpy(joined + name.len + 1, part.data, part.len);
    name = slice_make(joined, name.len + part.len + 1);
  }
  return name;
}

struct jinja_node *jinja_expr_filters(struct jinja_parser *p, struct jinja_node *subject, bool inline_first) {
  unsigned depth = p->depth;
  while (!p->failed && (inline_first || jinja_expr_is(p, TOK_PIPE))) {
    if (!jinja_expr_enter(p)) break;
    if (!inline_first) jinja_expr_take(p);
    struct jinja_node *n = jinja_expr_node(p, N_FILTER, jinja_expr_peek(p));
    struct slice name = dotted_name(p);
    n->call.subject = subject;
    n->call.name = string_of(p, name);
    n->call.builtin = jinja_filter_find(name);
    if (jinja_expr_is(p, TOK_LPAREN)) parse_args(p, &n->call.args);
    subject = n;
    inline_first = false;
  }
  p->depth = depth;
  return subject;
}

static bool test_has_argument(const struct jinja_parser *p) {
  switch (jinja_expr_peek(p)->kind) {
    case TOK_NAME: return !jinja_expr_is_name(p, "else") && !jinja_expr_is_name(p, "or") && !jinja_expr_is_name(p, "and");
    case TOK_STRING:
    case TOK_INT:
    case TOK_FLOAT:
    case TOK_LBRACKET:
    case TOK_LBRACE: return true;
    default: return false;
  }
}

static struct jinja_node *parse_test(struct jinja_parser *p, struct jinja_node *subject) {
  const struct jinja_token *is = jinja_expr_take(p);
  bool negated = jinja_expr_skip_name(p, "not");
  struct jinja_node *n = jinja_expr_node(p, N_TEST, is);
  struct slice name = dotted_name(p);
  n->call.subject = subject;
  n->call.name = string_of(p, name);
  n->call.builtin = jinja_test_find(name);
  if (jinja_expr_is(p, TOK_LPAREN)) {
    parse_args(p, &n->call.args);
  } else if (test_has_argument(p)) {
    if (jinja_expr_is_name(p, "is")) jinja_expr_fail(p, jinja_expr_peek(p), "tests with \"is\" cannot be chained");
    jinja_expr_append(&n->call.args.positional, parse_postfix(p, parse_primary(p, false)));
  }
  if (!negated) return n;
  struct jinja_node *not = jinja_expr_node(p, N_NOT, is);
  not->op.left = n;
  return not;
}

static struct jinja_node *parse_filter_expr(struct jinja_parser *p, struct jinja_node *n) {
  unsigned depth = p->depth;
  while (!p->failed) {
    if (jinja_expr_is(p, TOK_PIPE)) n = jinja_expr_filters(p, n, false);
    else if (jinja_expr_is_name(p, "is")) n = parse_test(p, n);
    else if (jinja_expr_is(p, TOK_LPAREN)) n = parse_call(p, n);
    else break;
    if (!jinja_expr_enter(p)) break;
  }
  p->depth = depth;
  return n;
}

/* ---- operators ---- */

static struct jinja_node *binary(struct jinja_parser *p, enum jinja_kind kind, const struct jinja_token *op, struct jinja_node *left,
                                 struct jinja_node *right) {
  struct jinja_node *n = jinja_expr_node(p, kind, op);
  n->op.op = op->kind;
  n->op.left = left;
  n->op.right = right;
  return n;
}

static struct jinja_node *parse_unary(struct jinja_parser *p, bool with_filter) {
  const struct jinja_token *t = jinja_expr_peek(p);
  struct jinja_node *n;
  if (!jinja_expr_enter(p)) return constant(p, t, jv_none());
  if (t->kind == TOK_SUB || t->kind == TOK_ADD) {
    jinja_expr_take(p);
    n = binary(p, N_UNARY, t, parse_unary(p, false), NULL);
  } else {
    n = parse_primary(p, false);
  }
  n = parse_postfix(p, n);
  if (with_filter) n = parse_filter_expr(p, n);
  jinja_expr_leave(p);
  return n;
}

/* The tree of a chain of operators leans left, so its length is a depth too. */
static bool chain_goes_on(struct jinja_parser *p, int length) {
  if (length > CHAIN_MAX) jinja_expr_fail(p, jinja_expr_peek(p), "a chain of more than %d operators is too long", CHAIN_MAX);
  return !p->failed;
}

/* Left-associative chains: level 0: + -; 1: ~; 2: * / // %; 3: **; 4: unary. */
static struct jinja_node *parse_math(struct jinja_parser *p, int level) {
  if (level == 4) return parse_unary(p, true);
  struct jinja_node *left = parse_math(p, level + 1);
  if (level == 1) {
    if (!jinja_expr_is(p, TOK_TILDE)) return left;
    struct jinja_node *concat = jinja_expr_node(p, N_CONCAT, jinja_expr_peek(p));
    jinja_expr_append(&concat->items, left);
    while (jinja_expr_skip(p, TOK_TILDE)) jinja_expr_append(&concat->items, parse_math(p, level + 1));
    return concat;
  }
  for (int length = 0; chain_goes_on(p, length); length++) {
    enum jinja_tok kind = jinja_expr_peek(p)->kind;
    bool mine = level == 0   ? kind == TOK_ADD || kind == TOK_SUB
                : level == 2 ? kind == TOK_MUL || kind == TOK_DIV || kind == TOK_FLOORDIV || kind == TOK_MOD
                             : kind == TOK_POW;
    if (!mine) break;
    const struct jinja_token *op = jinja_expr_take(p);
    left = binary(p, N_BINARY, op, left, parse_math(p, level + 1));
  }
  return left;
}

/* The comparison that begins here; -1: none. It is taken. */
static int take_comparison(struct jinja_parser *p) {
  int op = -1;
  switch (jinja_expr_peek(p)->kind) {
    case TOK_EQ: op = CMP_EQ; break;
    case TOK_NE: op = CMP_NE; break;
    case TOK_LT: op = CMP_LT; break;
    case TOK_LE: op = CMP_LE; break;
    case TOK_GT: op = CMP_GT; break;
    case TOK_GE: op = CMP_GE; break;
    case TOK_NAME:
      if (jinja_expr_is_name(p, "in")) op = CMP_IN;
      if (jinja_expr_is_name(p, "not") && token_named(peek_second(p), "in")) {
        jinja_expr_take(p);
        op = CMP_NOT_IN;
      }
      break;
    default: break;
  }
  if (op >= 0) jinja_expr_take(p);
  return op;
}

static struct jinja_node *parse_compare(struct jinja_parser *p) {
  struct jinja_node *left = parse_math(p, 0), *chain = NULL;
  for (;;) {
    const struct jinja_token *where = jinja_expr_peek(p);
    int op = take_comparison(p);
    if (op < 0) return chain ? chain : left;
    if (!chain) {
      chain = jinja_expr_node(p, N_COMPARE, where);
      chain->compare.left = left;
    }
    struct jinja_node *link = jinja_expr_node(p, N_COMPARE_WITH, where);
    link->link.op = (enum jinja_compare)op;
    link->link.right = parse_math(p, 0);
    jinja_expr_append(&chain->compare.links, link);
  }
}

static struct jinja_node *parse_not(struct jinja_parser *p) {
  if (!jinja_expr_is_name(p, "not")) return parse_compare(p);
  const struct jinja_token *t = jinja_expr_take(p);
  if (!jinja_expr_enter(p)) return constant(p, t, jv_none());
  struct jinja_node *n = jinja_expr_node(p, N_NOT, t);
  n->op.left = parse_not(p);
  jinja_expr_leave(p);
  return n;
}

static struct jinja_node *parse_and(struct jinja_parser *p) {
  struct jinja_node *left = parse_not(p);
  for (int length = 0; jinja_expr_is_name(p, "and") && chain_goes_on(p, length); length++) {
    const struct jinja_token *op = jinja_expr_take(p);
    left = binary(p, N_AND, op, left, parse_not(p));
  }
  return left;
}

static struct jinja_node *parse_or(struct jinja_parser *p) {
  struct jinja_node *left = parse_and(p);
  for (int length = 0; jinja_expr_is_name(p, "or") && chain_goes_on(p, length); length++) {
    const struct jinja_token *op = jinja_expr_take(p);
    left = binary(p, N_OR, op, left, parse_and(p));
  }
  return left;
}

struct jinja_node *jinja_expr_parse(struct jinja_parser *p, bool with_cond) {
  if (!jinja_expr_enter(p)) return constant(p, jinja_expr_peek(p), jv_none());
  unsigned depth = p->depth;
  struct jinja_node *n = parse_or(p);
  while (with_cond && jinja_expr_is_name(p, "if") && jinja_expr_enter(p)) {
    struct jinja_node *cond = jinja_expr_node(p, N_COND, jinja_expr_take(p));
    cond->cond.yes = n;
    cond->cond.test = parse_or(p);
    cond->cond.no = jinja_expr_skip_name(p, "else") ? jinja_expr_parse(p, true) : NULL;
    n = cond;
  }
  p->depth = depth;
  jinja_expr_leave(p);
  return n;
}
