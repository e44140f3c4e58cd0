/* js: JSON values read from outside; a thin facade that hides the library behind it (jansson). SPDX-License-Identifier: Apache-2.0
 *
 * Parsing is strict RFC 8259: valid UTF-8, no duplicate keys, nesting at most JS_DEPTH_MAX, nothing after the value; \u0000 in
 * strings is allowed (strings are slices). An integer that 64 bits do not hold is a JS_REAL that keeps its digits. Objects keep the
 * order of the text. Values are borrowed from the root that js_parse returned and die with it. A root may be read by several threads at once. */
#ifndef BASE_JS_H
#define BASE_JS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"

enum { JS_DEPTH_MAX = 128 };

struct js; /* one JSON value, opaque */

enum js_type { JS_NONE, JS_NULL, JS_FALSE, JS_TRUE, JS_INT, JS_REAL, JS_STRING, JS_ARRAY, JS_OBJECT };

/* The root value, or NULL with an error that names line and column. js_free it. */
struct js *js_parse(struct slice text, struct error *err);
void js_free(struct js *root); /* NULL is fine */

enum js_type js_type(const struct js *v); /* JS_NONE for NULL */
/* "null", "boolean", "integer", "number", "string", "array", "object", "nothing": for messages. */
const char *js_type_name(const struct js *v);

const struct js *js_get(const struct js *object, const char *key); /* NULL when absent or v is no object */
const struct js *js_getn(const struct js *object, struct slice key);
const struct js *js_at(const struct js *array, size_t index); /* NULL when out of range or v is no array */
size_t js_len(const struct js *v);                            /* elements or members; 0 for others */

/* Walks members in order: void *it = js_iter(o); while (it) { js_iter_get(it, &k, &v); it = js_iter_next(o, it); } */
void *js_iter(const struct js *object);
void *js_iter_next(const struct js *object, void *it);
void js_iter_get(void *it, struct slice *key, const struct js **value);

/* Each returns false, and leaves *out alone, when v has another type. */
bool js_str(const struct js *v, struct slice *out);
bool js_int(const struct js *v, int64_t *out);
bool js_real(const struct js *v, double *out); /* an integer counts too */
/* The text of an integer that 64 bits do not hold. */
bool js_wide(const struct js *v, struct slice *out);
bool js_bool(const struct js *v, bool *out);

#endif
