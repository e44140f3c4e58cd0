/* merge: an adapter and its base become one model; see intake.h. SPDX-License-Identifier: Apache-2.0
 *
 * The merged model is put together in a hidden folder and then imported like any other, with links, so that it is checked like any other. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "intake/record.h"
#include "intake/source.h"
#include "intake/stage.h"
#include "model/model.h"

struct merge {
  const struct intake_config *config;
  struct file_adapter *adapter;
  char *base_path;
  struct source base, own; /* the files of both */
  struct stage stage;
};

static int open_base(struct merge *m, struct error *err) {
  const struct intake_config *c = m->config;
  m->adapter = file_adapter_open(c->source, err);
  if (!m->adapter) return -1;
  const char *name = c->base ? c->base : m->adapter->base;
  m->base_path = stage_installed(c->models_dir, name, true);
  if (m->base_path) return 0;
  return error_set(err, ERROR_NOT_FOUND, "The base model \"%.100s\" is not in %s. Import it under that name, or name it with --base.", name,
                   c->models_dir);
}

static int find_files(struct merge *m, struct error *err) {
  struct intake_config base = {.source = m->base_path, .models_dir = m->config->models_dir};
  struct intake_config own = {.source = m->config->source, .models_dir = m->config->models_dir};
  if (source_parse(&m->base, &base, err) < 0 || source_find(&m->base, &base, err) < 0) return -1;
  return source_parse(&m->own, &own, err) < 0 ? -1 : source_find(&m->own, &own, err);
}

/* What stays as it is; the others are what is merged, or was said of the base alone. */
static bool is_kept(const char *path) {
  return !record_is_weights(path) && !slice_ends(slice_cstr(path), SLICE(".index.json")) && strcmp(path, "adapter_config.json") != 0 &&
         strcmp(path, "plinth-vectors.json") != 0;
}

static bool has(const struct source *s, const char *path) {
  for (size_t i = 0; i < s->n; i++)
    if (strcmp(s->items[i].to, path) == 0) return true;
  return false;
}

/* The adapter's own tokenizer and template go before the base's. */
static int bring_texts(struct merge *m, const struct source *from, const struct source *before, struct error *err) {
  char sha256[DIGEST_HEX];
  for (size_t i = 0; i < from->n; i++) {
    const struct source_item *item = &from->items[i];
    if (!is_kept(item->to) || (before && has(before, item->to))) continue;
    if (stage_bring(&m->stage, item->from, item->to, false, m->config->cancelled, m->config->arg, sha256, err) < 0) return -1;
  }
  return 0;
}

static int merge_weights(struct merge *m, struct error *err) {
  struct file_model *base = file_model_open(m->base_path, err);
  char *path = base ? stage_file(&m->stage, "model.safetensors", err) : NULL;
  int result = path ? adapter_merge(m->adapter, base, path, err) : -1;
  free(path);
  file_model_close(base);
  return result;
}

static bool nothing(void *arg, const char *inside) {
  (void)arg;
  (void)inside;
  return false;
}

static int put_together(struct merge *m, struct error *err) {
  struct buf key = {0};
  buf_printf(&key, "merge--%s", m->own.name);
  int result = stage_open(&m->stage, m->config->models_dir, key.data, err);
  buf_free(&key);
  if (result < 0 || stage_sweep(&m->stage, nothing, NULL, err) < 0) return -1;
  if (m->config->on_note) m->config->on_note(m->config->arg, "Merging the adapter into its base.");
  if (bring_texts(m, &m->own, NULL, err) < 0 || bring_texts(m, &m->base, &m->own, err) < 0) return -1;
  return merge_weights(m, err);
}

static int import_merged(struct merge *m, struct intake_report *report, struct error *err) {
  struct intake_config c = *m->config;
  struct buf told = {0};
  buf_printf(&told, "%s merged into %s", m->own.text, m->base.text);
  c.told_source = told.data;
  c.source = m->stage.path;
  c.name = c.name ? c.name : m->own.name;
  c.base = NULL;
  c.link = true;
  int result = intake_import(&c, report, err);
  buf_free(&told);
  return result;
}

int intake_merge(const struct intake_config *config, struct intake_report *report, struct error *err) {
  struct merge m = {.config = config, .stage = {.lock_fd = -1}};
  *report = (struct intake_report){0};
  int result = open_base(&m, err) < 0 || find_files(&m, err) < 0 || put_together(&m, err) < 0 ? -1 : import_merged(&m, report, err);
  stage_close(&m.stage, false);
  source_free(&m.base);
  source_free(&m.own);
  file_adapter_close(m.adapter);
  free(m.base_path);
  return result;
}
