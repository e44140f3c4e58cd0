/* fields_text: the fields that carry the caller's text: `messages`, `prompt` and `input`. SPDX-License-Identifier: Apache-2.0
 *
 * Messages become the context of the chat template as JSON text: role and content alone, `developer` called `system`, content
 * parts joined by line feeds, null content empty; what chat_template_kwargs holds stands beside them. */
#include <stdio.h>
#include <string.h>

#include "api/fields.h"
#include "base/jsonw.h"

/* ---- messages ---- */

static int wrong(struct reader *r, const char *param, const char *wanted, const struct js *v) {
  return fault_field(r->fault, "invalid_type", param, "`%s` must be %s, not %s.", param, wanted, js_type_name(v));
}

static int unknown_in(struct reader *r, const char *parent, struct slice key) {
  char path[128];
  int n = snprintf(path, sizeof path, "%s.%.*s", parent, (int)(key.len < 60 ? key.len : 60), key.data);
  return fields_unknown(r, key, slice_make(path, (size_t)n));
}

static int read_role(struct reader *r, const struct js *message, size_t index, struct slice *ret_role) {
  char param[64];
  snprintf(param, sizeof param, "messages[%zu].role", index);
  const struct js *v = js_get(message, "role");
  if (js_type(v) == JS_NONE) return fault_field(r->fault, "missing_required_parameter", param, "`%s` is required.", param);
  if (!js_str(v, ret_role)) return wrong(r, param, "a string", v);
  if (slice_eq(*ret_role, SLICE("developer"))) *ret_role = SLICE("system");
  if (slice_eq(*ret_role, SLICE("system")) || slice_eq(*ret_role, SLICE("user")) || slice_eq(*ret_role, SLICE("assistant"))) return 0;
  if (slice_eq(*ret_role, SLICE("tool")) || slice_eq(*ret_role, SLICE("function")))
    return fault_field(r->fault, "unsupported_value", param,
                       "Messages with the role '%.*s' are not supported: this server does not call functions yet.", SLICE_ARG(*ret_role));
  return fault_field(r->fault, "invalid_value", param, "`%s` must be 'system', 'developer', 'user' or 'assistant', not '%.*s'.", param,
                     (int)(ret_role->len < 60 ? ret_role->len : 60), ret_role->data);
}

static int read_part(struct reader *r, const struct js *part, size_t index, size_t part_index, struct buf *out) {
  char param[96];
  snprintf(param, sizeof param, "messages[%zu].content[%zu]", index, part_index);
  if (js_type(part) != JS_OBJECT) return wrong(r, param, "an object", part);
  struct slice type, text;
  const struct js *t = js_get(part, "type");
  if (!js_str(t, &type)) return fault_field(r->fault, "invalid_type", param, "`%s.type` must be a string, not %s.", param, js_type_name(t));
  if (!slice_eq(type, SLICE("text")))
    return fault_field(r->fault, "unsupported_value", param, "`%s` has the type '%.*s'; only 'text' is supported.", param,
                       (int)(type.len < 60 ? type.len : 60), type.data);
  t = js_get(part, "text");
  if (!js_str(t, &text)) return fault_field(r->fault, "invalid_type", param, "`%s.text` must be a string, not %s.", param, js_type_name(t));
  if (part_index > 0) buf_add_byte(out, '\n');
  buf_add_slice(out, text);
  for (void *it = js_iter(part); it; it = js_iter_next(part, it)) {
    struct slice key;
    js_iter_get(it, &key, &t);
    if (slice_eq(key, SLICE("type")) || slice_eq(key, SLICE("text"))) continue;
    if (unknown_in(r, "messages.content", key) != 0) return -1;
  }
  return 0;
}

static int read_content(struct reader *r, const struct js *message, size_t index, bool may_be_null, struct buf *out) {
  char param[64];
  snprintf(param, sizeof param, "messages[%zu].content", index);
  const struct js *v = js_get(message, "content");
  struct slice text;
  if (js_str(v, &text)) {
    buf_add_slice(out, text);
    return 0;
  }
  if (js_type(v) == JS_ARRAY) {
    for (size_t i = 0; i < js_len(v); i++)
      if (read_part(r, js_at(v, i), index, i, out) != 0) return -1;
    return 0;
  }
  if (js_type(v) <= JS_NULL && may_be_null) return 0;
  if (js_type(v) == JS_NONE) return fault_field(r->fault, "missing_required_parameter", param, "`%s` is required.", param);
  return wrong(r, param, "a string or a list of parts of type text", v);
}

/* The members beside role and content. */
static int check_rest(struct reader *r, const struct js *message, size_t index) {
  for (void *it = js_iter(message); it; it = js_iter_next(message, it)) {
    struct slice key;
    const struct js *v;
    js_iter_get(it, &key, &v);
    if (slice_eq(key, SLICE("role")) || slice_eq(key, SLICE("content"))) continue;
    bool calls = slice_eq(key, SLICE("tool_calls")) || slice_eq(key, SLICE("function_call"));
    if (calls && js_type(v) != JS_NULL && !(js_type(v) == JS_ARRAY && js_len(v) == 0)) {
      char param[96];
      snprintf(param, sizeof param, "messages[%zu].%.*s", index, SLICE_ARG(key));
      return fault_field(r->fault, "unsupported_parameter", param, "`%s` is not supported: this server does not call functions yet.",
                         param);
    }
    if (!calls && unknown_in(r, "messages", key) != 0) return -1;
  }
  return 0;
}

static int read_message(struct reader *r, const struct js *message, size_t index, struct jsonw *w) {
  char param[64];
  snprintf(param, sizeof param, "messages[%zu]", index);
  if (js_type(message) != JS_OBJECT) return wrong(r, param, "an object", message);
  struct slice role;
  if (read_role(r, message, index, &role) != 0) return -1;
  struct buf content = {0};
  int result = read_content(r, message, index, slice_eq(role, SLICE("assistant")), &content);
  if (result == 0) result = check_rest(r, message, index);
  if (result == 0) {
    jsonw_object_begin(w);
    jsonw_key_str(w, "role", role);
    jsonw_key_str(w, "content", buf_view(&content));
    jsonw_object_end(w);
  }
  buf_free(&content);
  return result;
}

int fields_text_messages(struct reader *r, const char *name, const struct js *v) {
  if (js_type(v) != JS_ARRAY) return wrong(r, name, "a list of messages", v);
  if (js_len(v) == 0) return fault_field(r->fault, "invalid_value", name, "`messages` must not be empty.");
  struct buf messages = {0};
  struct jsonw w = {.out = &messages};
  jsonw_array_begin(&w);
  int result = 0;
  for (size_t i = 0; i < js_len(v) && result == 0; i++) result = read_message(r, js_at(v, i), i, &w);
  jsonw_array_end(&w);
  if (result == 0) r->out->context = arena_copy(&r->out->arena, buf_view(&messages));
  buf_free(&messages);
  return result;
}

int fields_template_kwargs(struct reader *r, const char *name, const struct js *v) {
  static const char *const taken[] = {"messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "chat_template"};
  if (js_type(v) != JS_OBJECT) return wrong(r, name, "an object", v);
  for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
    if (js_get(v, taken[i]))
      return fault_field(r->fault, "invalid_value", name, "`%s` holds variables of the chat template; `%s` cannot be one of them.", name,
                         taken[i]);
  r->template_kwargs = v;
  return 0;
}

int fields_text_context(struct reader *r) {
  bool prompt = r->has_generation_prompt ? r->generation_prompt : !r->out->continue_final;
  if (prompt && r->out->continue_final)
    return fault_field(
        r->fault, "invalid_value", "continue_final_message",
        "`continue_final_message` and `add_generation_prompt` cannot both be true: either the last message goes on, or a new "
        "one begins.");
  struct buf context = {0};
  struct jsonw w = {.out = &context};
  jsonw_object_begin(&w);
  jsonw_key(&w, "messages");
  jsonw_raw(&w, r->out->context);
  jsonw_key_bool(&w, "add_generation_prompt", prompt);
  for (void *it = js_iter(r->template_kwargs); it; it = js_iter_next(r->template_kwargs, it)) {
    struct slice key;
    const struct js *v;
    js_iter_get(it, &key, &v);
    jsonw_key_slice(&w, key);
    jsonw_value(&w, v);
  }
  jsonw_object_end(&w);
  r->out->context = arena_copy(&r->out->arena, buf_view(&context));
  buf_free(&context);
  return 0;
}

/* ---- prompt and input ---- */

static int read_ids(struct reader *r, const char *param, const struct js *list, struct request_text *out) {
  size_t n = js_len(list);
  if (n == 0) return fault_field(r->fault, "invalid_value", param, "`%s` is an empty list of token ids.", param);
  int32_t *ids = arena_array(&r->out->arena, n, sizeof *ids);
  for (size_t i = 0; i < n; i++) {
    int64_t id;
    const struct js *v = js_at(list, i);
    if (!js_int(v, &id))
      return fault_field(r->fault, "invalid_type", param, "`%s` must hold token ids only; item %zu is %s.", param, i, js_type_name(v));
    if (id < 0 || id >= r->rules->n_vocab)
      return fault_field(r->fault, "invalid_value", param, "`%s` has the token id %lld at %zu, which is not in the vocabulary (0 to %d).",
                         param, (long long)id, i, (int)r->rules->n_vocab - 1);
    ids[i] = (int32_t)id;
  }
  *out = (struct request_text){.is_ids = true, .ids = ids, .n_ids = n};
  return 0;
}

static int read_text(struct reader *r, const char *param, const struct js *v, struct request_text *out) {
  struct slice s;
  if (js_type(v) == JS_ARRAY) return read_ids(r, param, v, out);
  if (!js_str(v, &s)) return wrong(r, param, "a string or a list of token ids", v);
  *out = (struct request_text){.text = arena_copy(&r->out->arena, s)};
  return 0;
}

static size_t batch_max(const struct reader *r) {
  if (r->rules->dialect == DIALECT_OPENAI) return REQUEST_BATCH_MAX;
  return r->out->kind == REQUEST_COMPLETION ? REQUEST_DATABRICKS_PROMPTS_MAX : REQUEST_DATABRICKS_INPUTS_MAX;
}

int fields_text_list(struct reader *r, const char *name, const struct js *v) {
  enum js_type type = js_type(v);
  if (type != JS_STRING && type != JS_ARRAY) return wrong(r, name, "a string, a list of strings, or token ids", v);
  bool one = type == JS_STRING || js_type(js_at(v, 0)) == JS_INT;
  size_t n = one ? 1 : js_len(v);
  if (n == 0) return fault_field(r->fault, "invalid_value", name, "`%s` must not be empty.", name);
  if (n > batch_max(r))
    return fault_field(r->fault, "invalid_value", name, "`%s` may hold at most %zu items here, not %zu.", name, batch_max(r), n);
  struct request_text *texts = arena_array(&r->out->arena, n, sizeof *texts);
  for (size_t i = 0; i < n; i++) {
    char param[64];
    snprintf(param, sizeof param, "%s[%zu]", name, i);
    if (read_text(r, one ? name : param, one ? v : js_at(v, i), &texts[i]) != 0) return -1;
  }
  r->out->texts = texts;
  r->out->n_texts = n;
  return 0;
}
