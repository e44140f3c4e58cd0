/* tokenizer_gguf: see tokenizer_gguf.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/tokenizer_gguf.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "text/option.h"
#include "text/spm.h"
#include "text/uclass.h"

enum token_type {
  TYPE_NORMAL = SPM_NORMAL,
  TYPE_UNKNOWN = SPM_UNKNOWN,
  TYPE_CONTROL = SPM_CONTROL,
  TYPE_USER_DEFINED = SPM_USER_DEFINED,
  TYPE_UNUSED = SPM_UNUSED
};
enum { TOKENS_MAX = 1 << 24, MERGES_MAX = 1 << 26 };

/* ---- the arrays ---- */

/* An array of strings with at most max elements; NULL with an error when it is missing or of another kind. */
static const struct gguf_value *strings(const struct gguf *g, const char *key, uint64_t max, struct error *err) {
  const struct gguf_value *v = gguf_find(g, key);
  if (!v || v->type != GGUF_ARRAY || v->element != GGUF_STRING) {
    error_set(err, ERROR_CORRUPT, "The GGUF file has no list of strings '%s'.", key);
    return NULL;
  }
  if (v->count > max) {
    error_set(err, ERROR_TOO_LARGE, "The GGUF file's '%s' has %llu entries; at most %llu are possible.", key, (unsigned long long)v->count,
              (unsigned long long)max);
    return NULL;
  }
  return v;
}

/* The list of token types, or NULL when all are normal. */
static int find_types(const struct gguf *g, uint64_t n_tokens, const struct gguf_value **ret, struct error *err) {
  const struct gguf_value *v = gguf_find(g, "tokenizer.ggml.token_type");
  *ret = v;
  if (!v) return 0;
  bool whole = v->type == GGUF_ARRAY && v->element != GGUF_STRING && v->element != GGUF_ARRAY && v->element != GGUF_F32 &&
               v->element != GGUF_F64 && v->element != GGUF_BOOL;
  if (!whole || v->count < n_tokens)
    return error_set(err, ERROR_CORRUPT, "The GGUF file's 'tokenizer.ggml.token_type' must have a whole number for each of %llu tokens.",
                     (unsigned long long)n_tokens);
  return 0;
}

/* WordPiece vocabularies mark the beginning of words with U+2581; tokenizer.json marks what continues one with "##". */
static struct slice plain_word(struct slice token, int64_t type, struct buf *text) {
  struct slice mark = SLICE("\xE2\x96\x81");
  if (type == TYPE_CONTROL || type == TYPE_UNKNOWN) return token;
  if (slice_starts(token, mark)) return slice_from(token, mark.len);
  buf_clear(text);
  buf_add_cstr(text, "##");
  buf_add_slice(text, token);
  return buf_view(text);
}

/* "[PAD17]": converters call a row of the embedding so that has no token. It is no text: a hole. */
static bool is_filler(struct slice token, int64_t type) {
  if (type != TYPE_UNUSED || token.len < 6 || !slice_starts(token, SLICE("[PAD")) || token.data[token.len - 1] != ']') return false;
  for (size_t i = 4; i < token.len - 1; i++)
    if (token.data[i] < '0' || token.data[i] > '9') return false;
  return true;
}

/* Puts a token into the vocabulary, and among the added ones when it is sought as a whole. An empty string is a hole: it cannot
 * come out of a text. */
static int add_token(struct tokenizer *t, struct slice token, uint32_t id, int64_t type, struct error *err) {
  if (token.len == 0) return 0;
  if (!utf8_valid(token)) return error_set(err, ERROR_CORRUPT, "The token with id %u of the GGUF file is no UTF-8 text.", id);
  if (vocab_put(&t->vocab, token, id, err) < 0) return -1;
  bool special = type == TYPE_CONTROL || type == TYPE_UNKNOWN;
  if (!special && type != TYPE_USER_DEFINED) return 0;
  return added_put(&t->added, (struct added_token){.content = token, .id = (int32_t)id, .special = special}, err);
}

static int read_tokens(struct tokenizer *t, const struct gguf *g, bool words, struct error *err) {
  const struct gguf_value *tokens = strings(g, "tokenizer.ggml.tokens", TOKENS_MAX, err), *types;
  if (!tokens || find_types(g, tokens->count, &types, err) < 0) return -1;
  vocab_init(&t->vocab, tokens->count, tokens->bytes.len);
  struct buf text = {0};
  size_t cursor = 0;
  struct slice token;
  int rc = 0;
  for (uint32_t id = 0; rc == 0 && gguf_next_str(tokens, &cursor, &token); id++) {
    int64_t type = types ? gguf_array_i64(types, id) : TYPE_NORMAL;
    if (!is_filler(token, type)) rc = add_token(t, words ? plain_word(token, type, &text) : token, id, type, err);
  }
  buf_free(&text);
  return rc;
}

static int read_merges(struct tokenizer *t, const struct gguf *g, struct error *err) {
  const struct gguf_value *merges = strings(g, "tokenizer.ggml.merges", MERGES_MAX, err);
  if (!merges) return -1;
  bpe_init(&t->bpe, &t->vocab, merges->count);
  size_t cursor = 0;
  struct slice both;
  while (gguf_next_str(merges, &cursor, &both)) {
    const char *space = both.len > 1 ? memchr(both.data + 1, ' ', both.len - 1) : NULL; /* the first character may be a space itself */
    if (!space) return error_set(err, ERROR_CORRUPT, "The merge '%.*s' of the GGUF file has no space between its tokens.", SLICE_ARG(both));
    size_t left = (size_t)(space - both.data);
    if (bpe_add_merge(&t->bpe, slice_make(both.data, left), slice_from(both, left + 1), err) < 0) return -1;
  }
  return 0;
}

/* An id from the metadata that is in the vocabulary, or fallback. */
static int32_t id_key(const struct tokenizer *t, const struct gguf *g, const char *key, int32_t fallback) {
  uint64_t id;
  if (gguf_u64(g, key, &id) && id < t->vocab.n_ids) return (int32_t)id;
  return fallback;
}

/* Tokens that end or pad a text are special whatever their type says. */
static int mark_special(struct tokenizer *t, int32_t id, struct error *err) {
  if (!vocab_has(&t->vocab, id)) return 0;
  return added_put(&t->added, (struct added_token){.content = vocab_string(&t->vocab, id), .id = id, .special = true}, err);
}

static int mark_ends(struct tokenizer *t, const struct gguf *g, struct error *err) {
  static const char *const ends[] = {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                     "tokenizer.ggml.eom_token_id"};
  for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
    if (mark_special(t, id_key(t, g, ends[i], -1), err) < 0) return -1;
  return 0;
}

/* ---- byte-level BPE ---- */

enum pre_family { PRE_GPT2, PRE_NFC_GPT2, PRE_DIGITS_GPT2, PRE_LLAMA3, PRE_QWEN2, PRE_DEFAULT };

static const struct pre {
  const char *name;
  enum pre_family family;
  bool ignore_merges, add_bos;
} pres[] = {
    {"gpt-2", PRE_GPT2, false, false},
    {"phi-2", PRE_GPT2, false, false},
    {"exaone4", PRE_GPT2, false, false},
    {"modern-bert", PRE_GPT2, false, false},
    {"mpt", PRE_NFC_GPT2, false, false},
    {"olmo", PRE_NFC_GPT2, false, false},
    {"smollm", PRE_DIGITS_GPT2, false, false},
    {"starcoder", PRE_DIGITS_GPT2, false, false},
    {"refact", PRE_DIGITS_GPT2, false, false},
    {"command-r", PRE_DIGITS_GPT2, false, false},
    {"codeshell", PRE_DIGITS_GPT2, false, false},
    {"exaone", PRE_DIGITS_GPT2, false, false},
    {"minerva-7b", PRE_DIGITS_GPT2, false, false},
    {"llama-bpe", PRE_LLAMA3, true, true},
    {"llama3", PRE_LLAMA3, true, true},
    {"llama-v3", PRE_LLAMA3, true, true},
    {"dbrx", PRE_LLAMA3, false, false},
    {"smaug-bpe", PRE_LLAMA3, false, false},
    {"qwen2", PRE_QWEN2, false, false},
    {"default", PRE_DEFAULT, false, false},
};

static int add_split(struct pretok *p, const char *pattern, struct error *err) {
  struct regex *regex = regex_compile(slice_cstr(pattern), err);
  if (!regex) return -1;
  pretok_add(p, (struct pretok_step){.kind = PRETOK_SPLIT, .behavior = PRETOK_ISOLATED, .pattern = regex});
  return 0;
}

static int add_pre(struct tokenizer *t, enum pre_family family, struct error *err) {
  struct pretok *p = &t->pretok;
  int rc = 0;
  switch (family) {
    case PRE_NFC_GPT2: normalizer_add(&t->normalizer, (struct normalizer_step){.kind = NORMALIZER_NFC}); /* fall through */
    case PRE_GPT2: rc = add_split(p, regex_gpt2, err); break;
    case PRE_DIGITS_GPT2:
      pretok_add(p, (struct pretok_step){.kind = PRETOK_CLASS, .behavior = PRETOK_ISOLATED, .classes = UCLASS_NUMERIC});
      rc = add_split(p, regex_gpt2, err);
      break;
    case PRE_LLAMA3: rc = add_split(p, regex_llama3, err); break;
    case PRE_QWEN2:
      rc = add_split(
          p,
          "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
          err);
      break;
    case PRE_DEFAULT:
      if (add_split(p, "[\\p{P}\\$\\+<=>\\^~\\|]+", err) < 0 || add_split(p, regex_gpt2, err) < 0 || add_split(p, "\\p{N}+", err) < 0 ||
          add_split(p, "[0-9][0-9][0-9]", err) < 0)
        return -1;
      break;
  }
  pretok_add(p, (struct pretok_step){.kind = PRETOK_BYTE_MAP});
  return rc;
}

static int read_bpe(struct tokenizer *t, const struct gguf *g, struct error *err) {
  struct slice name = SLICE("default");
  const struct pre *pre = NULL;
  gguf_str(g, "tokenizer.ggml.pre", &name);
  for (size_t i = 0; i < sizeof pres / sizeof pres[0]; i++)
    if (slice_eq(name, slice_cstr(pres[i].name))) pre = &pres[i];
  if (!pre) return option_unknown("pre-tokenizer", name, err);
  t->model = TOKENIZER_BPE;
  if (read_tokens(t, g, false, err) < 0 || read_merges(t, g, err) < 0 || add_pre(t, pre->family, err) < 0) return -1;
  t->bpe.ignore_merges = pre->ignore_merges;
  t->decoder.bytes = DECODER_ALL_BYTES;
  t->bos = id_key(t, g, "tokenizer.ggml.bos_token_id", -1);
  t->eos = id_key(t, g, "tokenizer.ggml.eos_token_id", -1);
  if (mark_ends(t, g, err) < 0) return -1;
  bool add_bos = pre->add_bos, add_eos = false;
  gguf_bool(g, "tokenizer.ggml.add_bos_token", &add_bos);
  gguf_bool(g, "tokenizer.ggml.add_eos_token", &add_eos);
  if (add_bos && t->bos >= 0) ids_add(&t->post.before, t->bos);
  if (add_eos && t->eos >= 0) ids_add(&t->post.after, t->eos);
  return 0;
}

/* ---- SentencePiece BPE ---- */

/* The scores, as many as there are tokens. */
static const struct gguf_value *find_scores(const struct gguf *g, uint64_t n_tokens, struct error *err) {
  const struct gguf_value *v = gguf_find(g, "tokenizer.ggml.scores");
  if (v && v->type == GGUF_ARRAY && v->element == GGUF_F32 && v->count >= n_tokens) return v;
  error_set(err, ERROR_CORRUPT, "The GGUF file's 'tokenizer.ggml.scores' must have a 32-bit number for each of %llu tokens.",
            (unsigned long long)n_tokens);
  return NULL;
}

static int read_pieces(struct tokenizer *t, const struct gguf *g, struct spm_pieces *pieces, struct error *err) {
  const struct gguf_value *tokens = strings(g, "tokenizer.ggml.tokens", TOKENS_MAX, err), *types;
  const struct gguf_value *scores = tokens ? find_scores(g, tokens->count, err) : NULL;
  if (!scores || find_types(g, tokens->count, &types, err) < 0) return -1;
  vocab_init(&t->vocab, tokens->count, tokens->bytes.len);
  size_t cursor = 0;
  struct slice token;
  for (uint64_t id = 0; gguf_next_str(tokens, &cursor, &token); id++) {
    int64_t type = types ? gguf_array_i64(types, id) : TYPE_NORMAL;
    if (is_filler(token, type)) token = SLICE("");
    if (spm_add(t, pieces, token, (float)gguf_array_f64(scores, id), type, err) < 0) return -1;
  }
  return 0;
}

static int read_spm(struct tokenizer *t, const struct gguf *g, struct error *err) {
  struct spm_pieces pieces = {0};
  int rc = read_pieces(t, g, &pieces, err);
  if (rc == 0) rc = spm_build_bpe(t, &pieces, true, err);
  spm_free(&pieces);
  if (rc < 0) return -1;
  t->bpe.unknown = id_key(t, g, "tokenizer.ggml.unknown_token_id", t->bpe.unknown);
  t->bos = id_key(t, g, "tokenizer.ggml.bos_token_id", 1);
  t->eos = id_key(t, g, "tokenizer.ggml.eos_token_id", 2);
  if (mark_ends(t, g, err) < 0) return -1;
  bool prefix = true, add_bos = true, add_eos = false;
  gguf_bool(g, "tokenizer.ggml.add_space_prefix", &prefix);
  gguf_bool(g, "tokenizer.ggml.add_bos_token", &add_bos);
  gguf_bool(g, "tokenizer.ggml.add_eos_token", &add_eos);
  struct slice where = SLICE("every"); /* plinth quantize writes "first" */
  gguf_str(g, "plinth.tokenizer.space_prefix", &where);
  if (!slice_eq(where, SLICE("every")) && !slice_eq(where, SLICE("first")))
    return option_unknown("plinth.tokenizer.space_prefix", where, err);
  spm_set_spaces(t, (struct spm_spaces){.prefix = prefix, .every = slice_eq(where, SLICE("every"))});
  if (add_bos && vocab_has(&t->vocab, t->bos)) ids_add(&t->post.before, t->bos);
  if (add_eos && vocab_has(&t->vocab, t->eos)) ids_add(&t->post.after, t->eos);
  return 0;
}

/* ---- WordPiece ---- */

static int read_wordpiece(struct tokenizer *t, const struct gguf *g, struct error *err) {
  t->model = TOKENIZER_WORDPIECE;
  if (read_tokens(t, g, true, err) < 0) return -1;
  bool lowercase = true;
  gguf_bool(g, "tokenizer.ggml.normalizer.lowercase", &lowercase);
  bool strip_accents = lowercase;
  gguf_bool(g, "tokenizer.ggml.normalizer.strip_accents", &strip_accents);
  normalizer_add(&t->normalizer,
                 (struct normalizer_step){
                     .kind = NORMALIZER_BERT, .clean_text = true, .cjk = true, .strip_accents = strip_accents, .lowercase = lowercase});
  pretok_add(&t->pretok, (struct pretok_step){.kind = PRETOK_CLASS, .behavior = PRETOK_REMOVED, .classes = UCLASS_SPACE});
  pretok_add(&t->pretok, (struct pretok_step){.kind = PRETOK_CLASS, .behavior = PRETOK_ISOLATED, .classes = UCLASS_PUNCT});
  decoder_add(&t->decoder, (struct decoder_step){.kind = DECODER_WORDPIECE, .content = slice_make(mem_dup("##", 2), 2), .cleanup = true});
  t->wordpiece = (struct wordpiece){.vocab = &t->vocab, .prefix = slice_make(mem_dup("##", 2), 2), .word_chars_max = 100};
  t->wordpiece.unknown = id_key(t, g, "tokenizer.ggml.unknown_token_id", vocab_find(&t->vocab, SLICE("[UNK]")));
  int32_t cls = id_key(t, g, "tokenizer.ggml.bos_token_id", vocab_find(&t->vocab, SLICE("[CLS]")));
  cls = id_key(t, g, "tokenizer.ggml.cls_token_id", cls);
  int32_t sep = id_key(t, g, "tokenizer.ggml.eos_token_id", vocab_find(&t->vocab, SLICE("[SEP]")));
  sep = id_key(t, g, "tokenizer.ggml.seperator_token_id", sep); /* spelled so in the format */
  if (mark_special(t, cls, err) < 0 || mark_special(t, sep, err) < 0 || mark_special(t, t->wordpiece.unknown, err) < 0) return -1;
  bool add_bos = true, add_sep = true;
  gguf_bool(g, "tokenizer.ggml.add_bos_token", &add_bos);
  gguf_bool(g, "tokenizer.ggml.add_eos_token", &add_sep);
  gguf_bool(g, "tokenizer.ggml.add_sep_token", &add_sep);
  if (add_bos && cls >= 0) ids_add(&t->post.before, cls);
  if (add_sep && sep >= 0) ids_add(&t->post.after, sep);
  t->bos = cls;
  t->eos = sep;
  return 0;
}

int tokenizer_gguf_read(struct tokenizer *t, const struct gguf *g, struct error *err) {
  struct slice model;
  if (!gguf_str(g, "tokenizer.ggml.model", &model))
    return error_set(err, ERROR_NOT_FOUND, "The GGUF file has no tokenizer (no 'tokenizer.ggml.model').");
  if (slice_eq(model, SLICE("gpt2"))) return read_bpe(t, g, err);
  if (slice_eq(model, SLICE("llama"))) return read_spm(t, g, err);
  if (slice_eq(model, SLICE("bert"))) return read_wordpiece(t, g, err);
  return option_unknown("model", model, err);
}

/* Those for which GGUF's three keys do not suffice (doc/format/gguf.md). */
static void add_own_stops(struct tokenizer *t, const struct gguf *g) {
  const struct gguf_value *v = gguf_find(g, "plinth.tokenizer.stop_token_ids");
  bool whole = v && v->type == GGUF_ARRAY && (v->element == GGUF_I32 || v->element == GGUF_U32);
  for (uint64_t i = 0; whole && i < v->count; i++) {
    int64_t id = gguf_array_i64(v, i);
    if (id >= 0 && id < t->n_vocab) tokenizer__add_stop(t, (int32_t)id);
  }
}

void tokenizer_gguf_stops(struct tokenizer *t, const struct gguf *g) {
  if (t->model == TOKENIZER_WORDPIECE) return; /* nothing is generated */
  tokenizer__add_stop(t, id_key(t, g, "tokenizer.ggml.eos_token_id", -1));
  tokenizer__add_stop(t, id_key(t, g, "tokenizer.ggml.eot_token_id", -1));
  tokenizer__add_stop(t, id_key(t, g, "tokenizer.ggml.eom_token_id", -1));
  add_own_stops(t, g);
  tokenizer__add_known_stops(t);
}
