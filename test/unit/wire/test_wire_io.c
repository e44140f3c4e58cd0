/* The socket with its buffers. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "wire/wire.h"

struct pair {
  struct wire_io a, b;
};

static int setup(void **state) {
  struct pair *p = mem_zalloc(1, sizeof *p);
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) return -1;
  p->a.fd = fds[0];
  p->b.fd = fds[1];
  *state = p;
  return 0;
}

static int teardown(void **state) {
  struct pair *p = *state;
  close(p->a.fd);
  if (p->b.fd >= 0) close(p->b.fd);
  wire_io_free(&p->a);
  wire_io_free(&p->b);
  free(p);
  return 0;
}

static void an_empty_socket_is_no_error(void **state) {
  struct pair *p = *state;
  struct wire_frame frame;
  assert_int_equal(wire_io_read(&p->b, NULL), 0);
  assert_int_equal(wire_io_next(&p->b, &frame, NULL), 0);
}

static void frames_come_out_whole_however_their_bytes_arrive(void **state) {
  struct pair *p = *state;
  struct buf bytes = {0};
  struct wire_frame frame;
  for (uint64_t i = 0; i < 3; i++) wire_put_cancel(&bytes, i);
  uint64_t n = 0;
  for (size_t i = 0; i < bytes.len; i++) {
    assert_int_equal(send(p->a.fd, bytes.data + i, 1, 0), 1);
    assert_int_equal(wire_io_read(&p->b, NULL), 1);
    while (wire_io_next(&p->b, &frame, NULL) == 1) {
      struct arena scratch = {0};
      struct wire_message m;
      assert_int_equal(wire_decode(&frame, &scratch, &m, NULL), 0);
      assert_int_equal(m.cancel.id, n++);
      arena_free(&scratch);
    }
  }
  assert_int_equal(n, 3);
  buf_free(&bytes);
}

static void more_than_the_socket_holds_waits_and_arrives(void **state) {
  struct pair *p = *state;
  enum { N = 200000 };
  for (uint64_t i = 0; i < N; i++) wire_put_cancel(&p->a.out, i);
  assert_int_equal(wire_io_flush(&p->a, NULL), 0);
  assert_true(wire_io_unsent(&p->a) > 0);
  uint64_t n = 0;
  while (n < N) {
    struct wire_frame frame;
    struct wire_message m;
    assert_int_equal(wire_io_read(&p->b, NULL), 1);
    for (struct arena scratch = {0}; wire_io_next(&p->b, &frame, NULL) == 1; arena_free(&scratch)) {
      assert_int_equal(wire_decode(&frame, &scratch, &m, NULL), 0);
      assert_int_equal(m.cancel.id, n++);
    }
    assert_int_equal(wire_io_flush(&p->a, NULL), 0);
  }
  assert_int_equal(wire_io_unsent(&p->a), 0);
}

static void an_end_that_is_gone_is_told_after_its_last_bytes(void **state) {
  struct pair *p = *state;
  struct wire_frame frame;
  struct error err = {0};
  wire_put_stop(&p->b.out);
  assert_int_equal(wire_io_flush(&p->b, NULL), 0);
  close(p->b.fd);
  p->b.fd = -1;
  assert_int_equal(wire_io_read(&p->a, NULL), 1);
  assert_int_equal(wire_io_next(&p->a, &frame, NULL), 1);
  assert_int_equal(wire_io_read(&p->a, &err), -1);
  assert_int_equal(err.code, ERROR_UNAVAILABLE);
  wire_put_stop(&p->a.out);
  assert_int_equal(wire_io_flush(&p->a, &err), -1); /* and no SIGPIPE */
}

static void bytes_that_are_no_frame_are_an_error(void **state) {
  struct pair *p = *state;
  struct wire_frame frame;
  struct error err = {0};
  assert_int_equal(send(p->a.fd, "HTTP/1.1 200 OK", 15, 0), 15);
  assert_int_equal(wire_io_read(&p->b, NULL), 1);
  assert_int_equal(wire_io_next(&p->b, &frame, &err), -1);
  assert_int_equal(err.code, ERROR_CORRUPT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(an_empty_socket_is_no_error, setup, teardown),
      cmocka_unit_test_setup_teardown(frames_come_out_whole_however_their_bytes_arrive, setup, teardown),
      cmocka_unit_test_setup_teardown(more_than_the_socket_holds_waits_and_arrives, setup, teardown),
      cmocka_unit_test_setup_teardown(an_end_that_is_gone_is_told_after_its_last_bytes, setup, teardown),
      cmocka_unit_test_setup_teardown(bytes_that_are_no_frame_are_an_error, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
