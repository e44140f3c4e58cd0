/* normalizer_bert: the normalizer of BERT. SPDX-License-Identifier: Apache-2.0 */
#ifndef TEXT_NORMALIZER_BERT_H
#define TEXT_NORMALIZER_BERT_H
#include "text/normalizer.h"

/* Appends text cleaned, with ideographs set off by spaces, without accents and in lower case, each as the step asks, in this
 * order. Lower case comes last and is taken character by character. */
void normalizer_bert(const struct normalizer_step *step, struct slice text, struct buf *out);

#endif
