/* fault: what goes back to the caller of the API when a request fails, in either dialect. Private to api.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef API_FAULT_H
#define API_FAULT_H
#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"

/* Chosen by the path: OpenAI's under /v1, Databricks' everywhere else. */
enum dialect { DIALECT_OPENAI, DIALECT_DATABRICKS };

struct fault {
  int status;             /* HTTP */
  const char *code;       /* OpenAI's `code`, static; NULL writes null */
  const char *error_code; /* Databricks' `error_code`, static; NULL: by status */
  unsigned retry_after_s; /* 0: no Retry-After */
  char param[128];        /* the field at fault, e.g. "messages[0].content"; empty for none */
  char message[1024];     /* a sentence for the caller */
};

enum dialect fault_dialect(struct slice path);

/* Fills f (status 400 with fault_field) and returns -1. param may be NULL. */
int fault_set(struct fault *f, int status, const char *code, const char *param, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
int fault_field(struct fault *f, const char *code, const char *param, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* From an error of a room below; what is ours to mend is not told in detail. Returns -1. */
int fault_from_error(struct fault *f, const struct error *err);

/* Appends the JSON body of the reply. */
void fault_write(const struct fault *f, enum dialect dialect, struct buf *out);
/* Appends the event that ends a stream which had begun: `data: {"error":…}` and an empty line. Databricks' fields stand beside
 * OpenAI's there, so that either client finds what it looks for. */
void fault_write_event(const struct fault *f, enum dialect dialect, struct buf *out);

#endif
