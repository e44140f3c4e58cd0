/* compare: see compare.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/compare.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

int compare_open(struct compare_side *s, const struct local_options *options, struct error *err) {
  struct local_options o = *options;
  o.rows_max = COMPARE_WINDOW;
  o.out_rows_max = COMPARE_SCORED;
  if (local_open(&s->local, &o, err) < 0) return -1;
  if (s->local.info->task != MODEL_GENERATE)
    return error_set(err, ERROR_INVALID, "%s makes embeddings; a model that generates text is needed.", o.model);
  if (s->local.info->context_tokens < COMPARE_WINDOW)
    return error_set(err, ERROR_INVALID, "%s has a context of %zu tokens; %d are needed.", o.model, s->local.info->context_tokens,
                     COMPARE_WINDOW);
  s->kv = model_kv_layout(s->local.model);
  for (size_t i = 0; i < COMPARE_WINDOW / KV_PAGE_TOKENS; i++) s->pages[i] = mem_aligned(64, s->kv.page_bytes);
  s->logits = mem_aligned(64, (size_t)COMPARE_SCORED * s->local.info->n_vocab * sizeof *s->logits);
  return 0;
}

void compare_close(struct compare_side *s) {
  for (size_t i = 0; i < COMPARE_WINDOW / KV_PAGE_TOKENS; i++) free(s->pages[i]);
  free(s->logits);
  local_close(&s->local);
}

static void run_window(struct compare_side *s, const int32_t *tokens) {
  int32_t out_rows[COMPARE_SCORED];
  for (int i = 0; i < COMPARE_SCORED; i++) out_rows[i] = COMPARE_FIRST + i;
  struct kv_segment segment = {.n_rows = COMPARE_WINDOW, .pages = s->pages};
  model_forward(s->local.model, &(struct model_batch){.n_rows = COMPARE_WINDOW,
                                                      .tokens = tokens,
                                                      .segments = &segment,
                                                      .n_segments = 1,
                                                      .adapters = s->local.adapter ? &s->local.adapter : NULL,
                                                      .out_rows = out_rows,
                                                      .n_out_rows = COMPARE_SCORED,
                                                      .logits = s->logits});
}

static double log_norm(const float *x, size_t n) {
  double max = x[op_argmax(x, n)], sum = 0;
  for (size_t i = 0; i < n; i++) sum += exp(x[i] - max);
  return max + log(sum);
}

/* Returns the divergence. */
static double compare_position(struct compare_side *p, struct compare_side *q, size_t i, int32_t next, size_t *same_top) {
  size_t n = p->local.info->n_vocab;
  const float *a = p->logits + i * n, *b = q->logits + i * n;
  double norm_a = log_norm(a, n), norm_b = log_norm(b, n), kl = 0;
  for (size_t v = 0; v < n; v++) {
    double log_p = a[v] - norm_a;
    kl += exp(log_p) * (log_p - (b[v] - norm_b));
  }
  p->loss -= a[next] - norm_a;
  q->loss -= b[next] - norm_b;
  *same_top += op_argmax(a, n) == op_argmax(b, n);
  return kl;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

int compare_run(struct compare_side *p, struct compare_side *q, const struct ids *ids, struct compare_result *ret, struct error *err) {
  size_t windows = ids->len / COMPARE_WINDOW, same_top = 0, n = 0;
  if (!windows) return error_set(err, ERROR_INVALID, "The text has %zu tokens; at least %d are needed.", ids->len, COMPARE_WINDOW);
  if (p->local.info->n_vocab != q->local.info->n_vocab)
    return error_set(err, ERROR_INVALID, "The two models have %zu and %zu tokens; they cannot be compared.", p->local.info->n_vocab,
                     q->local.info->n_vocab);
  double *kl = mem_alloc(windows * COMPARE_SCORED * sizeof *kl), sum = 0;
  p->loss = q->loss = 0;
  for (size_t w = 0; w < windows; w++) {
    const int32_t *tokens = ids->data + w * COMPARE_WINDOW;
    run_window(p, tokens);
    run_window(q, tokens);
    for (size_t i = 0; i < COMPARE_SCORED; i++) {
      kl[n] = compare_position(p, q, i, tokens[COMPARE_FIRST + i + 1], &same_top);
      sum += kl[n++];
    }
  }
  qsort(kl, n, sizeof *kl, by_value);
  *ret = (struct compare_result){.windows = windows,
                                 .tokens = n,
                                 .kl_mean = sum / (double)n,
                                 .kl_median = kl[n / 2],
                                 .kl_p99 = kl[(size_t)(0.99 * (double)n)],
                                 .kl_max = kl[n - 1],
                                 .top1 = (double)same_top / (double)n,
                                 .perplexity = exp(q->loss / (double)n),
                                 .perplexity_base = exp(p->loss / (double)n)};
  free(kl);
  return 0;
}

void compare_write(struct jsonw *w, const struct compare_result *r) {
  jsonw_key_int(w, "windows", (int64_t)r->windows);
  jsonw_key_int(w, "tokens", (int64_t)r->tokens);
  jsonw_key_real(w, "kl_mean", r->kl_mean);
  jsonw_key_real(w, "kl_median", r->kl_median);
  jsonw_key_real(w, "kl_p99", r->kl_p99);
  jsonw_key_real(w, "kl_max", r->kl_max);
  jsonw_key_real(w, "top1_agreement", r->top1);
  jsonw_key_real(w, "perplexity", r->perplexity);
  jsonw_key_real(w, "perplexity_against", r->perplexity_base);
}
