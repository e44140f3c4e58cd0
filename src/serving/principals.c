/* principals: who may come in: the tokens of the store. SPDX-License-Identifier: Apache-2.0
 *
 * Only hashes are kept. Every hash is compared in constant time, and all of them whichever fits, so that time tells nothing. The list is
 * read again when it is a second old: `plinth token reset` works on a server that runs. */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "serving/state.h"

static const uint64_t KEEP_NS = 1000000000u;

static void add(void *arg, const struct store_token *token) {
  struct principals *p = arg;
  if (p->n == p->cap) {
    p->cap = p->cap * 2 + 4;
    p->tokens = mem_realloc(p->tokens, p->cap, sizeof *p->tokens);
  }
  p->tokens[p->n++] = *token;
}

int principals_read(struct principals *p, struct store *store, struct error *err) {
  struct principals fresh = {.read_ns = clock_ns()};
  if (store_token_each(store, add, &fresh, err) < 0) {
    free(fresh.tokens);
    return -1;
  }
  free(p->tokens);
  *p = fresh;
  return 0;
}

/* A store that cannot be read now leaves the tokens that are known. */
static void refresh(struct principals *p, struct store *store) {
  struct error err;
  if (clock_ns() - p->read_ns < KEEP_NS || principals_read(p, store, &err) == 0) return;
  p->read_ns = clock_ns();
  log_line(LOG_WARN, "serving", "Cannot read the tokens again: %s", err.message);
}

bool principals_know(struct principals *p, struct store *store, struct slice token) {
  unsigned char hash[STORE_HASH_BYTES];
  refresh(p, store);
  if (!EVP_Digest(token.data, token.len, hash, NULL, EVP_sha256(), NULL)) return false;
  unsigned known = 0;
  for (size_t i = 0; i < p->n; i++) known |= CRYPTO_memcmp(hash, p->tokens[i].hash, sizeof hash) == 0;
  return known;
}

void principals_free(struct principals *p) {
  free(p->tokens);
  *p = (struct principals){0};
}
