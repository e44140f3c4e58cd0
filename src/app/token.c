/* token: `plinth token reset` makes a new admin token. SPDX-License-Identifier: Apache-2.0
 * Works beside a server that runs: it takes the new one within a second, and the old one no longer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"
#include "app/data_dir.h"
#include "base/fs.h"

struct token_args {
  const char *data_dir;
};

static const struct options_row rows[] = {
    {.name = "data-dir",
     OPTION_STRING_TO(struct token_args, data_dir),
     .metavar = "DIR",
     .fallback_note = "${XDG_DATA_HOME:-~/.local/share}/plinth/data",
     .env = "PLINTH_DATA_DIR",
     .help = "The server's data folder."},
};

static int reset(const char *path, struct buf *token, struct error *err) {
  if (!fs_is_dir(path))
    return error_set(err, ERROR_NOT_FOUND,
                     "There is no data folder %s. plinth serve makes it at its first start; --data-dir names another.", path);
  if (data_dir_make(path, err) < 0) return -1;
  struct store *store = store_open(path, err);
  if (!store) return -1;
  int result = data_dir_token_reset(path, store, token, err);
  store_close(store);
  return result;
}

static int run(const struct options *o) {
  const struct token_args *a = o->args;
  struct error err = {0};
  struct buf token = {0};
  if (strcmp(o->operands[0], "reset") != 0) {
    error_set(&err, ERROR_INVALID, "\"%.64s\" is nothing that can be done with the token; \"reset\" is.", o->operands[0]);
    return app_usage("token", &err);
  }
  char *path = data_dir_path(a->data_dir), *file = data_dir_token_path(path);
  int code = reset(path, &token, &err) < 0 ? app_fail(&err) : APP_OK;
  if (code == APP_OK) {
    fprintf(stderr, "The admin token is new; it also stands in %s.\n", file);
    buf_add_byte(&token, '\n');
    code = app_print(&token);
  }
  buf_free(&token);
  free(file);
  free(path);
  return code;
}

const struct app_command token_command = {
    .spec = {.command = "token",
             .operands = "reset",
             .operands_min = 1,
             .operands_max = 1,
             .summary = "Make a new admin token",
             .description = "\"plinth token reset\" makes a new admin token, prints it and writes it to DATA/admin-token; the old one "
                            "stops working within a "
                            "second, on a server that runs too.",
             OPTIONS_ROWS(rows),
             .args_bytes = sizeof(struct token_args)},
    .run = run,
};
