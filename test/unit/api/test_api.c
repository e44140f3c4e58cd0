/* Routes, lists, pages and the form of errors. SPDX-License-Identifier: Apache-2.0 */
#include "drive.h"

#include <string.h>

static void unknown_paths_are_404_in_their_dialect(void **state) {
  struct drive *d = *state;
  assert_int_equal(drive_get(d, "/v1/nothing"), 404);
  drive_str(d->reply, "error.type", "invalid_request_error");
  const char *const others[] = {
      "/.well-known/databricks-config",  "/api/2.0/clusters", "/serving-endpoints", "/serving-endpoints/a/b/invocations",
      "/serving-endpoints//invocations", "/nothing",          "/v2/models"};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    assert_int_equal(drive_get(d, others[i]), 404);
    drive_str(d->reply, "error_code", "ENDPOINT_NOT_FOUND");
  }
}

static void a_wrong_method_is_405_with_what_is_allowed(void **state) {
  struct drive *d = *state;
  assert_int_equal(drive_get(d, "/v1/chat/completions"), 405);
  assert_string_equal(fake_net_header(&d->x, "Allow"), "POST");
  assert_int_equal(drive(d, "DELETE", "/v1/models", NULL), 405);
  assert_string_equal(fake_net_header(&d->x, "Allow"), "GET, HEAD");
  assert_int_equal(drive_post(d, "/api/2.0/serving-endpoints", "{}"), 405);
  drive_str(d->reply, "error_code", "INVALID_PARAMETER_VALUE");
  assert_int_equal(drive(d, "HEAD", "/serving-endpoints/chat/invocations", NULL), 405);
}

static void head_is_answered_like_get(void **state) {
  struct drive *d = *state;
  assert_int_equal(drive(d, "HEAD", "/v1/models", NULL), 200);
  assert_int_equal(drive(d, "HEAD", "/health", NULL), 200);
}

static void models_are_listed_and_found(void **state) {
  struct drive *d = *state;
  assert_int_equal(drive_get(d, "/v1/models"), 200);
  drive_str(d->reply, "object", "list");
  drive_str(d->reply, "data.0.id", "chat");
  drive_str(d->reply, "data.0.object", "model");
  drive_int(d->reply, "data.0.created", 1700000000);
  assert_int_equal(js_len(js_get(d->reply, "data")), 4);
  assert_int_equal(drive_get(d, "/v1/models/embed"), 200);
  drive_str(d->reply, "id", "embed");
  assert_int_equal(drive_get(d, "/v1/models/none"), 404);
  drive_str(d->reply, "error.code", "model_not_found");
}

static void endpoints_are_listed_with_and_without_a_slash(void **state) {
  struct drive *d = *state;
  const char *const paths[] = {"/api/2.0/serving-endpoints", "/api/2.0/serving-endpoints/"};
  for (int i = 0; i < 2; i++) {
    assert_int_equal(drive_get(d, paths[i]), 200);
    drive_str(d->reply, "endpoints.0.name", "chat");
    drive_str(d->reply, "endpoints.0.state.ready", "READY");
    drive_str(d->reply, "endpoints.0.config.served_entities.0.name", "chat");
    drive_str(d->reply, "endpoints.2.task", "llm/v1/embeddings");
    drive_str(d->reply, "endpoints.3.state.ready", "NOT_READY");
    drive_str(d->reply, "endpoints.3.config.served_entities.0.state.deployment", "DEPLOYMENT_FAILED");
  }
}

static void a_model_that_is_not_there_may_have_slashes_in_its_name(void **state) {
  struct drive *d = *state;
  assert_int_equal(drive_get(d, "/v1/models/org/model"), 404);
  drive_str(d->reply, "error.code", "model_not_found");
  drive_str(d->reply, "error.message", "The model `org/model` does not exist. GET /v1/models lists those that do.");
  assert_int_equal(drive_get(d, "/v1/models//"), 404);
  assert_int_equal(drive_get(d, "/api/2.0/serving-endpoints/org/model"), 404);
  drive_str(d->reply, "message", "No API found for 'GET /api/2.0/serving-endpoints/org/model'.");
}

static void an_endpoint_has_what_clients_bind_to(void **state) {
  struct drive *d = *state;
  assert_int_equal(drive_get(d, "/api/2.0/serving-endpoints/embed"), 200);
  drive_str(d->reply, "name", "embed");
  drive_int(d->reply, "creation_timestamp", 1700000000000);
  drive_str(d->reply, "state.config_update", "NOT_UPDATING");
  drive_int(d->reply, "config.traffic_config.routes.0.traffic_percentage", 100);
  struct slice id;
  assert_true(js_str(js_get(d->reply, "id"), &id) && id.len == 32);
  assert_int_equal(drive_get(d, "/api/2.0/serving-endpoints/none"), 404);
  drive_str(d->reply, "error_code", "RESOURCE_DOES_NOT_EXIST");
  drive_str(d->reply, "message", "Endpoint with name 'none' does not exist.");
}

static void health_is_the_engine_and_ready_is_every_model(void **state) {
  struct drive *d = *state;
  assert_int_equal(drive_get(d, "/health"), 200);
  assert_int_equal(drive_get(d, "/readyz"), 200);
  drive_str(d->reply, "endpoints.chat", "ready");
  drive_str(d->reply, "endpoints.broken", "failed");
  d->engine->ready = false;
  assert_int_equal(drive_get(d, "/readyz"), 503);
  assert_int_equal(drive_get(d, "/health"), 200);
  d->engine->alive = false;
  assert_int_equal(drive_get(d, "/health"), 503);
}

static void draining_turns_readyz_away(void **state) {
  struct drive *d = *state;
  api_drain(d->api);
  assert_int_equal(drive_get(d, "/readyz"), 503);
  drive_str(d->reply, "status", "draining");
  assert_int_equal(drive_get(d, "/health"), 200);
}

static void expect_line(struct drive *d, const char *line) {
  if (!memmem(d->x.out.data, d->x.out.len, line, strlen(line))) fail_msg("no line \"%s\" in:\n%s", line, d->x.out.data);
}

static void metrics_count_requests_tokens_and_times(void **state) {
  struct drive *d = *state;
  assert_int_equal(drive_post(d, "/v1/completions", "{\"model\": \"base\", \"prompt\": \"abc\", \"max_tokens\": 4}"), 200);
  assert_int_equal(drive_post(d, "/serving-endpoints/base/invocations", "{\"prompt\": 5}"), 400);
  struct buf ignored = {0};
  fake_net_error(d->net, "", 408, "Too slow.", &ignored);
  buf_free(&ignored);
  assert_int_equal(drive_get(d, "/metrics"), 200);
  assert_string_equal(d->x.content_type, "text/plain; version=0.0.4; charset=utf-8");
  expect_line(d, "plinth_build_info{version=\"1.2.3\"} 1\n");
  expect_line(d, "plinth_http_requests_total{route=\"/v1/completions\",status=\"200\"} 1\n");
  expect_line(d, "plinth_http_requests_total{route=\"/serving-endpoints/{name}/invocations\",status=\"400\"} 1\n");
  expect_line(d, "plinth_http_requests_total{route=\"refused\",status=\"408\"} 1\n");
  expect_line(d, "plinth_time_to_first_token_seconds_count{model=\"base\"} 1\n");
  expect_line(d, "plinth_inter_token_seconds_count{model=\"base\"} 3\n");
  expect_line(d, "plinth_inter_token_seconds_count{model=\"chat\"} 0\n");
  expect_line(d, "plinth_prompt_tokens_total{model=\"base\"} 3\n");
  expect_line(d, "plinth_completion_tokens_total{model=\"base\"} 4\n");
  expect_line(d, "plinth_engine_up 1\n");
  expect_line(d, "process_resident_memory_bytes ");
  expect_line(d, "plinth_process_resident_bytes{process=\"engine\"} 0\n");
}

static void every_generation_is_measured_once_and_told_how_it_ended(void **state) {
  struct drive *d = *state;
  assert_int_equal(drive_post(d, "/v1/completions", "{\"model\": \"base\", \"prompt\": [\"abc\", \"de\"], \"max_tokens\": 4, \"n\": 3}"),
                   200);
  assert_int_equal(drive_post(d, "/v1/completions", "{\"model\": \"base\", \"prompt\": \"abc\"}"), 200);
  assert_int_equal(drive_post(d, "/v1/embeddings", "{\"model\": \"embed\", \"input\": [\"a\", \"bc\"]}"), 200);
  drive_arrive(d, "POST", "/v1/chat/completions",
               SLICE("{\"model\": \"chat\", \"messages\": [{\"role\": \"user\", \"content\": \"x\"}], \"n\": 2}"));
  for (int i = 0; i < 4; i++) drive_turn(d);
  fake_net_leave(&d->x);
  exchange_free(&d->x);
  d->engine->dies_after = 1;
  error_set(&d->engine->dies_with, ERROR_UNAVAILABLE, "It is gone.");
  assert_int_equal(drive_post(d, "/v1/completions", "{\"model\": \"base\", \"prompt\": \"abc\", \"max_tokens\": 4}"), 503);
  assert_int_equal(drive_get(d, "/metrics"), 200);
  expect_line(d, "plinth_generations_ended_total{model=\"base\",reason=\"length\"} 6\n");
  expect_line(d, "plinth_generations_ended_total{model=\"base\",reason=\"stop\"} 1\n");
  expect_line(d, "plinth_generations_ended_total{model=\"base\",reason=\"failed\"} 1\n");
  expect_line(d, "plinth_generations_ended_total{model=\"base\",reason=\"cancelled\"} 0\n");
  expect_line(d, "plinth_generations_ended_total{model=\"embed\",reason=\"stop\"} 2\n");
  expect_line(d, "plinth_generations_ended_total{model=\"chat\",reason=\"cancelled\"} 2\n");
  expect_line(d, "plinth_request_duration_seconds_count{model=\"base\"} 7\n"); /* of those that ended well */
  expect_line(d, "plinth_request_queue_seconds_count{model=\"chat\"} 2\n");    /* known with the first token */
  expect_line(d, "plinth_request_duration_seconds_count{model=\"chat\"} 0\n");
  expect_line(d, "plinth_request_queue_seconds_sum{model=\"embed\"} 4\n");
  expect_line(d, "plinth_request_prefill_seconds_bucket{model=\"embed\",le=\"0.3\"} 0\n");
  expect_line(d, "plinth_request_prefill_seconds_bucket{model=\"embed\",le=\"0.5\"} 2\n");
  expect_line(d, "plinth_request_prompt_tokens_sum{model=\"base\"} 18\n");     /* 3 · 3 + 3 · 2 + 3 */
  expect_line(d, "plinth_request_completion_tokens_sum{model=\"base\"} 37\n"); /* 6 · 4, and 12 letters with the end */
  expect_line(d, "plinth_prompt_tokens_total{model=\"base\"} 11\n");           /* each prompt once; the failed one too */
}

static void the_engine_is_told_of_by_model_and_under_the_names_of_vllm(void **state) {
  struct drive *d = *state;
  assert_int_equal(drive_post(d, "/v1/completions", "{\"model\": \"base\", \"prompt\": \"abc\", \"max_tokens\": 4}"), 200);
  assert_int_equal(drive_get(d, "/metrics"), 200);
  expect_line(d, "plinth_engine_running{model=\"chat\"} 3\n");
  expect_line(d, "plinth_kv_memory_bytes 4096\n");
  expect_line(d, "plinth_kv_pages_used{model=\"chat\"} 3\n");
  expect_line(d, "plinth_kv_page_bytes{model=\"chat\"} 1024\n");
  expect_line(d, "plinth_kv_usage_ratio{model=\"chat\"} 0.75\n");
  expect_line(d, "plinth_engine_accepted_tokens_total{model=\"chat\",source=\"model\"} 2\n");
  expect_line(d, "plinth_decode_bandwidth_ratio{model=\"chat\"} 0.25\n");
  expect_line(d, "plinth_machine_operations_per_second 900000000000\n");
  expect_line(d, "vllm:num_requests_running{model_name=\"chat\",engine=\"0\"} 3\n");
  expect_line(d, "vllm:num_requests_waiting{model_name=\"chat\",engine=\"0\"} 7\n");
  expect_line(d, "vllm:kv_cache_usage_perc{model_name=\"chat\",engine=\"0\"} 0.75\n");
  expect_line(d, "vllm:prefix_cache_hits_total{model_name=\"chat\",engine=\"0\"} 25\n");
  expect_line(d, "vllm:spec_decode_num_draft_tokens_total{model_name=\"chat\",engine=\"0\"} 44\n");
  expect_line(d, "vllm:request_success_total{model_name=\"base\",engine=\"0\",finished_reason=\"length\"} 1\n");
  expect_line(d, "vllm:prompt_tokens_total{model_name=\"base\",engine=\"0\"} 3\n");
  expect_line(d, "vllm:generation_tokens_total{model_name=\"base\",engine=\"0\"} 4\n");
  expect_line(d, "vllm:request_queue_time_seconds_bucket{model_name=\"base\",engine=\"0\",le=\"1.5\"} 0\n");
  expect_line(d, "vllm:request_queue_time_seconds_bucket{model_name=\"base\",engine=\"0\",le=\"2.0\"} 1\n");
  expect_line(d, "vllm:request_generation_tokens_bucket{model_name=\"base\",engine=\"0\",le=\"50.0\"} 1\n");
  const char *over = "vllm:request_generation_tokens_bucket{model_name=\"base\",engine=\"0\",le=\"100.0\"}"; /* the context is 64 */
  assert_null(memmem(d->x.out.data, d->x.out.len, over, strlen(over)));
}

static void the_page_shows_a_curl_line_for_every_endpoint(void **state) {
  struct drive *d = *state;
  assert_int_equal(drive_get(d, "/"), 200);
  assert_string_equal(d->x.content_type, "text/html; charset=utf-8");
  expect_line(d, "curl http://127.0.0.1:8080/v1/chat/completions -d '{\"model\": \"chat\"");
  expect_line(d, "\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}], \"max_tokens\": 64}'</pre>"); /* the answer has an end */
  expect_line(d, "/v1/embeddings -d '{\"model\": \"embed\"");
}

static void a_host_header_cannot_write_onto_the_page(void **state) {
  struct drive *d = *state;
  d->x = (struct exchange){.method = "GET", .path = "/", .host = "<script>alert(1)</script>"};
  fake_net_arrive(d->net, &d->x);
  assert_null(memmem(d->x.out.data, d->x.out.len, "<script>", 8));
  exchange_free(&d->x);
  d->x = (struct exchange){.method = "GET", .path = "/", .host = "box.example:9000"};
  fake_net_arrive(d->net, &d->x);
  expect_line(d, "curl http://box.example:9000/v1/");
}

static void bodies_that_will_be_refused_are_not_wanted(void **state) {
  struct drive *d = *state;
  d->engine->token = "good";
  static const struct {
    const char *method, *path, *authorization;
    bool wanted;
  } cases[] = {
      {"POST", "/v1/chat/completions", "Bearer good", true}, {"POST", "/v1/chat/completions", "Bearer bad", false},
      {"POST", "/v1/chat/completions", NULL, false},         {"POST", "/v1/nothing", "Bearer good", false},
      {"GET", "/v1/chat/completions", "Bearer good", false}, {"GET", "/health", NULL, true},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct exchange x = {.method = cases[i].method, .path = cases[i].path, .authorization = cases[i].authorization};
    if (fake_net_wants_body(d->net, &x) != cases[i].wanted) fail_msg("case %zu", i);
  }
}

static void bodies_are_limited_by_dialect(void **state) {
  struct drive *d = *state;
  assert_int_equal(fake_net_body_limit(d->net, "/serving-endpoints/x/invocations"), 4 << 20);
  assert_int_equal(fake_net_body_limit(d->net, "/v1/embeddings"), 16 << 20);
  assert_true(fake_net_body_limit(d->net, "/health") <= 1 << 20);
}

static void what_net_refuses_is_told_in_the_dialect(void **state) {
  struct drive *d = *state;
  struct buf out = {0};
  fake_net_error(d->net, "/v1/chat/completions", 413, "Too big.", &out);
  assert_string_equal(
      out.data, "{\"error\":{\"message\":\"Too big.\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"request_too_large\"}}");
  buf_clear(&out);
  fake_net_error(d->net, "/serving-endpoints/a/invocations", 413, "Too big.", &out);
  assert_string_equal(out.data, "{\"error_code\":\"INVALID_PARAMETER_VALUE\",\"message\":\"Too big.\"}");
  buf_free(&out);
}

#define DRIVEN(f) cmocka_unit_test_setup_teardown(f, drive_setup, drive_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      DRIVEN(unknown_paths_are_404_in_their_dialect),
      DRIVEN(a_wrong_method_is_405_with_what_is_allowed),
      DRIVEN(head_is_answered_like_get),
      DRIVEN(models_are_listed_and_found),
      DRIVEN(endpoints_are_listed_with_and_without_a_slash),
      DRIVEN(a_model_that_is_not_there_may_have_slashes_in_its_name),
      DRIVEN(an_endpoint_has_what_clients_bind_to),
      DRIVEN(health_is_the_engine_and_ready_is_every_model),
      DRIVEN(draining_turns_readyz_away),
      DRIVEN(metrics_count_requests_tokens_and_times),
      DRIVEN(every_generation_is_measured_once_and_told_how_it_ended),
      DRIVEN(the_engine_is_told_of_by_model_and_under_the_names_of_vllm),
      DRIVEN(the_page_shows_a_curl_line_for_every_endpoint),
      DRIVEN(a_host_header_cannot_write_onto_the_page),
      DRIVEN(bodies_that_will_be_refused_are_not_wanted),
      DRIVEN(bodies_are_limited_by_dialect),
      DRIVEN(what_net_refuses_is_told_in_the_dialect),
  };
  return cmocka_run_group_tests_name("api/api", tests, NULL, NULL);
}
