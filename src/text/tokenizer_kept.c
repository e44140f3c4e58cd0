/* tokenizer_kept: a tokenizer's tables in a file, so that the next start need not build them; see text.h. SPDX-License-Identifier: Apache-2.0
 *
 * The file: "PLINTHTK", the SHA-256 of what follows (64 hex digits), then tokenizer_archive. Its name holds the identity of the sources and of
 * this program, so that a program that builds tables in another way does not take these. */
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "text/archive.h"
#include "text/tokenizer.h"

enum { LAYOUT = 1, MAGIC_BYTES = 8, HEAD_BYTES = MAGIC_BYTES + DIGEST_HEX - 1, FILE_BYTES_MAX = 512 << 20 };

static const char magic[] = "PLINTHTK";

/* ---- the whole of a tokenizer ---- */

static void archive_source(struct archive *a, struct tokenizer_source *s) {
  ARCHIVE(a, s->kind);
  ARCHIVE(a, s->n_pieces);
  ARCHIVE(a, s->rewrites);
  ARCHIVE(a, s->byte_fallback);
  ARCHIVE(a, s->space_prefix);
  ARCHIVE(a, s->space_every);
  bool scores = s->scores != NULL;
  ARCHIVE(a, scores);
  if (!scores) return;
  s->scores = archive_array(a, s->scores, s->n_pieces, sizeof s->scores[0]);
  s->types = archive_array(a, s->types, s->n_pieces, sizeof s->types[0]);
}

/* What the model of t->model knows. The others are as tokenizer__create makes them. */
static void archive_model(struct archive *a, struct tokenizer *t) {
  ARCHIVE(a, t->model);
  t->bpe.vocab = t->wordpiece.vocab = t->unigram.vocab = &t->vocab;
  switch (t->model) {
    case TOKENIZER_BPE: bpe_archive(a, &t->bpe); break;
    case TOKENIZER_WORDPIECE: wordpiece_archive(a, &t->wordpiece); break;
    case TOKENIZER_UNIGRAM: unigram_archive(a, &t->unigram); break;
  }
}

static void archive_ids_known(struct archive *a, struct tokenizer *t) {
  size_t n = (size_t)t->n_vocab;
  archive_count(a, &n);
  t->n_vocab = (int32_t)n;
  ARCHIVE(a, t->bos);
  ARCHIVE(a, t->eos);
  archive_ids(a, &t->stop);
  archive_buf(a, &t->text);
  t->text_begin = archive_array(a, t->text_begin, n + 1, sizeof t->text_begin[0]);
  t->special = archive_array(a, t->special, n, 1);
  t->stops = archive_array(a, t->stops, n, 1);
}

static void tokenizer_archive(struct archive *a, struct tokenizer *t) {
  vocab_archive(a, &t->vocab);
  archive_model(a, t);
  normalizer_archive(a, &t->normalizer);
  pretok_archive(a, &t->pretok);
  archive_ids(a, &t->post.before);
  archive_ids(a, &t->post.after);
  decoder_archive(a, &t->decoder);
  archive_source(a, &t->source);
  added_archive(a, &t->added);
  archive_ids_known(a, t);
}

/* ---- the file ---- */

static void digest_of(struct slice body, char out[DIGEST_HEX]) {
  struct digest *d = digest_begin();
  digest_add(d, body.data, body.len);
  digest_end(d, out);
}

/* NULL, with the file's own fault in err when it is not what was written. */
static struct tokenizer *read_kept(const char *path, struct error *err) {
  struct buf bytes = {0};
  char hash[DIGEST_HEX];
  struct tokenizer *t = NULL;
  if (fs_read(path, FILE_BYTES_MAX, &bytes, err) < 0) return NULL;
  struct slice all = buf_view(&bytes);
  bool whole = all.len > HEAD_BYTES && slice_starts(all, slice_cstr(magic));
  if (whole) digest_of(slice_from(all, HEAD_BYTES), hash);
  if (whole && memcmp(all.data + MAGIC_BYTES, hash, DIGEST_HEX - 1) == 0) {
    struct archive a = {.in = slice_from(all, HEAD_BYTES)};
    t = tokenizer__create();
    tokenizer_archive(&a, t);
    if (a.broken || a.in.len || added_ready(&t->added, &t->normalizer, err) < 0) {
      tokenizer_close(t);
      t = NULL;
    }
  }
  if (!t) error_set(err, ERROR_CORRUPT, "%s is damaged.", path);
  buf_free(&bytes);
  return t;
}

static int write_kept(const char *dir, const char *path, const struct tokenizer *t, struct error *err) {
  struct buf bytes = {0};
  char hash[DIGEST_HEX];
  struct archive a = {.out = &bytes};
  buf_add_cstr(&bytes, magic);
  for (int i = 0; i < DIGEST_HEX - 1; i++) buf_add_byte(&bytes, '0');
  tokenizer_archive(&a, (struct tokenizer *)t); /* writing changes nothing */
  digest_of(slice_from(buf_view(&bytes), HEAD_BYTES), hash);
  memcpy(bytes.data + MAGIC_BYTES, hash, DIGEST_HEX - 1);
  int rc = fs_mkdirs(dir, 0700, err);
  if (rc == 0) rc = fs_write_atomic(path, buf_view(&bytes), 0600, err);
  buf_free(&bytes);
  return rc;
}

/* ---- which file ---- */

static void add_stamp(struct digest *d, const char *path) {
  struct fs_stamp stamp;
  fs_stamp_of(path, &stamp);
  digest_add(d, &stamp, sizeof stamp);
}

/* The files that say anything of a tokenizer, by size, time and inode, and the program. */
static void identity(const struct file_model *m, char out[DIGEST_HEX]) {
  static const char *const names[] = {"tokenizer.json",       "tokenizer.model",       "tiktoken.model",
                                      "cl100k_base.tiktoken", "tokenizer_config.json", "special_tokens_map.json",
                                      "added_tokens.json",    "config.json",           "generation_config.json"};
  struct digest *d = digest_begin();
  add_stamp(d, "/proc/self/exe");
  if (m->container == FILE_GGUF) {
    size_t n = gguf_stamps(m->gguf, NULL);
    struct fs_stamp *stamps = mem_zalloc(n, sizeof *stamps);
    gguf_stamps(m->gguf, stamps);
    digest_add(d, stamps, n * sizeof *stamps);
    free(stamps);
  }
  for (size_t i = 0; m->container != FILE_GGUF && i < sizeof names / sizeof names[0]; i++) {
    char *path = fs_join(m->path, names[i]);
    add_stamp(d, path);
    free(path);
  }
  digest_end(d, out);
}

struct tokenizer *tokenizer_open_kept(const struct file_model *m, const char *dir, bool keep, struct error *err) {
  if (!dir) return tokenizer_open(m, err);
  char hash[DIGEST_HEX];
  struct error fault = {0};
  identity(m, hash);
  char *path = file_kept_path(dir, hash, "tokenizer", LAYOUT, "tables");
  struct tokenizer *t = fs_exists(path) ? read_kept(path, &fault) : NULL;
  if (!t && fault.message[0]) log_line(LOG_WARN, "text", "The kept tokenizer is not used: %s", fault.message);
  if (!t && (t = tokenizer_open(m, err)) && keep) {
    file_kept_remove(dir, "tokenizer", path);
    if (write_kept(dir, path, t, &fault) < 0)
      log_line(LOG_WARN, "text", "The tokenizer's tables are not kept, so the next start builds them again: %s", fault.message);
  }
  free(path);
  return t;
}
