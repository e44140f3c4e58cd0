/* target: see target.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/target.h"

/* By the words of --to; the number is general.file_type. */
static const struct target targets[] = {
    {"q8_0", DTYPE_Q8_0, DTYPE_Q8_0, 7},  {"q6_k", DTYPE_Q6_K, DTYPE_Q8_0, 18}, {"q5_k", DTYPE_Q5_K, DTYPE_Q5_1, 16},
    {"q5_1", DTYPE_Q5_1, DTYPE_Q5_1, 9},  {"q5_0", DTYPE_Q5_0, DTYPE_Q5_0, 8},  {"q4_k", DTYPE_Q4_K, DTYPE_Q5_0, 14},
    {"q4_1", DTYPE_Q4_1, DTYPE_Q4_1, 3},  {"q4_0", DTYPE_Q4_0, DTYPE_Q4_0, 2},  {"f16", DTYPE_F16, DTYPE_F16, 1},
    {"bf16", DTYPE_BF16, DTYPE_BF16, 32}, {"f32", DTYPE_F32, DTYPE_F32, 0},
};

const struct target *target_find(const char *word) {
  for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++)
    if (strcmp(targets[i].word, word) == 0) return &targets[i];
  return NULL;
}

static bool fills(enum dtype type, uint64_t columns) { return columns % dtype_info(type)->block_elements == 0; }

bool target_stays_f32(const struct convert_tensor *t) {
  static const char *const kinds[] = {"_norm.", "ffn_gate_inp", "position_embd", "token_types", "rope_freqs"};
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
    if (strstr(t->name, kinds[i])) return true;
  return t->rank < 2;
}

enum dtype target_type(const struct target *target, const struct convert_tensor *t) {
  bool end = strcmp(t->name, "token_embd.weight") == 0 || strcmp(t->name, "output.weight") == 0;
  if (target_stays_f32(t)) return DTYPE_F32;
  enum dtype type = target->dtype;
  if (end && dtype_info(type)->block_elements > 1) type = DTYPE_Q8_0;
  uint64_t columns = t->shape[t->rank - 1];
  if (!fills(type, columns)) type = target->fallback;
  return fills(type, columns) ? type : DTYPE_F16;
}
