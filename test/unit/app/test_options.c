/* Tests of app/options, app/config, app/help and app/suggest: one table, four sources, three texts. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "app/config.h"
#include "app/help.h"
#include "app/suggest.h"
#include "base/fs.h"

struct args {
  const char *host, *compute;
  int64_t port;
  double ratio;
  bool auth, json;
  struct options_list origins;
};

static const struct options_row rows[] = {
    {.name = "host",
     OPTION_STRING_TO(struct args, host),
     .metavar = "ADDR",
     .fallback = "127.0.0.1",
     .env = "PLINTH_TEST_HOST",
     .key = "host",
     .help = "Where to listen."},
    {.name = "port",
     .letter = 'p',
     OPTION_INT_TO(struct args, port),
     .metavar = "N",
     .fallback = "8080",
     .env = "PLINTH_TEST_PORT",
     .key = "port",
     .ranged = true,
     .min = 0,
     .max = 65535,
     .help = "The port."},
    {.name = "compute",
     OPTION_STRING_TO(struct args, compute),
     .metavar = "MODE",
     .fallback = "fast",
     .key = "compute",
     .choices = "fast|f32",
     .help = "How to compute."},
    {.name = "ratio",
     OPTION_REAL_TO(struct args, ratio),
     .metavar = "R",
     .key = "ratio",
     .ranged = true,
     .min = 0,
     .max = 1,
     .help = "A share."},
    {.name = "no-auth", OPTION_BOOL_TO(struct args, auth), .env = "PLINTH_TEST_NO_AUTH", .key = "no_auth", .help = "No tokens."},
    {.name = "json", .letter = 'j', OPTION_BOOL_TO(struct args, json), .help = "JSON."},
    {.name = "cors-origin",
     OPTION_LIST_TO(struct args, origins),
     .metavar = "URL",
     .env = "PLINTH_TEST_ORIGINS",
     .key = "cors_origin",
     .help = "An origin."},
};

static const struct options_spec spec = {.command = "serve",
                                         .operands = "FILE",
                                         .operands_min = 0,
                                         .operands_max = 1,
                                         .summary = "Serve",
                                         .description = "First paragraph.\n\nSecond ~paragraph.",
                                         .examples = "plinth serve\nplinth serve --port 1",
                                         OPTIONS_ROWS(rows),
                                         .args_bytes = sizeof(struct args),
                                         .has_config = true};

enum { WORDS_MAX = 12 };

/* Parses "serve" and the words that follow, up to NULL. */
static enum options_result parse(struct options *o, struct buf *text, struct error *err, ...) {
  static char *argv[WORDS_MAX + 2];
  static char copies[WORDS_MAX][256];
  int argc = 1;
  va_list words;
  va_start(words, err);
  argv[0] = (char *)"serve";
  for (const char *word; (word = va_arg(words, const char *)); argc++) argv[argc] = strcpy(copies[argc - 1], word);
  va_end(words);
  argv[argc] = NULL;
  *err = (struct error){0};
  return options_parse(o, &spec, argc, argv, text, err);
}

static void expect_error(const char *first, const char *second, const char *part) {
  struct options o;
  struct buf text = {0};
  struct error err;
  assert_int_equal(parse(&o, &text, &err, first, second, NULL), OPTIONS_ERROR);
  if (!strstr(err.message, part)) fail_msg("\"%s\" does not say \"%s\"", err.message, part);
  options_free(&o);
  buf_free(&text);
}

static int clear_environment(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
    if (rows[i].env) unsetenv(rows[i].env);
  unsetenv("PLINTH_CONFIG");
  return 0;
}

static void defaults_fill_what_nobody_sets(void **state) {
  (void)state;
  struct options o;
  struct buf text = {0};
  struct error err;
  assert_int_equal(parse(&o, &text, &err, NULL), OPTIONS_RUN);
  const struct args *a = o.args;
  assert_string_equal(a->host, "127.0.0.1");
  assert_int_equal(a->port, 8080);
  assert_string_equal(a->compute, "fast");
  assert_true(a->ratio == 0);
  assert_false(a->auth || a->json);
  assert_int_equal(a->origins.n, 0);
  assert_int_equal(options_source(&o, "port"), OPTIONS_DEFAULT);
  assert_int_equal(options_source(&o, "ratio"), OPTIONS_NOWHERE);
  options_free(&o);
}

static void flags_are_read_in_every_form(void **state) {
  (void)state;
  struct options o;
  struct buf text = {0};
  struct error err;
  assert_int_equal(parse(&o, &text, &err, "--host=::1", "-p", "1", "--json", "file", "--ratio", "0.25", "--no-auth=yes", "--cors-origin",
                         "a", "--cors-origin=b", NULL),
                   OPTIONS_RUN);
  const struct args *a = o.args;
  assert_string_equal(a->host, "::1");
  assert_int_equal(a->port, 1);
  assert_true(a->json && a->auth && a->ratio == 0.25);
  assert_int_equal(a->origins.n, 2);
  assert_string_equal(a->origins.items[0], "a");
  assert_string_equal(a->origins.items[1], "b");
  assert_int_equal(o.n_operands, 1);
  assert_string_equal(o.operands[0], "file");
  options_free(&o);
  assert_int_equal(parse(&o, &text, &err, "-jp7", "--", "-x", NULL), OPTIONS_RUN);
  a = o.args;
  assert_true(a->json);
  assert_int_equal(a->port, 7);
  assert_string_equal(o.operands[0], "-x");
  options_free(&o);
}

static void mistakes_are_named_with_a_suggestion(void **state) {
  (void)state;
  expect_error("--prot", "1", "no option --prot; did you mean --port?");
  expect_error("--zzzzzz", NULL, "There is no option --zzzzzz.");
  expect_error("-x", NULL, "There is no option -x.");
  expect_error("--port", NULL, "--port needs a value");
  expect_error("-p", NULL, "-p needs a value");
  expect_error("--port", "x", "Option --port must be a whole number; it is \"x\".");
  expect_error("--port", "1x", "whole number");
  expect_error("--port", "", "whole number");
  expect_error("--port", "65536", "Option --port must be between 0 and 65535; it is 65536.");
  expect_error("--port", "-1", "between 0 and 65535");
  expect_error("--port", "99999999999999999999", "out of range");
  expect_error("--ratio", "nan", "must be a number");
  expect_error("--ratio", "1.5", "between 0 and 1");
  expect_error("--compute", "f3", "Option --compute must be one of fast|f32; it is \"f3\".");
  expect_error("--compute", "fast|f32", "must be one of");
  expect_error("--json=maybe", NULL, "Option --json must be true or false");
  expect_error("--help=x", NULL, "--help takes no value");
  expect_error("a", "b", "\"b\" is one argument too many");
}

static void environment_wins_over_defaults_and_flags_over_it(void **state) {
  (void)state;
  struct options o;
  struct buf text = {0};
  struct error err;
  setenv("PLINTH_TEST_PORT", "9", 1);
  setenv("PLINTH_TEST_HOST", "", 1); /* counts as unset */
  setenv("PLINTH_TEST_NO_AUTH", "on", 1);
  setenv("PLINTH_TEST_ORIGINS", "x,,y", 1);
  assert_int_equal(parse(&o, &text, &err, NULL), OPTIONS_RUN);
  const struct args *a = o.args;
  assert_int_equal(a->port, 9);
  assert_string_equal(a->host, "127.0.0.1");
  assert_true(a->auth);
  assert_int_equal(a->origins.n, 2);
  assert_string_equal(a->origins.items[1], "y");
  assert_int_equal(options_source(&o, "port"), OPTIONS_ENV);
  options_free(&o);
  assert_int_equal(parse(&o, &text, &err, "--port", "10", "--no-auth=false", "--cors-origin", "z", NULL), OPTIONS_RUN);
  a = o.args;
  assert_int_equal(a->port, 10);
  assert_false(a->auth);
  assert_int_equal(a->origins.n, 1);
  assert_int_equal(options_source(&o, "port"), OPTIONS_FLAG);
  options_free(&o);
  setenv("PLINTH_TEST_PORT", "many", 1);
  expect_error(NULL, NULL, "The environment variable PLINTH_TEST_PORT must be a whole number");
}

/* ---- configuration ---- */

static const char *config_path(const char *text) {
  static char path[64];
  snprintf(path, sizeof path, "/tmp/plinth-test-config-%ld.yaml", (long)getpid());
  assert_int_equal(fs_write_atomic(path, slice_cstr(text), 0600, NULL), 0);
  return path;
}

static void a_configuration_file_lies_between_defaults_and_environment(void **state) {
  (void)state;
  struct options o;
  struct buf text = {0};
  struct error err;
  const char *path =
      config_path("# comment\nhost: \"::\"\nport: 1\nno_auth: true\nratio: 0.5\ncors_origin:\n  - https://a\n  - \"b,c\"\ncompute: ~\n");
  setenv("PLINTH_TEST_PORT", "2", 1);
  assert_int_equal(parse(&o, &text, &err, "--config", path, NULL), OPTIONS_RUN);
  const struct args *a = o.args;
  assert_string_equal(a->host, "::");
  assert_int_equal(a->port, 2);
  assert_true(a->auth && a->ratio == 0.5);
  assert_string_equal(a->compute, "fast");
  assert_int_equal(a->origins.n, 2);
  assert_string_equal(a->origins.items[1], "b,c");
  assert_int_equal(options_source(&o, "host"), OPTIONS_CONFIG);
  assert_string_equal(o.config_path, path);
  options_free(&o);
  setenv("PLINTH_CONFIG", path, 1);
  assert_int_equal(parse(&o, &text, &err, "--port", "3", "--host", "h", NULL), OPTIONS_RUN);
  a = o.args;
  assert_int_equal(a->port, 3);
  assert_string_equal(a->host, "h");
  assert_true(a->auth);
  options_free(&o);
  remove(path);
  expect_error("--config", "/no/such/file.yaml", "/no/such/file.yaml");
}

static void expect_config(const char *yaml, const char *part) {
  struct options o = {
      .spec = &spec, .args = calloc(1, sizeof(struct args)), .sources = calloc(sizeof rows / sizeof rows[0], sizeof(enum options_source))};
  struct error err = {0};
  int result = config_apply_text(&o, slice_cstr(yaml), "c.yaml", &err);
  if (part ? result == 0 || !strstr(err.message, part) : result < 0)
    fail_msg("%s: \"%s\", not \"%s\"", yaml, err.message, part ? part : "");
  options_free(&o);
}

static void mistakes_in_a_configuration_file_have_line_and_column(void **state) {
  (void)state;
  expect_config("host: a\nprot: 1\n", "c.yaml:2:1: There is no setting \"prot\"; did you mean \"port\"?");
  expect_config("no-auth: true\n", "c.yaml:1:1: There is no setting \"no-auth\"; did you mean \"no_auth\"?");
  expect_config("port: 70000\n", "c.yaml:1:7: Setting \"port\" must be between 0 and 65535");
  expect_config("port: [1]\n", "c.yaml:1:7: Setting \"port\" takes one value, not a list.");
  expect_config("port: {a: 1}\n", "c.yaml:1:7: Setting \"port\" takes a single value.");
  expect_config("port: 1\nport: 2\n", "c.yaml:2:1: Setting \"port\" stands here a second time.");
  expect_config("cors_origin: [[a]]\n", "single values only");
  expect_config("host: &x a\ncompute: *x\n", "Anchors");
  expect_config("- a\n", "c.yaml:1:1: Expected lines of the form");
  expect_config("just text\n", "Expected lines of the form");
  expect_config("port: 1\n---\nport: 2\n", "one document only");
  expect_config("port: 1\nhost: \"a\n", "This is not valid YAML");
  expect_config("port: 1\n\thost: a\n", "c.yaml:2:1: This is not valid YAML");
  expect_config("host: \"a\\0b\"\n", "NUL");
  expect_config("host: \xFF\n", "This is not valid YAML");
  expect_config("? [a]\n: b\n", "Expected the name of a setting");
}

static void an_empty_configuration_file_is_fine(void **state) {
  (void)state;
  expect_config("", NULL);
  expect_config("# nothing\n", NULL);
  expect_config("---\n...\n", NULL);
  expect_config("---\n~\n", NULL);
  expect_config("{}", NULL);
}

static void the_printed_configuration_reads_back_commented_or_not(void **state) {
  (void)state;
  struct buf text = {0}, active = {0};
  struct options o;
  struct error err;
  assert_int_equal(parse(&o, &text, &err, "--print-config", NULL), OPTIONS_PRINT);
  options_free(&o);
  expect_config(text.data, NULL);
  for (const char *line = text.data; *line;) { /* "#key: value" is a setting, "# text" a comment */
    size_t len = strcspn(line, "\n");
    bool setting = line[0] == '#' && line[1] != ' ';
    buf_add(&active, line + setting, len - setting);
    buf_add_byte(&active, '\n');
    line += len + (line[len] == '\n');
  }
  assert_non_null(strstr(active.data, "\nport: 8080\n"));
  assert_non_null(strstr(active.data, "\ncors_origin: []\n"));
  expect_config(active.data, NULL);
  buf_free(&text);
  buf_free(&active);
}

/* ---- texts ---- */

static void help_shows_every_option_and_fits_the_terminal(void **state) {
  (void)state;
  struct buf text = {0};
  struct options o;
  struct error err;
  assert_int_equal(parse(&o, &text, &err, "--port", "not a number", "--help", NULL), OPTIONS_PRINT);
  options_free(&o);
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    char flag[64];
    snprintf(flag, sizeof flag, "--%s", rows[i].name);
    assert_non_null(strstr(text.data, flag));
  }
  assert_non_null(strstr(text.data, "Usage: plinth serve [OPTION]... [FILE]\n"));
  assert_non_null(strstr(text.data, "-h, --help"));
  assert_non_null(strstr(text.data, "--print-config"));
  assert_non_null(strstr(text.data, "one of fast|f32; default: fast"));
  for (const char *line = text.data; *line; line += strcspn(line, "\n") + 1) assert_true(strcspn(line, "\n") <= 80);
  buf_free(&text);
}

static void the_manual_page_escapes_what_roff_would_take(void **state) {
  (void)state;
  struct app_command command = {.spec = spec}, hidden = {.spec = spec, .hidden = true};
  hidden.spec.command = "secret";
  const struct app_command *commands[] = {&command, &hidden};
  struct buf text = {0};
  help_man(commands, 2, &text);
  assert_non_null(strstr(text.data, ".TH PLINTH 1"));
  assert_non_null(strstr(text.data, "\\fB\\-\\-cors\\-origin\\fR \\fIURL\\fR"));
  assert_non_null(strstr(text.data, "Second \\(tiparagraph."));
  assert_null(strstr(text.data, "secret"));
  buf_clear(&text);
  help_program(commands, 2, &text);
  assert_non_null(strstr(text.data, "  serve "));
  assert_null(strstr(text.data, "secret"));
  buf_free(&text);
}

static void suggestions_are_near_or_absent(void **state) {
  (void)state;
  static const char *const names[] = {"serve", "models", "tokenize", "chat"};
  assert_string_equal(suggest_nearest("modles", names, 4), "models");
  assert_string_equal(suggest_nearest("SERV", names, 4), "serve");
  assert_string_equal(suggest_nearest("tok", names, 4), "tokenize");
  assert_string_equal(suggest_nearest("caht", names, 4), "chat");
  assert_null(suggest_nearest("x", names, 4));
  assert_null(suggest_nearest("frobnicate", names, 4));
  assert_null(suggest_nearest("", names, 4));
  assert_null(suggest_nearest("a very long word that nobody could ever have meant to type here", names, 4));
  assert_null(suggest_nearest("serve", NULL, 0));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(defaults_fill_what_nobody_sets, clear_environment),
      cmocka_unit_test_setup(flags_are_read_in_every_form, clear_environment),
      cmocka_unit_test_setup(mistakes_are_named_with_a_suggestion, clear_environment),
      cmocka_unit_test_setup(environment_wins_over_defaults_and_flags_over_it, clear_environment),
      cmocka_unit_test_setup(a_configuration_file_lies_between_defaults_and_environment, clear_environment),
      cmocka_unit_test_setup(mistakes_in_a_configuration_file_have_line_and_column, clear_environment),
      cmocka_unit_test_setup(an_empty_configuration_file_is_fine, clear_environment),
      cmocka_unit_test_setup(the_printed_configuration_reads_back_commented_or_not, clear_environment),
      cmocka_unit_test_setup(help_shows_every_option_and_fits_the_terminal, clear_environment),
      cmocka_unit_test(the_manual_page_escapes_what_roff_would_take),
      cmocka_unit_test(suggestions_are_near_or_absent),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
