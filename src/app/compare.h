/* compare: two models on the same text: KL divergence, top-1 agreement, perplexity. SPDX-License-Identifier: Apache-2.0
 *
 * Counted as llama-perplexity --kl-divergence does: windows of 512 tokens without overlap, each with a fresh context; of every window
 * the positions 256 … 510 predict the tokens behind them. KL divergence is Σ p ln(p / q) with p of the base and q of the measured. */
#ifndef APP_COMPARE_H
#define APP_COMPARE_H
#include "app/local.h"
#include "base/jsonw.h"

enum { COMPARE_WINDOW = 512, COMPARE_FIRST = COMPARE_WINDOW / 2, COMPARE_SCORED = COMPARE_WINDOW - 1 - COMPARE_FIRST };

/* One model under one mode, with pages for one window. */
struct compare_side {
  struct local local;
  struct kv_layout kv;
  void *pages[COMPARE_WINDOW / KV_PAGE_TOKENS];
  float *logits; /* [COMPARE_SCORED, n_vocab] */
  double loss;   /* Σ −ln q(token) */
};

struct compare_result {
  size_t windows, tokens; /* tokens: scored positions */
  double kl_mean, kl_median, kl_p99, kl_max, top1, perplexity, perplexity_base;
};

/* rows_max and out_rows_max of the options are set here. A model that does not generate text, or has too small a window, is refused. */
int compare_open(struct compare_side *s, const struct local_options *options, struct error *err);
void compare_close(struct compare_side *s); /* fine on {0} */
/* At least COMPARE_WINDOW ids; the rest behind the last whole window is left out. */
int compare_run(struct compare_side *base, struct compare_side *measured, const struct ids *ids, struct compare_result *ret,
                struct error *err);
void compare_write(struct jsonw *w, const struct compare_result *r); /* members of an open object */

#endif
