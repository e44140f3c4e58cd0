/* Bodies as typed requests: every field, its range, and what is refused. SPDX-License-Identifier: Apache-2.0 */
#include "drive.h"

#include <stdio.h>
#include <string.h>

#include "api/request.h"

struct got {
  struct request q;
  struct fault f;
  int result;
};

static struct request_rules rules_of(enum request_route route, enum serving_task task, enum dialect dialect) {
  return (struct request_rules){.dialect = dialect, .route = route, .endpoint = SLICE("m"), .task = task, .n_embd = 384, .n_vocab = 100};
}

static void read_with(struct got *g, const struct request_rules *rules, const char *body) {
  struct error err;
  struct js *root = js_parse(slice_cstr(body), &err);
  if (!root) fail_msg("%s: %s", body, err.message);
  g->result = request_read(root, rules, &g->q, &g->f);
  js_free(root); /* nothing may be borrowed from it */
}

static void read_chat(struct got *g, const char *more) {
  char body[4096];
  snprintf(body, sizeof body, "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]%s%s}", *more ? ", " : "", more);
  struct request_rules rules = rules_of(ROUTE_CHAT, SERVING_CHAT, DIALECT_OPENAI);
  read_with(g, &rules, body);
}

static void read_completion(struct got *g, enum dialect dialect, const char *body) {
  struct request_rules rules = rules_of(ROUTE_COMPLETIONS, SERVING_CHAT, dialect);
  read_with(g, &rules, body);
}

static void read_embedding(struct got *g, enum dialect dialect, const char *body) {
  struct request_rules rules = rules_of(ROUTE_EMBEDDINGS, SERVING_EMBEDDINGS, dialect);
  read_with(g, &rules, body);
}

static void expect_fault(struct got *g, const char *param, const char *words) {
  if (g->result == 0) fail_msg("accepted; expected a fault at %s", param);
  assert_int_equal(g->f.status, 400);
  assert_string_equal(g->f.param, param);
  if (!strstr(g->f.message, words)) fail_msg("\"%s\" does not say \"%s\"", g->f.message, words);
  request_free(&g->q);
}

static void expect_ok(struct got *g) {
  if (g->result != 0) fail_msg("%s: %s", g->f.param, g->f.message);
}

static void chat_refused(const char *more, const char *param, const char *words) {
  struct got g;
  read_chat(&g, more);
  expect_fault(&g, param, words);
}

static void defaults_are_those_of_both_dialects(void **state) {
  (void)state;
  struct got g;
  read_chat(&g, "");
  expect_ok(&g);
  assert_true(g.q.temperature == 1 && g.q.top_p == 1 && g.q.top_k == 0 && g.q.n == 1 && g.q.min_p == 0);
  assert_true(g.q.repetition_penalty == 1 && g.q.presence_penalty == 0 && g.q.frequency_penalty == 0);
  assert_true(g.q.n_biases == 0 && g.q.n_stop_ids == 0 && g.q.min_tokens == 0 && !g.q.return_sampling);
  assert_int_equal(g.q.max_tokens, 0);
  assert_int_equal(g.q.top_logprobs, -1);
  assert_false(g.q.stream || g.q.has_seed || g.q.ignore_eos || g.q.include_usage);
  assert_null(g.q.ignored);
  request_free(&g.q);
}

static void every_field_of_a_chat_is_taken(void **state) {
  (void)state;
  struct got g;
  read_chat(&g,
            "\"model\": \"m\", \"stream\": true, \"stream_options\": {\"include_usage\": true}, \"n\": 3, \"temperature\": 0, \"top_p\": "
            "0.5, \"top_k\": 7,"
            "\"max_completion_tokens\": 9, \"stop\": [\"a\", \"b\"], \"seed\": -5, \"ignore_eos\": true, \"logprobs\": true, "
            "\"top_logprobs\": 20,"
            "\"user\": \"u\", \"response_format\": {\"type\": \"text\"}, \"tools\": [], \"tool_choice\": \"none\"");
  expect_ok(&g);
  assert_true(g.q.stream && g.q.include_usage && g.q.ignore_eos && g.q.has_seed);
  assert_int_equal(g.q.n, 3);
  assert_true(g.q.temperature == 0 && g.q.top_p == 0.5 && g.q.top_k == 7);
  assert_int_equal(g.q.max_tokens, 9);
  assert_int_equal(g.q.n_stops, 2);
  assert_true(slice_eq(g.q.stops[1], SLICE("b")));
  assert_true(g.q.seed == (uint64_t)-5);
  assert_int_equal(g.q.top_logprobs, 20);
  assert_null(g.q.ignored);
  request_free(&g.q);
}

static void every_field_of_the_sampling_is_taken(void **state) {
  (void)state;
  struct got g;
  read_chat(&g,
            "\"min_p\": 0.25, \"presence_penalty\": -2, \"frequency_penalty\": 2, \"repetition_penalty\": 1.5, \"min_tokens\": 9, "
            "\"max_tokens\": 9, \"logit_bias\": {\"99\": 100, \"0\": -100, \"7\": 0.5}, \"stop_token_ids\": [0, 99, 5, 5], "
            "\"return_sampling\": true, \"strict_fields\": true");
  expect_ok(&g);
  assert_true(g.q.min_p == 0.25 && g.q.presence_penalty == -2 && g.q.frequency_penalty == 2 && g.q.repetition_penalty == 1.5);
  assert_true(g.q.min_tokens == 9 && g.q.return_sampling);
  assert_int_equal(g.q.n_biases, 3);
  assert_true(g.q.biases[0].id == 0 && g.q.biases[0].bias == -100 && g.q.biases[1].id == 7 && g.q.biases[1].bias == 0.5f);
  assert_true(g.q.biases[2].id == 99 && g.q.biases[2].bias == 100);
  assert_int_equal(g.q.n_stop_ids, 4);
  assert_true(g.q.stop_ids[1] == 99 && g.q.stop_ids[3] == 5);
  assert_null(g.q.ignored);
  request_free(&g.q);
  read_chat(&g, "\"logit_bias\": {}, \"stop_token_ids\": [], \"min_tokens\": 7");
  expect_ok(&g);
  assert_true(g.q.n_biases == 0 && g.q.n_stop_ids == 0 && g.q.min_tokens == 7);
  request_free(&g.q);
}

static void sampling_out_of_range_is_refused_by_name(void **state) {
  (void)state;
  chat_refused("\"min_p\": 1.01", "min_p", "from 0 to 1, not 1.01");
  chat_refused("\"min_p\": -1", "min_p", "from 0 to 1");
  chat_refused("\"presence_penalty\": 2.5", "presence_penalty", "from -2 to 2, not 2.5");
  chat_refused("\"frequency_penalty\": -2.01", "frequency_penalty", "from -2 to 2");
  chat_refused("\"frequency_penalty\": \"1\"", "frequency_penalty", "a number, not string");
  chat_refused("\"repetition_penalty\": 0", "repetition_penalty", "from 0.01 to 100, not 0");
  chat_refused("\"repetition_penalty\": 1e9", "repetition_penalty", "from 0.01 to 100");
  chat_refused("\"min_tokens\": -1", "min_tokens", "from 0 to");
  chat_refused("\"min_tokens\": 1.5", "min_tokens", "an integer");
  chat_refused("\"min_tokens\": 10, \"max_tokens\": 9", "min_tokens", "`min_tokens` (10) must be at most `max_tokens` (9)");
  chat_refused("\"max_completion_tokens\": 9, \"min_tokens\": 10", "min_tokens", "at most `max_completion_tokens` (9)");
  chat_refused("\"stop_token_ids\": 5", "stop_token_ids", "a list of token ids, not integer");
  chat_refused("\"stop_token_ids\": [1, 100]", "stop_token_ids[1]", "from 0 to 99, not 100");
  chat_refused("\"stop_token_ids\": [-1]", "stop_token_ids[0]", "from 0 to 99");
  chat_refused("\"stop_token_ids\": [\"a\"]", "stop_token_ids[0]", "an integer, not string");
  chat_refused("\"return_sampling\": 1", "return_sampling", "true or false");
  chat_refused("\"logit_bias\": []", "logit_bias", "an object, not array");
  chat_refused("\"logit_bias\": {\"100\": 1}", "logit_bias", "the token id 100, which is not in the vocabulary (0 to 99)");
  chat_refused("\"logit_bias\": {\"5\": 100.5}", "logit_bias", "from -100 to 100 for the token id 5, not 100.5");
  chat_refused("\"logit_bias\": {\"5\": null}", "logit_bias", "a number for the token id 5, not null");
  const char *const keys[] = {"", "05", "+5", "-1", " 5", "5 ", "5.0", "x", "99999999999"};
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
    char more[64];
    snprintf(more, sizeof more, "\"logit_bias\": {\"%s\": 1}", keys[i]);
    chat_refused(more, "logit_bias", "token ids as its keys");
  }
}

static void long_lists_of_ids_are_refused(void **state) {
  (void)state;
  struct request_rules rules = rules_of(ROUTE_COMPLETIONS, SERVING_CHAT, DIALECT_OPENAI);
  rules.n_vocab = 1000;
  for (int n = 300; n <= 301; n++) {
    struct got g;
    struct buf body = {0};
    buf_add_cstr(&body, "{\"prompt\": \"x\", \"logit_bias\": {");
    for (int i = 0; i < n; i++) buf_printf(&body, "%s\"%d\": 1", i ? ", " : "", i);
    buf_add_cstr(&body, "}}");
    read_with(&g, &rules, body.data);
    if (n == 300) expect_ok(&g), request_free(&g.q);
    else expect_fault(&g, "logit_bias", "at most 300 tokens, not 301");
    buf_free(&body);
  }
  for (int n = 128; n <= 129; n++) {
    struct got g;
    struct buf body = {0};
    buf_add_cstr(&body, "{\"prompt\": \"x\", \"stop_token_ids\": [1");
    for (int i = 1; i < n; i++) buf_add_cstr(&body, ", 1");
    buf_add_cstr(&body, "]}");
    read_with(&g, &rules, body.data);
    if (n == 128) expect_ok(&g), request_free(&g.q);
    else expect_fault(&g, "stop_token_ids", "at most 128 ids, not 129");
    buf_free(&body);
  }
}

/* What vLLM's clients send for "all tokens"; Databricks' documentation begins at 1. */
static void top_k_may_be_off_in_openais_dialect(void **state) {
  (void)state;
  struct got g;
  for (int k = -1; k <= 1; k++) {
    char body[64];
    snprintf(body, sizeof body, "{\"prompt\": \"x\", \"top_k\": %d}", k);
    read_completion(&g, DIALECT_OPENAI, body);
    expect_ok(&g);
    assert_int_equal(g.q.top_k, k > 0 ? k : 0);
    request_free(&g.q);
    read_completion(&g, DIALECT_DATABRICKS, body);
    if (k <= 0) expect_fault(&g, "top_k", "from 1 to");
    else expect_ok(&g), request_free(&g.q);
  }
}

static void null_counts_as_absent(void **state) {
  (void)state;
  struct got g;
  read_chat(&g,
            "\"stream\": null, \"n\": null, \"temperature\": null, \"top_p\": null, \"top_k\": null, \"max_tokens\": null, \"stop\": null, "
            "\"seed\": null,"
            "\"logprobs\": null, \"top_logprobs\": null, \"stream_options\": null, \"response_format\": null, \"tools\": null, "
            "\"tool_choice\": null, \"user\": null, \"min_p\": null, \"presence_penalty\": null, \"frequency_penalty\": null, "
            "\"repetition_penalty\": null, \"logit_bias\": null, \"stop_token_ids\": null, \"min_tokens\": null, "
            "\"return_sampling\": null");
  expect_ok(&g);
  assert_true(g.q.temperature == 1 && g.q.n == 1 && g.q.n_stops == 0);
  request_free(&g.q);
}

static void values_out_of_range_are_refused_by_name(void **state) {
  (void)state;
  chat_refused("\"temperature\": 2.1", "temperature", "from 0 to 2, not 2.1");
  chat_refused("\"temperature\": -0.1", "temperature", "from 0 to 2");
  chat_refused("\"temperature\": \"1\"", "temperature", "a number, not string");
  chat_refused("\"top_p\": 0", "top_p", "above 0 and at most 1, not 0");
  chat_refused("\"top_p\": 1.01", "top_p", "above 0");
  chat_refused("\"top_k\": -2", "top_k", "from -1 to");
  chat_refused("\"top_k\": 1.5", "top_k", "an integer, not number");
  chat_refused("\"max_tokens\": 0", "max_tokens", "from 1 to");
  chat_refused("\"max_tokens\": -1", "max_tokens", "from 1 to");
  chat_refused("\"max_tokens\": 3000000000", "max_tokens", "from 1 to");
  chat_refused("\"max_tokens\": 99999999999999999999", "max_tokens", "from 1 to 2147483647, not 1e+20");
  chat_refused("\"seed\": 9223372036854775808", "seed", "from -9223372036854775808 to 9223372036854775807");
  chat_refused("\"top_p\": 1.0000001", "top_p", "not 1.0000001");
  chat_refused("\"max_tokens\": true", "max_tokens", "an integer, not boolean");
  chat_refused("\"max_tokens\": 1, \"max_completion_tokens\": 2", "max_completion_tokens", "differ");
  chat_refused("\"n\": 0", "n", "from 1 to 128");
  chat_refused("\"n\": 129", "n", "from 1 to 128");
  chat_refused("\"seed\": 1.5", "seed", "an integer");
  chat_refused("\"logprobs\": 1", "logprobs", "true or false, not integer");
  chat_refused("\"logprobs\": true, \"top_logprobs\": 21", "top_logprobs", "from 0 to 20");
  chat_refused("\"top_logprobs\": 2", "top_logprobs", "needs \"logprobs\": true");
  chat_refused("\"stream\": \"yes\"", "stream", "true or false, not string");
  chat_refused("\"stream_options\": {\"include_usage\": true}", "stream_options", "only for \"stream\": true");
  chat_refused("\"stream\": true, \"stream_options\": {\"include_usage\": 1}", "stream_options.include_usage", "true or false");
  chat_refused("\"stream\": true, \"stream_options\": []", "stream_options", "an object, not array");
  chat_refused("\"user\": 5", "user", "a string, not integer");
  chat_refused("\"ignore_eos\": 1", "ignore_eos", "true or false");
  chat_refused("\"strict_fields\": 1", "strict_fields", "true or false");
  chat_refused("\"model\": 1", "model", "a string");
}

static void stop_is_a_string_or_a_short_list(void **state) {
  (void)state;
  struct got g;
  read_chat(&g, "\"stop\": \"x\"");
  expect_ok(&g);
  assert_int_equal(g.q.n_stops, 1);
  request_free(&g.q);
  read_chat(&g, "\"stop\": []");
  expect_ok(&g);
  assert_int_equal(g.q.n_stops, 0);
  request_free(&g.q);
  chat_refused("\"stop\": \"\"", "stop", "must not be empty");
  chat_refused("\"stop\": [\"a\", \"\"]", "stop", "must not be empty");
  chat_refused("\"stop\": [1]", "stop", "a string, not integer");
  chat_refused("\"stop\": {}", "stop", "a string or a list");
  chat_refused("\"stop\": [\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\"]", "stop",
               "at most 16 strings, not 17");
}

static void what_cannot_be_done_yet_is_refused_and_not_ignored(void **state) {
  (void)state;
  chat_refused("\"tools\": [{\"type\": \"function\"}]", "tools", "does not call functions yet");
  chat_refused("\"functions\": [{}]", "functions", "does not call functions yet");
  chat_refused("\"tool_choice\": \"required\"", "tool_choice", "does not call functions yet");
  chat_refused("\"response_format\": {\"type\": \"json_object\"}", "response_format", "'json_object' is not supported");
  chat_refused("\"response_format\": {\"type\": \"json_schema\", \"json_schema\": {}}", "response_format",
               "'json_schema' is not supported");
  chat_refused("\"response_format\": \"text\"", "response_format", "an object, not string");
  chat_refused("\"response_format\": {}", "response_format.type", "a string, not nothing");
}

static void unknown_fields_are_named_once(void **state) {
  (void)state;
  struct got g;
  read_chat(&g,
            "\"best_of\": {}, \"store\": true, \"a, b\\r\\nX: y\": 1, \"stream\": true, \"stream_options\": {\"pace\": 1}, "
            "\"client_request_id\": \"7\", \"\": 0");
  expect_ok(&g);
  assert_string_equal(g.q.ignored, "best_of, store, a%2C%20b%0D%0AX:%20y, stream_options.pace, client_request_id, \"\"");
  request_free(&g.q);
}

static void a_flood_of_unknown_fields_makes_no_long_header(void **state) {
  (void)state;
  struct buf body = {0};
  buf_add_cstr(&body, "{\"prompt\": \"x\"");
  for (int i = 0; i < 3000; i++) buf_printf(&body, ", \"unknown_field_number_%d\": 1", i);
  buf_add_cstr(&body, "}");
  struct got g;
  read_completion(&g, DIALECT_OPENAI, body.data);
  expect_ok(&g);
  assert_true(strlen(g.q.ignored) < 1200);
  assert_non_null(strstr(g.q.ignored, ", ..."));
  request_free(&g.q);
  buf_free(&body);
}

static void strict_fields_refuses_unknown_ones_wherever_it_stands(void **state) {
  (void)state;
  chat_refused("\"foo\": 1, \"strict_fields\": true", "foo", "Bad request: json: unknown field \"foo\"");
  chat_refused("\"strict_fields\": true, \"stream\": true, \"stream_options\": {\"bar\": 1}", "stream_options.bar",
               "unknown field \"bar\"");
  struct got g;
  read_chat(&g, "\"strict_fields\": true, \"seed\": 1, \"client_request_id\": \"7\"");
  expect_ok(&g);
  request_free(&g.q);
}

/* ---- messages ---- */

static void read_messages(struct got *g, const char *messages) {
  char body[2048];
  snprintf(body, sizeof body, "{\"messages\": %s}", messages);
  struct request_rules rules = rules_of(ROUTE_CHAT, SERVING_CHAT, DIALECT_OPENAI);
  read_with(g, &rules, body);
}

static void messages_refused(const char *messages, const char *param, const char *words) {
  struct got g;
  read_messages(&g, messages);
  expect_fault(&g, param, words);
}

static void messages_become_the_context_of_the_template(void **state) {
  (void)state;
  struct got g;
  read_messages(&g,
                "[{\"role\": \"developer\", \"content\": \"d\"}, {\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}, "
                "{\"type\": \"text\","
                "\"text\": \"b\\u0000\"}]}, {\"role\": \"assistant\", \"content\": null}, {\"content\": \"z\", \"role\": \"user\", "
                "\"name\": \"Ann\"}]");
  expect_ok(&g);
  struct slice want = SLICE(
      "{\"messages\":[{\"role\":\"system\",\"content\":\"d\"},{\"role\":\"user\",\"content\":\"a\\nb\\u0000\"},"
      "{\"role\":\"assistant\",\"content\":\"\"},{\"role\":\"user\",\"content\":\"z\"}],\"add_generation_prompt\":true}");
  if (!slice_eq(g.q.context, want)) fail_msg("%.*s", SLICE_ARG(g.q.context));
  assert_string_equal(g.q.ignored, "messages.name");
  request_free(&g.q);
}

static void check_context(const char *more, const char *want) {
  struct got g;
  read_chat(&g, more);
  expect_ok(&g);
  struct slice head = SLICE("{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"add_generation_prompt\":");
  assert_true(slice_starts(g.q.context, head));
  struct slice tail = slice_from(g.q.context, head.len);
  if (!slice_eq(tail, slice_cstr(want))) fail_msg("%.*s", SLICE_ARG(tail));
  request_free(&g.q);
}

static void variables_of_the_template_stand_beside_the_messages(void **state) {
  (void)state;
  check_context("\"chat_template_kwargs\": {\"enable_thinking\": false, \"x\": [1, null]}",
                "true,\"enable_thinking\":false,\"x\":[1,null]}");
  check_context("\"add_generation_prompt\": false", "false}");
  check_context("\"continue_final_message\": true", "false}");
  check_context("\"continue_final_message\": true, \"add_generation_prompt\": false", "false}");
  check_context("\"continue_final_message\": null, \"chat_template_kwargs\": null", "true}");
  chat_refused("\"continue_final_message\": true, \"add_generation_prompt\": true", "continue_final_message", "cannot both be true");
  chat_refused("\"chat_template_kwargs\": []", "chat_template_kwargs", "an object");
  chat_refused("\"chat_template_kwargs\": {\"tools\": []}", "chat_template_kwargs", "`tools` cannot be");
  chat_refused("\"allow_special_tokens_in_content\": 1", "allow_special_tokens_in_content", "true or false");
}

static void messages_of_a_wrong_form_are_refused_by_place(void **state) {
  (void)state;
  messages_refused("\"hi\"", "messages", "a list of messages, not string");
  messages_refused("[]", "messages", "must not be empty");
  messages_refused("null", "messages", "is required");
  messages_refused("[7]", "messages[0]", "an object, not integer");
  messages_refused("[{\"content\": \"x\"}]", "messages[0].role", "is required");
  messages_refused("[{\"role\": \"king\", \"content\": \"x\"}]", "messages[0].role", "not 'king'");
  messages_refused("[{\"role\": \"user\", \"content\": \"x\"}, {\"role\": \"tool\", \"content\": \"x\"}]", "messages[1].role",
                   "'tool' are not supported");
  messages_refused("[{\"role\": \"user\"}]", "messages[0].content", "is required");
  messages_refused("[{\"role\": \"user\", \"content\": null}]", "messages[0].content", "not null");
  messages_refused("[{\"role\": \"user\", \"content\": 5}]", "messages[0].content", "not integer");
  messages_refused("[{\"role\": \"user\", \"content\": [{\"type\": \"image_url\", \"image_url\": {}}]}]", "messages[0].content[0]",
                   "only 'text' is supported");
  messages_refused("[{\"role\": \"user\", \"content\": [\"x\"]}]", "messages[0].content[0]", "an object, not string");
  messages_refused("[{\"role\": \"user\", \"content\": [{\"type\": \"text\"}]}]", "messages[0].content[0]", ".text` must be a string");
  messages_refused("[{\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": [{}]}]", "messages[0].tool_calls",
                   "does not call functions yet");
}

/* ---- completions ---- */

static void prompts_are_strings_or_token_ids(void **state) {
  (void)state;
  struct got g;
  read_completion(&g, DIALECT_OPENAI, "{\"prompt\": \"abc\"}");
  expect_ok(&g);
  assert_true(g.q.n_texts == 1 && slice_eq(g.q.texts[0].text, SLICE("abc")) && g.q.raw_prompt);
  request_free(&g.q);
  read_completion(&g, DIALECT_OPENAI, "{\"prompt\": [5, 99, 0]}");
  expect_ok(&g);
  assert_true(g.q.n_texts == 1 && g.q.texts[0].is_ids && g.q.texts[0].n_ids == 3 && g.q.texts[0].ids[1] == 99);
  request_free(&g.q);
  read_completion(&g, DIALECT_OPENAI, "{\"prompt\": [\"a\", [1, 2], \"b\"]}");
  expect_ok(&g);
  assert_true(g.q.n_texts == 3 && !g.q.texts[0].is_ids && g.q.texts[1].is_ids && slice_eq(g.q.texts[2].text, SLICE("b")));
  request_free(&g.q);
}

static void completion_refused(enum dialect dialect, const char *body, const char *param, const char *words) {
  struct got g;
  read_completion(&g, dialect, body);
  expect_fault(&g, param, words);
}

static void wrong_prompts_are_refused(void **state) {
  (void)state;
  completion_refused(DIALECT_OPENAI, "{}", "prompt", "is required");
  completion_refused(DIALECT_OPENAI, "{\"prompt\": []}", "prompt", "must not be empty");
  completion_refused(DIALECT_OPENAI, "{\"prompt\": {}}", "prompt", "a string, a list of strings, or token ids");
  completion_refused(DIALECT_OPENAI, "{\"prompt\": [100]}", "prompt", "100 at 0, which is not in the vocabulary (0 to 99)");
  completion_refused(DIALECT_OPENAI, "{\"prompt\": [3, -1]}", "prompt", "-1 at 1");
  completion_refused(DIALECT_OPENAI, "{\"prompt\": [3, \"a\"]}", "prompt", "item 1 is string");
  completion_refused(DIALECT_OPENAI, "{\"prompt\": [\"a\", 3]}", "prompt[1]", "not integer");
  completion_refused(DIALECT_OPENAI, "{\"prompt\": [[]]}", "prompt[0]", "empty list of token ids");
  completion_refused(DIALECT_OPENAI, "{\"prompt\": [[[1]]]}", "prompt[0]", "item 0 is array");
}

static void list_of(struct buf *body, const char *field, int n, const char *more) {
  buf_printf(body, "{\"%s\": [\"x\"", field);
  for (int i = 1; i < n; i++) buf_add_cstr(body, ", \"x\"");
  buf_printf(body, "]%s}", more);
}

static void check_limit(enum request_kind kind, enum dialect dialect, int n, bool fits) {
  struct buf body = {0};
  struct got g;
  bool embeds = kind == REQUEST_EMBEDDING;
  list_of(&body, embeds ? "input" : "prompt", n, "");
  if (embeds) read_embedding(&g, dialect, body.data);
  else read_completion(&g, dialect, body.data);
  buf_free(&body);
  if (fits) {
    expect_ok(&g);
    assert_int_equal(g.q.n_texts, n);
    request_free(&g.q);
  } else {
    expect_fault(&g, embeds ? "input" : "prompt", "may hold at most");
  }
}

static void batches_have_the_limits_of_their_dialect(void **state) {
  (void)state;
  check_limit(REQUEST_COMPLETION, DIALECT_DATABRICKS, 16, true);
  check_limit(REQUEST_COMPLETION, DIALECT_DATABRICKS, 17, false);
  check_limit(REQUEST_COMPLETION, DIALECT_OPENAI, 2048, true);
  check_limit(REQUEST_COMPLETION, DIALECT_OPENAI, 2049, false);
  check_limit(REQUEST_EMBEDDING, DIALECT_DATABRICKS, 150, true);
  check_limit(REQUEST_EMBEDDING, DIALECT_DATABRICKS, 151, false);
  check_limit(REQUEST_EMBEDDING, DIALECT_OPENAI, 2048, true);
  check_limit(REQUEST_EMBEDDING, DIALECT_OPENAI, 2049, false);
}

static void choices_of_a_batch_are_limited_in_all(void **state) {
  (void)state;
  struct buf body = {0};
  struct got g;
  list_of(&body, "prompt", 17, ", \"n\": 128");
  read_completion(&g, DIALECT_OPENAI, body.data);
  expect_fault(&g, "n", "more than 2048 choices");
  buf_free(&body);
}

static void only_databricks_streams_one_prompt(void **state) {
  (void)state;
  completion_refused(DIALECT_DATABRICKS, "{\"prompt\": [\"a\", \"b\"], \"stream\": true}", "prompt", "there can be one prompt, not 2");
  struct got g;
  read_completion(&g, DIALECT_OPENAI, "{\"prompt\": [\"a\", \"b\"], \"stream\": true}");
  expect_ok(&g);
  request_free(&g.q);
}

static void every_field_of_a_completion_is_taken(void **state) {
  (void)state;
  struct got g;
  read_completion(&g, DIALECT_DATABRICKS,
                  "{\"prompt\": \"a\", \"suffix\": \"!\", \"echo\": true, \"error_behavior\": \"truncate\", \"use_raw_prompt\": false, "
                  "\"max_tokens\": 4}");
  expect_ok(&g);
  assert_true(slice_eq(g.q.suffix, SLICE("!")) && g.q.echo && g.q.truncate && !g.q.raw_prompt);
  request_free(&g.q);
  read_completion(&g, DIALECT_OPENAI, "{\"prompt\": \"a\", \"logprobs\": 5, \"echo\": true, \"max_tokens\": 0}");
  expect_ok(&g);
  assert_true(g.q.prompt_only && g.q.top_logprobs == 5);
  request_free(&g.q);
  completion_refused(DIALECT_OPENAI, "{\"prompt\": \"a\", \"max_tokens\": 0}", "max_tokens", "at least 1");
  completion_refused(DIALECT_OPENAI, "{\"prompt\": \"a\", \"logprobs\": true}", "logprobs", "an integer, not boolean");
  completion_refused(DIALECT_OPENAI, "{\"prompt\": \"a\", \"logprobs\": 21}", "logprobs", "from 0 to 20");
  completion_refused(DIALECT_OPENAI, "{\"prompt\": \"a\", \"error_behavior\": \"ignore\"}", "error_behavior", "'truncate' or 'error'");
  completion_refused(DIALECT_OPENAI, "{\"prompt\": \"a\", \"suffix\": 1}", "suffix", "a string");
  completion_refused(DIALECT_OPENAI, "{\"prompt\": \"a\", \"echo\": 1}", "echo", "true or false");
  completion_refused(DIALECT_OPENAI, "{\"prompt\": \"a\", \"echo\": true, \"logprobs\": 1, \"use_raw_prompt\": false}", "logprobs",
                     "use_raw_prompt");
}

/* ---- embeddings ---- */

static void embedding_refused(const char *body, const char *param, const char *words) {
  struct got g;
  read_embedding(&g, DIALECT_OPENAI, body);
  expect_fault(&g, param, words);
}

static void fields_of_an_embedding_are_taken_or_refused(void **state) {
  (void)state;
  struct got g;
  read_embedding(&g, DIALECT_OPENAI,
                 "{\"input\": \"a\", \"instruction\": \"i:\", \"encoding_format\": \"base64\", \"dimensions\": 384, "
                 "\"truncate_prompt_tokens\": -1, \"stream\": false}");
  expect_ok(&g);
  assert_true(g.q.base64 && g.q.truncate_tokens == -1 && slice_eq(g.q.instruction, SLICE("i:")));
  request_free(&g.q);
  embedding_refused("{}", "input", "is required");
  embedding_refused("{\"input\": \"a\", \"dimensions\": 256}", "dimensions", "must be 384");
  embedding_refused("{\"input\": \"a\", \"encoding_format\": \"int8\"}", "encoding_format", "'float' or 'base64'");
  embedding_refused("{\"input\": \"a\", \"stream\": true}", "stream", "cannot be streamed");
  embedding_refused("{\"input\": \"a\", \"truncate_prompt_tokens\": 0}", "truncate_prompt_tokens", "at least 1, or -1");
  embedding_refused("{\"input\": [1, 2], \"instruction\": \"i\"}", "instruction", "cannot be combined with token ids");
  embedding_refused("{\"input\": [1, 2, 100]}", "input", "not in the vocabulary");
  read_embedding(&g, DIALECT_OPENAI, "{\"input\": \"a\", \"temperature\": 5}");
  expect_ok(&g);
  assert_string_equal(g.q.ignored, "temperature");
  request_free(&g.q);
}

/* ---- which kind of body ---- */

static void kind_refused(enum request_route route, enum serving_task task, const char *body, const char *words) {
  struct got g;
  struct request_rules rules = rules_of(route, task, DIALECT_DATABRICKS);
  read_with(&g, &rules, body);
  if (g.result == 0) fail_msg("accepted: %s", body);
  if (!strstr(g.f.message, words)) fail_msg("\"%s\" does not say \"%s\"", g.f.message, words);
  request_free(&g.q);
}

static void a_task_that_the_model_cannot_do_names_the_one_it_can(void **state) {
  (void)state;
  kind_refused(ROUTE_CHAT, SERVING_EMBEDDINGS, "{\"messages\": []}", "has the task llm/v1/embeddings and cannot answer a chat request");
  kind_refused(ROUTE_CHAT, SERVING_COMPLETIONS, "{\"messages\": []}", "has the task llm/v1/completions");
  kind_refused(ROUTE_COMPLETIONS, SERVING_EMBEDDINGS, "{\"prompt\": \"x\"}", "has the task llm/v1/embeddings");
  kind_refused(ROUTE_EMBEDDINGS, SERVING_CHAT, "{\"input\": \"x\"}", "has the task llm/v1/chat");
  kind_refused(ROUTE_INVOCATIONS, SERVING_EMBEDDINGS, "{\"messages\": []}", "has the task llm/v1/embeddings");
  kind_refused(ROUTE_INVOCATIONS, SERVING_EMBEDDINGS, "{\"prompt\": \"x\"}", "has the task llm/v1/embeddings");
  kind_refused(ROUTE_INVOCATIONS, SERVING_CHAT, "{\"input\": \"x\"}", "has the task llm/v1/chat");
  kind_refused(ROUTE_INVOCATIONS, SERVING_CHAT, "{}", "neither `messages` nor `prompt`");
  kind_refused(ROUTE_INVOCATIONS, SERVING_CHAT, "{\"messages\": [], \"prompt\": \"x\"}", "Send one of them");
  kind_refused(ROUTE_INVOCATIONS, SERVING_COMPLETIONS, "{\"messages\": []}", "no chat template");
  kind_refused(ROUTE_INVOCATIONS, SERVING_EMBEDDINGS, "{}", "`input` is required");
  kind_refused(ROUTE_CHAT, SERVING_CHAT, "[1]", "must be a JSON object, not array");
}

static void invocations_wrap_a_prompt_unless_told_otherwise(void **state) {
  (void)state;
  struct got g;
  struct request_rules rules = rules_of(ROUTE_INVOCATIONS, SERVING_CHAT, DIALECT_DATABRICKS);
  read_with(&g, &rules, "{\"prompt\": \"x\"}");
  expect_ok(&g);
  assert_false(g.q.raw_prompt);
  request_free(&g.q);
  read_with(&g, &rules, "{\"prompt\": \"x\", \"use_raw_prompt\": true, \"model\": \"other\"}");
  expect_ok(&g);
  assert_true(g.q.raw_prompt);
  assert_string_equal(g.q.ignored, "model");
  request_free(&g.q);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(defaults_are_those_of_both_dialects),
      cmocka_unit_test(every_field_of_a_chat_is_taken),
      cmocka_unit_test(null_counts_as_absent),
      cmocka_unit_test(every_field_of_the_sampling_is_taken),
      cmocka_unit_test(sampling_out_of_range_is_refused_by_name),
      cmocka_unit_test(long_lists_of_ids_are_refused),
      cmocka_unit_test(top_k_may_be_off_in_openais_dialect),
      cmocka_unit_test(values_out_of_range_are_refused_by_name),
      cmocka_unit_test(stop_is_a_string_or_a_short_list),
      cmocka_unit_test(what_cannot_be_done_yet_is_refused_and_not_ignored),
      cmocka_unit_test(unknown_fields_are_named_once),
      cmocka_unit_test(a_flood_of_unknown_fields_makes_no_long_header),
      cmocka_unit_test(strict_fields_refuses_unknown_ones_wherever_it_stands),
      cmocka_unit_test(messages_become_the_context_of_the_template),
      cmocka_unit_test(variables_of_the_template_stand_beside_the_messages),
      cmocka_unit_test(messages_of_a_wrong_form_are_refused_by_place),
      cmocka_unit_test(prompts_are_strings_or_token_ids),
      cmocka_unit_test(wrong_prompts_are_refused),
      cmocka_unit_test(batches_have_the_limits_of_their_dialect),
      cmocka_unit_test(choices_of_a_batch_are_limited_in_all),
      cmocka_unit_test(only_databricks_streams_one_prompt),
      cmocka_unit_test(every_field_of_a_completion_is_taken),
      cmocka_unit_test(fields_of_an_embedding_are_taken_or_refused),
      cmocka_unit_test(a_task_that_the_model_cannot_do_names_the_one_it_can),
      cmocka_unit_test(invocations_wrap_a_prompt_unless_told_otherwise),
  };
  return cmocka_run_group_tests_name("api/request", tests, NULL, NULL);
}
