/* math: elementary functions of our own, so that their bits are the same on every machine. SPDX-License-Identifier: Apache-2.0
 *
 * exp and erf are fp32 polynomials (minimax fits of our own, errors below 1e-7) whose every step is one rounding that the vector
 * variants repeat. log, tanh, sin and cos are computed in double and rounded once. */
#include <math.h>
#include <string.h>

#include "tensor/polynomials.h"
#include "tensor/tensor.h"

static float power_of_two(int n) {
  uint32_t bits = (uint32_t)(n + 127) << 23;
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

float tensor_exp(float x) {
  if (x < EXP_LOWEST) return 0;
  if (x > EXP_HIGHEST) return INFINITY;
  float n = rintf(x * EXP_LOG2E);
  float r = fmaf(-n, EXP_LN2_HIGH, x);
  r = fmaf(-n, EXP_LN2_LOW, r);
  float p = EXP_P5;
  p = fmaf(p, r, EXP_P4);
  p = fmaf(p, r, EXP_P3);
  p = fmaf(p, r, EXP_P2);
  p = fmaf(p, r, EXP_P1);
  p = fmaf(p, r, EXP_P0);
  float y = fmaf(p, r * r, r) + 1.0f;
  return y * power_of_two((int)n);
}

static float erf_small(float x) {
  float s = x * x, p = ERF_S6;
  p = fmaf(p, s, ERF_S5);
  p = fmaf(p, s, ERF_S4);
  p = fmaf(p, s, ERF_S3);
  p = fmaf(p, s, ERF_S2);
  p = fmaf(p, s, ERF_S1);
  p = fmaf(p, s, ERF_S0);
  return fmaf(p, x, x);
}

static float erf_big(float t) {
  if (t > ERF_END) t = ERF_END;
  float p = ERF_B8;
  p = fmaf(p, t, ERF_B7);
  p = fmaf(p, t, ERF_B6);
  p = fmaf(p, t, ERF_B5);
  p = fmaf(p, t, ERF_B4);
  p = fmaf(p, t, ERF_B3);
  p = fmaf(p, t, ERF_B2);
  p = fmaf(p, t, ERF_B1);
  p = fmaf(p, t, ERF_B0);
  return 1.0f - tensor_exp(p);
}

float tensor_erf(float x) {
  float t = fabsf(x);
  return t <= 1.0f ? erf_small(x) : copysignf(erf_big(t), x);
}

/* e^x in double for |x| <= 745: halving the argument down to a short series is not needed; the remainder is below 0.35. */
static double exp_double(double x) {
  double n = rint(x * 1.4426950408889634074);
  double r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
  double term = 1, sum = 1;
  for (int i = 1; i <= 16; i++) {
    term = term * r / i;
    sum += term;
  }
  return ldexp(sum, (int)n);
}

float tensor_tanh(float x) {
  double t = fabs((double)x);
  if (t < 1e-4) return x; /* x − x³/3 rounds to x there, or within half an ulp */
  if (t > 20) return copysignf(1.0f, x);
  double e = exp_double(2 * t);
  return copysignf((float)((e - 1) / (e + 1)), x);
}

/* ln x = n ln 2 + 2 atanh((m − 1) / (m + 1)) with m in [√½, √2). */
float tensor_log(float x) {
  if (x <= 0) return x == 0 ? -INFINITY : NAN;
  if (!isfinite(x)) return x;
  int n;
  double m = frexp(x, &n);
  if (m < 0.70710678118654752440) {
    m *= 2;
    n--;
  }
  double z = (m - 1) / (m + 1), s = z * z, sum = 0;
  for (int i = 23; i >= 1; i -= 2) sum = sum * s + 1.0 / i;
  return (float)(n * 0.69314718055994530942 + 2 * z * sum);
}

/* Cody-Waite: π/2 in three parts of which the first two have enough zero bits for exact products with quadrants below 2^21. */
void tensor_sincos(float x, float *ret_sin, float *ret_cos) {
  double n = rint(x * 0.63661977236758134308);
  double r = ((x - n * 1.57079632673412561417e+00) - n * 6.07710050630396597660e-11) - n * 2.02226624879595063154e-21;
  double s = r * r;
  double sine =
      r + r * s * (-1.0 / 6 + s * (1.0 / 120 + s * (-1.0 / 5040 + s * (1.0 / 362880 + s * (-1.0 / 39916800 + s / 6227020800.0)))));
  double cosine = 1 + s * (-0.5 + s * (1.0 / 24 + s * (-1.0 / 720 + s * (1.0 / 40320 + s * (-1.0 / 3628800 + s / 479001600.0)))));
  int quadrant = (int)((long long)n & 3);
  *ret_sin = (float)(quadrant == 0 ? sine : quadrant == 1 ? cosine : quadrant == 2 ? -sine : -cosine);
  *ret_cos = (float)(quadrant == 0 ? cosine : quadrant == 1 ? -sine : quadrant == 2 ? -cosine : sine);
}
