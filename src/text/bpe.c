/* bpe: see bpe.h. SPDX-License-Identifier: Apache-2.0
 *
 * Symbols form a list linked by index. A short piece is searched for its lowest pair at each step; a long one keeps its pairs
 * in a heap of rank << 32 | position. A heap entry goes stale when one of its symbols grows; an entry is still good exactly when
 * the pair that stands at its position now has the same rank. */
#include "text/bpe.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "text/archive.h"
#include "text/bytelevel.h"
#include "text/uclass.h"

enum { SHORT_PIECE = 32 };

#define NONE UINT32_MAX

struct bpe_symbol {
  int32_t id; /* -1: merged into the one before */
  uint32_t prev, next;
};

static uint32_t slot_hash(const struct bpe *b, int32_t left, int32_t right) {
  uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) ^ b->seed;
  h *= 0x9E3779B97F4A7C15u;
  h ^= h >> 32;
  h *= 0xD6E8FEB86659FD93u;
  return (uint32_t)((h >> 32) * b->n_slots >> 32);
}

/* The pair's slot, or the empty one where it belongs. There is always an empty one. */
static struct bpe_merge *slot_of(const struct bpe *b, int32_t left, int32_t right) {
  uint32_t at = slot_hash(b, left, right);
  for (;;) {
    struct bpe_merge *m = &b->merges[at];
    if (m->rank == BPE_NO_RANK || (m->left == left && m->right == right)) return m;
    if (++at == b->n_slots) at = 0;
  }
}

static const struct bpe_merge *merge_of(const struct bpe *b, int32_t left, int32_t right) {
  static const struct bpe_merge none = {.rank = BPE_NO_RANK};
  return b->n_slots ? slot_of(b, left, right) : &none;
}

/* ---- building ---- */

static void find_byte_ids(struct bpe *b) {
  static const char hex[] = "0123456789ABCDEF";
  struct buf text = {0};
  for (int byte = 0; byte < 256; byte++) {
    buf_clear(&text);
    buf_add_utf8(&text, bytelevel_char((unsigned char)byte));
    b->byte_ids[byte] = vocab_find(b->vocab, buf_view(&text));
    char name[6] = {'<', '0', 'x', hex[byte >> 4], hex[byte & 15], '>'};
    b->fallback_ids[byte] = vocab_find(b->vocab, slice_make(name, sizeof name));
  }
  buf_free(&text);
}

static void set_slots(struct bpe *b, uint32_t n) {
  b->n_slots = n;
  b->merges = mem_alloc(n * sizeof b->merges[0]);
  for (uint32_t i = 0; i < n; i++) b->merges[i].rank = BPE_NO_RANK;
}

/* Room for one more pair in a table that is never more than three quarters full. */
static void make_room(struct bpe *b) {
  if (b->n_merges + 1 < b->n_slots - b->n_slots / 4) return;
  struct bpe_merge *old = b->merges;
  uint32_t n_old = b->n_slots;
  assert(n_old < UINT32_MAX / 2);
  set_slots(b, n_old ? n_old * 2 : 64);
  for (uint32_t i = 0; i < n_old; i++)
    if (old[i].rank != BPE_NO_RANK) *slot_of(b, old[i].left, old[i].right) = old[i];
  free(old);
}

static void put_merge(struct bpe *b, struct bpe_merge m) {
  make_room(b);
  struct bpe_merge *slot = slot_of(b, m.left, m.right);
  if (slot->rank == BPE_NO_RANK) b->n_merges++;
  *slot = m; /* a pair given twice: the last one counts */
}

void bpe_init(struct bpe *b, const struct vocab *vocab, size_t n_merges) {
  *b = (struct bpe){.vocab = vocab, .unknown = -1, .seed = clock_ns() * 0x9E3779B97F4A7C15u ^ (uintptr_t)b};
  find_byte_ids(b);
  assert(n_merges < UINT32_MAX / 2);
  if (n_merges) set_slots(b, (uint32_t)(n_merges + n_merges / 3 + 4));
}

void bpe_deinit(struct bpe *b) {
  free(b->merges);
  free((char *)b->continuing_prefix.data);
  free((char *)b->end_suffix.data);
  *b = (struct bpe){0};
}

static int32_t find_for_merge(const struct bpe *b, struct slice token, struct error *err) {
  int32_t id = vocab_find(b->vocab, token);
  if (id < 0)
    error_set(err, ERROR_CORRUPT, "Merge %u needs the token '%.*s', which is not in the vocabulary.", b->n_ranks, SLICE_ARG(token));
  return id;
}

int bpe_add_merge(struct bpe *b, struct slice left, struct slice right, struct error *err) {
  int32_t l = find_for_merge(b, left, err), r = l < 0 ? -1 : find_for_merge(b, right, err);
  if (r < 0) return -1;
  struct buf whole = {0};
  buf_add_slice(&whole, left);
  buf_add_slice(&whole, slice_from(right, b->continuing_prefix.len));
  int32_t merged = find_for_merge(b, buf_view(&whole), err);
  buf_free(&whole);
  if (merged < 0) return -1;
  put_merge(b, (struct bpe_merge){.left = l, .right = r, .rank = b->n_ranks++, .merged = merged});
  return 0;
}

void bpe_add_splits(struct bpe *b, int32_t id, uint32_t rank, const unsigned char *part) {
  struct slice token = vocab_string(b->vocab, id);
  assert(token.len <= BPE_TOKEN_BYTES_MAX && rank != BPE_NO_RANK);
  for (size_t i = 1; i < token.len; i++) {
    if (((unsigned char)token.data[i] & 0xC0) == 0x80) continue; /* inside a character */
    int32_t left = vocab_find(b->vocab, slice_make(token.data, i));
    if (left < 0 || (part && !part[left])) continue;
    int32_t right = vocab_find(b->vocab, slice_from(token, i));
    if (right < 0 || (part && !part[right])) continue;
    put_merge(b, (struct bpe_merge){.left = left, .right = right, .rank = rank, .merged = id});
  }
}

/* ---- from a piece to symbols ---- */

void bpe_scratch_free(struct bpe_scratch *s) {
  free(s->symbols);
  free(s->heap);
  buf_free(&s->text);
  *s = (struct bpe_scratch){0};
}

static void add_symbol(struct bpe_scratch *s, int32_t id) {
  if (s->n_symbols == s->symbols_cap) {
    s->symbols_cap = s->symbols_cap ? s->symbols_cap * 2 : 64;
    s->symbols = mem_realloc(s->symbols, s->symbols_cap, sizeof s->symbols[0]);
  }
  s->symbols[s->n_symbols++].id = id;
}

/* What stands for characters that the vocabulary lacks. An unknown token waits, since the next one may fuse with it. */
struct unknown {
  bool waiting;
};

static void flush_unknown(const struct bpe *b, struct bpe_scratch *s, struct unknown *u) {
  if (u->waiting) add_symbol(s, b->unknown);
  u->waiting = false;
}

static void add_missing(const struct bpe *b, struct bpe_scratch *s, struct slice character, struct unknown *u) {
  if (b->byte_fallback) {
    bool all = true;
    for (size_t i = 0; i < character.len; i++) all = all && b->fallback_ids[(unsigned char)character.data[i]] >= 0;
    if (all) {
      for (size_t i = 0; i < character.len; i++) add_symbol(s, b->fallback_ids[(unsigned char)character.data[i]]);
      return;
    }
  }
  if (b->unknown < 0) return; /* the reference leaves it out as well */
  if (!b->fuse_unknown) flush_unknown(b, s, u);
  u->waiting = true;
}

static void symbols_of_chars(const struct bpe *b, struct bpe_scratch *s, struct slice piece) {
  struct unknown u = {0};
  bool plain = b->continuing_prefix.len == 0 && b->end_suffix.len == 0;
  size_t n;
  for (size_t at = 0; at < piece.len; at += n) {
    uint32_t c;
    n = uclass_get(slice_from(piece, at), &c);
    struct slice character = slice_make(piece.data + at, n);
    if (!plain) {
      buf_clear(&s->text);
      if (at > 0) buf_add_slice(&s->text, b->continuing_prefix);
      buf_add_slice(&s->text, character);
      if (at + n == piece.len) buf_add_slice(&s->text, b->end_suffix);
      character = buf_view(&s->text);
    }
    int32_t id = vocab_find(b->vocab, character);
    if (id < 0) {
      add_missing(b, s, character, &u);
      continue;
    }
    flush_unknown(b, s, &u);
    add_symbol(s, id);
  }
  flush_unknown(b, s, &u);
}

static void symbols_of_bytes(const struct bpe *b, struct bpe_scratch *s, struct slice piece) {
  struct unknown u = {0};
  for (size_t i = 0; i < piece.len; i++) {
    unsigned char byte = (unsigned char)piece.data[i];
    int32_t id = b->byte_ids[byte];
    if (id >= 0) {
      flush_unknown(b, s, &u);
      add_symbol(s, id);
      continue;
    }
    buf_clear(&s->text);
    buf_add_utf8(&s->text, bytelevel_char(byte));
    add_missing(b, s, buf_view(&s->text), &u);
  }
  flush_unknown(b, s, &u);
}

/* ---- merging a short piece: look for the lowest pair each time ---- */

/* Merges id[n] until no pair merges or as few as stop are left; how many there are then. rank: room for n. */
static size_t merge_lowest(const struct bpe *b, int32_t *id, uint32_t *rank, size_t n, size_t stop) {
  for (size_t i = 0; i + 1 < n; i++) rank[i] = merge_of(b, id[i], id[i + 1])->rank; /* of the pair (i, i + 1) */
  while (n > stop) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; i++)
      if (rank[i] < rank[best]) best = i;
    if (rank[best] == BPE_NO_RANK) break;
    id[best] = merge_of(b, id[best], id[best + 1])->merged;
    n--;
    memmove(id + best + 1, id + best + 2, (n - best - 1) * sizeof id[0]);
    memmove(rank + best, rank + best + 1, (n - best - 1) * sizeof rank[0]);
    if (best > 0) rank[best - 1] = merge_of(b, id[best - 1], id[best])->rank;
    if (best + 1 < n) rank[best] = merge_of(b, id[best], id[best + 1])->rank;
  }
  return n;
}

static void merge_short(const struct bpe *b, struct bpe_scratch *s, struct ids *out) {
  int32_t id[SHORT_PIECE];
  uint32_t rank[SHORT_PIECE];
  for (size_t i = 0; i < s->n_symbols; i++) id[i] = s->symbols[i].id;
  size_t n = merge_lowest(b, id, rank, s->n_symbols, 1);
  for (size_t i = 0; i < n; i++) ids_add(out, id[i]);
}

bool bpe_last_pair(const struct bpe *b, int32_t id, int32_t *ret_left, int32_t *ret_right) {
  int32_t parts[BPE_TOKEN_BYTES_MAX];
  uint32_t rank[BPE_TOKEN_BYTES_MAX];
  struct slice token = vocab_string(b->vocab, id);
  size_t n = 0, step;
  assert(token.len <= BPE_TOKEN_BYTES_MAX);
  for (size_t at = 0; at < token.len; at += step) {
    uint32_t c;
    step = uclass_get(slice_from(token, at), &c);
    if ((parts[n++] = vocab_find(b->vocab, slice_make(token.data + at, step))) < 0) return false;
  }
  if (n < 2 || merge_lowest(b, parts, rank, n, 2) != 2) return false;
  const struct bpe_merge *m = merge_of(b, parts[0], parts[1]);
  if (m->rank == BPE_NO_RANK || m->merged != id) return false;
  *ret_left = parts[0];
  *ret_right = parts[1];
  return true;
}

/* ---- merging a long piece: a heap with four children each, lowest first ---- */

static void heap_push(struct bpe_scratch *s, uint64_t key) {
  s->n_pushes++;
  if (s->n_heap == s->heap_cap) {
    s->heap_cap = s->heap_cap ? s->heap_cap + s->heap_cap / 2 : 64;
    s->heap = mem_realloc(s->heap, s->heap_cap, sizeof s->heap[0]);
  }
  size_t at = s->n_heap++;
  for (size_t up; at > 0 && s->heap[up = (at - 1) / 4] > key; at = up) s->heap[at] = s->heap[up];
  s->heap[at] = key;
}

static uint64_t heap_pop(struct bpe_scratch *s) {
  uint64_t top = s->heap[0], key = s->heap[--s->n_heap];
  size_t at = 0, n = s->n_heap;
  for (size_t down; (down = 4 * at + 1) < n; at = down) {
    size_t end = down + 4 < n ? down + 4 : n;
    for (size_t i = down + 1; i < end; i++)
      if (s->heap[i] < s->heap[down]) down = i;
    if (s->heap[down] >= key) break;
    s->heap[at] = s->heap[down];
  }
  s->heap[at] = key;
  return top;
}

/* Puts the pair that begins at symbol left into the heap, when it merges. */
static void push_pair(const struct bpe *b, struct bpe_scratch *s, uint32_t left) {
  if (left == NONE) return;
  uint32_t right = s->symbols[left].next;
  if (right == NONE) return;
  uint32_t rank = merge_of(b, s->symbols[left].id, s->symbols[right].id)->rank;
  if (rank != BPE_NO_RANK) heap_push(s, (uint64_t)rank << 32 | left);
}

static void merge_long(const struct bpe *b, struct bpe_scratch *s, struct ids *out) {
  size_t n = s->n_symbols;
  for (size_t i = 0; i < n; i++) {
    s->symbols[i].prev = i ? (uint32_t)i - 1 : NONE;
    s->symbols[i].next = i + 1 < n ? (uint32_t)i + 1 : NONE;
  }
  s->n_heap = 0;
  for (size_t i = 0; i < n; i++) push_pair(b, s, (uint32_t)i);
  while (s->n_heap) {
    uint64_t key = heap_pop(s);
    uint32_t at = (uint32_t)key;
    struct bpe_symbol *left = &s->symbols[at];
    if (left->id < 0 || left->next == NONE) continue;
    struct bpe_symbol *right = &s->symbols[left->next];
    const struct bpe_merge *m = merge_of(b, left->id, right->id);
    if (m->rank != key >> 32) continue;
    left->id = m->merged;
    left->next = right->next;
    right->id = -1;
    if (left->next != NONE) s->symbols[left->next].prev = at;
    push_pair(b, s, left->prev);
    push_pair(b, s, at);
  }
  for (uint32_t i = 0; i != NONE; i = s->symbols[i].next) ids_add(out, s->symbols[i].id);
}

/* ignore_merges: a piece that is a token as it stands. */
static bool whole(const struct bpe *b, struct bpe_scratch *s, struct slice piece, struct ids *out) {
  if (piece.len > b->vocab->len_max) return false;
  if (b->bytes) {
    buf_clear(&s->text);
    bytelevel_map(piece, &s->text);
    piece = buf_view(&s->text);
  }
  int32_t id = vocab_find(b->vocab, piece);
  if (id >= 0) ids_add(out, id);
  return id >= 0;
}

void bpe_encode(const struct bpe *b, struct bpe_scratch *s, struct slice piece, struct ids *out) {
  assert(piece.len > 0 && piece.len < NONE);
  if (b->ignore_merges && whole(b, s, piece, out)) return;
  s->n_symbols = 0;
  if (b->bytes) symbols_of_bytes(b, s, piece);
  else symbols_of_chars(b, s, piece);
  if (s->n_symbols == 0) return;
  if (s->n_symbols <= SHORT_PIECE) merge_short(b, s, out);
  else merge_long(b, s, out);
}

/* ---- kept ---- */

void bpe_archive(struct archive *a, struct bpe *b) {
  ARCHIVE(a, b->n_slots);
  ARCHIVE(a, b->n_merges);
  ARCHIVE(a, b->seed);
  ARCHIVE(a, b->n_ranks);
  ARCHIVE(a, b->byte_ids);
  ARCHIVE(a, b->fallback_ids);
  ARCHIVE(a, b->unknown);
  ARCHIVE(a, b->bytes);
  ARCHIVE(a, b->fuse_unknown);
  ARCHIVE(a, b->byte_fallback);
  ARCHIVE(a, b->ignore_merges);
  archive_slice(a, &b->continuing_prefix);
  archive_slice(a, &b->end_suffix);
  b->merges = archive_array(a, b->merges, b->n_slots, sizeof b->merges[0]);
}
