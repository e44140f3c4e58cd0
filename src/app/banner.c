/* banner: see banner.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/banner.h"

#include <stdlib.h>
#include <string.h>

#include "app/data_dir.h"

/* An address that can be typed on this machine. */
static void add_url(const struct banner *b, struct buf *out) {
  const char *host = b->host;
  if (strcmp(host, "0.0.0.0") == 0) host = "127.0.0.1";
  if (strcmp(host, "::") == 0) host = "::1";
  buf_printf(out, strchr(host, ':') ? "http://[%s]:%d" : "http://%s:%d", host, b->port);
}

/* Needs no quoting, neither in a shell nor in JSON. */
static bool is_plain(const char *name) {
  return name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")] == '\0';
}

static const struct endpoint *first_of(const struct serving *s, bool embeddings) {
  for (size_t i = 0; i < serving_n_endpoints(s); i++) {
    const struct endpoint *e = serving_endpoint_at(s, i);
    if (e->state != SERVING_FAILED && is_plain(e->name) && (e->task == SERVING_EMBEDDINGS) == embeddings) return e;
  }
  return NULL;
}

/* In single quotes for a shell. */
static void add_quoted(struct buf *out, const char *text) {
  buf_add_byte(out, '\'');
  for (; *text; text++) {
    if (*text == '\'') buf_add_cstr(out, "'\\''");
    else buf_add_byte(out, (unsigned char)*text);
  }
  buf_add_byte(out, '\'');
}

static void add_curl(const struct banner *b, const char *token, const char *token_file, struct buf *out) {
  const struct endpoint *e = first_of(b->serving, false);
  bool embeds = !e;
  if (!e) e = first_of(b->serving, true);
  if (!e) return;
  bool chats = e->task == SERVING_CHAT;
  buf_add_cstr(out, "\nTry it:\n\n  curl -N ");
  add_url(b, out);
  buf_add_cstr(out, embeds ? "/v1/embeddings" : chats ? "/v1/chat/completions" : "/v1/completions");
  if (b->auth && *token) {
    buf_printf(out, " -H 'Authorization: Bearer %s'", token);
  } else if (b->auth) {
    buf_add_cstr(out, " -H \"Authorization: Bearer $(cat ");
    add_quoted(out, token_file);
    buf_add_cstr(out, ")\"");
  }
  buf_printf(out, " -H 'Content-Type: application/json' -d '{\"model\":\"%s\",", e->name);
  if (embeds) buf_add_cstr(out, "\"input\":\"Hello!\"}'\n\n");
  else if (chats) buf_add_cstr(out, "\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Hello!\"}]}'\n\n");
  else buf_add_cstr(out, "\"stream\":true,\"prompt\":\"Hello\",\"max_tokens\":64}'\n\n");
}

static void add_token(const struct banner *b, const char *token, const char *token_file, struct buf *out) {
  if (!b->auth) buf_add_cstr(out, "  Token      none is asked for (--no-auth)\n");
  else if (!*token) buf_printf(out, "  Token      not in %s any more; make a new one with: plinth token reset\n", token_file);
  else if (b->show_token) buf_printf(out, "  Token      %s\n", token);
  else buf_printf(out, "  Token      in %s\n", token_file);
}

void banner_write(const struct banner *b, struct buf *out) {
  struct buf token = {0};
  char *token_file = data_dir_token_path(b->data_dir);
  buf_add_cstr(&token, "");
  if (b->auth) (void)data_dir_token_read(b->data_dir, b->store, &token, NULL);
  buf_printf(out, "Plinth %s\n\n  URL        ", PLINTH_VERSION);
  add_url(b, out);
  buf_add_byte(out, '\n');
  add_token(b, token.data, token_file, out);
  for (size_t i = 0; i < serving_n_endpoints(b->serving); i++) {
    const struct endpoint *e = serving_endpoint_at(b->serving, i);
    buf_printf(out, "  %-10s %s, %s\n", i ? "" : "Endpoints", e->name,
               e->state == SERVING_FAILED ? e->failure : serving_task_name(e->task));
  }
  add_curl(b, b->show_token ? token.data : "", token_file, out);
  free(token_file);
  buf_free(&token);
}
