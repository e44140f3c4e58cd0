/* attention_template: attention over KV pages over a v16 type; included once per instruction set, after rows_template.h.
 * SPDX-License-Identifier: Apache-2.0
 *
 * All queries of a tile (rows × the heads that share a kv head) go through a key block together: the block is widened to fp32 once,
 * scores come from register tiles of QUERY_TILE queries × 32 keys, outputs from tiles of OUTPUT_TILE queries × up to 64 values. When one output
 * tile holds all queries, as in decoding, elements are widened as they are read instead. Scales of 32 elements never meet the elements: those
 * of K meet sums of 32 products, those of V the weights. Each query's own sequence of roundings is that of ref_attention.c. The including file
 * defines QUERY_TILE (<= 6) and OUTPUT_TILE (<= ATTENTION_TILE_MAX). */

struct attention_state {
  const struct attention_tile *t;
  size_t d, heads, n_queries;
  float *wide;               /* a widened block: K [d][32], then V [32][d] */
  float *scales;             /* widened: of K [kv_scales][32], then of V */
  float *o;                  /* [n_queries][d] */
  float *p;                  /* [n_queries][32] scores, then weights */
  float *m, *l;              /* [n_queries] */
  float *scaled;             /* [OUTPUT_TILE][kv_scales][32] weights times scales of V */
  const unsigned char *next; /* K and V of the block behind the one at hand; of the last block itself */
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

/* How the elements of a block of K and V lie there, and whether they have scales. */
enum attention_form { ATTENTION_F32, ATTENTION_F16, ATTENTION_BF16, ATTENTION_I8, ATTENTION_WIDE /* F32 that were I8 */ };
struct attention_block {
  const void *k, *v;
  enum attention_form form;
};

static inline __attribute__((always_inline)) bool attention_has_scales(enum attention_form form) { return form >= ATTENTION_I8; }

static inline __attribute__((always_inline)) v16 attention_load(const void *base, size_t i, enum attention_form form) {
  if (form == ATTENTION_F16) return v16_load_half((const uint16_t *)base + i);
  if (form == ATTENTION_BF16) return v16_load_bf16((const uint16_t *)base + i);
  return form == ATTENTION_I8 ? v16_load_i8((const int8_t *)base + i) : v16_load((const float *)base + i);
}

enum { LINE_BYTES = 64 };

/* The processor cannot foresee where the next page lies, so what lies there is asked for piece by piece while this block is computed: with each value of
 * the head one line (of K; of bytes K and V are no more lines than that), with each slot its V. Out of memory this doubles the speed; into the first cache, or
 * all of V beside K, half of that is lost (Zen 4). */
static inline __attribute__((always_inline)) bool attention_is_narrow(enum attention_form form) {
  return form == ATTENTION_F16 || form == ATTENTION_BF16 || form == ATTENTION_I8;
}
static inline __attribute__((always_inline)) void attention_fetch(const struct attention_state *s, size_t e, enum attention_form form) {
  if (attention_is_narrow(form)) v16_prefetch(s->next + e * LINE_BYTES);
}
static inline __attribute__((always_inline)) void attention_fetch_values(const struct attention_state *s, size_t j, size_t at, int vectors,
                                                                         enum attention_form form) {
  if (form != ATTENTION_F16 && form != ATTENTION_BF16) return;
  const unsigned char *values = s->next + 2 * (s->d * KV_PAGE_TOKENS + j * s->d + at);
  v16_prefetch(values);
  if (vectors > 2) v16_prefetch(values + LINE_BYTES);
}

static inline __attribute__((always_inline)) void attention_scores(const struct attention_state *s, size_t first, const void *k, int n,
                                                                   enum attention_form form) {
  const float *q[QUERY_TILE];
  v16 low[QUERY_TILE], high[QUERY_TILE], low_sum[QUERY_TILE], high_sum[QUERY_TILE];
  for (int i = 0; i < n; i++) {
    q[i] = attention_query(s, first + (size_t)i);
    low[i] = high[i] = low_sum[i] = high_sum[i] = v16_zero();
  }
  for (size_t e = 0; e < s->d;) {
    size_t end = attention_has_scales(form) && e + BLOCK < s->d ? e + BLOCK : s->d;
    const float *scales = s->scales + e; /* e / BLOCK · 32 */
    for (; e < end; e++) {
      attention_fetch(s, e, form);
      v16 a = attention_load(k, e * KV_PAGE_TOKENS, form), b = attention_load(k, e * KV_PAGE_TOKENS + 16, form);
      for (int i = 0; i < n; i++) {
        v16 x = v16_set1(q[i][e]);
        low[i] = v16_fma(x, a, low[i]);
        high[i] = v16_fma(x, b, high[i]);
      }
    }
    for (int i = 0; attention_has_scales(form) && i < n; i++) {
      low_sum[i] = v16_fma(low[i], v16_load(scales), low_sum[i]);
      high_sum[i] = v16_fma(high[i], v16_load(scales + 16), high_sum[i]);
      low[i] = high[i] = v16_zero();
    }
  }
  v16 scale = v16_set1(s->t->a->scale);
  for (int i = 0; i < n; i++) {
    float *p = s->p + (first + (size_t)i) * KV_PAGE_TOKENS;
    v16_store(p, v16_mul(attention_has_scales(form) ? low_sum[i] : low[i], scale));
    v16_store(p + 16, v16_mul(attention_has_scales(form) ? high_sum[i] : high[i], scale));
  }
}

static inline __attribute__((always_inline)) void attention_score_tiles(const struct attention_state *s, size_t first, size_t end,
                                                                        const void *k, enum attention_form form) {
  size_t i = first;
  for (; i + QUERY_TILE <= end; i += QUERY_TILE) attention_scores(s, i, k, QUERY_TILE, form);
  for (; QUERY_TILE > 4 && i + 4 <= end; i += 4) attention_scores(s, i, k, 4, form);
  for (; QUERY_TILE > 3 && i + 3 <= end; i += 3) attention_scores(s, i, k, 3, form);
  for (; i + 2 <= end; i += 2) attention_scores(s, i, k, 2, form);
  if (i < end) attention_scores(s, i, k, 1, form);
}

/* Queries first … end − 1. */
static void attention_score_all(const struct attention_state *s, size_t first, size_t end, size_t begin, const struct attention_block *b) {
  size_t i;
  switch (b->form) {
    case ATTENTION_F32: attention_score_tiles(s, first, end, b->k, ATTENTION_F32); break;
    case ATTENTION_F16: attention_score_tiles(s, first, end, b->k, ATTENTION_F16); break;
    case ATTENTION_BF16: attention_score_tiles(s, first, end, b->k, ATTENTION_BF16); break;
    case ATTENTION_I8: attention_score_tiles(s, first, end, b->k, ATTENTION_I8); break;
    case ATTENTION_WIDE: attention_score_tiles(s, first, end, b->k, ATTENTION_WIDE); break;
  }
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
  const float *p; /* its weights [32]; with scales [kv_scales][32] */
};

/* o = o + p_j v_j: `vectors` times 16 values from `at`. */
static inline __attribute__((always_inline)) void attention_add_value(const struct attention_state *s, const void *v,
                                                                      const struct attention_view *view, size_t j, size_t at, int vectors,
                                                                      enum attention_form form, v16 *o) {
  const float *p = view->p + j + (attention_has_scales(form) ? at / BLOCK * KV_PAGE_TOKENS : 0);
  v16 first = v16_set1(p[0]), second = attention_has_scales(form) && vectors > 2 ? v16_set1(p[KV_PAGE_TOKENS]) : first;
  for (int x = 0; x < vectors; x++) o[x] = v16_fma(x < 2 ? first : second, attention_load(v, j * s->d + at + 16 * (size_t)x, form), o[x]);
}

/* o = o · c + Σ p_j v_j over the slots that each of n queries sees, for `vectors` times 16 values from `at`. */
static inline __attribute__((always_inline)) void attention_mix(const struct attention_state *s, size_t first, const void *v,
                                                                const struct attention_view *view, size_t at, int n, int vectors,
                                                                enum attention_form form) {
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
    for (size_t j = view[i].from; j < begin && j < view[i].to; j++) attention_add_value(s, v, view + i, j, at, vectors, form, o[i]);
  }
  for (size_t j = begin; j < end; j++) {
    attention_fetch_values(s, j, at, vectors, form);
    for (int i = 0; i < n; i++) attention_add_value(s, v, view + i, j, at, vectors, form, o[i]);
  }
  for (int i = 0; i < n; i++) {
    for (size_t j = end; j < view[i].to; j++) attention_add_value(s, v, view + i, j, at, vectors, form, o[i]);
    for (int x = 0; x < vectors; x++) v16_store(s->o + (first + (size_t)i) * s->d + at + 16 * (size_t)x, o[i][x]);
  }
}

static inline __attribute__((always_inline)) void attention_mix_queries(const struct attention_state *s, size_t first, const void *v,
                                                                        const struct attention_view *view, size_t at, int n, int vectors,
                                                                        enum attention_form form) {
  if (n == OUTPUT_TILE) attention_mix(s, first, v, view, at, OUTPUT_TILE, vectors, form);
  else if (OUTPUT_TILE > 3 && n == 3) attention_mix(s, first, v, view, at, 3, vectors, form);
  else if (OUTPUT_TILE > 2 && n == 2) attention_mix(s, first, v, view, at, 2, vectors, form);
  else
    for (int i = 0; i < n; i++) attention_mix(s, first + (size_t)i, v, view + i, at, 1, vectors, form);
}

static inline __attribute__((always_inline)) void attention_mix_tile(const struct attention_state *s, size_t first, const void *v,
                                                                     const struct attention_view *view, int n, enum attention_form form) {
  size_t at = 0;
  for (; at + 64 <= s->d; at += 64) attention_mix_queries(s, first, v, view, at, n, 4, form);
  for (; at + 32 <= s->d; at += 32) attention_mix_queries(s, first, v, view, at, n, 2, form);
  for (; at + 16 <= s->d; at += 16) attention_mix_queries(s, first, v, view, at, n, 1, form);
}

static void attention_mix_block(const struct attention_state *s, size_t first, const struct attention_view *view, int n,
                                const struct attention_block *b) {
  switch (b->form) {
    case ATTENTION_F32: attention_mix_tile(s, first, b->v, view, n, ATTENTION_F32); break;
    case ATTENTION_F16: attention_mix_tile(s, first, b->v, view, n, ATTENTION_F16); break;
    case ATTENTION_BF16: attention_mix_tile(s, first, b->v, view, n, ATTENTION_BF16); break;
    case ATTENTION_I8: attention_mix_tile(s, first, b->v, view, n, ATTENTION_I8); break;
    case ATTENTION_WIDE: attention_mix_tile(s, first, b->v, view, n, ATTENTION_WIDE); break;
  }
}

/* The query's weights; with scales their products with those of V, kept for place i of the output tile. */
static const float *attention_weights(const struct attention_state *s, size_t query, int i, enum attention_form form) {
  const float *p = s->p + query * KV_PAGE_TOKENS;
  if (!attention_has_scales(form)) return p;
  size_t n = kv_scales(s->d) * KV_PAGE_TOKENS;
  float *scaled = s->scaled + (size_t)i * n;
  for (size_t x = 0; x < n; x += 16) v16_store(scaled + x, v16_mul(v16_load(p + x % KV_PAGE_TOKENS), v16_load(s->scales + n + x)));
  return scaled;
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
      view[n].p = attention_weights(s, query + (size_t)n, n, b->form);
    }
    attention_mix_block(s, query, view, n, b);
  }
}

static enum attention_form attention_form_of(enum dtype dtype) {
  return dtype == DTYPE_F32 ? ATTENTION_F32 : dtype == DTYPE_F16 ? ATTENTION_F16 : dtype == DTYPE_BF16 ? ATTENTION_BF16 : ATTENTION_I8;
}

/* n: a multiple of 64. */
static inline __attribute__((always_inline)) void attention_widen(const struct attention_state *s, const void *base, size_t n,
                                                                  enum attention_form form) {
  size_t line = form == ATTENTION_I8 ? LINE_BYTES : LINE_BYTES / 2;
  for (size_t begin = 0; begin < n; begin += line) {
    v16_prefetch(s->next + begin / line * LINE_BYTES);
    for (size_t i = begin; i < begin + line; i += 16) v16_store(s->wide + i, attention_load(base, i, form));
  }
}

static struct kv_head attention_head(const struct attention_state *s, size_t page) {
  const struct attention *a = s->t->a;
  return kv_head_at(a->kv, (unsigned char *)s->t->segment->pages[page] + a->layer * a->kv->layer_bytes, s->t->kv_head);
}

/* The page's K and V of this layer and kv head: in place, or widened into scratch, where scales always go. */
static struct attention_block attention_open_block(struct attention_state *s, size_t page, bool last) {
  size_t values = 2 * s->d * KV_PAGE_TOKENS, scales = 2 * kv_scales(s->d) * KV_PAGE_TOKENS;
  struct kv_head head = attention_head(s, page), next = last ? head : attention_head(s, page + 1);
  enum attention_form form = attention_form_of(s->t->a->kv->dtype);
  s->next = next.k;
  for (size_t i = 0; attention_has_scales(form) && i < scales; i += 16) {
    v16_prefetch(next.k_scales + i);
    v16_store(s->scales + i, v16_load_half(head.k_scales + i));
  }
  if (form == ATTENTION_F32 || s->n_queries <= OUTPUT_TILE) return (struct attention_block){head.k, head.v, form};
  if (form == ATTENTION_F16) attention_widen(s, head.k, values, ATTENTION_F16);
  else if (form == ATTENTION_BF16) attention_widen(s, head.k, values, ATTENTION_BF16);
  else attention_widen(s, head.k, values, ATTENTION_I8);
  return (struct attention_block){s->wide, s->wide + values / 2, attention_has_scales(form) ? ATTENTION_WIDE : ATTENTION_F32};
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
  s.scales = s.wide + 2 * s.d * KV_PAGE_TOKENS;
  s.scaled = s.scales + 2 * kv_scales(s.d) * KV_PAGE_TOKENS;
  s.o = s.scaled + ATTENTION_TILE_MAX * kv_scales(s.d) * KV_PAGE_TOKENS;
  s.p = s.o + s.n_queries * s.d;
  s.m = s.p + s.n_queries * KV_PAGE_TOKENS;
  s.l = s.m + s.n_queries;
  memset(s.o, 0, s.n_queries * s.d * sizeof *s.o);
  for (size_t i = 0; i < s.n_queries; i++) s.m[i] = -INFINITY, s.l[i] = 0;
  size_t first, last, end;
  attention_range(&s, 0, &first, &end);
  attention_range(&s, s.n_queries - 1, &last, &end);
  for (size_t begin = first - first % KV_PAGE_TOKENS; begin < end; begin += KV_PAGE_TOKENS) {
    struct attention_block b = attention_open_block(&s, begin / KV_PAGE_TOKENS, begin + KV_PAGE_TOKENS >= end);
    attention_join(&s, begin, &b);
  }
  attention_close(&s);
}
