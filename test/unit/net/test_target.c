/* Tests of request targets: a path has one reading or is refused. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/slice.h"
#include "net/target.h"

/* path NULL: refused */
static const struct {
  const char *text, *path, *query;
} cases[] = {
    {"/", "/", ""},
    {"/a/b?c=d?e", "/a/b", "c=d?e"},
    {"/a?", "/a", ""},
    {"/a%2Fb%20c", "/a/b c", ""},
    {"/%e2%82%ac", "/\xe2\x82\xac", ""},
    {"/a?%zz", "/a", "%zz"},
    {"/a//b/", "/a//b/", ""},
    {"/...", "/...", ""},
    {"/.a/..b/c..", "/.a/..b/c..", ""},
    {"/a?../b", "/a", "../b"},
    {"*", "*", ""},
    {"http://host", "/", ""},
    {"http://host?q", "/", "q"},
    {"HTTP://host:80/a?b", "/a", "b"},
    {"https://[::1]/a", "/a", ""},
    {"", NULL, NULL},
    {"a", NULL, NULL},
    {"**", NULL, NULL},
    {"http://", NULL, NULL},
    {"http:///a", NULL, NULL},
    {"http://user@host/a", NULL, NULL},
    {"ftp://host/a", NULL, NULL},
    {"host:80", NULL, NULL},
    {"/a#b", NULL, NULL},
    {"/a?b#c", NULL, NULL},
    {"/a b", NULL, NULL},
    {"/%", NULL, NULL},
    {"/%4", NULL, NULL},
    {"/%4g", NULL, NULL},
    {"/%%41", NULL, NULL},
    {"/a%00b", NULL, NULL},
    {"/a%0d%0ab", NULL, NULL},
    {"/a%7f", NULL, NULL},
    {"/%ff", NULL, NULL},
    {"/%c0%af", NULL, NULL},
    {"/\xc3\xa4", NULL, NULL},
    {"/.", NULL, NULL},
    {"/..", NULL, NULL},
    {"/a/./b", NULL, NULL},
    {"/a/../b", NULL, NULL},
    {"/a/..", NULL, NULL},
    {"/a/%2e%2E/b", NULL, NULL},
    {"/a%2f..%2fb", NULL, NULL},
};

static void each_target_is_read_one_way_or_refused(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    size_t len = strlen(cases[i].text);
    char *text = mem_alloc(len ? len : 1); /* no NUL behind it: a read over the end is seen */
    struct target t;
    memcpy(text, cases[i].text, len);
    const char *why = target_parse(text, len, &t);
    if (!why != (cases[i].path != NULL)) fail_msg("%s: %s", cases[i].text, why ? why : "accepted");
    if (!why && !slice_eq(slice_make(text + t.path_at, t.path_len), slice_cstr(cases[i].path)))
      fail_msg("%s: path %.*s", cases[i].text, (int)t.path_len, text + t.path_at);
    if (!why && !slice_eq(slice_make(text + t.query_at, t.query_len), slice_cstr(cases[i].query)))
      fail_msg("%s: query %.*s", cases[i].text, (int)t.query_len, text + t.query_at);
    free(text);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(each_target_is_read_one_way_or_refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
