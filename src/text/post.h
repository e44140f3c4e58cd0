/* post: the special tokens that a tokenizer puts around a text. SPDX-License-Identifier: Apache-2.0 */
#ifndef TEXT_POST_H
#define TEXT_POST_H
#include "base/error.h"
#include "base/js.h"
#include "text/text.h"

struct post {
  struct ids before, after;
};

/* Puts what a tokenizer.json post-processor adds to one text around what p holds already; null adds nothing. An unknown type is
 * refused by name. */
int post_add_json(struct post *p, const struct js *json, struct error *err);
void post_deinit(struct post *p);

#endif
