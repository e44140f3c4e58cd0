/* spm: see spm.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/spm.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/utf8.h"

#define MARK "\xE2\x96\x81"

enum { MARK_CHAR = 0x2581 };

static struct slice own(const char *text) { return slice_make(mem_strdup(text), strlen(text)); }

void spm_free(struct spm_pieces *p) {
  free(p->scores);
  free(p->types);
  *p = (struct spm_pieces){0};
}

int spm_add(struct tokenizer *t, struct spm_pieces *p, struct slice text, float score, int64_t type, struct error *err) {
  if (!utf8_valid(text)) return error_set(err, ERROR_CORRUPT, "The piece with id %u is no UTF-8 text.", p->n);
  if (!isfinite(score)) return error_set(err, ERROR_CORRUPT, "The score of the piece with id %u is no number.", p->n);
  if (text.len > BPE_TOKEN_BYTES_MAX)
    return error_set(err, ERROR_TOO_LARGE, "The piece with id %u is longer than %d bytes.", p->n, BPE_TOKEN_BYTES_MAX);
  if (p->n == p->cap) {
    p->cap = p->cap ? p->cap * 2 : 1024;
    p->scores = mem_realloc(p->scores, p->cap, sizeof p->scores[0]);
    p->types = mem_realloc(p->types, p->cap, sizeof p->types[0]);
  }
  uint32_t id = p->n++;
  p->scores[id] = score;
  p->types[id] = (unsigned char)(type >= SPM_NORMAL && type <= SPM_BYTE ? type : SPM_NORMAL);
  if (text.len == 0) return 0; /* a hole: it cannot come out of a text */
  if (vocab_put(&t->vocab, text, id, err) < 0) return -1;
  bool special = type == SPM_CONTROL || type == SPM_UNKNOWN;
  if (!special && type != SPM_USER_DEFINED) return 0;
  return added_put(&t->added, (struct added_token){.content = text, .id = (int32_t)id, .special = special}, err);
}

/* ---- BPE by scores ---- */

struct scored {
  float score;
  uint32_t id;
};

static int compare_score(const void *x, const void *y) {
  const struct scored *a = x, *b = y;
  if (a->score != b->score) return a->score > b->score ? -1 : 1;
  return (a->id > b->id) - (a->id < b->id);
}

int spm_build_bpe(struct tokenizer *t, const struct spm_pieces *p, bool byte_fallback, struct error *err) {
  if (p->n == 0) return error_set(err, ERROR_CORRUPT, "The tokenizer has no pieces.");
  t->model = TOKENIZER_BPE;
  bpe_init(&t->bpe, &t->vocab, 0);
  t->bpe.byte_fallback = byte_fallback;
  t->bpe.fuse_unknown = true;
  struct scored *order = mem_alloc(p->n * sizeof order[0]);
  unsigned char *part = mem_zalloc(p->n, 1);
  uint32_t n = 0;
  for (uint32_t id = 0; id < p->n; id++) {
    unsigned char type = p->types[id];
    if (type == SPM_UNKNOWN && t->bpe.unknown < 0) t->bpe.unknown = (int32_t)id;
    part[id] = type == SPM_NORMAL || type == SPM_USER_DEFINED || type == SPM_UNUSED;
    /* Of two pieces with the same text the one that the text leads to counts. */
    if (part[id] && vocab_has(&t->vocab, (int32_t)id) && vocab_find(&t->vocab, vocab_string(&t->vocab, (int32_t)id)) == (int32_t)id)
      order[n++] = (struct scored){p->scores[id], id};
  }
  if (n) qsort(order, n, sizeof order[0], compare_score);
  uint32_t rank = 0;
  for (uint32_t i = 0; i < n; i++) {
    if (i > 0 && order[i].score != order[i - 1].score) rank++; /* equal scores: the leftmost pair first */
    bpe_add_splits(&t->bpe, (int32_t)order[i].id, rank, part);
  }
  free(order);
  free(part);
  return 0;
}

/* ---- spaces ---- */

static void add_replace(struct tokenizer *t) {
  normalizer_add(&t->normalizer,
                 (struct normalizer_step){.kind = NORMALIZER_REPLACE, .pattern = regex_literal(SLICE(" ")), .content = own(MARK)});
}

void spm_set_spaces(struct tokenizer *t, struct spm_spaces spaces) {
  if (spaces.every) {
    if (spaces.prefix) normalizer_add(&t->normalizer, (struct normalizer_step){.kind = NORMALIZER_PREPEND, .content = own(MARK)});
    add_replace(t);
  } else {
    enum pretok_prepend prepend = spaces.prefix ? PRETOK_PREPEND_FIRST : PRETOK_PREPEND_NEVER;
    pretok_add(&t->pretok, (struct pretok_step){.kind = PRETOK_METASPACE, .character = MARK_CHAR, .prepend = prepend});
  }
  struct decoder *d = &t->decoder;
  decoder_add(d, (struct decoder_step){.kind = DECODER_REPLACE, .pattern = regex_literal(SLICE(MARK)), .content = own(" ")});
  d->bytes = DECODER_SOME_BYTES;
  d->fused = true;
  d->strip_character = ' ';
  d->strip_start = spaces.prefix ? 1 : 0;
}
