/* linear_neon: products of integer panels with block activations. Included by neon.c and by dotprod.c. SPDX-License-Identifier: Apache-2.0
 *
 * Quants stored as q + 128 become q again, so all are signed bytes and no offset of 128 is needed. A step multiplies four rows by four k:
 * one `sdot` where the machine has it, else two widening multiplications and two pairwise sums. 16-bit activations are two signed bytes,
 * whose sums are joined as 256 · high + low. Integer sums are exact, so the bits are those of ref_linear.c. A panel is two halves of
 * 8 rows; a register tile is 8 rows × INT_COLUMNS columns (half of that with 16-bit activations). */

enum { INT_COLUMNS = 4, INT_WIDE_COLUMNS = 2, INT_HALVES = false, INT_AHEAD = 2048 };

#if defined(__ARM_FEATURE_DOTPROD)
#define int_dot(sum, w, x, lane) vdotq_laneq_s32(sum, w, x, lane)
#define int_dot_any int_dot
#else
/* Sums of two products within 16 bits: one factor is never −128. */
static inline __attribute__((always_inline)) int32x4_t int_dot(int32x4_t sum, int8x16_t w, int8x16_t x, const int lane) {
  int8x8_t four = vreinterpret_s8_s32(vdup_laneq_s32(vreinterpretq_s32_s8(x), lane));
  int16x8_t low = vmull_s8(vget_low_s8(w), four), high = vmull_s8(vget_high_s8(w), four);
  return vpadalq_s16(sum, vpaddq_s16(low, high));
}
/* Any bytes. */
static inline __attribute__((always_inline)) int32x4_t int_dot_any(int32x4_t sum, int8x16_t w, int8x16_t x, const int lane) {
  int8x8_t four = vreinterpret_s8_s32(vdup_laneq_s32(vreinterpretq_s32_s8(x), lane));
  int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(w), four)), high = vpaddlq_s16(vmull_s8(vget_high_s8(w), four));
  return vaddq_s32(sum, vpaddq_s32(low, high));
}
#endif

/* The integer sums of one column: rows 0 … 3 and 4 … 7 of the half; low ones only with 16-bit activations. */
struct int_sum {
  int32x4_t a, b, low_a, low_b;
};
/* The values of one half of a block of one column. */
struct int_values {
  int8x16_t q, low;
};
struct int_acc {
  float32x4_t a, b;
};

static inline __attribute__((always_inline)) struct int_acc int_load_scale(const unsigned char *at, int half, int bytes) {
  if (bytes == 2) {
    const uint16_t *p = (const uint16_t *)(const void *)at + 8 * half;
    return (struct int_acc){v16_half4(p), v16_half4(p + 4)};
  }
  const float *p = (const float *)(const void *)at + 8 * half;
  return (struct int_acc){vld1q_f32(p), vld1q_f32(p + 4)};
}

static inline __attribute__((always_inline)) struct int_acc int_load_sub(const unsigned char *at, int half) {
  int16x8_t v = vmovl_s8(vld1_s8((const int8_t *)at + 8 * half));
  return (struct int_acc){vcvtq_f32_s32(vmovl_s16(vget_low_s16(v))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(v)))};
}

/* The scales, or the minimums, of 8 rows of a part of the unit's block n. */
static inline __attribute__((always_inline)) struct int_acc int_scale(const unsigned char *unit, size_t n, int part, int half, bool minimum,
                                                                      enum pack pack) {
  const struct pack_form form = pack_form(pack);
  struct int_acc scale = int_load_scale(unit + (minimum ? pack_scales_bytes(pack) : 0), half, form.scale_bytes);
  if (!form.sub) return scale;
  if (minimum) scale = (struct int_acc){vnegq_f32(scale.a), vnegq_f32(scale.b)};
  struct int_acc sub = int_load_sub(unit + pack_sub_at(pack, minimum, n, (size_t)part), half);
  return (struct int_acc){vmulq_f32(scale.a, sub.a), vmulq_f32(scale.b, sub.b)};
}

/* Bytes from `at` on: k = 4i … 4i+3 of four rows. */
static inline __attribute__((always_inline)) int8x16_t int_quants(const unsigned char *at, int i, enum pack pack) {
  const struct pack_form form = pack_form(pack);
  if (form.bits == 8) {
    uint8x16_t v = vld1q_u8(at + 64 * i);
    return vreinterpretq_s8_u8(form.offset == 128 ? veorq_u8(v, vdupq_n_u8(0x80)) : v);
  }
  uint8x16_t v = vld1q_u8(at + 64 * (i & 3));
  v = i < 4 ? vandq_u8(v, vdupq_n_u8(15)) : vshrq_n_u8(v, 4);
  if (!form.high) return vreinterpretq_s8_u8(v);
  uint8x16_t high = vshlq_u8(vld1q_u8(at + 256 + 64 * (i * form.high / 8)), vdupq_n_s8((int8_t)(4 - i * form.high % 8)));
  return vreinterpretq_s8_u8(vorrq_u8(v, vandq_u8(high, vdupq_n_u8((uint8_t)(((1 << form.high) - 1) << 4)))));
}

/* k = 4i … 4i+3 join the sums; lane is i % 4. */
static inline __attribute__((always_inline)) void int_step(struct int_sum *s, const unsigned char *quants, const struct int_values *x,
                                                           int i, const int lane, int columns, enum pack pack, bool wide) {
  int8x16_t a = int_quants(quants, i, pack), b = int_quants(quants + 16, i, pack);
  for (int c = 0; c < columns; c++) {
    s[c].a = int_dot(s[c].a, a, x[c].q, lane);
    s[c].b = int_dot(s[c].b, b, x[c].q, lane);
    if (!wide) continue;
    s[c].low_a = int_dot_any(s[c].low_a, a, x[c].low, lane);
    s[c].low_b = int_dot_any(s[c].low_b, b, x[c].low, lane);
  }
}

/* Half `part` of the block: k = 16 part … 16 part + 15, whose activations are `values`. */
static inline __attribute__((always_inline)) void int_add_half(struct int_sum *s, const unsigned char *quants,
                                                               const struct int_values *values, int part, int columns, enum pack pack,
                                                               bool wide) {
  int_step(s, quants, values, 4 * part, 0, columns, pack, wide);
  int_step(s, quants, values, 4 * part + 1, 1, columns, pack, wide);
  int_step(s, quants, values, 4 * part + 2, 2, columns, pack, wide);
  int_step(s, quants, values, 4 * part + 3, 3, columns, pack, wide);
}

static inline __attribute__((always_inline)) void int_add(struct int_sum *s, const unsigned char *quants, const unsigned char *const *x,
                                                          size_t at, int part, int columns, enum pack pack, bool wide) {
  struct int_values values[INT_COLUMNS];
  for (int c = 0; c < columns; c++) {
    const struct act16 *a = (const void *)(x[c] + at);
    values[c].q = vld1q_s8((wide ? a->high : ((const struct act8 *)(const void *)(x[c] + at))->q) + 16 * part);
    if (wide) values[c].low = vld1q_s8(a->low + 16 * part);
  }
  int_add_half(s, quants, values, part, columns, pack, wide);
}

/* One part of the unit's block n of all columns joins the accumulators. */
static inline __attribute__((always_inline)) void int_join(struct int_acc *acc, const unsigned char *unit, size_t n, int half,
                                                           const unsigned char *const *x, size_t at, int columns, int part, enum pack pack,
                                                           bool wide) {
  const struct pack_form form = pack_form(pack);
  const unsigned char *quants = unit + pack_quants_at(pack, n) + 32 * (size_t)half;
  struct int_sum s[INT_COLUMNS];
  for (int c = 0; c < columns; c++) s[c].a = s[c].b = s[c].low_a = s[c].low_b = vdupq_n_s32(0);
  int_add(s, quants, x, at, part, columns, pack, wide);
  if (form.parts == 1) int_add(s, quants, x, at, 1, columns, pack, wide);
  const struct int_acc scale = int_scale(unit, n, part, half, false, pack);
  const struct int_acc minimum = form.minimum ? int_scale(unit, n, part, half, true, pack) : scale;
  for (int c = 0; c < columns; c++) {
    const struct act_terms *terms = linear_terms(x[c] + at, wide);
    const int32_t bias_8 = linear_bias_8(x[c] + at, part, form.parts, wide);
    int32x4_t sum_a = wide ? vaddq_s32(vshlq_n_s32(s[c].a, 8), s[c].low_a) : s[c].a;
    int32x4_t sum_b = wide ? vaddq_s32(vshlq_n_s32(s[c].b, 8), s[c].low_b) : s[c].b;
    if (form.offset && form.offset < 128) {
      int32x4_t start = vdupq_n_s32(bias_8 * form.offset / 8);
      sum_a = vaddq_s32(sum_a, start), sum_b = vaddq_s32(sum_b, start);
    }
    acc[c].a = vfmaq_f32(acc[c].a, vmulq_n_f32(vcvtq_f32_s32(sum_a), terms->d), scale.a);
    acc[c].b = vfmaq_f32(acc[c].b, vmulq_n_f32(vcvtq_f32_s32(sum_b), terms->d), scale.b);
    if (!form.minimum) continue;
    const float ds = linear_ds(x[c] + at, part, form.parts, wide);
    acc[c].a = vfmaq_n_f32(acc[c].a, minimum.a, ds);
    acc[c].b = vfmaq_n_f32(acc[c].b, minimum.b, ds);
  }
}

static inline __attribute__((always_inline)) void int_tile(const struct product *p, size_t panel, size_t first, int columns, bool cold,
                                                           enum pack pack, bool wide) {
  const struct weight *w = p->job->w;
  const size_t size = linear_block_bytes(wide), lines = (pack_unit_bytes(pack) / pack_unit_blocks(pack) + 63) / 64;
  const unsigned char *x[INT_COLUMNS];
  struct int_acc acc[2][INT_COLUMNS];
  for (int c = 0; c < columns; c++) {
    x[c] = linear_blocks(p, first + (size_t)c, wide);
    acc[0][c].a = acc[0][c].b = acc[1][c].a = acc[1][c].b = vdupq_n_f32(0);
  }
  for (int half = 0; half < 2; half++) {
    const unsigned char *unit = w->data + panel * w->panel_bytes;
    for (size_t n = 0; n < w->n_blocks; unit += pack_unit_bytes(pack))
      for (size_t i = 0; i < pack_unit_blocks(pack) && n < w->n_blocks; i++, n++) {
        if (cold && half == 0)
          for (size_t line = 0; line < lines; line++) v16_prefetch(unit + INT_AHEAD + (i * lines + line) * 64);
        for (int part = 0; part < pack_form(pack).parts; part++) int_join(acc[half], unit, i, half, x, n * size, columns, part, pack, wide);
      }
  }
  for (int c = 0; c < columns; c++) linear_put(p, panel, first + (size_t)c, (v16){acc[0][c].a, acc[0][c].b, acc[1][c].a, acc[1][c].b});
}

/* ---- the limits of the machine ---- */

/* Eight independent sums, so that the latency of one does not count. */
static double dot_rounds(size_t rounds) {
  int32x4_t s[8];
  int8x16_t w = vdupq_n_s8(3);
  for (int i = 0; i < 8; i++) s[i] = vdupq_n_s32(0);
  for (size_t n = 0; n < rounds; n++)
    for (int i = 0; i < 8; i++) {
      s[i] = int_dot(s[i], w, w, 0);
      __asm__ volatile("" : "+w"(s[i])); /* each round is needed */
    }
  return (double)rounds * 8 * 32;
}

static uint64_t read_all(const void *memory, size_t bytes) {
  const unsigned char *p = memory;
  uint8x16_t lanes[4] = {vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0)};
  for (size_t i = 0; i + 64 <= bytes; i += 64) {
    v16_prefetch(p + i + INT_AHEAD);
    for (size_t k = 0; k < 4; k++) lanes[k] = veorq_u8(lanes[k], vld1q_u8(p + i + 16 * k));
  }
  uint64x2_t all = vreinterpretq_u64_u8(veorq_u8(veorq_u8(lanes[0], lanes[1]), veorq_u8(lanes[2], lanes[3])));
  return vgetq_lane_u64(all, 0) ^ vgetq_lane_u64(all, 1);
}
