/* plinth: the program; finds the subcommand and runs it. SPDX-License-Identifier: Apache-2.0
 * app.h says how a subcommand is added. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/app.h"
#include "app/help.h"
#include "app/suggest.h"

static const struct app_command *const commands[] = {
    &serve_command,  &chat_command,     &complete_command, &embed_command,       &token_command,
    &import_command, &models_command,   &inspect_command,  &tokenize_command,    &render_command,
    &eval_command,   &quantize_command, &bench_command,    &bench_serve_command, &engine_command,
};
enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

static const struct app_command *find_named(const char *name) {
  for (size_t i = 0; i < N_COMMANDS; i++)
    if (strcmp(commands[i]->spec.command, name) == 0) return commands[i];
  return NULL;
}

/* By the first two arguments, or else by the first; *ret_words says by how many. */
static const struct app_command *find_command(int argc, char **argv, int *ret_words) {
  char two_words[64];
  const struct app_command *found = NULL;
  if (argc > 1) {
    snprintf(two_words, sizeof two_words, "%s %s", argv[0], argv[1]);
    found = find_named(two_words);
  }
  *ret_words = found ? 2 : 1;
  return found ? found : find_named(argv[0]);
}

static int unknown_command(const char *name) {
  const char *names[N_COMMANDS + 1] = {"help"};
  size_t n = 1;
  for (size_t i = 0; i < N_COMMANDS; i++)
    if (!commands[i]->hidden) names[n++] = commands[i]->spec.command;
  const char *nearest = suggest_nearest(name, names, n);
  struct error err;
  if (name[0] == '-') error_set(&err, ERROR_INVALID, "There is no option %.64s in front of a command.", name);
  else if (nearest) error_set(&err, ERROR_INVALID, "There is no command \"%.64s\"; did you mean \"%s\"?", name, nearest);
  else error_set(&err, ERROR_INVALID, "There is no command \"%.64s\".", name);
  return app_usage(NULL, &err);
}

static int print_and_free(struct buf *text) {
  int code = app_print(text);
  buf_free(text);
  return code;
}

/* `plinth help [COMMAND|--man]`; argv[0] is "help". */
static int help_run(int argc, char **argv) {
  struct buf text = {0};
  struct error err;
  int n_words = 1;
  const struct app_command *command = argc < 2 ? NULL : find_command(argc - 1, argv + 1, &n_words);
  if (argc > 1 + n_words) {
    error_set(&err, ERROR_INVALID, "\"%.64s\" is one argument too many.", argv[1 + n_words]);
    return app_usage(NULL, &err);
  }
  if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
    help_program(commands, N_COMMANDS, &text);
  } else if (strcmp(argv[1], "--man") == 0) {
    help_man(commands, N_COMMANDS, &text);
  } else {
    if (!command) return unknown_command(argv[1]);
    help_command(&command->spec, &text);
  }
  return print_and_free(&text);
}

static int version_run(void) {
  struct buf text = {0};
  buf_printf(&text, "plinth %s\n", PLINTH_VERSION);
  return print_and_free(&text);
}

static int command_run(const struct app_command *command, int argc, char **argv) {
  struct options o;
  struct buf text = {0};
  struct error err = {0};
  int code = APP_USAGE;
  switch (options_parse(&o, &command->spec, argc, argv, &text, &err)) {
    case OPTIONS_RUN: code = command->run(&o); break;
    case OPTIONS_PRINT: code = app_print(&text); break;
    case OPTIONS_ERROR: code = app_usage(command->spec.command, &err); break;
  }
  buf_free(&text);
  options_free(&o);
  return code;
}

/* Where the caller closed a standard descriptor, the next file that is opened would get its number, and what is printed would land in it.
 * So the number is taken, by a descriptor on which reading or writing fails as it did on none. */
static void hold_standard_descriptors(void) {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
    if (fcntl(fd, F_GETFD) < 0) (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int main(int argc, char **argv) {
  hold_standard_descriptors();
  if (argc < 2) {
    struct error err;
    error_set(&err, ERROR_INVALID, "Name a command.");
    return app_usage(NULL, &err);
  }
  const char *name = argv[1];
  if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) return help_run(1, argv);
  if (strcmp(name, "--version") == 0) return version_run();
  if (strcmp(name, "help") == 0) return help_run(argc - 1, argv + 1);
  int n_words;
  const struct app_command *command = find_command(argc - 1, argv + 1, &n_words);
  return command ? command_run(command, argc - n_words, argv + n_words) : unknown_command(name);
}
