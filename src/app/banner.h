/* banner: what `plinth serve` prints at its start. SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_BANNER_H
#define APP_BANNER_H
#include "base/buf.h"
#include "serving/serving.h"

struct banner {
  const char *host, *data_dir;
  int port;
  bool auth, show_token;
  struct store *store;
  const struct serving *serving;
};

/* URL, endpoints, where the token is (or the token), and a curl line to copy. */
void banner_write(const struct banner *b, struct buf *out);

#endif
