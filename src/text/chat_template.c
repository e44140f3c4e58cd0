/* chat_template: a model's chat templates, and the special tokens they may print. SPDX-License-Identifier: Apache-2.0
 *
 * Sources: GGUF (tokenizer.chat_template, and tokenizer.chat_template.NAME for more); beside safetensors the first of these that has any:
 * the files chat_template.jinja and additional_chat_templates/NAME.jinja, the member chat_template of tokenizer_config.json, that of
 * chat_template.json. A member is a string, a list of {"name", "template"} or an object of strings by name. With tools the template "tool_use" is taken where there
 * is one, else the default; without them the default, which must be there then. */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/fs.h"
#include "base/mem.h"
#include "text/jinja_private.h"
#include "text/tokenizer.h"

enum { TEMPLATE_BYTES_MAX = 4 << 20, TOKENS_MAX = 32 };

struct chat_template {
  struct arena arena;
  struct slice source, tool_source; /* empty: none */
  struct jinja *jinja, *tool_jinja;
  struct jinja_default tokens[TOKENS_MAX];
  size_t n_tokens;
  bool others;                       /* there are templates of other names */
  const struct tokenizer *tokenizer; /* borrowed */
  bool adds_bos;
};

/* ---- special tokens ---- */

static void add_token(struct chat_template *c, struct slice name, struct slice text) {
  for (size_t i = 0; i < c->n_tokens; i++)
    if (slice_eq(c->tokens[i].name, name)) return;
  if (c->n_tokens == TOKENS_MAX) return;
  c->tokens[c->n_tokens++] = (struct jinja_default){arena_copy(&c->arena, name), arena_copy(&c->arena, text)};
}

/* Every member whose name ends so and that is a string or {"content": string}. */
static void add_members(struct chat_template *c, const struct js *object, struct slice end) {
  for (void *it = js_iter(object); it; it = js_iter_next(object, it)) {
    struct slice name, text;
    const struct js *v;
    js_iter_get(it, &name, &v);
    if (js_type(v) == JS_OBJECT) v = js_get(v, "content");
    if (slice_ends(name, end) && js_str(v, &text)) add_token(c, name, text);
  }
}

/* NAME_token beside the other settings, and tokens of any name where a model declares its own. */
static void add_tokens_from_json(struct chat_template *c, const struct js *config) {
  add_members(c, config, SLICE("_token"));
  add_members(c, js_get(config, "extra_special_tokens"), SLICE(""));
  add_members(c, js_get(config, "model_specific_special_tokens"), SLICE(""));
}

static void add_tokens_from_gguf(struct chat_template *c, const struct gguf *g) {
  static const struct {
    const char *key, *name;
  } ids[] = {
      {"tokenizer.ggml.bos_token_id", "bos_token"},     {"tokenizer.ggml.eos_token_id", "eos_token"},
      {"tokenizer.ggml.unknown_token_id", "unk_token"}, {"tokenizer.ggml.seperator_token_id", "sep_token"},
      {"tokenizer.ggml.padding_token_id", "pad_token"}, {"tokenizer.ggml.cls_token_id", "cls_token"},
      {"tokenizer.ggml.mask_token_id", "mask_token"},
  };
  uint64_t id;
  for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
    if (gguf_u64(g, ids[i].key, &id) && id < (uint64_t)tokenizer_n_vocab(c->tokenizer))
      add_token(c, slice_cstr(ids[i].name), tokenizer_token_bytes(c->tokenizer, (int32_t)id));
}

/* ---- sources ---- */

static void load_gguf(struct chat_template *c, const struct gguf *g) {
  struct slice text;
  if (gguf_str(g, "tokenizer.chat_template", &text)) c->source = arena_copy(&c->arena, text);
  if (gguf_str(g, "tokenizer.chat_template.tool_use", &text)) c->tool_source = arena_copy(&c->arena, text);
  add_tokens_from_gguf(c, g);
}

static int load_file(struct chat_template *c, const struct file_model *model, const char *name, struct slice *out, struct error *err) {
  char *path = fs_join(model->path, name);
  struct buf text = {0};
  int rc = fs_exists(path) ? fs_read(path, TEMPLATE_BYTES_MAX, &text, err) : 0;
  if (rc == 0 && text.len) *out = arena_copy(&c->arena, buf_view(&text));
  buf_free(&text);
  free(path);
  return rc;
}

static bool any(const struct chat_template *c) { return c->source.len || c->tool_source.len; }

static void take_named(struct chat_template *c, struct slice name, struct slice text) {
  if (slice_eq(name, SLICE("default"))) c->source = arena_copy(&c->arena, text);
  else if (slice_eq(name, SLICE("tool_use"))) c->tool_source = arena_copy(&c->arena, text);
  else c->others = true;
}

/* The member chat_template: a string, or several by name. */
static int load_member(struct chat_template *c, const struct js *v, const char *file, struct error *err) {
  struct slice text, name;
  const struct js *one;
  if (v && js_type(v) != JS_NULL && js_type(v) != JS_STRING && js_type(v) != JS_ARRAY && js_type(v) != JS_OBJECT)
    return error_set(err, ERROR_CORRUPT, "%s: 'chat_template' must be a text, or a list of named ones.", file);
  if (js_str(v, &text)) c->source = arena_copy(&c->arena, text);
  for (size_t i = 0; i < js_len(v) && js_type(v) == JS_ARRAY; i++) {
    const struct js *entry = js_at(v, i);
    if (js_str(js_get(entry, "template"), &text) && js_str(js_get(entry, "name"), &name)) take_named(c, name, text);
  }
  for (void *it = js_type(v) == JS_OBJECT ? js_iter(v) : NULL; it; it = js_iter_next(v, it)) {
    js_iter_get(it, &name, &one);
    if (js_str(one, &text)) take_named(c, name, text);
  }
  return 0;
}

static int load_directory(struct chat_template *c, const struct file_model *model, struct error *err) {
  static const char *const configs[] = {"tokenizer_config.json", "chat_template.json", "special_tokens_map.json"};
  if (load_file(c, model, "chat_template.jinja", &c->source, err) < 0 ||
      load_file(c, model, "additional_chat_templates/default.jinja", &c->source, err) < 0 ||
      load_file(c, model, "additional_chat_templates/tool_use.jinja", &c->tool_source, err) < 0)
    return -1;
  for (size_t i = 0; i < sizeof configs / sizeof configs[0]; i++) {
    struct js *config;
    if (file_model_json(model, configs[i], &config, err) < 0) return -1;
    int rc = any(c) ? 0 : load_member(c, js_get(config, "chat_template"), configs[i], err);
    add_tokens_from_json(c, config);
    js_free(config);
    if (rc < 0) return -1;
  }
  return 0;
}

/* ---- the door ---- */

static bool starts_with_bos(const struct tokenizer *t) {
  struct ids ids = {0};
  int32_t bos = tokenizer_bos(t);
  bool adds = bos >= 0 && tokenizer_encode(t, slice_make("", 0), TOKENIZER_ADD_SPECIAL, &ids, NULL) == 0 && ids.len && ids.data[0] == bos;
  ids_free(&ids);
  return adds;
}

static struct jinja *parse(struct slice source, const char *which, struct error *err) {
  struct jinja *j = jinja_parse(source, err);
  if (!j) error_prefix(err, "The model's %s cannot be used", which);
  return j;
}

struct chat_template *chat_template_open(const struct file_model *model, const struct tokenizer *t, struct error *err) {
  struct chat_template *c = mem_zalloc(1, sizeof *c);
  c->tokenizer = t;
  c->adds_bos = starts_with_bos(t);
  if (model->container == FILE_GGUF) load_gguf(c, model->gguf);
  else if (load_directory(c, model, err) < 0) goto fail;
  if (!any(c)) {
    error_set(err, ERROR_NOT_FOUND,
              c->others
                  ? "The model %s has several chat templates, but none is named default or tool_use."
                  : "The model %s has no chat template. If its makers describe one, write it as Jinja to chat_template.jinja beside it.",
              model->path);
    goto fail;
  }
  if (c->source.len && !(c->jinja = parse(c->source, "chat template", err))) goto fail;
  if (c->tool_source.len && !(c->tool_jinja = parse(c->tool_source, "chat template for tools", err))) goto fail;
  return c;
fail:
  chat_template_close(c);
  return NULL;
}

void chat_template_close(struct chat_template *c) {
  if (!c) return;
  jinja_free(c->jinja);
  jinja_free(c->tool_jinja);
  arena_free(&c->arena);
  free(c);
}

struct slice chat_template_source(const struct chat_template *c) { return c->source.len ? c->source : c->tool_source; }

struct slice chat_template_text(const struct chat_template *c, bool for_tools) { return for_tools ? c->tool_source : c->source; }

static int render(const struct chat_template *c, const struct js *context, unsigned flags, struct buf *out, struct jinja_marks *marks,
                  struct error *err) {
  enum js_type tools = js_type(js_get(context, "tools"));
  bool use_tools = c->tool_jinja && tools != JS_NONE && tools != JS_NULL;
  if (!use_tools && !c->jinja)
    return error_set(err, ERROR_INVALID, "This model's only chat template is one for tools, and there are none.");
  struct jinja_job job = {.context = context,
                          .defaults = c->tokens,
                          .n_defaults = c->n_tokens,
                          .chat = true,
                          .continue_final = (flags & CHAT_TEMPLATE_CONTINUE) != 0,
                          .now_s = -1,
                          .out = out,
                          .marks = marks};
  return jinja_run_job(use_tools ? c->tool_jinja : c->jinja, &job, err);
}

int chat_template_render(const struct chat_template *c, const struct js *context, struct buf *out, struct error *err) {
  return render(c, context, 0, out, NULL, err);
}

/* Tokenizers put BOS in front of a text; most templates print it. */
static void put_bos(const struct chat_template *c, size_t begin, struct ids *out) {
  int32_t bos = tokenizer_bos(c->tokenizer);
  if (!c->adds_bos || (out->len > begin && out->data[begin] == bos)) return;
  ids_add(out, bos);
  memmove(out->data + begin + 1, out->data + begin, (out->len - 1 - begin) * sizeof *out->data);
  out->data[begin] = bos;
}

int chat_template_encode(const struct chat_template *c, const struct js *context, unsigned flags, struct ids *out, struct error *err) {
  bool trust = (flags & CHAT_TEMPLATE_TRUST) != 0;
  struct buf text = {0};
  struct jinja_marks marks = {0};
  size_t begin = out->len;
  int rc = render(c, context, flags, &text, trust ? NULL : &marks, err);
  if (rc == 0) rc = tokenizer__encode_marked(c->tokenizer, buf_view(&text), &marks, out, err);
  if (rc == 0) put_bos(c, begin, out);
  jinja_marks_free(&marks);
  buf_free(&text);
  return rc;
}
