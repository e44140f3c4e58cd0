/* config: see config.h. SPDX-License-Identifier: Apache-2.0
 * Events of libyaml are pulled one by one: no tree, no recursion. */
#include "app/config.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "app/suggest.h"
#include "base/fs.h"

enum { CONFIG_BYTES_MAX = 1024 * 1024, KEYS_MAX = 128 };

struct reader {
  struct options *o;
  const char *path;
  yaml_parser_t yaml;
  yaml_event_t event; /* the current one */
  bool has_event;
  struct error *err;
};

static int fail(struct reader *r, yaml_mark_t at, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int fail(struct reader *r, yaml_mark_t at, const char *format, ...) {
  va_list args;
  va_start(args, format);
  error_vset(r->err, ERROR_INVALID, format, args);
  va_end(args);
  return error_prefix(r->err, "%s:%zu:%zu", r->path, at.line + 1, at.column + 1);
}

static int next(struct reader *r) {
  if (r->has_event) yaml_event_delete(&r->event);
  r->has_event = yaml_parser_parse(&r->yaml, &r->event);
  if (r->has_event) return 0;
  yaml_mark_t at = r->yaml.problem_mark;
  if (r->yaml.error == YAML_READER_ERROR) at = r->yaml.mark;
  return fail(r, at, "This is not valid YAML: %s.", r->yaml.problem ? r->yaml.problem : "unknown error");
}

static int expect(struct reader *r, yaml_event_type_t type, const char *what) {
  if (next(r) < 0) return -1;
  if (r->event.type != type) return fail(r, r->event.start_mark, "Expected %s.", what);
  return 0;
}

/* Index of the row with the key of the current event, or -1 with an error. */
static int find_row(struct reader *r, const char *key) {
  const struct options_spec *spec = r->o->spec;
  const char *keys[KEYS_MAX];
  size_t n = 0;
  for (size_t i = 0; i < spec->n_rows && n < KEYS_MAX; i++) {
    if (!spec->rows[i].key) continue;
    if (strcmp(spec->rows[i].key, key) == 0) return (int)i;
    keys[n++] = spec->rows[i].key;
  }
  const char *nearest = suggest_nearest(key, keys, n);
  if (nearest) return fail(r, r->event.start_mark, "There is no setting \"%.64s\"; did you mean \"%s\"?", key, nearest);
  return fail(r, r->event.start_mark, "There is no setting \"%.64s\".", key);
}

/* The text of the scalar that is the current event; NULL with an error for one that is no plain text. */
static const char *scalar_text(struct reader *r) {
  const char *text = (const char *)r->event.data.scalar.value;
  if (strlen(text) != r->event.data.scalar.length) {
    fail(r, r->event.start_mark, "A value may not hold a NUL character.");
    return NULL;
  }
  return text;
}

/* "key: ~", "key: null" and "key:" leave the setting as it was. */
static bool is_null(const struct reader *r) {
  if (r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return false;
  const char *text = (const char *)r->event.data.scalar.value;
  return *text == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0;
}

static int set_scalar(struct reader *r, size_t row) {
  const char *text = scalar_text(r);
  if (!text) return -1;
  if (is_null(r)) return 0;
  char where[96];
  snprintf(where, sizeof where, "Setting \"%s\"", r->o->spec->rows[row].key);
  yaml_mark_t at = r->event.start_mark;
  if (options_set(r->o, row, text, OPTIONS_CONFIG, where, r->err) == 0) return 0;
  return error_prefix(r->err, "%s:%zu:%zu", r->path, at.line + 1, at.column + 1);
}

static int read_list(struct reader *r, size_t row) {
  const struct options_row *spec = &r->o->spec->rows[row];
  if (spec->type != OPTIONS_LIST) return fail(r, r->event.start_mark, "Setting \"%s\" takes one value, not a list.", spec->key);
  for (;;) {
    if (next(r) < 0) return -1;
    if (r->event.type == YAML_SEQUENCE_END_EVENT) return 0;
    if (r->event.type != YAML_SCALAR_EVENT) return fail(r, r->event.start_mark, "The list \"%s\" may hold single values only.", spec->key);
    if (set_scalar(r, row) < 0) return -1;
  }
}

static int read_value(struct reader *r, size_t row) {
  if (next(r) < 0) return -1;
  switch (r->event.type) {
    case YAML_SCALAR_EVENT: return set_scalar(r, row);
    case YAML_SEQUENCE_START_EVENT: return read_list(r, row);
    case YAML_ALIAS_EVENT: return fail(r, r->event.start_mark, "Anchors and aliases are not supported here.");
    default: return fail(r, r->event.start_mark, "Setting \"%s\" takes a single value.", r->o->spec->rows[row].key);
  }
}

static int read_mapping(struct reader *r) {
  bool seen[KEYS_MAX] = {false};
  for (;;) {
    if (next(r) < 0) return -1;
    if (r->event.type == YAML_MAPPING_END_EVENT) return 0;
    if (r->event.type != YAML_SCALAR_EVENT) return fail(r, r->event.start_mark, "Expected the name of a setting.");
    const char *key = scalar_text(r);
    int row = key ? find_row(r, key) : -1;
    if (row < 0) return -1;
    if (row < KEYS_MAX && seen[row]) return fail(r, r->event.start_mark, "Setting \"%s\" stands here a second time.", key);
    if (row < KEYS_MAX) seen[row] = true;
    if (read_value(r, (size_t)row) < 0) return -1;
  }
}

static int read_stream(struct reader *r) {
  if (expect(r, YAML_STREAM_START_EVENT, "the beginning of a YAML stream") < 0 || next(r) < 0) return -1;
  if (r->event.type == YAML_STREAM_END_EVENT) return 0; /* empty, or comments only */
  if (next(r) < 0) return -1;
  if (r->event.type == YAML_MAPPING_START_EVENT) {
    if (read_mapping(r) < 0) return -1;
  } else if (r->event.type != YAML_SCALAR_EVENT || !is_null(r)) {
    return fail(r, r->event.start_mark, "Expected lines of the form \"setting: value\".");
  }
  if (expect(r, YAML_DOCUMENT_END_EVENT, "the end of the document") < 0) return -1;
  return expect(r, YAML_STREAM_END_EVENT, "the end of the file (one document only)");
}

int config_apply_text(struct options *o, struct slice text, const char *path, struct error *err) {
  struct reader r = {.o = o, .path = path, .err = err};
  if (!yaml_parser_initialize(&r.yaml)) return error_set(err, ERROR_NO_MEMORY, "There is no memory to read %s.", path);
  yaml_parser_set_encoding(&r.yaml, YAML_UTF8_ENCODING);
  yaml_parser_set_input_string(&r.yaml, (const unsigned char *)(text.data ? text.data : ""), text.len);
  int result = read_stream(&r);
  if (r.has_event) yaml_event_delete(&r.event);
  yaml_parser_delete(&r.yaml);
  return result;
}

int config_apply(struct options *o, const char *path, struct error *err) {
  struct buf text = {0};
  int result = fs_read_any(path, CONFIG_BYTES_MAX, &text, err);
  if (result == 0) result = config_apply_text(o, buf_view(&text), path, err);
  buf_free(&text);
  return result;
}
