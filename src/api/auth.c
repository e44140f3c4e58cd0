/* auth: see auth.h. SPDX-License-Identifier: Apache-2.0 */
#include "api/auth.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HEADER_BYTES_MAX = 4096 };

/* The rest of s behind the scheme (any case) and its spaces; false when it begins otherwise. */
static bool behind_scheme(struct slice s, const char *scheme, struct slice *rest) {
  size_t n = strlen(scheme);
  if (s.len <= n || strncasecmp(s.data, scheme, n) != 0 || s.data[n] != ' ') return false;
  s = slice_from(s, n);
  while (s.len && s.data[0] == ' ') s = slice_from(s, 1);
  while (s.len && s.data[s.len - 1] == ' ') s.len--;
  *rest = s;
  return s.len > 0;
}

static int digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}

static bool decode_base64(struct slice s, struct buf *out) {
  while (s.len && s.data[s.len - 1] == '=') s.len--;
  unsigned bits = 0;
  int n_bits = 0;
  for (size_t i = 0; i < s.len; i++) {
    int d = digit(s.data[i]);
    if (d < 0) return false;
    bits = (bits << 6 | (unsigned)d) & 0xffffu;
    n_bits += 6;
    if (n_bits < 8) continue;
    n_bits -= 8;
    buf_add_byte(out, (unsigned char)(bits >> n_bits & 0xff));
  }
  return true;
}

bool auth_token(struct slice header, struct buf *out) {
  struct slice rest;
  if (header.len > HEADER_BYTES_MAX) return false;
  if (behind_scheme(header, "bearer", &rest)) {
    buf_add_slice(out, rest);
    return true;
  }
  struct buf pair = {0};
  bool ok = behind_scheme(header, "basic", &rest) && decode_base64(rest, &pair) && slice_starts(buf_view(&pair), SLICE("token:"));
  if (ok) buf_add_slice(out, slice_from(buf_view(&pair), strlen("token:")));
  buf_free(&pair);
  return ok;
}

static int refuse_missing(enum dialect dialect, struct fault *f) {
  if (dialect == DIALECT_DATABRICKS)
    return fault_set(f, 401, NULL, NULL, "Credential was not sent or was of an unsupported type for this API.");
  return fault_set(
      f, 401, "invalid_api_key", NULL,
      "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: "
      "Bearer YOUR_KEY).");
}

/* Databricks answers 403 to a wrong token, OpenAI 401. */
static int refuse_wrong(enum dialect dialect, struct fault *f) {
  if (dialect == DIALECT_DATABRICKS) return fault_set(f, 403, NULL, NULL, "Invalid access token.");
  return fault_set(f, 401, "invalid_api_key", NULL, "Incorrect API key provided. The admin token is in DATA/admin-token on the server.");
}

/* A host that nobody can have pointed here by a name server: a numeric address, a name without a dot, or one under .localhost. */
static bool is_near(struct slice host) {
  if (slice_starts(host, SLICE("["))) return true;
  const char *colon = memchr(host.data, ':', host.len);
  if (colon) host.len = (size_t)(colon - host.data);
  if (host.len > 1 && host.data[host.len - 1] == '.') host.len--; /* the root may be written out */
  static const char tail[] = ".localhost";
  const size_t n = sizeof tail - 1;
  if (host.len > n && strncasecmp(host.data + host.len - n, tail, n) == 0) return true;
  size_t dots = 0, digits = 0;
  for (size_t i = 0; i < host.len; i++) {
    dots += host.data[i] == '.';
    digits += host.data[i] >= '0' && host.data[i] <= '9';
  }
  return host.len > 0 && (dots == 0 || (dots == 3 && dots + digits == host.len));
}

/* Without tokens a browser on this machine must not become the door for every page it shows: neither by a request to another site
 * (Origin) nor by a name that its owner lets point here (Host; DNS rebinding). */
static int check_page(const struct exchange *x, enum dialect dialect, struct fault *f) {
  const char *code = dialect == DIALECT_DATABRICKS ? NULL : "permission_denied";
  struct slice host;
  if (exchange_header(x, "Host", &host) && !is_near(host))
    return fault_set(f, 403, code, NULL,
                     "With --no-auth only requests to localhost are answered, and this one names another host: call http://localhost, or "
                     "start Plinth without --no-auth and send the token.");
  if (exchange_is_foreign(x))
    return fault_set(f, 403, code, NULL,
                     "With --no-auth pages of other sites are refused: name this page's origin with --cors-origin, or start Plinth without "
                     "--no-auth and send the token.");
  return 0;
}

int auth_check(struct api *a, struct exchange *x, enum dialect dialect, struct fault *f) {
  if (!serving_auth_required(a->serving)) return check_page(x, dialect, f);
  struct slice header;
  struct buf token = {0};
  int result;
  if (!exchange_header(x, "Authorization", &header) || !auth_token(header, &token)) result = refuse_missing(dialect, f);
  else result = serving_authenticate(a->serving, buf_view(&token)) ? 0 : refuse_wrong(dialect, f);
  buf_free(&token);
  return result;
}
