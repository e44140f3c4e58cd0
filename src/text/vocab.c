/* vocab: see vocab.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/vocab.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/mix.h"
#include "text/archive.h"

enum { IDS_SPARE = 1 << 16, IDS_MAX = 1 << 24 };

static uint64_t hash(const struct vocab *v, struct slice s) {
  uint64_t h = v->seed ^ s.len;
  while (s.len >= 8) {
    uint64_t word;
    memcpy(&word, s.data, 8);
    h = mix(h, word);
    s = slice_from(s, 8);
  }
  uint64_t word = 0;
  if (s.len) memcpy(&word, s.data, s.len);
  h = mix(h, word);
  return mix(h, 0);
}

void vocab_init(struct vocab *v, size_t n_strings, size_t text_bytes) {
  *v = (struct vocab){.seed = mix(clock_ns(), (uintptr_t)v)};
  if (n_strings > IDS_MAX) n_strings = IDS_MAX;
  buf_reserve(&v->text, text_bytes);
  v->ids_cap = (uint32_t)n_strings;
  v->ids_max = (uint32_t)(n_strings < IDS_MAX / 8 ? n_strings * 4 + IDS_SPARE : IDS_MAX);
  v->begin = mem_alloc(n_strings * sizeof v->begin[0]);
  v->len = mem_alloc(n_strings * sizeof v->len[0]);
  uint32_t slots = 16;
  while (slots - slots / 4 < n_strings) slots *= 2;
  v->slots = mem_zalloc(slots, sizeof v->slots[0]);
  v->slots_mask = slots - 1;
}

void vocab_deinit(struct vocab *v) {
  buf_free(&v->text);
  free(v->begin);
  free(v->len);
  free(v->slots);
  *v = (struct vocab){0};
}

struct slice vocab_string(const struct vocab *v, int32_t id) {
  if (!vocab_has(v, id)) return slice_make(NULL, 0);
  return slice_make(v->text.data + v->begin[id], v->len[id]);
}

bool vocab_has(const struct vocab *v, int32_t id) { return id >= 0 && (uint32_t)id < v->n_ids && v->len[id] != VOCAB_HOLE; }

/* The slot of the string, or the empty one where it belongs. */
static uint32_t *slot_of(const struct vocab *v, struct slice s) {
  for (uint64_t at = hash(v, s);; at++) {
    uint32_t *slot = &v->slots[at & v->slots_mask];
    if (*slot == 0 || slice_eq(vocab_string(v, (int32_t)(*slot - 1)), s)) return slot;
  }
}

int32_t vocab_find(const struct vocab *v, struct slice string) {
  if (v->n_strings == 0) return -1;
  return (int32_t)*slot_of(v, string) - 1;
}

static void grow_slots(struct vocab *v) {
  uint32_t old_count = v->slots_mask + 1, *old = v->slots;
  uint32_t count = old_count * 2;
  v->slots = mem_zalloc(count, sizeof v->slots[0]);
  v->slots_mask = count - 1;
  for (uint32_t i = 0; i < old_count; i++)
    if (old[i]) *slot_of(v, vocab_string(v, (int32_t)(old[i] - 1))) = old[i];
  free(old);
}

static void grow_ids(struct vocab *v, uint32_t id) {
  if (id >= v->ids_cap) {
    uint32_t cap = v->ids_cap + v->ids_cap / 2;
    v->ids_cap = cap > id ? cap : id + 1;
    v->begin = mem_realloc(v->begin, v->ids_cap, sizeof v->begin[0]);
    v->len = mem_realloc(v->len, v->ids_cap, sizeof v->len[0]);
  }
  while (v->n_ids <= id) v->len[v->n_ids++] = VOCAB_HOLE;
}

int vocab_put(struct vocab *v, struct slice s, uint32_t id, struct error *err) {
  if (!v->slots) vocab_init(v, 16, 256);
  if (id >= v->ids_max) return error_set(err, ERROR_CORRUPT, "The token id %u is far beyond the size of the vocabulary.", id);
  if (vocab_has(v, (int32_t)id)) return error_set(err, ERROR_CORRUPT, "The token id %u is given to two tokens.", id);
  if (s.len > UINT32_MAX / 2 || v->text.len > UINT32_MAX - s.len)
    return error_set(err, ERROR_TOO_LARGE, "The vocabulary has more than 4 GiB of text.");
  if (v->n_strings >= v->slots_mask + 1 - (v->slots_mask + 1) / 4) grow_slots(v);
  grow_ids(v, id);
  v->begin[id] = (uint32_t)v->text.len;
  buf_add_slice(&v->text, s);
  uint32_t *slot = slot_of(v, s);
  if (*slot == 0) v->n_strings++;
  *slot = id + 1;
  v->len[id] = (uint32_t)s.len;
  if (s.len > v->len_max) v->len_max = (uint32_t)s.len;
  assert(vocab_has(v, (int32_t)id));
  return 0;
}

void vocab_archive(struct archive *a, struct vocab *v) {
  bool used = v->slots != NULL;
  ARCHIVE(a, used);
  if (!used) return;
  archive_buf(a, &v->text);
  ARCHIVE(a, v->n_ids);
  ARCHIVE(a, v->ids_max);
  ARCHIVE(a, v->n_strings);
  ARCHIVE(a, v->len_max);
  ARCHIVE(a, v->slots_mask);
  ARCHIVE(a, v->seed);
  v->begin = archive_array(a, v->begin, v->n_ids, sizeof v->begin[0]);
  v->len = archive_array(a, v->len, v->n_ids, sizeof v->len[0]);
  v->slots = archive_array(a, v->slots, (size_t)v->slots_mask + 1, sizeof v->slots[0]);
  if (!a->out) v->ids_cap = v->n_ids;
}
