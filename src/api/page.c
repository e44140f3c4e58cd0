/* page: see page.h. SPDX-License-Identifier: Apache-2.0 */
#include "api/page.h"

#include <stdio.h>
#include <string.h>

static void add_html(struct buf *out, const char *text) {
  for (; *text; text++) {
    switch (*text) {
      case '<': buf_add_cstr(out, "&lt;"); break;
      case '>': buf_add_cstr(out, "&gt;"); break;
      case '&': buf_add_cstr(out, "&amp;"); break;
      case '"': buf_add_cstr(out, "&quot;"); break;
      default: buf_add_byte(out, (unsigned char)*text);
    }
  }
}

/* A Host header goes onto the page only when it can be nothing but a host and a port. */
static bool plain_host(struct slice host) {
  if (host.len == 0 || host.len > 255) return false;
  for (size_t i = 0; i < host.len; i++) {
    char c = host.data[i];
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr(".-:[]", c));
    if (!plain) return false;
  }
  return true;
}

static void add_curl(const struct api *a, const struct endpoint *e, const char *host, struct buf *out) {
  bool embeds = e->task == SERVING_EMBEDDINGS, chats = e->task == SERVING_CHAT;
  const char *route = embeds ? "embeddings" : chats ? "chat/completions" : "completions";
  buf_printf(out, "<pre>curl http://%s/v1/%s", host, route);
  if (serving_auth_required(a->serving)) buf_add_cstr(out, " -H \"Authorization: Bearer $PLINTH_TOKEN\"");
  buf_add_cstr(out, " -d '{\"model\": \"");
  add_html(out, e->name);
  if (embeds) buf_add_cstr(out, "\", \"input\": \"Hello\"}'</pre>\n");
  else if (chats) buf_add_cstr(out, "\", \"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}], \"max_tokens\": 64}'</pre>\n");
  else buf_add_cstr(out, "\", \"prompt\": \"Once upon a time\", \"max_tokens\": 32}'</pre>\n");
}

void page_write(const struct api *a, struct slice host, struct buf *out) {
  char name[280];
  if (plain_host(host)) snprintf(name, sizeof name, "%.*s", SLICE_ARG(host));
  else snprintf(name, sizeof name, "127.0.0.1:%d", net_port(a->net));
  buf_add_cstr(out,
               "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Plinth</title>"
               "<style>body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
               "pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#eee;padding:.5em}</style></head><body>\n");
  buf_printf(out, "<h1>Plinth %s</h1>\n<p>This server speaks the OpenAI API under <code>/v1</code> and the Databricks API under ",
             a->version);
  buf_add_cstr(out, "<code>/serving-endpoints</code> and <code>/api/2.0/serving-endpoints</code>.</p>\n");
  if (serving_auth_required(a->serving))
    buf_add_cstr(out, "<p>The token is in the file <code>admin-token</code> of the data folder.</p>\n");
  for (size_t i = 0; i < serving_n_endpoints(a->serving); i++) {
    const struct endpoint *e = serving_endpoint_at(a->serving, i);
    buf_add_cstr(out, "<h2>");
    add_html(out, e->name);
    buf_printf(out, "</h2>\n<p>%s, %s</p>\n", serving_task_name(e->task),
               e->state == SERVING_READY     ? "ready"
               : e->state == SERVING_LOADING ? "loading"
               : e->state == SERVING_STOPPED ? "stopped"
                                             : "failed");
    add_curl(a, e, name, out);
  }
  buf_add_cstr(out,
               "<p><a href=\"/health\">health</a> <a href=\"/readyz\">readyz</a> <a href=\"/metrics\">metrics</a></p>\n</body></html>\n");
}
