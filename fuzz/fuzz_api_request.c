/* Bodies of requests: any bytes become a typed request or a fault, whatever the route, the task and the dialect.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte picks route, task and dialect; the rest is the body. What comes out is checked: limits hold, ids are in the
 * vocabulary, the list of ignored fields fits into a header, and a fault is valid JSON. */
#include <stdlib.h>
#include <string.h>

#include "api/request.h"

enum { N_VOCAB = 1000 };

/* The room of serving is not needed for this one name. */
const char *serving_task_name(enum serving_task task);
const char *serving_task_name(enum serving_task task) { return task == SERVING_EMBEDDINGS ? "llm/v1/embeddings" : "llm/v1/chat"; }

static void require(bool fact) {
  if (!fact) abort();
}

static void check_fault(const struct fault *f, enum dialect dialect) {
  struct buf body = {0};
  require(f->status == 400 && f->message[0]);
  fault_write(f, dialect, &body);
  struct js *v = js_parse(buf_view(&body), NULL);
  require(v != NULL);
  js_free(v);
  buf_free(&body);
}

static void check_texts(const struct request *q) {
  for (size_t i = 0; i < q->n_texts; i++)
    for (size_t k = 0; k < q->texts[i].n_ids; k++) require(q->texts[i].ids[k] >= 0 && q->texts[i].ids[k] < N_VOCAB);
}

static void check_sampling(const struct request *q) {
  require(q->temperature >= 0 && q->temperature <= 2 && q->top_p > 0 && q->top_p <= 1 && q->top_k >= 0 && q->min_p >= 0 && q->min_p <= 1);
  require(q->presence_penalty >= -2 && q->presence_penalty <= 2 && q->frequency_penalty >= -2 && q->frequency_penalty <= 2);
  require(q->repetition_penalty > 0 && q->repetition_penalty <= 100);
  require(q->n_biases <= REQUEST_BIASES_MAX && q->n_stop_ids <= REQUEST_STOP_IDS_MAX);
  for (size_t i = 0; i < q->n_biases; i++) {
    const struct serving_bias *b = &q->biases[i];
    require(b->id >= 0 && b->id < N_VOCAB && b->bias >= -100 && b->bias <= 100 && (i == 0 || b->id > b[-1].id));
  }
  for (size_t i = 0; i < q->n_stop_ids; i++) require(q->stop_ids[i] >= 0 && q->stop_ids[i] < N_VOCAB);
  require(!q->max_tokens || q->min_tokens <= q->max_tokens);
}

static void check_request(const struct request *q, const struct request_rules *rules) {
  check_sampling(q);
  require(q->n >= 1 && q->n <= REQUEST_N_MAX && q->n * q->n_texts <= REQUEST_BATCH_MAX);
  require(q->n_stops <= REQUEST_STOPS_MAX && q->top_logprobs <= SERVING_TOP_LOGPROBS_MAX);
  for (size_t i = 0; i < q->n_stops; i++) require(q->stops[i].len > 0);
  require(q->kind == REQUEST_CHAT ? q->context.len > 0 : q->n_texts > 0);
  require(rules->task != SERVING_EMBEDDINGS || q->kind == REQUEST_EMBEDDING);
  for (const char *c = q->ignored; c && *c; c++) require(*c >= ' ' && *c < 0x7f);
  require(!q->ignored || strlen(q->ignored) < 2048);
  check_texts(q);
  if (!q->context.len) return;
  struct js *context = js_parse(q->context, NULL);
  require(context != NULL);
  js_free(context);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1) return 0;
  struct request_rules rules = {.dialect = data[0] & 1 ? DIALECT_OPENAI : DIALECT_DATABRICKS,
                                .route = (enum request_route)(data[0] >> 1 & 3),
                                .task = (enum serving_task)((data[0] >> 3) % 3),
                                .endpoint = SLICE("m"),
                                .n_embd = 384,
                                .n_vocab = N_VOCAB};
  struct js *body = js_parse(slice_make(data + 1, size - 1), NULL);
  if (!body) return 0;
  struct request q;
  struct fault f;
  if (request_read(body, &rules, &q, &f) == 0) check_request(&q, &rules);
  else check_fault(&f, rules.dialect);
  js_free(body);
  request_free(&q);
  return 0;
}
