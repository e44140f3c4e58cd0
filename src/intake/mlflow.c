/* mlflow: see mlflow.h. SPDX-License-Identifier: Apache-2.0
 *
 * Events of libyaml are pulled one by one; a path of keys says where we are ("flavors.transformers.model_binary"). No tree is built, aliases
 * are refused and depth is bounded, so a small file cannot grow. */
#include "intake/mlflow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/buf.h"
#include "base/mem.h"
#include "file/manifest.h"

enum { DEPTH_MAX = 32, KEY_BYTES_MAX = 100 };

struct level {
  bool mapping;
  bool has_key; /* the next scalar is a value */
  char key[KEY_BYTES_MAX];
};

struct reader {
  struct mlflow *out;
  struct level levels[DEPTH_MAX];
  size_t depth;
  struct buf flavors; /* names of those that are there, for a message */
  bool transformers, sentence_transformers;
  struct error *err;
};

static int fail(struct reader *r, yaml_mark_t at, const char *what) {
  return error_set(r->err, ERROR_CORRUPT, "MLmodel:%zu:%zu: %s", at.line + 1, at.column + 1, what);
}

static void set_once(char **to, const yaml_event_t *e) {
  if (!*to && e->data.scalar.length) *to = mem_dup(e->data.scalar.value, e->data.scalar.length);
}

/* The level below "flavors: NAME:", or NULL. */
static const char *flavor_of(const struct reader *r) {
  bool inside = r->depth >= 3 && r->levels[0].mapping && strcmp(r->levels[0].key, "flavors") == 0 && r->levels[1].mapping;
  return inside ? r->levels[1].key : NULL;
}

static void take_value(struct reader *r, const yaml_event_t *e) {
  const char *flavor = flavor_of(r), *key = r->depth ? r->levels[r->depth - 1].key : "";
  struct mlflow *m = r->out;
  if (!flavor || r->depth != 3 || !r->levels[2].mapping) {
    bool listed = flavor && strcmp(flavor, "transformers") == 0 && r->depth == 4 && strcmp(r->levels[2].key, "components") == 0 &&
                  !r->levels[3].mapping && strcmp((const char *)e->data.scalar.value, "tokenizer") == 0;
    if (listed && !m->tokenizer) m->tokenizer = mem_strdup("components/tokenizer");
    return;
  }
  if (strcmp(flavor, "transformers") == 0) {
    if (strcmp(key, "model_binary") == 0) set_once(&m->model, e);
    if (strcmp(key, "peft_adaptor") == 0) set_once(&m->adapter, e);
    if (strcmp(key, "source_model_name") == 0) set_once(&m->source_name, e);
    if (strcmp(key, "source_model_revision") == 0) set_once(&m->source_revision, e);
    if (strcmp(key, "task") == 0) set_once(&m->task, e);
  } else if (strcmp(flavor, "sentence_transformers") == 0) {
    if (strcmp(key, "data") == 0) set_once(&m->model, e);
    if (strcmp(key, "source_model_name") == 0) set_once(&m->source_name, e);
  }
}

static int take_key(struct reader *r, const yaml_event_t *e) {
  struct level *l = &r->levels[r->depth - 1];
  if (e->data.scalar.length >= sizeof l->key || strlen((const char *)e->data.scalar.value) != e->data.scalar.length)
    return fail(r, e->start_mark, "A key is too long.");
  strcpy(l->key, (const char *)e->data.scalar.value);
  l->has_key = true;
  if (r->depth != 2 || strcmp(r->levels[0].key, "flavors") != 0 || r->flavors.len > 300) return 0;
  buf_printf(&r->flavors, "%s%s", r->flavors.len ? ", " : "", l->key);
  r->transformers |= strcmp(l->key, "transformers") == 0;
  r->sentence_transformers |= strcmp(l->key, "sentence_transformers") == 0;
  return 0;
}

static void end_value(struct reader *r) {
  if (r->depth) r->levels[r->depth - 1].has_key = false;
}

static int take_scalar(struct reader *r, const yaml_event_t *e) {
  if (r->depth == 0) return fail(r, e->start_mark, "Expected keys with values.");
  struct level *l = &r->levels[r->depth - 1];
  if (l->mapping && !l->has_key) return take_key(r, e);
  if (strlen((const char *)e->data.scalar.value) == e->data.scalar.length) take_value(r, e);
  end_value(r);
  return 0;
}

static int open_level(struct reader *r, const yaml_event_t *e, bool mapping) {
  if (r->depth == DEPTH_MAX) return fail(r, e->start_mark, "It is nested too deeply.");
  if (r->depth && r->levels[r->depth - 1].mapping && !r->levels[r->depth - 1].has_key)
    return fail(r, e->start_mark, "A key must be a plain text.");
  r->levels[r->depth++] = (struct level){.mapping = mapping};
  return 0;
}

static int take_event(struct reader *r, const yaml_event_t *e) {
  switch (e->type) {
    case YAML_SCALAR_EVENT: return take_scalar(r, e);
    case YAML_MAPPING_START_EVENT: return open_level(r, e, true);
    case YAML_SEQUENCE_START_EVENT: return open_level(r, e, false);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
      r->depth--;
      end_value(r);
      return 0;
    case YAML_ALIAS_EVENT: return fail(r, e->start_mark, "Anchors and aliases are not supported here.");
    default: return 0;
  }
}

static int read_events(struct reader *r, yaml_parser_t *yaml) {
  for (bool end = false; !end;) {
    yaml_event_t event;
    if (!yaml_parser_parse(yaml, &event)) {
      yaml_mark_t at = yaml->error == YAML_READER_ERROR ? yaml->mark : yaml->problem_mark;
      return fail(r, at, yaml->problem ? yaml->problem : "This is not valid YAML.");
    }
    end = event.type == YAML_STREAM_END_EVENT || event.type == YAML_DOCUMENT_END_EVENT;
    int result = take_event(r, &event);
    yaml_event_delete(&event);
    if (result < 0) return -1;
  }
  return 0;
}

static int check(struct reader *r) {
  struct mlflow *m = r->out;
  if (!r->transformers && !r->sentence_transformers)
    return error_set(r->err, ERROR_UNSUPPORTED,
                     "The MLflow model has the flavors %.200s; Plinth takes models of the flavor transformers. Log it with "
                     "mlflow.transformers.log_model().",
                     r->flavors.len ? r->flavors.data : "(none)");
  char *const folders[] = {m->model, m->tokenizer, m->adapter};
  for (size_t i = 0; i < 3; i++)
    if (folders[i] && !manifest_safe_path(slice_cstr(folders[i])))
      return error_set(r->err, ERROR_CORRUPT, "MLmodel names a folder that leads out of the model: \"%.100s\".", folders[i]);
  if (m->model || m->adapter) return 0;
  return error_set(r->err, ERROR_UNSUPPORTED,
                   "The MLflow model was saved without its weights (save_pretrained=False). Import them from where they are: plinth import "
                   "hf:%.100s%s%.60s",
                   m->source_name ? m->source_name : "ORG/REPO", m->source_revision ? "@" : "",
                   m->source_revision ? m->source_revision : "");
}

int mlflow_parse(struct slice yaml, struct mlflow *ret, struct error *err) {
  *ret = (struct mlflow){0};
  struct reader r = {.out = ret, .err = err};
  yaml_parser_t parser;
  if (!yaml_parser_initialize(&parser)) return error_set(err, ERROR_NO_MEMORY, "There is no memory to read MLmodel.");
  yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
  yaml_parser_set_input_string(&parser, (const unsigned char *)(yaml.data ? yaml.data : ""), yaml.len);
  int result = read_events(&r, &parser);
  if (result == 0) result = check(&r);
  yaml_parser_delete(&parser);
  buf_free(&r.flavors);
  if (result < 0) mlflow_free(ret);
  return result;
}

void mlflow_free(struct mlflow *m) {
  free(m->model);
  free(m->tokenizer);
  free(m->adapter);
  free(m->source_name);
  free(m->source_revision);
  free(m->task);
  *m = (struct mlflow){0};
}
