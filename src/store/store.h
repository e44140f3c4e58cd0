/* store: what outlives the process, as typed calls. The door of the room. SPDX-License-Identifier: Apache-2.0
 * SQLite behind it (sqlite/, schema/). One thread at a time. */
#ifndef STORE_STORE_H
#define STORE_STORE_H
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"

enum { STORE_HASH_BYTES = 32 };

struct store;

/* Opens DATA/plinth.db, makes or migrates the schema. */
struct store *store_open(const char *data_dir, struct error *err);
void store_close(struct store *s); /* NULL is fine */

struct store_token {
  char name[64];                        /* "admin" */
  unsigned char hash[STORE_HASH_BYTES]; /* SHA-256 of the token's text; the text itself is never stored */
  int64_t created_s;
};
/* Puts a token, replacing one of that name. */
int store_token_put(struct store *s, const struct store_token *token, struct error *err);
/* 1 when found, 0 when not, -1 on error. */
int store_token_get(struct store *s, const char *name, struct store_token *ret_token, struct error *err);
/* Calls fn for every token. */
int store_token_each(struct store *s, void (*fn)(void *arg, const struct store_token *token), void *arg, struct error *err);

#endif
