/* source: see source.h. SPDX-License-Identifier: Apache-2.0
 *
 * A folder on disk and a repository go through the same selection (hub_select.c): what is fetched from one is what is copied from the other. */
#include "intake/source.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/mem.h"
#include "file/file.h"
#include "intake/mlflow.h"

enum { DEPTH_MAX = 3, MLMODEL_BYTES_MAX = 1 << 20, FILES_MAX = 100000 };

/* ---- names ---- */

bool intake_name_valid(const char *name) {
  size_t len = strlen(name);
  if (len == 0 || len > 100 || !isalnum((unsigned char)name[0])) return false;
  for (const char *p = name; *p; p++)
    if (!isalnum((unsigned char)*p) && !strchr(".-_", *p)) return false;
  return true;
}

/* Lower case, what is not plain becomes '-', without ".gguf" and a part's number. */
static char *make_name(struct slice text) {
  if (slice_ends(text, SLICE(".gguf"))) text.len -= 5;
  if (text.len > 15 && memcmp(text.data + text.len - 9, "-of-", 4) == 0) text.len -= 15;
  struct buf name = {0};
  for (size_t i = 0; i < text.len && name.len < 100; i++) {
    unsigned char c = (unsigned char)text.data[i];
    if (isalnum(c)) buf_add_byte(&name, (unsigned char)tolower(c));
    else if (name.len) buf_add_byte(&name, c == '.' || c == '_' ? c : '-');
  }
  while (name.len && !isalnum((unsigned char)name.data[name.len - 1])) name.data[--name.len] = '\0';
  if (!name.data) buf_add_cstr(&name, "model");
  return name.data;
}

/* ---- hf:ORG/REPO[@REVISION][:FILE] ---- */

static char *cut(char **text, char at) {
  char *p = strchr(*text, at);
  if (!p) return NULL;
  *p = '\0';
  return p + 1;
}

static int parse_hub(struct source *s, const struct intake_config *config, struct error *err) {
  char *text = mem_strdup(config->source + 3), *file = cut(&text, ':'), *revision = cut(&text, '@');
  const char *asked = config->revision ? config->revision : revision;
  s->is_hub = true;
  s->repo = mem_strdup(text);
  s->file = file && *file ? mem_strdup(file) : NULL;
  s->revision = mem_strdup(asked && *asked ? asked : "main");
  bool twice = revision && config->revision && strcmp(revision, config->revision) != 0;
  free(text);
  if (twice) return error_set(err, ERROR_INVALID, "The source says one revision and --revision another; leave one out.");
  if (!hub_repo_valid(s->repo))
    return error_set(err, ERROR_INVALID,
                     "\"%.100s\" is no repository of a hub; it is written hf:ORG/REPO, hf:ORG/REPO@REVISION or hf:ORG/REPO:FILE.gguf.",
                     config->source);
  for (const char *p = s->revision; *p; p++)
    if ((unsigned char)*p <= 0x20 || *p == 0x7F)
      return error_set(err, ERROR_INVALID, "The revision \"%.60s\" holds spaces or control characters.", s->revision);
  struct buf full = {0};
  buf_printf(&full, "hf:%s", s->repo);
  s->text = full.data;
  const char *slash = strrchr(s->repo, '/');
  s->name = make_name(slice_cstr(slash ? slash + 1 : s->repo));
  return hub_settings_read(&s->settings, err);
}

/* The absolute path, or NULL when there is nothing. A file keeps its own name when it is a link: a hub's cache holds links to blobs. */
static char *absolute(const char *path) {
  if (fs_is_dir(path) || !fs_exists(path)) return realpath(path, NULL);
  char *copy = mem_strdup(path), *slash = strrchr(copy, '/');
  if (slash) *slash = '\0';
  char *dir = realpath(!slash ? "." : slash == copy ? "/" : copy, NULL), *whole = dir ? fs_join(dir, slash ? slash + 1 : copy) : NULL;
  free(dir);
  free(copy);
  return whole;
}

int source_parse(struct source *s, const struct intake_config *config, struct error *err) {
  *s = (struct source){0};
  if (strncmp(config->source, "hf:", 3) == 0) return parse_hub(s, config, err);
  if (config->revision) return error_set(err, ERROR_INVALID, "--revision is for sources of a hub (hf:ORG/REPO).");
  s->text = absolute(config->source);
  if (!s->text)
    return error_set(err, ERROR_NOT_FOUND, "There is no file or folder %s. A model of the hub is written hf:ORG/REPO.", config->source);
  const char *slash = strrchr(s->text, '/');
  s->name = make_name(slice_cstr(slash + 1));
  return 0;
}

void source_free(struct source *s) {
  for (size_t i = 0; i < s->n; i++) {
    free(s->items[i].to);
    free(s->items[i].from);
  }
  free(s->items);
  hub_tree_free(&s->tree);
  hub_settings_free(&s->settings);
  free(s->text);
  free(s->name);
  free(s->repo);
  free(s->revision);
  free(s->file);
  *s = (struct source){0};
}

/* ---- files ---- */

/* The first that brings a name wins. */
static void add_item(struct source *s, const char *to, char *from, const struct hub_file *hub, uint64_t bytes) {
  const char *base = strrchr(to, '/'); /* a .gguf lies in the model's folder itself, whatever folder it had */
  if (base && slice_ends(slice_cstr(to), SLICE(".gguf"))) to = base + 1;
  for (size_t i = 0; i < s->n; i++)
    if (strcmp(s->items[i].to, to) == 0) {
      free(from);
      return;
    }
  s->items = mem_realloc(s->items, s->n + 1, sizeof *s->items);
  s->items[s->n++] = (struct source_item){.to = mem_strdup(to), .from = from, .hub = hub, .bytes = bytes};
  s->bytes += bytes;
  s->adapter |= strcmp(to, "adapter_config.json") == 0;
}

/* The folder as a tree, hidden files left out. */
static int list_dir(const char *dir, const char *prefix, unsigned depth, struct hub_tree *t, struct error *err) {
  DIR *d = opendir(dir);
  if (!d) return error_set(err, ERROR_IO, "Cannot open the folder %s: %s.", dir, strerror(errno));
  int result = 0;
  for (struct dirent *entry; result == 0 && (entry = readdir(d));) {
    struct stat st;
    if (entry->d_name[0] == '.') continue;
    char *path = fs_join(dir, entry->d_name), *inside = *prefix ? fs_join(prefix, entry->d_name) : mem_strdup(entry->d_name);
    bool found = stat(path, &st) == 0;
    if (t->n >= FILES_MAX) result = error_set(err, ERROR_TOO_LARGE, "The folder %s holds more than %d files.", dir, FILES_MAX);
    else if (found && S_ISDIR(st.st_mode) && depth < DEPTH_MAX) result = list_dir(path, inside, depth + 1, t, err);
    else if (found && S_ISREG(st.st_mode)) {
      t->files = mem_realloc(t->files, t->n + 1, sizeof *t->files);
      t->files[t->n++] = (struct hub_file){.path = mem_strdup(inside), .bytes = (uint64_t)st.st_size};
    }
    free(path);
    free(inside);
  }
  closedir(d);
  return result;
}

/* depth: DEPTH_MAX for the folder's own files alone. */
static int add_dir(struct source *s, const char *dir, unsigned depth, const struct intake_config *config, bool companions_only,
                   struct error *err) {
  struct hub_tree t = {0};
  int result = list_dir(dir, "", depth, &t, err);
  if (result == 0) result = hub_tree_finish(&t, err);
  bool *picked = mem_zalloc(t.n + 1, sizeof *picked);
  if (result == 0 && hub_select(&t, config->include, config->n_include, picked, err) < 0 && !companions_only)
    result = error_prefix(err, "%s", dir);
  for (size_t i = 0; result == 0 && i < t.n; i++)
    if (picked[i]) add_item(s, t.files[i].path, fs_join(dir, t.files[i].path), NULL, t.files[i].bytes);
  free(picked);
  hub_tree_free(&t);
  return result;
}

static int add_mlflow(struct source *s, const char *dir, const struct intake_config *config, struct error *err) {
  struct buf text = {0};
  struct mlflow m = {0};
  char *path = fs_join(dir, "MLmodel");
  int result = fs_read(path, MLMODEL_BYTES_MAX, &text, err);
  if (result == 0) result = mlflow_parse(buf_view(&text), &m, err);
  const char *folders[] = {m.adapter ? m.adapter : m.model, m.adapter ? NULL : m.tokenizer};
  for (size_t i = 0; result == 0 && i < 2; i++) {
    char *folder = folders[i] ? fs_join(dir, folders[i]) : NULL;
    if (folder && fs_is_dir(folder)) result = add_dir(s, folder, 0, config, i > 0, err);
    else if (folder && i == 0)
      result = error_set(err, ERROR_NOT_FOUND, "MLmodel says that the model lies in %s, but there is no such folder.", folder);
    free(folder);
  }
  mlflow_free(&m);
  buf_free(&text);
  free(path);
  return result;
}

static bool has_file(const char *dir, const char *name) {
  char *path = fs_join(dir, name);
  bool found = fs_exists(path);
  free(path);
  return found;
}

/* A .gguf file, with the other parts when it is one of several. */
static int add_file(struct source *s, const char *path, struct error *err) {
  char *dir = mem_strdup(path), *slash = strrchr(dir, '/');
  *slash = '\0';
  const char *name = slash + 1;
  struct error refusal = {0};
  if (!slice_ends(slice_cstr(name), SLICE(".gguf"))) { /* file_model knows how to say what it is */
    file_model_close(file_model_open(path, &refusal));
    free(dir);
    return refusal.code ? error_set(err, refusal.code, "%s", refusal.message)
                        : error_set(err, ERROR_INVALID, "%s does not end in .gguf; give it that name.", path);
  }
  const char *wanted[] = {name};
  struct intake_config only = {.include = wanted, .n_include = 1};
  int result = add_dir(s, *dir ? dir : "/", DEPTH_MAX, &only, false, err);
  free(dir);
  return result;
}

static int find_local(struct source *s, const struct intake_config *config, struct error *err) {
  if (!fs_is_dir(s->text)) return add_file(s, s->text, err);
  if (has_file(s->text, "MLmodel")) return add_mlflow(s, s->text, config, err);
  return add_dir(s, s->text, 0, config, false, err);
}

static int start_fetch(struct source *s, const struct intake_config *config, struct error *err) {
  struct fetch_config f = {.user_agent = "plinth/" PLINTH_VERSION,
                           .token = s->settings.token,
                           .token_url = s->settings.endpoint,
                           .ca_file = s->settings.ca_file,
                           .cancelled = config->cancelled,
                           .arg = config->arg};
  s->hub = (struct hub){.settings = &s->settings, .repo = s->repo, .revision = s->revision};
  if (s->settings.offline) return 0;
  s->hub.fetch = fetch_create(&f, err);
  return s->hub.fetch ? 0 : -1;
}

static int find_hub(struct source *s, const struct intake_config *config, struct error *err) {
  if (start_fetch(s, config, err) < 0 || hub_read(&s->hub, &s->tree, err) < 0) return -1;
  const char *named[] = {s->file};
  const char *const *wanted = s->file ? named : config->include;
  bool *picked = mem_zalloc(s->tree.n + 1, sizeof *picked);
  int result = hub_select(&s->tree, wanted, s->file ? 1 : config->n_include, picked, err);
  for (size_t i = 0; result == 0 && i < s->tree.n; i++) {
    const struct hub_file *f = &s->tree.files[i];
    if (!picked[i]) continue;
    add_item(s, f->path, hub_cached(&s->hub, &s->tree, f), f, f->bytes);
  }
  free(picked);
  return result;
}

int source_find(struct source *s, const struct intake_config *config, struct error *err) {
  return s->is_hub ? find_hub(s, config, err) : find_local(s, config, err);
}
