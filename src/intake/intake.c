/* intake: see intake.h. The way of a model from its source to the models folder. SPDX-License-Identifier: Apache-2.0
 *
 * A local source is examined through symbolic links before a byte of it is copied, so that a refusal costs nothing. What comes from a hub
 * is fetched text first, so that a tokenizer or template that does not do is found before the weights. */
#include "intake/intake.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "intake/checks.h"
#include "intake/record.h"
#include "intake/source.h"
#include "intake/stage.h"

enum { SPARE_BYTES = 64 << 20 }; /* of the disk, beside the model */

struct import {
  const struct intake_config *config;
  struct intake_report *report;
  struct source source;
  struct stage stage;
  char *replaced;      /* the path of the model that goes away */
  uint64_t done;       /* bytes of finished files */
  const char *current; /* the file under way */
};

static void note(struct import *i, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(struct import *i, const char *format, ...) {
  char text[600];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (i->config->on_note) i->config->on_note(i->config->arg, text);
}

static void progress(void *arg, uint64_t bytes_done) {
  struct import *i = arg;
  if (i->config->on_progress) i->config->on_progress(i->config->arg, i->current, i->done + bytes_done, i->source.bytes);
}

/* ---- where it goes ---- */

static void check_name(struct import *i) {
  const struct intake_config *c = i->config;
  struct intake_report *r = i->report;
  r->name = mem_strdup(c->name ? c->name : i->source.name);
  if (!intake_name_valid(r->name)) {
    checks_add(
        &r->checks, "name", INTAKE_FAILED,
        "The name \"%.100s\" cannot be an endpoint's: it begins with a letter or digit and has no more than 100 of letters, digits, '.', "
        "'-' and '_'. Choose another --name.",
        r->name);
    return;
  }
  r->path = fs_join(c->models_dir, r->name);
  char *there = stage_installed(c->models_dir, r->name, false);
  if (!there) return;
  if (c->replace) {
    i->replaced = there;
    return;
  }
  checks_add(&r->checks, "name", INTAKE_FAILED, "There is already a model called %s in %s. Choose another --name, or pass --replace.",
             r->name, c->models_dir);
  free(there);
}

/* A link takes no room; a file that lies in the stage has it already. */
static void check_disk(struct import *i) {
  uint64_t need = 0, have = stage_free_bytes(i->config->models_dir);
  for (size_t k = 0; k < i->source.n; k++) {
    struct source_item *item = &i->source.items[k];
    char *path = fs_join(i->stage.path, item->to);
    struct buf part = {0};
    struct stat st;
    buf_printf(&part, "%s.part", path);
    bool there = item->hub && (stat(path, &st) == 0 || stat(part.data, &st) == 0);
    if (!(item->from && i->config->link) && !there) need += item->bytes;
    else if (there && (uint64_t)st.st_blocks * 512 < item->bytes) need += item->bytes - (uint64_t)st.st_blocks * 512;
    buf_free(&part);
    free(path);
  }
  if (need && need + SPARE_BYTES > have)
    checks_add(&i->report->checks, "disk", INTAKE_FAILED, "The model needs %llu MiB on the disk of %s, where %llu MiB are free%s.",
               (unsigned long long)(need >> 20), i->config->models_dir, (unsigned long long)(have >> 20),
               i->source.is_hub ? "" : "; with --link it is not copied");
}

static bool in_plan(void *arg, const char *inside) {
  const struct source *s = arg;
  struct slice path = slice_cstr(inside);
  if (slice_ends(path, SLICE(".state"))) path.len -= 6;
  if (slice_ends(path, SLICE(".part"))) path.len -= 5;
  for (size_t k = 0; k < s->n; k++)
    if (slice_eq(path, slice_cstr(s->items[k].to))) return s->is_hub;
  return false;
}

static int open_stage(struct import *i, struct error *err) {
  struct buf key = {0};
  const struct source *s = &i->source;
  if (s->is_hub) {
    buf_printf(&key, "hf--%s@%.12s", s->repo, s->tree.commit);
    for (char *p = key.data; *p; p++)
      if (*p == '/') *p = '-';
  } else {
    buf_printf(&key, "path--%s", i->report->path ? i->report->name : i->source.name); /* a name that is refused makes no path */
  }
  int result = fs_mkdirs(i->config->models_dir, 0755, err);
  if (result == 0) result = stage_open(&i->stage, i->config->models_dir, key.data, err);
  if (result == 0) result = stage_sweep(&i->stage, in_plan, &i->source, err);
  buf_free(&key);
  return result;
}

/* ---- what goes there ---- */

static int take_sha256(struct source_item *item, const char *path, const struct import *i, struct error *err) {
  if (item->hub && item->hub->sha256[0]) {
    memcpy(item->sha256, item->hub->sha256, sizeof item->sha256);
    return 0;
  }
  return digest_file(path, i->config->cancelled, i->config->arg, item->sha256, err);
}

/* From the hub's cache, when it is there and its hash is right. 1: done; 0: it must be fetched. */
static int bring_cached(struct import *i, struct source_item *item, struct error *err) {
  const struct intake_config *c = i->config;
  if (stage_bring(&i->stage, item->from, item->to, c->link, c->cancelled, c->arg, item->sha256, err) < 0) return -1;
  char git[DIGEST_GIT_HEX], *path = fs_join(i->stage.path, item->to);
  bool good = !item->hub->sha256[0] || strcmp(item->hub->sha256, item->sha256) == 0;
  if (good && !item->hub->sha256[0] && item->hub->git[0]) good = digest_git_blob(path, git, NULL) == 0 && strcmp(git, item->hub->git) == 0;
  if (!good) unlink(path);
  free(path);
  return good;
}

static int fetch_item(struct import *i, struct source_item *item, struct error *err) {
  char *path = stage_file(&i->stage, item->to, err);
  struct stat st;
  if (!path) return -1;
  int result = 0;
  if (stat(path, &st) == 0 && (uint64_t)st.st_size == item->bytes)
    result = digest_file(path, i->config->cancelled, i->config->arg, item->sha256, err);
  bool there = item->sha256[0] && (!item->hub->sha256[0] || strcmp(item->sha256, item->hub->sha256) == 0);
  if (result == 0 && !there && item->from && (result = bring_cached(i, item, err)) >= 0) {
    there = result;
    result = 0;
  }
  if (result == 0 && !there && !i->source.hub.fetch)
    result = error_set(err, ERROR_CORRUPT, "The cache's copy of %s is broken and HF_HUB_OFFLINE is set.", item->to);
  if (result == 0 && !there) result = hub_download(&i->source.hub, &i->source.tree, item->hub, path, progress, i, err);
  if (result == 0 && !there) result = take_sha256(item, path, i, err);
  free(path);
  return result;
}

/* The files that are weights, or the others. */
static int fetch_all(struct import *i, bool weights, struct error *err) {
  for (size_t k = 0; k < i->source.n; k++) {
    struct source_item *item = &i->source.items[k];
    if (record_is_weights(item->to) != weights) continue;
    i->current = item->to;
    if (fetch_item(i, item, err) < 0) return -1;
    i->done += item->bytes;
    progress(i, 0);
  }
  return 0;
}

/* Symbolic links to all files of a local source, for the checks. */
static int show_all(struct import *i, struct error *err) {
  int result = 0;
  for (size_t k = 0; result == 0 && k < i->source.n; k++) {
    struct source_item *item = &i->source.items[k];
    char *path = stage_file(&i->stage, item->to, err);
    if (!path || symlink(item->from, path) < 0) result = path ? error_set(err, ERROR_IO, "Cannot create %s.", path) : -1;
    free(path);
  }
  return result;
}

static int bring_all(struct import *i, struct error *err) {
  const struct intake_config *c = i->config;
  for (size_t k = 0; k < i->source.n; k++) {
    struct source_item *item = &i->source.items[k];
    i->current = item->to;
    if (stage_bring(&i->stage, item->from, item->to, c->link, c->cancelled, c->arg, item->sha256, err) < 0) return -1;
    i->done += item->bytes;
    progress(i, 0);
  }
  return 0;
}

/* ---- checks ---- */

/* On its base, with vectors of its own. */
static void try_adapter(struct import *i, const char *base_path) {
  struct intake_report *r = i->report;
  struct subject base;
  struct intake_checks scratch = {0};
  struct manifest unused = {0};
  checks_open(&base, base_path, &scratch, &unused);
  js_free(base.vectors);
  base.vectors = checks_vectors(i->stage.path, &r->checks);
  if (scratch.n_failed)
    checks_add(&r->checks, "base model", INTAKE_FAILED, "The base model %s cannot be used: %.400s", r->manifest.base,
               scratch.items[scratch.n - 1].detail);
  else checks_forward(&base, i->stage.path, i->config->threads, &r->checks, &r->manifest);
  checks_close(&base);
  intake_checks_free(&scratch);
  manifest_free(&unused);
}

static void check_adapter(struct import *i) {
  const struct intake_config *c = i->config;
  struct intake_report *r = i->report;
  struct error err = {0};
  struct manifest stub = {.adapter = true, .base = (char *)c->base}; /* what is noted there goes before what the adapter says */
  int noted = c->base ? manifest_write(&stub, i->stage.path, &err) : 0;
  struct file_adapter *file = noted == 0 ? file_adapter_open(i->stage.path, &err) : NULL;
  if (!file) {
    checks_add_error(&r->checks, "adapter", &err);
    return;
  }
  char *name = mem_strdup(c->base ? c->base : file->base), *path = stage_installed(c->models_dir, name, true);
  r->manifest.base = path ? mem_strdup(strrchr(path, '/') + 1) : mem_strdup(name);
  if (path && slice_ends(slice_cstr(r->manifest.base), SLICE(".gguf"))) r->manifest.base[strlen(r->manifest.base) - 5] = '\0';
  if (!path)
    checks_add(
        &r->checks, "base model", c->base ? INTAKE_FAILED : INTAKE_SKIPPED,
        "The base model \"%.100s\" is not in %s, so the adapter was not tried on it. Import it under that name, or name it with --base.",
        name, c->models_dir);
  else if (!c->no_load) try_adapter(i, path);
  free(path);
  free(name);
  file_adapter_close(file);
}

/* Text files of a hub's model, while its weights are not there yet. */
static void examine_text(struct import *i) {
  struct intake_checks *c = &i->report->checks;
  struct error err = {0};
  bool has_config = false;
  for (size_t k = 0; k < i->source.n; k++) has_config |= strcmp(i->source.items[k].to, "config.json") == 0;
  if (!has_config || i->source.adapter) return;
  struct file_model *file = file_model_open_text(i->stage.path, &err);
  struct error unknown = {0};
  if (file && model_supports(file, &unknown) < 0) checks_add_error(c, "architecture", &unknown);
  struct tokenizer *t = file ? tokenizer_open(file, &err) : NULL;
  if (!t) checks_add_error(c, "tokenizer", &err);
  tokenizer_close(t);
  file_model_close(file);
}

/* A refusal names the place that the user knows, not the hidden one. */
static void rename_places(struct import *i) {
  if (!i->stage.path) return; /* refused before there was one */
  char *dir = mem_strdup(i->source.text), *slash = strrchr(dir, '/');
  if (!i->source.is_hub && !fs_is_dir(dir) && slash) *slash = '\0';
  for (size_t k = 0; k < i->report->checks.n; k++) {
    struct intake_check *check = &i->report->checks.items[k];
    for (char *at; (at = strstr(check->detail, i->stage.path));) {
      struct buf text = {0};
      buf_add(&text, check->detail, (size_t)(at - check->detail));
      buf_add_cstr(&text, dir);
      buf_add_cstr(&text, at + strlen(i->stage.path));
      snprintf(check->detail, sizeof check->detail, "%s", text.data);
      buf_free(&text);
    }
  }
  free(dir);
}

static int refused(struct import *i, struct error *err) {
  rename_places(i);
  size_t n = i->report->checks.n_failed;
  return error_set(err, ERROR_UNSUPPORTED, "%s is refused for %zu reason%s.", i->config->source, n, n == 1 ? "" : "s");
}

/* ---- the manifest ---- */

static int write_manifest(struct import *i, struct error *err) {
  struct manifest *m = &i->report->manifest;
  const struct source *s = &i->source;
  m->adapter = s->adapter;
  m->source = mem_strdup(i->config->told_source ? i->config->told_source : s->text);
  if (s->is_hub) m->revision = mem_strdup(s->revision), m->commit = mem_strdup(s->tree.commit);
  for (size_t k = 0; k < s->n; k++) {
    struct manifest_file *f = manifest_add_file(m, s->items[k].to);
    memcpy(f->sha256, s->items[k].sha256, sizeof f->sha256);
    char *path = fs_join(i->stage.path, f->path);
    record_time(f, path);
    free(path);
  }
  record_settle(m, &i->report->checks);
  return manifest_write(m, i->stage.path, err);
}

/* ---- the whole ---- */

static int bring_and_check(struct import *i, struct error *err) {
  struct intake_report *r = i->report;
  const struct intake_config *c = i->config;
  check_disk(i);
  if (i->source.is_hub && r->checks.n_failed) return refused(i, err); /* there is no use in fetching */
  if (i->source.is_hub && fetch_all(i, false, err) < 0) return -1;
  if (i->source.is_hub) examine_text(i);
  if (i->source.is_hub && r->checks.n_failed) return refused(i, err);
  if (i->source.is_hub ? fetch_all(i, true, err) < 0 : show_all(i, err) < 0) return -1;
  note(i, "Checking the model.");
  if (i->source.adapter) check_adapter(i);
  else record_examine(i->stage.path, c->no_load, c->threads, &r->checks, &r->manifest);
  if (r->checks.n_failed) return refused(i, err);
  rename_places(i);
  if (!i->source.is_hub && bring_all(i, err) < 0) return -1;
  return 0;
}

static int import(struct import *i, struct error *err) {
  struct intake_report *r = i->report;
  if (source_parse(&i->source, i->config, err) < 0) return -1;
  check_name(i);
  if (r->checks.n_failed && i->source.is_hub) return refused(i, err);
  if (i->source.is_hub)
    note(i, "Asking %s about %s at %s.", i->source.settings.offline ? "the cache" : i->source.settings.shown, i->source.repo,
         i->source.revision);
  if (source_find(&i->source, i->config, err) < 0 || open_stage(i, err) < 0) return -1;
  r->bytes = i->source.bytes;
  if (i->source.is_hub) note(i, "%zu files at commit %.12s.", i->source.n, i->source.tree.commit);
  if (bring_and_check(i, err) < 0 || write_manifest(i, err) < 0) return -1;
  return stage_publish(&i->stage, r->path, i->replaced, err);
}

int intake_import(const struct intake_config *config, struct intake_report *report, struct error *err) {
  struct error own = {0};
  struct import i = {.config = config, .report = report, .stage = {.lock_fd = -1}};
  *report = (struct intake_report){0};
  int result = import(&i, &own);
  if (result < 0 && err) *err = own;
  stage_close(&i.stage, result < 0 && i.source.is_hub); /* what was fetched is gone on with */
  fetch_destroy(i.source.hub.fetch);
  source_free(&i.source);
  free(i.replaced);
  return result;
}

void intake_report_free(struct intake_report *r) {
  free(r->name);
  free(r->path);
  manifest_free(&r->manifest);
  intake_checks_free(&r->checks);
  *r = (struct intake_report){0};
}
