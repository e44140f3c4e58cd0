/* app: see app.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/app.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A message may quote a file's or a user's text: what could play with the terminal becomes '?'. */
static void print_message(const struct error *err) {
  fputs("plinth: ", stderr);
  for (const unsigned char *p = (const unsigned char *)err->message; *p; p++) {
    bool c1 = p[0] == 0xC2 && p[1] >= 0x80 && p[1] < 0xA0;
    fputc(*p < 0x20 || *p == 0x7F || c1 ? '?' : *p, stderr);
    if (c1) p++;
  }
  fputc('\n', stderr);
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
