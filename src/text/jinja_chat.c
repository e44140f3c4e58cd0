/* jinja_chat: what transformers does to a conversation around a template. SPDX-License-Identifier: Apache-2.0
 *
 * Roles: templates of some families build control tokens from them ("<|" + role + "|>"), so the names that conversations have do not
 * count as text of the caller. Any other role does. */
#include "text/jinja_chat.h"

/* Behind what is to be continued; templates that trim it take its space. */
static const char tag[] = "CONTINUE_FINAL_MESSAGE_TAG ";

void jinja_chat_defaults(struct jinja_run *r) {
  jinja_val_setn(r, r->context, SLICE("tools"), jv_none());
  jinja_val_setn(r, r->context, SLICE("documents"), jv_none());
  jinja_val_setn(r, r->context, SLICE("add_generation_prompt"), jv_bool(false));
}

/* ---- messages ---- */

static struct jval known_role(struct jinja_run *r, struct jval role) {
  static const char *const names[] = {"system", "developer", "user", "assistant", "tool", "function", "ipython"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (jinja_str_is(role, names[i])) return jinja_str_cstr(r, names[i]);
  return role;
}

/* Templates read a message's reasoning as "reasoning_content" or "thinking"; callers send one of three names. */
static struct jval find_reasoning(struct jinja_run *r, const struct jdict *message) {
  static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    struct jval *v = jinja_val_getn(r, message, slice_cstr(names[i]));
    if (v && v->type != JV_NONE) return *v;
  }
  return jv_missing();
}

static struct jval prepare(struct jinja_run *r, struct jval message) {
  if (message.type != JV_DICT) return message;
  struct jval reasoning = find_reasoning(r, message.dict);
  struct jdict *d = jinja_val_dict(r);
  if (jv_given(reasoning)) jinja_val_setn(r, d, SLICE("thinking"), reasoning);
  for (size_t i = 0; i < message.dict->n; i++) {
    struct jentry e = message.dict->entries[i];
    if (jinja_str_is(e.key, "role")) e.value = known_role(r, e.value);
    if (e.value.type != JV_NONE) jinja_val_set(r, d, e.key, e.value);
  }
  if (jv_given(reasoning)) jinja_val_setn(r, d, SLICE("reasoning_content"), reasoning);
  return jv_dict(d);
}

static struct jlist *messages_of(struct jinja_run *r) {
  struct jval *messages = jinja_val_getn(r, r->context, SLICE("messages"));
  return messages && messages->type == JV_LIST ? messages->list : NULL;
}

void jinja_chat_messages(struct jinja_run *r) {
  struct jlist *messages = messages_of(r);
  for (size_t i = 0; messages && i < messages->n; i++) messages->items[i] = prepare(r, messages->items[i]);
}

/* ---- continuing the last message ---- */

/* The text of the last message that is continued: its content, or the text of the last part that has one. */
static struct jval *final_text(struct jinja_run *r) {
  struct jlist *messages = messages_of(r);
  struct jval last = messages && messages->n ? messages->items[messages->n - 1] : jv_none();
  struct jval *text = last.type == JV_DICT ? jinja_val_getn(r, last.dict, SLICE("content")) : NULL;
  if (!text || text->type != JV_LIST) return text;
  struct jlist *parts = text->list;
  for (size_t i = parts->n; i-- > 0;) {
    text = parts->items[i].type == JV_DICT ? jinja_val_getn(r, parts->items[i].dict, SLICE("text")) : NULL;
    if (text) return text;
  }
  return NULL;
}

void jinja_chat_open(struct jinja_run *r) {
  struct jval *text = final_text(r);
  if (!text || !jv_is_str(*text)) {
    jinja_run_raise(r, SLICE("The last message has no text that could be continued."));
    return;
  }
  r->continued = text->str;
  *text = jv_str(jinja_str_concat(r, text->str, jinja_str_borrow(&r->arena, slice_cstr(tag))));
}

static void cut(struct jinja_sb *sb, size_t len) {
  sb->buf.len = len;
  while (sb->n_marks && sb->marks[sb->n_marks - 1].begin >= len) sb->n_marks--;
  if (sb->n_marks && sb->marks[sb->n_marks - 1].end > len) sb->marks[sb->n_marks - 1].end = len;
}

void jinja_chat_cut(struct jinja_run *r) {
  if (r->failed) return;
  size_t n_tag = sizeof tag - 2; /* without its space */
  struct jstr *out = jinja_str_borrow(&r->arena, buf_view(&r->out->buf));
  size_t at = jinja_str_rfind(out, 0, out->len, slice_make(tag, n_tag));
  const struct jstr *stripped = jinja_str_strip(r, r->continued, NULL, true, true);
  if (at == SIZE_MAX || jinja_str_find(out, 0, out->len, jinja_str_slice(stripped)) == SIZE_MAX) {
    jinja_run_raise(r, SLICE("The model's chat template changes the last message, so that it cannot be continued."));
    return;
  }
  bool spaced = at + n_tag < out->len && out->data[at + n_tag] == ' ';
  const struct jstr *kept = jinja_str_borrow(&r->arena, slice_make(out->data, at));
  if (!spaced) kept = jinja_str_strip(r, kept, NULL, false, true);
  cut(r->out, kept->len);
}
