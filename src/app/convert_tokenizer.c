/* convert_tokenizer: tokenizer.json, or a vocabulary file, as GGUF's tokenizer keys; see convert.h. Forms: doc/format/tokenizer.md. SPDX-License-Identifier: Apache-2.0
 * Only what GGUF can say is written; another pre-tokenizer is refused, never approximated. */
#include <stdio.h>
#include <stdlib.h>

#include "app/convert.h"
#include "base/js.h"
#include "base/mem.h"

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN = 2, TYPE_CONTROL = 3, TYPE_USER_DEFINED = 4, TYPE_UNUSED = 5, TYPE_BYTE = 6 };

struct vocabulary {
  struct slice *tokens; /* [n]; texts in the JSON or in own */
  int32_t *types;
  float *scores;
  size_t n;
  struct buf own;   /* of words that were changed, and of fillers */
  const char *path; /* for messages */
  const struct js *json;
};

static struct slice text_of(const struct js *object, const char *key) {
  struct slice text = {0};
  js_str(js_get(object, key), &text);
  return text;
}

/* ---- which pre-tokenizer ---- */

/* "Split Digits ByteLevel": the steps in order, those inside sequences too. */
static void list_steps(const struct js *step, struct buf *out, struct slice *pattern) {
  const struct js *inner = js_get(step, "pretokenizers");
  if (!inner) inner = js_get(step, "normalizers");
  if (inner) {
    for (size_t i = 0; i < js_len(inner); i++) list_steps(js_at(inner, i), out, pattern);
    return;
  }
  struct slice type = text_of(step, "type");
  if (type.len == 0) return;
  if (out->len) buf_add_byte(out, ' ');
  buf_add_slice(out, type);
  if (slice_eq(type, SLICE("Split"))) *pattern = text_of(js_get(step, "pattern"), "Regex");
}

/* GGUF's name for the pre-tokenizer; NULL when it has none. */
static const char *pre_name(const struct js *json) {
  static const char llama3[] =
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
      "\\s+(?!\\S)|\\s+";
  static const char qwen2[] =
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
      "\\s+(?!\\S)|\\s+";
  struct buf steps = {0}, normal = {0};
  struct slice pattern = {0}, none = {0};
  bool ignore = false;
  list_steps(js_get(json, "pre_tokenizer"), &steps, &pattern);
  list_steps(js_get(json, "normalizer"), &normal, &none);
  js_bool(js_get(js_get(json, "model"), "ignore_merges"), &ignore);
  struct slice s = buf_view(&steps), n = buf_view(&normal);
  const char *name = NULL;
  if (slice_eq(s, SLICE("ByteLevel"))) name = n.len == 0 ? "gpt-2" : slice_eq(n, SLICE("NFC")) ? "mpt" : NULL;
  else if (slice_eq(s, SLICE("Digits ByteLevel")) && n.len == 0) name = "smollm";
  else if (slice_eq(s, SLICE("Split ByteLevel")) && slice_eq(pattern, slice_cstr(llama3)) && n.len == 0)
    name = ignore ? "llama-bpe" : "dbrx";
  else if (slice_eq(s, SLICE("Split ByteLevel")) && slice_eq(pattern, slice_cstr(qwen2))) name = "qwen2";
  buf_free(&steps);
  buf_free(&normal);
  return name;
}

/* ---- tokens ---- */

static int put_token(struct vocabulary *v, struct slice text, int64_t id, int32_t type, struct error *err) {
  if (id < 0 || (uint64_t)id >= v->n)
    return error_set(err, ERROR_CORRUPT, "%s: the token \"%.*s\" has the id %lld, beyond the %zu rows of the embedding.", v->path,
                     (int)(text.len < 60 ? text.len : 60), text.data, (long long)id, v->n);
  v->tokens[id] = text;
  v->types[id] = type;
  return 0;
}

static int read_vocab(struct vocabulary *v, struct error *err) {
  const struct js *model = js_get(v->json, "model"), *map = js_get(model, "vocab"), *added = js_get(v->json, "added_tokens");
  struct slice unknown = text_of(model, "unk_token");
  for (void *it = js_iter(map); it; it = js_iter_next(map, it)) {
    struct slice text;
    const struct js *value;
    int64_t id = -1;
    js_iter_get(it, &text, &value);
    js_int(value, &id);
    if (put_token(v, text, id, unknown.len && slice_eq(text, unknown) ? TYPE_UNKNOWN : TYPE_NORMAL, err) < 0) return -1;
  }
  for (size_t i = 0; i < js_len(added); i++) {
    const struct js *t = js_at(added, i);
    struct slice text = text_of(t, "content");
    int64_t id = -1;
    bool special = false;
    js_int(js_get(t, "id"), &id);
    js_bool(js_get(t, "special"), &special);
    bool is_unknown = unknown.len && slice_eq(text, unknown);
    if (put_token(v, text, id, is_unknown ? TYPE_UNKNOWN : special ? TYPE_CONTROL : TYPE_USER_DEFINED, err) < 0) return -1;
  }
  return 0;
}

/* Rows of the embedding that no token has. */
static void fill_holes(struct vocabulary *v) {
  size_t n = 0, at = 0;
  for (size_t i = 0; i < v->n; i++) n += !v->tokens[i].data;
  buf_reserve(&v->own, v->own.len + n * 24 + 1); /* no reallocation below: the slices stay */
  for (size_t i = 0; i < v->n; i++) {
    if (v->tokens[i].data) continue;
    size_t begin = v->own.len;
    buf_printf(&v->own, "[PAD%zu]", at++);
    v->tokens[i] = slice_make(v->own.data + begin, v->own.len - begin);
    v->types[i] = TYPE_UNUSED;
  }
}

/* ---- the three kinds ---- */

static void write_common(const struct vocabulary *v, const char *model, const char *pre, struct gguf_writer *w) {
  gguf_writer_str(w, "tokenizer.ggml.model", slice_cstr(model));
  if (pre) gguf_writer_str(w, "tokenizer.ggml.pre", slice_cstr(pre));
  gguf_writer_strs(w, "tokenizer.ggml.tokens", v->tokens, v->n);
  gguf_writer_i32s(w, "tokenizer.ggml.token_type", v->types, v->n);
  for (size_t i = 0; i < v->n; i++)
    if (v->types[i] == TYPE_UNKNOWN) {
      gguf_writer_u32(w, "tokenizer.ggml.unknown_token_id", (uint32_t)i);
      break;
    }
}

/* What goes around a text: the first and last id where special tokens add one, else -1. */
static void find_around(const struct tokenizer *t, int32_t *first, int32_t *last) {
  struct ids bare = {0}, whole = {0};
  *first = *last = -1;
  bool ok =
      tokenizer_encode(t, SLICE("a"), 0, &bare, NULL) == 0 && tokenizer_encode(t, SLICE("a"), TOKENIZER_ADD_SPECIAL, &whole, NULL) == 0;
  if (ok && bare.len && whole.len > bare.len) {
    if (whole.data[0] != bare.data[0]) *first = whole.data[0];
    if (whole.data[whole.len - 1] != bare.data[bare.len - 1]) *last = whole.data[whole.len - 1];
  }
  ids_free(&bare);
  ids_free(&whole);
}

/* BOS and EOS: as configured, else what the post-processor puts there. */
static void write_ends(const struct tokenizer *t, struct gguf_writer *w) {
  int32_t first, last, bos = tokenizer_bos(t), eos = tokenizer_eos(t);
  find_around(t, &first, &last);
  if (bos < 0) bos = first;
  if (eos < 0) eos = last;
  if (bos >= 0) gguf_writer_u32(w, "tokenizer.ggml.bos_token_id", (uint32_t)bos);
  if (eos >= 0) gguf_writer_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t)eos);
  gguf_writer_bool(w, "tokenizer.ggml.add_bos_token", first >= 0 && first == bos);
  gguf_writer_bool(w, "tokenizer.ggml.add_eos_token", last >= 0 && last == eos);
}

/* End-of-generation ids beside the one that is called eos. GGUF has two more keys, which get the tokens that they are meant for, else any;
 * what is then left stands under a key of our own. */
static void write_other_stops(const struct tokenizer *t, struct gguf_writer *w) {
  int32_t eos = tokenizer_eos(t), eot = tokenizer_find(t, SLICE("<|eot_id|>")), eom = tokenizer_find(t, SLICE("<|eom_id|>"));
  size_t n, n_left = 0;
  const int32_t *stops = tokenizer_stop_ids(t, &n);
  int32_t *left = mem_zalloc(n + 1, sizeof *left);
  if (eot < 0) eot = tokenizer_find(t, SLICE("<|im_end|>"));
  for (size_t i = 0; i < n; i++) {
    if (stops[i] == eos || stops[i] == eot || stops[i] == eom) continue;
    if (eot < 0) eot = stops[i];
    else if (eom < 0) eom = stops[i];
    else left[n_left++] = stops[i];
  }
  if (eot >= 0) gguf_writer_u32(w, "tokenizer.ggml.eot_token_id", (uint32_t)eot);
  if (eom >= 0) gguf_writer_u32(w, "tokenizer.ggml.eom_token_id", (uint32_t)eom);
  if (n_left) gguf_writer_i32s(w, "plinth.tokenizer.stop_token_ids", left, n_left);
  free(left);
}

/* "a b", from either form of the list. */
static int write_merges(const struct vocabulary *v, struct gguf_writer *w, struct error *err) {
  const struct js *merges = js_get(js_get(v->json, "model"), "merges");
  size_t n = js_len(merges);
  struct buf pairs = {0};
  struct slice *texts = mem_zalloc(n + 1, sizeof *texts);
  size_t *begins = mem_zalloc(n + 1, sizeof *begins);
  int result = 0;
  for (size_t i = 0; i < n && result == 0; i++) {
    const struct js *m = js_at(merges, i);
    struct slice whole, a, b;
    begins[i] = pairs.len;
    if (js_str(m, &whole)) {
      buf_add_slice(&pairs, whole);
    } else if (js_str(js_at(m, 0), &a) && js_str(js_at(m, 1), &b)) {
      buf_add_slice(&pairs, a);
      buf_add_byte(&pairs, ' ');
      buf_add_slice(&pairs, b);
    } else {
      result = error_set(err, ERROR_CORRUPT, "%s: merge %zu of tokenizer.json is no pair.", v->path, i);
    }
    begins[i + 1] = pairs.len;
  }
  for (size_t i = 0; i < n; i++) texts[i] = slice_make(pairs.data + begins[i], begins[i + 1] - begins[i]);
  if (result == 0) gguf_writer_strs(w, "tokenizer.ggml.merges", texts, n);
  free(texts);
  free(begins);
  buf_free(&pairs);
  return result;
}

static int write_byte_level(struct vocabulary *v, const struct tokenizer *t, struct gguf_writer *w, struct error *err) {
  const char *pre = pre_name(v->json);
  if (!pre)
    return error_set(err, ERROR_UNSUPPORTED, "%s: GGUF has no name for the normalizer and pre-tokenizer of tokenizer.json.", v->path);
  write_common(v, "gpt2", pre, w);
  write_ends(t, w);
  write_other_stops(t, w);
  return write_merges(v, w, err);
}

static bool is_byte(struct slice s) { return s.len == 6 && slice_starts(s, SLICE("<0x")) && s.data[5] == '>'; }

/* SentencePiece merges the pair whose whole scores most. Merges are a list by rank: the first way to make a token scores it. */
static int score_tokens(struct vocabulary *v, const struct tokenizer *t, struct error *err) {
  const struct js *merges = js_get(js_get(v->json, "model"), "merges");
  size_t n = js_len(merges);
  struct buf whole = {0};
  for (size_t i = 0; i < v->n; i++) v->scores[i] = v->types[i] == TYPE_NORMAL ? -(float)(n + i) : 0;
  int result = 0;
  for (size_t i = n; i-- > 0 && result == 0;) {
    const struct js *m = js_at(merges, i);
    struct slice a, b;
    buf_clear(&whole);
    if (js_str(m, &a)) {
      const char *space = a.len ? memchr(a.data + 1, ' ', a.len - 1) : NULL;
      if (space) buf_add(&whole, a.data, (size_t)(space - a.data)), buf_add_slice(&whole, slice_from(a, (size_t)(space + 1 - a.data)));
    } else if (js_str(js_at(m, 0), &a) && js_str(js_at(m, 1), &b)) {
      buf_add_slice(&whole, a), buf_add_slice(&whole, b);
    }
    int32_t id = whole.len ? tokenizer_find(t, buf_view(&whole)) : -1;
    if (id < 0 || (size_t)id >= v->n) result = error_set(err, ERROR_CORRUPT, "%s: merge %zu of tokenizer.json makes no token.", v->path, i);
    else v->scores[id] = -(float)i;
  }
  buf_free(&whole);
  return result;
}

/* The second is a key of Plinth's own: GGUF has none for the form without "legacy", which other programs read as the one with it. */
static void write_spaces(bool prefix, bool every, struct gguf_writer *w) {
  gguf_writer_bool(w, "tokenizer.ggml.add_space_prefix", prefix);
  if (prefix && !every) gguf_writer_str(w, "plinth.tokenizer.space_prefix", SLICE("first"));
}

static int write_sentencepiece(struct vocabulary *v, const struct tokenizer *t, struct gguf_writer *w, struct error *err) {
  struct buf steps = {0};
  struct slice none = {0}, scheme = text_of(js_get(v->json, "pre_tokenizer"), "prepend_scheme");
  list_steps(js_get(v->json, "normalizer"), &steps, &none);
  bool prepends = slice_starts(buf_view(&steps), SLICE("Prepend")) || (scheme.len && !slice_eq(scheme, SLICE("never")));
  buf_free(&steps);
  v->scores = mem_zalloc(v->n, sizeof *v->scores);
  for (size_t i = 0; i < v->n; i++)
    if (v->types[i] == TYPE_NORMAL && is_byte(v->tokens[i])) v->types[i] = TYPE_BYTE;
  if (score_tokens(v, t, err) < 0) return -1;
  write_common(v, "llama", "default", w);
  write_ends(t, w);
  gguf_writer_f32s(w, "tokenizer.ggml.scores", v->scores, v->n);
  write_spaces(prepends, !slice_eq(scheme, SLICE("first")), w);
  write_other_stops(t, w);
  return 0;
}

/* "##x" is "x", any other word "▁x". */
static int write_wordpiece(struct vocabulary *v, const struct tokenizer *t, struct gguf_writer *w) {
  size_t bytes = 0;
  for (size_t i = 0; i < v->n; i++) bytes += v->tokens[i].len + 4;
  struct buf words = {0};
  buf_reserve(&words, bytes + 1); /* no reallocation below */
  for (size_t i = 0; i < v->n; i++) {
    if (v->types[i] != TYPE_NORMAL) continue;
    size_t begin = words.len;
    if (slice_starts(v->tokens[i], SLICE("##"))) v->tokens[i] = slice_from(v->tokens[i], 2);
    else buf_add_cstr(&words, "\xE2\x96\x81");
    buf_add_slice(&words, v->tokens[i]);
    v->tokens[i] = slice_make(words.data + begin, words.len - begin);
  }
  write_common(v, "bert", NULL, w);
  int32_t first, last;
  find_around(t, &first, &last);
  gguf_writer_bool(w, "tokenizer.ggml.add_bos_token", first >= 0);
  gguf_writer_bool(w, "tokenizer.ggml.add_eos_token", last >= 0);
  const struct js *normal = js_get(v->json, "normalizer");
  bool lower = true;
  js_bool(js_get(normal, "lowercase"), &lower);
  bool strip = lower;
  js_bool(js_get(normal, "strip_accents"), &strip);
  gguf_writer_bool(w, "tokenizer.ggml.normalizer.lowercase", lower);
  gguf_writer_bool(w, "tokenizer.ggml.normalizer.strip_accents", strip);
  static const struct {
    const char *key, *token;
  } known[] = {{"tokenizer.ggml.cls_token_id", "[CLS]"},
               {"tokenizer.ggml.seperator_token_id", "[SEP]"},
               {"tokenizer.ggml.padding_token_id", "[PAD]"},
               {"tokenizer.ggml.mask_token_id", "[MASK]"}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    int32_t id = tokenizer_find(t, slice_cstr(known[i].token));
    if (id >= 0) gguf_writer_u32(w, known[i].key, (uint32_t)id);
  }
  buf_free(&words);
  return 0;
}

/* ---- a vocabulary file ---- */

static int write_listing(struct vocabulary *v, const struct tokenizer *t, struct gguf_writer *w, struct error *err) {
  struct tokenizer_listing l;
  int result = tokenizer_list(t, &l, err) < 0 ? error_prefix(err, "%s", v->path) : 0;
  for (size_t i = 0; i < l.n && result == 0; i++)
    if (l.tokens[i].data) result = put_token(v, l.tokens[i], (int64_t)i, l.types[i], err);
  if (result == 0) {
    fill_holes(v);
    write_common(v, l.model, l.pre, w);
    write_ends(t, w);
    write_other_stops(t, w);
    if (l.merges) {
      gguf_writer_strs(w, "tokenizer.ggml.merges", l.merges, l.n_merges);
    } else {
      v->scores = mem_zalloc(v->n, sizeof *v->scores);
      memcpy(v->scores, l.scores, l.n * sizeof *l.scores);
      gguf_writer_f32s(w, "tokenizer.ggml.scores", v->scores, v->n);
      write_spaces(l.space_prefix, l.space_every, w);
    }
  }
  tokenizer_listing_free(&l);
  return result;
}

/* What GGUF has no key for is said aloud: such a token is found in a text where the source would not find it, or the other way round. */
static void warn_of_odd_tokens(const struct tokenizer *t) {
  struct slice name;
  for (int32_t id = 0, n = 0; tokenizer_next_odd(t, &id, &name) && n < 8; id++, n++)
    fprintf(
        stderr,
        "plinth: the added token %.*s is normalized, lstrip, rstrip or single_word, which GGUF cannot say: where it stands in a text, ids "
        "may differ.\n",
        SLICE_ARG(name));
}

/* ---- tokenizer.json ---- */

static int write_kind(struct vocabulary *v, const struct tokenizer *t, struct gguf_writer *w, struct error *err) {
  const struct js *model = js_get(v->json, "model");
  bool bytes = false;
  js_bool(js_get(model, "byte_fallback"), &bytes);
  if (js_get(model, "continuing_subword_prefix") && !js_get(model, "merges")) return write_wordpiece(v, t, w);
  if (!js_get(model, "merges"))
    return error_set(err, ERROR_UNSUPPORTED, "%s: GGUF has no form for the tokenizer type \"%.*s\".", v->path,
                     SLICE_ARG(text_of(model, "type")));
  return bytes ? write_sentencepiece(v, t, w, err) : write_byte_level(v, t, w, err);
}

/* ---- the chat template ---- */

/* Those that are rendered out of the folder, under the names that GGUF has for them. */
static int write_template(const struct file_model *file, const struct tokenizer *tokenizer, struct gguf_writer *w, struct error *err) {
  struct error why = {0};
  struct chat_template *c = chat_template_open(file, tokenizer, &why);
  if (!c && why.code == ERROR_NOT_FOUND) return 0;
  if (!c) return error_set(err, why.code, "%s", why.message);
  struct slice text = chat_template_text(c, false), for_tools = chat_template_text(c, true);
  if (text.len) gguf_writer_str(w, "tokenizer.chat_template", text);
  if (for_tools.len) gguf_writer_str(w, "tokenizer.chat_template.tool_use", for_tools);
  chat_template_close(c);
  return 0;
}

int convert_tokenizer(const struct file_model *file, const struct tokenizer *tokenizer, size_t n_vocab, struct gguf_writer *w,
                      struct error *err) {
  if (!tokenizer) {
    gguf_writer_str(w, "tokenizer.ggml.model", SLICE("no_vocab"));
    return 0;
  }
  struct js *json = NULL;
  if (file_model_json(file, "tokenizer.json", &json, err) < 0) return -1;
  struct vocabulary v = {.n = n_vocab, .path = file->path, .json = json};
  v.tokens = mem_zalloc(n_vocab, sizeof *v.tokens);
  v.types = mem_zalloc(n_vocab, sizeof *v.types);
  int result;
  if (!json) {
    result = write_listing(&v, tokenizer, w, err);
  } else if ((result = read_vocab(&v, err)) == 0) {
    fill_holes(&v);
    result = write_kind(&v, tokenizer, w, err);
  }
  if (result == 0) warn_of_odd_tokens(tokenizer);
  if (result == 0) result = write_template(file, tokenizer, w, err);
  free(v.tokens);
  free(v.types);
  free(v.scores);
  buf_free(&v.own);
  js_free(json);
  return result;
}
