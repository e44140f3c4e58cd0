/* normalizer_spans: where spans of a text lie in its normalized form. SPDX-License-Identifier: Apache-2.0 */
#ifndef TEXT_NORMALIZER_SPANS_H
#define TEXT_NORMALIZER_SPANS_H
#include "text/normalizer.h"
#include "text/text.h"

/* normal is raw, normalized by n; in are spans of raw. *out gets memory of the caller's (free) with at most n_in spans of normal, ascending
 * and disjoint; *ret_n their number. A character that was made of bytes on both sides of an end of a span lies inside. Fails
 * when too many ends lie inside such characters, so that time stays linear. */
int normalizer_spans(const struct normalizer *n, struct slice raw, struct slice normal, const struct jinja_span *in, size_t n_in,
                     struct jinja_span **out, size_t *ret_n, struct error *err);

#endif
