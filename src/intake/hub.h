/* hub: a client of the Hugging Face hub's HTTP API, and a reader of its cache on disk. Private to intake. SPDX-License-Identifier: Apache-2.0
 *
 * A revision becomes a commit first, and everything after that asks for the commit: a model that is pushed to meanwhile is not mixed. What
 * the hub says is hostile until checked: paths, sizes, hashes, links. */
#ifndef INTAKE_HUB_H
#define INTAKE_HUB_H
#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "net/fetch.h"

enum { HUB_COMMIT_BYTES = 65 };

/* What the environment says, as huggingface_hub reads it. Strings are owned. */
struct hub_settings {
  char *endpoint; /* HF_ENDPOINT */
  char *shown;    /* the same for messages: without the user and password that may stand in it */
  char *token;    /* HF_TOKEN, or the token file; NULL: none */
  char *cache;    /* HF_HUB_CACHE, or hub below HF_HOME */
  char *ca_file;  /* CURL_CA_BUNDLE, REQUESTS_CA_BUNDLE, SSL_CERT_FILE */
  bool offline;   /* HF_HUB_OFFLINE */
};
int hub_settings_read(struct hub_settings *s, struct error *err);
void hub_settings_free(struct hub_settings *s);

struct hub_file {
  char *path;
  uint64_t bytes;
  char sha256[DIGEST_HEX];  /* "" when git holds the file itself: then */
  char git[DIGEST_GIT_HEX]; /* this is its hash */
};

/* A repository at a commit. */
struct hub_tree {
  struct hub_file *files; /* sorted by path */
  size_t n, cap;
  char commit[HUB_COMMIT_BYTES];
};
void hub_tree_free(struct hub_tree *t);
/* Appends the files of one page of the API's answer. A path that leads out, a size below 0, a hash that is none: refused. */
int hub_tree_parse(struct slice json, struct hub_tree *t, struct error *err);
/* Sorts; a path that stands twice is refused. */
int hub_tree_finish(struct hub_tree *t, struct error *err);

struct hub {
  const struct hub_settings *settings; /* borrowed */
  struct fetch *fetch;                 /* NULL when offline */
  const char *repo, *revision;         /* borrowed */
};

bool hub_repo_valid(const char *repo);
/* The commit of the revision, and the files at it; from the cache when offline (then without hashes of small files). */
int hub_read(const struct hub *h, struct hub_tree *ret, struct error *err);
/* Where the cache has a file of the tree, complete; free it. NULL: it has not. */
char *hub_cached(const struct hub *h, const struct hub_tree *t, const struct hub_file *f);
/* Downloads f to path (path.part while it is not complete and proven), and checks its hash. Resumes. */
int hub_download(const struct hub *h, const struct hub_tree *t, const struct hub_file *f, const char *path,
                 void (*on_progress)(void *arg, uint64_t bytes_done), void *arg, struct error *err);

/* ---- hub_select.c ---- */

/* Which files of the tree a model needs; ret_picked [t->n] is filled. wanted: NULL, the name of a .gguf file, a part of such a name
 * ("Q4_K_M"), or patterns. Refusals name the choices. */
int hub_select(const struct hub_tree *t, const char *const *wanted, size_t n_wanted, bool *ret_picked, struct error *err);

#endif
