/* text: tokenizers and chat templates. The door of the room. SPDX-License-Identifier: Apache-2.0
 *
 * Opened tokenizers and templates are immutable: any number of threads may use one at once. */
#ifndef TEXT_TEXT_H
#define TEXT_TEXT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/js.h"
#include "base/slice.h"
#include "file/file.h"

/* ---- token ids ---- */

struct ids {
  int32_t *data; /* owned; {0} to start; ids_free at the end */
  size_t len, cap;
};
void ids_add(struct ids *ids, int32_t id);
void ids_free(struct ids *ids);

/* ---- tokenizer ---- */

struct tokenizer;

/* From a model on disk: a Hugging Face directory, or GGUF metadata. An unknown pre-tokenizer, normalizer, … is refused with its name. */
struct tokenizer *tokenizer_open(const struct file_model *model, struct error *err);
/* The same with its tables out of a file that an earlier call kept in dir, a folder of this model's own, as long as neither the files nor the
 * program changed. keep: where there is no such file, writes one. Without one, or with a damaged one, only time is lost, and the log says so.
 * NULL dir: tokenizer_open. */
struct tokenizer *tokenizer_open_kept(const struct file_model *model, const char *dir, bool keep, struct error *err);
/* From a directory that may hold nothing else: tokenizer.json, else tokenizer.model (SentencePiece, or Llama 3's tiktoken form), else
 * a tiktoken file; with tokenizer_config.json, special_tokens_map.json, added_tokens.json and the model's configs beside it. */
struct tokenizer *tokenizer_open_dir(const char *dir, struct error *err);
struct tokenizer *tokenizer_open_gguf(const struct gguf *g, struct error *err);
/* config_json (tokenizer_config.json) may be empty. */
struct tokenizer *tokenizer_open_json(struct slice tokenizer_json, struct slice config_json, struct error *err);
/* The bytes of a tokenizer.model (SentencePiece) or tiktoken file. */
struct tokenizer *tokenizer_open_vocabulary(struct slice file, struct slice config_json, struct error *err);
void tokenizer_close(struct tokenizer *t); /* NULL is fine */

enum {
  TOKENIZER_ADD_SPECIAL = 1,   /* add BOS, EOS, CLS, SEP where the tokenizer's template does */
  TOKENIZER_MATCH_SPECIAL = 2, /* control tokens written out in the text become their ids, as Hugging Face does; without it they
                                  are plain text (added tokens that are not special match always) */
};

/* Appends the ids of text. text is UTF-8; each invalid byte run counts as U+FFFD. Padding and truncation of the file are
 * ignored. Time is linear in the text up to a logarithm. A character that a BPE vocabulary has no token for, not even an unknown
 * token, is left out, as Hugging Face does. Fails when a pattern of the tokenizer runs into its limits, or WordPiece lacks the
 * unknown token that it needs. */
int tokenizer_encode(const struct tokenizer *t, struct slice text, unsigned flags, struct ids *out, struct error *err);
/* Appends the text of ids as Hugging Face `tokenizers` decodes them: invalid UTF-8 becomes U+FFFD; ids out of range are
 * skipped. skip_special leaves out special tokens. */
void tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip_special, struct buf *out);

int32_t tokenizer_n_vocab(const struct tokenizer *t); /* ids are in [0, n_vocab) */
/* Whether every id stands for the same text in both; *ret_first is the first that does not. How text is cut into them may differ. */
bool tokenizer_same_ids(const struct tokenizer *a, const struct tokenizer *b, int32_t *ret_first);
/* The bytes that a token adds to a text (byte-level: raw bytes, maybe half a character); empty for ids out of range.
 * For WordPiece the text with its leading space where one belongs. Borrowed from t. */
struct slice tokenizer_token_bytes(const struct tokenizer *t, int32_t id);
bool tokenizer_is_special(const struct tokenizer *t, int32_t id);
int32_t tokenizer_find(const struct tokenizer *t, struct slice token); /* id of the token with this very text, or -1 */
int32_t tokenizer_bos(const struct tokenizer *t);                      /* -1 when there is none */
int32_t tokenizer_eos(const struct tokenizer *t);
/* End-of-generation ids from every source of the files: config, generation_config, tokenizer, GGUF eos/eot/eom and well-known names. */
const int32_t *tokenizer_stop_ids(const struct tokenizer *t, size_t *ret_n);
/* "BPE", "WordPiece", "Unigram": for `plinth inspect`. */
const char *tokenizer_kind(const struct tokenizer *t);

/* ---- a vocabulary file in GGUF's terms ---- */

/* What the tokenizer.ggml keys say (doc/format/tokenizer.md). */
struct tokenizer_listing {
  const char *model, *pre; /* "llama" and "default", or "gpt2" and "llama-bpe" or "dbrx" */
  struct slice *tokens;    /* [n] by id; {NULL, 0} where an id has none. Texts of the tokenizer, which must outlive this */
  int32_t *types;          /* [n] GGUF's token types; 0 where there is no token */
  float *scores;           /* [n] "llama"; else NULL */
  size_t n;
  struct slice *merges; /* [n_merges] "a b" by rank; "gpt2" */
  size_t n_merges;
  bool space_prefix, space_every; /* "llama": a space is put before the text; … and before the text behind each added token */
  struct buf own;
};
/* Of a tokenizer that was opened from a SentencePiece model or a tiktoken file. One that GGUF cannot express is refused with the reason. */
int tokenizer_list(const struct tokenizer *t, struct tokenizer_listing *ret, struct error *err);
void tokenizer_listing_free(struct tokenizer_listing *l); /* fine on {0} */
/* Added tokens that ask for more than GGUF can say: found only in normalized text, or together with spaces around them. The name of the
 * next one whose id is *id or above, with *id set to it; false when there is none. */
bool tokenizer_next_odd(const struct tokenizer *t, int32_t *id, struct slice *ret_name);

/* ---- incremental detokenization: never emits half a character ---- */

struct detok {
  const struct tokenizer *tokenizer; /* borrowed */
  char pending[16];                  /* bytes of a character that is not complete */
  unsigned n_pending;
  bool skip_special;
  bool any; /* something was emitted */
};
void detok_init(struct detok *d, const struct tokenizer *t, bool skip_special);
/* Appends the text that has become certain with this token. */
void detok_push(struct detok *d, int32_t id, struct buf *out);
/* Appends what is left at the end of a stream: U+FFFD for an incomplete character. */
void detok_finish(struct detok *d, struct buf *out);

/* ---- stop strings on the gateway's side: holds back what may become one ---- */

struct stop_filter {
  const struct slice *stops; /* borrowed; none is empty */
  size_t n_stops;
  struct buf held; /* owned */
  bool stopped;    /* a stop string was completed; nothing is emitted any more */
  bool dormant;    /* the caller's to change: text that is pushed meanwhile completes none, but may begin one */
};
void stop_filter_init(struct stop_filter *f, const struct slice *stops, size_t n_stops);
/* Appends to out the text that is certain not to be part of a stop string. A completed stop string and all after it are dropped. */
void stop_filter_push(struct stop_filter *f, struct slice text, struct buf *out);
void stop_filter_finish(struct stop_filter *f, struct buf *out); /* emits what was held, when not stopped */
void stop_filter_free(struct stop_filter *f);

/* ---- Jinja and chat templates ---- */

struct jinja;

/* Parses a template with the settings of transformers (trim_blocks, lstrip_blocks, loop controls). Errors name line and column. */
struct jinja *jinja_parse(struct slice source, struct error *err);
void jinja_free(struct jinja *j); /* NULL is fine */

struct jinja_limits {
  uint64_t steps_max;      /* evaluated nodes; 0: 10,000,000 */
  unsigned depth_max;      /* nested macros, call blocks and recursive loops; 0: 200 */
  size_t output_bytes_max; /* 0: 64 MiB */
};
/* Renders with the members of context (a JSON object) as variables. now_s: the time of strftime_now, seconds since 1970;
 * -1 for the clock. raise_exception gives ERROR_INVALID with the template's own message. */
int jinja_render(const struct jinja *j, const struct js *context, int64_t now_s, const struct jinja_limits *limits, struct buf *out,
                 struct error *err);

/* Which bytes of a rendered text stem from input: [begin, end), ascending, not touching each other. */
struct jinja_span {
  size_t begin, end;
};
struct jinja_marks {
  struct jinja_span *spans; /* owned; {0} to start; jinja_marks_free at the end */
  size_t n, cap;
};
void jinja_marks_free(struct jinja_marks *m);
/* Like jinja_render; marks (cleared first, offsets from out's length before the call) become the bytes that stem from strings below the
 * context's messages, tools and documents, carried through every operator, filter and method. */
int jinja_render_marked(const struct jinja *j, const struct js *context, int64_t now_s, const struct jinja_limits *limits, struct buf *out,
                        struct jinja_marks *marks, struct error *err);

/* A model's chat template with the special tokens it may print. */
struct chat_template;
/* From GGUF (tokenizer.chat_template) or tokenizer_config.json / chat_template.jinja. A model without one: returns NULL and err->code is
 * ERROR_NOT_FOUND. */
struct chat_template *chat_template_open(const struct file_model *model, const struct tokenizer *t, struct error *err);
void chat_template_close(struct chat_template *c); /* NULL is fine */
struct slice chat_template_source(const struct chat_template *c);
/* The template as it was read: the default, or that for calls with tools; empty when there is none. */
struct slice chat_template_text(const struct chat_template *c, bool for_tools);
/* context: object with "messages", optionally "tools", "add_generation_prompt", and the caller's extra variables; the special
 * tokens (bos_token, eos_token, …) are added where the context does not set them. Appends the text. */
int chat_template_render(const struct chat_template *c, const struct js *context, struct buf *out, struct error *err);

enum {
  CHAT_TEMPLATE_CONTINUE = 1, /* the text ends with the content of the last message, so that it is continued: what the template prints
                                 behind it is cut off, as continue_final_message of transformers does */
  CHAT_TEMPLATE_TRUST = 2,    /* control tokens written out in the context's strings count, as Hugging Face counts them */
};
/* Renders and appends the ids of the text, those that Hugging Face gives for the whole text, but: control tokens match only where no byte
 * of them stems from the context (roles with a known name apart), unless CHAT_TEMPLATE_TRUST is set. No special token is added, apart from
 * BOS, which is put in front where the tokenizer adds one and the text has none. */
int chat_template_encode(const struct chat_template *c, const struct js *context, unsigned flags, struct ids *out, struct error *err);

#endif
