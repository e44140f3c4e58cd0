/* Control tokens and the caller's text: ids against test/vector/jinja/marks.jsonl. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fs.h"
#include "base/jsonw.h"
#include "text/tokenizer.h"

static char dir[64];

static int make_dir(void **state) {
  (void)state;
  snprintf(dir, sizeof dir, "/tmp/plinth-test-XXXXXX");
  return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
  (void)state;
  static const char *const names[] = {"config.json", "tokenizer_config.json"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    char *path = fs_join(dir, names[i]);
    unlink(path);
    free(path);
  }
  return rmdir(dir);
}

static void put(const char *name, struct slice text) {
  char *path = fs_join(dir, name);
  assert_int_equal(fs_write_atomic(path, text, 0600, NULL), 0);
  free(path);
}

/* ---- the tokenizers of the vectors ---- */

static struct tokenizer *open_smollm2(void) {
  const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
  char path[4096];
  struct error err = {0};
  snprintf(path, sizeof path, "%s%s/plinth/models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf", data && *data ? data : home,
           data && *data ? "" : "/.local/share");
  if (!fs_exists(path)) return NULL;
  struct gguf *g = gguf_open(path, &err);
  assert_non_null(g);
  struct tokenizer *t = tokenizer_open_gguf(g, &err);
  assert_non_null(t);
  gguf_close(g);
  return t;
}

static struct tokenizer *open_vectors(struct slice name) {
  struct buf json = {0}, path = {0};
  struct error err = {0};
  if (slice_eq(name, SLICE("smollm2"))) return open_smollm2();
  buf_printf(&path, "%s/%s/%.*s.json", VECTOR_DIR, slice_eq(name, SLICE("normalized")) ? "jinja" : "tokenizer", SLICE_ARG(name));
  if (fs_read(path.data, 64 << 20, &json, &err) < 0) fail_msg("%s", err.message);
  struct tokenizer *t = tokenizer_open_json(buf_view(&json), SLICE(""), &err);
  if (!t) fail_msg("%s", err.message);
  buf_free(&json);
  buf_free(&path);
  return t;
}

/* ---- one line ---- */

static void check_ids(const struct js *want, const struct ids *got, struct slice line) {
  bool same = js_len(want) == got->len;
  for (size_t i = 0; same && i < got->len; i++) {
    int64_t id;
    same = js_int(js_at(want, i), &id) && id == got->data[i];
  }
  if (same) return;
  for (size_t i = 0; i < got->len; i++) print_error("%d, ", (int)got->data[i]);
  fail_msg("other ids for %.*s", SLICE_ARG(line));
}

static void check_marked(const struct tokenizer *t, const struct js *json, struct slice text, struct slice line) {
  struct jinja_marks marks = {0};
  struct error err = {0};
  struct ids ids = {0};
  const struct js *list = js_get(json, "marks");
  marks.spans = calloc(js_len(list) + 1, sizeof *marks.spans);
  for (; marks.n < js_len(list); marks.n++) {
    int64_t begin = 0, end = 0;
    const struct js *mark = js_at(list, marks.n);
    assert_true(js_int(js_at(mark, 0), &begin) && js_int(js_at(mark, 1), &end));
    marks.spans[marks.n] = (struct jinja_span){(size_t)begin, (size_t)end};
  }
  if (tokenizer__encode_marked(t, text, &marks, &ids, &err) < 0) fail_msg("%s: %.*s", err.message, SLICE_ARG(line));
  check_ids(js_get(json, "ids"), &ids, line);
  jinja_marks_free(&marks);
  ids_free(&ids);
}

static void put_config(const struct js *json, struct slice template) {
  struct buf config = {0};
  struct jsonw w = {.out = &config};
  const struct js *tokens = js_get(json, "tokens");
  jsonw_object_begin(&w);
  jsonw_key_str(&w, "chat_template", template);
  for (void *it = js_iter(tokens); it; it = js_iter_next(tokens, it)) {
    struct slice key;
    const struct js *v;
    js_iter_get(it, &key, &v);
    jsonw_key_slice(&w, key);
    jsonw_value(&w, v);
  }
  jsonw_object_end(&w);
  put("config.json", SLICE("{\"model_type\": \"llama\"}"));
  put("tokenizer_config.json", buf_view(&config));
  buf_free(&config);
}

static void check_chat(const struct tokenizer *t, const struct js *json, struct slice template, struct slice line) {
  struct error err = {0};
  put_config(json, template);
  struct file_model *model = file_model_open_text(dir, &err);
  struct chat_template *c = model ? chat_template_open(model, t, &err) : NULL;
  if (!c) fail_msg("%s", err.message);
  for (int trusted = 0; trusted < 2; trusted++) {
    struct ids ids = {0};
    int rc = chat_template_encode(c, js_get(json, "context"), trusted ? CHAT_TEMPLATE_TRUST : 0, &ids, &err);
    if (rc < 0) fail_msg("%s: %.*s", err.message, SLICE_ARG(line));
    check_ids(js_get(json, trusted ? "trusted" : "ids"), &ids, line);
    ids_free(&ids);
  }
  chat_template_close(c);
  file_model_close(model);
}

/* ---- all of them ---- */

static struct {
  struct buf text;
  struct tokenizer *tokenizer;
  char name[64];
} vectors;

static void check_line(struct slice line, bool chats) {
  struct error err = {0};
  struct slice name, text;
  struct js *json = js_parse(line, &err);
  if (!json) fail_msg("%s", err.message);
  assert_true(js_str(js_get(json, "tokenizer"), &name));
  if (!slice_eq(name, slice_cstr(vectors.name))) {
    tokenizer_close(vectors.tokenizer);
    vectors.tokenizer = open_vectors(name);
    snprintf(vectors.name, sizeof vectors.name, "%.*s", SLICE_ARG(name));
  }
  bool chat = js_str(js_get(json, "template"), &text);
  if (vectors.tokenizer && chat && chats) check_chat(vectors.tokenizer, json, text, line);
  if (vectors.tokenizer && !chat && !chats && js_str(js_get(json, "text"), &text)) check_marked(vectors.tokenizer, json, text, line);
  js_free(json);
}

static void check_lines(bool chats) {
  struct error err = {0};
  if (fs_read(VECTOR_DIR "/jinja/marks.jsonl", 16 << 20, &vectors.text, &err) < 0) fail_msg("%s", err.message);
  for (struct slice rest = buf_view(&vectors.text); rest.len;) {
    const char *end = memchr(rest.data, '\n', rest.len);
    size_t len = end ? (size_t)(end - rest.data) : rest.len;
    check_line(slice_make(rest.data, len), chats);
    rest = slice_from(rest, len + (end != NULL));
  }
  tokenizer_close(vectors.tokenizer);
  buf_free(&vectors.text);
  vectors.tokenizer = NULL;
  vectors.name[0] = '\0';
}

static void control_tokens_count_only_outside_marked_bytes(void **state) {
  (void)state;
  check_lines(false);
}

static void a_chat_has_the_ids_of_its_whole_text_but_for_control_tokens_in_its_messages(void **state) {
  (void)state;
  check_lines(true);
}

/* An end of a mark in a character that NFC makes of both sides, again and again. */
static void texts_that_join_the_template_everywhere_take_linear_time_or_fail(void **state) {
  (void)state;
  enum { N = 20000 };
  struct tokenizer *t = open_vectors(SLICE("normalized"));
  struct buf text = {0};
  struct jinja_marks marks = {.spans = calloc(N, sizeof *marks.spans)};
  struct ids ids = {0};
  struct error err = {0};
  for (; marks.n < N; marks.n++) {
    buf_add_cstr(&text, "e");
    size_t begin = text.len;
    buf_add_cstr(&text, "\xCC\x81");
    marks.spans[marks.n] = (struct jinja_span){begin, text.len};
  }
  if (tokenizer__encode_marked(t, buf_view(&text), &marks, &ids, &err) < 0) assert_non_null(strstr(err.message, "joins"));
  jinja_marks_free(&marks);
  buf_free(&text);
  ids_free(&ids);
  tokenizer_close(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(control_tokens_count_only_outside_marked_bytes),
      cmocka_unit_test(a_chat_has_the_ids_of_its_whole_text_but_for_control_tokens_in_its_messages),
      cmocka_unit_test(texts_that_join_the_template_everywhere_take_linear_time_or_fail),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
