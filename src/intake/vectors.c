/* vectors: reference results that a model brings along (plinth-vectors.json); see checks.h. SPDX-License-Identifier: Apache-2.0
 *
 * doc/design/import.md describes the file. A case is one object with what goes in and what must come out:
 *     {"text": …, "add_special": true, "ids": […]}                             tokenization
 *     {"render": {"messages": […], …}, "rendered": "…"}                        the chat template
 *     {"input_ids": […], "next": [{"id": …, "logprob": …}, …]}                 the next token's distribution
 *     {"input_ids": […], "greedy": [ids]}                                      a greedy continuation
 *     {"input_ids": […], "embedding": […]}                                     the text's vector */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#include "intake/checks.h"

enum { CASES_MAX = 10000 };
/* A case may ask for another tolerance, but not for one with which the comparison says nothing. */
static const double tolerance_default = 1e-3, tolerance_max = 0.1, cosine_default = 0.9999, cosine_min = 0.99, length_tolerance = 0.01;

static void mismatch(struct intake_checks *c, size_t i, const char *what) {
  checks_add(c, "vectors", INTAKE_FAILED, "Case %zu of plinth-vectors.json: %s", i + 1, what);
}

/* False when v is no list of ids below limit. */
static bool read_ids(const struct js *v, size_t limit, struct ids *out) {
  if (js_type(v) != JS_ARRAY) return false;
  for (size_t i = 0; i < js_len(v); i++) {
    int64_t id;
    if (!js_int(js_at(v, i), &id) || id < 0 || (uint64_t)id >= limit) return false;
    ids_add(out, (int32_t)id);
  }
  return true;
}

static bool same_ids(const struct ids *a, const struct ids *b) {
  return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len * sizeof *a->data) == 0);
}

static void try_ids(const struct subject *s, const struct js *v, size_t i, struct vectors_cover *cover, struct intake_checks *c) {
  struct slice text;
  struct ids wanted = {0}, got = {0};
  struct error err = {0};
  bool add = true, match = true;
  js_bool(js_get(v, "add_special"), &add);
  js_bool(js_get(v, "match_special"), &match);
  unsigned flags = (add ? TOKENIZER_ADD_SPECIAL : 0u) | (match ? TOKENIZER_MATCH_SPECIAL : 0u);
  if (!js_str(js_get(v, "text"), &text) || !read_ids(js_get(v, "ids"), INT32_MAX, &wanted))
    mismatch(c, i, "\"text\" and \"ids\" are not a text and a list of ids.");
  else if (tokenizer_encode(s->tokenizer, text, flags, &got, &err) < 0) mismatch(c, i, err.message);
  else if (!same_ids(&wanted, &got)) mismatch(c, i, "the text gives other ids.");
  else cover->n_ids++;
  ids_free(&wanted);
  ids_free(&got);
}

static void try_render(const struct subject *s, const struct js *v, size_t i, struct vectors_cover *cover, struct intake_checks *c) {
  struct slice wanted;
  struct buf got = {0};
  struct error err = {0};
  if (!s->chat_template) mismatch(c, i, "it renders a conversation, but the model has no chat template.");
  else if (js_type(js_get(v, "render")) != JS_OBJECT || !js_str(js_get(v, "rendered"), &wanted))
    mismatch(c, i, "\"render\" is no object or \"rendered\" no text.");
  else if (chat_template_render(s->chat_template, js_get(v, "render"), &got, &err) < 0) mismatch(c, i, err.message);
  else if (!slice_eq(buf_view(&got), wanted)) mismatch(c, i, "the chat template gives another text.");
  else cover->n_rendered++;
  buf_free(&got);
}

/* *out keeps its value where the case does not have the key. */
static bool read_limit(const struct js *v, const char *key, double min, double max, double *out, size_t i, struct intake_checks *c) {
  const struct js *given = js_get(v, key);
  char what[160];
  if (!given || (js_real(given, out) && *out >= min && *out <= max)) return true;
  snprintf(what, sizeof what, "\"%s\" must be a number from %g to %g.", key, min, max);
  mismatch(c, i, what);
  return false;
}

static double log_sum_exp(const float *x, size_t n) {
  double most = x[0], sum = 0;
  for (size_t i = 1; i < n; i++) most = x[i] > most ? x[i] : most;
  for (size_t i = 0; i < n; i++) sum += exp(x[i] - most);
  return most + log(sum);
}

static void try_next(struct runner *r, const struct js *v, size_t i, struct vectors_cover *cover, struct intake_checks *c) {
  const struct js *next = js_get(v, "next");
  size_t n_vocab = model_info(r->model)->n_vocab;
  double tolerance = tolerance_default, norm = log_sum_exp(r->out, n_vocab), worst = 0;
  if (!read_limit(v, "tolerance", 0, tolerance_max, &tolerance, i, c)) return;
  for (size_t k = 0; k < js_len(next); k++) {
    int64_t id;
    double logprob;
    if (!js_int(js_get(js_at(next, k), "id"), &id) || id < 0 || (uint64_t)id >= n_vocab ||
        !js_real(js_get(js_at(next, k), "logprob"), &logprob)) {
      mismatch(c, i, "\"next\" needs an id of the vocabulary and a logprob in each entry.");
      return;
    }
    double difference = fabs(r->out[id] - norm - logprob);
    if (!(difference <= worst)) worst = difference;
  }
  char what[160];
  snprintf(what, sizeof what, "a logprob is off by %.3g; allowed is %.3g.", worst, tolerance);
  if (js_len(next) == 0) mismatch(c, i, "\"next\" is empty.");
  else if (!(worst <= tolerance)) mismatch(c, i, what);
  else cover->n_numbers++;
}

static void try_greedy(struct runner *r, struct ids *ids, const struct js *v, size_t i, struct vectors_cover *cover,
                       struct intake_checks *c) {
  struct ids wanted = {0};
  size_t n_vocab = model_info(r->model)->n_vocab, k = 0;
  bool good = read_ids(js_get(v, "greedy"), n_vocab, &wanted) && wanted.len && ids->len + wanted.len <= r->rows_max;
  for (; good && k < wanted.len; k++) {
    if (k) checks_run(r, ids->data, ids->len);
    if (op_argmax(r->out, n_vocab) != (size_t)wanted.data[k]) break;
    ids_add(ids, wanted.data[k]);
  }
  if (!good) mismatch(c, i, "\"greedy\" is no list of ids that fits.");
  else if (k < wanted.len) mismatch(c, i, "the greedy continuation differs.");
  else cover->n_numbers++;
  ids_free(&wanted);
}

static void try_embedding(struct runner *r, const struct js *v, size_t i, struct vectors_cover *cover, struct intake_checks *c) {
  const struct js *wanted = js_get(v, "embedding");
  size_t n = model_info(r->model)->n_embd;
  double least = cosine_default, dot = 0, a = 0, b = 0, x;
  if (!read_limit(v, "cosine", cosine_min, 1, &least, i, c)) return;
  for (size_t k = 0; k < n && k < js_len(wanted); k++) {
    if (!js_real(js_at(wanted, k), &x)) x = NAN;
    dot += x * r->out[k];
    a += x * x;
    b += (double)r->out[k] * r->out[k];
  }
  double cosine = dot / sqrt(a * b), length = sqrt(b / a);
  char what[160], longer[160];
  snprintf(what, sizeof what, "the embedding's cosine with the reference is %.6f; %.6f is the least.", cosine, least);
  snprintf(longer, sizeof longer, "the embedding is %.4g times as long as the reference; is it normalized as the reference is?", length);
  if (js_len(wanted) != n) mismatch(c, i, "the embedding has another number of values.");
  else if (!(cosine >= least)) mismatch(c, i, what);
  else if (!(fabs(length - 1) <= length_tolerance)) mismatch(c, i, longer);
  else cover->n_numbers++;
}

static void try_numbers(const struct subject *s, struct runner *r, const struct js *v, size_t i, struct vectors_cover *cover,
                        struct intake_checks *c) {
  struct ids ids = {0};
  bool embeds = s->info.task == MODEL_EMBED;
  if (!read_ids(js_get(v, "input_ids"), s->info.n_vocab, &ids) || ids.len == 0 || ids.len > r->rows_max) {
    char what[160];
    snprintf(what, sizeof what, "\"input_ids\" must be 1 to %zu ids of the vocabulary.", r->rows_max);
    mismatch(c, i, what);
  } else {
    checks_run(r, ids.data, ids.len);
    if (js_get(v, "next") && !embeds) try_next(r, v, i, cover, c);
    else if (js_get(v, "greedy") && !embeds) try_greedy(r, &ids, v, i, cover, c);
    else if (js_get(v, "embedding") && embeds) try_embedding(r, v, i, cover, c);
    else mismatch(c, i, "it says nothing that this kind of model can be compared with.");
  }
  ids_free(&ids);
}

void vectors_try(const struct subject *s, struct runner *runner, struct vectors_cover *cover, struct intake_checks *c) {
  const struct js *cases = js_get(s->vectors, "cases");
  if (!runner && (js_len(cases) == 0 || js_len(cases) > CASES_MAX))
    checks_add(c, "vectors", INTAKE_FAILED, "plinth-vectors.json must hold 1 to %d cases.", CASES_MAX);
  for (size_t i = 0; i < js_len(cases) && i < CASES_MAX; i++) {
    const struct js *v = js_at(cases, i);
    bool numbers = js_get(v, "input_ids") != NULL;
    if (numbers != (runner != NULL)) continue;
    if (numbers) try_numbers(s, runner, v, i, cover, c);
    else if (js_get(v, "ids")) try_ids(s, v, i, cover, c);
    else if (js_get(v, "render")) try_render(s, v, i, cover, c);
    else mismatch(c, i, "it has neither \"ids\" nor \"render\" nor \"input_ids\".");
  }
}
