/* tokenizer: encoding, decoding and what is known about ids; see text.h and tokenizer.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/tokenizer.h"

#include <assert.h>
#include <stdlib.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "text/normalizer_spans.h"
#include "text/tokenizer_config.h"
#include "text/tokenizer_gguf.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_spm.h"
#include "text/tokenizer_tiktoken.h"

/* ---- opening and closing ---- */

struct tokenizer *tokenizer__create(void) {
  struct tokenizer *t = mem_zalloc(1, sizeof *t);
  t->bos = t->eos = -1;
  t->bpe.unknown = t->wordpiece.unknown = t->unigram.unknown = -1;
  return t;
}

void tokenizer_close(struct tokenizer *t) {
  if (!t) return;
  added_deinit(&t->added);
  normalizer_deinit(&t->normalizer);
  pretok_deinit(&t->pretok);
  bpe_deinit(&t->bpe);
  wordpiece_deinit(&t->wordpiece);
  unigram_deinit(&t->unigram);
  post_deinit(&t->post);
  decoder_deinit(&t->decoder);
  vocab_deinit(&t->vocab);
  free(t->source.scores);
  free(t->source.types);
  ids_free(&t->stop);
  buf_free(&t->text);
  free(t->text_begin);
  free(t->special);
  free(t->stops);
  free(t);
}

/* A byte-level tokenizer that maps bytes last need not do it: the model takes the bytes as they are. */
static void skip_byte_map(struct tokenizer *t) {
  struct pretok *p = &t->pretok;
  if (t->model != TOKENIZER_BPE || t->bpe.continuing_prefix.len || t->bpe.end_suffix.len || p->n_steps == 0) return;
  size_t maps = 0;
  for (size_t i = 0; i < p->n_steps; i++) maps += p->steps[i].kind == PRETOK_BYTE_MAP;
  if (maps != 1 || p->steps[p->n_steps - 1].kind != PRETOK_BYTE_MAP) return;
  p->n_steps--;
  t->bpe.bytes = true;
}

/* Computes what is kept for every id, once vocabulary, added tokens and decoder are there. */
static int finish(struct tokenizer *t, struct error *err) {
  if (added_ready(&t->added, &t->normalizer, err) < 0) return -1;
  skip_byte_map(t);
  int32_t n = (int32_t)t->vocab.n_ids;
  if (t->added.n && t->added.by_id[t->added.n - 1]->id >= n) n = t->added.by_id[t->added.n - 1]->id + 1;
  t->n_vocab = n;
  t->text_begin = mem_zalloc((size_t)n + 1, sizeof t->text_begin[0]);
  t->special = mem_zalloc((size_t)n, 1);
  t->stops = mem_zalloc((size_t)n, 1);
  buf_reserve(&t->text, t->vocab.text.len + (t->decoder.bytes == DECODER_NO_BYTES ? (size_t)n : 0));
  for (int32_t id = 0; id < n; id++) {
    bool exists;
    struct slice string = tokenizer__string(t, id, &exists);
    if (exists) decoder_token(&t->decoder, string, false, &t->text);
    if (t->text.len - t->text_begin[id] > DECODER_TOKEN_BYTES_MAX)
      return error_set(err, ERROR_TOO_LARGE, "The text of the token with id %d is longer than %d bytes.", (int)id, DECODER_TOKEN_BYTES_MAX);
    if (t->text.len > UINT32_MAX) return error_set(err, ERROR_TOO_LARGE, "The tokens' text is longer than 4 GiB.");
    t->text_begin[id + 1] = (uint32_t)t->text.len;
    const struct added_token *token = added_of_id(&t->added, id);
    t->special[id] = token && token->special && slice_eq(token->content, token->pattern);
  }
  for (size_t i = 0; i < t->post.before.len + t->post.after.len; i++) {
    int32_t id = i < t->post.before.len ? t->post.before.data[i] : t->post.after.data[i - t->post.before.len];
    if (id >= n) return error_set(err, ERROR_CORRUPT, "The post-processor adds the token id %d, which is not in the vocabulary.", (int)id);
  }
  return 0;
}

struct tokenizer *tokenizer_open_gguf(const struct gguf *g, struct error *err) {
  struct tokenizer *t = tokenizer__create();
  if (tokenizer_gguf_read(t, g, err) == 0 && finish(t, err) == 0) {
    tokenizer_gguf_stops(t, g);
    return t;
  }
  tokenizer_close(t);
  return NULL;
}

/* Of the tokenizer's own file: json, or else the bytes of a tokenizer.model or tiktoken file. */
static struct tokenizer *open_files(const struct js *json, struct slice bytes, const struct tokenizer_files *beside, struct error *err) {
  struct tokenizer *t = tokenizer__create();
  int rc;
  if (json) rc = tokenizer_json_read(t, json, err) < 0 ? -1 : tokenizer_config_added(t, beside, err);
  else if (tokenizer_tiktoken_is(bytes)) rc = tokenizer_tiktoken_read(t, bytes, beside, err);
  else if (tokenizer_spm_is(bytes)) rc = tokenizer_spm_read(t, bytes, beside, err);
  else rc = error_set(err, ERROR_UNSUPPORTED, "The file is neither a SentencePiece model nor a tiktoken file.");
  if (rc == 0 && finish(t, err) == 0) {
    tokenizer_config_apply(t, beside);
    return t;
  }
  tokenizer_close(t);
  return NULL;
}

struct tokenizer *tokenizer_open_json(struct slice tokenizer_json, struct slice config_json, struct error *err) {
  struct tokenizer *t = NULL;
  struct js *json = js_parse(tokenizer_json, err), *config = NULL;
  if (!json) {
    error_prefix(err, "tokenizer.json");
    return NULL;
  }
  if (config_json.len == 0 || (config = js_parse(config_json, err)))
    t = open_files(json, SLICE(""), &(struct tokenizer_files){.config = config, .is_json = true}, err);
  js_free(json);
  js_free(config);
  return t;
}

struct tokenizer *tokenizer_open_vocabulary(struct slice file, struct slice config_json, struct error *err) {
  struct js *config = NULL;
  if (config_json.len && !(config = js_parse(config_json, err))) return NULL;
  struct tokenizer *t = open_files(NULL, file, &(struct tokenizer_files){.config = config}, err);
  js_free(config);
  return t;
}

/* ---- a directory ---- */

enum { FILE_BYTES_MAX = 256 << 20 };

/* Absent: *ret is NULL. */
static int read_json(const char *dir, const char *name, struct js **ret, struct error *err) {
  char *path = fs_join(dir, name);
  struct buf text = {0};
  int rc = 0;
  if (fs_exists(path)) {
    rc = fs_read(path, FILE_BYTES_MAX, &text, err);
    if (rc == 0 && !(*ret = js_parse(buf_view(&text), err))) rc = error_prefix(err, "%s", name);
    if (rc == 0 && js_type(*ret) != JS_OBJECT) rc = error_set(err, ERROR_CORRUPT, "%s is no JSON object.", name);
  }
  buf_free(&text);
  free(path);
  return rc;
}

/* The first vocabulary file that is there; NULL without an error when there is none. */
static const char *read_vocabulary(const char *dir, struct buf *bytes, struct error *err) {
  static const char *const names[] = {"tokenizer.model", "tiktoken.model", "cl100k_base.tiktoken"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    char *path = fs_join(dir, names[i]);
    bool there = fs_exists(path);
    int rc = there ? fs_read(path, FILE_BYTES_MAX, bytes, err) : 0;
    free(path);
    if (there) return rc == 0 ? names[i] : NULL;
  }
  error_set(err, ERROR_NOT_FOUND,
            "There is no tokenizer: neither tokenizer.json nor tokenizer.model nor a tiktoken file (tiktoken.model, "
            "cl100k_base.tiktoken). Download it too.");
  return NULL;
}

struct tokenizer *tokenizer_open_dir(const char *dir, struct error *err) {
  struct js *json = NULL, *config = NULL, *special = NULL, *added = NULL, *model = NULL, *generation = NULL;
  struct buf bytes = {0};
  struct tokenizer *t = NULL;
  int rc = read_json(dir, "tokenizer.json", &json, err);
  if (rc == 0) rc = read_json(dir, "tokenizer_config.json", &config, err);
  if (rc == 0) rc = read_json(dir, "special_tokens_map.json", &special, err);
  if (rc == 0) rc = read_json(dir, "added_tokens.json", &added, err);
  if (rc == 0) rc = read_json(dir, "config.json", &model, err);
  if (rc == 0) rc = read_json(dir, "generation_config.json", &generation, err);
  const char *name = json || rc < 0 ? NULL : read_vocabulary(dir, &bytes, err);
  if (json && rc == 0) {
    t = open_files(json, SLICE(""), &(struct tokenizer_files){config, special, added, model, generation, true}, err);
  } else if (name) {
    t = open_files(NULL, buf_view(&bytes), &(struct tokenizer_files){config, special, added, model, generation, false}, err);
    if (!t) error_prefix(err, "%s", name);
  }
  js_free(json);
  js_free(config);
  js_free(special);
  js_free(added);
  js_free(model);
  js_free(generation);
  buf_free(&bytes);
  if (!t && !strstr(err->message, dir)) error_prefix(err, "%s", dir); /* what the system says of a file names it whole */
  return t;
}

struct tokenizer *tokenizer_open(const struct file_model *m, struct error *err) {
  if (m->container != FILE_GGUF) return tokenizer_open_dir(m->path, err);
  struct tokenizer *t = tokenizer_open_gguf(m->gguf, err);
  if (!t) error_prefix(err, "%s", m->path);
  return t;
}

/* ---- encoding ---- */

struct encoding {
  const struct tokenizer *t;
  struct ids *out;
  bool match_special;
  const struct jinja_span *plain; /* of the text: where no special token may be */
  size_t n_plain;
  bool guarded;        /* the segment at hand touches one of them */
  struct buf *scratch; /* [pretok.n_steps] */
  struct bpe_scratch bpe;
  struct unigram_scratch unigram;
  struct buf word;
  struct buf normal[2];
  struct regex_budget budget;
};

/* A model that makes a control token of plain text leaves no way to write that text. */
static int check_plain(const struct encoding *e, size_t before, struct error *err) {
  const int32_t unknown_of[] = {e->t->bpe.unknown, e->t->wordpiece.unknown, e->t->unigram.unknown};
  int32_t unknown = unknown_of[e->t->model];
  for (size_t i = before; i < e->out->len; i++) {
    int32_t id = e->out->data[i];
    if (!e->t->special[id] || id == unknown) continue;
    bool exists;
    return error_set(err, ERROR_INVALID, "A message holds '%.*s', which is a control token of this model even as plain text.",
                     SLICE_ARG(tokenizer__string(e->t, id, &exists)));
  }
  return 0;
}

static int encode_piece(void *arg, struct slice piece, struct error *err) {
  struct encoding *e = arg;
  size_t before = e->out->len;
  int rc = 0;
  if (e->t->model == TOKENIZER_BPE) bpe_encode(&e->t->bpe, &e->bpe, piece, e->out);
  else if (e->t->model == TOKENIZER_UNIGRAM) rc = unigram_encode(&e->t->unigram, &e->unigram, piece, e->out, err);
  else rc = wordpiece_encode(&e->t->wordpiece, &e->word, piece, e->out, err);
  if (rc == 0 && e->guarded) rc = check_plain(e, before, err);
  return rc;
}

/* A segment of normalized text; plain: where in it no special token may be. */
static int encode_normal(struct encoding *e, struct slice text, bool at_start, const struct jinja_span *plain, size_t n_plain,
                         struct error *err) {
  const struct tokenizer *t = e->t;
  struct added_walk walk = {.plain = plain, .n_plain = n_plain};
  struct added_part part;
  while (added_next(&t->added.normal, text, e->match_special, &walk, &part)) {
    if (part.id >= 0) {
      ids_add(e->out, part.id);
      continue;
    }
    struct slice piece = slice_make(text.data + part.begin, part.end - part.begin);
    if (pretok_run(&t->pretok, e->scratch, &e->budget, piece, at_start && part.begin == 0, encode_piece, e, err) < 0) return -1;
  }
  return 0;
}

/* The spans of e->plain that touch [begin, end), as places in it. e->plain moves on: segments come in order. */
static size_t cut_spans(struct encoding *e, size_t begin, size_t end, struct jinja_span **ret) {
  size_t first = 0, n = 0;
  while (first < e->n_plain && e->plain[first].end <= begin) first++;
  e->plain += first;
  e->n_plain -= first;
  while (n < e->n_plain && e->plain[n].begin < end) n++;
  struct jinja_span *spans = mem_alloc((n + 1) * sizeof *spans);
  for (size_t i = 0; i < n; i++) {
    size_t from = e->plain[i].begin, to = e->plain[i].end;
    spans[i] = (struct jinja_span){from > begin ? from - begin : 0, (to < end ? to : end) - begin};
  }
  *ret = spans;
  return n;
}

/* The text between two tokens that are sought in the raw text: bytes [begin, end) of the whole. */
static int encode_segment(struct encoding *e, struct slice whole, size_t begin, size_t end, struct error *err) {
  const struct tokenizer *t = e->t;
  struct slice segment = slice_make(whole.data + begin, end - begin), text;
  struct jinja_span *raw = NULL, *normal = NULL;
  bool at_start = begin == 0;
  if (at_start && t->pretok.asks_start) {
    if (normalizer_apply_start(&t->normalizer, segment, &e->budget, e->normal, &text, &at_start, err) < 0) return -1;
  } else if (normalizer_apply(&t->normalizer, segment, &e->budget, e->normal, &text, err) < 0) {
    return -1;
  }
  size_t n = e->n_plain ? cut_spans(e, begin, end, &raw) : 0, n_normal = 0;
  e->guarded = n > 0;
  int rc = 0;
  if (n && t->added.normal.has_special) rc = normalizer_spans(&t->normalizer, segment, text, raw, n, &normal, &n_normal, err);
  if (rc == 0) rc = encode_normal(e, text, at_start, normal, n_normal, err);
  free(raw);
  free(normal);
  return rc;
}

static int encode_text(struct encoding *e, struct slice text, struct error *err) {
  struct added_walk walk = {.plain = e->plain, .n_plain = e->n_plain};
  struct added_part part;
  while (added_next(&e->t->added.raw, text, e->match_special, &walk, &part)) {
    if (part.id >= 0) ids_add(e->out, part.id);
    else if (encode_segment(e, text, part.begin, part.end, err) < 0) return -1;
  }
  return 0;
}

static int encode(struct encoding *e, struct slice text, unsigned flags, struct error *err) {
  const struct tokenizer *t = e->t;
  struct ids *out = e->out;
  size_t before = out->len;
  if (text.len >= UINT32_MAX) return error_set(err, ERROR_TOO_LARGE, "The text is longer than 4 GiB.");
  e->budget = regex_budget(text.len);
  e->match_special = (flags & TOKENIZER_MATCH_SPECIAL) != 0;
  e->scratch = mem_zalloc(t->pretok.n_steps, sizeof e->scratch[0]);
  if (flags & TOKENIZER_ADD_SPECIAL)
    for (size_t i = 0; i < t->post.before.len; i++) ids_add(out, t->post.before.data[i]);
  int rc = encode_text(e, text, err);
  if (flags & TOKENIZER_ADD_SPECIAL)
    for (size_t i = 0; i < t->post.after.len; i++) ids_add(out, t->post.after.data[i]);
  if (rc < 0) out->len = before;
  for (size_t i = 0; i < t->pretok.n_steps; i++) buf_free(&e->scratch[i]);
  free(e->scratch);
  bpe_scratch_free(&e->bpe);
  unigram_scratch_free(&e->unigram);
  buf_free(&e->word);
  buf_free(&e->normal[0]);
  buf_free(&e->normal[1]);
  return rc;
}

int tokenizer_encode(const struct tokenizer *t, struct slice text, unsigned flags, struct ids *out, struct error *err) {
  struct encoding e = {.t = t, .out = out};
  struct buf repaired = {0};
  if (!utf8_valid(text)) {
    decoder_lossy(text, &repaired);
    text = buf_view(&repaired);
  }
  int rc = encode(&e, text, flags, err);
  buf_free(&repaired);
  return rc;
}

int tokenizer__encode_marked(const struct tokenizer *t, struct slice text, const struct jinja_marks *plain, struct ids *out,
                             struct error *err) {
  struct encoding e = {.t = t, .out = out, .plain = plain->spans, .n_plain = plain->n};
  if (!utf8_valid(text)) return error_set(err, ERROR_INVALID, "The text is not valid UTF-8.");
  return encode(&e, text, TOKENIZER_MATCH_SPECIAL, err);
}

/* ---- decoding ---- */

struct slice tokenizer__string(const struct tokenizer *t, int32_t id, bool *ret_exists) {
  const struct added_token *token = added_of_id(&t->added, id);
  *ret_exists = token || vocab_has(&t->vocab, id);
  return token ? token->pattern : vocab_string(&t->vocab, id);
}

/* Appends a run of byte tokens: as text when all of it is, else one U+FFFD for each byte. */
static void decode_run(struct buf *run, struct buf *out) {
  bool valid = utf8_valid(buf_view(run));
  if (valid) buf_add_slice(out, buf_view(run));
  for (size_t i = 0; !valid && i < run->len; i++) buf_add_utf8(out, UTF8_REPLACEMENT);
  buf_clear(run);
}

static void decode_some_bytes(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip_special, struct buf *out) {
  struct buf run = {0};
  bool first = true;
  size_t before = out->len;
  for (size_t i = 0; i < n; i++) {
    bool exists;
    struct slice string = tokenizer__string(t, ids[i], &exists);
    if (!exists || (skip_special && t->special[ids[i]])) continue;
    int byte = decoder_byte_token(string);
    if (byte >= 0) {
      buf_add_byte(&run, (unsigned char)byte);
    } else {
      decode_run(&run, out);
      decoder_token(&t->decoder, string, first, out);
    }
    first = false;
  }
  decode_run(&run, out);
  decoder_strip_start(&t->decoder, before, out);
  buf_free(&run);
}

void tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, bool skip_special, struct buf *out) {
  if (t->decoder.bytes == DECODER_SOME_BYTES) {
    decode_some_bytes(t, ids, n, skip_special, out);
    return;
  }
  struct detok d;
  detok_init(&d, t, skip_special);
  for (size_t i = 0; i < n; i++) detok_push(&d, ids[i], out);
  detok_finish(&d, out);
}

/* ---- what is known about ids ---- */

int32_t tokenizer_n_vocab(const struct tokenizer *t) { return t->n_vocab; }

bool tokenizer_same_ids(const struct tokenizer *a, const struct tokenizer *b, int32_t *ret_first) {
  int32_t n_a = tokenizer_n_vocab(a), n_b = tokenizer_n_vocab(b), n = n_a < n_b ? n_a : n_b, id = 0;
  while (id < n && tokenizer_is_special(a, id) == tokenizer_is_special(b, id) &&
         slice_eq(tokenizer_token_bytes(a, id), tokenizer_token_bytes(b, id)))
    id++;
  if (id == n && n_a == n_b) return true;
  *ret_first = id;
  return false;
}

struct slice tokenizer_token_bytes(const struct tokenizer *t, int32_t id) {
  if (id < 0 || id >= t->n_vocab) return slice_make(NULL, 0);
  return slice_make(t->text.data + t->text_begin[id], t->text_begin[id + 1] - t->text_begin[id]);
}

bool tokenizer_is_special(const struct tokenizer *t, int32_t id) { return id >= 0 && id < t->n_vocab && t->special[id]; }

int32_t tokenizer_find(const struct tokenizer *t, struct slice token) {
  const struct added_token *added = added_find(&t->added, token);
  return added ? added->id : vocab_find(&t->vocab, token);
}

int32_t tokenizer_bos(const struct tokenizer *t) { return t->bos; }

int32_t tokenizer_eos(const struct tokenizer *t) { return t->eos; }

const int32_t *tokenizer_stop_ids(const struct tokenizer *t, size_t *ret_n) {
  *ret_n = t->stop.len;
  return t->stop.data;
}

const char *tokenizer_kind(const struct tokenizer *t) {
  static const char *const names[] = {[TOKENIZER_BPE] = "BPE", [TOKENIZER_WORDPIECE] = "WordPiece", [TOKENIZER_UNIGRAM] = "Unigram"};
  return names[t->model];
}

void tokenizer__add_stop(struct tokenizer *t, int32_t id) {
  if (id < 0 || id >= t->n_vocab || t->stops[id]) return;
  t->stops[id] = 1;
  ids_add(&t->stop, id);
}

void tokenizer__add_known_stops(struct tokenizer *t) {
  static const char *const names[] = {"<|eot_id|>", "<|im_end|>",        "<|end|>",         "<|endoftext|>", "<|eom_id|>",
                                      "<EOT>",      "\xE2\x96\x81<EOT>", "<|end_of_text|>", "</s>",          "<end_of_turn>",
                                      "<|return|>", "<|call|>",          "<step>"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    int32_t id = tokenizer_find(t, slice_cstr(names[i]));
    if (tokenizer_is_special(t, id)) tokenizer__add_stop(t, id);
  }
}
