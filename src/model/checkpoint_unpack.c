/* checkpoint_unpack: the integer layouts of quantized checkpoints made plain; see checkpoint.h. SPDX-License-Identifier: Apache-2.0
 *
 * Outputs are taken in tiles of 16, so that layouts that run across outputs are read a cache line at a time. A matrix whose groups are
 * whole blocks of 32 inputs and whose integers fit keeps them: as Q4_0 (4 bits, zero 8, scales that fp16 holds) or Q8_F32. Groups that are
 * scattered over the inputs are gathered when the caller can do with another order of the columns. */
#include <stdlib.h>

#include "model/checkpoint.h"

enum { TILE = 16, BLOCK = 32 };

/* Column k of AWQ's eight sits in this nibble. */
static const unsigned char awq_nibble[8] = {0, 4, 1, 5, 2, 6, 3, 7};

static uint32_t word_at(const unsigned char *p, size_t i) {
  p += 4 * i;
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* `bits` bits at bit `at` of a string of words that lie `stride` apart, from word `first` on. */
static unsigned bits_at(const unsigned char *p, size_t first, size_t stride, size_t at, int bits) {
  size_t word = at / 32, shift = at % 32;
  uint64_t value = word_at(p, first + word * stride);
  if (shift + (size_t)bits > 32) value |= (uint64_t)word_at(p, first + (word + 1) * stride) << 32;
  return (unsigned)(value >> shift) & ((1u << bits) - 1);
}

static size_t words(size_t n, int bits) { return (n * (size_t)bits + 31) / 32; }

static size_t group_of(const struct checkpoint_matrix *m, size_t i) { return m->g_idx ? (size_t)word_at(m->g_idx, i) : i / m->group_size; }

static float scale_of(const struct checkpoint_matrix *m, size_t o, size_t g) {
  return m->scales[(m->row_first + o) / m->row_block * m->row_stride + g * m->group_stride];
}

static int zero_of(const struct checkpoint_matrix *m, size_t o, size_t g) {
  unsigned stored;
  switch (m->zeros) {
    case CHECKPOINT_ZERO_BYTES: return (int8_t)m->z[o * m->n_groups + g];
    case CHECKPOINT_ZERO_ACROSS: stored = bits_at(m->z, g * words(m->n_out, m->bits), 1, o * (size_t)m->bits, m->bits); break;
    case CHECKPOINT_ZERO_DOWN: stored = bits_at(m->z, g, m->n_groups, o * (size_t)m->bits, m->bits); break;
    case CHECKPOINT_ZERO_AWQ: stored = word_at(m->z, g * (m->n_out / 8) + o / 8) >> 4 * awq_nibble[o % 8] & 15; break;
    default: return m->zero;
  }
  return (int)((stored + (unsigned)m->zero_added) & ((1u << m->bits) - 1));
}

/* q [n][n_in]: the integers of outputs o … o + n − 1 as stored. */
static void read_integers(const struct checkpoint_matrix *m, size_t o, size_t n, int16_t *q) {
  size_t row = words(m->n_in, m->bits);
  for (size_t i = 0; i < m->n_in; i++)
    for (size_t k = 0; k < n; k++) {
      int value;
      switch (m->order) {
        case CHECKPOINT_DOWN: value = (int)bits_at(m->q, o + k, m->n_out, i * (size_t)m->bits, m->bits); break;
        case CHECKPOINT_AWQ: value = (int)(word_at(m->q, i * (m->n_out / 8) + (o + k) / 8) >> 4 * awq_nibble[(o + k) % 8] & 15); break;
        case CHECKPOINT_ACROSS: value = (int)bits_at(m->q, (o + k) * row, 1, i * (size_t)m->bits, m->bits); break;
        default: value = (int8_t)m->q[(o + k) * m->n_in + i];
      }
      q[k * m->n_in + i] = (int16_t)value;
    }
}

/* ---- what it becomes ---- */

static bool groups_are_blocks(const struct checkpoint_matrix *m) {
  if (m->n_in % BLOCK || (m->n_groups > 1 && m->group_size % BLOCK)) return false;
  for (size_t i = 0; m->g_idx && i < m->n_in; i++)
    if (word_at(m->g_idx, i) != i / m->group_size) return false;
  return true;
}

/* The inputs group by group, for matrices whose g_idx scatters them ("act-order"); NULL when groups do not fill whole blocks either way. */
static uint32_t *order_by_group(const struct checkpoint_matrix *m) {
  if (!m->g_idx || m->n_in % BLOCK) return NULL;
  size_t *next = calloc(m->n_groups + 1, sizeof *next);
  uint32_t *order = malloc(m->n_in * sizeof *order);
  bool whole = next && order;
  for (size_t i = 0; whole && i < m->n_in; i++) next[word_at(m->g_idx, i) + 1]++;
  for (size_t g = 0; whole && g < m->n_groups; g++) {
    whole = next[g + 1] % BLOCK == 0;
    next[g + 1] += next[g];
  }
  for (size_t i = 0; whole && i < m->n_in; i++) order[next[word_at(m->g_idx, i)]++] = (uint32_t)i;
  free(next);
  if (whole) return order;
  free(order);
  return NULL;
}

static bool fits_q4_0(const struct checkpoint_matrix *m) {
  if (m->bits != 4) return false;
  for (size_t o = 0; o < m->n_out; o++)
    for (size_t g = 0; g < m->n_groups; g++) {
      float scale = scale_of(m, o, g);
      if (zero_of(m, o, g) != 8 || dtype_f16_to_f32(dtype_f32_to_f16(scale)) != scale) return false;
    }
  return true;
}

/* Whether every q − zero fits in eight bits. */
static bool fits_i8(const struct checkpoint_matrix *m) {
  if (m->bits < 8) return true;
  int want = m->order == CHECKPOINT_BYTES ? 0 : 128;
  for (size_t o = 0; o < m->n_out; o++)
    for (size_t g = 0; g < m->n_groups; g++)
      if (zero_of(m, o, g) != want) return false;
  return true;
}

/* ret_order as in checkpoint_unpack. */
static enum dtype choose(const struct checkpoint_matrix *m, uint32_t **ret_order) {
  if (m->order == CHECKPOINT_FLOATS || !fits_i8(m)) return DTYPE_F32;
  if (!groups_are_blocks(m) && !(ret_order && (*ret_order = order_by_group(m)))) return DTYPE_F32;
  return fits_q4_0(m) ? DTYPE_Q4_0 : DTYPE_Q8_F32;
}

/* ---- rows ---- */

struct unpacking {
  const struct checkpoint_matrix *m;
  enum dtype dtype;
  const uint32_t *in_order; /* of blocks; or NULL */
  size_t row_bytes;
  unsigned char *out;
  int16_t *integers; /* [threads][TILE][n_in] */
};

/* q is NULL for 8-bit floats. */
static void put_floats(const struct unpacking *u, size_t o, const int16_t *q, float *to) {
  const struct checkpoint_matrix *m = u->m;
  size_t group = SIZE_MAX;
  float scale = 0;
  int zero = 0;
  if (!q) dtype_to_f32(m->dtype, m->q + o * m->n_in, to, m->n_in);
  for (size_t i = 0; i < m->n_in; i++) {
    size_t g = group_of(m, i);
    if (g != group) {
      group = g;
      scale = scale_of(m, o, g);
      zero = q ? zero_of(m, o, g) : 0;
    }
    to[i] = scale * (q ? (float)(q[i] - zero) : to[i]);
  }
}

/* The input of column k. */
static size_t input(const struct unpacking *u, size_t k) { return u->in_order ? u->in_order[k] : k; }

static void put_q8(const struct unpacking *u, size_t o, const int16_t *q, unsigned char *to) {
  for (size_t i = 0; i < u->m->n_in; i += BLOCK, to += 4 + BLOCK) {
    size_t g = group_of(u->m, input(u, i));
    float scale = scale_of(u->m, o, g);
    int zero = zero_of(u->m, o, g);
    memcpy(to, &scale, 4);
    for (size_t k = 0; k < BLOCK; k++) to[4 + k] = (unsigned char)(q[input(u, i + k)] - zero);
  }
}

static void put_q4(const struct unpacking *u, size_t o, const int16_t *q, unsigned char *to) {
  for (size_t i = 0; i < u->m->n_in; i += BLOCK, to += 18) {
    uint16_t half = dtype_f32_to_f16(scale_of(u->m, o, group_of(u->m, input(u, i))));
    memcpy(to, &half, 2);
    for (size_t k = 0; k < 16; k++) to[2 + k] = (unsigned char)(q[input(u, i + k)] | q[input(u, i + k + 16)] << 4);
  }
}

static void unpack_tile(void *job, int tile, int worker) {
  const struct unpacking *u = job;
  const struct checkpoint_matrix *m = u->m;
  size_t o = (size_t)tile * TILE, n = m->n_out - o < TILE ? m->n_out - o : TILE;
  int16_t *integers = m->order == CHECKPOINT_FLOATS ? NULL : u->integers + (size_t)worker * TILE * m->n_in;
  if (integers) read_integers(m, o, n, integers);
  for (size_t k = 0; k < n; k++) {
    unsigned char *to = u->out + (o + k) * u->row_bytes;
    const int16_t *q = integers ? integers + k * m->n_in : NULL;
    if (u->dtype == DTYPE_F32) put_floats(u, o + k, q, (float *)(void *)to);
    else if (u->dtype == DTYPE_Q4_0) put_q4(u, o + k, q, to);
    else put_q8(u, o + k, q, to);
  }
}

void *checkpoint_unpack(const struct checkpoint_matrix *m, struct pool *pool, enum dtype *ret_dtype, uint32_t **ret_order) {
  uint32_t *order = NULL;
  struct unpacking u = {.m = m, .dtype = choose(m, ret_order ? &order : NULL)};
  uint64_t row_bytes, bytes;
  if (!dtype_bytes(u.dtype, m->n_in, &row_bytes) || __builtin_mul_overflow(row_bytes, (uint64_t)m->n_out, &bytes)) {
    free(order);
    return NULL;
  }
  u.in_order = order;
  u.row_bytes = (size_t)row_bytes;
  u.out = malloc(bytes + 64);
  u.integers = calloc(m->n_in, (size_t)pool_threads(pool) * TILE * sizeof *u.integers);
  if (!u.out || !u.integers) {
    free(u.out);
    free(u.integers);
    free(order);
    return NULL;
  }
  pool_run(pool, unpack_tile, &u, (int)((m->n_out + TILE - 1) / TILE));
  free(u.integers);
  *ret_dtype = u.dtype;
  if (ret_order) *ret_order = order;
  return u.out;
}
