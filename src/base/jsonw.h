/* jsonw: writes JSON straight into a buffer, without a tree. SPDX-License-Identifier: Apache-2.0
 *
 * Commas are placed by the writer. Strings must be UTF-8; an invalid byte run is written as U+FFFD, so the output is always
 * valid. No white space. Usage: struct jsonw w = {.out = &buf}; jsonw_object_begin(&w); jsonw_key(&w, "n"); jsonw_int(&w, 1); … */
#ifndef BASE_JSONW_H
#define BASE_JSONW_H
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/js.h"

struct jsonw {
  struct buf *out; /* borrowed */
  bool comma;      /* a value stands before the next one */
};

void jsonw_object_begin(struct jsonw *w);
void jsonw_object_end(struct jsonw *w);
void jsonw_array_begin(struct jsonw *w);
void jsonw_array_end(struct jsonw *w);
void jsonw_key(struct jsonw *w, const char *key);
void jsonw_key_slice(struct jsonw *w, struct slice key);

void jsonw_str(struct jsonw *w, struct slice s);
void jsonw_cstr(struct jsonw *w, const char *s); /* NULL writes null */
void jsonw_int(struct jsonw *w, int64_t v);
void jsonw_real(struct jsonw *w, double v); /* shortest text that reads back as v; a value that is not finite writes null */
void jsonw_float(struct jsonw *w, float v); /* shortest text that reads back as the same float */
void jsonw_bool(struct jsonw *w, bool v);
void jsonw_null(struct jsonw *w);
void jsonw_raw(struct jsonw *w, struct slice json);    /* text that is one JSON value already */
void jsonw_value(struct jsonw *w, const struct js *v); /* a parsed value, whole */

/* key and value in one call */
void jsonw_key_str(struct jsonw *w, const char *key, struct slice s);
void jsonw_key_cstr(struct jsonw *w, const char *key, const char *s);
void jsonw_key_int(struct jsonw *w, const char *key, int64_t v);
void jsonw_key_real(struct jsonw *w, const char *key, double v);
void jsonw_key_bool(struct jsonw *w, const char *key, bool v);
void jsonw_key_null(struct jsonw *w, const char *key);

#endif
