/* ref: the table of plain C kernels. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/ref/ref.h"

void ref_fill(struct kernels *k) {
  *k = (struct kernels){
      .name = "ref",
      .linear_f32 = ref_linear_f32,
      .linear_i8 = ref_linear_i8,
      .linear_k8 = ref_linear_k8,
      .linear_i16 = ref_linear_i16,
      .linear_i14 = ref_linear_i14,
      .attention = ref_attention,
      .quantize_i8 = ref_quantize_i8,
      .quantize_k8 = ref_quantize_k8,
      .quantize_i16 = ref_quantize_i16,
      .quantize_i14 = ref_quantize_i14,
      .rmsnorm = ref_rmsnorm,
      .layernorm = ref_layernorm,
      .silu_mul = ref_silu_mul,
      .gelu = ref_gelu,
      .rope = ref_rope,
      .kv_store = ref_kv_store,
      .softmax_weights = ref_softmax_weights,
      .sum_exp = ref_sum_exp,
      .max = ref_max,
      .dot_rounds = ref_dot_rounds,
      .read_all = ref_read_all,
  };
}

double ref_dot_rounds(size_t rounds) {
  enum { LANES = 64 };
  int8_t w[LANES], x[LANES];
  for (int i = 0; i < LANES; i++) w[i] = (int8_t)i, x[i] = (int8_t)(i + 1);
  int32_t sum = 0;
  for (size_t n = 0; n < rounds; n++) {
    for (int i = 0; i < LANES; i++) sum += w[i] * x[i];
    __asm__ volatile("" : "+r"(sum) : : "memory"); /* each round is needed */
  }
  return (double)rounds * LANES * 2;
}

uint64_t ref_read_all(const void *memory, size_t bytes) {
  const uint64_t *p = memory;
  uint64_t all = 0;
  for (size_t i = 0; i < bytes / sizeof *p; i++) all ^= p[i];
  return all;
}
