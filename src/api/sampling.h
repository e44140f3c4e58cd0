/* sampling: the values that a choice was made with, in the reply. Private to api. SPDX-License-Identifier: Apache-2.0 */
#ifndef API_SAMPLING_H
#define API_SAMPLING_H
#include "api/call.h"
#include "base/jsonw.h"

/* The member "sampling" of a choice, when the request wants it: an object whose members, put into a request for the same prompt with n 1, give
 * the same choice again. */
void sampling_write(const struct call *c, const struct choice *ch, struct jsonw *w);

#endif
