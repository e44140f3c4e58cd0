/* plan: what a model's weights take in memory, from its tensor list alone; see arch.h. SPDX-License-Identifier: Apache-2.0
 * The figures are those that loading comes to (test_tiny_models compares them), but for GPTQ, AWQ, FP8 and the like, where they are
 * bounds: which layout such a matrix gets depends on its scales. */
#include "model/arch.h"

static uint64_t added(uint64_t a, uint64_t b) {
  uint64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint64_t times(uint64_t a, uint64_t b) {
  uint64_t product;
  return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

static bool ends(const struct file_tensor *t, const char *end) { return slice_ends(t->name, slice_cstr(end)); }

/* Tensors that files carry beside the model. */
static bool is_left_out(const struct file_tensor *t, const struct model_info *info) {
  if (info->tied_head && (ends(t, "lm_head.weight") || slice_eq(t->name, SLICE("output.weight")))) return true;
  if (info->task == MODEL_EMBED && (ends(t, "pooler.dense.weight") || ends(t, "pooler.dense.bias"))) return true;
  return ends(t, "rotary_emb.inv_freq") || ends(t, "position_ids") || slice_eq(t->name, SLICE("rope_freqs.weight"));
}

/* Tables that are added to the embeddings stay fp32, unpacked. */
static bool is_table(const struct file_tensor *t) {
  return ends(t, "position_embeddings.weight") || ends(t, "token_type_embeddings.weight") || ends(t, "wpe.weight") ||
         ends(t, "position_embd.weight") || ends(t, "token_types.weight");
}

static bool is_router(const struct file_tensor *t) {
  return ends(t, ".ffn_gate_inp.weight") || ends(t, ".block_sparse_moe.gate.weight") || ends(t, ".mlp.gate.weight") ||
         ends(t, ".ffn.router.layer.weight");
}

/* Several matrices in one tensor: how many, and the shape of each. */
struct stack {
  uint64_t n, rows, columns;
};

static struct stack stack_of(const struct file_tensor *t, const struct model_info *info) {
  uint64_t last = t->shape[t->rank - 1];
  struct stack s = {1, last ? t->n_elements / last : 0, last};
  static const char *const parts[] = {"w1", "v1", "w2", "w1_weight", "v1_weight", "w2_weight"};
  bool dbrx_experts = false;
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
    struct slice base = slice_make(t->name.data, t->name.len - (slice_ends(t->name, slice_cstr(parts[i])) ? strlen(parts[i]) : 0));
    dbrx_experts = dbrx_experts || slice_ends(base, SLICE(".ffn.experts.mlp."));
  }
  if (t->rank == 3 || dbrx_experts) s.n = info->n_experts ? info->n_experts : 1;
  bool gate_up = ends(t, ".mlp.experts.gate_up_proj") || ends(t, ".ffn_gate_up_exps.weight"), up_gate = ends(t, ".mlp.up_gate_proj.weight");
  if (gate_up || up_gate) s.n *= 2;
  s.rows /= s.n;
  if (ends(t, ".ffn.experts.mlp.w2") || ends(t, ".ffn.experts.mlp.w2_weight")) { /* turned when packed */
    s.columns = s.rows;
    s.rows = last;
  }
  return s;
}

static uint64_t memory_of(const struct file_tensor *t, const struct checkpoint *c, const struct model_info *info, enum compute_mode mode) {
  uint64_t parameters = checkpoint_parameters(c, t);
  if (parameters == 0 || is_left_out(t, info)) return 0;
  bool is_float8 = t->dtype == DTYPE_F8_E4M3 || t->dtype == DTYPE_F8_E5M2;
  if (checkpoint_method(c) && t->rank >= 2 && t->dtype >= DTYPE_I8 && !is_float8) /* blocks of 32 bytes and an fp32 scale */
    return mode == COMPUTE_F32 ? times(parameters, 4) : added(parameters, parameters / 8);
  if (t->rank < 2 || is_table(t)) return times(t->n_elements, sizeof(float));
  struct stack s = stack_of(t, info);
  return times(s.n, is_router(t) ? weight_packed_bytes(COMPUTE_F32, DTYPE_F32, s.rows, s.columns)
                                 : weight_packed_bytes(mode, is_float8 ? DTYPE_F32 : t->dtype, s.rows, s.columns));
}

uint64_t plan_memory_bytes(const struct file_model *file, const struct checkpoint *c, const struct model_info *info,
                           enum compute_mode mode) {
  bool gguf = file->container == FILE_GGUF;
  size_t n = gguf ? gguf_n_tensors(file->gguf) : safetensors_n_tensors(file->tensors);
  uint64_t sum = 0;
  for (size_t i = 0; i < n; i++)
    sum = added(sum, memory_of(gguf ? gguf_tensor_at(file->gguf, i) : safetensors_tensor_at(file->tensors, i), c, info, mode));
  return sum;
}
