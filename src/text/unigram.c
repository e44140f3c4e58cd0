/* unigram: see unigram.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/unigram.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "text/archive.h"
#include "text/uclass.h"

/* What an unknown character costs more than the worst token; SentencePiece's constant. */
#define UNKNOWN_PENALTY 10.0

enum { ROOT = 0, NO_NODE = UINT32_MAX };

struct unigram_edge {
  uint32_t from, to; /* to NO_NODE: the slot is empty */
  unsigned char byte;
};

/* Where a path may end: after the byte with this number. */
struct unigram_node {
  double score;   /* of the best path to here */
  uint32_t begin; /* of its last token; NO_NODE: none came here */
  int32_t id;     /* of its last token */
};

/* ---- the tree ---- */

static struct unigram_edge *slot_of(const struct unigram *u, uint32_t from, unsigned char byte) {
  uint64_t h = ((uint64_t)from << 8 | byte) ^ u->seed;
  h *= 0x9E3779B97F4A7C15u;
  h ^= h >> 32;
  h *= 0xD6E8FEB86659FD93u;
  for (uint32_t at = (uint32_t)((h >> 32) * u->n_slots >> 32);;) {
    struct unigram_edge *e = &u->edges[at];
    if (e->to == NO_NODE || (e->from == from && e->byte == byte)) return e;
    if (++at == u->n_slots) at = 0;
  }
}

static void set_slots(struct unigram *u, uint32_t n) {
  u->n_slots = n;
  u->edges = mem_alloc(n * sizeof u->edges[0]);
  for (uint32_t i = 0; i < n; i++) u->edges[i].to = NO_NODE;
}

static void grow_slots(struct unigram *u) {
  struct unigram_edge *old = u->edges;
  uint32_t n_old = u->n_slots;
  set_slots(u, n_old * 2);
  for (uint32_t i = 0; i < n_old; i++)
    if (old[i].to != NO_NODE) *slot_of(u, old[i].from, old[i].byte) = old[i];
  free(old);
}

static uint32_t add_node(struct unigram *u) {
  if (u->n_nodes == u->nodes_cap) {
    u->nodes_cap = u->nodes_cap ? u->nodes_cap * 2 : 1024;
    u->token_of_node = mem_realloc(u->token_of_node, u->nodes_cap, sizeof u->token_of_node[0]);
  }
  u->token_of_node[u->n_nodes] = -1;
  return u->n_nodes++;
}

static void add_token(struct unigram *u, int32_t id) {
  struct slice s = vocab_string(u->vocab, id);
  uint32_t node = ROOT;
  for (size_t i = 0; i < s.len; i++) {
    struct unigram_edge *e = slot_of(u, node, (unsigned char)s.data[i]);
    if (e->to == NO_NODE) {
      *e = (struct unigram_edge){.from = node, .to = add_node(u), .byte = (unsigned char)s.data[i]};
      node = e->to;
      if (++u->n_edges >= u->n_slots - u->n_slots / 4) grow_slots(u);
    } else {
      node = e->to;
    }
  }
  if (node != ROOT) u->token_of_node[node] = id; /* of two tokens with the same text the last one counts */
}

void unigram_init(struct unigram *u, const struct vocab *vocab, double *scores) {
  static const char hex[] = "0123456789ABCDEF";
  *u = (struct unigram){.vocab = vocab, .scores = scores, .unknown = -1, .min_score = INFINITY};
  u->seed = clock_ns() * 0x9E3779B97F4A7C15u ^ (uintptr_t)u;
  set_slots(u, 1024);
  add_node(u);
  for (uint32_t id = 0; id < vocab->n_ids; id++) {
    if (scores[id] < u->min_score) u->min_score = scores[id];
    add_token(u, (int32_t)id);
  }
  for (int byte = 0; byte < 256; byte++) {
    char name[6] = {'<', '0', 'x', hex[byte >> 4], hex[byte & 15], '>'};
    u->fallback_ids[byte] = vocab_find(vocab, slice_make(name, sizeof name));
  }
}

void unigram_deinit(struct unigram *u) {
  free(u->scores);
  free(u->edges);
  free(u->token_of_node);
  *u = (struct unigram){0};
}

void unigram_scratch_free(struct unigram_scratch *s) {
  free(s->nodes);
  *s = (struct unigram_scratch){0};
}

/* ---- the best path ---- */

static void offer(struct unigram_node *node, double score, size_t begin, int32_t id) {
  if (node->begin != NO_NODE && !(score > node->score)) return;
  *node = (struct unigram_node){.score = score, .begin = (uint32_t)begin, .id = id};
}

/* Offers every token that begins at byte at. Returns whether one of them is just the character there. */
static bool offer_tokens(const struct unigram *u, struct unigram_node *nodes, struct slice piece, size_t at, size_t char_len) {
  bool single = false;
  uint32_t node = ROOT;
  for (size_t end = at; end < piece.len;) {
    node = slot_of(u, node, (unsigned char)piece.data[end])->to;
    if (node == NO_NODE) break;
    end++;
    int32_t id = u->token_of_node[node];
    if (id < 0) continue;
    offer(&nodes[end], u->scores[id] + nodes[at].score, at, id);
    if (end - at == char_len) single = true;
  }
  return single;
}

static int fill(const struct unigram *u, struct unigram_scratch *s, struct slice piece, struct error *err) {
  if (s->cap < piece.len + 1) {
    s->cap = piece.len + 1;
    free(s->nodes);
    s->nodes = mem_alloc(s->cap * sizeof s->nodes[0]);
  }
  for (size_t i = 0; i <= piece.len; i++) s->nodes[i] = (struct unigram_node){.begin = NO_NODE};
  size_t n;
  for (size_t at = 0; at < piece.len; at += n) {
    uint32_t c;
    n = uclass_get(slice_from(piece, at), &c);
    if (offer_tokens(u, s->nodes, piece, at, n)) continue;
    if (u->unknown < 0)
      return error_set(err, ERROR_INVALID, "The model's vocabulary cannot spell '%.*s' and has no unknown token.", (int)n, piece.data + at);
    offer(&s->nodes[at + n], u->min_score - UNKNOWN_PENALTY + s->nodes[at].score, at, u->unknown);
  }
  return 0;
}

/* A stretch of the path: one token, or a run of unknown characters as a whole. */
static void emit(const struct unigram *u, struct slice text, struct ids *out) {
  int32_t id = vocab_find(u->vocab, text);
  bool bytes = id < 0 && u->byte_fallback;
  for (size_t i = 0; bytes && i < text.len; i++) bytes = u->fallback_ids[(unsigned char)text.data[i]] >= 0;
  if (!bytes) {
    ids_add(out, id >= 0 ? id : u->unknown);
    return;
  }
  for (size_t i = 0; i < text.len; i++) ids_add(out, u->fallback_ids[(unsigned char)text.data[i]]);
}

int unigram_encode(const struct unigram *u, struct unigram_scratch *s, struct slice piece, struct ids *out, struct error *err) {
  assert(piece.len > 0 && piece.len < NO_NODE);
  if (fill(u, s, piece, err) < 0) return -1;
  struct unigram_node *nodes = s->nodes;
  /* Turn the links round, so that they lead from the beginning: begin becomes the end of the token that begins here. */
  uint32_t end = (uint32_t)piece.len;
  int32_t id = nodes[end].id;
  uint32_t begin = nodes[end].begin;
  while (end > 0) {
    struct unigram_node *node = &nodes[begin];
    int32_t id_before = node->id;
    uint32_t begin_before = node->begin;
    node->begin = end;
    node->id = id;
    end = begin;
    id = id_before;
    begin = begin_before;
  }
  for (size_t at = 0; at < piece.len;) {
    size_t stop = nodes[at].begin;
    if (nodes[at].id == u->unknown && u->unknown >= 0)
      while (stop < piece.len && nodes[stop].id == u->unknown) stop = nodes[stop].begin;
    emit(u, slice_make(piece.data + at, stop - at), out);
    at = stop;
  }
  return 0;
}

/* ---- kept ---- */

void unigram_archive(struct archive *a, struct unigram *u) {
  ARCHIVE(a, u->min_score);
  ARCHIVE(a, u->n_slots);
  ARCHIVE(a, u->n_edges);
  ARCHIVE(a, u->n_nodes);
  ARCHIVE(a, u->seed);
  ARCHIVE(a, u->fallback_ids);
  ARCHIVE(a, u->unknown);
  ARCHIVE(a, u->byte_fallback);
  u->scores = archive_array(a, u->scores, u->vocab->n_ids, sizeof u->scores[0]);
  u->edges = archive_array(a, u->edges, u->n_slots, sizeof u->edges[0]);
  u->token_of_node = archive_array(a, u->token_of_node, u->n_nodes, sizeof u->token_of_node[0]);
  if (!a->out) u->nodes_cap = u->n_nodes;
}
