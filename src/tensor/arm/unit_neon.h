/* unit_neon: products of K packs with 8-bit units. Included by neon.c and by dotprod.c, behind linear_neon.h. SPDX-License-Identifier: Apache-2.0
 *
 * The sum of a block, or of half of it, times the products of sub-scale and steps, joins an integer sum of the unit. Offsets meet the sums of the
 * activations in the end, as minimums do. A panel is two halves of 8 rows; a register tile is 8 rows × UNIT_COLUMNS columns. */

enum { UNIT_COLUMNS = 2, UNIT_HALVES = false };

struct unit_pair {
  int32x4_t a, b; /* rows 0 … 3 and 4 … 7 of the half */
};

static inline __attribute__((always_inline)) struct unit_pair unit_sub(const unsigned char *at) {
  const int16x8_t v = vmovl_s8(vld1_s8((const int8_t *)at));
  return (struct unit_pair){vmovl_s16(vget_low_s16(v)), vmovl_s16(vget_high_s16(v))};
}

/* sum + the products of sub and a whole number. */
static inline __attribute__((always_inline)) struct unit_pair unit_times(struct unit_pair sum, struct unit_pair sub, int32_t times) {
  return (struct unit_pair){vmlaq_n_s32(sum.a, sub.a, times), vmlaq_n_s32(sum.b, sub.b, times)};
}

/* One part of the unit's block n of all columns joins the sums. */
static inline __attribute__((always_inline)) void unit_add(struct unit_pair *sum, const unsigned char *unit, size_t n, int half,
                                                           const struct act_k8 *const *x, int columns, int part, enum pack pack) {
  const int parts = pack_form(pack).parts;
  const unsigned char *quants = unit + pack_quants_at(pack, n) + 32 * (size_t)half;
  const struct unit_pair sub = unit_sub(unit + pack_sub_at(pack, false, n, (size_t)part) + 8 * (size_t)half);
  struct int_sum s[UNIT_COLUMNS];
  for (int c = 0; c < columns; c++) s[c].a = s[c].b = vdupq_n_s32(0);
  for (int k = 0; k < 2; k++) { /* both halves of the block, or the part's own */
    struct int_values values[UNIT_COLUMNS];
    if (parts == 2 && k != part) continue;
    for (int c = 0; c < columns; c++) values[c].q = vld1q_s8(x[c]->q + n * BLOCK + 16 * (size_t)k);
    int_add_half(s, quants, values, k, columns, pack, false);
  }
  for (int c = 0; c < columns; c++) {
    sum[c].a = vmlaq_s32(sum[c].a, s[c].a, vmulq_n_s32(sub.a, x[c]->steps[n]));
    sum[c].b = vmlaq_s32(sum[c].b, s[c].b, vmulq_n_s32(sub.b, x[c]->steps[n]));
  }
}

/* The unit's sub-minimums, or its sub-scales, with the sums of one column. */
static inline __attribute__((always_inline)) struct unit_pair unit_low(const unsigned char *unit, bool minimum, int half,
                                                                       const struct act_k8 *x, enum pack pack) {
  const size_t parts = (size_t)pack_form(pack).parts;
  struct unit_pair low = {vdupq_n_s32(0), vdupq_n_s32(0)};
  for (size_t i = 0; i < UNIT_BLOCKS * parts; i++)
    low = unit_times(low, unit_sub(unit + pack_sub_at(pack, minimum, 0, 0) + PANEL_ROWS * i + 8 * (size_t)half),
                     parts == 1 ? x->sum[i] : x->sum_half[i]);
  return low;
}

/* One unit of one half of a panel joins the accumulators. */
static inline __attribute__((always_inline)) void unit_join(struct int_acc *acc, const unsigned char *unit, size_t blocks, int half,
                                                            const struct act_k8 *const *x, int columns, enum pack pack) {
  const struct pack_form form = pack_form(pack);
  struct unit_pair sum[UNIT_COLUMNS];
  for (int c = 0; c < columns; c++) sum[c].a = sum[c].b = vdupq_n_s32(0);
  for (size_t n = 0; n < blocks; n++)
    for (int part = 0; part < form.parts; part++) unit_add(sum, unit, n, half, x, columns, part, pack);
  const struct int_acc scale = int_load_scale(unit, half, 2);
  for (int c = 0; c < columns; c++) {
    struct unit_pair low = sum[c];
    if (form.offset || form.minimum) low = unit_low(unit, form.minimum, half, x[c], pack);
    if (form.offset) sum[c] = unit_times(sum[c], low, -form.offset);
    struct int_acc value = {vmulq_f32(vcvtq_f32_s32(sum[c].a), scale.a), vmulq_f32(vcvtq_f32_s32(sum[c].b), scale.b)};
    if (form.minimum) {
      const struct int_acc minimum = int_load_scale(unit + pack_scales_bytes(pack), half, 2);
      value.a = vfmsq_f32(value.a, vcvtq_f32_s32(low.a), minimum.a);
      value.b = vfmsq_f32(value.b, vcvtq_f32_s32(low.b), minimum.b);
    }
    acc[c].a = vfmaq_n_f32(acc[c].a, value.a, x[c]->d);
    acc[c].b = vfmaq_n_f32(acc[c].b, value.b, x[c]->d);
  }
}

static inline __attribute__((always_inline)) void unit_tile(const struct product *p, size_t panel, size_t first, int columns, bool cold,
                                                            enum pack pack) {
  const struct weight *w = p->job->w;
  const size_t bytes = pack_unit_bytes(pack);
  struct int_acc acc[2][UNIT_COLUMNS];
  for (int half = 0; half < 2; half++) {
    const unsigned char *unit = w->data + panel * w->panel_bytes;
    const struct act_k8 *x[UNIT_COLUMNS];
    for (int c = 0; c < columns; c++) x[c] = linear_units(p, first + (size_t)c), acc[half][c].a = acc[half][c].b = vdupq_n_f32(0);
    for (size_t done = 0; done < w->n_blocks; done += UNIT_BLOCKS, unit += bytes) {
      const size_t left = w->n_blocks - done;
      for (size_t at = 0; cold && half == 0 && at < bytes; at += 64) v16_prefetch(unit + INT_AHEAD + at);
      unit_join(acc[half], unit, left < UNIT_BLOCKS ? left : UNIT_BLOCKS, half, x, columns, pack);
      for (int c = 0; c < columns; c++) x[c]++;
    }
  }
  for (int c = 0; c < columns; c++) linear_put(p, panel, first + (size_t)c, (v16){acc[0][c].a, acc[0][c].b, acc[1][c].a, acc[1][c].b});
}
