/* app: see app.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/app.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int app_fail(const struct error *err) {
  fprintf(stderr, "plinth: %s\n", err->message);
  return APP_FAILED;
}

int app_usage(const char *command, const struct error *err) {
  fprintf(stderr, "plinth: %s\n", err->message);
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
