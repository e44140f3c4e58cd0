/* app: see app.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/app.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

/* A message may quote a file's or a user's text: what could play with the terminal becomes '?'. */
static void print_message(const struct error *err) {
  struct error shown = *err;
  fprintf(stderr, "plinth: %.*s\n", (int)utf8_make_line(shown.message, strlen(shown.message)), shown.message);
}

int app_fail(const struct error *err) {
  print_message(err);
  return APP_FAILED;
}

int app_usage(const char *command, const struct error *err) {
  print_message(err);
  if (command) fprintf(stderr, "Try \"plinth %s --help\".\n", command);
  else fprintf(stderr, "Try \"plinth --help\".\n");
  return APP_USAGE;
}

int app_print(const struct buf *text) {
  size_t written = fwrite(text->data ? text->data : "", 1, text->len, stdout);
  if (written == text->len && fflush(stdout) == 0) return APP_OK;
  struct error err;
  error_set(&err, ERROR_IO, "Cannot write to standard output: %s.", strerror(errno));
  return app_fail(&err);
}
