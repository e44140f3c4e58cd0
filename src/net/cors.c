/* cors: lets pages of chosen origins use the API. SPDX-License-Identifier: Apache-2.0
 *
 * Off by default. Tokens travel in Authorization, never in cookies, so Allow-Credentials is never sent and "*" is safe to offer.
 * Which replies depend on Origin is told by Vary whether or not this request had one, so that a cache does not mix them up. */
#include "net/net_room.h"

static bool any_origin(const struct net_config *config) {
  for (size_t i = 0; i < config->n_cors_origins; i++)
    if (slice_eq(slice_cstr(config->cors_origins[i]), SLICE("*"))) return true;
  return false;
}

static bool allowed(const struct net_config *config, struct slice origin) {
  for (size_t i = 0; i < config->n_cors_origins; i++)
    if (slice_eq(slice_cstr(config->cors_origins[i]), origin)) return true;
  return any_origin(config);
}

bool exchange_is_foreign(const struct exchange *x) {
  struct slice origin, host;
  if (!exchange_header(x, "Origin", &origin) || allowed(&x->conn->net->config, origin)) return false;
  if (!slice_starts(origin, SLICE("http://")) || !exchange_header(x, "Host", &host)) return true;
  return !slice_eq(slice_from(origin, strlen("http://")), host);
}

void net__cors_headers(const struct exchange *x, struct buf *head) {
  const struct net_config *config = &x->conn->net->config;
  if (config->n_cors_origins == 0) return;
  struct slice origin;
  bool any = any_origin(config);
  if (!any) buf_add_cstr(head, "Vary: Origin\r\n");
  if (!http1_header(&x->request, SLICE("origin"), &origin) || !allowed(config, origin)) return;
  buf_add_cstr(head, "Access-Control-Allow-Origin: ");
  buf_add_slice(head, any ? SLICE("*") : origin);
  buf_add_cstr(head, "\r\nAccess-Control-Expose-Headers: X-Request-Id, Retry-After, X-Plinth-Ignored-Fields\r\n");
}

bool net__cors_preflight(struct exchange *x) {
  const struct net_config *config = &x->conn->net->config;
  struct slice origin, method, names;
  if (config->n_cors_origins == 0 || !slice_eq(exchange_method(x), SLICE("OPTIONS"))) return false;
  if (!exchange_header(x, "Origin", &origin) || !exchange_header(x, "Access-Control-Request-Method", &method)) return false;
  if (allowed(config, origin)) {
    exchange_add_header(x, "Access-Control-Allow-Methods", SLICE("GET, HEAD, POST, PUT, PATCH, DELETE"));
    /* "*" would not cover Authorization, so the browser's own list goes back to it */
    if (!exchange_header(x, "Access-Control-Request-Headers", &names)) names = SLICE("Authorization, Content-Type");
    exchange_add_header(x, "Access-Control-Allow-Headers", names);
    exchange_add_header(x, "Access-Control-Max-Age", SLICE("600"));
  }
  exchange_reply(x, 204, NULL, SLICE(""));
  return true;
}
