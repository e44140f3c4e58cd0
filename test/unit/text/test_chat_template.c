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
#define TOKENIZER_OF(special)                                               \
  "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":2,\"content\":\"" special \
  "\",\"special\":true,\"normalized\":false}],\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]}}"

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

static void tokens_that_a_model_declares_as_its_own_are_variables(void **state) {
  (void)state;
  put("tokenizer_config.json",
      "{\"extra_special_tokens\": {\"image_token\": \"<s>\"}, \"model_specific_special_tokens\": {\"begin\": \"</s>\"}, "
      "\"chat_template\": \"{{ image_token }}|{{ begin }}\"}");
  check("{}", "<s>|</s>");
  put("tokenizer_config.json", "{\"extra_special_tokens\": [\"<s>\"], \"chat_template\": \"x\"}");
  check("{}", "x");
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

static void an_object_of_templates_has_one_for_tools(void **state) {
  (void)state;
  put("tokenizer_config.json", "{\"chat_template\": {\"default\": \"plain\", \"tool_use\": \"{{ tools|length }} tools\"}}");
  check("{}", "plain");
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

static void check_fails(const char *json, const char *words) {
  struct error err;
  struct opened o = open_dir(&err);
  struct buf out = {0};
  struct js *context = js_parse(slice_cstr(json), &err);
  if (o.template) assert_int_equal(chat_template_render(o.template, context, &out, &err), -1);
  if (!strstr(err.message, words)) fail_msg("%s", err.message);
  js_free(context);
  buf_free(&out);
  close_all(&o);
}

static void files_replace_what_the_config_has(void **state) {
  (void)state;
  char path[128];
  snprintf(path, sizeof path, "%s/additional_chat_templates", dir);
  assert_int_equal(mkdir(path, 0700), 0);
  put("additional_chat_templates/tool_use.jinja", "tools from a file");
  put("tokenizer_config.json",
      "{\"chat_template\": [{\"name\": \"default\", \"template\": \"old\"}, {\"name\": \"tool_use\", \"template\": \"old\"}]}");
  check("{\"tools\": [1]}", "tools from a file");
  check_fails("{}", "only chat template is one for tools");
  put("chat_template.jinja", "from a file");
  check("{}", "from a file");
  check("{\"tools\": []}", "tools from a file");
  snprintf(path, sizeof path, "%s/additional_chat_templates/tool_use.jinja", dir);
  remove(path);
  check("{\"tools\": [1]}", "from a file");
  snprintf(path, sizeof path, "%s/chat_template.jinja", dir);
  remove(path);
}

static void templates_of_other_names_alone_are_no_template(void **state) {
  (void)state;
  put("tokenizer_config.json", "{\"chat_template\": [{\"name\": \"rag\", \"template\": \"x\"}]}");
  check_fails("{}", "none is named default");
  put("tokenizer_config.json", "{}");
  check_fails("{}", "chat_template.jinja");
  put("chat_template.json", "{\"chat_template\": \"from the processor\"}");
  check("{}", "from the processor");
  put("chat_template.json", "{}");
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

static void put_template(const char *template) {
  char config[512];
  snprintf(config, sizeof config, "{\"bos_token\": \"<s>\", \"chat_template\": \"%s\"}", template);
  put("tokenizer_config.json", config);
}

/* The ids of a template on a context, as digits. */
static void check_context_ids(const char *template, const char *json, unsigned flags, const char *wanted) {
  struct error err;
  put_template(template);
  struct opened o = open_dir(&err);
  struct ids ids = {0};
  struct js *context = js_parse(slice_cstr(json), &err);
  char text[32] = "";
  assert_non_null(o.template);
  assert_int_equal(chat_template_encode(o.template, context, flags, &ids, &err), 0);
  for (size_t i = 0; i < ids.len; i++) text[i] = (char)('0' + ids.data[i]);
  assert_string_equal(text, wanted);
  ids_free(&ids);
  js_free(context);
  close_all(&o);
}

static void check_ids(const char *rendered, const char *wanted) { check_context_ids(rendered, "{}", 0, wanted); }

static void bos_comes_once_and_only_where_the_tokenizer_adds_it(void **state) {
  (void)state;
  put("tokenizer.json", TOKENIZER("\"post_processor\":null"));
  check_ids("ab", "01");
  check_ids("<s>ab", "201");
  put("tokenizer.json", TOKENIZER(BOS_PROCESSOR));
  check_ids("ab", "201");
  check_ids("<s>ab", "201");
  check_ids("{{ none or '' }}", "2");
}

static void control_tokens_in_the_callers_text_are_text(void **state) {
  (void)state;
  const char *json = "{\"messages\": [{\"role\": \"user\", \"content\": \"a<s>b\"}], \"x\": \"<s>\"}";
  put("tokenizer.json", TOKENIZER("\"post_processor\":null"));
  check_context_ids("{{ bos_token }}{{ messages[0].content }}<s>{{ x }}", json, 0, "2012");
  check_context_ids("{{ bos_token }}{{ messages[0].content }}<s>{{ x }}", json, CHAT_TEMPLATE_TRUST, "202122");
  check_context_ids("{{ bos_token ~ messages[0].content[:2] }}s>b", json, 0, "201"); /* half of it is the caller's */
  check_context_ids("{{ bos_token }}", "{\"bos_token\": \"<s>\"}", 0, "");
}

/* Whatever tokenizer.json says of it: nothing of a message ends a turn. */
static void a_token_that_stops_is_a_control_token(void **state) {
  (void)state;
  const char *json = "{\"messages\": [{\"role\": \"user\", \"content\": \"a<e>b\"}]}";
  put("tokenizer.json",
      "{\"added_tokens\":[{\"id\":2,\"content\":\"<e>\",\"special\":false}],"
      "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]}}");
  check_context_ids("{{ messages[0].content }}<e>", json, 0, "0212");
  put("generation_config.json", "{\"eos_token_id\": [2]}");
  check_context_ids("{{ messages[0].content }}<e>", json, 0, "012");
  put("generation_config.json", "{}");
}

static void a_token_without_a_row_is_text(void **state) {
  (void)state;
  put("tokenizer.json", "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]}}");
  check_ids("ab<s>", "012"); /* bos_token of tokenizer_config.json */
  put("config.json", "{\"model_type\": \"llama\", \"vocab_size\": 2}");
  check_ids("ab<s>", "01");
  put("config.json", "{\"model_type\": \"llama\"}");
}

static void a_role_with_a_known_name_may_be_part_of_a_control_token(void **state) {
  (void)state;
  put("tokenizer.json", TOKENIZER_OF("<user>"));
  const char *template = "{% for m in messages %}{{ '<' + m.role + '>' + m.content }}{% endfor %}";
  check_context_ids(template, "{\"messages\": [{\"role\": \"user\", \"content\": \"a<user>b\"}]}", 0, "201");
  put("tokenizer.json", TOKENIZER_OF("<ab>"));
  check_context_ids(template, "{\"messages\": [{\"role\": \"ab\", \"content\": \"a\"}]}", 0, "010");
}

static void check_continued(const char *template, const char *content, const char *wanted) {
  char json[256];
  snprintf(json, sizeof json, "{\"messages\": [{\"role\": \"user\", \"content\": \"b\"}, {\"role\": \"assistant\", \"content\": %s}]}",
           content);
  check_context_ids(template, json, CHAT_TEMPLATE_CONTINUE, wanted);
}

static void the_last_message_can_be_continued(void **state) {
  (void)state;
  put("tokenizer.json", TOKENIZER("\"post_processor\":null"));
  check_continued("{% for m in messages %}<s>{{ m.content }}<s>{% endfor %}", "\"ab\"", "212201");
  check_continued("{% for m in messages %}<s>{{ m.content|trim }}<s>{% endfor %}", "\"ab \"", "212201");
  check_continued("{% for m in messages %}<s>{{ m.content[0].text }}<s>{% endfor %}", "[{\"text\": \"ab\"}]", "22201");
}

static void a_last_message_that_the_template_changes_cannot_be_continued(void **state) {
  (void)state;
  struct error err;
  put_template("{{ messages[0].content|upper }}{{ messages[0].x }}");
  struct opened o = open_dir(&err);
  static const char *const contexts[] = {"{\"messages\": [{\"content\": \"ab\"}]}", "{\"messages\": [{\"content\": null}]}",
                                         "{\"messages\": [{\"content\": 5}]}",      "{\"messages\": []}",
                                         "{\"messages\": [{\"content\": []}]}",     "{}"};
  for (size_t i = 0; i < sizeof contexts / sizeof contexts[0]; i++) {
    struct js *context = js_parse(slice_cstr(contexts[i]), &err);
    struct ids ids = {0};
    err = (struct error){0};
    assert_int_equal(chat_template_encode(o.template, context, CHAT_TEMPLATE_CONTINUE, &ids, &err), -1);
    assert_non_null(strstr(err.message, "continued"));
    ids_free(&ids);
    js_free(context);
  }
  close_all(&o);
}

static void members_that_are_null_are_left_out_of_messages(void **state) {
  (void)state;
  put_template("{{ messages[0].content is defined }} {{ messages[0] }}");
  check("{\"messages\": [{\"role\": \"user\", \"content\": null}]}", "False {'role': 'user'}");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_model_without_a_template_is_not_found),
      cmocka_unit_test(special_tokens_are_variables_unless_the_context_has_them),
      cmocka_unit_test(chat_variables_are_always_there),
      cmocka_unit_test(a_list_of_templates_has_one_for_tools),
      cmocka_unit_test(an_object_of_templates_has_one_for_tools),
      cmocka_unit_test(tokens_that_a_model_declares_as_its_own_are_variables),
      cmocka_unit_test(reasoning_has_all_its_names),
      cmocka_unit_test(a_template_in_a_file_of_its_own_wins),
      cmocka_unit_test(files_replace_what_the_config_has),
      cmocka_unit_test(templates_of_other_names_alone_are_no_template),
      cmocka_unit_test(a_broken_template_is_refused_with_its_place),
      cmocka_unit_test(bos_comes_once_and_only_where_the_tokenizer_adds_it),
      cmocka_unit_test(control_tokens_in_the_callers_text_are_text),
      cmocka_unit_test(a_token_that_stops_is_a_control_token),
      cmocka_unit_test(a_token_without_a_row_is_text),
      cmocka_unit_test(a_role_with_a_known_name_may_be_part_of_a_control_token),
      cmocka_unit_test(the_last_message_can_be_continued),
      cmocka_unit_test(a_last_message_that_the_template_changes_cannot_be_continued),
      cmocka_unit_test(members_that_are_null_are_left_out_of_messages),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
