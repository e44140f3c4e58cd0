/* page: what a browser or a bare curl finds at /. Private to api. SPDX-License-Identifier: Apache-2.0 */
#ifndef API_PAGE_H
#define API_PAGE_H
#include "api/private.h"

/* host: of the request's Host header, maybe empty. */
void page_write(const struct api *a, struct slice host, struct buf *out);

#endif
