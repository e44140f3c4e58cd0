/* certificate: what a file lost against the model that it was made from. SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_CERTIFICATE_H
#define APP_CERTIFICATE_H
#include "base/buf.h"
#include "base/error.h"

struct certificate_options {
  const char *source, *file; /* paths of both models */
  const char *to;            /* the type asked for */
  const char *text;          /* a path; NULL: the text inside the program */
  size_t tokens;             /* at most so many of it */
  int threads;
  bool json; /* what summary gets: the JSON, or a sentence */
};

/* Runs both models in fp32, writes FILE without ".gguf" + ".certificate.json", appends to summary. */
int certificate_make(const struct certificate_options *o, struct buf *summary, struct error *err);

/* The text inside the program (bench/text.txt). */
extern const unsigned char certificate_text[];
extern const size_t certificate_text_bytes;

#endif
