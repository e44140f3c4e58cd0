/* Tests of file/names. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "file/names.h"

struct item {
  int other;
  struct slice name;
};

static void names_are_found_whatever_their_order(void **state) {
  (void)state;
  struct item items[] = {{0, SLICE("b")}, {0, SLICE("")}, {0, SLICE("a\0b")}, {0, SLICE("a")}, {0, SLICE("ab")}};
  struct names names;
  size_t twice = 99, at;
  assert_true(names_build(&names, &items[0].name, sizeof items[0], 5, &twice));
  for (size_t i = 0; i < 5; i++) {
    assert_true(names_find(&names, items[i].name, &at));
    assert_int_equal(at, i);
  }
  assert_false(names_find(&names, SLICE("aa"), &at));
  assert_false(names_find(&names, SLICE("c"), &at));
  names_free(&names);
  assert_true(names_build(&names, NULL, sizeof items[0], 0, &twice));
  assert_false(names_find(&names, SLICE("a"), &at));
  names_free(&names);
}

static void the_later_of_two_equal_names_is_reported(void **state) {
  (void)state;
  struct item items[] = {{0, SLICE("x")}, {0, SLICE("y")}, {0, SLICE("z")}, {0, SLICE("y")}};
  struct names names;
  size_t twice;
  assert_false(names_build(&names, &items[0].name, sizeof items[0], 4, &twice));
  assert_int_equal(twice, 3);
  names_free(&names);
}

static void quoted_names_are_printable_and_short(void **state) {
  (void)state;
  char out[NAMES_QUOTED_MAX], lengthy[1000];
  assert_string_equal(names_quoted(SLICE("blk.0.\303\251"), out), "blk.0.\303\251");
  assert_string_equal(names_quoted(SLICE("a\n\x1B[1m\x7F\xC2\x85\xFF\0b"), out), "a??[1m????b");
  assert_string_equal(names_quoted(SLICE(""), out), "");
  memset(lengthy, 'x', sizeof lengthy);
  const char *cut = names_quoted(slice_make(lengthy, sizeof lengthy), out);
  assert_true(strlen(cut) < NAMES_QUOTED_MAX && strlen(cut) > 80);
  assert_non_null(strstr(cut, "…"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names_are_found_whatever_their_order),
      cmocka_unit_test(the_later_of_two_equal_names_is_reported),
      cmocka_unit_test(quoted_names_are_printable_and_short),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
