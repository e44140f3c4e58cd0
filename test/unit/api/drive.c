/* drive: see drive.h. SPDX-License-Identifier: Apache-2.0 */
#include "drive.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

int drive_setup(void **state) {
  struct drive *d = mem_zalloc(1, sizeof *d);
  d->api = api_create(&(struct api_config){.version = "1.2.3", .metrics_vllm = true});
  d->net = fake_net_create(d->api);
  d->serving = fake_serving_create(net_loop(d->net));
  d->engine = fake_serving(d->serving);
  api_attach(d->api, d->net, d->serving);
  *state = d;
  return 0;
}

static void forget(struct drive *d) {
  js_free(d->reply);
  d->reply = NULL;
  for (size_t i = 0; i < d->n_events; i++) js_free(d->events[i]);
  d->n_events = 0;
  d->done_event = false;
  exchange_free(&d->x);
}

int drive_teardown(void **state) {
  struct drive *d = *state;
  forget(d);
  fake_net_destroy(d->net);
  fake_serving_destroy(d->serving);
  api_destroy(d->api);
  free(d);
  return 0;
}

void drive_arrive(struct drive *d, const char *method, const char *path, struct slice body) {
  forget(d);
  d->x = (struct exchange){.method = method, .path = path, .body = body};
  fake_net_arrive(d->net, &d->x);
}

bool drive_turn(struct drive *d) {
  bool posts = fake_net_turn(d->net) > 0;
  return fake_serving_step(d->serving) || posts;
}

static void read_events(struct drive *d) {
  struct slice rest = buf_view(&d->x.out);
  struct error err;
  while (rest.len) {
    assert_true(slice_starts(rest, SLICE("data: ")));
    const char *end = memmem(rest.data, rest.len, "\n\n", 2);
    assert_non_null(end);
    struct slice data = slice_make(rest.data + 6, (size_t)(end - rest.data) - 6);
    rest = slice_from(rest, (size_t)(end - rest.data) + 2);
    assert_false(d->done_event);
    if (slice_eq(data, SLICE("[DONE]"))) {
      d->done_event = true;
      continue;
    }
    assert_true(d->n_events < 512);
    d->events[d->n_events] = js_parse(data, &err);
    if (!d->events[d->n_events]) fail_msg("%s in %.*s", err.message, SLICE_ARG(data));
    d->n_events++;
  }
}

void drive_rest(struct drive *d) {
  while (drive_turn(d)) continue;
  struct error err;
  if (d->x.streamed) read_events(d);
  else if (d->x.status && strcmp(d->x.content_type, "application/json") == 0) {
    d->reply = js_parse(buf_view(&d->x.out), &err);
    if (!d->reply) fail_msg("%s in %s", err.message, d->x.out.data);
  }
}

int drive(struct drive *d, const char *method, const char *path, const char *body) {
  drive_arrive(d, method, path, slice_cstr(body));
  drive_rest(d);
  return d->x.status;
}

int drive_post(struct drive *d, const char *path, const char *body) { return drive(d, "POST", path, body); }
int drive_get(struct drive *d, const char *path) { return drive(d, "GET", path, NULL); }

const struct js *drive_at(const struct js *v, const char *path) {
  while (*path) {
    size_t n = strcspn(path, ".");
    char *end;
    long index = strtol(path, &end, 10);
    v = end == path + n ? js_at(v, (size_t)index) : js_getn(v, slice_make(path, n));
    path += n + (path[n] == '.');
  }
  return v;
}

void drive_str(const struct js *v, const char *path, const char *want) {
  struct slice s;
  if (!js_str(drive_at(v, path), &s)) fail_msg("%s is %s, not the string %s", path, js_type_name(drive_at(v, path)), want);
  if (!slice_eq(s, slice_cstr(want))) fail_msg("%s is \"%.*s\", not \"%s\"", path, SLICE_ARG(s), want);
}

void drive_int(const struct js *v, const char *path, int64_t want) {
  int64_t got;
  if (!js_int(drive_at(v, path), &got)) fail_msg("%s is %s, not the integer %lld", path, js_type_name(drive_at(v, path)), (long long)want);
  if (got != want) fail_msg("%s is %lld, not %lld", path, (long long)got, (long long)want);
}

void drive_type(const struct js *v, const char *path, enum js_type want) {
  if (js_type(drive_at(v, path)) != want) fail_msg("%s is %s", path, js_type_name(drive_at(v, path)));
}

static struct slice piece(const struct js *choice) {
  struct slice s = {0};
  if (js_str(drive_at(choice, "message.content"), &s) || js_str(drive_at(choice, "delta.content"), &s)) return s;
  js_str(js_get(choice, "text"), &s);
  return s;
}

static void collect(const struct js *v, int index, struct buf *out) {
  const struct js *choices = js_get(v, "choices");
  for (size_t i = 0; i < js_len(choices); i++) {
    int64_t at = -1;
    js_int(js_get(js_at(choices, i), "index"), &at);
    if (at == index) buf_add_slice(out, piece(js_at(choices, i)));
  }
}

const char *drive_text(struct drive *d, int index) {
  static char text[65536];
  struct buf all = {0};
  if (d->reply) collect(d->reply, index, &all);
  for (size_t i = 0; i < d->n_events; i++) collect(d->events[i], index, &all);
  assert_true(all.len < sizeof text);
  memcpy(text, all.len ? all.data : "", all.len);
  text[all.len] = '\0';
  buf_free(&all);
  return text;
}

static void check_words(const struct js *message, const char *words) {
  struct slice s;
  assert_true(js_str(message, &s));
  if (!memmem(s.data, s.len, words, strlen(words))) fail_msg("\"%.*s\" does not say \"%s\"", SLICE_ARG(s), words);
}

void drive_refused(struct drive *d, const char *path, const char *body, const char *param, const char *words) {
  int status = drive_post(d, path, body);
  if (status != 400) fail_msg("%d for %s: %s", status, body, d->x.out.data);
  if (strncmp(path, "/v1", 3) != 0) {
    drive_str(d->reply, "error_code", "BAD_REQUEST");
    check_words(js_get(d->reply, "message"), words);
    return;
  }
  if (param) drive_str(d->reply, "error.param", param);
  else drive_type(d->reply, "error.param", JS_NULL);
  drive_str(d->reply, "error.type", "invalid_request_error");
  check_words(drive_at(d->reply, "error.message"), words);
}
