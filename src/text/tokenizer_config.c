/* tokenizer_config: see tokenizer_config.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/tokenizer_config.h"

#include <stdlib.h>

#include "base/mem.h"
#include "text/option.h"

enum { TOKENS_MAX = 1 << 24 };

/* The members that name special tokens, in the order in which transformers adds them. */
static const char *const special_keys[] = {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};
enum { N_SPECIAL_KEYS = sizeof special_keys / sizeof special_keys[0] };

/* "</s>", or {"content": "</s>", …}. */
static bool token_name(const struct js *v, struct slice *ret) { return js_str(v, ret) || js_str(js_get(v, "content"), ret); }

/* The token that a member names, or -1. */
static int32_t named(const struct tokenizer *t, const struct js *config, const char *key) {
  struct slice name;
  return token_name(js_get(config, key), &name) ? tokenizer_find(t, name) : -1;
}

/* ---- added tokens ---- */

static int read_flags(const struct js *json, bool special, struct added_token *token, struct error *err) {
  if (option_bool(json, "special", special, &token->special, err) < 0 ||
      option_bool(json, "single_word", false, &token->single_word, err) < 0 ||
      option_bool(json, "lstrip", false, &token->lstrip, err) < 0 || option_bool(json, "rstrip", false, &token->rstrip, err) < 0 ||
      option_bool(json, "normalized", !token->special, &token->normalized, err) < 0)
    return -1;
  return 0;
}

static int32_t next_id(const struct tokenizer *t) {
  int32_t next = (int32_t)t->vocab.n_ids;
  for (size_t i = 0; i < t->added.n; i++)
    if (t->added.tokens[i].id >= next) next = t->added.tokens[i].id + 1;
  return next;
}

/* A token that the model has no row for can only be text: there is no vector to look up. */
static bool has_row(const struct tokenizer_files *f, int32_t id) {
  int64_t rows;
  return !js_int(js_get(f->model, "vocab_size"), &rows) || id < rows;
}

/* A token that tokenizer.json has not, which gets the next id there, as in transformers; one that it has stays as it is. */
static int add_beyond_json(struct tokenizer *t, struct added_token token, struct error *err) {
  if (added_find(&t->added, token.content)) return 0;
  int32_t known = vocab_find(&t->vocab, token.content), next = known >= 0 ? known : next_id(t);
  if (known < 0 && token.id != next)
    return error_set(err, ERROR_CORRUPT,
                     "The added token '%.*s' of tokenizer_config.json has id %d, is missing in tokenizer.json and would get %d.",
                     SLICE_ARG(token.content), (int)token.id, (int)next);
  token.id = next;
  return added_put(&t->added, token, err);
}

static int add(struct tokenizer *t, const struct tokenizer_files *f, struct added_token token, struct error *err) {
  if (token.content.len == 0) return 0;
  int32_t known = tokenizer_find(t, token.content);
  if (known < 0 && !has_row(f, token.id)) return 0;
  if (f->is_json) return add_beyond_json(t, token, err);
  if (known >= 0 && known != token.id)
    return error_set(err, ERROR_CORRUPT, "The added token '%.*s' has id %d beside the vocabulary and %d in it.", SLICE_ARG(token.content),
                     (int)token.id, (int)known);
  struct slice there = vocab_string(&t->vocab, token.id);
  if (there.data && !slice_eq(there, token.content))
    return error_set(err, ERROR_CORRUPT, "The added token '%.*s' has id %d, which the vocabulary gives to '%.*s'.",
                     SLICE_ARG(token.content), (int)token.id, SLICE_ARG(there));
  return added_put(&t->added, token, err);
}

static int read_id(struct slice text, int64_t *ret, struct error *err) {
  bool whole = text.len > 0;
  *ret = 0;
  for (size_t i = 0; i < text.len && whole; i++) {
    whole = text.data[i] >= '0' && text.data[i] <= '9';
    *ret = *ret * 10 + (text.data[i] - '0');
    whole = whole && *ret < TOKENS_MAX;
  }
  if (whole) return 0;
  return error_set(err, ERROR_CORRUPT, "An added token has the id '%.*s', which is no whole number below %d.", SLICE_ARG(text), TOKENS_MAX);
}

/* The tokens of one file; id is the place that the file gives each. */
struct listed {
  struct added_token *tokens; /* owned */
  size_t n;
};

static int compare_id(const void *x, const void *y) {
  int32_t a = ((const struct added_token *)x)->id, b = ((const struct added_token *)y)->id;
  return (a > b) - (a < b);
}

/* {"100257": {"content": "<|endoftext|>", "special": true, …}, …} */
static int list_decoder(struct listed *l, const struct js *list, struct error *err) {
  for (void *it = js_iter(list); it; it = js_iter_next(list, it)) {
    struct slice key;
    const struct js *value;
    struct added_token token = {0};
    int64_t id;
    js_iter_get(it, &key, &value);
    if (!token_name(value, &token.content))
      return error_set(err, ERROR_CORRUPT, "The added token with id '%.*s' has no 'content'.", SLICE_ARG(key));
    if (read_id(key, &id, err) < 0 || read_flags(value, false, &token, err) < 0) return -1;
    token.id = (int32_t)id;
    l->tokens[l->n++] = token;
  }
  return 0;
}

static int each_of_list(const struct js *list, int (*use)(void *arg, const struct js *token), void *arg) {
  struct slice key;
  const struct js *value;
  int rc = 0;
  for (size_t i = 0; js_type(list) == JS_ARRAY && i < js_len(list) && rc == 0; i++) rc = use(arg, js_at(list, i));
  for (void *it = js_iter(list); it && rc == 0; it = js_iter_next(list, it)) {
    js_iter_get(it, &key, &value);
    rc = use(arg, value);
  }
  return rc;
}

static bool is_special_key(struct slice key) {
  for (size_t i = 0; i < N_SPECIAL_KEYS; i++)
    if (slice_eq(key, slice_cstr(special_keys[i]))) return true;
  return false;
}

/* Calls use for every token that a file names as special. Stops at the first call that does not return 0, and returns that. */
static int each_special(const struct js *config, int (*use)(void *arg, const struct js *token), void *arg) {
  struct slice key, name;
  const struct js *value, *list = js_get(config, "extra_special_tokens");
  int rc = 0;
  for (size_t i = 0; i < N_SPECIAL_KEYS && rc == 0; i++) rc = use(arg, js_get(config, special_keys[i]));
  for (void *it = js_iter(config); it && rc == 0; it = js_iter_next(config, it)) {
    js_iter_get(it, &key, &value); /* "image_token" and the like: those of one model */
    if (slice_ends(key, SLICE("_token")) && !is_special_key(key) && js_str(value, &name)) rc = use(arg, value);
  }
  if (!js_len(list)) list = js_get(config, "additional_special_tokens"); /* the old name */
  return rc == 0 ? each_of_list(list, use, arg) : rc;
}

static int has_name(void *arg, const struct js *token) {
  const struct slice *content = arg;
  struct slice name;
  return token_name(token, &name) && slice_eq(name, *content);
}

static bool is_named(const struct js *config, struct slice content) { return each_special(config, has_name, &content) != 0; }

/* {"<pad>": 32000, …} */
static int list_added(struct listed *l, const struct tokenizer_files *f, struct error *err) {
  for (void *it = js_iter(f->added); it; it = js_iter_next(f->added, it)) {
    struct added_token token = {0};
    const struct js *value;
    int64_t id;
    js_iter_get(it, &token.content, &value);
    if (!js_int(value, &id) || id < 0 || id >= TOKENS_MAX)
      return error_set(err, ERROR_CORRUPT, "The added token '%.*s' has an id that is no whole number below %d.", SLICE_ARG(token.content),
                       TOKENS_MAX);
    token.id = (int32_t)id;
    token.special = is_named(f->config, token.content) || is_named(f->special, token.content);
    token.normalized = !token.special;
    l->tokens[l->n++] = token;
  }
  return 0;
}

/* Those of the file that lists them, by their ids. */
static int add_listed(struct tokenizer *t, const struct tokenizer_files *f, struct error *err) {
  const struct js *decoder = js_get(f->config, "added_tokens_decoder");
  bool has_decoder = js_type(decoder) == JS_OBJECT && js_len(decoder);
  struct listed l = {mem_alloc((js_len(has_decoder ? decoder : f->added) + 1) * sizeof *l.tokens), 0};
  int rc = has_decoder ? list_decoder(&l, decoder, err) : list_added(&l, f, err);
  if (l.n) qsort(l.tokens, l.n, sizeof *l.tokens, compare_id);
  for (size_t i = 0; i < l.n && rc == 0; i++) rc = add(t, f, l.tokens[i], err);
  free(l.tokens);
  return rc;
}

struct adding {
  struct tokenizer *t;
  const struct tokenizer_files *files;
  struct error *err;
};

/* A token that is named as special becomes so; one that is nowhere yet gets the next id. */
static int add_named(void *arg, const struct js *v) {
  struct tokenizer *t = ((struct adding *)arg)->t;
  struct error *err = ((struct adding *)arg)->err;
  struct added_token token = {.special = true};
  if (!token_name(v, &token.content) || token.content.len == 0) return 0;
  const struct added_token *known = added_find(&t->added, token.content);
  if (known) {
    token = *known;
    token.special = true;
    return added_put(&t->added, token, err);
  }
  if (js_type(v) == JS_OBJECT && read_flags(v, true, &token, err) < 0) return -1;
  token.special = true;
  token.id = vocab_find(&t->vocab, token.content);
  if (token.id < 0 && !has_row(((struct adding *)arg)->files, token.id = next_id(t))) return 0;
  return added_put(&t->added, token, err);
}

/* eos_token_id: a number or a list of them. One that is neither would leave a model without an end. */
static int check_stops(const struct js *config, const char *name, struct error *err) {
  const struct js *v = js_get(config, "eos_token_id");
  int64_t id;
  bool good = js_int(v, &id) || js_type(v) == JS_NONE || js_type(v) == JS_NULL || js_type(v) == JS_ARRAY;
  for (size_t i = 0; js_type(v) == JS_ARRAY && good && i < js_len(v); i++) good = js_int(js_at(v, i), &id);
  return good ? 0 : error_set(err, ERROR_CORRUPT, "%s: 'eos_token_id' must be a whole number or a list of them.", name);
}

int tokenizer_config_added(struct tokenizer *t, const struct tokenizer_files *f, struct error *err) {
  if (check_stops(f->model, "config.json", err) < 0 || check_stops(f->generation, "generation_config.json", err) < 0) return -1;
  if (add_listed(t, f, err) < 0) return -1;
  struct adding adding = {t, f, err};
  int rc = each_special(f->config, add_named, &adding);
  return rc == 0 ? each_special(f->special, add_named, &adding) : rc;
}

/* ---- BOS, EOS and the stop set ---- */

static int32_t id_of(const struct tokenizer *t, const struct js *v) {
  int64_t id;
  return js_int(v, &id) && id >= 0 && id < t->n_vocab ? (int32_t)id : -1;
}

static void add_stops(struct tokenizer *t, const struct js *config) {
  const struct js *v = js_get(config, "eos_token_id");
  tokenizer__add_stop(t, id_of(t, v));
  for (size_t i = 0; js_type(v) == JS_ARRAY && i < js_len(v); i++) tokenizer__add_stop(t, id_of(t, js_at(v, i)));
}

/* The name in tokenizer_config.json, in special_tokens_map.json, what is set already, the id in config.json. */
static int32_t choose(const struct tokenizer *t, const struct tokenizer_files *f, const char *token_key, const char *id_key, int32_t set) {
  int32_t id = named(t, f->config, token_key);
  if (id < 0) id = named(t, f->special, token_key);
  if (id < 0) id = set;
  return id < 0 ? id_of(t, js_get(f->model, id_key)) : id;
}

static void set_post(struct tokenizer *t, const struct js *config) {
  bool wanted;
  if (js_bool(js_get(config, "add_bos_token"), &wanted)) {
    t->post.before.len = 0;
    if (wanted && t->bos >= 0) ids_add(&t->post.before, t->bos);
  }
  if (js_bool(js_get(config, "add_eos_token"), &wanted)) {
    t->post.after.len = 0;
    if (wanted && t->eos >= 0) ids_add(&t->post.after, t->eos);
  }
}

void tokenizer_config_apply(struct tokenizer *t, const struct tokenizer_files *f) {
  int32_t named_eos = choose(t, &(struct tokenizer_files){.config = f->config, .special = f->special}, "eos_token", "", t->eos);
  t->bos = choose(t, f, "bos_token", "bos_token_id", t->bos);
  t->eos = choose(t, f, "eos_token", "eos_token_id", t->eos);
  tokenizer__add_stop(t, named_eos);
  add_stops(t, f->model);
  add_stops(t, f->generation);
  tokenizer__add_known_stops(t);
  for (size_t i = 0; i < t->stop.len; i++) added_set_special(&t->added, t->stop.data[i]);
  set_post(t, f->config);
}
