/* Generations from body to reply: shapes of both dialects, streams, stops, batches, and what goes wrong.
 * SPDX-License-Identifier: Apache-2.0 */
#include "drive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonw.h"

#define CHAT "\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]"

/* ---- chats ---- */

static void a_chat_is_answered_in_openais_shape(void **state) {
  struct drive *d = *state;
  assert_int_equal(drive_post(d, "/v1/chat/completions", "{\"model\": \"chat\", " CHAT "}"), 200);
  struct slice id;
  assert_true(js_str(js_get(d->reply, "id"), &id) && slice_starts(id, SLICE("chatcmpl-")));
  drive_str(d->reply, "object", "chat.completion");
  drive_str(d->reply, "model", "chat");
  drive_str(d->reply, "choices.0.message.role", "assistant");
  drive_str(d->reply, "choices.0.message.content", "Hello there.");
  drive_str(d->reply, "choices.0.finish_reason", "stop");
  drive_type(d->reply, "choices.0.logprobs", JS_NULL);
  drive_int(d->reply, "usage.prompt_tokens", 20); /* <user>hi|<assistant> */
  drive_int(d->reply, "usage.completion_tokens", 13);
  drive_int(d->reply, "usage.total_tokens", 33);
  assert_null(fake_net_header(&d->x, "served-model-name"));
}

static void a_chat_is_answered_in_databricks_shape(void **state) {
  struct drive *d = *state;
  const char *const paths[] = {"/serving-endpoints/chat/invocations", "/serving-endpoints/chat/completions"};
  for (int i = 0; i < 2; i++) {
    assert_int_equal(drive_post(d, paths[i], i ? "{\"model\": \"chat\", " CHAT "}" : "{" CHAT "}"), 200);
    struct slice id;
    assert_true(js_str(js_get(d->reply, "id"), &id) && slice_starts(id, SLICE("chatcmpl_")) && id.len == 9 + 36);
    drive_str(d->reply, "choices.0.message.content", "Hello there.");
    drive_int(d->reply, "usage.total_tokens", 33);
    assert_string_equal(fake_net_header(&d->x, "served-model-name"), "chat");
  }
}

static void an_openai_stream_names_the_role_once_and_ends_with_an_empty_delta(void **state) {
  struct drive *d = *state;
  d->engine->says = "Hi!";
  assert_int_equal(drive_post(d, "/v1/chat/completions", "{\"model\": \"chat\", \"stream\": true, " CHAT "}"), 200);
  assert_true(d->done_event && d->x.ended);
  assert_int_equal(d->n_events, 5); /* role, H, i, !, finish */
  drive_str(d->events[0], "object", "chat.completion.chunk");
  drive_str(d->events[0], "choices.0.delta.role", "assistant");
  drive_str(d->events[0], "choices.0.delta.content", "");
  for (size_t i = 1; i < 5; i++) drive_type(d->events[i], "choices.0.delta.role", JS_NONE);
  drive_type(d->events[3], "choices.0.finish_reason", JS_NULL);
  assert_int_equal(js_len(drive_at(d->events[4], "choices.0.delta")), 0);
  drive_str(d->events[4], "choices.0.finish_reason", "stop");
  for (size_t i = 0; i < 5; i++) drive_type(d->events[i], "usage", JS_NONE);
  assert_string_equal(drive_text(d, 0), "Hi!");
}

static void usage_of_an_openai_stream_comes_last_and_only_when_asked_for(void **state) {
  struct drive *d = *state;
  drive_post(d, "/v1/chat/completions", "{\"model\": \"chat\", \"stream\": true, \"stream_options\": {\"include_usage\": true}, " CHAT "}");
  const struct js *last = d->events[d->n_events - 1];
  drive_type(last, "choices", JS_ARRAY);
  assert_int_equal(js_len(js_get(last, "choices")), 0);
  drive_int(last, "usage.completion_tokens", 13);
  drive_type(d->events[1], "usage", JS_NULL);
}

static void a_databricks_stream_repeats_role_content_and_usage(void **state) {
  struct drive *d = *state;
  d->engine->says = "Hi!";
  drive_post(d, "/serving-endpoints/chat/invocations", "{\"stream\": true, " CHAT "}");
  assert_true(d->done_event);
  assert_int_equal(d->n_events, 4);
  for (size_t i = 0; i < 4; i++) {
    drive_str(d->events[i], "choices.0.delta.role", "assistant");
    drive_type(d->events[i], "choices.0.delta.content", JS_STRING);
    drive_int(d->events[i], "usage.prompt_tokens", 20);
    drive_int(d->events[i], "usage.completion_tokens", (int64_t)i + 1);
    drive_int(d->events[i], "usage.total_tokens", 21 + (int64_t)i);
  }
  drive_str(d->events[3], "choices.0.delta.content", "");
  drive_str(d->events[3], "choices.0.finish_reason", "stop");
}

static void a_stream_is_nothing_but_data_lines(void **state) {
  struct drive *d = *state;
  drive_post(d, "/serving-endpoints/chat/invocations", "{\"stream\": true, " CHAT "}");
  assert_non_null(strstr(d->x.content_type, "text/event-stream"));
  char *save = NULL;
  for (char *line = strtok_r(d->x.out.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
    assert_int_equal(strncmp(line, "data: ", 6), 0);
}

/* Texts with characters of several bytes, told one byte a token. */
static void a_stream_equals_the_whole_reply_byte_for_byte(void **state) {
  struct drive *d = *state;
  const char *const says[] = {"Hello there.", "naïve \xe2\x82\xac 5 \xf0\x9f\x98\x80 ok", "broken \xe2\x82 bytes \xff end", "x\xf0\x9f",
                              "abcabcabcaaab END more"};
  const char *const more[] = {"", ", \"stop\": \"END\"", ", \"stop\": [\"aab\", \"\xe2\x82\xac\"]", ", \"max_tokens\": 9"};
  for (size_t i = 0; i < sizeof says / sizeof *says; i++) {
    for (size_t k = 0; k < sizeof more / sizeof *more; k++) {
      char body[512], whole[256];
      d->engine->says = says[i];
      snprintf(body, sizeof body, "{\"model\": \"chat\", " CHAT "%s}", more[k]);
      assert_int_equal(drive_post(d, "/v1/chat/completions", body), 200);
      snprintf(whole, sizeof whole, "%s", drive_text(d, 0));
      snprintf(body, sizeof body, "{\"model\": \"chat\", \"stream\": true, " CHAT "%s}", more[k]);
      assert_int_equal(drive_post(d, "/v1/chat/completions", body), 200);
      assert_string_equal(drive_text(d, 0), whole);
    }
  }
}

static void a_stop_string_is_not_in_the_text_and_counts_its_tokens(void **state) {
  struct drive *d = *state;
  for (int blind = 0; blind < 2; blind++) {
    d->engine->blind = blind;
    d->engine->says = "one two three";
    drive_post(d, "/v1/chat/completions", "{\"model\": \"chat\", \"stop\": [\"three\", \"tw\"], " CHAT "}");
    drive_str(d->reply, "choices.0.message.content", "one ");
    drive_str(d->reply, "choices.0.finish_reason", "stop");
    drive_int(d->reply, "usage.completion_tokens", 6);
  }
  assert_int_equal(d->engine->n_cancelled, 1); /* the engine that did not see it was told */
}

static void max_tokens_ends_with_length(void **state) {
  struct drive *d = *state;
  drive_post(d, "/v1/chat/completions", "{\"model\": \"chat\", \"max_tokens\": 5, " CHAT "}");
  drive_str(d->reply, "choices.0.message.content", "Hello");
  drive_str(d->reply, "choices.0.finish_reason", "length");
  drive_int(d->reply, "usage.completion_tokens", 5);
}

static void without_max_tokens_a_text_may_fill_the_context(void **state) {
  struct drive *d = *state;
  drive_post(d, "/v1/chat/completions", "{\"model\": \"chat\", \"ignore_eos\": true, " CHAT "}");
  drive_str(d->reply, "choices.0.finish_reason", "length");
  drive_int(d->reply, "usage.total_tokens", FAKE_CONTEXT);
}

static void choices_differ_by_seed_and_the_first_is_that_of_n_1(void **state) {
  struct drive *d = *state;
  drive_post(d, "/v1/chat/completions", "{\"model\": \"chat\", \"n\": 3, \"seed\": 42, " CHAT "}");
  assert_int_equal(js_len(js_get(d->reply, "choices")), 3);
  for (int i = 0; i < 3; i++) assert_string_equal(drive_text(d, i), "Hello there.");
  drive_int(d->reply, "choices.2.index", 2);
  drive_int(d->reply, "usage.prompt_tokens", 20); /* once */
  drive_int(d->reply, "usage.completion_tokens", 39);
  assert_true(d->engine->seeds[0] == 42 && d->engine->seeds[1] != 42 && d->engine->seeds[1] != d->engine->seeds[2]);
}

static void without_a_seed_each_request_draws_its_own(void **state) {
  struct drive *d = *state;
  drive_post(d, "/v1/chat/completions", "{\"model\": \"chat\", " CHAT "}");
  drive_post(d, "/v1/chat/completions", "{\"model\": \"chat\", " CHAT "}");
  assert_true(d->engine->seeds[0] != d->engine->seeds[1]);
}

static void without_a_seed_the_prompts_of_a_batch_draw_apart(void **state) {
  struct drive *d = *state;
  drive_post(d, "/v1/completions", "{\"model\": \"base\", \"prompt\": [\"a\", \"a\"], \"max_tokens\": 1}");
  assert_true(d->engine->seeds[0] != d->engine->seeds[1]);
  d->engine->n_asked = 0;
  drive_post(d, "/v1/completions", "{\"model\": \"base\", \"prompt\": [\"a\", \"a\"], \"max_tokens\": 1, \"seed\": 5}");
  assert_true(d->engine->seeds[0] == 5 && d->engine->seeds[1] == 5);
}

static void sampling_reaches_the_engine(void **state) {
  struct drive *d = *state;
  drive_post(d, "/v1/chat/completions",
             "{\"model\": \"chat\", \"temperature\": 0.5, \"top_p\": 0.25, \"top_k\": 9, \"ignore_eos\": true, \"max_tokens\": 3, " CHAT
             "}");
  const struct serving_request *r = &d->engine->last;
  assert_true(r->temperature == 0.5 && r->top_p == 0.25 && r->top_k == 9 && r->ignore_eos && r->max_tokens == 3 && r->top_logprobs == -1);
  assert_true(r->timeout_ms > 500000 && r->timeout_ms <= 600000);
}

static void all_of_the_sampling_reaches_the_engine(void **state) {
  struct drive *d = *state;
  const char *const paths[] = {"/v1/chat/completions", "/serving-endpoints/chat/completions"};
  for (int i = 0; i < 2; i++) {
    drive_post(d, paths[i],
               "{\"model\": \"chat\", \"min_p\": 0.125, \"presence_penalty\": 0.5, \"frequency_penalty\": -0.5, "
               "\"repetition_penalty\": 1.25, \"logit_bias\": {\"72\": -7}, \"stop_token_ids\": [9, 10], \"min_tokens\": 2, "
               "\"strict_fields\": true, " CHAT "}");
    const struct serving_request *r = &d->engine->last;
    assert_true(r->min_p == 0.125 && r->presence_penalty == 0.5 && r->frequency_penalty == -0.5 && r->repetition_penalty == 1.25);
    assert_true(r->n_biases == 1 && d->engine->bias.id == 72 && d->engine->bias.bias == -7);
    assert_true(r->n_stop_ids == 2 && d->engine->stop_id == 9 && r->min_tokens == 2);
  }
}

static void expect_sampling(const struct js *choice, uint64_t seed) {
  double x;
  drive_type(choice, "sampling.top_k", JS_NULL);
  assert_true(js_real(drive_at(choice, "sampling.temperature"), &x) && x == 0.7);
  assert_true(js_real(drive_at(choice, "sampling.top_p"), &x) && x == 1);
  assert_true(js_real(drive_at(choice, "sampling.repetition_penalty"), &x) && x == 1);
  assert_true(js_real(js_get(drive_at(choice, "sampling.logit_bias"), "72"), &x) && x == -7.5);
  drive_int(choice, "sampling.seed", (int64_t)seed);
  drive_int(choice, "sampling.max_tokens", FAKE_CONTEXT - 20);
  drive_int(choice, "sampling.min_tokens", 3);
  drive_str(choice, "sampling.stop.0", "zz");
  drive_int(choice, "sampling.stop_token_ids.0", 9);
  drive_type(choice, "sampling.ignore_eos", JS_FALSE);
}

static void a_reply_says_what_it_was_made_with_when_asked(void **state) {
  struct drive *d = *state;
  const char *const paths[] = {"/v1/chat/completions", "/serving-endpoints/chat/completions"};
  for (int i = 0; i < 4; i++) {
    char body[512];
    snprintf(body, sizeof body,
             "{\"model\": \"chat\", \"temperature\": 0.7, \"logit_bias\": {\"72\": -7.5}, \"stop\": \"zz\", \"stop_token_ids\": "
             "[9], \"min_tokens\": 3, \"n\": 2, \"return_sampling\": true, \"stream\": %s, " CHAT "}",
             i / 2 ? "true" : "false");
    d->engine->n_asked = 0;
    assert_int_equal(drive_post(d, paths[i % 2], body), 200);
    if (i / 2 == 0) {
      for (size_t k = 0; k < 2; k++) expect_sampling(js_at(js_get(d->reply, "choices"), k), d->engine->seeds[k]);
      continue;
    }
    size_t seen = 0;
    for (size_t k = 0; k < d->n_events; k++) {
      const struct js *choice = drive_at(d->events[k], "choices.0");
      bool last = js_type(js_get(choice, "finish_reason")) == JS_STRING;
      if (!last) drive_type(choice, "sampling", JS_NONE);
      else expect_sampling(choice, d->engine->seeds[seen++]);
    }
    assert_int_equal(seen, 2);
  }
  drive_post(d, "/v1/chat/completions", "{\"model\": \"chat\", " CHAT "}");
  drive_type(d->reply, "choices.0.sampling", JS_NONE);
}

/* A seed that is made here survives a client whose numbers are doubles. */
static void seeds_that_were_not_asked_for_have_53_bits(void **state) {
  struct drive *d = *state;
  for (int i = 0; i < 20; i++) {
    d->engine->n_asked = 0;
    drive_post(d, "/v1/chat/completions", "{\"model\": \"chat\", \"n\": 4, \"max_tokens\": 1, " CHAT "}");
    for (int k = 0; k < 4; k++) assert_true(d->engine->seeds[k] < (uint64_t)1 << 53);
  }
}

static void what_one_reply_says_makes_the_same_request_again(void **state) {
  struct drive *d = *state;
  drive_post(d, "/v1/completions",
             "{\"model\": \"base\", \"prompt\": [\"a\", \"b\"], \"n\": 2, \"max_tokens\": 4, \"return_sampling\": true}");
  for (size_t i = 0; i < 4; i++) {
    struct buf body = {0};
    struct jsonw w = {.out = &body};
    uint64_t seed = d->engine->seeds[i];
    const struct js *sampling = js_get(js_at(js_get(d->reply, "choices"), i), "sampling");
    jsonw_object_begin(&w);
    jsonw_key_cstr(&w, "model", "base");
    jsonw_key_cstr(&w, "prompt", i < 2 ? "a" : "b");
    for (void *it = js_iter(sampling); it; it = js_iter_next(sampling, it)) {
      struct slice key;
      const struct js *v;
      js_iter_get(it, &key, &v);
      jsonw_key_slice(&w, key);
      jsonw_value(&w, v);
    }
    jsonw_key_bool(&w, "strict_fields", true);
    jsonw_object_end(&w);
    struct js *first = d->reply;
    d->reply = NULL;
    assert_int_equal(drive_post(d, "/v1/completions", body.data), 200);
    assert_true(d->engine->last.seed == seed && d->engine->last.max_tokens == 4 && d->engine->last.temperature == 1);
    js_free(d->reply);
    d->reply = first;
    buf_free(&body);
  }
}

static void stop_strings_end_nothing_before_min_tokens(void **state) {
  struct drive *d = *state;
  d->engine->blind = true;
  d->engine->says = "one two one two";
  drive_post(d, "/v1/chat/completions", "{\"model\": \"chat\", \"stop\": [\"two\", \"ne t\"], \"min_tokens\": 7, " CHAT "}");
  drive_str(d->reply, "choices.0.message.content", "one two o");
  drive_int(d->reply, "usage.completion_tokens", 13);
  d->engine->says = "one two three";
  drive_post(d, "/v1/chat/completions", "{\"model\": \"chat\", \"stop\": \"two\", \"min_tokens\": 6, " CHAT "}");
  drive_str(d->reply, "choices.0.message.content", "one "); /* begun before, completed by the seventh */
  drive_int(d->reply, "usage.completion_tokens", 7);
}

static void min_tokens_must_fit_into_the_context(void **state) {
  struct drive *d = *state;
  drive_refused(d, "/v1/chat/completions", "{\"model\": \"chat\", \"min_tokens\": 45, " CHAT "}", "min_tokens",
                "20 tokens and `min_tokens` is 45");
  drive_post(d, "/v1/chat/completions", "{\"model\": \"chat\", \"min_tokens\": 44, " CHAT "}");
  assert_int_equal(d->engine->last.min_tokens, 44);
}

static void logprobs_of_a_chat_are_an_entry_for_each_token(void **state) {
  struct drive *d = *state;
  d->engine->says = "a\xc3\xa9"; /* aé: three tokens */
  drive_post(d, "/v1/chat/completions", "{\"model\": \"chat\", \"logprobs\": true, \"top_logprobs\": 2, " CHAT "}");
  assert_int_equal(js_len(drive_at(d->reply, "choices.0.logprobs.content")), 3);
  drive_str(d->reply, "choices.0.logprobs.content.0.token", "a");
  drive_int(d->reply, "choices.0.logprobs.content.1.bytes.0", 0xc3);
  drive_int(d->reply, "choices.0.logprobs.content.2.bytes.0", 0xa9);
  assert_int_equal(js_len(drive_at(d->reply, "choices.0.logprobs.content.0.top_logprobs")), 2);
  drive_str(d->reply, "choices.0.logprobs.content.0.top_logprobs.1.token", "b");
}

static void logprobs_of_a_stream_come_with_their_text(void **state) {
  struct drive *d = *state;
  d->engine->says = "a\xc3\xa9 stop here";
  drive_post(d, "/v1/chat/completions", "{\"model\": \"chat\", \"stream\": true, \"logprobs\": true, \"stop\": \"stop\", " CHAT "}");
  size_t n = 0;
  struct buf bytes = {0};
  for (size_t i = 0; i < d->n_events; i++) {
    const struct js *list = drive_at(d->events[i], "choices.0.logprobs.content");
    for (size_t k = 0; k < js_len(list); k++, n++) {
      int64_t byte;
      assert_true(js_int(drive_at(js_at(list, k), "bytes.0"), &byte));
      buf_add_byte(&bytes, (unsigned char)byte);
    }
  }
  assert_int_equal(n, 4); /* a, two of é, the space: none of the stop string's */
  assert_string_equal(bytes.data, "a\xc3\xa9 ");
  assert_string_equal(drive_text(d, 0), "a\xc3\xa9 ");
  buf_free(&bytes);
}

/* ---- completions ---- */

static void a_completion_takes_the_prompt_as_it_is(void **state) {
  struct drive *d = *state;
  const char *const paths[] = {"/v1/completions", "/serving-endpoints/completions"};
  for (int i = 0; i < 2; i++) {
    assert_int_equal(drive_post(d, paths[i], "{\"model\": \"chat\", \"prompt\": \"abc\"}"), 200);
    drive_str(d->reply, "object", "text_completion");
    drive_str(d->reply, "choices.0.text", "Hello there.");
    drive_int(d->reply, "usage.prompt_tokens", 3);
    struct slice id;
    assert_true(js_str(js_get(d->reply, "id"), &id) && slice_starts(id, i ? SLICE("cmpl_") : SLICE("cmpl-")));
  }
  drive_post(d, "/serving-endpoints/chat/invocations", "{\"prompt\": \"abc\"}"); /* in the template */
  drive_int(d->reply, "usage.prompt_tokens", 21);
  drive_post(d, "/serving-endpoints/chat/invocations", "{\"prompt\": \"abc\", \"use_raw_prompt\": true}");
  drive_int(d->reply, "usage.prompt_tokens", 3);
  drive_post(d, "/serving-endpoints/base/invocations", "{\"prompt\": \"abc\"}");
  drive_int(d->reply, "usage.prompt_tokens", 3);
}

/* The template of this test counts what it is told. */
static void settings_of_a_request_reach_the_chat_template(void **state) {
  struct drive *d = *state;
  static const struct {
    const char *field;
    int tokens;
  } cases[] = {{"", 19}, {"\"continue_final_message\": true, ", 27}, {"\"allow_special_tokens_in_content\": true, ", 27}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    char body[256];
    snprintf(body, sizeof body, "{%s\"model\": \"chat\", \"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}", cases[i].field);
    assert_int_equal(drive_post(d, "/v1/chat/completions", body), 200);
    drive_int(d->reply, "usage.prompt_tokens", cases[i].tokens);
  }
  drive_post(d, "/serving-endpoints/chat/invocations", "{\"prompt\": \"abc\", \"allow_special_tokens_in_content\": true}");
  drive_int(d->reply, "usage.prompt_tokens", 29);
}

static void echo_and_suffix_stand_around_the_completion(void **state) {
  struct drive *d = *state;
  drive_post(d, "/v1/completions", "{\"model\": \"base\", \"prompt\": \"pro \", \"echo\": true, \"suffix\": \" fin\", \"max_tokens\": 5}");
  drive_str(d->reply, "choices.0.text", "pro Hello fin");
  drive_post(d, "/v1/completions",
             "{\"model\": \"base\", \"prompt\": [104, 105], \"echo\": true, \"suffix\": \"!\", \"stream\": true, \"max_tokens\": 5}");
  assert_string_equal(drive_text(d, 0), "hiHello!");
}

static void logprobs_of_a_completion_have_the_old_shape(void **state) {
  struct drive *d = *state;
  d->engine->says = "\xc3\xa9z";
  drive_post(d, "/v1/completions", "{\"model\": \"base\", \"prompt\": \"xy\", \"echo\": true, \"logprobs\": 1, \"max_tokens\": 3}");
  const struct js *l = drive_at(d->reply, "choices.0.logprobs");
  assert_int_equal(js_len(js_get(l, "tokens")), 5);
  drive_str(l, "tokens.0", "x");
  drive_str(l, "tokens.2", "bytes:\\xc3");
  drive_type(l, "token_logprobs.0", JS_NULL);
  drive_type(l, "token_logprobs.1", JS_REAL);
  drive_type(l, "top_logprobs.0", JS_NULL);
  assert_int_equal(js_len(drive_at(l, "top_logprobs.4")), 2); /* the likeliest and the token itself */
  drive_type(l, "top_logprobs.4.z", JS_REAL);
  const int offsets[] = {0, 1, 2, 2, 3}; /* characters, not bytes */
  for (int i = 0; i < 5; i++) {
    char path[32];
    snprintf(path, sizeof path, "text_offset.%d", i);
    drive_int(l, path, offsets[i]);
  }
}

static void expect_offsets(const struct drive *d, const int *offsets, int n) {
  for (int i = 0; i < n; i++) {
    char path[64];
    snprintf(path, sizeof path, "choices.0.logprobs.text_offset.%d", i);
    drive_int(d->reply, path, offsets[i]);
  }
}

static void offsets_count_what_stands_for_broken_bytes(void **state) {
  struct drive *d = *state;
  d->engine->says = "a\xe2\x82z\xc3\xc3\xa9y";
  drive_post(d, "/v1/completions", "{\"model\": \"base\", \"prompt\": \"x\", \"logprobs\": 0, \"max_tokens\": 8}");
  drive_str(d->reply, "choices.0.text", "a\xef\xbf\xbdz\xef\xbf\xbd\xc3\xa9y");
  expect_offsets(d, (const int[]){0, 1, 1, 2, 3, 4, 4, 5}, 8);
}

static void offsets_count_special_tokens_that_the_prompt_spells_out(void **state) {
  struct drive *d = *state;
  drive_post(d, "/v1/completions", "{\"model\": \"base\", \"prompt\": \"x[CLS]yz\", \"echo\": true, \"logprobs\": 0, \"max_tokens\": 1}");
  drive_str(d->reply, "choices.0.text", "x[CLS]yzH");
  expect_offsets(d, (const int[]){0, 1, 6, 7, 8}, 5);
}

static void a_prompt_can_be_scored_alone(void **state) {
  struct drive *d = *state;
  drive_post(d, "/v1/completions", "{\"model\": \"base\", \"prompt\": \"xyz\", \"echo\": true, \"logprobs\": 0, \"max_tokens\": 0}");
  drive_str(d->reply, "choices.0.text", "xyz");
  drive_int(d->reply, "usage.completion_tokens", 0);
  assert_int_equal(js_len(drive_at(d->reply, "choices.0.logprobs.tokens")), 3);
  drive_type(d->reply, "choices.0.logprobs.top_logprobs", JS_NULL);
  drive_str(d->reply, "choices.0.finish_reason", "length");
}

static void a_batch_keeps_its_order_and_a_window_in_the_engine(void **state) {
  struct drive *d = *state;
  struct buf body = {0};
  buf_add_cstr(&body, "{\"model\": \"base\", \"n\": 2, \"echo\": true, \"max_tokens\": 3, \"prompt\": [");
  for (int i = 0; i < 200; i++) buf_printf(&body, "%s\"%d-\"", i ? ", " : "", i);
  buf_add_cstr(&body, "]}");
  assert_int_equal(drive_post(d, "/v1/completions", body.data), 200);
  buf_free(&body);
  assert_int_equal(js_len(js_get(d->reply, "choices")), 400);
  drive_str(d->reply, "choices.0.text", "0-Hel");
  drive_str(d->reply, "choices.399.text", "199-Hel");
  drive_int(d->reply, "choices.399.index", 399);
  drive_int(d->reply, "usage.completion_tokens", 1200);
  assert_true(d->engine->n_alive_max <= 64);
}

static void a_batch_under_way_is_finished_during_a_drain(void **state) {
  struct drive *d = *state;
  struct buf body = {0};
  buf_add_cstr(&body, "{\"model\": \"base\", \"max_tokens\": 3, \"prompt\": [");
  for (int i = 0; i < 200; i++) buf_printf(&body, "%s\"%d-\"", i ? ", " : "", i);
  buf_add_cstr(&body, "]}");
  drive_arrive(d, "POST", "/v1/completions", buf_view(&body));
  while (d->engine->n_asked == 0) assert_true(drive_turn(d));
  assert_true(d->engine->n_asked < 200);
  d->engine->drains = true;
  error_set(&d->engine->refuses, ERROR_UNAVAILABLE, "The server is shutting down.");
  drive_rest(d);
  buf_free(&body);
  assert_int_equal(d->x.status, 200);
  assert_int_equal(js_len(js_get(d->reply, "choices")), 200);
  assert_int_equal(drive_post(d, "/v1/completions", "{\"model\": \"base\", \"prompt\": \"a\"}"), 503);
}

static void a_streamed_batch_finishes_every_choice(void **state) {
  struct drive *d = *state;
  drive_post(d, "/v1/completions", "{\"model\": \"base\", \"stream\": true, \"n\": 2, \"prompt\": [\"a\", \"b\"], \"max_tokens\": 4}");
  assert_true(d->done_event);
  for (int i = 0; i < 4; i++) assert_string_equal(drive_text(d, i), "Hell");
}

static void one_step_of_many_choices_is_one_write(void **state) {
  struct drive *d = *state;
  drive_post(d, "/v1/completions", "{\"model\": \"base\", \"stream\": true, \"n\": 8, \"prompt\": \"a\", \"max_tokens\": 4}");
  assert_true(d->n_events >= 32);
  assert_true(d->x.n_writes <= 5);
}

/* ---- does it fit ---- */

static void too_long_a_prompt_is_refused_with_both_counts(void **state) {
  struct drive *d = *state;
  struct buf body = {0};
  buf_add_cstr(&body, "{\"model\": \"base\", \"prompt\": \"");
  for (int i = 0; i < 64; i++) buf_add_byte(&body, 'x');
  buf_add_cstr(&body, "\"}");
  drive_refused(d, "/v1/completions", body.data, "prompt",
                "maximum context length is 64 tokens, one of them for the reply. However, your prompt resulted in 64 tokens");
  drive_str(d->reply, "error.code", "context_length_exceeded");
  drive_refused(d, "/serving-endpoints/completions", body.data, NULL, "Bad request: prompt token count (64) cannot exceed 63");
  buf_free(&body);
  drive_refused(d, "/v1/chat/completions", "{\"model\": \"chat\", \"max_tokens\": 45, " CHAT "}", "messages",
                "you requested 65 tokens (20 in the messages, 45 in the completion)");
  drive_refused(d, "/serving-endpoints/chat/invocations", "{\"max_tokens\": 45, " CHAT "}", NULL,
                "prompt token count (20) plus max_tokens (45) cannot exceed 64");
  assert_int_equal(drive_post(d, "/v1/chat/completions", "{\"model\": \"chat\", \"max_tokens\": 44, " CHAT "}"), 200);
}

static void where_the_server_cut_the_context_a_refusal_names_the_way_out(void **state) {
  struct drive *d = *state;
  const char *note = "The model itself takes 4096 tokens; the KV memory of this server (--kv-mib) holds 64.";
  d->engine->endpoints[0].whole_context_tokens = 4096;
  drive_refused(d, "/v1/chat/completions", "{\"model\": \"chat\", \"max_tokens\": 45, " CHAT "}", "messages", note);
  drive_refused(d, "/serving-endpoints/chat/invocations", "{\"max_tokens\": 45, " CHAT "}", NULL, note);
  d->engine->endpoints[0].whole_context_tokens = 64;
  assert_int_equal(drive_post(d, "/v1/chat/completions", "{\"model\": \"chat\", \"max_tokens\": 45, " CHAT "}"), 400);
  struct slice message;
  assert_true(js_str(drive_at(d->reply, "error.message"), &message) && slice_ends(message, SLICE("or completion.")));
}

static void truncate_gives_as_many_tokens_as_fit(void **state) {
  struct drive *d = *state;
  assert_int_equal(drive_post(d, "/serving-endpoints/base/invocations",
                              "{\"prompt\": \"0123456789\", \"max_tokens\": 1000, \"error_behavior\": \"truncate\", \"ignore_eos\": true}"),
                   200);
  drive_int(d->reply, "usage.total_tokens", FAKE_CONTEXT);
  struct buf body = {0};
  buf_add_cstr(&body, "{\"error_behavior\": \"truncate\", \"echo\": true, \"max_tokens\": 10, \"prompt\": \"");
  for (int i = 0; i < 100; i++) buf_printf(&body, "%02d", i);
  buf_add_cstr(&body, "\"}");
  assert_int_equal(drive_post(d, "/serving-endpoints/base/invocations", body.data), 200);
  buf_free(&body);
  drive_int(d->reply, "usage.prompt_tokens", 54);
  assert_int_equal(strncmp(drive_text(d, 0), "73747576", 8), 0); /* the end of the prompt stays */
}

static void an_empty_prompt_is_refused(void **state) {
  struct drive *d = *state;
  drive_refused(d, "/v1/completions", "{\"model\": \"base\", \"prompt\": \"\"}", "prompt", "The prompt is empty");
}

static void of_several_prompts_the_wrong_one_is_named(void **state) {
  struct drive *d = *state;
  drive_refused(d, "/v1/completions", "{\"model\": \"base\", \"prompt\": [\"a\", \"\"]}", "prompt[1]", "`prompt[1]`: The prompt is empty");
  drive_refused(d, "/v1/embeddings", "{\"model\": \"embed\", \"input\": [\"a\", \"b\", \"0123456789abcdef\"]}", "input[2]",
                "`input[2]`: The input token count (18)");
}

static void what_the_template_refuses_is_told(void **state) {
  struct drive *d = *state;
  drive_refused(d, "/v1/chat/completions", "{\"model\": \"chat\", \"messages\": [{\"role\": \"user\", \"content\": \"refuse me\"}]}",
                "messages", "The template refuses this.");
}

/* ---- which endpoint ---- */

static void an_unknown_endpoint_is_404_in_the_dialect(void **state) {
  struct drive *d = *state;
  assert_int_equal(drive_post(d, "/v1/chat/completions", "{\"model\": \"none\", " CHAT "}"), 404);
  drive_str(d->reply, "error.code", "model_not_found");
  drive_str(d->reply, "error.param", "model");
  assert_int_equal(drive_post(d, "/serving-endpoints/none/invocations", "{" CHAT "}"), 404);
  drive_str(d->reply, "error_code", "ENDPOINT_NOT_FOUND");
  drive_str(d->reply, "message",
            "The given endpoint does not exist, please retry after checking the specified model and version deployment exists.");
}

static void a_missing_model_is_400(void **state) {
  struct drive *d = *state;
  drive_refused(d, "/v1/chat/completions", "{" CHAT "}", "model", "`model` is required");
  drive_refused(d, "/v1/chat/completions", "{\"model\": 7, " CHAT "}", "model", "must be a string");
}

static void an_endpoint_that_failed_says_why(void **state) {
  struct drive *d = *state;
  assert_int_equal(drive_post(d, "/v1/chat/completions", "{\"model\": \"broken\", " CHAT "}"), 503);
  drive_str(d->reply, "error.message", "Endpoint 'broken' cannot serve: its file is truncated.");
}

static void a_task_mismatch_is_400_and_names_the_task(void **state) {
  struct drive *d = *state;
  drive_refused(d, "/v1/chat/completions", "{\"model\": \"embed\", " CHAT "}", "model", "llm/v1/embeddings");
  drive_refused(d, "/v1/chat/completions", "{\"model\": \"base\", " CHAT "}", "model", "llm/v1/completions");
  drive_refused(d, "/v1/embeddings", "{\"model\": \"chat\", \"input\": \"x\"}", "model", "llm/v1/chat");
}

static void a_request_waits_until_the_window_is_known(void **state) {
  struct drive *d = *state;
  d->engine->late_figures = 5;
  assert_int_equal(drive_post(d, "/v1/chat/completions", "{\"model\": \"chat\", " CHAT "}"), 200);
  assert_string_equal(drive_text(d, 0), "Hello there.");
}

static void a_request_does_not_wait_for_a_window_that_will_not_come(void **state) {
  struct drive *d = *state;
  d->engine->late_figures = 1000000;
  error_set(&d->engine->refuses, ERROR_UNAVAILABLE, "The engine cannot be started.");
  assert_int_equal(drive_post(d, "/v1/chat/completions", "{\"model\": \"chat\", " CHAT "}"), 503);
  assert_int_equal(drive_post(d, "/serving-endpoints/chat/invocations", "{" CHAT "}"), 503);
  drive_str(d->reply, "message", "The engine cannot be started.");
}

static void a_client_that_leaves_meanwhile_leaves_nothing_behind(void **state) {
  struct drive *d = *state;
  d->engine->late_figures = 50;
  drive_arrive(d, "POST", "/v1/chat/completions", SLICE("{\"model\": \"chat\", " CHAT "}"));
  drive_turn(d);
  fake_net_leave(&d->x);
  drive_rest(d);
  assert_int_equal(d->x.status, 0);
}

/* ---- bodies ---- */

static void a_body_that_is_no_json_object_is_400(void **state) {
  struct drive *d = *state;
  drive_refused(d, "/v1/chat/completions", "", NULL, "The body is empty");
  drive_refused(d, "/v1/chat/completions", "{\"model\": ", NULL, "not valid JSON");
  drive_refused(d, "/v1/chat/completions", "[1]", NULL, "must be a JSON object, not array");
  drive_refused(d, "/serving-endpoints/chat/invocations", "{\"a\": 1, \"a\": 2}", NULL, "not valid JSON");
}

static void a_compressed_body_is_415(void **state) {
  struct drive *d = *state;
  static const char *const codings[] = {"gzip", "identity"};
  for (int i = 0; i < 2; i++) {
    js_free(d->reply);
    d->reply = NULL;
    exchange_free(&d->x);
    d->x = (struct exchange){
        .method = "POST", .path = "/v1/chat/completions", .encoding = codings[i], .body = SLICE("{\"model\": \"chat\", " CHAT "}")};
    fake_net_arrive(d->net, &d->x);
    drive_rest(d);
    assert_int_equal(d->x.status, i ? 200 : 415);
  }
}

static void a_big_body_is_parsed_by_a_worker_with_the_same_result(void **state) {
  struct drive *d = *state;
  struct buf body = {0};
  buf_add_cstr(&body, "{\"model\": \"chat\", \"padding\": \"");
  for (int i = 0; i < 100000; i++) buf_add_byte(&body, 'x');
  buf_add_cstr(&body, "\", " CHAT "}");
  assert_int_equal(drive_post(d, "/v1/chat/completions", body.data), 200);
  assert_string_equal(drive_text(d, 0), "Hello there.");
  assert_string_equal(fake_net_header(&d->x, "X-Plinth-Ignored-Fields"), "padding");
  body.data[body.len - 1] = 'x';
  assert_int_equal(drive_post(d, "/v1/chat/completions", body.data), 400);
  buf_free(&body);
}

static void make_big(struct buf *body, const char *rest) {
  buf_add_cstr(body, "{\"padding\": \"");
  for (int i = 0; i < 2 << 20; i++) buf_add_byte(body, 'x');
  buf_printf(body, "\", %s}", rest);
}

/* Three at once: one whose client leaves while it waits for its turn, one that is refused, one that is served. */
static void big_bodies_take_turns(void **state) {
  struct drive *d = *state;
  struct buf bodies[3] = {{0}};
  struct exchange x[3];
  make_big(&bodies[0], "\"model\": \"none\"");
  make_big(&bodies[1], "\"model\": \"chat\", " CHAT);
  make_big(&bodies[2], "\"model\": \"chat\", " CHAT);
  for (int i = 0; i < 3; i++) {
    x[i] = (struct exchange){.method = "POST", .path = "/v1/chat/completions", .body = buf_view(&bodies[i])};
    fake_net_arrive(d->net, &x[i]);
  }
  fake_net_leave(&x[1]);
  drive_turn(d);
  assert_true(x[0].status == 404 && x[2].status == 0);
  while (drive_turn(d)) continue;
  assert_true(x[1].status == 0 && x[2].status == 200);
  for (int i = 0; i < 3; i++) {
    buf_free(&bodies[i]);
    exchange_free(&x[i]);
  }
}

static void a_client_with_a_big_body_may_leave_at_any_moment(void **state) {
  struct drive *d = *state;
  struct buf body = {0};
  make_big(&body, "\"model\": \"chat\", " CHAT);
  for (int when = 0; when < 6; when++) {
    drive_arrive(d, "POST", "/v1/chat/completions", buf_view(&body));
    for (int i = 0; i < when; i++) drive_turn(d);
    if (!d->x.gone) fake_net_leave(&d->x);
    while (drive_turn(d)) continue;
  }
  assert_int_equal(drive_post(d, "/v1/chat/completions", body.data), 200);
  buf_free(&body);
}

static void ignored_fields_are_named_on_streams_too(void **state) {
  struct drive *d = *state;
  drive_post(d, "/v1/chat/completions", "{\"model\": \"chat\", \"stream\": true, \"best_of\": {}, \"length_penalty\": 0, " CHAT "}");
  assert_string_equal(fake_net_header(&d->x, "X-Plinth-Ignored-Fields"), "best_of, length_penalty");
}

/* ---- what goes wrong ---- */

static void an_engine_that_cannot_serve_is_503_with_retry_after(void **state) {
  struct drive *d = *state;
  d->engine->refuses = (struct error){.code = ERROR_UNAVAILABLE, .message = "The engine is being restarted."};
  assert_int_equal(drive_post(d, "/v1/chat/completions", "{\"model\": \"chat\", \"stream\": true, " CHAT "}"), 503);
  assert_true(atoi(fake_net_header(&d->x, "Retry-After")) > 0);
  drive_str(d->reply, "error.type", "server_error");
  assert_int_equal(drive_post(d, "/serving-endpoints/chat/invocations", "{" CHAT "}"), 503);
  drive_str(d->reply, "error_code", "TEMPORARILY_UNAVAILABLE");
}

static void an_engine_that_dies_before_the_reply_is_503(void **state) {
  struct drive *d = *state;
  d->engine->dies_after = 4;
  d->engine->dies_with = (struct error){.code = ERROR_UNAVAILABLE, .message = "The engine died."};
  assert_int_equal(drive_post(d, "/v1/chat/completions", "{\"model\": \"chat\", \"n\": 3, " CHAT "}"), 503);
  assert_non_null(fake_net_header(&d->x, "Retry-After"));
  assert_int_equal(d->engine->n_alive, 0);
}

static void an_engine_that_dies_in_a_stream_ends_it_with_an_error_and_no_done(void **state) {
  struct drive *d = *state;
  const char *const paths[] = {"/v1/chat/completions", "/serving-endpoints/chat/completions"};
  for (int i = 0; i < 2; i++) {
    d->engine->dies_after = 4;
    d->engine->dies_with = (struct error){.code = ERROR_UNAVAILABLE, .message = "The engine died."};
    assert_int_equal(drive_post(d, paths[i], "{\"model\": \"chat\", \"stream\": true, " CHAT "}"), 200);
    assert_true(d->x.aborted && !d->done_event);
    drive_str(d->events[d->n_events - 1], "error.message", "The engine died.");
    if (i) drive_str(d->events[d->n_events - 1], "error_code", "TEMPORARILY_UNAVAILABLE");
    assert_string_equal(drive_text(d, 0), "Hel");
  }
}

static void an_error_before_the_first_token_of_a_stream_has_its_own_status(void **state) {
  struct drive *d = *state;
  d->engine->dies_after = 1;
  d->engine->dies_with = (struct error){.code = ERROR_TIMEOUT, .message = "The time limit passed."};
  assert_int_equal(drive_post(d, "/serving-endpoints/chat/invocations", "{\"stream\": true, " CHAT "}"), 504);
  assert_false(d->x.streamed);
  drive_str(d->reply, "error_code", "DEADLINE_EXCEEDED");
  drive_str(d->reply, "message", "The request was not finished within its time limit of 600 s.");
}

static void truncate_keeps_what_was_made_when_time_runs_out(void **state) {
  struct drive *d = *state;
  d->engine->dies_after = 4;
  d->engine->dies_with = (struct error){.code = ERROR_TIMEOUT, .message = "The time limit passed."};
  assert_int_equal(drive_post(d, "/serving-endpoints/base/invocations", "{\"prompt\": \"x\", \"error_behavior\": \"truncate\"}"), 200);
  drive_str(d->reply, "choices.0.text", "Hel");
  drive_str(d->reply, "choices.0.finish_reason", "length");
}

static void a_client_that_leaves_cancels_all_its_sequences(void **state) {
  struct drive *d = *state;
  drive_arrive(d, "POST", "/v1/completions", SLICE("{\"model\": \"base\", \"prompt\": [\"a\", \"b\"], \"n\": 2, \"stream\": true}"));
  for (int i = 0; i < 3; i++) drive_turn(d);
  assert_int_equal(d->engine->n_alive, 4);
  fake_net_leave(&d->x);
  assert_int_equal(d->engine->n_cancelled, 4);
  drive_rest(d);
  assert_int_equal(d->engine->n_alive, 0);
}

static void a_client_may_leave_at_any_moment(void **state) {
  struct drive *d = *state;
  for (int when = 0; when < 20; when++) {
    drive_arrive(d, "POST", "/v1/completions", SLICE("{\"model\": \"base\", \"prompt\": \"a\", \"n\": 2, \"stream\": true}"));
    for (int i = 0; i < when; i++) drive_turn(d);
    if (!d->x.gone) fake_net_leave(&d->x);
    while (drive_turn(d)) continue;
    assert_int_equal(d->engine->n_alive, 0);
  }
}

static void a_reader_that_is_too_slow_is_dropped(void **state) {
  struct drive *d = *state;
  drive_arrive(d, "POST", "/v1/completions",
               SLICE("{\"model\": \"base\", \"prompt\": \"a\", \"n\": 3, \"stream\": true, \"ignore_eos\": true}"));
  d->x.room = 2000;
  while (drive_turn(d)) continue;
  assert_true(d->x.gone && !d->x.ended);
  assert_int_equal(d->engine->n_alive, 0);
}

#define DRIVEN(f) cmocka_unit_test_setup_teardown(f, drive_setup, drive_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      DRIVEN(a_chat_is_answered_in_openais_shape),
      DRIVEN(a_chat_is_answered_in_databricks_shape),
      DRIVEN(an_openai_stream_names_the_role_once_and_ends_with_an_empty_delta),
      DRIVEN(usage_of_an_openai_stream_comes_last_and_only_when_asked_for),
      DRIVEN(a_databricks_stream_repeats_role_content_and_usage),
      DRIVEN(a_stream_is_nothing_but_data_lines),
      DRIVEN(a_stream_equals_the_whole_reply_byte_for_byte),
      DRIVEN(a_stop_string_is_not_in_the_text_and_counts_its_tokens),
      DRIVEN(max_tokens_ends_with_length),
      DRIVEN(without_max_tokens_a_text_may_fill_the_context),
      DRIVEN(choices_differ_by_seed_and_the_first_is_that_of_n_1),
      DRIVEN(without_a_seed_each_request_draws_its_own),
      DRIVEN(without_a_seed_the_prompts_of_a_batch_draw_apart),
      DRIVEN(sampling_reaches_the_engine),
      DRIVEN(all_of_the_sampling_reaches_the_engine),
      DRIVEN(a_reply_says_what_it_was_made_with_when_asked),
      DRIVEN(seeds_that_were_not_asked_for_have_53_bits),
      DRIVEN(what_one_reply_says_makes_the_same_request_again),
      DRIVEN(stop_strings_end_nothing_before_min_tokens),
      DRIVEN(min_tokens_must_fit_into_the_context),
      DRIVEN(logprobs_of_a_chat_are_an_entry_for_each_token),
      DRIVEN(logprobs_of_a_stream_come_with_their_text),
      DRIVEN(a_completion_takes_the_prompt_as_it_is),
      DRIVEN(settings_of_a_request_reach_the_chat_template),
      DRIVEN(echo_and_suffix_stand_around_the_completion),
      DRIVEN(logprobs_of_a_completion_have_the_old_shape),
      DRIVEN(offsets_count_what_stands_for_broken_bytes),
      DRIVEN(offsets_count_special_tokens_that_the_prompt_spells_out),
      DRIVEN(a_prompt_can_be_scored_alone),
      DRIVEN(a_batch_keeps_its_order_and_a_window_in_the_engine),
      DRIVEN(a_batch_under_way_is_finished_during_a_drain),
      DRIVEN(a_streamed_batch_finishes_every_choice),
      DRIVEN(one_step_of_many_choices_is_one_write),
      DRIVEN(too_long_a_prompt_is_refused_with_both_counts),
      DRIVEN(where_the_server_cut_the_context_a_refusal_names_the_way_out),
      DRIVEN(truncate_gives_as_many_tokens_as_fit),
      DRIVEN(an_empty_prompt_is_refused),
      DRIVEN(of_several_prompts_the_wrong_one_is_named),
      DRIVEN(what_the_template_refuses_is_told),
      DRIVEN(an_unknown_endpoint_is_404_in_the_dialect),
      DRIVEN(a_missing_model_is_400),
      DRIVEN(an_endpoint_that_failed_says_why),
      DRIVEN(a_task_mismatch_is_400_and_names_the_task),
      DRIVEN(a_request_waits_until_the_window_is_known),
      DRIVEN(a_request_does_not_wait_for_a_window_that_will_not_come),
      DRIVEN(a_client_that_leaves_meanwhile_leaves_nothing_behind),
      DRIVEN(a_body_that_is_no_json_object_is_400),
      DRIVEN(a_compressed_body_is_415),
      DRIVEN(a_big_body_is_parsed_by_a_worker_with_the_same_result),
      DRIVEN(big_bodies_take_turns),
      DRIVEN(a_client_with_a_big_body_may_leave_at_any_moment),
      DRIVEN(ignored_fields_are_named_on_streams_too),
      DRIVEN(an_engine_that_cannot_serve_is_503_with_retry_after),
      DRIVEN(an_engine_that_dies_before_the_reply_is_503),
      DRIVEN(an_engine_that_dies_in_a_stream_ends_it_with_an_error_and_no_done),
      DRIVEN(an_error_before_the_first_token_of_a_stream_has_its_own_status),
      DRIVEN(truncate_keeps_what_was_made_when_time_runs_out),
      DRIVEN(a_client_that_leaves_cancels_all_its_sequences),
      DRIVEN(a_client_may_leave_at_any_moment),
      DRIVEN(a_reader_that_is_too_slow_is_dropped),
  };
  return cmocka_run_group_tests_name("api/call", tests, NULL, NULL);
}
