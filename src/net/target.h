/* target: the request target, taken apart. Private to net. SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_TARGET_H
#define NET_TARGET_H
#include <stdbool.h>
#include <stddef.h>

/* Where path and query lie, as offsets from the target's first byte. */
struct target {
  size_t path_at, path_len, query_at, query_len;
};

/* Accepts "/path?query", "http://host/path?query" (also https) and "*". Decodes the percent-escapes of the path in place (so the
 * bytes of text change). NULL on success; else a sentence for the client, and text is undefined. */
const char *target_parse(char *text, size_t len, struct target *ret);

#endif
