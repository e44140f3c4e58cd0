/* option: reads the members of tokenizer.json's components. SPDX-License-Identifier: Apache-2.0
 *
 * A member that is absent or null takes its default; one of another type is an error that names it. */
#ifndef TEXT_OPTION_H
#define TEXT_OPTION_H
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/js.h"
#include "base/slice.h"
#include "text/regex.h"

bool option_is_null(const struct js *v); /* absent or null */
/* component: "normalizer", "decoder", … for the message. */
int option_type(const struct js *json, const char *component, struct slice *ret_type, struct error *err);
/* The error for a type that is not known. Returns -1. */
int option_unknown(const char *component, struct slice type, struct error *err);
int option_bool(const struct js *json, const char *key, bool fallback, bool *ret, struct error *err);
int option_int(const struct js *json, const char *key, int64_t fallback, int64_t min, int64_t max, int64_t *ret, struct error *err);
int option_str(const struct js *json, const char *key, struct slice *ret, struct error *err); /* must be there */
/* The string, or {NULL, 0} when absent or null. */
int option_str_maybe(const struct js *json, const char *key, struct slice *ret, struct error *err);
/* The member "pattern": {"String": …} or {"Regex": …}. */
struct regex *option_pattern(const struct js *json, struct error *err);

#endif
