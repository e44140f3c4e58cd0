/* hub_settings: what the environment says about the hub; see hub.h. SPDX-License-Identifier: Apache-2.0
 * The same variables and files as huggingface_hub's, so that who has logged in there is logged in here. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/fs.h"
#include "base/mem.h"
#include "intake/hub.h"

enum { TOKEN_BYTES_MAX = 4096 };

#define DEFAULT_ENDPOINT "https://huggingface.co"

static const char *value_of(const char *name) {
  const char *text = getenv(name);
  return text && *text ? text : NULL;
}

static bool is_set(const char *name) {
  const char *text = value_of(name);
  return text && (strcmp(text, "1") == 0 || strcasecmp(text, "true") == 0 || strcasecmp(text, "yes") == 0 || strcasecmp(text, "on") == 0);
}

static char *home(void) {
  const char *own = value_of("HF_HOME"), *cache = value_of("XDG_CACHE_HOME"), *user = value_of("HOME");
  if (own) return mem_strdup(own);
  if (cache) return fs_join(cache, "huggingface");
  return fs_join(user ? user : "/", ".cache/huggingface");
}

/* The text without white space around it; refused when it could break out of a header. */
static int set_token(struct hub_settings *s, struct slice text, const char *where, struct error *err) {
  while (text.len && isspace((unsigned char)text.data[0])) text = slice_from(text, 1);
  while (text.len && isspace((unsigned char)text.data[text.len - 1])) text.len--;
  for (size_t i = 0; i < text.len; i++)
    if (text.data[i] <= 0x20 || text.data[i] > 0x7E)
      return error_set(err, ERROR_INVALID, "%s holds no token: a token is one word of plain characters.", where);
  if (text.len) s->token = mem_dup(text.data, text.len);
  return 0;
}

static int read_token(struct hub_settings *s, const char *home_dir, struct error *err) {
  const char *text = value_of("HF_TOKEN") ? value_of("HF_TOKEN") : value_of("HUGGING_FACE_HUB_TOKEN");
  if (text) return set_token(s, slice_cstr(text), "HF_TOKEN", err);
  char *path = value_of("HF_TOKEN_PATH") ? mem_strdup(value_of("HF_TOKEN_PATH")) : fs_join(home_dir, "token");
  struct buf bytes = {0};
  int result = 0;
  if (fs_exists(path) && (result = fs_read(path, TOKEN_BYTES_MAX, &bytes, err)) == 0) result = set_token(s, buf_view(&bytes), path, err);
  buf_free(&bytes);
  free(path);
  return result;
}

/* user:password@ goes out of the authority; what does not look like an address loses everything up to the last @. */
static char *without_password(const char *url) {
  const char *colon = strstr(url, "://"), *begin = colon ? colon + 3 : url;
  size_t len = colon ? strcspn(begin, "/?#") : strlen(begin);
  const char *at = memrchr(begin, '@', len);
  struct buf out = {0};
  buf_add(&out, url, (size_t)(begin - url));
  buf_add_cstr(&out, at ? at + 1 : begin);
  return out.data ? out.data : mem_strdup("");
}

int hub_settings_read(struct hub_settings *s, struct error *err) {
  *s = (struct hub_settings){0};
  char *home_dir = home();
  const char *endpoint = value_of("HF_ENDPOINT"), *cache = value_of("HF_HUB_CACHE");
  const char *ca = value_of("CURL_CA_BUNDLE") ? value_of("CURL_CA_BUNDLE") : value_of("REQUESTS_CA_BUNDLE");
  if (!ca) ca = value_of("SSL_CERT_FILE");
  s->endpoint = mem_strdup(endpoint ? endpoint : DEFAULT_ENDPOINT);
  for (size_t n = strlen(s->endpoint); n && s->endpoint[n - 1] == '/'; n--) s->endpoint[n - 1] = '\0';
  s->shown = without_password(s->endpoint);
  s->cache = cache ? mem_strdup(cache) : fs_join(home_dir, "hub");
  s->ca_file = ca ? mem_strdup(ca) : NULL;
  s->offline = is_set("HF_HUB_OFFLINE") || is_set("TRANSFORMERS_OFFLINE");
  int result = 0;
  if (strncmp(s->endpoint, "http://", 7) != 0 && strncmp(s->endpoint, "https://", 8) != 0)
    result = error_set(err, ERROR_INVALID, "HF_ENDPOINT is \"%.100s\"; it must begin with https:// or http://.", s->shown);
  if (result == 0) result = read_token(s, home_dir, err);
  free(home_dir);
  if (result < 0) hub_settings_free(s);
  return result;
}

void hub_settings_free(struct hub_settings *s) {
  free(s->endpoint);
  free(s->shown);
  free(s->token);
  free(s->cache);
  free(s->ca_file);
  *s = (struct hub_settings){0};
}
