/* Chat templates of models: where they are found, what variables they get, how their text becomes ids.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "base/fs.h"
#include "text/text.h"

#define BOS_PROCESSOR                                                                                                                 \
  "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{" \
  "\"id\":\"A\","                                                                                                                     \
  "\"type_id\":0}}],\"pair\":[{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},{\"Sequence\":{\"id\":\"B\",\"type_id\":0}}],\"special_"    \
  "tokens\":{\"<s>\":"                                                                                                                \
  "{\"id\":\"<s>\",\"ids\":[2],\"tokens\":[\"<s>\"]}}}"
#define TOKENIZER(processor)                                                                                                         \
  "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[{\"id\":2,\"content\":\"<s>\",\"single_word\":false," \
  "\"lstrip\":false,"                                                                                                                \
  "\"rstrip\":false,\"normalized\":false,\"special\":true}],\"normalizer\":null,\"pre_tokenizer\":null," processor                   \
  ",\"decoder\":null,"                                                                                                               \
  "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,"  \
  "\"fuse_unk\":false,\"byte_fallback\":false,\"vocab\":{\"a\":0,\"b\":1,\"<s>\":2},\"merges\":[]}}"

static char dir[64];

static void put(const char *name, const char *text) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  assert_int_equal(fs_write_atomic(path, slice_cstr(text), 0600, NULL), 0);
}

static int make_dir(void **state) {
  (void)state;
  snprintf(dir, sizeof dir, "/tmp/plinth-test-XXXXXX");
  if (!mkdtemp(dir)) return -1;
  put("config.json", "{\"model_type\": \"llama\"}");
  put("tokenizer.json", TOKENIZER("\"post_processor\":null"));
  return 0;
}

static int remove_dir(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", dir);
  return system(command);
}

struct opened {
  struct file_model *model;
  struct tokenizer *tokenizer;
  struct chat_template *template;
};

static struct opened open_dir(struct error *err) {
  *err = (struct error){0};
  struct opened o = {.model = file_model_open_text(dir, err)};
  assert_non_null(o.model);
  o.tokenizer = tokenizer_open(o.model, err);
  if (!o.tokenizer) fail_msg("%s", err->message);
  o.template = chat_template_open(o.model, o.tokenizer, err);
  return o;
}

static void close_all(struct opened *o) {
  chat_template_close(o->template);
  tokenizer_close(o->tokenizer);
  file_model_close(o->model);
}

static void check(const char *json, const char *wanted) {
  struct error err;
  struct opened o = open_dir(&err);
  struct buf out = {0};
  struct js *context = js_parse(slice_cstr(json), &err);
  if (!o.template) fail_msg("%s", err.message);
  assert_int_equal(chat_template_render(o.template, context, &out, &err), 0);
  assert_string_equal(out.data ? out.data : "", wanted);
  js_free(context);
  buf_free(&out);
  close_all(&o);
}

static void a_model_without_a_template_is_not_found(void **state) {
  (void)state;
  struct error err;
  struct opened o = open_dir(&err);
  assert_null(o.template);
  assert_int_equal(err.code, ERROR_NOT_FOUND);
  close_all(&o);
}

static void special_tokens_are_variables_unless_the_context_has_them(void **state) {
  (void)state;
  put("tokenizer_config.json",
      "{\"bos_token\": {\"content\": \"<s>\"}, \"eos_token\": \"</s>\", \"add_bos_token\": true, \"pad_token\": null, "
      "\"chat_template\": \"{{ bos_token }}|{{ eos_token }}|{{ pad_token is defined }}|{{ add_bos_token is defined }}\"}");
  check("{}", "<s>|</s>|False|False");
  check("{\"bos_token\": \"own\"}", "own|</s>|False|False");
}

static void chat_variables_are_always_there(void **state) {
  (void)state;
  put("tokenizer_config.json", "{\"chat_template\": \"{{ tools }} {{ documents }} {{ add_generation_prompt }}\"}");
  check("{\"messages\": []}", "None None False");
}

static void a_list_of_templates_has_one_for_tools(void **state) {
  (void)state;
  put("tokenizer_config.json",
      "{\"chat_template\": [{\"name\": \"default\", \"template\": \"plain\"}, {\"name\": \"tool_use\", \"template\": "
      "\"{{ tools|length }} tools\"}]}");
  check("{}", "plain");
  check("{\"tools\": null}", "plain");
  check("{\"tools\": [1, 2]}", "2 tools");
}

static void reasoning_has_all_its_names(void **state) {
  (void)state;
  put("tokenizer_config.json", "{\"chat_template\": \"{% for m in messages %}{{ m.reasoning_content }}/{{ m.thinking }};{% endfor %}\"}");
  check("{\"messages\": [{\"reasoning\": \"r\"}, {\"thinking\": \"t\"}, {\"content\": \"c\"}]}", "r/r;t/t;/;");
}

static void a_template_in_a_file_of_its_own_wins(void **state) {
  (void)state;
  put("chat_template.jinja", "from the file {{ bos_token }}\n");
  put("tokenizer_config.json", "{\"bos_token\": \"B\", \"chat_template\": \"from the config\"}");
  check("{}", "from the file B");
  char path[128];
  snprintf(path, sizeof path, "%s/chat_template.jinja", dir);
  remove(path);
}

static void a_broken_template_is_refused_with_its_place(void **state) {
  (void)state;
  struct error err;
  put("tokenizer_config.json", "{\"chat_template\": \"{% if x %}\"}");
  struct opened o = open_dir(&err);
  assert_null(o.template);
  assert_non_null(strstr(err.message, "line 1, column 4"));
  close_all(&o);
}

/* The ids of the rendered text, as digits. */
static void check_ids(const char *rendered, const char *wanted) {
  struct error err;
  struct opened o = open_dir(&err);
  struct ids ids = {0};
  char text[32] = "";
  assert_non_null(o.template);
  assert_int_equal(chat_template_encode(o.template, slice_cstr(rendered), &ids, &err), 0);
  for (size_t i = 0; i < ids.len; i++) text[i] = (char)('0' + ids.data[i]);
  assert_string_equal(text, wanted);
  ids_free(&ids);
  close_all(&o);
}

static void bos_comes_once_and_only_where_the_tokenizer_adds_it(void **state) {
  (void)state;
  put("tokenizer_config.json", "{\"bos_token\": \"<s>\", \"chat_template\": \"x\"}");
  check_ids("ab", "01");
  check_ids("<s>ab", "201");
  put("tokenizer.json", TOKENIZER(BOS_PROCESSOR));
  check_ids("ab", "201");
  check_ids("<s>ab", "201");
  check_ids("", "2");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_model_without_a_template_is_not_found),
      cmocka_unit_test(special_tokens_are_variables_unless_the_context_has_them),
      cmocka_unit_test(chat_variables_are_always_there),
      cmocka_unit_test(a_list_of_templates_has_one_for_tools),
      cmocka_unit_test(reasoning_has_all_its_names),
      cmocka_unit_test(a_template_in_a_file_of_its_own_wins),
      cmocka_unit_test(a_broken_template_is_refused_with_its_place),
      cmocka_unit_test(bos_comes_once_and_only_where_the_tokenizer_adds_it),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
