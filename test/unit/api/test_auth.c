/* The token in an Authorization header, in its two forms. SPDX-License-Identifier: Apache-2.0 */
#include "drive.h"

#include "api/auth.h"

static void expect(const char *header, const char *token) {
  struct buf out = {0};
  bool ok = auth_token(slice_cstr(header), &out);
  if (ok != (token != NULL)) fail_msg("\"%s\" gives %s", header, ok ? "a token" : "none");
  if (token && !slice_eq(buf_view(&out), slice_cstr(token))) fail_msg("\"%s\" gives \"%.*s\"", header, SLICE_ARG(buf_view(&out)));
  buf_free(&out);
}

static void bearer_in_any_case_gives_the_token(void **state) {
  (void)state;
  expect("Bearer dapi123", "dapi123");
  expect("bearer   dapi123  ", "dapi123");
  expect("BEARER a b", "a b");
  expect("Bearer", NULL);
  expect("Bearer ", NULL);
  expect("Bearerdapi", NULL);
}

static void basic_gives_the_password_of_the_user_token(void **state) {
  (void)state;
  expect("Basic dG9rZW46ZGFwaTEyMw==", "dapi123"); /* token:dapi123 */
  expect("basic dG9rZW46YTpi", "a:b");
  expect("Basic dG9rZW46", "");
  expect("Basic dXNlcjpkYXBp", NULL); /* user:dapi */
  expect("Basic dG9rZW4=", NULL);     /* token, without a colon */
  expect("Basic !!!!", NULL);
}

static void other_schemes_give_none(void **state) {
  (void)state;
  expect("", NULL);
  expect("Digest x", NULL);
  expect("dapi123", NULL);
}

static void a_huge_header_gives_none(void **state) {
  (void)state;
  char header[5000];
  memset(header, 'A', sizeof header);
  memcpy(header, "Bearer ", 7);
  struct buf out = {0};
  assert_false(auth_token(slice_make(header, sizeof header), &out));
  buf_free(&out);
}

/* ---- what is answered ---- */

static int ask(struct drive *d, const char *path, const char *authorization) {
  js_free(d->reply);
  d->reply = NULL;
  exchange_free(&d->x);
  d->x = (struct exchange){.method = "GET", .path = path, .authorization = authorization};
  fake_net_arrive(d->net, &d->x);
  drive_rest(d);
  return d->x.status;
}

static void databricks_answers_401_to_none_and_403_to_a_wrong_one(void **state) {
  struct drive *d = *state;
  d->engine->token = "good";
  assert_int_equal(ask(d, "/api/2.0/serving-endpoints", NULL), 401);
  drive_int(d->reply, "error_code", 401);
  drive_str(d->reply, "message", "Credential was not sent or was of an unsupported type for this API.");
  assert_int_equal(ask(d, "/api/2.0/serving-endpoints", "Digest x"), 401);
  assert_int_equal(ask(d, "/api/2.0/serving-endpoints", "Bearer bad"), 403);
  drive_int(d->reply, "error_code", 403);
  drive_str(d->reply, "message", "Invalid access token.");
  assert_int_equal(ask(d, "/api/2.0/serving-endpoints", "Bearer good"), 200);
  assert_int_equal(ask(d, "/api/2.0/serving-endpoints", "Basic dG9rZW46Z29vZA=="), 200);
}

static void openai_answers_401_to_both(void **state) {
  struct drive *d = *state;
  d->engine->token = "good";
  assert_int_equal(ask(d, "/v1/models", NULL), 401);
  drive_str(d->reply, "error.code", "invalid_api_key");
  assert_string_equal(fake_net_header(&d->x, "WWW-Authenticate"), "Bearer");
  assert_int_equal(ask(d, "/v1/models", "Bearer bad"), 401);
  drive_str(d->reply, "error.code", "invalid_api_key");
  assert_int_equal(ask(d, "/v1/models", "Bearer good"), 200);
}

static void the_pages_about_health_need_no_token(void **state) {
  struct drive *d = *state;
  d->engine->token = "good";
  const char *const open[] = {"/health", "/readyz", "/metrics", "/"};
  for (size_t i = 0; i < 4; i++) assert_int_equal(ask(d, open[i], NULL), 200);
}

static void without_auth_any_header_will_do(void **state) {
  struct drive *d = *state;
  assert_int_equal(ask(d, "/v1/models", NULL), 200);
  assert_int_equal(ask(d, "/v1/models", "Bearer whatever"), 200);
}

static int ask_as(struct drive *d, const char *host, bool is_foreign) {
  js_free(d->reply);
  d->reply = NULL;
  exchange_free(&d->x);
  d->x = (struct exchange){.method = "GET", .path = "/v1/models", .host = host, .is_foreign = is_foreign};
  fake_net_arrive(d->net, &d->x);
  drive_rest(d);
  return d->x.status;
}

static void without_auth_only_hosts_that_no_name_server_made_are_answered(void **state) {
  struct drive *d = *state;
  const char *const good[] = {"localhost", "LocalHost:8080", "a.localhost:1", "127.0.0.1:8080", "10.0.0.1", "[::1]:8080", "h", NULL};
  const char *const bad[] = {"evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example.", "1.2.3.4.5", ""};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_int_equal(ask_as(d, good[i], false), 200);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(ask_as(d, bad[i], false), 403);
  drive_str(d->reply, "error.code", "permission_denied");
}

static void without_auth_pages_of_other_sites_are_refused(void **state) {
  struct drive *d = *state;
  assert_int_equal(ask_as(d, "localhost:8080", true), 403);
  d->engine->token = "good"; /* with tokens a page needs one, and that is enough */
  assert_int_equal(ask_as(d, "evil.example", true), 401);
}

#define DRIVEN(f) cmocka_unit_test_setup_teardown(f, drive_setup, drive_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bearer_in_any_case_gives_the_token),
      cmocka_unit_test(basic_gives_the_password_of_the_user_token),
      cmocka_unit_test(other_schemes_give_none),
      cmocka_unit_test(a_huge_header_gives_none),
      DRIVEN(databricks_answers_401_to_none_and_403_to_a_wrong_one),
      DRIVEN(openai_answers_401_to_both),
      DRIVEN(the_pages_about_health_need_no_token),
      DRIVEN(without_auth_any_header_will_do),
      DRIVEN(without_auth_only_hosts_that_no_name_server_made_are_answered),
      DRIVEN(without_auth_pages_of_other_sites_are_refused),
  };
  return cmocka_run_group_tests_name("api/auth", tests, NULL, NULL);
}
