/* tokenizer_list: a tokenizer out of a SentencePiece model or a tiktoken file, as GGUF lists it; see text.h. SPDX-License-Identifier: Apache-2.0
 *
 * tiktoken files have no merges. A token is made by one pair only, whatever stands around it (bpe_last_pair), so that one merge for each
 * token, in the order of ranks, says the same as the ranks do. A token that no merging makes needs a pre-tokenizer whose pieces are looked
 * up as a whole. */
#include <stdlib.h>

#include "base/mem.h"
#include "text/spm.h"
#include "text/tokenizer.h"

/* ---- tokens and types ---- */

static void list_added(const struct tokenizer *t, struct tokenizer_listing *l) {
  int32_t unknown = t->source.kind == SOURCE_SPM ? t->bpe.unknown : -1;
  for (size_t i = 0; i < t->added.n; i++) {
    const struct added_token *a = &t->added.tokens[i];
    l->tokens[a->id] = a->content;
    l->types[a->id] = a->id == unknown ? SPM_UNKNOWN : a->special ? SPM_CONTROL : SPM_USER_DEFINED;
  }
}

static void list_tokens(const struct tokenizer *t, struct tokenizer_listing *l) {
  l->n = (size_t)t->n_vocab;
  l->tokens = mem_zalloc(l->n + 1, sizeof *l->tokens);
  l->types = mem_zalloc(l->n + 1, sizeof *l->types);
  for (int32_t id = 0; id < t->n_vocab; id++) {
    if (!vocab_has(&t->vocab, id)) continue;
    l->tokens[id] = vocab_string(&t->vocab, id);
    l->types[id] = (uint32_t)id < t->source.n_pieces ? t->source.types[id] : SPM_NORMAL;
  }
  list_added(t, l);
}

/* ---- SentencePiece ---- */

static int list_spm(const struct tokenizer *t, struct tokenizer_listing *l, struct error *err) {
  const struct tokenizer_source *s = &t->source;
  if (t->model != TOKENIZER_BPE)
    return error_set(err, ERROR_UNSUPPORTED, "GGUF has no form for a SentencePiece model of the type Unigram that keeps its ids.");
  if (s->rewrites)
    return error_set(err, ERROR_UNSUPPORTED,
                     "This SentencePiece model rewrites the text (a table of characters in 'precompiled_charsmap', or "
                     "'remove_extra_whitespaces'), which GGUF's BPE cannot express.");
  for (int byte = 0; byte < 256 && !s->byte_fallback; byte++)
    if (t->bpe.fallback_ids[byte] >= 0)
      return error_set(err, ERROR_UNSUPPORTED,
                       "This SentencePiece model has pieces for bytes, but 'byte_fallback' false, which GGUF cannot say.");
  l->model = "llama";
  l->pre = "default";
  l->space_prefix = s->space_prefix;
  l->space_every = s->space_every;
  list_tokens(t, l);
  l->scores = mem_zalloc(l->n + 1, sizeof *l->scores);
  for (size_t id = 0; id < l->n; id++) l->scores[id] = id < s->n_pieces ? s->scores[id] : 0;
  return 0;
}

/* ---- tiktoken ---- */

/* Whether it is one character of the byte-level alphabet, which no merge makes. */
static bool is_character(struct slice token) { return token.len == 1 || (token.len == 2 && (unsigned char)token.data[0] >= 0xC0); }

static void list_tiktoken(const struct tokenizer *t, struct tokenizer_listing *l) {
  bool all_made = true;
  size_t *begins = mem_zalloc(t->vocab.n_ids + 1, sizeof *begins);
  list_tokens(t, l);
  l->merges = mem_zalloc(t->vocab.n_ids + 1, sizeof *l->merges);
  for (uint32_t id = 0; id < t->vocab.n_ids; id++) {
    int32_t left, right;
    struct slice token = vocab_string(&t->vocab, (int32_t)id);
    if (!bpe_last_pair(&t->bpe, (int32_t)id, &left, &right)) {
      all_made = all_made && (!token.data || is_character(token));
      continue;
    }
    begins[l->n_merges++] = l->own.len;
    buf_add_slice(&l->own, vocab_string(&t->vocab, left));
    buf_add_byte(&l->own, ' ');
    buf_add_slice(&l->own, vocab_string(&t->vocab, right));
  }
  begins[l->n_merges] = l->own.len;
  for (size_t i = 0; i < l->n_merges; i++) l->merges[i] = slice_make(l->own.data + begins[i], begins[i + 1] - begins[i]);
  l->model = "gpt2";
  l->pre = all_made && t->post.before.len == 0 ? "dbrx" : "llama-bpe"; /* Llama 3's looks pieces up first; both cut alike */
  free(begins);
}

int tokenizer_list(const struct tokenizer *t, struct tokenizer_listing *ret, struct error *err) {
  *ret = (struct tokenizer_listing){0};
  if (t->source.kind == SOURCE_SPM) return list_spm(t, ret, err);
  if (t->source.kind == SOURCE_TIKTOKEN) return list_tiktoken(t, ret), 0;
  return error_set(err, ERROR_UNSUPPORTED, "The tokenizer comes neither from a SentencePiece model nor from a tiktoken file.");
}

void tokenizer_listing_free(struct tokenizer_listing *l) {
  free(l->tokens);
  free(l->types);
  free(l->scores);
  free(l->merges);
  buf_free(&l->own);
  *l = (struct tokenizer_listing){0};
}

bool tokenizer_next_odd(const struct tokenizer *t, int32_t *id, struct slice *ret_name) {
  for (; *id < t->n_vocab; ++*id) {
    const struct added_token *a = added_of_id(&t->added, *id);
    if (!a || !(a->single_word || a->lstrip || a->rstrip || !slice_eq(a->content, a->pattern))) continue;
    *ret_name = a->content;
    return true;
  }
  return false;
}
