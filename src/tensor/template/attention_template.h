/* attention_template: attention over KV pages over a v16 type; included once per instruction set, after rows_template.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * All queries of a tile (rows × the heads that share a kv head) go through a key block together: the block is widened to fp32 once,
 * scores come from register tiles of QUERY_TILE queries × 32 keys, outputs from tiles of OUTPUT_TILE queries × up to 64 values. When one output
 * tile holds all queries, as in decoding, halves are widened as they are read instead. Each query's
 * own sequence of roundings is that of ref_attention.c. The including file defines QUERY_TILE (<= 6) and OUTPUT_TILE (<= 4). */

struct attention_state {
  const struct attention_tile *t;
  size_t d, heads, n_queries;
  float *wide;  /* a widened block: K [d][32], then V [32][d] */
  float *o;     /* [n_queries][d] */
  float *p;     /* [n_queries][32] scores, then weights */
  float *m, *l; /* [n_queries] */
};

static inline size_t attention_row(const struct attention_state *s, size_t query) { return s->t->row_begin + query / s->heads; }

static const float *attention_query(const struct attention_state *s, size_t query) {
  const struct attention *a = s->t->a;
  size_t row = s->t->segment->row_begin + attention_row(s, query), head = s->t->kv_head * s->heads + query % s->heads;
  return a->q + row * a->ldq + head * s->d;
}

/* The positions that the query sees: *begin … *end − 1. Both ascend with the query. */
static inline void attention_range(const struct attention_state *s, size_t query, size_t *begin, size_t *end) {
  kernels_attention_range(s->t->a, s->t->segment, attention_row(s, query), begin, end);
}

static const float attention_slots[KV_PAGE_TOKENS] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                                      16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};

/* score = fma(slope, key − query, score) over the block that begins at position `begin`. */
static void attention_add_slope(const struct attention_state *s, size_t query, size_t begin) {
  const struct attention *a = s->t->a;
  float *p = s->p + query * KV_PAGE_TOKENS;
  v16 slope = v16_set1(a->slopes[s->t->kv_head * s->heads + query % s->heads]);
  v16 distance = v16_set1((float)begin - (float)(s->t->segment->pos_begin + attention_row(s, query)));
  for (size_t i = 0; i < KV_PAGE_TOKENS; i += 16)
    v16_store(p + i, v16_fma(slope, v16_add(distance, v16_load(attention_slots + i)), v16_load(p + i)));
}

/* A block of K and V: fp32, or halves that are widened when read. */
struct attention_block {
  const void *k, *v;
  bool half;
};

static inline __attribute__((always_inline)) v16 attention_load(const void *base, size_t i, bool half) {
  return half ? v16_load_half((const uint16_t *)base + i) : v16_load((const float *)base + i);
}

static inline __attribute__((always_inline)) void attention_scores(const struct attention_state *s, size_t first, const void *k, int n,
                                                                   bool half) {
  const float *q[QUERY_TILE];
  v16 low[QUERY_TILE], high[QUERY_TILE];
  for (int i = 0; i < n; i++) {
    q[i] = attention_query(s, first + (size_t)i);
    low[i] = high[i] = v16_zero();
  }
  for (size_t e = 0; e < s->d; e++) {
    v16 a = attention_load(k, e * KV_PAGE_TOKENS, half), b = attention_load(k, e * KV_PAGE_TOKENS + 16, half);
    for (int i = 0; i < n; i++) {
      v16 x = v16_set1(q[i][e]);
      low[i] = v16_fma(x, a, low[i]);
      high[i] = v16_fma(x, b, high[i]);
    }
  }
  v16 scale = v16_set1(s->t->a->scale);
  for (int i = 0; i < n; i++) {
    float *p = s->p + (first + (size_t)i) * KV_PAGE_TOKENS;
    v16_store(p, v16_mul(low[i], scale));
    v16_store(p + 16, v16_mul(high[i], scale));
  }
}

static inline __attribute__((always_inline)) void attention_score_tiles(const struct attention_state *s, size_t first, size_t end,
                                                                        const void *k, bool half) {
  size_t i = first;
  for (; i + QUERY_TILE <= end; i += QUERY_TILE) attention_scores(s, i, k, QUERY_TILE, half);
  for (; QUERY_TILE > 3 && i + 3 <= end; i += 3) attention_scores(s, i, k, 3, half);
  for (; i + 2 <= end; i += 2) attention_scores(s, i, k, 2, half);
  if (i < end) attention_scores(s, i, k, 1, half);
}

/* Queries first … end − 1. */
static void attention_score_all(const struct attention_state *s, size_t first, size_t end, size_t begin, const struct attention_block *b) {
  size_t i;
  if (b->half) attention_score_tiles(s, first, end, b->k, true);
  else attention_score_tiles(s, first, end, b->k, false);
  for (i = first; s->t->a->slopes && i < end; i++) attention_add_slope(s, i, begin);
}

/* Scores of slots from … to − 1 become weights; m and l move on; returns the factor of what was there before. */
static inline float attention_weigh(struct attention_state *s, size_t query, size_t from, size_t to) {
  float *p = s->p + query * KV_PAGE_TOKENS;
  v16 lowest = v16_set1(-INFINITY);
  v16 a = v16_keep_n(v16_load(p), to, lowest), b = v16_keep_n(v16_load(p + 16), to > 16 ? to - 16 : 0, lowest);
  if (from) a = v16_keep_n(lowest, from, a), b = v16_keep_n(lowest, from > 16 ? from - 16 : 0, b);
  float top = v16_largest(v16_if_gt(b, a, b, a)), m = top > s->m[query] ? top : s->m[query];
  v16 both = v16_set1(m);
  a = rows_exp(v16_sub(a, both));
  b = rows_exp(v16_sub(b, both));
  v16_store(p, a);
  v16_store(p + 16, b);
  float c = m == s->m[query] ? 1.0f : v16_first(rows_exp(v16_set1(s->m[query] - m))); /* exp(0) is 1, exactly */
  s->l[query] = s->l[query] * c + v16_tree(v16_add(a, b));
  s->m[query] = m;
  return c;
}

/* The slots of a block that a query sees: from … to − 1; c: what its sum so far is multiplied by. */
struct attention_view {
  size_t from, to;
  float c;
};

/* o = o · c + Σ p_j v_j over the slots that each of n queries sees, for `vectors` times 16 values from `at`. */
static inline __attribute__((always_inline)) void attention_mix(const struct attention_state *s, size_t first, const void *v,
                                                                const struct attention_view *view, size_t at, int n, int vectors,
                                                                bool half) {
  v16 o[OUTPUT_TILE][4];
  size_t begin = view[0].from, end = view[0].to; /* what all see */
  for (int i = 1; i < n; i++) {
    if (view[i].from > begin) begin = view[i].from;
    if (view[i].to < end) end = view[i].to;
  }
  if (begin > end) end = begin;
  for (int i = 0; i < n; i++) {
    for (int x = 0; x < vectors; x++)
      o[i][x] = v16_mul(v16_load(s->o + (first + (size_t)i) * s->d + at + 16 * (size_t)x), v16_set1(view[i].c));
    for (size_t j = view[i].from; j < begin && j < view[i].to; j++) {
      v16 p = v16_set1(s->p[(first + (size_t)i) * KV_PAGE_TOKENS + j]);
      for (int x = 0; x < vectors; x++) o[i][x] = v16_fma(p, attention_load(v, j * s->d + at + 16 * (size_t)x, half), o[i][x]);
    }
  }
  for (size_t j = begin; j < end; j++)
    for (int i = 0; i < n; i++) {
      v16 p = v16_set1(s->p[(first + (size_t)i) * KV_PAGE_TOKENS + j]);
      for (int x = 0; x < vectors; x++) o[i][x] = v16_fma(p, attention_load(v, j * s->d + at + 16 * (size_t)x, half), o[i][x]);
    }
  for (int i = 0; i < n; i++) {
    for (size_t j = end; j < view[i].to; j++) {
      v16 p = v16_set1(s->p[(first + (size_t)i) * KV_PAGE_TOKENS + j]);
      for (int x = 0; x < vectors; x++) o[i][x] = v16_fma(p, attention_load(v, j * s->d + at + 16 * (size_t)x, half), o[i][x]);
    }
    for (int x = 0; x < vectors; x++) v16_store(s->o + (first + (size_t)i) * s->d + at + 16 * (size_t)x, o[i][x]);
  }
}

static inline __attribute__((always_inline)) void attention_mix_queries(const struct attention_state *s, size_t first, const void *v,
                                                                        const struct attention_view *view, size_t at, int n, int vectors,
                                                                        bool half) {
  if (n == OUTPUT_TILE) attention_mix(s, first, v, view, at, OUTPUT_TILE, vectors, half);
  else if (OUTPUT_TILE > 3 && n == 3) attention_mix(s, first, v, view, at, 3, vectors, half);
  else if (OUTPUT_TILE > 2 && n == 2) attention_mix(s, first, v, view, at, 2, vectors, half);
  else
    for (int i = 0; i < n; i++) attention_mix(s, first + (size_t)i, v, view + i, at, 1, vectors, half);
}

static inline __attribute__((always_inline)) void attention_mix_tile(const struct attention_state *s, size_t first, const void *v,
                                                                     const struct attention_view *view, int n, bool half) {
  size_t at = 0;
  for (; at + 64 <= s->d; at += 64) attention_mix_queries(s, first, v, view, at, n, 4, half);
  for (; at + 32 <= s->d; at += 32) attention_mix_queries(s, first, v, view, at, n, 2, half);
  for (; at + 16 <= s->d; at += 16) attention_mix_queries(s, first, v, view, at, n, 1, half);
}

/* The block that begins at position `begin` joins the queries that see a key of it: those of a run, as ranges ascend. */
static void attention_join(struct attention_state *s, size_t begin, const struct attention_block *b) {
  size_t first = 0, end = s->n_queries, from, to;
  while (attention_range(s, first, &from, &to), to <= begin) first++;
  while (attention_range(s, end - 1, &from, &to), from >= begin + KV_PAGE_TOKENS) end--;
  attention_score_all(s, first, end, begin, b);
  for (size_t query = first; query < end; query += OUTPUT_TILE) {
    struct attention_view view[OUTPUT_TILE];
    int n = 0;
    for (; n < OUTPUT_TILE && query + (size_t)n < end; n++) {
      attention_range(s, query + (size_t)n, &from, &to);
      view[n].from = from > begin ? from - begin : 0;
      view[n].to = to - begin < KV_PAGE_TOKENS ? to - begin : KV_PAGE_TOKENS;
      view[n].c = attention_weigh(s, query + (size_t)n, view[n].from, view[n].to);
    }
    if (b->half) attention_mix_tile(s, query, b->v, view, n, true);
    else attention_mix_tile(s, query, b->v, view, n, false);
  }
}

/* The page's K and V of this layer and kv head: in place, or widened into scratch. */
static struct attention_block attention_open_block(struct attention_state *s, size_t page) {
  const struct attention *a = s->t->a;
  size_t values = s->d * KV_PAGE_TOKENS;
  const unsigned char *layer = (const unsigned char *)s->t->segment->pages[page] + a->layer * a->kv->layer_bytes;
  if (a->kv->dtype == DTYPE_F32) {
    const float *k = (const float *)(const void *)layer + s->t->kv_head * 2 * values;
    return (struct attention_block){k, k + values, false};
  }
  const uint16_t *half = (const uint16_t *)(const void *)layer + s->t->kv_head * 2 * values;
  if (s->n_queries <= OUTPUT_TILE) return (struct attention_block){half, half + values, true};
  for (size_t i = 0; i < 2 * values; i += 16) v16_store(s->wide + i, v16_load_half(half + i));
  return (struct attention_block){s->wide, s->wide + values, false};
}

static void attention_close(const struct attention_state *s) {
  const struct attention *a = s->t->a;
  for (size_t query = 0; query < s->n_queries; query++) {
    size_t row = s->t->segment->row_begin + attention_row(s, query), head = s->t->kv_head * s->heads + query % s->heads;
    float *out = a->out + row * a->ldo + head * s->d;
    v16 l = v16_set1(s->l[query]);
    for (size_t i = 0; i < s->d; i += 16) v16_store(out + i, v16_div(v16_load(s->o + query * s->d + i), l));
  }
}

static void attention_run(const struct attention_tile *t) {
  struct attention_state s = {.t = t, .d = t->a->kv->head_dim, .heads = t->a->n_heads / t->a->kv->n_kv_heads};
  if (s.d % 16) {
    ATTENTION_FALLBACK(t);
    return;
  }
  s.n_queries = t->n_rows * s.heads;
  s.wide = t->scratch;
  s.o = s.wide + 2 * s.d * KV_PAGE_TOKENS;
  s.p = s.o + s.n_queries * s.d;
  s.m = s.p + s.n_queries * KV_PAGE_TOKENS;
  s.l = s.m + s.n_queries;
  memset(s.o, 0, s.n_queries * s.d * sizeof *s.o);
  for (size_t i = 0; i < s.n_queries; i++) s.m[i] = -INFINITY, s.l[i] = 0;
  size_t first, last, end;
  attention_range(&s, 0, &first, &end);
  attention_range(&s, s.n_queries - 1, &last, &end);
  for (size_t begin = first - first % KV_PAGE_TOKENS; begin < end; begin += KV_PAGE_TOKENS) {
    struct attention_block b = attention_open_block(&s, begin / KV_PAGE_TOKENS);
    attention_join(&s, begin, &b);
  }
  attention_close(&s);
}
