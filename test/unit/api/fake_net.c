/* fake_net: see fake_net.h. SPDX-License-Identifier: Apache-2.0 */
#include "fake_net.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/mem.h"

enum { POSTS_MAX = 4096 };

struct loop_timer {
  void (*fn)(void *arg);
  void *arg;
  bool cancelled;
};

struct net {
  struct loop loop;
  struct net_config config;
  struct {
    void (*fn)(void *arg);
    void *arg;
    struct loop_timer *timer;
  } posts[POSTS_MAX];
  size_t n_posts;
};

static void post(struct loop *l, void (*fn)(void *arg), void *arg) {
  struct net *n = (struct net *)l;
  assert(n->n_posts < POSTS_MAX);
  n->posts[n->n_posts].fn = fn;
  n->posts[n->n_posts].timer = NULL;
  n->posts[n->n_posts++].arg = arg;
}

/* No clock here: a timer fires on the next turn. */
static struct loop_timer *timer_start(struct loop *l, unsigned delay_ms, bool repeat, void (*fn)(void *arg), void *arg) {
  (void)delay_ms;
  assert(!repeat);
  struct loop_timer *t = mem_zalloc(1, sizeof *t);
  t->fn = fn;
  t->arg = arg;
  post(l, NULL, NULL);
  struct net *n = (struct net *)l;
  n->posts[n->n_posts - 1].timer = t;
  return t;
}

static void timer_cancel(struct loop_timer *t) { t->cancelled = true; }

static const struct loop_ops ops = {.post = post, .timer_start = timer_start, .timer_cancel = timer_cancel};

struct net *fake_net_create(struct api *a) {
  struct net *n = mem_zalloc(1, sizeof *n);
  n->loop.ops = &ops;
  api_hook(a, &n->config);
  return n;
}

void fake_net_destroy(struct net *n) {
  for (size_t i = 0; i < n->n_posts; i++) free(n->posts[i].timer);
  free(n);
}

struct loop *net_loop(struct net *n) { return &n->loop; }
int net_port(const struct net *n) {
  (void)n;
  return 8080;
}

void fake_net_arrive(struct net *n, struct exchange *x) { n->config.on_request(n->config.ctx, x); }
size_t fake_net_body_limit(struct net *n, const char *path) { return n->config.body_limit(n->config.ctx, slice_cstr(path)); }
bool fake_net_wants_body(struct net *n, struct exchange *x) { return n->config.wants_body(n->config.ctx, x); }
void fake_net_error(struct net *n, const char *path, int status, const char *message, struct buf *out) {
  n->config.write_error(n->config.ctx, slice_cstr(path), status, message, out);
}

size_t fake_net_turn(struct net *n) {
  size_t n_now = n->n_posts;
  struct {
    void (*fn)(void *arg);
    void *arg;
    struct loop_timer *timer;
  } now[POSTS_MAX];
  memcpy(now, n->posts, n_now * sizeof *now);
  n->n_posts = 0;
  for (size_t i = 0; i < n_now; i++) {
    struct loop_timer *t = now[i].timer;
    if (!t) now[i].fn(now[i].arg);
    else if (!t->cancelled) t->fn(t->arg);
    free(t);
  }
  return n_now;
}

static void gone(struct exchange *x, bool left) {
  if (x->gone) return;
  x->gone = true;
  if (x->on_gone) x->on_gone(x->owner, left);
}

void fake_net_leave(struct exchange *x) { gone(x, true); }

const char *fake_net_header(const struct exchange *x, const char *name) {
  static char value[2048];
  const char *line = x->headers.data;
  while (line && *line) {
    const char *end = strchr(line, '\n'), *colon = strchr(line, ':');
    if ((size_t)(colon - line) == strlen(name) && strncasecmp(line, name, strlen(name)) == 0) {
      snprintf(value, sizeof value, "%.*s", (int)(end - colon - 2), colon + 2);
      return value;
    }
    line = end + 1;
  }
  return NULL;
}

void exchange_free(struct exchange *x) {
  buf_free(&x->headers);
  buf_free(&x->out);
  *x = (struct exchange){0};
}

/* ---- what net offers ---- */

struct slice exchange_method(const struct exchange *x) { return slice_cstr(x->method); }
struct slice exchange_path(const struct exchange *x) { return slice_cstr(x->path); }
struct slice exchange_body(const struct exchange *x) { return x->body; }

bool exchange_header(const struct exchange *x, const char *name, struct slice *ret_value) {
  const char *value = NULL;
  if (strcasecmp(name, "authorization") == 0) value = x->authorization;
  else if (strcasecmp(name, "host") == 0) value = x->host;
  else if (strcasecmp(name, "content-encoding") == 0) value = x->encoding;
  if (value) *ret_value = slice_cstr(value);
  return value != NULL;
}

bool exchange_is_foreign(const struct exchange *x) { return x->is_foreign; }

void exchange_set_owner(struct exchange *x, void *owner, void (*on_gone)(void *owner, bool left)) {
  x->owner = owner;
  x->on_gone = on_gone;
}

void exchange_add_header(struct exchange *x, const char *name, struct slice value) {
  assert(x->status == 0 && !x->gone);
  assert(!memchr(value.data, '\n', value.len) && !memchr(value.data, '\r', value.len));
  buf_printf(&x->headers, "%s: %.*s\n", name, SLICE_ARG(value));
}

void exchange_reply(struct exchange *x, int status, const char *content_type, struct slice body) {
  assert(x->status == 0 && !x->gone);
  x->status = status;
  x->ended = true;
  snprintf(x->content_type, sizeof x->content_type, "%s", content_type);
  buf_add_slice(&x->out, body);
  gone(x, false);
}

void exchange_stream_begin(struct exchange *x, int status, const char *content_type) {
  assert(x->status == 0 && !x->gone);
  x->status = status;
  x->streamed = true;
  snprintf(x->content_type, sizeof x->content_type, "%s", content_type);
}

bool exchange_stream_write(struct exchange *x, struct slice data) {
  assert(x->streamed && !x->ended && !x->aborted && !x->gone);
  buf_add_slice(&x->out, data);
  x->n_writes++;
  if (x->room == 0 || x->out.len <= x->room) return true;
  gone(x, true);
  return false;
}

void exchange_stream_end(struct exchange *x) {
  assert(x->streamed && !x->ended && !x->aborted && !x->gone);
  x->ended = true;
  gone(x, false);
}

void exchange_stream_abort(struct exchange *x) {
  assert(x->streamed && !x->ended && !x->aborted && !x->gone);
  x->aborted = true;
  gone(x, false);
}
