/* compute_choice: which of the variants with equal bits are used: by name, or by measurement. SPDX-License-Identifier: Apache-2.0
 *
 * Samples are small, lie in the caches, and are run by turns, so that a neighbour disturbs all alike; the shortest time of each counts. The plain
 * C is no candidate where there is another: it is written to be read. The widest instruction set stays unless another wins clearly, so that
 * noise does not choose. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tensor/compute.h"

enum { TURNS = 7, ROWS = 16, N_IN = 1024, N_OUT = 128, TILE_OUT = 4096 };

static const char *const families[] = {[CHOICE_F32] = "products of fp32",
                                       [CHOICE_I8] = "products of 8 bits",
                                       [CHOICE_K8] = "products of 8-bit units",
                                       [CHOICE_I16] = "products of 16 bits",
                                       [CHOICE_I14] = "products of 14 bits",
                                       [CHOICE_ATTENTION] = "attention",
                                       [CHOICE_ROWS] = "rows",
                                       [CHOICE_TILE] = "tile"};

static const struct tile {
  const char *name;
  size_t bytes;
} tiles[] = {{"192 KiB", 192 << 10}, {"64 KiB", 64 << 10}, {"384 KiB", 384 << 10}}; /* the first is the default */
enum { TILES = sizeof tiles / sizeof tiles[0] };

const char *compute_choice_family(size_t family) { return family < CHOICE_FAMILIES ? families[family] : NULL; }
const char *compute_choice_name(const struct compute *c, size_t family) { return c->choice[family]; }

/* ---- taking a variant over ---- */

static void take_rows(struct kernels *to, const struct kernels *from) {
  struct kernels all = *from;
  all.name = to->name;
  all.linear_f32 = to->linear_f32;
  all.linear_i8 = to->linear_i8;
  all.linear_k8 = to->linear_k8;
  all.linear_i16 = to->linear_i16;
  all.linear_i14 = to->linear_i14;
  all.attention = to->attention;
  all.dot_rounds = to->dot_rounds;
  all.read_all = to->read_all;
  *to = all;
}

static void take(struct compute *c, enum choice_family family, const struct kernels *from) {
  switch (family) {
    case CHOICE_F32: c->chosen.linear_f32 = from->linear_f32; break;
    case CHOICE_I8: c->chosen.linear_i8 = from->linear_i8; break;
    case CHOICE_K8: c->chosen.linear_k8 = from->linear_k8; break;
    case CHOICE_I16: c->chosen.linear_i16 = from->linear_i16; break;
    case CHOICE_I14: c->chosen.linear_i14 = from->linear_i14; break;
    case CHOICE_ATTENTION: c->chosen.attention = from->attention; break;
    case CHOICE_ROWS: take_rows(&c->chosen, from); break;
    case CHOICE_TILE:
    case CHOICE_FAMILIES: return;
  }
  c->choice[family] = from->name;
}

static void take_tile(struct compute *c, size_t i) {
  c->tile_bytes = tiles[i].bytes;
  c->choice[CHOICE_TILE] = tiles[i].name;
}

void compute_choice_init(struct compute *c) {
  for (int family = 0; family < CHOICE_FAMILIES; family++) take(c, (enum choice_family)family, &c->chosen);
  take_tile(c, 0);
}

bool compute_choice_set(struct compute *c, const char *family, const char *name) {
  const struct kernels *list[KERNELS_MAX];
  int f = 0;
  while (f < CHOICE_FAMILIES && strcmp(families[f], family) != 0) f++;
  if (f == CHOICE_FAMILIES) return false;
  size_t i = 0, n = f == CHOICE_TILE ? TILES : kernels_list(c->isa_mask, list);
  while (i < n && strcmp(f == CHOICE_TILE ? tiles[i].name : list[i]->name, name) != 0) i++;
  if (i == n) return false;
  if (f == CHOICE_TILE) take_tile(c, i);
  else take(c, (enum choice_family)f, list[i]);
  c->settled[f] = true;
  return true;
}

bool compute_choice_is_open(const struct compute *c) {
  for (int f = 0; f < CHOICE_FAMILIES; f++)
    if (!c->settled[f]) return true;
  return false;
}

void compute_choice_tell(const struct compute *c, struct buf *out) {
  buf_add_cstr(out, c->chosen.name);
  for (int f = 0; f < CHOICE_FAMILIES; f++)
    if (strcmp(c->choice[f], f == CHOICE_TILE ? tiles[0].name : c->chosen.name) != 0) buf_printf(out, "; %s %s", families[f], c->choice[f]);
}

/* ---- samples ---- */

struct sample {
  struct compute *c;
  enum choice_family family;
  unsigned char *panels; /* moderate values in every type */
  float *x, *y;          /* [ROWS][N_IN] */
  struct act8 *i8;
  struct act_k8 *k8;
  struct act16 *i16;
  struct act14 *i14;
  void *page; /* one of 32 keys, seen as all pages of a long text */
  float *scratch;
};

static struct weight sample_weight(const struct sample *s, enum pack pack, size_t n_out) {
  return (struct weight){.pack = pack,
                         .n_out = n_out,
                         .n_in = N_IN,
                         .n_panels = n_out / PANEL_ROWS,
                         .n_blocks = N_IN / BLOCK,
                         .panel_bytes = pack_panel_bytes(pack, N_IN),
                         .data = s->panels};
}

static void product_sample(const struct sample *s, const struct kernels *k, enum pack pack, size_t n_rows) {
  struct weight w = sample_weight(s, pack, N_OUT);
  struct act act = {.rows = ROWS, .n = N_IN, .ld = N_IN, .f32 = s->x, .i8 = s->i8, .k8 = s->k8, .i16 = s->i16, .i14 = s->i14};
  struct linear job = {.w = &w, .y = s->y, .ldy = N_OUT};
  struct product p = {.job = &job, .act = &act, .n_rows = n_rows};
  if (s->family == CHOICE_F32) k->linear_f32(&p, 0, w.n_panels);
  else if (s->family == CHOICE_I14) k->linear_i14(&p, 0, w.n_panels);
  else if (s->family == CHOICE_K8) k->linear_k8(&p, 0, w.n_panels);
  else if (s->family == CHOICE_I16) k->linear_i16(&p, 0, w.n_panels);
  else k->linear_i8(&p, 0, w.n_panels);
}

/* As in decoding, thrice, and as with some streams. */
static void products_sample(const struct sample *s, const struct kernels *k) {
  static const enum pack integers[] = {PACK_Q8, PACK_Q4M, PACK_K4M}, units[] = {PACK_K4M, PACK_K6};
  const enum pack *packs = s->family == CHOICE_K8 ? units : integers;
  const size_t n_packs = s->family == CHOICE_K8 || s->family == CHOICE_I8 ? 2 : 3; /* K packs take 16 bits, or units */
  if (s->family == CHOICE_F32 || s->family == CHOICE_I14) {
    enum pack pack = s->family == CHOICE_F32 ? PACK_F32 : PACK_I14;
    for (size_t n = 1; n <= ROWS; n += n == 3 ? ROWS - 3 : 1) product_sample(s, k, pack, n);
    return;
  }
  for (size_t i = 0; i < n_packs; i++) {
    for (int times = 0; times < 3; times++) product_sample(s, k, packs[i], 1);
    product_sample(s, k, packs[i], ROWS);
  }
}

static void attention_sample(const struct sample *s, const struct kernels *k) {
  enum { HEADS = 4, DIM = 64, PAGES = 8 };
  struct kv_layout kv = kv_layout_make(1, 1, DIM, DTYPE_F16);
  void *pages[PAGES];
  for (int i = 0; i < PAGES; i++) pages[i] = s->page;
  struct kv_segment segment = {.n_rows = ROWS, .pos_begin = PAGES * KV_PAGE_TOKENS - ROWS, .pages = pages};
  struct attention a = {
      .kv = &kv, .n_heads = HEADS, .scale = 0.125f, .causal = true, .q = s->x, .ldq = N_IN, .out = s->y, .ldo = HEADS * DIM};
  for (size_t n = 1; n <= ROWS; n += n == 3 ? ROWS - 3 : 1)
    k->attention(&(struct attention_tile){.a = &a, .segment = &segment, .n_rows = n, .scratch = s->scratch});
}

static void rows_sample(const struct sample *s, const struct kernels *k) {
  for (size_t r = 0; r < ROWS; r++) {
    float *y = s->y + r * N_IN;
    const float *x = s->x + r * N_IN;
    k->rmsnorm(y, x, s->x, 1e-5f, N_IN);
    k->rope(y, x, x + 32, N_IN / 64, 64);
    k->silu_mul(y, y, x, N_IN);
    k->gelu(y, y, N_IN);
    k->quantize_i8(s->i8 + r * (N_IN / BLOCK), x, N_IN);
    k->quantize_k8(s->k8 + r * act_units(N_IN), x, N_IN);
    k->quantize_i16(s->i16 + r * (N_IN / BLOCK), x, N_IN);
    k->softmax_weights(y, x, 1, N_IN);
  }
}

static void run_sample(const struct sample *s, const struct kernels *k) {
  if (s->family == CHOICE_ATTENTION) attention_sample(s, k);
  else if (s->family == CHOICE_ROWS) rows_sample(s, k);
  else products_sample(s, k);
}

/* Weights beyond the first caches through the pool, one row: what tiles are for. */
static void run_tile_sample(struct sample *s) {
  struct weight w = sample_weight(s, PACK_Q8, TILE_OUT);
  struct act act = {.rows_max = ROWS, .in_max = N_IN, .rows = 1, .n = N_IN, .ld = N_IN, .forms = ACT_I8, .i8 = s->i8};
  op_linear(s->c, &act, &(struct linear){.w = &w, .y = s->y, .ldy = TILE_OUT}, 1, NULL, 1);
}

static uint64_t time_of(struct sample *s, const struct kernels *k, size_t tile) {
  if (s->family == CHOICE_TILE) take_tile(s->c, tile);
  uint64_t begin = clock_ns();
  if (s->family == CHOICE_TILE) run_tile_sample(s);
  else run_sample(s, k);
  return clock_ns() - begin;
}

static void measure_family(struct sample *s) {
  const struct kernels *list[KERNELS_MAX];
  uint64_t best[KERNELS_MAX] = {0};
  bool tile = s->family == CHOICE_TILE;
  size_t n = tile ? TILES : kernels_list(s->c->isa_mask, list), winner = 0;
  if (!tile && n > 1 && list[n - 1] == kernels_best(COMPUTE_ISA_REF)) n--;
  for (int turn = 0; n > 1 && turn < TURNS; turn++)
    for (size_t i = 0; i < n; i++) {
      uint64_t ns = time_of(s, tile ? NULL : list[i], i);
      if (turn == 0 || ns < best[i]) best[i] = ns;
    }
  for (size_t i = 1; i < n; i++)
    if (best[i] < best[winner] && best[i] < best[0] - best[0] / 20) winner = i;
  if (tile) take_tile(s->c, winner);
  else take(s->c, s->family, list[winner]);
  s->c->settled[s->family] = true;
}

void compute_choice_measure(struct compute *c) {
  struct sample s = {.c = c};
  size_t bytes = TILE_OUT / PANEL_ROWS * pack_panel_bytes(PACK_Q8, N_IN), blocks = ROWS * N_IN / BLOCK;
  struct kv_layout kv = kv_layout_make(1, 1, 64, DTYPE_F16);
  s.panels = memset(mem_aligned(64, bytes + 8192), 0x3C, bytes + 8192);
  s.x = mem_aligned(64, ROWS * N_IN * sizeof *s.x);
  s.y = memset(mem_aligned(64, ROWS * N_IN * sizeof *s.y), 0, ROWS * N_IN * sizeof *s.y);
  s.i8 = mem_zalloc(blocks, sizeof *s.i8);
  s.k8 = mem_zalloc(ROWS * act_units(N_IN), sizeof *s.k8);
  s.i16 = mem_zalloc(blocks, sizeof *s.i16);
  s.i14 = mem_zalloc(blocks, sizeof *s.i14);
  s.page = memset(mem_aligned(64, kv.page_bytes), 0, kv.page_bytes);
  s.scratch = mem_aligned(64, kernels_attention_floats(4, 64) * sizeof(float));
  for (size_t i = 0; i < ROWS * N_IN; i++) s.x[i] = (float)(i % 31) * 0.0625f - 1;
  for (int f = 0; f < CHOICE_FAMILIES; f++) {
    s.family = (enum choice_family)f;
    if (!c->settled[f]) measure_family(&s);
  }
  void *all[] = {s.panels, s.x, s.y, s.i8, s.k8, s.i16, s.i14, s.page, s.scratch};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}
