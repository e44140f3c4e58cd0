/* metrics: counters of the gateway and their text for Prometheus. Private to api; loop thread. SPDX-License-Identifier: Apache-2.0
 *
 * What is measured of a generation is counted once for each: a request with n choices, or with several prompts, counts as so many. Times of the
 * queue and of the prefill are the engine's own; the rest is what is seen here. doc/design/metrics.md lists what is written. */
#ifndef API_METRICS_H
#define API_METRICS_H
#include "api/private.h"
#include "base/buf.h"
#include "base/histogram.h"

enum metrics_measure {
  METRICS_FIRST_TOKEN, /* seconds: from the request's arrival to the first token of a choice */
  METRICS_INTER_TOKEN, /* between two tokens of a choice */
  METRICS_QUEUE,       /* in any queue, ours and the engine's; known with the first token or embedding, like the next */
  METRICS_PREFILL,     /* from there to the first token or the embedding */
  METRICS_PER_TOKEN,   /* the mean time of a token after the first; this and what follows when a generation ended well */
  METRICS_DECODE,      /* from the first token to the last */
  METRICS_INFERENCE,   /* prefill and decode */
  METRICS_WHOLE,       /* from the request's arrival to the end */
  METRICS_PROMPT,      /* tokens */
  METRICS_OUTPUT,
  METRICS_MEASURES,
};

enum metrics_end { METRICS_STOP, METRICS_LENGTH, METRICS_CANCELLED, METRICS_FAILED, METRICS_ENDS };

/* What is counted of one model, by its name: it outlives the model. */
struct meter {
  struct meter *next;
  char *model;
  struct histogram measures[METRICS_MEASURES];
  uint64_t ends[METRICS_ENDS];
  uint64_t prompt_tokens, output_tokens; /* of prompts when they were read, each once; of choices as they come */
  uint64_t prefilled_tokens;             /* of the prompt of each generation that came to its first token */
};

enum { METRICS_STATUS_MIN = 100, METRICS_STATUS_END = 600 };

struct metrics {
  int64_t started_s;
  uint64_t requests[API_N_ROUTES][METRICS_STATUS_END - METRICS_STATUS_MIN];
  uint64_t stream_errors[API_N_ROUTES];
  uint64_t cancelled;
  struct meter *meters;
};

struct metrics *metrics_create(void);
void metrics_free(struct metrics *m);

/* One reply with its status; a stream counts when it begins. */
void metrics_request(struct metrics *m, enum api_route route, int status);
void metrics_stream_error(struct metrics *m, enum api_route route); /* a stream that ended with an error */
void metrics_cancelled(struct metrics *m);                          /* the client left before the end */
/* The meter of that model, as long as m lives; made when it is new. */
struct meter *metrics_meter(struct metrics *m, const char *model);

struct choice;
/* A token of ch (prompt_tokens long is its prompt) came, or its embedding: times are taken. */
void metrics_token(struct meter *meter, struct choice *ch, const struct serving_event *event, uint64_t start_ns, size_t prompt_tokens);
/* ch ended: the measures of a whole generation are taken when it ended well. output_tokens as they are billed. */
void metrics_end(struct meter *meter, const struct choice *ch, enum metrics_end end, uint64_t start_ns, size_t prompt_tokens);

/* Appends the text format 0.0.4. */
void metrics_write(struct metrics *m, const struct api *a, struct buf *out);

/* ---- for metrics_text.c and metrics_vllm.c ---- */

/* One family of samples: its name, "counter", "gauge" or "histogram", and what it is. */
void metrics_text_head(struct buf *out, const char *name, const char *type, const char *help);
/* name{labels} value; labels may be "". */
void metrics_text_sample(struct buf *out, const char *name, const char *labels, double value);
/* The lines of h at these bounds, which are among its own. */
void metrics_text_histogram(struct buf *out, const char *name, const char *labels, const struct histogram *h, const double *bounds,
                            size_t n_bounds);
/* The value of a label: backslash, quote and line feed are escaped. */
void metrics_text_label(struct buf *out, const char *value);
void metrics_vllm_write(struct metrics *m, const struct serving *s, struct buf *out);

#endif
