/* Tests of base/dtype: every block type against published values. SPDX-License-Identifier: Apache-2.0
 * The golden blocks are made by a generator that is written down in doc/format/blocks.md; expected values are those of the
 * reference conversion. */
#include <math.h>
#include <openssl/sha.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/dtype.h"

struct golden {
  enum dtype type;
  int d_at, m_at; /* where the fp16 scales lie in a block; -1: none */
  float first[4], last;
  double sum;
  const char *sha; /* first 12 hex digits over the fp32 outputs, −0 as +0 */
};

static const struct golden goldens[] = {
    {DTYPE_Q4_0, 0, -1, {-.21875f, -.125f, .125f, .1875f}, -.09375f, -.40625, "ce54b7b0d892"},
    {DTYPE_Q4_1, 0, 2, {.3828125f, .4453125f, .1953125f, .4453125f}, .2578125f, 8.34375, "95df4835c5fb"},
    {DTYPE_Q5_0, 0, -1, {.1875f, -.0625f, -.375f, -.40625f}, -.46875f, -1.71875, "bd02e92e22cd"},
    {DTYPE_Q5_1, 0, 2, {.1328125f, .1015625f, .5078125f, .8828125f}, .6640625f, 14.5625, "db64fcf03fa0"},
    {DTYPE_Q8_0, 0, -1, {-3.96875f, -2.375f, .375f, 2.9375f}, -.15625f, -6.09375, "e4988f083a04"},
    {DTYPE_Q2_K, 80, 82, {-.0234375f, 1.1015625f, .7265625f, -.0234375f}, .5703125f, 93.96875, "0923861dd94c"},
    {DTYPE_Q3_K, 108, -1, {.65625f, .21875f, -.65625f, .875f}, 3.375f, 26.78125, "78e81e17de43"},
    {DTYPE_Q4_K, 0, 2, {4.46875f, 1.09375f, 5.21875f, 2.96875f}, 11.8515625f, 1424.71875, "ea046bd00bbd"},
    {DTYPE_Q5_K, 0, 2, {2.59375f, 11.59375f, 1.46875f, 1.46875f}, 6.4765625f, 2990.84375, "b9535e34ab46"},
    {DTYPE_Q6_K, 208, -1, {-35.875f, 2.5625f, 39.71875f, 15.375f}, 0, -1617.53125, "419649963134"},
    {DTYPE_Q8_K, -1, -1, {.1476f, 1.1561999f, -.7134f, -1.4022f}, -1.2054f, 5.1906, "eb2aa444c8b4"},
    {DTYPE_IQ4_NL, 0, -1, {-3.25f, -1.53125f, 1.65625f, 2.78125f}, -1.09375f, -5.09375, "e6a854f95058"},
    {DTYPE_IQ4_XS, 0, -1, {6.125f, 8.125f, 15.875f, -6.625f}, 9.5f, -148.5, "51554cb5f803"},
    {DTYPE_MXFP4, -1, -1, {-.03125f, .00390625f, .015625f, -.015625f}, -.0234375f, -.0390625, "b40477505e1b"},
};

static void make_block(const struct golden *g, unsigned char *block, size_t size) {
  uint32_t x = 1;
  for (size_t i = 0; i < size; i++) {
    x = 1664525u * x + 1013904223u;
    block[i] = (unsigned char)(x >> 24);
  }
  const uint16_t d = dtype_f32_to_f16(0.03125f), m = dtype_f32_to_f16(0.0078125f);
  const float q8_k_d = 0.0123f;
  if (g->d_at >= 0) memcpy(block + g->d_at, &d, 2);
  if (g->m_at >= 0) memcpy(block + g->m_at, &m, 2);
  if (g->type == DTYPE_Q8_K) memcpy(block, &q8_k_d, 4);
  if (g->type == DTYPE_MXFP4) block[0] = 120;
}

static void hash_text(const float *y, size_t n, char out[13]) {
  float plain[256];
  for (size_t i = 0; i < n; i++) plain[i] = y[i] == 0 ? 0.0f : y[i];
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256((const unsigned char *)plain, n * sizeof plain[0], digest);
  for (int i = 0; i < 6; i++) sprintf(out + 2 * i, "%02x", digest[i]);
}

static void golden_blocks_convert_bit_for_bit(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof goldens / sizeof goldens[0]; i++) {
    const struct golden *g = &goldens[i];
    const struct dtype_info *info = dtype_info(g->type);
    unsigned char raw[301], *block = raw + 1; /* odd address: nothing may depend on alignment */
    float y[256];
    char hash[13];
    make_block(g, block, info->block_bytes);
    assert_true(dtype_to_f32(g->type, block, y, info->block_elements));
    double sum = 0;
    for (unsigned e = 0; e < info->block_elements; e++) sum += y[e];
    hash_text(y, info->block_elements, hash);
    assert_string_equal(hash, g->sha);
    for (int e = 0; e < 4; e++) assert_float_equal(y[e], g->first[e], 1e-6);
    assert_float_equal(y[info->block_elements - 1], g->last, 1e-6);
    assert_true(fabs(sum - g->sum) < 1e-4);
  }
}

/* TQ2_0 has no published vector: the formula is simple enough to state the expected values here. */
static void tq2_0_counts_down_by_two_bits(void **state) {
  (void)state;
  unsigned char block[66] = {0};
  float y[256];
  const uint16_t d = dtype_f32_to_f16(0.5f);
  memcpy(block + 64, &d, 2);
  block[0] = 0xE4;  /* planes 0, 1, 2, 3 of element 0 */
  block[63] = 0x1B; /* planes 3, 2, 1, 0 of element 31 in the second half */
  assert_true(dtype_to_f32(DTYPE_TQ2_0, block, y, 256));
  for (int plane = 0; plane < 4; plane++) {
    assert_true(y[32 * plane] == 0.5f * (float)(plane - 1));
    assert_true(y[128 + 32 * plane + 31] == 0.5f * (float)(2 - plane));
  }
  assert_true(y[1] == -0.5f);
}

static void mxfp4_extreme_exponents_stay_exact(void **state) {
  (void)state;
  unsigned char block[17] = {0};
  float y[32];
  block[1] = 0x71; /* element 0: 1, element 16: 12 */
  for (int e = 0; e < 256; e++) {
    block[0] = (unsigned char)e;
    assert_true(dtype_to_f32(DTYPE_MXFP4, block, y, 32));
    assert_true(y[0] == (float)ldexp(1.0, e - 128));
    assert_true(y[16] == (float)ldexp(12.0, e - 128));
  }
}

static uint32_t bits_of(float f) {
  uint32_t bits;
  memcpy(&bits, &f, 4);
  return bits;
}

static float float_of(uint32_t bits) {
  float f;
  memcpy(&f, &bits, 4);
  return f;
}

static double half_value(unsigned h) {
  unsigned exponent = h >> 10 & 31, mantissa = h & 1023;
  double v = exponent ? ldexp(1024.0 + mantissa, (int)exponent - 25) : ldexp(mantissa, -24);
  return h & 0x8000 ? -v : v;
}

static void every_half_reads_exactly_and_comes_back(void **state) {
  (void)state;
  for (unsigned h = 0; h < 0x10000; h++) {
    float f = dtype_f16_to_f32((uint16_t)h);
    if ((h & 0x7C00) == 0x7C00) {
      assert_true((h & 0x3FF) ? isnan(f) != 0 : isinf(f) != 0);
      assert_int_equal(dtype_f32_to_f16(f), (h & 0x3FF) ? h | 0x200 : h);
      continue;
    }
    assert_true((double)f == half_value(h));
    assert_int_equal(bits_of(f) >> 31, h >> 15);
    assert_int_equal(dtype_f32_to_f16(f), h);
  }
}

static void f32_rounds_to_the_nearest_half_with_ties_to_even(void **state) {
  (void)state;
  for (unsigned h = 0; h < 0x7BFF; h++) { /* the middle between each half and the next, and its two neighbours */
    float middle = (float)((half_value(h) + half_value(h + 1)) / 2);
    assert_int_equal(dtype_f32_to_f16(middle), h & 1 ? h + 1 : h);
    assert_int_equal(dtype_f32_to_f16(nextafterf(middle, 0)), h);
    assert_int_equal(dtype_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
    assert_int_equal(dtype_f32_to_f16(-middle), (h & 1 ? h + 1 : h) | 0x8000);
  }
  assert_int_equal(dtype_f32_to_f16(65519.996f), 0x7BFF);
  assert_int_equal(dtype_f32_to_f16(65520.0f), 0x7C00);
  assert_int_equal(dtype_f32_to_f16(-1e30f), 0xFC00);
  assert_int_equal(dtype_f32_to_f16(float_of(0x00000001)), 0);
  assert_int_equal(dtype_f32_to_f16(-0.0f), 0x8000);
}

static void bf16_rounds_to_nearest_even_and_keeps_nan(void **state) {
  (void)state;
  for (unsigned h = 0; h < 0x10000; h++) {
    float f = dtype_bf16_to_f32((uint16_t)h);
    assert_int_equal(bits_of(f), h << 16);
    if (!isnan(f)) assert_int_equal(dtype_f32_to_bf16(f), h);
    else assert_int_equal(dtype_f32_to_bf16(f), h | 0x40);
  }
  assert_int_equal(dtype_f32_to_bf16(float_of(0x3F808000)), 0x3F80);
  assert_int_equal(dtype_f32_to_bf16(float_of(0x3F818000)), 0x3F82);
  assert_int_equal(dtype_f32_to_bf16(float_of(0x3F808001)), 0x3F81);
  assert_int_equal(dtype_f32_to_bf16(float_of(0x7F7FFFFF)), 0x7F80);
  assert_true(isnan(dtype_bf16_to_f32(dtype_f32_to_bf16(float_of(0x7F800001)))));
}

static void eight_bit_floats_follow_their_tables(void **state) {
  (void)state;
  for (unsigned b = 0; b < 256; b++) {
    int exponent = (int)(b >> 3 & 15), mantissa = (int)(b & 7);
    float e4m3 = dtype_f8_e4m3_to_f32((uint8_t)b), sign = b & 128 ? -1.0f : 1.0f;
    if ((b & 127) == 127) assert_true(isnan(e4m3));
    else if (exponent) assert_true(e4m3 == sign * (float)ldexp(8 + mantissa, exponent - 10));
    else assert_true(e4m3 == sign * (float)ldexp(mantissa, -9));
    float e5m2 = dtype_f8_e5m2_to_f32((uint8_t)b); /* the upper half of a half */
    assert_int_equal(bits_of(e5m2), bits_of(dtype_f16_to_f32((uint16_t)(b << 8))));
  }
  assert_true(dtype_f8_e4m3_to_f32(0x7E) == 448.0f);
  assert_true(dtype_f8_e5m2_to_f32(0x7B) == 57344.0f);
}

static void plain_types_convert(void **state) {
  (void)state;
  const double f64[2] = {0.1, -1e300};
  const int64_t i64[2] = {-(1LL << 40) - 1, 7};
  const uint64_t u64[1] = {UINT64_MAX};
  const int16_t i16[2] = {-32768, 5};
  const uint16_t bf16[1] = {0x4049};
  float y[2];
  assert_true(dtype_to_f32(DTYPE_F64, f64, y, 2));
  assert_true(y[0] == 0.1f && y[1] == -INFINITY);
  assert_true(dtype_to_f32(DTYPE_I64, i64, y, 2));
  assert_true(y[0] == -1099511627776.0f && y[1] == 7.0f);
  assert_true(dtype_to_f32(DTYPE_U64, u64, y, 1));
  assert_true(y[0] == 18446744073709551616.0f);
  assert_true(dtype_to_f32(DTYPE_I16, i16, y, 2));
  assert_true(y[0] == -32768.0f && y[1] == 5.0f);
  assert_true(dtype_to_f32(DTYPE_BF16, bf16, y, 1));
  assert_true(y[0] == 3.140625f);
  assert_true(dtype_to_f32(DTYPE_BOOL, "\1\0", y, 2));
  assert_true(y[0] == 1.0f && y[1] == 0.0f);
  assert_true(dtype_to_f32(DTYPE_I8, "\xFF\x01", y, 2));
  assert_true(y[0] == -1.0f && y[1] == 1.0f);
}

static void every_type_has_a_row_and_a_conversion(void **state) {
  (void)state;
  for (int t = 0; t < DTYPE_COUNT; t++) {
    const struct dtype_info *info = dtype_info((enum dtype)t);
    unsigned char zeros[300] = {0};
    float y[256];
    assert_non_null(info->name);
    assert_true(info->block_elements >= 1 && info->block_elements <= 256 && info->block_bytes >= 1 && info->block_bytes <= 300);
    assert_true(dtype_to_f32((enum dtype)t, zeros, y, info->block_elements));
    assert_true(dtype_to_f32((enum dtype)t, zeros, y, 0));
    for (int u = 0; u < t; u++) assert_string_not_equal(info->name, dtype_info((enum dtype)u)->name);
  }
}

static void byte_counts_refuse_odd_blocks_and_overflow(void **state) {
  (void)state;
  uint64_t bytes = 99;
  assert_true(dtype_bytes(DTYPE_Q4_1, 64, &bytes));
  assert_int_equal(bytes, 40);
  assert_false(dtype_bytes(DTYPE_Q4_1, 33, &bytes));
  assert_false(dtype_bytes(DTYPE_Q6_K, 128, &bytes));
  assert_false(dtype_bytes(DTYPE_F32, UINT64_MAX / 2, &bytes));
  assert_int_equal(bytes, 40);
  assert_true(dtype_bytes(DTYPE_F32, UINT64_MAX / 4, &bytes));
  assert_true(dtype_bytes(DTYPE_Q8_0, 0, &bytes));
  assert_int_equal(bytes, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(golden_blocks_convert_bit_for_bit),
      cmocka_unit_test(tq2_0_counts_down_by_two_bits),
      cmocka_unit_test(mxfp4_extreme_exponents_stay_exact),
      cmocka_unit_test(every_half_reads_exactly_and_comes_back),
      cmocka_unit_test(f32_rounds_to_the_nearest_half_with_ties_to_even),
      cmocka_unit_test(bf16_rounds_to_nearest_even_and_keeps_nan),
      cmocka_unit_test(eight_bit_floats_follow_their_tables),
      cmocka_unit_test(plain_types_convert),
      cmocka_unit_test(every_type_has_a_row_and_a_conversion),
      cmocka_unit_test(byte_counts_refuse_odd_blocks_and_overflow),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
