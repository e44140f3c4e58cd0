/* auth: the caller's token from the Authorization header. Private to api. SPDX-License-Identifier: Apache-2.0 */
#ifndef API_AUTH_H
#define API_AUTH_H
#include "api/private.h"

/* The token in "Bearer TOKEN" or Basic "token:TOKEN", appended to out. False when the header has neither form. */
bool auth_token(struct slice header, struct buf *out);
/* 0 when the caller of x may go on; else -1 with 401 or 403 as the dialect has it. Where no token is asked for, requests that only a
 * page of another site can have caused are refused. */
int auth_check(struct api *a, struct exchange *x, enum dialect dialect, struct fault *f);

#endif
