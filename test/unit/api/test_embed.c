/* Embeddings from body to reply: order, forms, windows. SPDX-License-Identifier: Apache-2.0 */
#include "drive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void expect_vector(struct drive *d, int index, const double want[4]) {
  for (int k = 0; k < 4; k++) {
    char path[64];
    snprintf(path, sizeof path, "data.%d.embedding.%d", index, k);
    double got = -1;
    assert_true(js_real(drive_at(d->reply, path), &got));
    if (got != want[k]) fail_msg("%s is %g, not %g", path, got, want[k]);
  }
}

static void an_embedding_has_the_shape_of_its_dialect(void **state) {
  struct drive *d = *state;
  assert_int_equal(drive_post(d, "/v1/embeddings", "{\"model\": \"embed\", \"input\": \"ab\"}"), 200);
  drive_str(d->reply, "object", "list");
  drive_str(d->reply, "model", "embed");
  drive_str(d->reply, "data.0.object", "embedding");
  drive_int(d->reply, "data.0.index", 0);
  expect_vector(d, 0, (const double[]){4, FAKE_CLS, FAKE_SEP, FAKE_CLS + FAKE_SEP + 'a' + 'b'});
  drive_int(d->reply, "usage.prompt_tokens", 4);
  drive_int(d->reply, "usage.total_tokens", 4);
  drive_type(d->reply, "id", JS_NONE);
  assert_int_equal(drive_post(d, "/serving-endpoints/embed/invocations", "{\"input\": \"ab\"}"), 200);
  drive_type(d->reply, "id", JS_STRING); /* the client of 2024 reads it */
  drive_type(d->reply, "usage.completion_tokens", JS_NONE);
}

static void inputs_keep_their_order_beyond_the_window(void **state) {
  struct drive *d = *state;
  struct buf body = {0};
  buf_add_cstr(&body, "{\"model\": \"embed\", \"input\": [");
  for (int i = 0; i < 2048; i++) buf_printf(&body, "%s[%d]", i ? "," : "", i % 256);
  buf_add_cstr(&body, "]}");
  assert_int_equal(drive_post(d, "/v1/embeddings", body.data), 200);
  buf_free(&body);
  assert_int_equal(js_len(js_get(d->reply, "data")), 2048);
  for (int i = 0; i < 2048; i += 97) expect_vector(d, i, (const double[]){1, i % 256, i % 256, i % 256});
  assert_true(d->engine->n_alive_max <= 64);
  drive_int(d->reply, "usage.prompt_tokens", 2048);
}

static void base64_is_little_endian_float32(void **state) {
  struct drive *d = *state;
  drive_post(d, "/v1/embeddings", "{\"model\": \"embed\", \"input\": [1, 2], \"encoding_format\": \"base64\"}");
  drive_str(d->reply, "data.0.embedding", "AAAAQAAAgD8AAABAAABAQA=="); /* 2, 1, 2, 3 */
}

static void an_instruction_goes_before_every_text(void **state) {
  struct drive *d = *state;
  drive_post(d, "/v1/embeddings", "{\"model\": \"embed\", \"input\": [\"a\", \"b\"], \"instruction\": \"i:\"}");
  expect_vector(d, 1, (const double[]){6, FAKE_CLS, FAKE_SEP, FAKE_CLS + FAKE_SEP + 'i' + ':' + ' ' + 'b'});
}

static void too_long_an_input_is_refused_with_both_counts(void **state) {
  struct drive *d = *state;
  drive_refused(d, "/v1/embeddings", "{\"model\": \"embed\", \"input\": [\"ok\", \"012345678901234\"]}", "input[1]",
                "input token count (17) cannot exceed 16");
  drive_refused(d, "/serving-endpoints/embed/invocations", "{\"input\": \"012345678901234\"}", NULL, "(17) cannot exceed 16");
  drive_refused(d, "/v1/embeddings", "{\"model\": \"embed\", \"input\": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}", "input",
                "(17) cannot exceed 16");
  assert_int_equal(drive_post(d, "/v1/embeddings", "{\"model\": \"embed\", \"input\": \"01234567890123\"}"), 200);
}

static void truncation_keeps_the_special_tokens_around_the_first_ones(void **state) {
  struct drive *d = *state;
  const char *long_text = "{\"model\": \"embed\", \"input\": \"abcdefghijklmnopqrstuvwxyz\", \"truncate_prompt_tokens\": 5}";
  assert_int_equal(drive_post(d, "/v1/embeddings", long_text), 200);
  expect_vector(d, 0, (const double[]){5, FAKE_CLS, FAKE_SEP, FAKE_CLS + FAKE_SEP + 'a' + 'b' + 'c'});
  drive_int(d->reply, "usage.prompt_tokens", 5);
  drive_post(d, "/v1/embeddings", "{\"model\": \"embed\", \"input\": \"abcdefghijklmnopqrstuvwxyz\", \"truncate_prompt_tokens\": -1}");
  drive_int(d->reply, "usage.prompt_tokens", FAKE_WINDOW);
  drive_post(d, "/v1/embeddings", "{\"model\": \"embed\", \"input\": [7, 8, 9], \"truncate_prompt_tokens\": 2}");
  expect_vector(d, 0, (const double[]){2, 7, 8, 15});
  drive_refused(d, "/v1/embeddings", "{\"model\": \"embed\", \"input\": \"abc\", \"truncate_prompt_tokens\": 17}", "truncate_prompt_tokens",
                "(17) cannot exceed the window of the model (16)");
  drive_refused(d, "/v1/embeddings", "{\"model\": \"embed\", \"input\": \"abc\", \"truncate_prompt_tokens\": 2}", "truncate_prompt_tokens",
                "more than 2");
}

static void an_empty_text_is_embedded_as_its_special_tokens(void **state) {
  struct drive *d = *state;
  drive_post(d, "/v1/embeddings", "{\"model\": \"embed\", \"input\": \"\"}");
  expect_vector(d, 0, (const double[]){2, FAKE_CLS, FAKE_SEP, FAKE_CLS + FAKE_SEP});
}

static void an_engine_that_dies_fails_the_whole_batch(void **state) {
  struct drive *d = *state;
  d->engine->dies_after = 1;
  d->engine->dies_with = (struct error){.code = ERROR_UNAVAILABLE, .message = "The engine died."};
  assert_int_equal(drive_post(d, "/v1/embeddings", "{\"model\": \"embed\", \"input\": [\"a\", \"b\", \"c\"]}"), 503);
  assert_int_equal(d->engine->n_alive, 0);
}

static void a_client_that_leaves_while_the_reply_is_written_leaves_nothing_behind(void **state) {
  struct drive *d = *state;
  struct buf body = {0};
  buf_add_cstr(&body, "{\"model\": \"embed\", \"input\": [");
  for (int i = 0; i < 2048; i++) buf_printf(&body, "%s[%d]", i ? "," : "", i % 256);
  buf_add_cstr(&body, "]}");
  for (int when = 0; when < 80; when++) {
    drive_arrive(d, "POST", "/v1/embeddings", buf_view(&body));
    for (int i = 0; i < when; i++) drive_turn(d);
    if (!d->x.gone) fake_net_leave(&d->x);
    while (drive_turn(d)) continue;
  }
  buf_free(&body);
}

#define DRIVEN(f) cmocka_unit_test_setup_teardown(f, drive_setup, drive_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      DRIVEN(an_embedding_has_the_shape_of_its_dialect),
      DRIVEN(inputs_keep_their_order_beyond_the_window),
      DRIVEN(base64_is_little_endian_float32),
      DRIVEN(an_instruction_goes_before_every_text),
      DRIVEN(too_long_an_input_is_refused_with_both_counts),
      DRIVEN(truncation_keeps_the_special_tokens_around_the_first_ones),
      DRIVEN(an_empty_text_is_embedded_as_its_special_tokens),
      DRIVEN(an_engine_that_dies_fails_the_whole_batch),
      DRIVEN(a_client_that_leaves_while_the_reply_is_written_leaves_nothing_behind),
  };
  return cmocka_run_group_tests_name("api/embed", tests, NULL, NULL);
}
