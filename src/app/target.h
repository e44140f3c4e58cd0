/* target: which type a tensor of a GGUF file gets when a model is made smaller. SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_TARGET_H
#define APP_TARGET_H
#include "app/convert.h"

struct target {
  const char *word;           /* as in --to */
  enum dtype dtype, fallback; /* fallback: for rows that do not fill blocks of 256 */
  uint32_t file_type;         /* general.file_type */
};

/* All that --to knows, as one text: "q8_0|q6_k|…". */
#define TARGET_CHOICES "q8_0|q6_k|q5_k|q5_1|q5_0|q4_k|q4_1|q4_0|f16|bf16|f32"

const struct target *target_find(const char *word); /* NULL when there is none */
enum dtype target_type(const struct target *target, const struct convert_tensor *t);
bool target_stays_f32(const struct convert_tensor *t); /* norms, biases, routers, position and type tables */

#endif
