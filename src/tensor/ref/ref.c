/* ref: the table of plain C kernels. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/ref/ref.h"

void ref_fill(struct kernels *k) {
  *k = (struct kernels){
      .name = "ref",
      .linear_f32 = ref_linear_f32,
      .linear_i8 = ref_linear_i8,
      .linear_i16 = ref_linear_i16,
      .attention = ref_attention,
      .quantize_i8 = ref_quantize_i8,
      .quantize_i16 = ref_quantize_i16,
      .rmsnorm = ref_rmsnorm,
      .layernorm = ref_layernorm,
      .silu_mul = ref_silu_mul,
      .gelu = ref_gelu,
      .rope = ref_rope,
      .kv_store = ref_kv_store,
      .softmax_weights = ref_softmax_weights,
      .sum_exp = ref_sum_exp,
      .max = ref_max,
  };
}
