/* hub: see hub.h. SPDX-License-Identifier: Apache-2.0 */
#include "intake/hub.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/js.h"
#include "base/mem.h"
#include "file/manifest.h"

enum { PAGE_BYTES_MAX = 32 << 20, INFO_BYTES_MAX = 64 << 20, PAGES_MAX = 1000, FILES_MAX = 100000, DEPTH_MAX = 4 };

bool hub_repo_valid(const char *repo) {
  size_t n_slashes = 0, len = strlen(repo);
  for (const char *p = repo; *p; p++) {
    bool plain = isalnum((unsigned char)*p) || *p == '-' || *p == '_' || *p == '.';
    if (*p == '/') n_slashes++;
    else if (!plain) return false;
  }
  return len > 0 && len <= 200 && n_slashes <= 1 && manifest_safe_path(slice_cstr(repo));
}

/* ---- the tree ---- */

static bool is_hex(struct slice s, size_t len) {
  if (s.len != len) return false;
  for (size_t i = 0; i < len; i++)
    if (!isdigit((unsigned char)s.data[i]) && !(s.data[i] >= 'a' && s.data[i] <= 'f')) return false;
  return true;
}

static struct hub_file *add_file(struct hub_tree *t, struct slice path, uint64_t bytes) {
  if (t->n == t->cap) {
    t->cap = t->cap ? 2 * t->cap : 64;
    t->files = mem_realloc(t->files, t->cap, sizeof *t->files);
  }
  t->files[t->n] = (struct hub_file){.path = mem_dup(path.data, path.len), .bytes = bytes};
  return &t->files[t->n++];
}

static int parse_entry(const struct js *v, struct hub_tree *t, struct error *err) {
  struct slice type, path, oid = {0}, lfs = {0};
  int64_t bytes;
  if (!js_str(js_get(v, "type"), &type) || !js_str(js_get(v, "path"), &path))
    return error_set(err, ERROR_CORRUPT, "The hub's list of files has an entry without type or path.");
  if (!slice_eq(type, SLICE("file"))) return 0;
  if (!manifest_safe_path(path))
    return error_set(
        err, ERROR_CORRUPT,
        "The repository has a file whose path is not plain (\"..\", absolute, or with control characters): nothing is fetched from it.");
  bool is_lfs = js_str(js_get(js_get(v, "lfs"), "oid"), &lfs);
  if (slice_starts(lfs, SLICE("sha256:"))) lfs = slice_from(lfs, 7);
  js_str(js_get(v, "oid"), &oid);
  bool good = js_int(js_get(v, "size"), &bytes) && bytes >= 0 && (is_lfs ? is_hex(lfs, 64) : is_hex(oid, 40));
  if (!good) return error_set(err, ERROR_CORRUPT, "The hub's list says no size or no hash for the file %.*s.", SLICE_ARG(path));
  if (t->n >= FILES_MAX) return error_set(err, ERROR_TOO_LARGE, "The repository has more than %d files.", FILES_MAX);
  struct hub_file *f = add_file(t, path, (uint64_t)bytes);
  if (is_lfs) memcpy(f->sha256, lfs.data, 64);
  else memcpy(f->git, oid.data, 40);
  return 0;
}

int hub_tree_parse(struct slice json, struct hub_tree *t, struct error *err) {
  struct js *root = js_parse(json, err);
  if (!root) return error_prefix(err, "The hub's list of files");
  int result = 0;
  if (js_type(root) != JS_ARRAY) result = error_set(err, ERROR_CORRUPT, "The hub's list of files is no JSON array.");
  for (size_t i = 0; result == 0 && i < js_len(root); i++) result = parse_entry(js_at(root, i), t, err);
  js_free(root);
  return result;
}

static int compare(const void *a, const void *b) { return strcmp(((const struct hub_file *)a)->path, ((const struct hub_file *)b)->path); }

int hub_tree_finish(struct hub_tree *t, struct error *err) {
  if (t->n) qsort(t->files, t->n, sizeof *t->files, compare);
  for (size_t i = 1; i < t->n; i++)
    if (strcmp(t->files[i - 1].path, t->files[i].path) == 0)
      return error_set(err, ERROR_CORRUPT, "The hub lists the file %.100s twice.", t->files[i].path);
  return 0;
}

void hub_tree_free(struct hub_tree *t) {
  for (size_t i = 0; i < t->n; i++) free(t->files[i].path);
  free(t->files);
  *t = (struct hub_tree){0};
}

/* ---- asking ---- */

/* Percent-encodes; a slash of a revision too, one of a path not. */
static void add_encoded(struct buf *url, const char *text, bool keep_slash) {
  for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
    bool plain = isalnum(*p) || strchr("-_.~", *p) || (*p == '/' && keep_slash);
    if (plain) buf_add_byte(url, *p);
    else buf_printf(url, "%%%02X", *p);
  }
}

/* A refusal in words that help: the hub answers 401 for "is not there" too. */
static int explain(const struct hub *h, const struct fetch_reply *r, struct error *err) {
  const char *code = r->error_code ? r->error_code : "", *endpoint = h->settings->shown;
  if (strcmp(code, "GatedRepo") == 0)
    return error_set(
        err, ERROR_DENIED,
        "The repository %s is gated. Accept its terms at %s/%s, then give a token of that account in HF_TOKEN (or with hf auth "
        "login) and run the command again.",
        h->repo, endpoint, h->repo);
  if (strcmp(code, "RevisionNotFound") == 0)
    return error_set(err, ERROR_NOT_FOUND, "The repository %s has no branch, tag or commit \"%s\".", h->repo, h->revision);
  if (r->status == 401 || r->status == 403 || strcmp(code, "RepoNotFound") == 0 || (r->status == 404 && !*code)) {
    if (h->settings->token && r->status == 401 && strcmp(code, "RepoNotFound") != 0)
      return error_set(err, ERROR_DENIED, "%s does not accept the token in HF_TOKEN (or in the token file): it is wrong or has expired.",
                       endpoint);
    return error_set(
        err, r->status == 404 ? ERROR_NOT_FOUND : ERROR_DENIED, "There is no repository %s at %s, or it is private. Check the name%s.",
        h->repo, endpoint,
        h->settings->token ? "; the token that was sent has no right to read it" : ", or give a token that may read it in HF_TOKEN");
  }
  if (r->status == 429)
    error_prefix(err, "The hub limits how often it is asked%s", h->settings->token ? "" : "; with a token in HF_TOKEN the limit is higher");
  return -1;
}

static int ask(const struct hub *h, const char *url, size_t bytes_max, struct fetch_reply *reply, struct error *err) {
  if (fetch_get(h->fetch, url, bytes_max, reply, err) == 0) return 0;
  return reply->status ? explain(h, reply, err) : -1;
}

static int read_commit(const struct hub *h, struct hub_tree *t, struct error *err) {
  struct buf url = {0};
  struct fetch_reply reply = {0};
  buf_printf(&url, "%s/api/models/%s/revision/", h->settings->endpoint, h->repo);
  add_encoded(&url, h->revision, false);
  int result = ask(h, url.data, INFO_BYTES_MAX, &reply, err);
  struct js *info = result == 0 ? js_parse(buf_view(&reply.body), err) : NULL;
  struct slice sha;
  if (result == 0 && !info) result = error_prefix(err, "What the hub says about %s", h->repo);
  if (result == 0 && (!js_str(js_get(info, "sha"), &sha) || !(is_hex(sha, 40) || is_hex(sha, 64))))
    result = error_set(err, ERROR_CORRUPT, "The hub does not say which commit \"%s\" of %s is.", h->revision, h->repo);
  if (result == 0) snprintf(t->commit, sizeof t->commit, "%.*s", SLICE_ARG(sha));
  js_free(info);
  fetch_reply_free(&reply);
  buf_free(&url);
  return result;
}

static int read_pages(const struct hub *h, struct hub_tree *t, struct error *err) {
  struct buf url = {0};
  buf_printf(&url, "%s/api/models/%s/tree/%s?recursive=true", h->settings->endpoint, h->repo, t->commit);
  int result = 0;
  for (int page = 0; result == 0 && url.len; page++) {
    struct fetch_reply reply = {0};
    if (page == PAGES_MAX) result = error_set(err, ERROR_TOO_LARGE, "The hub's list of files of %s does not end.", h->repo);
    if (result == 0) result = ask(h, url.data, PAGE_BYTES_MAX, &reply, err);
    if (result == 0) result = hub_tree_parse(buf_view(&reply.body), t, err);
    if (result == 0 && reply.link_next && !fetch_same_origin(reply.link_next, h->settings->endpoint))
      result = error_set(err, ERROR_CORRUPT, "The hub's list of files goes on at another server; it is not followed.");
    buf_clear(&url);
    if (result == 0 && reply.link_next) buf_add_cstr(&url, reply.link_next);
    fetch_reply_free(&reply);
  }
  buf_free(&url);
  return result == 0 ? hub_tree_finish(t, err) : -1;
}

/* ---- the cache on disk ---- */

/* models--org--repo/REST below the cache; free it. */
static char *cache_path(const struct hub *h, const char *first, const char *second) {
  struct buf path = {0};
  buf_printf(&path, "%s/models--", h->settings->cache);
  for (const char *p = h->repo; *p; p++) buf_add_cstr(&path, *p == '/' ? "--" : (char[]){*p, '\0'});
  buf_printf(&path, "/%s/%s", first, second);
  return path.data;
}

/* Blobs are named by their hash, and snapshots link to them. */
static void take_blob_name(struct hub_file *f, const char *path) {
  char *real = realpath(path, NULL);
  const char *slash = real ? strrchr(real, '/') : NULL;
  struct slice name = slice_cstr(slash ? slash + 1 : "");
  if (is_hex(name, 64)) memcpy(f->sha256, name.data, 64);
  if (is_hex(name, 40)) memcpy(f->git, name.data, 40);
  free(real);
}

static int walk(struct hub_tree *t, const char *dir, const char *prefix, unsigned depth, struct error *err) {
  DIR *d = opendir(dir);
  if (!d) return 0;
  int result = 0;
  for (struct dirent *entry; result == 0 && (entry = readdir(d));) {
    struct stat st;
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    char *path = fs_join(dir, entry->d_name), *inside = *prefix ? fs_join(prefix, entry->d_name) : mem_strdup(entry->d_name);
    if (t->n >= FILES_MAX) result = error_set(err, ERROR_TOO_LARGE, "The cache holds more than %d files of the repository.", FILES_MAX);
    else if (stat(path, &st) == 0 && S_ISDIR(st.st_mode) && depth < DEPTH_MAX) result = walk(t, path, inside, depth + 1, err);
    else if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && manifest_safe_path(slice_cstr(inside)))
      take_blob_name(add_file(t, slice_cstr(inside), (uint64_t)st.st_size), path);
    free(path);
    free(inside);
  }
  closedir(d);
  return result;
}

static int read_cache(const struct hub *h, struct hub_tree *t, struct error *err) {
  struct buf commit = {0};
  struct error none = {0};
  char *ref = cache_path(h, "refs", h->revision), *dir = NULL;
  if (manifest_safe_path(slice_cstr(h->revision)) && fs_read(ref, HUB_COMMIT_BYTES - 1, &commit, &none) == 0)
    while (commit.len && isspace((unsigned char)commit.data[commit.len - 1])) buf_drop_front(&commit, 0), commit.data[--commit.len] = '\0';
  if (!commit.len) buf_add_cstr(&commit, h->revision);
  int result = 0;
  if (is_hex(buf_view(&commit), 40)) {
    snprintf(t->commit, sizeof t->commit, "%s", commit.data);
    dir = cache_path(h, "snapshots", t->commit);
    result = walk(t, dir, "", 0, err);
  }
  if (result == 0 && t->n == 0)
    result = error_set(
        err, ERROR_NOT_FOUND,
        "HF_HUB_OFFLINE is set and the cache %s does not hold %s at \"%s\". Unset it, or fetch the model where there is a network.",
        h->settings->cache, h->repo, h->revision);
  free(ref);
  free(dir);
  buf_free(&commit);
  return result == 0 ? hub_tree_finish(t, err) : -1;
}

int hub_read(const struct hub *h, struct hub_tree *ret, struct error *err) {
  *ret = (struct hub_tree){0};
  int result = h->fetch ? read_commit(h, ret, err) : read_cache(h, ret, err);
  if (result == 0 && h->fetch) result = read_pages(h, ret, err);
  if (result < 0) hub_tree_free(ret);
  return result;
}

char *hub_cached(const struct hub *h, const struct hub_tree *t, const struct hub_file *f) {
  struct stat st;
  char *dir = cache_path(h, "snapshots", t->commit), *path = fs_join(dir, f->path), *real = NULL;
  if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == f->bytes) real = realpath(path, NULL);
  free(dir);
  free(path);
  return real;
}

/* ---- downloads ---- */

static int proven(const struct hub_file *f, const char *path, bool *ret_good, struct error *err) {
  char sha256[DIGEST_HEX], git[DIGEST_GIT_HEX];
  int result = f->sha256[0] ? digest_file(path, NULL, NULL, sha256, err) : digest_git_blob(path, git, err);
  if (result == 0) *ret_good = f->sha256[0] ? strcmp(sha256, f->sha256) == 0 : strcmp(git, f->git) == 0;
  return result;
}

int hub_download(const struct hub *h, const struct hub_tree *t, const struct hub_file *f, const char *path,
                 void (*on_progress)(void *arg, uint64_t bytes_done), void *arg, struct error *err) {
  struct buf url = {0}, part = {0};
  bool good = false;
  int result = 0;
  buf_printf(&url, "%s/%s/resolve/%s/", h->settings->endpoint, h->repo, t->commit);
  add_encoded(&url, f->path, true);
  buf_printf(&part, "%s.part", path);
  for (int attempt = 0; result == 0 && !good && attempt < 2; attempt++) { /* a part that an earlier run broke is fetched anew */
    struct fetch_reply reply = {0};
    struct fetch_file want = {.url = url.data,
                              .part_path = part.data,
                              .bytes = f->bytes,
                              .id = f->sha256[0] ? f->sha256 : f->git,
                              .on_progress = on_progress,
                              .arg = arg};
    result = fetch_file(h->fetch, &want, &reply, err);
    /* The repository is there, since it was listed: a bare refusal is the file's, of the server that keeps it. */
    if (result < 0 && (reply.error_code || reply.status == 401 || reply.status == 429)) result = explain(h, &reply, err);
    else if (result < 0 && reply.status >= 400) error_prefix(err, "The hub lists %s and does not give it", f->path);
    fetch_reply_free(&reply);
    if (result == 0) result = proven(f, part.data, &good, err);
    if (result == 0 && !good) fetch_discard_part(part.data);
  }
  if (result == 0 && !good)
    result = error_set(
        err, ERROR_CORRUPT,
        "What the server sends for %s has not the hash that the hub lists, twice in a row. A proxy or mirror may be broken; nothing "
        "of it was kept.",
        f->path);
  if (result == 0 && rename(part.data, path) < 0) result = error_set(err, ERROR_IO, "Cannot rename %s.", part.data);
  if (result == 0) fetch_forget_state(part.data);
  buf_free(&url);
  buf_free(&part);
  return result;
}
