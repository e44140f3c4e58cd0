/* tokenizer_json: see tokenizer_json.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/tokenizer_json.h"

#include <stdlib.h>

#include "base/mem.h"
#include "text/option.h"

enum { TOKENS_MAX = 1 << 24, MERGES_MAX = 1 << 26 };

static struct slice own(struct slice s) { return slice_make(mem_dup(s.data, s.len), s.len); }

static int read_vocab(struct vocab *v, const struct js *json, struct error *err) {
  struct slice string;
  const struct js *value;
  size_t bytes = 0;
  if (js_type(json) != JS_OBJECT) return error_set(err, ERROR_CORRUPT, "The tokenizer's model has no object 'vocab'.");
  if (js_len(json) > TOKENS_MAX) return error_set(err, ERROR_TOO_LARGE, "The vocabulary has more than %d tokens.", TOKENS_MAX);
  for (void *it = js_iter(json); it; it = js_iter_next(json, it)) {
    js_iter_get(it, &string, &value);
    bytes += string.len;
  }
  vocab_init(v, js_len(json), bytes);
  for (void *it = js_iter(json); it; it = js_iter_next(json, it)) {
    int64_t id;
    js_iter_get(it, &string, &value);
    if (!js_int(value, &id) || id < 0 || id >= TOKENS_MAX)
      return error_set(err, ERROR_CORRUPT, "The token '%.*s' has an id that is no whole number below %d.", SLICE_ARG(string), TOKENS_MAX);
    if (vocab_put(v, string, (uint32_t)id, err) < 0) return -1;
  }
  return 0;
}

/* "a b", or ["a", "b"]. */
static int add_merge(struct bpe *b, const struct js *json, struct error *err) {
  struct slice left, right, both;
  if (js_str(json, &both)) {
    const char *space = both.len ? memchr(both.data, ' ', both.len) : NULL;
    if (!space) return error_set(err, ERROR_CORRUPT, "The merge '%.*s' has no space between its tokens.", SLICE_ARG(both));
    left = slice_make(both.data, (size_t)(space - both.data));
    right = slice_from(both, left.len + 1);
  } else if (js_len(json) != 2 || !js_str(js_at(json, 0), &left) || !js_str(js_at(json, 1), &right)) {
    return error_set(err, ERROR_CORRUPT, "Merge %u of the tokenizer is neither a string nor two strings.", b->n_ranks);
  }
  return bpe_add_merge(b, left, right, err);
}

static int find_unknown(const struct tokenizer *t, const struct js *model, int32_t *ret, struct error *err) {
  struct slice name;
  if (option_str_maybe(model, "unk_token", &name, err) < 0) return -1;
  *ret = name.data ? vocab_find(&t->vocab, name) : -1;
  return 0;
}

static int read_bpe(struct tokenizer *t, const struct js *model, struct error *err) {
  const struct js *merges = js_get(model, "merges");
  double dropout;
  struct slice prefix, suffix;
  if (js_type(merges) != JS_ARRAY) return error_set(err, ERROR_CORRUPT, "The tokenizer's BPE model has no array 'merges'.");
  if (js_len(merges) > MERGES_MAX) return error_set(err, ERROR_TOO_LARGE, "The tokenizer has more than %d merges.", MERGES_MAX);
  if (js_real(js_get(model, "dropout"), &dropout) && dropout != 0)
    return error_set(err, ERROR_UNSUPPORTED, "The tokenizer has 'dropout' %g, which would make it random.", dropout);
  t->model = TOKENIZER_BPE;
  bpe_init(&t->bpe, &t->vocab, js_len(merges));
  if (find_unknown(t, model, &t->bpe.unknown, err) < 0 || option_bool(model, "fuse_unk", false, &t->bpe.fuse_unknown, err) < 0 ||
      option_bool(model, "byte_fallback", false, &t->bpe.byte_fallback, err) < 0 ||
      option_bool(model, "ignore_merges", false, &t->bpe.ignore_merges, err) < 0 ||
      option_str_maybe(model, "continuing_subword_prefix", &prefix, err) < 0 ||
      option_str_maybe(model, "end_of_word_suffix", &suffix, err) < 0)
    return -1;
  t->bpe.continuing_prefix = own(prefix);
  t->bpe.end_suffix = own(suffix);
  for (size_t i = 0; i < js_len(merges); i++)
    if (add_merge(&t->bpe, js_at(merges, i), err) < 0) return -1;
  return 0;
}

static int read_wordpiece(struct tokenizer *t, const struct js *model, struct error *err) {
  struct slice prefix;
  int64_t max;
  t->model = TOKENIZER_WORDPIECE;
  t->wordpiece.vocab = &t->vocab;
  if (find_unknown(t, model, &t->wordpiece.unknown, err) < 0 || option_str(model, "continuing_subword_prefix", &prefix, err) < 0 ||
      option_int(model, "max_input_chars_per_word", 100, 0, INT32_MAX, &max, err) < 0)
    return -1;
  t->wordpiece.prefix = own(prefix);
  t->wordpiece.word_chars_max = (size_t)max;
  return 0;
}

/* [["<unk>", 0.0], …]: the place in the list is the id. */
static int read_scored(struct tokenizer *t, const struct js *list, struct error *err) {
  if (js_type(list) != JS_ARRAY || js_len(list) == 0)
    return error_set(err, ERROR_CORRUPT, "The tokenizer's Unigram model has no list 'vocab'.");
  if (js_len(list) > TOKENS_MAX) return error_set(err, ERROR_TOO_LARGE, "The vocabulary has more than %d tokens.", TOKENS_MAX);
  vocab_init(&t->vocab, js_len(list), js_len(list) * 8);
  double *scores = mem_alloc(js_len(list) * sizeof scores[0]);
  int rc = 0;
  for (size_t i = 0; rc == 0 && i < js_len(list); i++) {
    struct slice string;
    if (!js_str(js_at(js_at(list, i), 0), &string) || !js_real(js_at(js_at(list, i), 1), &scores[i]))
      rc = error_set(err, ERROR_CORRUPT, "Token %zu of the Unigram model is no pair of a string and a score.", i);
    else rc = vocab_put(&t->vocab, string, (uint32_t)i, err);
  }
  if (rc == 0) unigram_init(&t->unigram, &t->vocab, scores);
  else free(scores);
  return rc;
}

static int read_unigram(struct tokenizer *t, const struct js *model, struct error *err) {
  int64_t unknown;
  t->model = TOKENIZER_UNIGRAM;
  if (read_scored(t, js_get(model, "vocab"), err) < 0 ||
      option_int(model, "unk_id", -1, 0, (int64_t)t->vocab.n_ids - 1, &unknown, err) < 0 ||
      option_bool(model, "byte_fallback", false, &t->unigram.byte_fallback, err) < 0)
    return -1;
  t->unigram.unknown = (int32_t)unknown;
  return 0;
}

/* Old files have no type: merges tell BPE, the prefix WordPiece, a list of pairs Unigram. */
static int read_model(struct tokenizer *t, const struct js *model, struct error *err) {
  struct slice type;
  if (js_type(model) != JS_OBJECT) return error_set(err, ERROR_CORRUPT, "The tokenizer has no 'model'.");
  if (option_str_maybe(model, "type", &type, err) < 0) return -1;
  bool bpe = type.data ? slice_eq(type, SLICE("BPE")) : js_get(model, "merges") != NULL;
  bool wordpiece = type.data ? slice_eq(type, SLICE("WordPiece")) : !bpe && js_get(model, "continuing_subword_prefix");
  bool unigram = type.data ? slice_eq(type, SLICE("Unigram")) : !bpe && !wordpiece && js_type(js_get(model, "vocab")) == JS_ARRAY;
  if (unigram) return read_unigram(t, model, err);
  if (!bpe && !wordpiece) return option_unknown("model", type.data ? type : SLICE("(no type)"), err);
  if (read_vocab(&t->vocab, js_get(model, "vocab"), err) < 0) return -1;
  return bpe ? read_bpe(t, model, err) : read_wordpiece(t, model, err);
}

/* The reference gives a token that is not in the vocabulary the next free id, whatever the file says; a file that says
 * something else is refused, since its embedding rows could not be told apart. */
static int add_token(struct tokenizer *t, const struct js *json, int32_t *next, struct error *err) {
  struct added_token token = {0};
  int64_t id;
  if (option_str(json, "content", &token.content, err) < 0 || option_bool(json, "special", false, &token.special, err) < 0 ||
      option_bool(json, "single_word", false, &token.single_word, err) < 0 || option_bool(json, "lstrip", false, &token.lstrip, err) < 0 ||
      option_bool(json, "rstrip", false, &token.rstrip, err) < 0 ||
      option_bool(json, "normalized", !token.special, &token.normalized, err) < 0)
    return -1;
  if (token.content.len == 0) return 0;
  if (!js_int(js_get(json, "id"), &id))
    return error_set(err, ERROR_CORRUPT, "The added token '%.*s' has no 'id'.", SLICE_ARG(token.content));
  const struct added_token *known = added_find(&t->added, token.content);
  token.id = known ? known->id : vocab_find(&t->vocab, token.content);
  if (token.id < 0) token.id = (*next)++;
  if (token.id != id)
    return error_set(err, ERROR_CORRUPT, "The added token '%.*s' has id %lld in the file and would get %d.", SLICE_ARG(token.content),
                     (long long)id, (int)token.id);
  return added_put(&t->added, token, err);
}

static int read_added(struct tokenizer *t, const struct js *list, struct error *err) {
  if (option_is_null(list)) return 0;
  if (js_type(list) != JS_ARRAY) return error_set(err, ERROR_CORRUPT, "The tokenizer's 'added_tokens' must be an array.");
  int32_t next = (int32_t)t->vocab.n_strings;
  for (size_t i = 0; i < js_len(list); i++)
    if (add_token(t, js_at(list, i), &next, err) < 0) return -1;
  return 0;
}

int tokenizer_json_read(struct tokenizer *t, const struct js *json, struct error *err) {
  struct slice version;
  int rc = -1;
  if (js_type(json) != JS_OBJECT) {
    error_set(err, ERROR_CORRUPT, "The file holds no JSON object.");
  } else if (js_str(js_get(json, "version"), &version) && !slice_eq(version, SLICE("1.0"))) {
    error_set(err, ERROR_UNSUPPORTED, "The tokenizer's version is '%.*s'; Plinth knows 1.0.", SLICE_ARG(version));
  } else if (read_model(t, js_get(json, "model"), err) == 0 && normalizer_add_json(&t->normalizer, js_get(json, "normalizer"), err) == 0 &&
             pretok_add_json(&t->pretok, js_get(json, "pre_tokenizer"), err) == 0 &&
             post_add_json(&t->post, js_get(json, "post_processor"), err) == 0 &&
             decoder_read_json(&t->decoder, js_get(json, "decoder"), err) == 0 && read_added(t, js_get(json, "added_tokens"), err) == 0) {
    rc = 0;
  }
  if (rc < 0) error_prefix(err, "tokenizer.json");
  return rc;
}
