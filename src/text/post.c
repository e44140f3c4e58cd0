/* post: see post.h. SPDX-License-Identifier: Apache-2.0
 *
 * Processors in a sequence work from the inside to the outside: each one puts its tokens around those of the one before. */
#include "text/post.h"

#include "text/option.h"

void post_deinit(struct post *p) {
  ids_free(&p->before);
  ids_free(&p->after);
}

static int read_id(const struct js *v, int32_t *ret, struct error *err) {
  int64_t id;
  if (!js_int(v, &id) || id < 0 || id > INT32_MAX)
    return error_set(err, ERROR_CORRUPT, "The post-processor has a token id that is no whole number.");
  *ret = (int32_t)id;
  return 0;
}

static void add_all(struct ids *to, const struct ids *from) {
  for (size_t i = 0; i < from->len; i++) ids_add(to, from->data[i]);
}

/* Puts around around what p has; its memory becomes p's or is freed. */
static void wrap(struct post *p, struct post *around) {
  add_all(&around->before, &p->before);
  ids_free(&p->before);
  p->before = around->before;
  add_all(&p->after, &around->after);
  ids_free(&around->after);
}

/* The ids that the template calls name. */
static int add_special(const struct js *json, struct slice name, struct ids *out, struct error *err) {
  const struct js *ids = js_get(js_getn(js_get(json, "special_tokens"), name), "ids");
  if (js_type(ids) != JS_ARRAY)
    return error_set(err, ERROR_CORRUPT, "The post-processor's template names the token '%.*s' and gives no ids for it.", SLICE_ARG(name));
  for (size_t i = 0; i < js_len(ids); i++) {
    int32_t id = 0;
    if (read_id(js_at(ids, i), &id, err) < 0) return -1;
    ids_add(out, id);
  }
  return 0;
}

static int add_template(struct post *p, const struct js *json, struct error *err) {
  const struct js *items = js_get(json, "single");
  if (js_type(items) != JS_ARRAY) return error_set(err, ERROR_CORRUPT, "The post-processor's template 'single' must be an array.");
  struct post around = {{0}, {0}};
  size_t texts = 0;
  for (size_t i = 0; i < js_len(items); i++) {
    struct slice name;
    if (js_str(js_get(js_get(js_at(items, i), "Sequence"), "id"), &name)) {
      if (!slice_eq(name, SLICE("A"))) goto unsupported;
      texts++;
    } else if (!js_str(js_get(js_get(js_at(items, i), "SpecialToken"), "id"), &name)) {
      goto unsupported;
    } else if (add_special(json, name, texts ? &around.after : &around.before, err) < 0) {
      post_deinit(&around);
      return -1;
    }
  }
  if (texts != 1) goto unsupported;
  wrap(p, &around);
  return 0;
unsupported:
  post_deinit(&around);
  return error_set(err, ERROR_UNSUPPORTED, "The post-processor's template 'single' must hold the text $A once and special tokens.");
}

/* BertProcessing and RobertaProcessing: "cls" and "sep", each [text, id]. */
static int add_cls_sep(struct post *p, const struct js *json, struct error *err) {
  int32_t cls = 0, sep = 0;
  if (read_id(js_at(js_get(json, "cls"), 1), &cls, err) < 0 || read_id(js_at(js_get(json, "sep"), 1), &sep, err) < 0) return -1;
  struct post around = {{0}, {0}};
  ids_add(&around.before, cls);
  ids_add(&around.after, sep);
  wrap(p, &around);
  return 0;
}

static int add_sequence(struct post *p, const struct js *json, struct error *err) {
  const struct js *list = js_get(json, "processors");
  if (js_type(list) != JS_ARRAY) return error_set(err, ERROR_CORRUPT, "The post-processor 'Sequence' has no list 'processors'.");
  for (size_t i = 0; i < js_len(list); i++)
    if (post_add_json(p, js_at(list, i), err) < 0) return -1;
  return 0;
}

int post_add_json(struct post *p, const struct js *json, struct error *err) {
  if (option_is_null(json)) return 0;
  struct slice type;
  if (option_type(json, "post-processor", &type, err) < 0) return -1;
  if (slice_eq(type, SLICE("TemplateProcessing"))) return add_template(p, json, err);
  if (slice_eq(type, SLICE("BertProcessing")) || slice_eq(type, SLICE("RobertaProcessing"))) return add_cls_sep(p, json, err);
  if (slice_eq(type, SLICE("Sequence"))) return add_sequence(p, json, err);
  if (slice_eq(type, SLICE("ByteLevel"))) return 0; /* it moves offsets, not ids */
  return option_unknown("post-processor", type, err);
}
