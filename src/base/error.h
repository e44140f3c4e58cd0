/* error: how an operating fault travels. SPDX-License-Identifier: Apache-2.0
 *
 * A function that can fail returns int (0 or -1) or a pointer (or NULL) and fills the caller's `struct error`, which holds
 * a full sentence for the user: what is wrong, where, and what to do. A bug asserts instead. Callers may pass NULL. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H
#include <stdarg.h>

enum error_code {
  ERROR_NONE = 0,
  ERROR_INVALID,     /* the caller's input is wrong (HTTP 400) */
  ERROR_NOT_FOUND,   /* the named thing does not exist (404) */
  ERROR_DENIED,      /* not allowed (401 or 403) */
  ERROR_TOO_LARGE,   /* over a limit (413, or 400 with the counts) */
  ERROR_CORRUPT,     /* a file's bytes break its format */
  ERROR_UNSUPPORTED, /* well-formed, but not something Plinth can do */
  ERROR_NO_MEMORY,   /* an allocation or an admission failed */
  ERROR_IO,          /* the operating system refused; the message carries strerror */
  ERROR_UNAVAILABLE, /* may work later (503) */
  ERROR_TIMEOUT,     /* a deadline passed (504 or 408) */
  ERROR_CANCELLED,   /* the asker went away */
  ERROR_INTERNAL,    /* ours; should not happen (500) */
};

struct error {
  enum error_code code;
  char message[512]; /* a sentence, UTF-8, cut at a character's edge when too long */
};

/* Fills err (when not NULL). The value of error_set is -1, so that `return error_set(err, code, format, …)` reads well, and the
 * compiler sees that such a function failed. */
#define error_set(...)       \
  __extension__({            \
    error_fill(__VA_ARGS__); \
    -1;                      \
  })
void error_fill(struct error *err, enum error_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));
void error_vset(struct error *err, enum error_code code, const char *format, va_list args);
/* Puts "context: " in front of the message that is there. Returns -1. */
int error_prefix(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A short constant name, e.g. "corrupt". */
const char *error_code_name(enum error_code code);

#endif
