/* Tests of the program itself: exit codes, help, version, inspect and models on good and broken input. SPDX-License-Identifier: Apache-2.0
 * PLINTH names the program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/fs.h"
#include "base/js.h"

static char dir[64];

static int make_dir(void **state) {
  (void)state;
  snprintf(dir, sizeof dir, "/tmp/plinth-test-XXXXXX");
  return mkdtemp(dir) && setenv("T", dir, 1) == 0 ? 0 : -1;
}

static int remove_dir(void **state) {
  (void)state;
  return system("rm -rf \"$T\"");
}

static char *in(const char *name) {
  static char path[256];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  return path;
}

/* Runs `plinth ARGUMENTS` in a shell; its output (both streams) in *text, which lives until the next call. Returns the exit code. */
static int run(const char *arguments, const char **text) {
  static char output[1 << 16];
  char command[1024];
  snprintf(command, sizeof command, "{ '%s' %s; } 2>&1", getenv("PLINTH"), arguments);
  FILE *f = popen(command, "r");
  assert_non_null(f);
  size_t n = fread(output, 1, sizeof output - 1, f);
  output[n] = '\0';
  while (fgetc(f) != EOF) continue;
  int status = pclose(f);
  assert_true(WIFEXITED(status)); /* no signal */
  *text = output;
  return WEXITSTATUS(status);
}

static void expect(const char *arguments, int code, const char *part) {
  const char *text;
  int got = run(arguments, &text);
  if (got != code || !strstr(text, part))
    fail_msg("plinth %s: exit %d (not %d), \"%s\", which should hold \"%s\"", arguments, got, code, text, part);
}

static void help_and_version_are_printed(void **state) {
  (void)state;
  expect("--help", 0, "Usage: plinth COMMAND");
  expect("help", 0, "Usage: plinth COMMAND");
  expect("--version", 0, "plinth " PLINTH_VERSION);
  expect("help inspect", 0, "Usage: plinth inspect [OPTION]... FILE|DIR|NAME");
  expect("help --man", 0, ".TH PLINTH 1");
  expect("help help", 0, "Usage: plinth COMMAND");
  expect("help complete", 0, "Usage: plinth complete [OPTION]... [PROMPT]\n");
  expect("help models", 0, "Usage: plinth models [OPTION]... [rm NAME | rename NAME NEW | load NAME | unload NAME]\n");
}

/* Every command that the help lists has a help of its own. */
static void every_command_has_help(void **state) {
  (void)state;
  const char *text;
  int n = 0;
  assert_int_equal(run("--help", &text), 0);
  char *copy = strdup(text);
  for (char *line = strtok(strstr(copy, "Commands:\n") + 10, "\n"); line && line[0] == ' '; line = strtok(NULL, "\n"), n++) {
    char name[32], arguments[64], usage[64];
    assert_int_equal(sscanf(line, " %31s", name), 1);
    if (strcmp(name, "help") == 0) break;
    snprintf(arguments, sizeof arguments, "%s --help", name);
    snprintf(usage, sizeof usage, "Usage: plinth %s", name);
    expect(arguments, 0, usage);
  }
  free(copy);
  assert_true(n >= 2);
}

static void wrong_command_lines_exit_with_2(void **state) {
  (void)state;
  expect("", 2, "plinth: Name a command.");
  expect("inspcet", 2, "did you mean \"inspect\"?");
  expect("help inspcet", 2, "did you mean \"inspect\"?");
  expect("help inspect more", 2, "\"more\" is one argument too many");
  expect("--jsno", 2, "There is no option --jsno in front of a command.");
  expect("eval x", 2, "Name a text with --text");
  expect("inspect", 2, "FILE|DIR|NAME is missing.");
  expect("quantize", 2, "plinth: MODEL is missing.");
  expect("models load", 2, "Write \"plinth models load NAME\".");
  expect("models frob x", 2, "there are rm NAME, rename NAME NEW, load NAME and unload NAME");
  expect("quantize x", 2, "plinth: OUT.gguf is missing.");
  expect("inspect a b", 2, "one argument too many");
  expect("inspect --jsno x", 2, "did you mean --json?");
}

static void what_cannot_be_read_exits_with_1_and_says_why(void **state) {
  (void)state;
  expect("inspect /no/such/model", 1, "plinth: There is no file or folder /no/such/model.\n");
  expect("inspect /dev/null", 1, "not a regular file");
  expect("inspect $T", 1, "is empty");
  assert_int_equal(fs_write_atomic(in("short.gguf"), SLICE("GGUF\3\0\0\0\1"), 0600, NULL), 0);
  expect("inspect $T/short.gguf", 1, "truncated");
  assert_int_equal(fs_write_atomic(in("empty.gguf"), SLICE(""), 0600, NULL), 0);
  expect("inspect $T/empty.gguf", 1, "is empty");
  assert_int_equal(mkfifo(in("fifo.gguf"), 0600), 0);
  expect("inspect $T/fifo.gguf", 1, "not a regular file");
  expect("inspect $T", 1, "holds 3 .gguf files");
  expect("models --models-dir $T/none", 1, "Cannot open the models folder");
}

/* What a browser never sends would never match. */
static void an_origin_that_cannot_match_is_refused(void **state) {
  (void)state;
  static const char *const wrong[] = {"example.org", "https://example.org/", "https://Example.org", "://x",
                                      "https://",    "https://a@b",          "https://a,https://b"};
  char arguments[128];
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    snprintf(arguments, sizeof arguments, "serve --data-dir $T/data --cors-origin '%s'", wrong[i]);
    expect(arguments, 1, "is no origin");
  }
}

static void control_characters_never_reach_the_terminal(void **state) {
  (void)state;
  const char *text;
  assert_int_equal(run("inspect \"$(printf '/no/\\033[2J\\302\\233x')\"", &text), 1);
  assert_non_null(strstr(text, "/no/?[2J?x"));
}

static void a_full_disk_is_noticed(void **state) {
  (void)state;
  expect("--help > /dev/full", 1, "Cannot write to standard output");
  expect("help --man > /dev/full", 1, "No space left");
}

/* A vocabulary and an unknown architecture: told about, not hidden. */
static void what_cannot_be_run_is_shown_with_its_reason(void **state) {
  (void)state;
  static const char file[] =
      "GGUF\3\0\0\0"
      "\1\0\0\0\0\0\0\0"
      "\1\0\0\0\0\0\0\0"
      "\x14\0\0\0\0\0\0\0general.architecture\x08\0\0\0\5\0\0\0\0\0\0\0mamba"
      "\1\0\0\0\0\0\0\0w\1\0\0\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
      "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
  assert_int_equal(fs_mkdirs(in("models"), 0700, NULL), 0);
  assert_int_equal(fs_write_atomic(in("models/odd.gguf"), slice_make(file, sizeof file - 1), 0600, NULL), 0);
  expect("inspect $T/models/odd.gguf", 0, "the architecture \"mamba\"");
  expect("inspect odd --models-dir $T/models --tensors", 0, "F32     [4]");
  expect("models --models-dir $T/models", 0, "odd ");
  const char *text;
  assert_int_equal(run("models --check --models-dir $T/models", &text), 1);
  assert_non_null(strstr(text, "the architecture \"mamba\""));
  assert_null(strstr(text, "imported")); /* it never was */
  assert_int_equal(run("models --json --models-dir $T/models", &text), 0);
  struct js *v = js_parse(slice_cstr(text), NULL);
  struct slice s;
  assert_int_equal(js_len(v), 1);
  assert_true(js_str(js_get(js_at(v, 0), "state"), &s) && slice_eq(s, SLICE("unusable")));
  js_free(v);
  assert_int_equal(run("inspect --json --tensors $T/models/odd.gguf", &text), 0);
  v = js_parse(slice_cstr(text), NULL);
  assert_int_equal(js_type(js_get(v, "supported")), JS_FALSE);
  assert_int_equal(js_len(js_get(v, "tensors")), 1);
  js_free(v);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(help_and_version_are_printed),
      cmocka_unit_test(every_command_has_help),
      cmocka_unit_test(wrong_command_lines_exit_with_2),
      cmocka_unit_test(what_cannot_be_read_exits_with_1_and_says_why),
      cmocka_unit_test(an_origin_that_cannot_match_is_refused),
      cmocka_unit_test(control_characters_never_reach_the_terminal),
      cmocka_unit_test(a_full_disk_is_noticed),
      cmocka_unit_test(what_cannot_be_run_is_shown_with_its_reason),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
