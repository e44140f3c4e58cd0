/* ref: every kernel in plain C, written to be read. Private to the room. SPDX-License-Identifier: Apache-2.0 */
#ifndef TENSOR_REF_H
#define TENSOR_REF_H
#include "tensor/kernels.h"

void ref_linear_f32(const struct product *p, size_t panel_begin, size_t panel_end);
void ref_linear_i8(const struct product *p, size_t panel_begin, size_t panel_end);
void ref_linear_k8(const struct product *p, size_t panel_begin, size_t panel_end);
void ref_linear_i16(const struct product *p, size_t panel_begin, size_t panel_end);
void ref_linear_i14(const struct product *p, size_t panel_begin, size_t panel_end);
void ref_attention(const struct attention_tile *t);
void ref_quantize_i8(struct act8 *to, const float *x, size_t n);
void ref_quantize_k8(struct act_k8 *to, const float *x, size_t n);
void ref_quantize_i16(struct act16 *to, const float *x, size_t n);
void ref_quantize_i14(struct act14 *to, const float *x, size_t n);
void ref_rmsnorm(float *y, const float *x, const float *gain, float eps, size_t n);
void ref_layernorm(float *y, const float *x, const float *add, const float *gain, const float *bias, float eps, size_t n);
void ref_silu_mul(float *y, const float *gate, const float *up, size_t n);
void ref_gelu(float *y, const float *x, size_t n);
void ref_rope(float *x, const float *cos, const float *sin, size_t n_heads, size_t head_dim);
void ref_kv_store(const struct kv_layout *kv, unsigned char *page_layer, size_t slot, const float *k, const float *v);
float ref_max(const float *x, size_t n);
float ref_sum_exp(const float *x, float max, size_t n);
float ref_softmax_weights(float *y, const float *x, float scale, size_t n);
double ref_dot_rounds(size_t rounds);
uint64_t ref_read_all(const void *memory, size_t bytes);

#endif
