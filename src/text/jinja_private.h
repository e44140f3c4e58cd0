/* jinja_private: what other files of the room ask of the interpreter. SPDX-License-Identifier: Apache-2.0 */
#ifndef TEXT_JINJA_PRIVATE_H
#define TEXT_JINJA_PRIVATE_H
#include "text/text.h"

struct jinja_default {
  struct slice name, value;
};

struct jinja_job {
  const struct js *context;
  const struct jinja_default *defaults; /* strings that are variables where the context has none of the name */
  size_t n_defaults;
  bool chat; /* as transformers renders a chat; all strings of the context are marked, but for known roles (jinja_chat.h) */
  bool continue_final;
  int64_t now_s;                     /* -1: the clock */
  const struct jinja_limits *limits; /* NULL: the defaults */
  struct buf *out;
  struct jinja_marks *marks; /* NULL: not wanted */
};
int jinja_run_job(const struct jinja *j, const struct jinja_job *job, struct error *err);

#endif
