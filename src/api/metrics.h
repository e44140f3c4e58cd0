/* metrics: counters of the gateway and their text for Prometheus. Private to api; loop thread. SPDX-License-Identifier: Apache-2.0 */
#ifndef API_METRICS_H
#define API_METRICS_H
#include "api/private.h"

struct metrics *metrics_create(void);
void metrics_free(struct metrics *m);

/* One reply with its status; a stream counts when it begins. */
void metrics_request(struct metrics *m, enum api_route route, int status);
void metrics_stream_error(struct metrics *m, enum api_route route); /* a stream that ended with an error */
void metrics_cancelled(struct metrics *m);                          /* the client left before the end */
void metrics_first_token(struct metrics *m, uint64_t ns);
void metrics_inter_token(struct metrics *m, uint64_t ns);
void metrics_tokens(struct metrics *m, int endpoint, size_t prompt_tokens, size_t completion_tokens);

/* Appends the text format 0.0.4. */
void metrics_write(const struct metrics *m, const struct api *a, struct buf *out);

#endif
