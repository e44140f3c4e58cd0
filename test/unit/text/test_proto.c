/* The wire format of Protocol Buffers. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "text/proto.h"

static int count(struct slice message) {
  struct proto_field f;
  int rc, n = 0;
  while ((rc = proto_next(&message, &f)) > 0) n++;
  return rc < 0 ? -1 : n;
}

static void fields_of_every_type_are_read(void **state) {
  (void)state;
  struct slice message = SLICE(
      "\x08\x96\x01"
      "\x12\x03"
      "abc"
      "\x1D\x00\x00\x80\xBF"
      "\x21\x01\x02\x03\x04\x05\x06\x07\x08"
      "\x28\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01");
  struct proto_field f;
  assert_int_equal(proto_next(&message, &f), 1);
  assert_int_equal(f.number, 1);
  assert_int_equal(f.value, 150);
  assert_int_equal(proto_next(&message, &f), 1);
  assert_int_equal(f.type, PROTO_BYTES);
  assert_true(slice_eq(f.bytes, SLICE("abc")));
  assert_int_equal(proto_next(&message, &f), 1);
  assert_true(proto_float(&f) == -1.0f);
  assert_int_equal(proto_next(&message, &f), 1);
  assert_true(f.value == 0x0807060504030201u);
  assert_int_equal(proto_next(&message, &f), 1);
  assert_true(f.value == UINT64_MAX);
  assert_int_equal(proto_next(&message, &f), 0);
}

static void what_is_cut_or_broken_is_refused(void **state) {
  (void)state;
  assert_int_equal(count(SLICE("")), 0);
  assert_int_equal(count(SLICE("\x08")), -1);     /* no value */
  assert_int_equal(count(SLICE("\x08\x80")), -1); /* half a varint */
  assert_int_equal(count(SLICE("\x12\x04"
                               "abc")),
                   -1); /* longer than the rest */
  assert_int_equal(count(SLICE("\x12\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"
                               "abc")),
                   -1);
  assert_int_equal(count(SLICE("\x1D\x00\x00")), -1);                                 /* half a number */
  assert_int_equal(count(SLICE("\x0B\x0C")), -1);                                     /* a group */
  assert_int_equal(count(SLICE("\x00\x01")), -1);                                     /* field 0 */
  assert_int_equal(count(SLICE("\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02")), -1); /* 65 bits */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fields_of_every_type_are_read),
      cmocka_unit_test(what_is_cut_or_broken_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
