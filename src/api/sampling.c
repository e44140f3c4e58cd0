/* sampling: see sampling.h. SPDX-License-Identifier: Apache-2.0 */
#include "api/sampling.h"

#include <stdio.h>

static void write_bias(const struct request *q, struct jsonw *w) {
  if (q->n_biases == 0) {
    jsonw_key_null(w, "logit_bias");
    return;
  }
  jsonw_key(w, "logit_bias");
  jsonw_object_begin(w);
  for (size_t i = 0; i < q->n_biases; i++) {
    char id[16];
    snprintf(id, sizeof id, "%d", (int)q->biases[i].id);
    jsonw_key(w, id);
    jsonw_float(w, q->biases[i].bias);
  }
  jsonw_object_end(w);
}

static void write_stops(const struct request *q, struct jsonw *w) {
  jsonw_key(w, "stop");
  jsonw_array_begin(w);
  for (size_t i = 0; i < q->n_stops; i++) jsonw_str(w, q->stops[i]);
  jsonw_array_end(w);
  jsonw_key(w, "stop_token_ids");
  jsonw_array_begin(w);
  for (size_t i = 0; i < q->n_stop_ids; i++) jsonw_int(w, q->stop_ids[i]);
  jsonw_array_end(w);
}

/* What there is room for, where the request said nothing. */
static size_t max_tokens_of(const struct call *c, const struct choice *ch) {
  const struct prompt *p = &c->prompts.list[ch->prompt_index];
  if (c->request.prompt_only) return 0;
  return p->max_tokens ? p->max_tokens : c->model.context_tokens - p->ids.len;
}

void sampling_write(const struct call *c, const struct choice *ch, struct jsonw *w) {
  const struct request *q = &c->request;
  if (!q->return_sampling) return;
  jsonw_key(w, "sampling");
  jsonw_object_begin(w);
  jsonw_key_real(w, "temperature", q->temperature);
  jsonw_key_real(w, "top_p", q->top_p);
  if (q->top_k > 0) jsonw_key_int(w, "top_k", q->top_k);
  else jsonw_key_null(w, "top_k");
  jsonw_key_real(w, "min_p", q->min_p);
  jsonw_key_real(w, "presence_penalty", q->presence_penalty);
  jsonw_key_real(w, "frequency_penalty", q->frequency_penalty);
  jsonw_key_real(w, "repetition_penalty", q->repetition_penalty);
  write_bias(q, w);
  jsonw_key_int(w, "seed", (int64_t)ch->seed);
  size_t max_tokens = max_tokens_of(c, ch); /* may have given way to the context, below min_tokens */
  jsonw_key_int(w, "max_tokens", (int64_t)max_tokens);
  jsonw_key_int(w, "min_tokens", (int64_t)(q->min_tokens < max_tokens ? q->min_tokens : max_tokens));
  jsonw_key_bool(w, "ignore_eos", q->ignore_eos);
  write_stops(q, w);
  jsonw_object_end(w);
}
