/* Tests of what `plinth bench serve` computes: arrivals, percentiles, the report. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "app/arrivals.h"
#include "app/load_report.h"
#include "app/sse.h"
#include "base/js.h"

enum { N = 20000 };

static double gap_variance(double burstiness, double *ret_mean) {
  static double at[N];
  double sum = 0, squares = 0;
  arrivals_make(7, 4, burstiness, at, N);
  assert_true(at[0] == 0);
  for (size_t i = 1; i < N; i++) {
    double gap = at[i] - at[i - 1];
    assert_true(gap >= 0);
    sum += gap;
    squares += gap * gap;
  }
  *ret_mean = sum / (N - 1);
  return squares / (N - 1) - *ret_mean * *ret_mean;
}

/* A gamma distribution of shape b and mean m has variance m² / b. The bounds are five standard errors wide, the seed is fixed. */
static void arrivals_have_the_rate_and_the_burstiness(void **state) {
  static const double shapes[] = {0.3, 1, 5};
  (void)state;
  for (size_t i = 0; i < 3; i++) {
    double mean, variance = gap_variance(shapes[i], &mean);
    assert_true(fabs(mean - 0.25) < 5 * 0.25 / sqrt(shapes[i] * N));
    assert_true(fabs(variance * shapes[i] / 0.0625 - 1) < 5 * sqrt((2 + 6 / shapes[i]) / N));
  }
}

static void an_infinite_rate_lets_all_arrive_at_once(void **state) {
  (void)state;
  double at[3] = {1, 1, 1};
  arrivals_make(0, INFINITY, 1, at, 3);
  for (size_t i = 0; i < 3; i++) assert_true(at[i] == 0);
}

static void the_same_seed_gives_the_same_arrivals(void **state) {
  (void)state;
  double a[50], b[50], c[50];
  arrivals_make(3, 10, 1, a, 50);
  arrivals_make(3, 10, 1, b, 50);
  arrivals_make(4, 10, 1, c, 50);
  assert_memory_equal(a, b, sizeof a);
  assert_memory_not_equal(a, c, sizeof a);
}

/* numpy.percentile([1, 2, 4, 8], …) */
static void percentiles_are_those_of_numpy(void **state) {
  (void)state;
  const double v[] = {1, 2, 4, 8};
  assert_true(fabs(load_report_percentile(v, 4, 50) - 3) < 1e-12);
  assert_true(fabs(load_report_percentile(v, 4, 90) - 6.8) < 1e-12);
  assert_true(fabs(load_report_percentile(v, 4, 99) - 7.88) < 1e-12);
  assert_true(load_report_percentile(v, 4, 0) == 1 && load_report_percentile(v, 4, 100) == 8);
  assert_true(load_report_percentile(v, 0, 50) == 0);
}

static double number(const struct js *report, const char *key) {
  double v = NAN;
  if (!js_real(js_get(report, key), &v)) fail_msg("the report has no number %s", key);
  return v;
}

static void expect_near(const struct js *report, const char *key, double wanted) {
  double got = number(report, key);
  if (!(fabs(got - wanted) < 1e-6 * (1 + fabs(wanted)))) fail_msg("%s is %.9g, not %.9g", key, got, wanted);
}

/* Two requests that were answered, one that was not. */
static void the_report_counts_what_the_requests_showed(void **state) {
  (void)state;
  float gaps[] = {0.01f, 0.03f}, gap[] = {0.02f};
  struct load_result r[3] = {
      {.ok = true,
       .begin_s = 0,
       .ttft_s = 0.1,
       .last_s = 0.14,
       .latency_s = 0.14,
       .prompt_tokens = 10,
       .completion_tokens = 3,
       .itl_s = gaps,
       .n_itl = 2},
      {.ok = true,
       .begin_s = 0.13,
       .ttft_s = 0.3,
       .last_s = 0.32,
       .latency_s = 0.32,
       .prompt_tokens = 30,
       .completion_tokens = 2,
       .itl_s = gap,
       .n_itl = 1},
      {.begin_s = 0.2, .latency_s = 9, .error = "gone"},
  };
  struct load_about about = {.model = "m", .task = "chat", .rate_per_s = INFINITY, .burstiness = 1, .goals = {.ttft_ms = 200}};
  struct buf out = {0};
  load_report_json(&about, r, 3, 2.0, &out);
  struct js *report = js_parse(buf_view(&out), NULL);
  assert_non_null(report);
  expect_near(report, "completed", 2);
  expect_near(report, "failed", 1);
  expect_near(report, "total_input_tokens", 40);
  expect_near(report, "total_output_tokens", 5);
  expect_near(report, "request_throughput", 1);
  expect_near(report, "request_goodput", 0.5);
  expect_near(report, "output_throughput", 2.5);
  expect_near(report, "max_concurrent_requests", 2);
  expect_near(report, "mean_ttft_ms", 200);
  expect_near(report, "p99_ttft_ms", 298);
  expect_near(report, "median_itl_ms", 20);
  expect_near(report, "mean_tpot_ms", 20);
  expect_near(report, "mean_e2el_ms", 230);
  const struct js *latency = js_get(js_get(js_get(report, "metrics"), "request_latency"), "successful");
  expect_near(latency, "mean", 0.23);
  expect_near(latency, "count", 2);
  struct slice why;
  assert_true(js_str(js_at(js_get(report, "errors"), 2), &why) && slice_eq(why, SLICE("gone")));
  js_free(report);
  buf_free(&out);
}

static void a_report_without_answers_has_no_times(void **state) {
  (void)state;
  struct load_result r = {.error = "gone"};
  struct load_about about = {.model = "m", .task = "chat", .rate_per_s = 2, .burstiness = 1};
  struct buf out = {0};
  load_report_json(&about, &r, 1, 2.0, &out);
  struct js *report = js_parse(buf_view(&out), NULL);
  assert_non_null(report);
  assert_null(js_get(report, "mean_ttft_ms"));
  assert_int_equal(js_type(js_get(report, "request_goodput")), JS_NULL);
  expect_near(report, "completed", 0);
  js_free(report);
  buf_free(&out);
}

static void events_of_a_stream_come_out_whole(void **state) {
  (void)state;
  struct buf text = {0};
  struct slice event;
  size_t from = 0;
  buf_add_cstr(&text, ": comment\r\nevent: x\ndata: one\r\n\ndata:two\ndata: thr");
  assert_true(sse_next(&text, &from, &event) && slice_eq(event, SLICE("one")));
  assert_true(sse_next(&text, &from, &event) && slice_eq(event, SLICE("two")));
  assert_false(sse_next(&text, &from, &event));
  buf_drop_front(&text, from);
  buf_add_cstr(&text, "ee\n");
  from = 0;
  assert_true(sse_next(&text, &from, &event) && slice_eq(event, SLICE("three")));
  buf_free(&text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(arrivals_have_the_rate_and_the_burstiness),  cmocka_unit_test(an_infinite_rate_lets_all_arrive_at_once),
      cmocka_unit_test(the_same_seed_gives_the_same_arrivals),      cmocka_unit_test(percentiles_are_those_of_numpy),
      cmocka_unit_test(the_report_counts_what_the_requests_showed), cmocka_unit_test(a_report_without_answers_has_no_times),
      cmocka_unit_test(events_of_a_stream_come_out_whole),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
