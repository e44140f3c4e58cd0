/* Tests of base/log and base/clock. SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/js.h"
#include "base/log.h"
#include "check.h"

/* What a call writes to stderr. */
static const char *captured(enum log_level level, const char *message) {
  static char text[4096];
  int pipes[2], old = dup(STDERR_FILENO);
  assert_int_equal(pipe(pipes), 0);
  assert_int_equal(fcntl(pipes[0], F_SETFL, O_NONBLOCK), 0);
  dup2(pipes[1], STDERR_FILENO);
  log_line(level, "engine", "%s", message);
  dup2(old, STDERR_FILENO);
  ssize_t n = read(pipes[0], text, sizeof text - 1);
  text[n > 0 ? n : 0] = '\0';
  close(old), close(pipes[0]), close(pipes[1]);
  return text;
}

static void a_line_has_time_level_room_and_message(void **state) {
  (void)state;
  log_setup(LOG_INFO, LOG_TEXT);
  const char *text = captured(LOG_WARN, "hello");
  int year, ms, n = 0;
  assert_int_equal(sscanf(text, "%4d-%*2d-%*2dT%*2d:%*2d:%*2d.%3dZ%n", &year, &ms, &n), 2);
  assert_true(year >= 2024);
  assert_string_equal(text + n, " warn  engine: hello\n");
}

static void lines_above_the_level_are_dropped(void **state) {
  (void)state;
  log_setup(LOG_WARN, LOG_TEXT);
  assert_string_equal(captured(LOG_INFO, "x"), "");
  assert_string_not_equal(captured(LOG_ERROR, "x"), "");
  log_setup(LOG_INFO, LOG_TEXT);
}

static void one_event_is_one_line(void **state) {
  (void)state;
  const char *text = captured(LOG_INFO, "a\nb\r\x1B[2Jc\xC2\x9B\xFF");
  assert_non_null(strstr(text, "engine: a?b??[2Jc??\n"));
  assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void json_lines_are_json(void **state) {
  (void)state;
  log_setup(LOG_INFO, LOG_JSON);
  const char *text = captured(LOG_INFO, "say \"hi\"");
  struct js *v = js_parse(slice_cstr(text), NULL);
  struct slice s;
  assert_true(js_str(js_get(v, "message"), &s) && slice_eq(s, SLICE("say \"hi\"")));
  assert_true(js_str(js_get(v, "level"), &s) && slice_eq(s, SLICE("info")));
  assert_true(js_str(js_get(v, "room"), &s) && slice_eq(s, SLICE("engine")));
  js_free(v);
  log_setup(LOG_INFO, LOG_TEXT);
}

static void levels_have_names(void **state) {
  (void)state;
  assert_int_equal(log_level_parse("error"), LOG_ERROR);
  assert_int_equal(log_level_parse("debug"), LOG_DEBUG);
  assert_int_equal(log_level_parse("loud"), -1);
}

static void clocks_go_forward(void **state) {
  (void)state;
  uint64_t a = clock_ns();
  assert_true(clock_ns() >= a);
  assert_true(clock_wall_s() > 1700000000);
  assert_true(clock_wall_ms() / 1000 >= clock_wall_s() - 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_line_has_time_level_room_and_message),
      cmocka_unit_test(lines_above_the_level_are_dropped),
      cmocka_unit_test(one_event_is_one_line),
      cmocka_unit_test(json_lines_are_json),
      cmocka_unit_test(levels_have_names),
      cmocka_unit_test(clocks_go_forward),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
