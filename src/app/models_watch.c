/* models_watch: see models_watch.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/models_watch.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "app/weight_cache.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/mix.h"
#include "base/slice.h"
#include "file/file.h"

enum { LOOK_MS = 1000, DEPTH_MAX = 2 /* 1_Pooling/config.json */ };

/* ---- stamps ---- */

static uint64_t mix_text(uint64_t h, const char *text) {
  for (; *text; text++) h = mix(h, (unsigned char)*text);
  return h;
}

static uint64_t stamp_of_file(const char *path, const char *name) {
  struct stat st;
  if (stat(path, &st) < 0) return 0;
  uint64_t h = mix_text(1, name);
  h = mix(mix(h, (uint64_t)st.st_size), (uint64_t)st.st_ino);
  return mix(mix(h, (uint64_t)st.st_mtim.tv_sec), (uint64_t)st.st_mtim.tv_nsec);
}

/* The order in which a folder lists its files does not matter. */
static uint64_t stamp_of_folder(const char *path, int depth) {
  uint64_t sum = 1;
  DIR *d = opendir(path);
  for (struct dirent *entry; d && (entry = readdir(d));) {
    if (entry->d_name[0] == '.' || slice_ends(slice_cstr(entry->d_name), SLICE("plinth.json"))) continue;
    char *file = fs_join(path, entry->d_name);
    if (!fs_is_dir(file)) sum += stamp_of_file(file, entry->d_name);
    else if (depth < DEPTH_MAX) sum += mix_text(stamp_of_folder(file, depth + 1), entry->d_name);
    free(file);
  }
  if (d) closedir(d);
  return sum;
}

/* A .gguf file with its other parts. */
static uint64_t stamp_of_parts(const char *dir, const char *model) {
  uint64_t sum = 1;
  DIR *d = opendir(dir);
  for (struct dirent *entry; d && (entry = readdir(d));) {
    unsigned part = 0;
    struct slice stem = gguf_stem(slice_cstr(entry->d_name), &part);
    if (entry->d_name[0] == '.' || part == 0 || !slice_eq(stem, slice_cstr(model))) continue;
    char *file = fs_join(dir, entry->d_name);
    sum += stamp_of_file(file, entry->d_name);
    free(file);
  }
  if (d) closedir(d);
  return sum;
}

uint64_t *models_watch_stamps(const char *dir, const struct paths_models *models) {
  uint64_t *stamps = mem_zalloc(models->n + 1, sizeof *stamps);
  for (size_t i = 0; i < models->n; i++) {
    const struct paths_model *m = &models->items[i];
    stamps[i] = fs_is_dir(m->path) ? stamp_of_folder(m->path, 1) : stamp_of_parts(dir, m->name);
    if (!stamps[i]) stamps[i] = 1; /* 0 says that there is none */
  }
  return stamps;
}

struct serving_model *models_watch_specs(const struct paths_models *models, const uint64_t *stamps, const char *cache) {
  struct serving_model *specs = mem_zalloc(models->n + 1, sizeof *specs);
  for (size_t i = 0; i < models->n; i++) {
    const struct paths_model *m = &models->items[i];
    specs[i] = (struct serving_model){
        .name = m->name, .path = m->path, .kept_dir = cache ? weight_cache_path(cache, m->path) : NULL, .stamp = stamps[i]};
  }
  return specs;
}

void models_watch_specs_free(struct serving_model *specs, size_t n) {
  for (size_t i = 0; i < n; i++) free((char *)specs[i].kept_dir);
  free(specs);
}

/* ---- looking ---- */

struct look {
  struct paths_models models;
  uint64_t *stamps; /* NULL: the folder could not be read */
};

struct models_watch {
  struct loop *loop;
  struct serving *serving;
  char *dir, *cache;
  struct loop_timer *timer; /* to the next look */
  struct look last, now;    /* now: of the worker, while it looks */
  bool looking, stopped;
};

static void look_free(struct look *l) {
  paths_list_free(&l->models);
  free(l->stamps);
  *l = (struct look){0};
}

static void watch_free(struct models_watch *w) {
  look_free(&w->last);
  look_free(&w->now);
  free(w->dir);
  free(w->cache);
  free(w);
}

static void look_work(void *arg) {
  struct models_watch *w = arg;
  if (paths_list(w->dir, &w->now.models, NULL) == 0) w->now.stamps = models_watch_stamps(w->dir, &w->now.models);
}

static uint64_t stamp_before(const struct look *l, const struct paths_model *m) {
  for (size_t i = 0; i < l->models.n; i++)
    if (strcmp(l->models.items[i].path, m->path) == 0) return l->stamps[i];
  return 0;
}

static bool has_model(const struct look *l, const char *name) {
  for (size_t i = 0; i < l->models.n; i++)
    if (strcmp(l->models.items[i].name, name) == 0) return true;
  return false;
}

static void tidy_cache(const struct models_watch *w) {
  bool gone = false;
  for (size_t i = 0; i < w->last.models.n; i++) gone |= !has_model(&w->now, w->last.models.items[i].name);
  if (gone && w->cache) weight_cache_tidy(w->cache, &w->now.models);
}

static void tell(const struct models_watch *w) {
  const struct paths_models *found = &w->now.models;
  struct serving_model *specs = models_watch_specs(found, w->now.stamps, w->cache);
  for (size_t i = 0; i < found->n; i++)
    if (stamp_before(&w->last, &found->items[i]) != specs[i].stamp) specs[i].stamp = 0;
  serving_update(w->serving, specs, found->n);
  models_watch_specs_free(specs, found->n);
}

static void look(void *arg);

static void looked(void *arg) {
  struct models_watch *w = arg;
  w->looking = false;
  if (w->stopped) {
    watch_free(w);
    return;
  }
  if (w->now.stamps) {
    tell(w);
    tidy_cache(w);
    look_free(&w->last);
    w->last = w->now;
    w->now = (struct look){0};
  } else {
    look_free(&w->now); /* a folder that cannot be read for a moment says nothing */
  }
  w->timer = loop_timer_start(w->loop, LOOK_MS, false, look, w);
}

static void look(void *arg) {
  struct models_watch *w = arg;
  w->timer = NULL;
  w->looking = true;
  serving_work(w->serving, look_work, looked, w);
}

struct models_watch *models_watch_start(struct loop *loop, struct serving *serving, const char *dir, const char *cache) {
  struct models_watch *w = mem_zalloc(1, sizeof *w);
  *w = (struct models_watch){.loop = loop, .serving = serving, .dir = mem_strdup(dir), .cache = cache ? mem_strdup(cache) : NULL};
  w->timer = loop_timer_start(loop, LOOK_MS, false, look, w);
  return w;
}

void models_watch_stop(struct models_watch *w) {
  if (!w) return;
  loop_timer_cancel(w->loop, w->timer);
  w->stopped = true;
  if (!w->looking) watch_free(w);
}
