/* fault: see fault.h. SPDX-License-Identifier: Apache-2.0 */
#include "api/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/jsonw.h"

enum { RETRY_AFTER_S = 2 }; /* an engine is back within seconds */

enum dialect fault_dialect(struct slice path) {
  bool v1 = slice_starts(path, SLICE("/v1/")) || slice_eq(path, SLICE("/v1"));
  return v1 ? DIALECT_OPENAI : DIALECT_DATABRICKS;
}

static void fill(struct fault *f, int status, const char *code, const char *param, const char *format, va_list args) {
  *f = (struct fault){.status = status, .code = code};
  if (param) snprintf(f->param, sizeof f->param, "%s", param);
  int n = vsnprintf(f->message, sizeof f->message, format, args);
  /* A cut may leave half a character; the JSON writer would show it as U+FFFD. */
  if (n >= (int)sizeof f->message) strcpy(f->message + sizeof f->message - 4, "...");
}

int fault_set(struct fault *f, int status, const char *code, const char *param, const char *format, ...) {
  va_list args;
  va_start(args, format);
  fill(f, status, code, param, format, args);
  va_end(args);
  return -1;
}

int fault_field(struct fault *f, const char *code, const char *param, const char *format, ...) {
  va_list args;
  va_start(args, format);
  fill(f, 400, code, param, format, args);
  va_end(args);
  return -1;
}

int fault_from_error(struct fault *f, const struct error *err) {
  switch (err->code) {
    case ERROR_INVALID:
    case ERROR_TOO_LARGE:
    case ERROR_UNSUPPORTED: return fault_set(f, 400, "invalid_value", NULL, "%s", err->message);
    case ERROR_NOT_FOUND: return fault_set(f, 404, NULL, NULL, "%s", err->message);
    case ERROR_DENIED: return fault_set(f, 403, NULL, NULL, "%s", err->message);
    case ERROR_TIMEOUT: return fault_set(f, 504, "timeout", NULL, "%s", err->message);
    case ERROR_UNAVAILABLE:
    case ERROR_NO_MEMORY:
    case ERROR_CANCELLED:
      fault_set(f, 503, "unavailable", NULL, "%s", err->message);
      f->retry_after_s = RETRY_AFTER_S;
      return -1;
    default: return fault_set(f, 500, "internal_error", NULL, "%s", err->message);
  }
}

static const char *openai_type(int status) {
  if (status == 429) return "rate_limit_error";
  if (status == 403) return "permission_error";
  return status < 500 ? "invalid_request_error" : "server_error";
}

static void write_openai(const struct fault *f, struct jsonw *w) {
  jsonw_object_begin(w);
  jsonw_key_cstr(w, "message", f->message);
  jsonw_key_cstr(w, "type", openai_type(f->status));
  jsonw_key_cstr(w, "param", f->param[0] ? f->param : NULL);
  jsonw_key_cstr(w, "code", f->code);
  jsonw_object_end(w);
}

/* Databricks' SDK knows few statuses; MLflow takes the others for 500 and tries again for five minutes. This code, which the SDK goes by first,
 * says that trying again is of no use. */
static const char useless[] = "INVALID_PARAMETER_VALUE";

static const char *databricks_code(int status) {
  switch (status) {
    case 404: return "ENDPOINT_NOT_FOUND";
    case 405:
    case 413:
    case 414:
    case 415:
    case 417:
    case 431: return useless;
    case 408: return "REQUEST_TIMEOUT";
    case 409: return "RESOURCE_CONFLICT";
    case 429: return "REQUEST_LIMIT_EXCEEDED";
    case 500: return "INTERNAL_ERROR";
    case 501: return "NOT_IMPLEMENTED";
    case 503: return "TEMPORARILY_UNAVAILABLE";
    case 504: return "DEADLINE_EXCEEDED";
    default: return "BAD_REQUEST";
  }
}

/* The service sends the status itself, as a number, when a token is missing or wrong. */
static void write_databricks(const struct fault *f, struct jsonw *w) {
  if (f->error_code) jsonw_key_cstr(w, "error_code", f->error_code);
  else if (f->status == 401 || f->status == 403) jsonw_key_int(w, "error_code", f->status);
  else jsonw_key_cstr(w, "error_code", databricks_code(f->status));
  jsonw_key_cstr(w, "message", f->message);
}

void fault_write(const struct fault *f, enum dialect dialect, struct buf *out) {
  struct jsonw w = {.out = out};
  jsonw_object_begin(&w);
  if (dialect == DIALECT_OPENAI) {
    jsonw_key(&w, "error");
    write_openai(f, &w);
  } else {
    write_databricks(f, &w);
  }
  jsonw_object_end(&w);
}

void fault_write_event(const struct fault *f, enum dialect dialect, struct buf *out) {
  buf_add_cstr(out, "data: ");
  struct jsonw w = {.out = out};
  jsonw_object_begin(&w);
  jsonw_key(&w, "error");
  write_openai(f, &w);
  if (dialect == DIALECT_DATABRICKS) write_databricks(f, &w);
  jsonw_object_end(&w);
  buf_add_cstr(out, "\n\n");
}
