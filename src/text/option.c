/* option: see option.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/option.h"

bool option_is_null(const struct js *v) { return js_type(v) == JS_NONE || js_type(v) == JS_NULL; }

static int wrong(const struct js *v, const char *key, const char *wanted, struct error *err) {
  return error_set(err, ERROR_CORRUPT, "The tokenizer's '%s' must be a %s and is a %s.", key, wanted, js_type_name(v));
}

int option_type(const struct js *json, const char *component, struct slice *ret_type, struct error *err) {
  if (js_str(js_get(json, "type"), ret_type)) return 0;
  return error_set(err, ERROR_CORRUPT, "A %s of the tokenizer has no 'type'.", component);
}

int option_unknown(const char *component, struct slice type, struct error *err) {
  return error_set(err, ERROR_UNSUPPORTED, "The tokenizer has the %s '%.*s', which Plinth does not know.", component, SLICE_ARG(type));
}

int option_bool(const struct js *json, const char *key, bool fallback, bool *ret, struct error *err) {
  const struct js *v = js_get(json, key);
  *ret = fallback;
  if (option_is_null(v) || js_bool(v, ret)) return 0;
  return wrong(v, key, "boolean", err);
}

int option_int(const struct js *json, const char *key, int64_t fallback, int64_t min, int64_t max, int64_t *ret, struct error *err) {
  const struct js *v = js_get(json, key);
  *ret = fallback;
  if (option_is_null(v)) return 0;
  int64_t value;
  if (!js_int(v, &value)) return wrong(v, key, "whole number", err);
  if (value < min || value > max)
    return error_set(err, ERROR_CORRUPT, "The tokenizer's '%s' is %lld; it must be from %lld to %lld.", key, (long long)value,
                     (long long)min, (long long)max);
  *ret = value;
  return 0;
}

int option_str_maybe(const struct js *json, const char *key, struct slice *ret, struct error *err) {
  const struct js *v = js_get(json, key);
  *ret = slice_make(NULL, 0);
  if (option_is_null(v) || js_str(v, ret)) return 0;
  return wrong(v, key, "string", err);
}

int option_str(const struct js *json, const char *key, struct slice *ret, struct error *err) {
  const struct js *v = js_get(json, key);
  if (js_str(v, ret)) return 0;
  return wrong(v, key, "string", err);
}

struct regex *option_pattern(const struct js *json, struct error *err) {
  const struct js *pattern = js_get(json, "pattern");
  struct slice text;
  if (js_str(js_get(pattern, "String"), &text)) return regex_literal(text);
  if (js_str(js_get(pattern, "Regex"), &text)) return regex_compile(text, err);
  error_set(err, ERROR_CORRUPT, "The tokenizer's 'pattern' must be {\"String\": …} or {\"Regex\": …}.");
  return NULL;
}
