/* tokenizer_config: see tokenizer_config.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/tokenizer_config.h"

/* A token given by name: "</s>" or {"content": "</s>", …}. -1 when it is not there. */
static int32_t named(const struct tokenizer *t, const struct js *config, const char *key) {
  const struct js *v = js_get(config, key);
  struct slice name;
  if (js_str(v, &name) || js_str(js_get(v, "content"), &name)) return tokenizer_find(t, name);
  return -1;
}

static int32_t id_of(const struct tokenizer *t, const struct js *v) {
  int64_t id;
  return js_int(v, &id) && id >= 0 && id < t->n_vocab ? (int32_t)id : -1;
}

/* eos_token_id: a number or a list of them. */
static void add_stops(struct tokenizer *t, const struct js *config) {
  const struct js *v = js_get(config, "eos_token_id");
  tokenizer__add_stop(t, id_of(t, v));
  for (size_t i = 0; js_type(v) == JS_ARRAY && i < js_len(v); i++) tokenizer__add_stop(t, id_of(t, js_at(v, i)));
}

void tokenizer_config_apply(struct tokenizer *t, const struct js *config, const struct js *model, const struct js *generation) {
  t->bos = named(t, config, "bos_token");
  t->eos = named(t, config, "eos_token");
  tokenizer__add_stop(t, t->eos);
  add_stops(t, model);
  add_stops(t, generation);
  tokenizer__add_known_stops(t);
  if (t->bos < 0) t->bos = id_of(t, js_get(model, "bos_token_id"));
  if (t->eos < 0) t->eos = id_of(t, js_get(model, "eos_token_id"));
  bool add_bos = true;
  struct ids *before = &t->post.before;
  if (js_bool(js_get(config, "add_bos_token"), &add_bos) && !add_bos && before->len && before->data[0] == t->bos) {
    memmove(before->data, before->data + 1, (before->len - 1) * sizeof before->data[0]);
    before->len--;
  }
}
