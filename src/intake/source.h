/* source: what an import is asked to take, and which of its files. Private to intake. SPDX-License-Identifier: Apache-2.0 */
#ifndef INTAKE_SOURCE_H
#define INTAKE_SOURCE_H
#include "intake/hub.h"
#include "intake/intake.h"

/* One file of the model to be. */
struct source_item {
  char *to;                   /* its path below the model's folder */
  char *from;                 /* the file to copy or link; NULL: it is downloaded */
  const struct hub_file *hub; /* what the hub says of it, or NULL */
  uint64_t bytes;
  char sha256[DIGEST_HEX]; /* "" until it is known */
};

struct source {
  char *text; /* for the manifest: an absolute path, or "hf:org/repo" */
  char *name; /* a name for the model, made from it */
  bool is_hub;
  char *repo, *revision, *file; /* of a hub; file: what stands behind the colon, or NULL */
  struct hub_settings settings;
  struct hub hub;
  struct hub_tree tree;
  struct source_item *items;
  size_t n;
  uint64_t bytes;
  bool adapter;
};

/* Takes SOURCE apart; nothing is opened yet. */
int source_parse(struct source *s, const struct intake_config *config, struct error *err);
/* Finds the files: reads folders, or asks the hub. */
int source_find(struct source *s, const struct intake_config *config, struct error *err);
void source_free(struct source *s); /* fine on {0} */

#endif
