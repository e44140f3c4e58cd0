/* attention_template: attention over KV pages over a v16 type; included once per instruction set, after rows_template.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * All queries of a tile (rows × the heads that share a kv head) go through a key block together: the block is widened to fp32 once,
 * scores come from register tiles of QUERY_TILE queries × 32 keys, outputs from tiles of OUTPUT_TILE queries × 64 values. Each query's
 * own sequence of roundings is that of ref_attention.c. The including file defines QUERY_TILE (<= 6) and OUTPUT_TILE (<= 4). */

struct attention_state {
  const struct attention_tile *t;
  size_t d, heads, n_queries;
  float *k, *v; /* widened block: [d][32], [32][d] */
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

/* Keys that the query sees in all. */
static inline size_t attention_keys(const struct attention_state *s, size_t query) {
  const struct kv_segment *g = s->t->segment;
  return s->t->a->causal ? g->pos_begin + attention_row(s, query) + 1 : g->pos_begin + g->n_rows;
}

static inline __attribute__((always_inline)) void attention_scores(const struct attention_state *s, size_t first, const float *k, int n) {
  const float *q[QUERY_TILE];
  v16 low[QUERY_TILE], high[QUERY_TILE];
  for (int i = 0; i < n; i++) {
    q[i] = attention_query(s, first + (size_t)i);
    low[i] = high[i] = v16_zero();
  }
  for (size_t e = 0; e < s->d; e++) {
    v16 a = v16_load(k + e * KV_PAGE_TOKENS), b = v16_load(k + e * KV_PAGE_TOKENS + 16);
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

static void attention_score_all(const struct attention_state *s, size_t first, const float *k) {
  size_t i = first;
  for (; i + QUERY_TILE <= s->n_queries; i += QUERY_TILE) attention_scores(s, i, k, QUERY_TILE);
  for (; i + 2 <= s->n_queries; i += 2) attention_scores(s, i, k, 2);
  if (i < s->n_queries) attention_scores(s, i, k, 1);
}

/* Scores become weights; m and l move on; returns the factor of what was there before. */
static inline float attention_weigh(struct attention_state *s, size_t query, size_t n_visible) {
  float *p = s->p + query * KV_PAGE_TOKENS;
  v16 lowest = v16_set1(-INFINITY);
  v16 a = v16_keep_n(v16_load(p), n_visible, lowest), b = v16_keep_n(v16_load(p + 16), n_visible > 16 ? n_visible - 16 : 0, lowest);
  float top = v16_largest(v16_if_gt(b, a, b, a)), m = top > s->m[query] ? top : s->m[query];
  v16 both = v16_set1(m);
  a = rows_exp(v16_sub(a, both));
  b = rows_exp(v16_sub(b, both));
  v16_store(p, a);
  v16_store(p + 16, b);
  float c = v16_first(rows_exp(v16_set1(s->m[query] - m)));
  s->l[query] = s->l[query] * c + v16_tree(v16_add(a, b));
  s->m[query] = m;
  return c;
}

/* o = o · c + Σ p_j v_j over j in [0, n_keys), for n queries and `vectors` times 16 values from `at`. */
static inline __attribute__((always_inline)) void attention_mix(const struct attention_state *s, size_t first, const float *v,
                                                                const float *c, const size_t *visible, size_t at, int n, int vectors) {
  v16 o[OUTPUT_TILE][4];
  size_t common = visible[0];
  for (int i = 1; i < n; i++)
    if (visible[i] < common) common = visible[i];
  for (int i = 0; i < n; i++)
    for (int x = 0; x < vectors; x++) o[i][x] = v16_mul(v16_load(s->o + (first + (size_t)i) * s->d + at + 16 * (size_t)x), v16_set1(c[i]));
  for (size_t j = 0; j < common; j++)
    for (int i = 0; i < n; i++) {
      v16 p = v16_set1(s->p[(first + (size_t)i) * KV_PAGE_TOKENS + j]);
      for (int x = 0; x < vectors; x++) o[i][x] = v16_fma(p, v16_load(v + j * s->d + at + 16 * (size_t)x), o[i][x]);
    }
  for (int i = 0; i < n; i++) {
    for (size_t j = common; j < visible[i]; j++) {
      v16 p = v16_set1(s->p[(first + (size_t)i) * KV_PAGE_TOKENS + j]);
      for (int x = 0; x < vectors; x++) o[i][x] = v16_fma(p, v16_load(v + j * s->d + at + 16 * (size_t)x), o[i][x]);
    }
    for (int x = 0; x < vectors; x++) v16_store(s->o + (first + (size_t)i) * s->d + at + 16 * (size_t)x, o[i][x]);
  }
}

static void attention_mix_tile(const struct attention_state *s, size_t first, const float *v, const float *c, const size_t *visible,
                               int n) {
  size_t at = 0;
  for (; at + 64 <= s->d; at += 64) {
    if (n == OUTPUT_TILE) attention_mix(s, first, v, c, visible, at, OUTPUT_TILE, 4);
    else
      for (int i = 0; i < n; i++) attention_mix(s, first + (size_t)i, v, c + i, visible + i, at, 1, 4);
  }
  for (; at + 16 <= s->d; at += 16)
    for (int i = 0; i < n; i++) attention_mix(s, first + (size_t)i, v, c + i, visible + i, at, 1, 1);
}

static void attention_join(struct attention_state *s, size_t begin, const float *k, const float *v) {
  size_t first = 0; /* queries before it see no key of this block */
  while (attention_keys(s, first) <= begin) first++;
  attention_score_all(s, first, k);
  for (size_t query = first; query < s->n_queries; query += OUTPUT_TILE) {
    float c[OUTPUT_TILE];
    size_t visible[OUTPUT_TILE];
    int n = 0;
    for (; n < OUTPUT_TILE && query + (size_t)n < s->n_queries; n++) {
      size_t keys = attention_keys(s, query + (size_t)n) - begin;
      visible[n] = keys < KV_PAGE_TOKENS ? keys : KV_PAGE_TOKENS;
      c[n] = attention_weigh(s, query + (size_t)n, visible[n]);
    }
    attention_mix_tile(s, query, v, c, visible, n);
  }
}

/* The page's K and V of this layer and kv head as fp32: in place, or widened into scratch. */
static void attention_open_block(struct attention_state *s, size_t page, const float **k, const float **v) {
  const struct attention *a = s->t->a;
  size_t values = s->d * KV_PAGE_TOKENS;
  const unsigned char *layer = (const unsigned char *)s->t->segment->pages[page] + a->layer * a->kv->layer_bytes;
  if (a->kv->dtype == DTYPE_F32) {
    *k = (const float *)(const void *)layer + s->t->kv_head * 2 * values;
    *v = *k + values;
    return;
  }
  const uint16_t *half = (const uint16_t *)(const void *)layer + s->t->kv_head * 2 * values;
  for (size_t i = 0; i < 2 * values; i += 16) v16_store(s->k + i, v16_load_half(half + i));
  *k = s->k;
  *v = s->v;
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
  s.k = t->scratch;
  s.v = s.k + s.d * KV_PAGE_TOKENS;
  s.o = s.v + s.d * KV_PAGE_TOKENS;
  s.p = s.o + s.n_queries * s.d;
  s.m = s.p + s.n_queries * KV_PAGE_TOKENS;
  s.l = s.m + s.n_queries;
  memset(s.o, 0, s.n_queries * s.d * sizeof *s.o);
  for (size_t i = 0; i < s.n_queries; i++) s.m[i] = -INFINITY, s.l[i] = 0;
  size_t n_keys = attention_keys(&s, s.n_queries - 1);
  for (size_t begin = 0; begin < n_keys; begin += KV_PAGE_TOKENS) {
    const float *k, *v;
    attention_open_block(&s, begin / KV_PAGE_TOKENS, &k, &v);
    attention_join(&s, begin, k, v);
  }
  attention_close(&s);
}
