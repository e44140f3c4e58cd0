/* tokenizer: what the files of this room share about a tokenizer. SPDX-License-Identifier: Apache-2.0
 *
 * The way of a text: added tokens are cut out (added), the rest is normalized (normalizer), parted at normalized added tokens,
 * cut into pieces (pretok), each piece becomes ids (bpe, wordpiece, unigram), special tokens go around the whole (post). Back:
 * decoder. tokenizer.json, tokenizer.model, tiktoken files and GGUF metadata are ways to configure the same components. */
#ifndef TEXT_TOKENIZER_H
#define TEXT_TOKENIZER_H
#include "text/added.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/post.h"
#include "text/pretok.h"
#include "text/text.h"
#include "text/unigram.h"
#include "text/vocab.h"
#include "text/wordpiece.h"

enum tokenizer_model { TOKENIZER_BPE, TOKENIZER_WORDPIECE, TOKENIZER_UNIGRAM };

/* What a vocabulary file said that the components do not keep: for tokenizer_list. */
struct tokenizer_source {
  enum { SOURCE_OTHER, SOURCE_SPM, SOURCE_TIKTOKEN } kind;
  float *scores;        /* SOURCE_SPM: [n_pieces] owned */
  unsigned char *types; /* SOURCE_SPM: [n_pieces] enum spm_type; owned */
  uint32_t n_pieces;
  bool rewrites;                  /* SOURCE_SPM: the text is rewritten, beyond spaces */
  bool byte_fallback;             /* SOURCE_SPM */
  bool space_prefix, space_every; /* SOURCE_SPM: struct spm_spaces */
};

struct tokenizer {
  struct vocab vocab; /* the model's own tokens; added tokens beyond it only in added */
  struct added added;
  struct normalizer normalizer;
  struct pretok pretok;
  enum tokenizer_model model;
  struct bpe bpe;
  struct wordpiece wordpiece;
  struct unigram unigram;
  struct post post;
  struct decoder decoder;
  struct tokenizer_source source;

  int32_t n_vocab;
  int32_t bos, eos; /* -1: none */
  struct ids stop;
  /* Of every id: the text it adds when it is not the first, and whether it is special. */
  struct buf text;
  uint32_t *text_begin;   /* [n_vocab + 1] */
  unsigned char *special; /* [n_vocab] 0 or 1 */
  unsigned char *stops;   /* [n_vocab] 1: in stop */
};

struct tokenizer *tokenizer__create(void); /* one without a vocabulary */
/* The token's string as the decoder gets it; {NULL, 0} when there is none. *ret_exists tells an empty string from none. */
struct slice tokenizer__string(const struct tokenizer *t, int32_t id, bool *ret_exists);
/* As tokenizer_encode with TOKENIZER_MATCH_SPECIAL, but no special token matches where it would touch a span of plain. text is valid UTF-8. */
int tokenizer__encode_marked(const struct tokenizer *t, struct slice text, const struct jinja_marks *plain, struct ids *out,
                             struct error *err);
/* Adds an id to the stop set, once; one out of range is left out. */
void tokenizer__add_stop(struct tokenizer *t, int32_t id);
/* Adds the special tokens whose names are known to end a turn or a text in some family. */
void tokenizer__add_known_stops(struct tokenizer *t);

#endif
