/* jinja_parse: parses statements into the tree. SPDX-License-Identifier: Apache-2.0
 *
 * Bodies are parsed until one of the tags that may end them; the tag itself is left to the caller. */
#include "text/jinja_ast.h"

typedef struct jinja_node *parse_fn(struct jinja_parser *p, const struct jinja_token *tag);

static struct jinja_node *parse_statement(struct jinja_parser *p);

/* ---- bodies ---- */

static bool at_end_tag(const struct jinja_parser *p, const char *const *ends) {
  for (; ends && *ends; ends++)
    if (jinja_expr_is_name(p, *ends)) return true;
  return false;
}

/* Everything up to one of the tags `ends` (NULL: to the end of the template), whose name is the next token then. */
static struct jinja_nodes parse_body(struct jinja_parser *p, const char *const *ends, const struct jinja_token *tag) {
  struct jinja_nodes body = {0};
  while (!p->failed) {
    const struct jinja_token *t = jinja_expr_take(p);
    struct jinja_node *n = NULL;
    if (t->kind == TOK_DATA) {
      n = jinja_expr_node(p, N_DATA, t);
      n->constant = jv_str(jinja_str_borrow(&p->jinja->arena, t->text));
    } else if (t->kind == TOK_VAR_BEGIN) {
      n = jinja_expr_node(p, N_OUTPUT, t);
      jinja_expr_append(&n->items, jinja_expr_tuple(p, 0, NULL));
      jinja_expr_expect(p, TOK_VAR_END);
    } else if (t->kind == TOK_BLOCK_BEGIN) {
      if (at_end_tag(p, ends)) return body;
      n = parse_statement(p);
      jinja_expr_expect(p, TOK_BLOCK_END);
    } else {
      break;
    }
    jinja_expr_append(&body, n);
  }
  if (ends)
    jinja_expr_fail(p, tag, "the tag \"%.*s\" is not closed (\"%s\" is missing)", (int)(tag->text.len < 40 ? tag->text.len : 40),
                    tag->text.data, ends[0]);
  return body;
}

/* The end of the tag and the body behind it. */
static struct jinja_nodes parse_tag_body(struct jinja_parser *p, const char *const *ends, const struct jinja_token *tag) {
  struct jinja_nodes none = {0};
  jinja_expr_skip(p, TOK_COLON);
  jinja_expr_expect(p, TOK_BLOCK_END);
  if (!jinja_expr_enter(p)) return none;
  struct jinja_nodes body = parse_body(p, ends, tag);
  jinja_expr_leave(p);
  return body;
}

/* The same, and the name of the closing tag. */
static struct jinja_nodes parse_whole_body(struct jinja_parser *p, const char *end, const struct jinja_token *tag) {
  const char *const ends[] = {end, NULL};
  struct jinja_nodes body = parse_tag_body(p, ends, tag);
  jinja_expr_take(p);
  return body;
}

/* ---- targets ---- */

static void mark_target(struct jinja_parser *p, struct jinja_node *target, const struct jinja_token *where) {
  if (target->kind == N_NAME) {
    target->name.store = true;
  } else if (target->kind == N_TUPLE) {
    for (struct jinja_node *n = target->items.first; n; n = n->next) mark_target(p, n, where);
  } else if (target->kind != N_NSREF) {
    jinja_expr_fail(p, where, "this cannot be assigned to");
  }
}

static struct jinja_node *parse_target(struct jinja_parser *p, unsigned flags, const char *stop) {
  const struct jinja_token *where = jinja_expr_peek(p);
  struct jinja_node *target = jinja_expr_tuple(p, TUPLE_SIMPLE | flags, stop);
  mark_target(p, target, where);
  return target;
}

static struct jinja_node *parse_name_target(struct jinja_parser *p) {
  static const char *const constants[] = {"true", "false", "none", "True", "False", "None", NULL};
  const struct jinja_token *t = jinja_expr_peek(p);
  if (at_end_tag(p, constants)) jinja_expr_fail(p, t, "this cannot be assigned to");
  struct jinja_node *n = jinja_expr_node(p, N_NAME, t);
  n->name.name = jinja_expr_expect(p, TOK_NAME)->text;
  n->name.store = true;
  return n;
}

/* A copy of a target, to be bound in another scope. */
static struct jinja_node *copy_target(struct jinja_parser *p, const struct jinja_node *target) {
  struct jinja_node *copy = arena_alloc(&p->jinja->arena, sizeof *copy);
  *copy = *target;
  copy->next = NULL;
  if (target->kind != N_TUPLE) return copy;
  copy->items = (struct jinja_nodes){0};
  for (const struct jinja_node *n = target->items.first; n; n = n->next) jinja_expr_append(&copy->items, copy_target(p, n));
  return copy;
}

/* ---- statements ---- */

static struct jinja_node *parse_set(struct jinja_parser *p, const struct jinja_token *tag) {
  struct jinja_node *n = jinja_expr_node(p, N_SET, tag);
  n->set.target = parse_target(p, TUPLE_NAMESPACE, NULL);
  if (jinja_expr_skip(p, TOK_ASSIGN)) {
    n->set.value = jinja_expr_tuple(p, 0, NULL);
    return n;
  }
  n->kind = N_SET_BLOCK;
  n->set.value = jinja_expr_filters(p, NULL, false);
  n->set.body = parse_whole_body(p, "endset", tag);
  return n;
}

static struct jinja_node *parse_for(struct jinja_parser *p, const struct jinja_token *tag) {
  static const char *const ends[] = {"endfor", "else", NULL};
  struct jinja_node *n = jinja_expr_node(p, N_FOR, tag);
  struct jinja_for *f = n->loop = arena_alloc(&p->jinja->arena, sizeof *f);
  f->target = parse_target(p, 0, "in");
  if (!jinja_expr_skip_name(p, "in")) jinja_expr_fail(p, jinja_expr_peek(p), "\"in\" was expected");
  f->iter = jinja_expr_tuple(p, TUPLE_NO_COND, "recursive");
  if (jinja_expr_skip_name(p, "if")) f->test = jinja_expr_parse(p, true);
  f->recursive = jinja_expr_skip_name(p, "recursive");
  f->body = parse_tag_body(p, ends, tag);
  bool has_else = jinja_expr_is_name(p, "else");
  jinja_expr_take(p);
  if (has_else) f->otherwise = parse_whole_body(p, "endfor", tag);
  if (f->test) f->test_target = copy_target(p, f->target);
  return n;
}

static struct jinja_node *parse_if(struct jinja_parser *p, const struct jinja_token *tag) {
  static const char *const ends[] = {"endif", "elif", "else", NULL};
  struct jinja_node *first = jinja_expr_node(p, N_IF, tag), *n = first;
  while (!p->failed) {
    n->branch.test = jinja_expr_tuple(p, TUPLE_NO_COND, NULL);
    n->branch.body = parse_tag_body(p, ends, tag);
    const struct jinja_token *t = jinja_expr_peek(p);
    if (jinja_expr_skip_name(p, "elif")) {
      n = n->branch.otherwise = jinja_expr_node(p, N_IF, t);
      continue;
    }
    if (jinja_expr_skip_name(p, "else")) {
      n->branch.otherwise = jinja_expr_node(p, N_IF, t);
      n->branch.otherwise->branch.body = parse_whole_body(p, "endif", tag);
    } else {
      jinja_expr_take(p);
    }
    break;
  }
  return first;
}

static struct jinja_node *parse_with(struct jinja_parser *p, const struct jinja_token *tag) {
  struct jinja_node *n = jinja_expr_node(p, N_WITH, tag);
  while (!p->failed && !jinja_expr_is(p, TOK_BLOCK_END)) {
    if (n->scoped.targets.n) jinja_expr_expect(p, TOK_COMMA);
    jinja_expr_append(&n->scoped.targets, parse_target(p, 0, NULL));
    jinja_expr_expect(p, TOK_ASSIGN);
    jinja_expr_append(&n->scoped.values, jinja_expr_parse(p, true));
  }
  n->scoped.body = parse_whole_body(p, "endwith", tag);
  return n;
}

static struct jinja_node *parse_autoescape(struct jinja_parser *p, const struct jinja_token *tag) {
  struct jinja_node *n = jinja_expr_node(p, N_AUTOESCAPE, tag);
  n->scoped.subject = jinja_expr_parse(p, true);
  n->scoped.body = parse_whole_body(p, "endautoescape", tag);
  return n;
}

static struct jinja_node *parse_filter_block(struct jinja_parser *p, const struct jinja_token *tag) {
  struct jinja_node *n = jinja_expr_node(p, N_FILTER_BLOCK, tag);
  n->scoped.subject = jinja_expr_filters(p, NULL, true);
  n->scoped.body = parse_whole_body(p, "endfilter", tag);
  return n;
}

static void parse_signature(struct jinja_parser *p, struct jinja_macro *m) {
  jinja_expr_expect(p, TOK_LPAREN);
  while (!p->failed && !jinja_expr_is(p, TOK_RPAREN)) {
    if (m->args.n) jinja_expr_expect(p, TOK_COMMA);
    const struct jinja_token *t = jinja_expr_peek(p);
    struct jinja_node *arg = parse_name_target(p);
    for (const struct jinja_node *a = m->args.first; a; a = a->next)
      if (slice_eq(a->name.name, arg->name.name)) jinja_expr_fail(p, t, "two arguments have the same name");
    if (jinja_expr_skip(p, TOK_ASSIGN)) jinja_expr_append(&m->defaults, jinja_expr_parse(p, true));
    else if (m->defaults.n) jinja_expr_fail(p, t, "an argument without a default follows one with a default");
    jinja_expr_append(&m->args, arg);
  }
  jinja_expr_expect(p, TOK_RPAREN);
}

static struct jinja_node *macro_node(struct jinja_parser *p, enum jinja_kind kind, const struct jinja_token *tag) {
  struct jinja_node *n = jinja_expr_node(p, kind, tag);
  n->macro.macro = arena_alloc(&p->jinja->arena, sizeof *n->macro.macro);
  return n;
}

static struct jinja_node *parse_macro(struct jinja_parser *p, const struct jinja_token *tag) {
  struct jinja_node *n = macro_node(p, N_MACRO, tag);
  n->macro.macro->name = parse_name_target(p)->name.name;
  parse_signature(p, n->macro.macro);
  n->macro.macro->body = parse_whole_body(p, "endmacro", tag);
  return n;
}

static struct jinja_node *parse_call_block(struct jinja_parser *p, const struct jinja_token *tag) {
  struct jinja_node *n = macro_node(p, N_CALL_BLOCK, tag);
  if (jinja_expr_is(p, TOK_LPAREN)) parse_signature(p, n->macro.macro);
  const struct jinja_token *where = jinja_expr_peek(p);
  n->macro.call = jinja_expr_parse(p, true);
  if (n->macro.call->kind != N_CALL) jinja_expr_fail(p, where, "a call was expected");
  n->macro.macro->body = parse_whole_body(p, "endcall", tag);
  return n;
}

static struct jinja_node *parse_generation(struct jinja_parser *p, const struct jinja_token *tag) {
  struct jinja_node *n = macro_node(p, N_GENERATION, tag);
  n->macro.macro->body = parse_whole_body(p, "endgeneration", tag);
  return n;
}

static struct jinja_node *parse_print(struct jinja_parser *p, const struct jinja_token *tag) {
  struct jinja_node *n = jinja_expr_node(p, N_OUTPUT, tag);
  while (!p->failed && !jinja_expr_is(p, TOK_BLOCK_END)) {
    if (n->items.n) jinja_expr_expect(p, TOK_COMMA);
    jinja_expr_append(&n->items, jinja_expr_parse(p, true));
  }
  return n;
}

static bool only_space(const struct jinja_nodes *body) {
  for (const struct jinja_node *n = body->first; n; n = n->next) {
    if (n->kind != N_DATA) return false;
    for (size_t at = 0; at < n->constant.str->len;)
      if (!jinja_char_space(jinja_char_next(n->constant.str, &at))) return false;
  }
  return true;
}

static struct jinja_node *parse_block(struct jinja_parser *p, const struct jinja_token *tag) {
  struct jinja_node *n = jinja_expr_node(p, N_BLOCK, tag);
  const struct jinja_token *name = jinja_expr_expect(p, TOK_NAME);
  n->block.name = name->text;
  for (const struct jinja_node *b = p->jinja->blocks; b; b = b->block.next_block)
    if (slice_eq(b->block.name, n->block.name)) jinja_expr_fail(p, name, "two blocks have the same name");
  n->block.scoped = jinja_expr_skip_name(p, "scoped");
  n->block.required = jinja_expr_skip_name(p, "required");
  n->block.next_block = p->jinja->blocks;
  p->jinja->blocks = n;
  n->block.body = parse_whole_body(p, "endblock", tag);
  if (n->block.required && !only_space(&n->block.body)) jinja_expr_fail(p, name, "a required block may only hold white space");
  if (jinja_expr_is(p, TOK_NAME) && slice_eq(jinja_expr_peek(p)->text, n->block.name)) jinja_expr_take(p);
  return n;
}

static struct jinja_node *parse_loop_control(struct jinja_parser *p, const struct jinja_token *tag) {
  return jinja_expr_node(p, slice_eq(tag->text, SLICE("break")) ? N_BREAK : N_CONTINUE, tag);
}

/* extends, include, import, from: well-formed ones parse, so that a template that never reaches them works. */
static struct jinja_node *parse_needs_loader(struct jinja_parser *p, const struct jinja_token *tag) {
  jinja_expr_parse(p, true);
  while (!p->failed && !jinja_expr_is(p, TOK_BLOCK_END) && !jinja_expr_is(p, TOK_EOF)) jinja_expr_take(p);
  return jinja_expr_node(p, N_NEEDS_LOADER, tag);
}

static const struct {
  const char *name;
  parse_fn *parse;
} statements[] = {
    {"for", parse_for},
    {"if", parse_if},
    {"set", parse_set},
    {"macro", parse_macro},
    {"call", parse_call_block},
    {"filter", parse_filter_block},
    {"with", parse_with},
    {"print", parse_print},
    {"block", parse_block},
    {"autoescape", parse_autoescape},
    {"generation", parse_generation},
    {"break", parse_loop_control},
    {"continue", parse_loop_control},
    {"extends", parse_needs_loader},
    {"include", parse_needs_loader},
    {"import", parse_needs_loader},
    {"from", parse_needs_loader},
};

static struct jinja_node *parse_statement(struct jinja_parser *p) {
  const struct jinja_token *tag = jinja_expr_take(p);
  for (size_t i = 0; tag->kind == TOK_NAME && i < sizeof statements / sizeof statements[0]; i++)
    if (slice_eq(tag->text, slice_cstr(statements[i].name))) return statements[i].parse(p, tag);
  if (tag->kind == TOK_NAME)
    jinja_expr_fail(p, tag, "there is no tag \"%.*s\" here", (int)(tag->text.len < 40 ? tag->text.len : 40), tag->text.data);
  else jinja_expr_fail(p, tag, "the name of a tag was expected");
  return jinja_expr_node(p, N_NEEDS_LOADER, tag);
}

int jinja_parse_template(struct jinja *j, const struct jinja_tokens *tokens, struct error *err) {
  struct jinja_parser p = {.jinja = j, .tokens = tokens->items, .err = err};
  j->body = parse_body(&p, NULL, NULL);
  return p.failed ? -1 : 0;
}
