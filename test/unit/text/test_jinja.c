/* The Jinja interpreter: what vectors cannot say: messages, limits, marks, hostile templates. SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/buf.h"
#include "text/text.h"

/* Renders template with the JSON text as context; returns 0 and the text, or -1 and the error. */
static int render(const char *template, const char *json, const struct jinja_limits *limits, struct buf *out, struct error *err) {
  *err = (struct error){0};
  struct js *context = js_parse(slice_cstr(json), err);
  assert_non_null(context);
  struct jinja *j = jinja_parse(slice_cstr(template), err);
  int rc = j ? jinja_render(j, context, 0, limits, out, err) : -1;
  jinja_free(j);
  js_free(context);
  return rc;
}

static void check_text(const char *template, const char *json, const char *wanted) {
  struct buf out = {0};
  struct error err;
  assert_int_equal(render(template, json, NULL, &out, &err), 0);
  assert_string_equal(out.data ? out.data : "", wanted);
  buf_free(&out);
}

static void check_error(const char *template, const char *json, enum error_code code, const char *message) {
  struct buf out = {0};
  struct error err;
  assert_int_equal(render(template, json, NULL, &out, &err), -1);
  assert_int_equal(err.code, code);
  assert_non_null(strstr(err.message, message));
  assert_int_equal(out.len, 0);
  buf_free(&out);
}

static void syntax_errors_name_line_and_column(void **state) {
  (void)state;
  check_error("a\n  {{ x + }}", "{}", ERROR_INVALID, "line 2, column 10");
  check_error("{% if x %}\n{% for y in z %}", "{}", ERROR_INVALID, "line 2, column 4: the tag \"for\" is not closed (\"endfor\"");
  check_error("é{{ 'open }}", "{}", ERROR_INVALID, "line 1, column 5: the string has no end");
  check_error("{{ x | nothing }}", "{}", ERROR_INVALID, "there is no filter named \"nothing\"");
  check_error("\r\n\r{% wrong %}", "{}", ERROR_INVALID, "line 3, column 4: there is no tag \"wrong\"");
  check_error("{% break %}", "{}", ERROR_INVALID, "need a loop");
  check_error("{# open", "{}", ERROR_INVALID, "comment has no end");
  check_error("{{ (1] }}", "{}", ERROR_INVALID, "bracket");
}

static void failures_while_rendering_name_line_and_column(void **state) {
  (void)state;
  check_error("\n{{ a.b.c }}", "{\"a\": {}}", ERROR_INVALID, "line 2, column 7: 'dict object' has no attribute 'b'");
  check_error("{{ missing.x }}", "{}", ERROR_INVALID, "column 11: 'missing' is undefined");
  check_error("{% for x in 5 %}{% endfor %}", "{}", ERROR_INVALID, "'int' object is not iterable");
  check_error("{{ 'a' + 1 }}", "{}", ERROR_INVALID, "unsupported operand types for +: 'str' and 'int'");
  check_error("{% include 'x' %}", "{}", ERROR_INVALID, "need a loader");
}

static void failures_in_macros_name_the_call_too(void **state) {
  (void)state;
  const char *macro = "{% macro m(x) %}\n  {{ x + 1 }}\n{% endmacro %}\n";
  struct buf template = {0};
  buf_printf(&template, "%s{{ m(1) }}\n  {{ m('a') }}", macro);
  check_error(template.data, "{}", ERROR_INVALID, "line 2, column 8 (in what line 5, column 7 calls): ");
  buf_clear(&template);
  buf_printf(&template, "%s{{ m(1) }}{{ none + 1 }}", macro);
  check_error(template.data, "{}", ERROR_INVALID, "line 4, column 19: unsupported operand types for +: 'NoneType' and 'int'.");
  buf_free(&template);
}

static void raise_exception_gives_the_templates_own_message(void **state) {
  (void)state;
  struct buf out = {0};
  struct error err;
  assert_int_equal(render("{{ raise_exception('Roles must alternate: ' ~ n) }}", "{\"n\": 3}", NULL, &out, &err), -1);
  assert_string_equal(err.message, "Roles must alternate: 3");
  assert_int_equal(err.code, ERROR_INVALID);
  check_error("{{ raise_exception('') }}", "{}", ERROR_INVALID, "does not say why");
}

static void an_integer_over_64_bits_is_an_error_and_no_wrong_number(void **state) {
  (void)state;
  check_error("{{ 9223372036854775807 + 1 }}", "{}", ERROR_INVALID, "64 bits");
  check_error("{{ 10 ** 19 }}", "{}", ERROR_INVALID, "64 bits");
  check_error("{{ 9223372036854775808 }}", "{}", ERROR_INVALID, "64 bits");
  check_error("{{ (-9223372036854775807 - 1) // -1 }}", "{}", ERROR_INVALID, "64 bits");
  check_error("{{ '99999999999999999999' | int }}", "{}", ERROR_INVALID, "64 bits");
  check_text("{{ -9223372036854775807 - 1 }}", "{}", "-9223372036854775808");
  check_text("{{ range(-9223372036854775807, 9223372036854775807, 4611686018427387904)[::2] | list }}", "{}", "[-9223372036854775807, 1]");
}

/* As Python prints and compares them. */
static void an_integer_over_64_bits_of_the_context_keeps_its_digits(void **state) {
  (void)state;
  static const char big[] =
      "{\"b\": 18446744073709551615, \"n\": -99999999999999999999, \"o\": {\"maximum\": 18446744073709551616, \"f\": 1.0}}";
  check_text("{{ b }} {{ [n] }} {{ o | tojson }} {{ b | string }} {{ b | int }}", big,
             "18446744073709551615 [-99999999999999999999] {\"maximum\": 18446744073709551616, \"f\": 1.0} 18446744073709551615 "
             "18446744073709551615");
  check_text("{{ b is integer }} {{ b is number }} {{ b is float }} {{ b is string }} {{ true if b }}", big, "True True False False True");
  check_text(
      "{{ b > 5 }} {{ n < -5.5 }} {{ n < b }} {{ b < o.maximum }} {{ o.maximum == 18446744073709551616.0 }} {{ b == 18446744073709551616.0 "
      "}}",
      big, "True True True True True False");
  check_text("{{ [b, 1, n, 2.5, o.maximum] | sort }} {{ {b: 1}[b] }} {{ b in [1, b] }} {{ b < 1e30 }} {{ b == b }} {{ b | float }}", big,
             "[-99999999999999999999, 1, 2.5, 18446744073709551615, 18446744073709551616] 1 True True True 1.8446744073709552e+19");
  static const char *const templates[] = {"{{ b + 1 }}", "{{ -b }}", "{{ b * 2.0 }}", "{{ 1 - b }}", "{{ n | abs }}"};
  for (size_t i = 0; i < sizeof templates / sizeof templates[0]; i++) check_error(templates[i], big, ERROR_INVALID, "64 bits");
  check_error("{{ '%d' % b }}", big, ERROR_INVALID, "int");
  check_error("{{ range(b) }}", big, ERROR_INVALID, "int");
}

static void time_is_the_given_one(void **state) {
  (void)state;
  setenv("TZ", "UTC", 1);
  check_text("{{ strftime_now('%Y-%m-%d %H:%M') }}", "{}", "1970-01-01 00:00");
}

static void hostile_templates_end_with_an_error(void **state) {
  (void)state;
  static const char *const templates[] = {
      "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
      "{{ 'a' * 9000000000000000 }}",
      "{{ [1] * 9000000000000000 }}",
      "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
      "{% for i in range(99999) %}{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' * 99 }}{% endfor %}",
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% macro m() %}{{ caller() }}{{ m() }}{% endmacro %}{% call m() %}x{% endcall %}",
      "{% for x in [[[]]] recursive %}{{ loop([x]) }}{% endfor %}",
      "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
      "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x == [ns.x] }}",
      "{% set ns = namespace(x=[1]) %}{% for i in range(9999) %}{% set ns.x = ns.x|map('string') %}{% endfor %}{{ ns.x|list }}",
      "{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}",
      "{{ '%999999999999d' % 1 }}",
      "{{ '{:>999999999999}'.format('x') }}",
      "{{ 'x'.center(9000000000000000) }}",
      "{{ 'x\\t'.expandtabs(9000000000000000) }}",
      "{{ 'aaaaaaaaaa'.replace('', 'b' * 99999999) }}",
      "{{ ('a' * 9999) | indent('b' * 99999999, true) }}",
      "{{ ('a\\n' * 99999) | indent('b' * 9999, true) }}",
      "{{ range(99999) | batch(9000000000000000, 'x') | list }}",
      "{{ range(9) | slice(9000000000000000) | list }}",
      "{{ lots | tojson(indent=999999999) }}",
  };
  struct js *context = js_parse(SLICE("{\"lots\": [1, [2, [3]]]}"), NULL);
  for (size_t i = 0; i < sizeof templates / sizeof templates[0]; i++) {
    struct error err = {0};
    struct buf out = {0};
    struct jinja *j = jinja_parse(slice_cstr(templates[i]), &err);
    assert_non_null(j);
    if (jinja_render(j, context, 0, &(struct jinja_limits){.output_bytes_max = 4 << 20}, &out, &err) != -1) fail_msg("%s", templates[i]);
    assert_true(err.message[0]);
    jinja_free(j);
    buf_free(&out);
  }
  js_free(context);
}

static void texts_of_many_marks_are_bounded_like_others(void **state) {
  (void)state;
  static const char *const templates[] = {
      "{% set x %}{% for i in range(99999) %}{{ c }}x{% endfor %}{% endset %}"
      "{% for i in range(99999) %}{% set y = x|replace('x', 'y') %}{% endfor %}",
      "{% set x %}{% for i in range(99999) %}{{ c }}x{% endfor %}{% endset %}{% for i in range(99999) %}{% set y = x.split('x') %}{% "
      "endfor %}",
      "{% set x %}{% for i in range(99999) %}{{ c }}x{% endfor %}{% endset %}{% set y = x * 320 %}{{ y }}{{ y ~ y }}{{ y }}{{ y }}",
  };
  struct js *context = js_parse(SLICE("{\"messages\": [{\"content\": \"m\"}]}"), NULL);
  for (size_t i = 0; i < sizeof templates / sizeof templates[0]; i++) {
    struct error err = {0};
    struct buf source = {0}, out = {0};
    struct jinja_marks marks = {0};
    buf_printf(&source, "{%% set c = messages[0].content %%}%s", templates[i]);
    struct jinja *j = jinja_parse(buf_view(&source), &err);
    assert_non_null(j);
    assert_int_equal(jinja_render_marked(j, context, 0, NULL, &out, &marks, &err), -1);
    assert_int_equal(err.code, ERROR_TOO_LARGE);
    jinja_free(j);
    jinja_marks_free(&marks);
    buf_free(&source);
    buf_free(&out);
  }
  js_free(context);
}

static void deep_nesting_in_the_source_is_an_error(void **state) {
  (void)state;
  static const char *const pieces[] = {"(",           "[",     "{1:", "not ", "-", "x.y", "x|e", "{% if x %}", "{% for a in b %}",
                                       "{% set x %}", "a if ", "x(",  "x is "};
  for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
    struct buf source = {0};
    struct error err = {0};
    if (pieces[i][0] != '{' || pieces[i][1] == '1') buf_add_cstr(&source, "{{ ");
    for (int k = 0; k < 20000; k++) buf_add_cstr(&source, pieces[i]);
    struct jinja *j = jinja_parse(buf_view(&source), &err);
    assert_null(j);
    assert_true(err.message[0]);
    buf_free(&source);
  }
}

#ifdef __SANITIZE_ADDRESS__
enum { STACK_BYTES = 8 << 20 };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
enum { STACK_BYTES = 8 << 20 };
#else
enum { STACK_BYTES = 1 << 20 };
#endif
#else
enum { STACK_BYTES = 1 << 20 };
#endif

/* begin n times, middle, end n times, between head and tail. */
struct nest {
  const char *head, *begin, *middle, *end, *tail;
  int n;
};

static void *render_nest(void *arg) {
  const struct nest *nest = arg;
  struct buf source = {0}, out = {0};
  struct error err = {0};
  buf_add_cstr(&source, nest->head);
  for (int i = 0; i < nest->n; i++) buf_add_cstr(&source, nest->begin);
  buf_add_cstr(&source, nest->middle);
  for (int i = 0; i < nest->n; i++) buf_add_cstr(&source, nest->end);
  buf_add_cstr(&source, nest->tail);
  struct js *context = js_parse(SLICE("{\"x\": {\"x\": {}}, \"f\": 1}"), &err);
  struct jinja *j = jinja_parse(buf_view(&source), &err);
  if (j) jinja_render(j, context, 0, &(struct jinja_limits){.output_bytes_max = 4 << 20}, &out, &err);
  jinja_free(j);
  js_free(context);
  buf_free(&source);
  buf_free(&out);
  return NULL;
}

#define GROW(with) "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = " with " %}{% endfor %}"
#define MACRO(body) "{% macro m(a) %}" body "{% endmacro %}{{ m(1) }}"
static const struct nest nests[] = {
    {"{{ ", "(", "1", ")", " }}", 149},
    {"{{ ", "[", "1", "]", " }}", 149},
    {"{{ ", "{1:", "1", "}", " }}", 149},
    {"{{ ", "not ", "1", "", " }}", 149},
    {"{{ ", "-", "1", "", " }}", 149},
    {"{{ ", "1 if ", "1", " else 1", " }}", 149},
    {"{{ ", "f(", "1", ")", " }}", 149},
    {"{{ ", "x[", "1", "]", " }}", 149},
    {"{{ ", "1 ** ", "1", "", " }}", 149},
    {"{{ ", "[1, 2][", "0", "]", " }}", 149},
    {"{{ ", "(1, [", "0", "])|list|string", " }}", 70},
    {"{{ x", "", "", ".x", " }}", 999},
    {"{{ x", "", "", "|e", " }}", 999},
    {"{{ x", "", "", "|map('list')", " }}", 999},
    {"{{ 1", "", "", " + 1", " }}", 999},
    {"{{ 1", "", "", " ~ 1", " }}", 999},
    {"{{ 1", "", "", " or 0", " }}", 999},
    {"{{ 0", "", "", " or 0", " }}", 999},
    {"{{ 1", "", "", " < 2", " }}", 999},
    {"{{ 1", "", "", " is defined", " }}", 999},
    {"", "{% if 1 %}", "x", "{% endif %}", "", 149},
    {"", "{% if 0 %}{% else %}", "x", "{% endif %}", "", 149},
    {"{% if 0 %}", "{% elif 0 %}", "x", "", "{% endif %}", 9999},
    {"", "{% for a in [1] %}", "x", "{% endfor %}", "", 149},
    {"", "{% with a = 1 %}", "x", "{% endwith %}", "", 149},
    {"", "{% filter upper %}", "x", "{% endfilter %}", "", 149},
    {"", "{% set a %}", "x", "{% endset %}", "", 149},
    {"", "{% macro m() %}", "x", "{% endmacro %}{{ m() }}", "", 149},
    {"{% macro m() %}{{ caller() }}{% endmacro %}", "{% call m() %}", "x", "{% endcall %}", "", 149},
    {"", "{% generation %}", "x", "{% endgeneration %}", "", 149},
    {MACRO("{{ m(m(a)) }}"), "", "", "", "", 0},
    {MACRO("{{ [[[[[[[[[[m(a)]]]]]]]]]] }}"), "", "", "", "", 0},
    {MACRO("{% for x in [1] %}{% if x %}{% set y %}{{ m(x)|upper }}{% endset %}{{ y }}{% endif %}{% endfor %}"), "", "", "", "", 0},
    {MACRO("{% call m(1) %}{{ m(2) }}{% endcall %}"), "", "", "", "", 0},
    {"{% for x in [[1]] recursive %}{{ loop([[x]]) }}{% endfor %}", "", "", "", "", 0},
    {GROW("[ns.x]") "{{ ns.x }}", "", "", "", "", 0},
    {GROW("[ns.x]") "{{ ns.x|tojson }}", "", "", "", "", 0},
    {GROW("[ns.x]") "{{ ns.x|tojson(indent=1) }}", "", "", "", "", 0},
    {GROW("[ns.x]") "{{ ns.x|pprint }}", "", "", "", "", 0},
    {GROW("[ns.x]") "{{ ns.x == [ns.x] }}", "", "", "", "", 0},
    {GROW("[ns.x]") "{{ ns.x < [ns.x] }}", "", "", "", "", 0},
    {GROW("[ns.x]") "{{ [ns.x, ns.x]|sort }}", "", "", "", "", 0},
    {GROW("[ns.x]") "{{ [ns.x, ns.x]|unique|list }}", "", "", "", "", 0},
    {GROW("[ns.x]") "{{ ns.x in [ns.x] }}", "", "", "", "", 0},
    {GROW("[ns.x]") "{{ '%s' % ns.x }}{{ '{}'.format(ns.x) }}", "", "", "", "", 0},
    {GROW("[ns.x]") "{{ ns.x|string|length }}{{ ns.x|join }}", "", "", "", "", 0},
    {GROW("[ns.x]") "{{ ns.x|sum(start=[]) }}", "", "", "", "", 0},
    {GROW("{'x': ns.x}") "{{ ns.x }}", "", "", "", "", 0},
    {GROW("{'x': ns.x}") "{{ ns.x == {'x': ns.x} }}", "", "", "", "", 0},
    {GROW("{'x': ns.x}") "{{ ns.x|tojson }}{{ ns.x|xmlattr }}", "", "", "", "", 0},
    {GROW("{'x': ns.x}") "{{ ns.x|dictsort }}{{ ns.x.values() }}", "", "", "", "", 0},
    {"{% set ns = namespace(x=(1,)) %}{% for i in range(9999) %}{% set ns.x = (ns.x,) %}{% endfor %}{{ {ns.x: 1} }}", "", "", "", "", 0},
    {"{% set ns = namespace(x=(1,)) %}{% for i in range(2400) %}{% set ns.x = (ns.x,) %}{% endfor %}{{ {ns.x: 1} }}", "", "", "", "", 0},
    {"{% set ns = namespace(x=[1]) %}{% for i in range(2400) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}{{ ns.x|tojson }}", "", "", "",
     "", 0},
    {GROW("ns.x|map('string')") "{{ ns.x|list }}", "", "", "", "", 0},
    {GROW("ns.x|select") "{{ ns.x|first }}", "", "", "", "", 0},
    {GROW("ns.x|batch(2)") "{{ ns.x|list }}", "", "", "", "", 0},
    {GROW("ns.x|slice(2)") "{{ ns.x|list }}", "", "", "", "", 0},
    {GROW("ns.x|reverse") "{{ ns.x|list }}", "", "", "", "", 0},
    {GROW("ns.x|unique") "{{ ns.x|list }}", "", "", "", "", 0},
    {GROW("ns.x|rejectattr('a')") "{{ ns.x|list }}", "", "", "", "", 0},
    {GROW("ns.x|items") "{{ ns.x|list }}", "", "", "", "", 0},
    {GROW("ns.x.y.z|default(ns.x)") "{{ ns.x }}", "", "", "", "", 0},
    {GROW("dict(a=ns.x).items()") "{{ ns.x }}{{ ns.x|list }}", "", "", "", "", 0},
    {GROW("cycler(ns.x)") "{{ ns.x }}{{ ns.x.next() }}", "", "", "", "", 0},
    {GROW("joiner(ns.x|string)") "{{ ns.x() }}", "", "", "", "", 0},
    {GROW("namespace(x=ns.x)") "{{ ns.x }}{{ ns.x == ns.x }}", "", "", "", "", 0},
};
static void nothing_is_nested_too_deeply_for_the_stack_of_a_thread(void **state) {
  (void)state;
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setstacksize(&attr, STACK_BYTES);
  for (size_t i = 0; i < sizeof nests / sizeof nests[0]; i++) {
    struct nest nest = nests[i];
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, &attr, render_nest, &nest), 0);
    pthread_join(thread, NULL);
  }
  pthread_attr_destroy(&attr);
}

static void long_chains_work_up_to_a_limit(void **state) {
  (void)state;
  struct error err;
  struct buf source = {0}, out = {0};
  buf_add_cstr(&source, "{{ 0");
  for (int k = 0; k < 900; k++) buf_add_cstr(&source, " + 1");
  buf_add_cstr(&source, " }}");
  assert_int_equal(render(source.data, "{}", NULL, &out, &err), 0);
  assert_string_equal(out.data, "900");
  buf_clear(&source);
  buf_add_cstr(&source, "{{ 0");
  for (int k = 0; k < 9000; k++) buf_add_cstr(&source, " or 0");
  buf_add_cstr(&source, " }}");
  assert_int_equal(render(source.data, "{}", NULL, &out, &err), -1);
  buf_free(&source);
  buf_free(&out);
}

static void what_follows_a_random_pick_is_as_before_it(void **state) {
  (void)state;
  check_text("{% for d in l %}{{ ['x']|random }}{{ d.name }}{% endfor %}", "{\"l\": [{\"name\": \"a\"}, {\"name\": \"b\"}]}", "xaxb");
}

static void the_filter_of_a_block_gives_text(void **state) {
  (void)state;
  check_error("{% filter length %}abc{% endfilter %}", "{}", ERROR_INVALID, "must give text, not 'int'");
  check_text("{% set n | length %}abc{% endset %}{{ n + 1 }}{% raw %}", "{}", "4");
}

static void limits_of_the_caller_hold(void **state) {
  (void)state;
  struct buf out = {0};
  struct error err;
  const char *loop = "{% for i in range(1000) %}abcdefghij{% endfor %}";
  assert_int_equal(render(loop, "{}", &(struct jinja_limits){.output_bytes_max = 9999}, &out, &err), -1);
  assert_int_equal(err.code, ERROR_TOO_LARGE);
  assert_int_equal(render(loop, "{}", &(struct jinja_limits){.steps_max = 500}, &out, &err), -1);
  assert_int_equal(err.code, ERROR_TOO_LARGE);
  assert_int_equal(out.len, 0);
  assert_int_equal(render(loop, "{}", &(struct jinja_limits){.output_bytes_max = 10000}, &out, &err), 0);
  assert_int_equal(out.len, 10000);
  buf_free(&out);
}

static void unsafe_attributes_are_undefined_and_cannot_be_used(void **state) {
  (void)state;
  check_text("{{ x.__class__ }}{{ l.append is defined }}{{ d.update is defined }}", "{\"x\": 1, \"l\": [], \"d\": {}}", "FalseFalse");
  check_error("{{ l.append(1) }}", "{\"l\": []}", ERROR_INVALID, "unsafe");
  check_error("{{ x.__class__.mro }}", "{\"x\": 1}", ERROR_INVALID, "unsafe");
}

static void newlines_and_the_last_one_are_normalized(void **state) {
  (void)state;
  check_text("a\r\nb\rc\n\n", "{}", "a\nb\nc\n");
  check_text("{% if true %}\r\nx{% endif %}\n", "{}", "x");
}

static void a_template_that_is_no_utf8_and_a_context_that_is_no_object_are_refused(void **state) {
  (void)state;
  check_error("\xff", "{}", ERROR_INVALID, "UTF-8");
  check_error("x", "[]", ERROR_INVALID, "JSON object");
}

/* Renders with marks and puts "<" and ">" around the marked bytes. */
static void check_marks(const char *template, const char *json, const char *wanted) {
  struct error err = {0};
  struct buf out = {0}, shown = {0};
  struct jinja_marks marks = {0};
  struct js *context = js_parse(slice_cstr(json), &err);
  struct jinja *j = jinja_parse(slice_cstr(template), &err);
  buf_add_cstr(&out, "#"); /* offsets count what was there before */
  assert_int_equal(jinja_render_marked(j, context, 0, NULL, &out, &marks, &err), 0);
  size_t at = 1;
  for (size_t i = 0; i < marks.n; i++) {
    assert_true(marks.spans[i].begin >= at && marks.spans[i].end > marks.spans[i].begin && marks.spans[i].end <= out.len);
    buf_add(&shown, out.data + at, marks.spans[i].begin - at);
    buf_add_cstr(&shown, "<");
    buf_add(&shown, out.data + marks.spans[i].begin, marks.spans[i].end - marks.spans[i].begin);
    buf_add_cstr(&shown, ">");
    at = marks.spans[i].end;
  }
  buf_add(&shown, out.data + at, out.len - at);
  assert_string_equal(shown.data, wanted);
  jinja_marks_free(&marks);
  buf_free(&shown);
  buf_free(&out);
  jinja_free(j);
  js_free(context);
}

static void bytes_from_messages_stay_known_through_all_that_is_done_to_them(void **state) {
  (void)state;
  const char *json = "{\"bos\": \"[B]\", \"messages\": [{\"content\": \" Ab-cß \"}, {\"content\": \"q\\\"\\n\"}], \"tools\": [{\"n\": 1}]}";
  check_marks("{{ bos + messages[0].content }}!", json, "[B]< Ab-cß >!");
  check_marks("{{ bos ~ messages[0].content|trim ~ bos }}", json, "[B]<Ab-cß>[B]");
  check_marks("{{ (bos ~ messages[0].content)[1:6] }}", json, "B]< Ab>");
  check_marks("{{ (bos ~ messages[0].content)[::-1] }}", json, "< ßc-bA >]B[");
  check_marks("{{ (messages[0].content ~ 'x')|upper }}", json, "< AB-CSS >X");
  check_marks("{{ ('x-y' ~ messages[0].content).split('-') | join('|') }}", json, "x|y< Ab>|<cß >");
  check_marks("{{ bos.replace('B', messages[0].content.strip()) }}", json, "[<Ab-cß>]");
  check_marks("{{ messages[1].content | tojson }}", json, "\"<q\\\"\\n>\"");
  check_marks("{{ messages[1] }}", json, "{'<content>': '<q\"\\n>'}");
  check_marks("{{ tools | tojson }}", json, "[{\"<n>\": 1}]");
  check_marks("{% set x %}a{{ messages[1].content|trim }}b{% endset %}{{ x|title }}", json, "A<q\">b");
  check_marks("{{ '%s-%5s' % (bos, messages[0].content[1:3]) }}", json, "[B]-   <Ab>");
  check_marks("{{ '{}|{:>4}'.format(bos, messages[0].content[1:3]) }}", json, "[B]|  <Ab>");
  check_marks("{{ (messages[0].content ~ bos)|replace('-', '_')|e }}", json, "< Ab>_<cß >[B]");
  check_marks("{% for c in messages[0].content|trim %}{{ c }}.{% endfor %}", json, "<A>.<b>.<->.<c>.<ß>.");
}

static void marks_cover_the_whole_of_what_was_made_of_marked_text(void **state) {
  (void)state;
  const char *json = "{\"messages\": [{\"content\": \"a<b\"}]}";
  check_marks("{{ 'x' ~ messages[0].content|e }}", json, "x<a&lt;b>");
  check_marks("{{ ('x ' ~ messages[0].content)|urlencode }}", json, "x%20<a%3Cb>");
  check_marks("{{ messages[0].content|indent(2, true) ~ messages[0].content|length }}", json, "  <a<b>3");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(syntax_errors_name_line_and_column),
      cmocka_unit_test(failures_while_rendering_name_line_and_column),
      cmocka_unit_test(failures_in_macros_name_the_call_too),
      cmocka_unit_test(raise_exception_gives_the_templates_own_message),
      cmocka_unit_test(an_integer_over_64_bits_of_the_context_keeps_its_digits),
      cmocka_unit_test(an_integer_over_64_bits_is_an_error_and_no_wrong_number),
      cmocka_unit_test(time_is_the_given_one),
      cmocka_unit_test(hostile_templates_end_with_an_error),
      cmocka_unit_test(texts_of_many_marks_are_bounded_like_others),
      cmocka_unit_test(deep_nesting_in_the_source_is_an_error),
      cmocka_unit_test(nothing_is_nested_too_deeply_for_the_stack_of_a_thread),
      cmocka_unit_test(long_chains_work_up_to_a_limit),
      cmocka_unit_test(what_follows_a_random_pick_is_as_before_it),
      cmocka_unit_test(the_filter_of_a_block_gives_text),
      cmocka_unit_test(limits_of_the_caller_hold),
      cmocka_unit_test(unsafe_attributes_are_undefined_and_cannot_be_used),
      cmocka_unit_test(newlines_and_the_last_one_are_normalized),
      cmocka_unit_test(a_template_that_is_no_utf8_and_a_context_that_is_no_object_are_refused),
      cmocka_unit_test(bytes_from_messages_stay_known_through_all_that_is_done_to_them),
      cmocka_unit_test(marks_cover_the_whole_of_what_was_made_of_marked_text),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
