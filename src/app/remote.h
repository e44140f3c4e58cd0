/* remote: a client of the server's OpenAI-compatible API. SPDX-License-Identifier: Apache-2.0
 * Ctrl-C closes the connection, which ends the work on the server. */
#ifndef APP_REMOTE_H
#define APP_REMOTE_H
#include "app/generate.h"
#include "base/js.h"
#include "base/jsonw.h"

struct curl_slist;

/* Streams POST URL/v1/PATH (chat/completions or completions) to p. body: a JSON object with "stream": true. */
int remote_stream(const char *url, const char *path, struct slice body, struct generate_printer *p, enum generate_end *ret_end,
                  struct error *err);
/* POST URL/v1/PATH; the parsed answer, or NULL. Free it with js_free. */
struct js *remote_call(const char *url, const char *path, struct slice body, struct error *err);
/* POST (with body) or GET (body NULL) URL/PATH; the parsed answer, or NULL. */
struct js *remote_ask(const char *url, const char *path, const struct slice *body, struct error *err);
/* Appends the address of URL/v1/PATH; url is "http://host:8080", with or without "/v1" and slashes behind it. */
void remote_build_url(const char *url, const char *path, struct buf *out);
/* What every request sends: its type, and PLINTH_TOKEN as the key. curl_slist_free_all it. */
struct curl_slist *remote_headers(void);
/* The server's message in an error body of either dialect. */
bool remote_error_message(const struct js *body, struct slice *out);
/* Opens the body's object with the model's name and the sampling; the caller adds its own members and ends it. */
void remote_begin_body(struct jsonw *w, const char *model, const struct generate_sampling *s);

#endif
