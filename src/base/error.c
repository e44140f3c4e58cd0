/* error: see error.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <stdio.h>
#include <string.h>

/* Cuts text at limit bytes without leaving half a UTF-8 character. */
static void cut_at_character(char *text, size_t limit) {
  size_t len = strlen(text);
  if (len + 1 < limit) return;
  while (len > 0 && ((unsigned char)text[len - 1] & 0xC0) == 0x80) len--;
  if (len > 0 && ((unsigned char)text[len - 1] & 0x80)) len--;
  text[len] = '\0';
}

void error_vset(struct error *err, enum error_code code, const char *format, va_list args) {
  if (!err) return;
  char text[sizeof err->message];
  vsnprintf(text, sizeof text, format, args);
  cut_at_character(text, sizeof text);
  err->code = code;
  memcpy(err->message, text, strlen(text) + 1);
}

void error_fill(struct error *err, enum error_code code, const char *format, ...) {
  va_list args;
  va_start(args, format);
  error_vset(err, code, format, args);
  va_end(args);
}

int error_prefix(struct error *err, const char *format, ...) {
  if (!err) return -1;
  char prefix[sizeof err->message], text[2 * sizeof err->message + 2];
  va_list args;
  va_start(args, format);
  vsnprintf(prefix, sizeof prefix, format, args);
  va_end(args);
  snprintf(text, sizeof text, "%s: %s", prefix, err->message);
  text[sizeof err->message - 1] = '\0';
  cut_at_character(text, sizeof err->message);
  memcpy(err->message, text, strlen(text) + 1);
  return -1;
}

const char *error_code_name(enum error_code code) {
  static const char *const names[] = {
      [ERROR_NONE] = "none",
      [ERROR_INVALID] = "invalid",
      [ERROR_NOT_FOUND] = "not found",
      [ERROR_DENIED] = "denied",
      [ERROR_TOO_LARGE] = "too large",
      [ERROR_CORRUPT] = "corrupt",
      [ERROR_UNSUPPORTED] = "unsupported",
      [ERROR_NO_MEMORY] = "no memory",
      [ERROR_IO] = "input/output",
      [ERROR_UNAVAILABLE] = "unavailable",
      [ERROR_TIMEOUT] = "time-out",
      [ERROR_CANCELLED] = "cancelled",
      [ERROR_INTERNAL] = "internal",
  };
  return (unsigned)code < sizeof names / sizeof names[0] ? names[code] : "unknown";
}
