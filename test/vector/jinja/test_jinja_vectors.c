/* Templates that jinja2 rendered in transformers' settings: the same text, or a failure where it failed. make.py wrote the vectors.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/fs.h"
#include "file/file.h"
#include "text/jinja_private.h"

enum { NOW_S = 1700000000 };

/* One file of cases; template: for cases without one of their own. */
struct vectors {
  struct buf text;
  size_t at;
  struct slice template;
  struct js *header; /* the first line of random.jsonl: contexts by name */
  int n;
};

/* One rendering; continued: as a chat that ends inside its last message. */
static void check_text(struct vectors *v, struct slice template, const struct js *context, const struct js *want, bool continued) {
  struct slice wanted;
  struct error err = {0};
  struct buf out = {0};
  bool text = js_str(want, &wanted);
  struct jinja *j = jinja_parse(template, &err);
  struct jinja_job job = {.context = context, .now_s = NOW_S, .out = &out, .chat = continued, .continue_final = continued};
  int rc = j ? jinja_run_job(j, &job, &err) : -1;
  bool fine = text ? rc == 0 && slice_eq(buf_view(&out), wanted) : rc < 0 && err.message[0];
  if (!fine) {
    print_error("template: %.*s\nwanted: %.*s\ngot: %.*s %s\n", SLICE_ARG(template), text ? (int)wanted.len : 9,
                text ? wanted.data : "(failure)", (int)out.len, out.data ? out.data : "", err.message);
  }
  assert_true(fine);
  jinja_free(j);
  buf_free(&out);
  v->n++;
}

static void check_texts(struct vectors *v, struct slice template, const struct js *texts, bool continued) {
  for (void *it = js_iter(texts); it; it = js_iter_next(texts, it)) {
    struct slice name;
    const struct js *want;
    js_iter_get(it, &name, &want);
    check_text(v, template, js_getn(js_get(v->header, "contexts"), name), want, continued);
  }
}

static void check(struct vectors *v, const struct js *line) {
  struct slice template = v->template, name;
  const struct js *context = js_get(line, "context"), *texts = js_get(line, "texts");
  js_str(js_get(line, "template"), &template);
  if (js_str(context, &name)) context = js_getn(js_get(v->header, "contexts"), name);
  if (!texts) {
    check_text(v, template, context, js_get(line, "text"), false);
    return;
  }
  check_texts(v, template, texts, false);
  check_texts(v, template, js_get(line, "continued"), true);
}

static void run(const char *name, struct slice template) {
  struct vectors v = {.template = template};
  struct error err = {0};
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", VECTOR_DIR, name);
  assert_int_equal(fs_read(path, 16 << 20, &v.text, &err), 0);
  for (struct slice rest = buf_view(&v.text); rest.len;) {
    const char *end = memchr(rest.data, '\n', rest.len);
    size_t len = end ? (size_t)(end - rest.data) : rest.len;
    struct js *line = js_parse(slice_make(rest.data, len), &err);
    assert_non_null(line);
    if (js_get(line, "contexts")) {
      v.header = line;
    } else {
      check(&v, line);
      js_free(line);
    }
    rest = slice_from(rest, len + 1);
  }
  assert_true(v.n > 0);
  js_free(v.header);
  buf_free(&v.text);
}

static void snippets_render_as_jinja2_does(void **state) {
  (void)state;
  run("snippets.jsonl", slice_make("", 0));
}

static void random_templates_render_as_jinja2_does(void **state) {
  (void)state;
  run("random.jsonl", slice_make("", 0));
}

static void templates_in_the_manner_of_the_families_give_their_golden_texts(void **state) {
  (void)state;
  run("families.jsonl", slice_make("", 0));
}

static void templates_of_many_families_render_as_jinja2_does(void **state) {
  (void)state;
  run("corpus.jsonl", slice_make("", 0));
}

static void default_model_template_renders_as_jinja2_does(void **state) {
  (void)state;
  const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
  char path[4096];
  struct error err = {0};
  snprintf(path, sizeof path, "%s%s/plinth/models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf", data && *data ? data : home,
           data && *data ? "" : "/.local/share");
  if (!fs_exists(path)) skip();
  struct gguf *g = gguf_open(path, &err);
  assert_non_null(g);
  struct slice template;
  assert_true(gguf_str(g, "tokenizer.chat_template", &template));
  run("model.jsonl", template);
  gguf_close(g);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(snippets_render_as_jinja2_does),
      cmocka_unit_test(random_templates_render_as_jinja2_does),
      cmocka_unit_test(templates_in_the_manner_of_the_families_give_their_golden_texts),
      cmocka_unit_test(templates_of_many_families_render_as_jinja2_does),
      cmocka_unit_test(default_model_template_renders_as_jinja2_does),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
