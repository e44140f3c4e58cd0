/* tokenizer_spm: see tokenizer_spm.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/tokenizer_spm.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/charsmap.h"
#include "text/option.h"
#include "text/proto.h"
#include "text/spm.h"

#define MARK "\xE2\x96\x81"

enum { MARK_CHAR = 0x2581, PIECES_MAX = 1 << 24 };
enum model_type { MODEL_UNIGRAM = 1, MODEL_BPE, MODEL_WORD, MODEL_CHAR };

/* What the file says besides its pieces, with the format's defaults. */
struct spec {
  uint64_t model_type;
  bool byte_fallback, suffix;
  int64_t unknown, bos, eos;
  struct slice charsmap;
  bool prefix, remove_extra, escape;
};

/* ---- the file ---- */

static int broken(const char *what, struct error *err) {
  return error_set(err, ERROR_CORRUPT, "The %s of the SentencePiece model breaks the format of Protocol Buffers.", what);
}

bool tokenizer_spm_is(struct slice file) {
  struct proto_field f;
  if (proto_next(&file, &f) <= 0 || f.number != 1 || f.type != PROTO_BYTES) return false;
  struct slice piece = f.bytes;
  return proto_next(&piece, &f) > 0 && f.number >= 1 && f.number <= 3;
}

static int read_piece(struct tokenizer *t, struct spm_pieces *pieces, struct slice message, struct error *err) {
  struct slice text = {0};
  float score = 0;
  int64_t type = SPM_NORMAL;
  struct proto_field f;
  int rc;
  while ((rc = proto_next(&message, &f)) > 0) {
    if (f.number == 1 && f.type == PROTO_BYTES) text = f.bytes;
    if (f.number == 2 && f.type == PROTO_FIXED32) score = proto_float(&f);
    if (f.number == 3 && f.type == PROTO_VARINT) type = (int64_t)f.value;
  }
  if (rc < 0) return broken("piece", err);
  if (text.len == 0) return error_set(err, ERROR_CORRUPT, "The piece with id %u of the SentencePiece model is empty.", pieces->n);
  if (pieces->n == PIECES_MAX) return error_set(err, ERROR_TOO_LARGE, "The SentencePiece model has more than %d pieces.", PIECES_MAX);
  return spm_add(t, pieces, text, score, type, err);
}

static int read_trainer(struct spec *spec, struct slice message, struct error *err) {
  struct proto_field f;
  int rc;
  while ((rc = proto_next(&message, &f)) > 0) {
    if (f.type != PROTO_VARINT) continue;
    if (f.number == 3) spec->model_type = f.value;
    if (f.number == 24) spec->suffix = f.value != 0;
    if (f.number == 35) spec->byte_fallback = f.value != 0;
    if (f.number == 40) spec->unknown = (int32_t)f.value;
    if (f.number == 41) spec->bos = (int32_t)f.value;
    if (f.number == 42) spec->eos = (int32_t)f.value;
  }
  return rc < 0 ? broken("trainer's specification", err) : 0;
}

static int read_normalizer(struct spec *spec, struct slice message, struct error *err) {
  struct proto_field f;
  int rc;
  while ((rc = proto_next(&message, &f)) > 0) {
    if (f.number == 2 && f.type == PROTO_BYTES) spec->charsmap = f.bytes;
    if (f.type != PROTO_VARINT) continue;
    if (f.number == 3) spec->prefix = f.value != 0;
    if (f.number == 4) spec->remove_extra = f.value != 0;
    if (f.number == 5) spec->escape = f.value != 0;
  }
  return rc < 0 ? broken("normalizer's specification", err) : 0;
}

static int count_pieces(struct slice file, size_t *ret_n, struct error *err) {
  struct proto_field f;
  int rc;
  *ret_n = 0;
  while ((rc = proto_next(&file, &f)) > 0) *ret_n += f.number == 1;
  return rc < 0 ? broken("file", err) : 0;
}

static int read_file(struct tokenizer *t, struct spec *spec, struct spm_pieces *pieces, struct slice file, struct error *err) {
  struct proto_field f;
  size_t n;
  if (count_pieces(file, &n, err) < 0) return -1;
  vocab_init(&t->vocab, n, file.len);
  while (proto_next(&file, &f) > 0) {
    if (f.type != PROTO_BYTES) continue;
    if (f.number == 1 && read_piece(t, pieces, f.bytes, err) < 0) return -1;
    if (f.number == 2 && read_trainer(spec, f.bytes, err) < 0) return -1;
    if (f.number == 3 && read_normalizer(spec, f.bytes, err) < 0) return -1;
  }
  return 0;
}

static int check(const struct spec *spec, struct error *err) {
  if (spec->model_type == MODEL_WORD || spec->model_type == MODEL_CHAR)
    return option_unknown("model", spec->model_type == MODEL_WORD ? SLICE("SentencePiece WORD") : SLICE("SentencePiece CHAR"), err);
  if (spec->model_type != MODEL_UNIGRAM && spec->model_type != MODEL_BPE)
    return error_set(err, ERROR_UNSUPPORTED, "The SentencePiece model is of type %llu, which Plinth does not know.",
                     (unsigned long long)spec->model_type);
  if (!spec->escape)
    return error_set(err, ERROR_UNSUPPORTED, "The SentencePiece model has 'escape_whitespaces' false, which is not supported.");
  if (spec->suffix)
    return error_set(err, ERROR_UNSUPPORTED, "The SentencePiece model has 'treat_whitespace_as_suffix' true, which is not supported.");
  return 0;
}

/* ---- from the file to components ---- */

static int build_unigram(struct tokenizer *t, const struct spm_pieces *pieces, const struct spec *spec, struct error *err) {
  if (pieces->n == 0) return error_set(err, ERROR_CORRUPT, "The SentencePiece model has no pieces.");
  double *scores = mem_alloc(pieces->n * sizeof scores[0]);
  for (uint32_t i = 0; i < pieces->n; i++) scores[i] = pieces->scores[i];
  t->model = TOKENIZER_UNIGRAM;
  unigram_init(&t->unigram, &t->vocab, scores);
  t->unigram.byte_fallback = spec->byte_fallback;
  if (vocab_has(&t->vocab, (int32_t)spec->unknown)) t->unigram.unknown = (int32_t)spec->unknown;
  return 0;
}

/* Text before the model sees it, as the general conversion of transformers arranges it: words are cut at spaces. */
static int set_words(struct tokenizer *t, const struct spec *spec, struct spm_spaces spaces, struct error *err) {
  if (spec->charsmap.len) {
    struct charsmap *map = charsmap_open(spec->charsmap, err);
    if (!map) return -1;
    normalizer_add(&t->normalizer, (struct normalizer_step){.kind = NORMALIZER_PRECOMPILED, .map = map});
  }
  if (spec->remove_extra) {
    normalizer_add(&t->normalizer, (struct normalizer_step){.kind = NORMALIZER_STRIP, .strip_right = true});
    struct regex *runs = regex_compile(SLICE(" {2,}"), err);
    if (!runs) return -1;
    normalizer_add(&t->normalizer,
                   (struct normalizer_step){.kind = NORMALIZER_REPLACE, .pattern = runs, .content = slice_make(mem_strdup(MARK), 3)});
  }
  enum pretok_prepend prepend = spaces.every ? PRETOK_PREPEND_ALWAYS : PRETOK_PREPEND_FIRST;
  if (!spaces.prefix) prepend = PRETOK_PREPEND_NEVER;
  pretok_add(&t->pretok, (struct pretok_step){.kind = PRETOK_METASPACE, .character = MARK_CHAR, .prepend = prepend});
  pretok_add(&t->pretok, (struct pretok_step){.kind = PRETOK_CHAR, .behavior = PRETOK_MERGED_NEXT, .character = MARK_CHAR});
  decoder_add(&t->decoder, (struct decoder_step){.kind = DECODER_METASPACE, .character = MARK_CHAR, .prepended = spaces.prefix});
  if (spec->byte_fallback) t->decoder.bytes = DECODER_SOME_BYTES;
  return 0;
}

static int read_spaces(const struct spec *spec, const struct js *config, struct spm_spaces *spaces, struct error *err) {
  spaces->prefix = spec->prefix;
  spaces->every = true;
  if (option_bool(config, "legacy", true, &spaces->every, err) < 0) return -1;
  return option_bool(config, "add_prefix_space", spec->prefix, &spaces->prefix, err);
}

static int build(struct tokenizer *t, const struct spec *spec, const struct spm_pieces *pieces, const struct tokenizer_files *beside,
                 struct error *err) {
  struct spm_spaces spaces;
  bool bpe = spec->model_type == MODEL_BPE;
  if (check(spec, err) < 0 || read_spaces(spec, beside->config, &spaces, err) < 0) return -1;
  if ((bpe ? spm_build_bpe(t, pieces, spec->byte_fallback, err) : build_unigram(t, pieces, spec, err)) < 0) return -1;
  bool plain = bpe && spec->charsmap.len == 0 && !spec->remove_extra;
  t->source = (struct tokenizer_source){.kind = SOURCE_SPM,
                                        .rewrites = !plain,
                                        .byte_fallback = spec->byte_fallback,
                                        .space_prefix = spaces.prefix,
                                        .space_every = spaces.every};
  if (plain) spm_set_spaces(t, spaces);
  else if (set_words(t, spec, spaces, err) < 0) return -1;
  if (vocab_has(&t->vocab, (int32_t)spec->bos)) t->bos = (int32_t)spec->bos;
  if (vocab_has(&t->vocab, (int32_t)spec->eos)) t->eos = (int32_t)spec->eos;
  if (tokenizer_config_added(t, beside, err) < 0) return -1;
  if (bpe && t->bos >= 0) ids_add(&t->post.before, t->bos);
  return 0;
}

int tokenizer_spm_read(struct tokenizer *t, struct slice file, const struct tokenizer_files *beside, struct error *err) {
  struct spec spec = {.model_type = MODEL_UNIGRAM, .unknown = 0, .bos = 1, .eos = 2, .prefix = true, .remove_extra = true, .escape = true};
  struct spm_pieces pieces = {0};
  int rc = read_file(t, &spec, &pieces, file, err);
  if (rc == 0) rc = build(t, &spec, &pieces, beside, err);
  t->source.scores = pieces.scores;
  t->source.types = pieces.types;
  t->source.n_pieces = pieces.n;
  return rc;
}
