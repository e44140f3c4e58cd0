/* certificate: see certificate.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/certificate.h"

#include <math.h>
#include <stdlib.h>

#include "app/compare.h"
#include "base/fs.h"
#include "base/mem.h"

enum { TEXT_BYTES_MAX = 64 << 20, PASSAGE_BYTES = 400 };

struct measured {
  bool embeds, same_ids;
  struct compare_result text;
  size_t passages;
  double cosine_mean, cosine_min;
  double bits_per_weight;
  uint64_t bytes;
};

static struct local_options side_options(const struct certificate_options *o, const char *model) {
  return (struct local_options){.model = model, .compute = "f32", .threads = o->threads};
}

static int read_text(const struct certificate_options *o, struct buf *text, struct error *err) {
  if (o->text) return fs_read_any(o->text, TEXT_BYTES_MAX, text, err);
  buf_add(text, certificate_text, certificate_text_bytes);
  return 0;
}

static bool equal_ids(const struct ids *a, const struct ids *b) {
  return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len * sizeof *a->data) == 0);
}

/* ---- models that generate ---- */

static int compare_text(const struct certificate_options *o, struct slice text, struct measured *m, struct error *err) {
  struct compare_side base = {0}, made = {0};
  struct local_options from = side_options(o, o->source), to = side_options(o, o->file);
  struct ids ids = {0}, again = {0};
  int result = compare_open(&base, &from, err) < 0 || compare_open(&made, &to, err) < 0 ||
                       tokenizer_encode(base.local.tokenizer, text, TOKENIZER_ADD_SPECIAL, &ids, err) < 0 ||
                       tokenizer_encode(made.local.tokenizer, text, TOKENIZER_ADD_SPECIAL, &again, err) < 0
                   ? -1
                   : 0;
  if (result == 0) {
    m->same_ids = equal_ids(&ids, &again);
    if (ids.len > o->tokens) ids.len = o->tokens;
    result = compare_run(&base, &made, &ids, &m->text, err);
  }
  ids_free(&ids);
  ids_free(&again);
  compare_close(&base);
  compare_close(&made);
  return result;
}

/* ---- models that embed ---- */

static void embed(struct local *l, struct ids *ids, float *out) {
  if (ids->len > l->info->context_tokens) ids->len = l->info->context_tokens;
  size_t offset[2] = {0, ids->len};
  model_embed(l->model, ids->data, offset, 1, out);
}

static double cosine(const float *a, const float *b, size_t n) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < n; i++) ab += (double)a[i] * b[i], aa += (double)a[i] * a[i], bb += (double)b[i] * b[i];
  return ab / sqrt(aa * bb);
}

static int compare_passage(struct local *base, struct local *made, struct slice text, float *vectors, struct measured *m,
                           struct error *err) {
  struct ids ids = {0}, again = {0};
  int result = tokenizer_encode(base->tokenizer, text, TOKENIZER_ADD_SPECIAL, &ids, err) < 0 ||
                       tokenizer_encode(made->tokenizer, text, TOKENIZER_ADD_SPECIAL, &again, err) < 0
                   ? -1
                   : 0;
  if (result == 0 && ids.len) {
    size_t n = base->info->n_embd;
    m->same_ids &= equal_ids(&ids, &again);
    embed(base, &ids, vectors);
    embed(made, &ids, vectors + n);
    double c = cosine(vectors, vectors + n, n);
    m->cosine_mean += c;
    if (m->passages++ == 0 || c < m->cosine_min) m->cosine_min = c;
  }
  ids_free(&ids);
  ids_free(&again);
  return result;
}

static int compare_vectors(const struct certificate_options *o, struct local *base, struct slice text, struct measured *m,
                           struct error *err) {
  struct local made;
  struct local_options to = side_options(o, o->file);
  if (local_open(&made, &to, err) < 0) return -1;
  float *vectors = mem_zalloc(2 * base->info->n_embd, sizeof *vectors);
  int result = 0;
  m->same_ids = true;
  for (size_t used = 0; text.len && result == 0 && used < o->tokens; used += PASSAGE_BYTES / 4) { /* a token has about four bytes */
    size_t n = text.len < PASSAGE_BYTES ? text.len : PASSAGE_BYTES;
    const char *line = n < text.len ? memrchr(text.data, '\n', n) : NULL;
    if (line && line > text.data) n = (size_t)(line + 1 - text.data);
    result = compare_passage(base, &made, slice_make(text.data, n), vectors, m, err);
    text = slice_from(text, n);
  }
  if (m->passages) m->cosine_mean /= (double)m->passages;
  free(vectors);
  local_close(&made);
  return result;
}

/* ---- both ---- */

/* What the file weighs, and whether it embeds. */
static int look_at(const struct certificate_options *o, struct measured *m, struct error *err) {
  struct file_model *file = file_model_open(o->file, err);
  struct model_info info;
  int result = file ? model_inspect(file, &info, err) : -1;
  if (result == 0) {
    m->embeds = info.task == MODEL_EMBED;
    m->bytes = gguf_bytes(file->gguf);
    m->bits_per_weight = 8.0 * (double)info.weight_bytes / (double)info.n_parameters;
  }
  file_model_close(file);
  return result;
}

static int measure(const struct certificate_options *o, struct slice text, struct measured *m, struct error *err) {
  if (look_at(o, m, err) < 0) return -1;
  if (!m->embeds) return compare_text(o, text, m, err);
  struct local base;
  struct local_options from = side_options(o, o->source);
  if (local_open(&base, &from, err) < 0) return -1;
  int result = compare_vectors(o, &base, text, m, err);
  local_close(&base);
  return result;
}

static const char *last_part(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash && slash[1] ? slash + 1 : path;
}

static void write_json(const struct certificate_options *o, const struct measured *m, struct buf *out) {
  struct jsonw w = {.out = out};
  jsonw_object_begin(&w);
  jsonw_key_cstr(&w, "file", last_part(o->file));
  jsonw_key_cstr(&w, "source", last_part(o->source));
  jsonw_key_cstr(&w, "type", o->to);
  jsonw_key_int(&w, "bytes", (int64_t)m->bytes);
  jsonw_key_real(&w, "bits_per_weight", m->bits_per_weight);
  jsonw_key_cstr(&w, "program", "plinth " PLINTH_VERSION);
  jsonw_key_cstr(&w, "compute", "f32");
  jsonw_key_cstr(&w, "text", o->text ? last_part(o->text) : "built in");
  jsonw_key_bool(&w, "same_token_ids", m->same_ids);
  if (m->embeds) {
    jsonw_key_int(&w, "passages", (int64_t)m->passages);
    jsonw_key_real(&w, "cosine_mean", m->cosine_mean);
    jsonw_key_real(&w, "cosine_min", m->cosine_min);
  } else {
    compare_write(&w, &m->text);
  }
  jsonw_object_end(&w);
  buf_add_byte(out, '\n');
}

static void write_sentence(const struct certificate_options *o, const struct measured *m, struct buf *out) {
  buf_printf(out, "%s: %.2f bits a weight; ", last_part(o->file), m->bits_per_weight);
  if (m->embeds)
    buf_printf(out, "cosine with the source's vectors on %zu passages: mean %.6f, least %.6f\n", m->passages, m->cosine_mean,
               m->cosine_min);
  else
    buf_printf(out, "against the source on %zu tokens: mean KL %.6f (99 %% %.6f), top-1 %.2f %%, perplexity %.4f against %.4f\n",
               m->text.tokens, m->text.kl_mean, m->text.kl_p99, 100 * m->text.top1, m->text.perplexity, m->text.perplexity_base);
  if (!m->same_ids) buf_add_cstr(out, "Attention: the file's tokenizer gives other ids for the text than the source's does.\n");
}

int certificate_make(const struct certificate_options *o, struct buf *summary, struct error *err) {
  struct buf text = {0}, json = {0}, path = {0};
  struct measured m = {0};
  int result = read_text(o, &text, err);
  if (result == 0) result = measure(o, buf_view(&text), &m, err);
  if (result == 0) {
    write_json(o, &m, &json);
    buf_printf(&path, "%.*s.certificate.json", (int)(strlen(o->file) - strlen(".gguf")), o->file);
    result = fs_write_atomic(path.data, buf_view(&json), 0644, err);
  }
  if (result == 0 && o->json) buf_add_slice(summary, buf_view(&json));
  else if (result == 0) write_sentence(o, &m, summary);
  buf_free(&text);
  buf_free(&json);
  buf_free(&path);
  return result;
}
