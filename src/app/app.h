/* app: what the subcommands share, and how one is added. SPDX-License-Identifier: Apache-2.0
 *
 * A subcommand is one file foo.c that exports one object:
 *
 *     struct foo_args { const char *model; int64_t port; bool json; };          // filled from flags, environment, config file
 *     static const struct options_row rows[] = {
 *         {.name = "model", OPTION_STRING_TO(struct foo_args, model), .metavar = "M", .help = "File, folder or name of the model."},
 *         {.name = "json", OPTION_BOOL_TO(struct foo_args, json), .help = "Print JSON."},
 *     };
 *     static int run(const struct options *o) {
 *       const struct foo_args *a = o->args;
 *       struct error err;
 *       if (something(a->model, &err) < 0) return app_fail(&err);
 *       return APP_OK;
 *     }
 *     const struct app_command foo_command = {.spec = {.command = "foo", …, OPTIONS_ROWS(rows), .args_bytes = sizeof(struct foo_args)}, .run = run};
 *
 * A command may have two words ("bench serve"): it is found before the one that its first word names.
 * Then add `foo_command` to the list below and to the table in plinth.c, and foo.c to meson.build. Help, parsing, environment,
 * suggestions and the man page come from the rows (options.h). Results go to stdout, everything else to stderr. */
#ifndef APP_APP_H
#define APP_APP_H
#include "app/options.h"
#include "base/buf.h"
#include "base/error.h"

enum { APP_OK = 0, APP_FAILED = 1, APP_USAGE = 2 }; /* exit codes */

struct app_command {
  struct options_spec spec;
  int (*run)(const struct options *o); /* returns the exit code */
  bool hidden;                         /* not for people: left out of help and man page */
};

/* In the order of the help. */
extern const struct app_command serve_command;
extern const struct app_command chat_command;
extern const struct app_command complete_command;
extern const struct app_command embed_command;
extern const struct app_command token_command;
extern const struct app_command import_command;
extern const struct app_command models_command;
extern const struct app_command inspect_command;
extern const struct app_command tokenize_command;
extern const struct app_command render_command;
extern const struct app_command eval_command;
extern const struct app_command quantize_command;
extern const struct app_command bench_command;
extern const struct app_command bench_serve_command;
extern const struct app_command engine_command;

/* "plinth: <message>" on stderr; returns APP_FAILED. */
int app_fail(const struct error *err);
/* The same for a wrong command line, with a hint at --help; returns APP_USAGE. */
int app_usage(const char *command, const struct error *err);
/* Writes to stdout and flushes. Returns APP_OK, or APP_FAILED with the reason on stderr. */
int app_print(const struct buf *text);

#endif
