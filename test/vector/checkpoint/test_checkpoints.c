/* test_checkpoints: quantized checkpoints of every form against Hugging Face code on the formulas' weights (make.py), in fp32. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "../reference.h"
#include "base/mem.h"

enum { IDS_MAX = 256 };

static const char *vectors;

/* The largest error over all cases; last_logits: of the last one. */
static float worst_error(const struct reference *c, float *last_logits) {
  struct kv_layout kv = model_kv_layout(c->model);
  void *pages[IDS_MAX / KV_PAGE_TOKENS];
  for (size_t i = 0; i < IDS_MAX / KV_PAGE_TOKENS; i++) pages[i] = mem_aligned(64, kv.page_bytes);
  float *logits = mem_alloc(model_info(c->model)->n_vocab * sizeof *logits), worst = 0;
  for (size_t i = 0; i < js_len(c->cases); i++) {
    int32_t ids[IDS_MAX];
    size_t n = reference_ids(js_get(js_at(c->cases, i), "ids"), ids, IDS_MAX), first = n / 3;
    /* In two chunks, the border anywhere. */
    for (size_t begin = 0; begin < n; begin = begin ? n : (first ? first : n)) {
      size_t end = begin == 0 && first ? first : n;
      struct kv_segment segment = {.n_rows = end - begin, .pos_begin = begin, .pages = pages};
      int32_t last = (int32_t)(end - begin) - 1;
      model_forward(c->model, &(struct model_batch){.n_rows = end - begin,
                                                    .tokens = ids + begin,
                                                    .segments = &segment,
                                                    .n_segments = 1,
                                                    .out_rows = &last,
                                                    .n_out_rows = end == n ? 1 : 0,
                                                    .logits = logits});
      if (end == n) break;
    }
    worst = fmaxf(worst, reference_difference(logits, js_get(js_at(c->cases, i), "logits")));
  }
  if (last_logits) memcpy(last_logits, logits, model_info(c->model)->n_vocab * sizeof *logits);
  for (size_t i = 0; i < IDS_MAX / KV_PAGE_TOKENS; i++) free(pages[i]);
  free(logits);
  return worst;
}

static struct reference open_form(const char *name, enum compute_mode mode, unsigned isa) {
  struct buf folder = {0};
  buf_printf(&folder, "%s/%s", vectors, name);
  struct reference c = reference_open(folder.data, folder.data, mode, KV_F16, isa, 2);
  buf_free(&folder);
  return c;
}

static void check(const char *name) {
  struct reference c = open_form(name, COMPUTE_F32, COMPUTE_ISA_ALL);
  float worst = worst_error(&c, NULL);
  print_message("%s: max abs error of logits %g\n", name, (double)worst);
  assert_true(worst <= 1e-4f);
  reference_close(&c);
}

/* Groups that are scattered over the inputs: with the integers kept the product has the error of the 8-bit activations only. */
static void check_scattered(const char *name) {
  struct reference plain = open_form(name, COMPUTE_F32, COMPUTE_ISA_ALL), fast = open_form(name, COMPUTE_FAST, COMPUTE_ISA_ALL);
  struct reference ref = open_form(name, COMPUTE_FAST, COMPUTE_ISA_REF);
  float logits[2][64] = {{0}}, worst = worst_error(&fast, logits[0]);
  worst_error(&ref, logits[1]);
  print_message("%s: %zu bytes of weights, as fp32 %zu; max abs error of logits %g\n", name, model_weight_bytes(fast.model),
                model_weight_bytes(plain.model), (double)worst);
  assert_true(model_weight_bytes(fast.model) * 2 < model_weight_bytes(plain.model));
  assert_true(worst < 0.3f); /* of up to 5; without scattered groups it is 0.12 */
  assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
  reference_close(&plain);
  reference_close(&fast);
  reference_close(&ref);
}

static void scattered_groups_stay_integers_under_fast(void **state) {
  (void)state;
  check_scattered("gptq-4bit-act-order");
  check_scattered("packed-int4-act-order");
}

static void the_form_gptq_4bit_gives_the_formulas_logits(void **state) { (void)state, check("gptq-4bit"); }
static void the_form_gptq_4bit_act_order_gives_the_formulas_logits(void **state) { (void)state, check("gptq-4bit-act-order"); }
static void the_form_gptq_4bit_v2_asymmetric_gives_the_formulas_logits(void **state) { (void)state, check("gptq-4bit-v2-asymmetric"); }
static void the_form_gptq_8bit_whole_input_gives_the_formulas_logits(void **state) { (void)state, check("gptq-8bit-whole-input"); }
static void the_form_gptq_3bit_gives_the_formulas_logits(void **state) { (void)state, check("gptq-3bit"); }
static void the_form_gptq_2bit_g16_gives_the_formulas_logits(void **state) { (void)state, check("gptq-2bit-g16"); }
static void the_form_awq_gives_the_formulas_logits(void **state) { (void)state, check("awq"); }
static void the_form_awq_first_tools_gives_the_formulas_logits(void **state) { (void)state, check("awq-first-tools"); }
static void the_form_packed_int4_gives_the_formulas_logits(void **state) { (void)state, check("packed-int4"); }
static void the_form_packed_int4_asymmetric_gives_the_formulas_logits(void **state) { (void)state, check("packed-int4-asymmetric"); }
static void the_form_packed_int4_act_order_gives_the_formulas_logits(void **state) { (void)state, check("packed-int4-act-order"); }
static void the_form_packed_int8_channel_gives_the_formulas_logits(void **state) { (void)state, check("packed-int8-channel"); }
static void the_form_packed_int5_gives_the_formulas_logits(void **state) { (void)state, check("packed-int5"); }
static void the_form_int8_channel_gives_the_formulas_logits(void **state) { (void)state, check("int8-channel"); }
static void the_form_int8_channel_asymmetric_gives_the_formulas_logits(void **state) { (void)state, check("int8-channel-asymmetric"); }
static void the_form_int8_tensor_asymmetric_gives_the_formulas_logits(void **state) { (void)state, check("int8-tensor-asymmetric"); }
static void the_form_float8_tensor_gives_the_formulas_logits(void **state) { (void)state, check("float8-tensor"); }
static void the_form_float8_channel_gives_the_formulas_logits(void **state) { (void)state, check("float8-channel"); }
static void the_form_fp8_block_gives_the_formulas_logits(void **state) { (void)state, check("fp8-block"); }
static void the_form_fp8_default_blocks_gives_the_formulas_logits(void **state) { (void)state, check("fp8-default-blocks"); }
static void the_form_fp8_scalar_e5m2_gives_the_formulas_logits(void **state) { (void)state, check("fp8-scalar-e5m2"); }
static void the_form_fp8_block_experts_gives_the_formulas_logits(void **state) { (void)state, check("fp8-block-experts"); }
static void the_form_fp8_halves_experts_gives_the_formulas_logits(void **state) { (void)state, check("fp8-halves-experts"); }
static void the_form_fp8_block_halves_experts_gives_the_formulas_logits(void **state) { (void)state, check("fp8-block-halves-experts"); }
static void the_form_fp8_dbrx_experts_gives_the_formulas_logits(void **state) { (void)state, check("fp8-dbrx-experts"); }

int main(int argc, char **argv) {
  vectors = argc > 1 ? argv[1] : "test/vector/checkpoint";
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(scattered_groups_stay_integers_under_fast),
      cmocka_unit_test(the_form_fp8_block_experts_gives_the_formulas_logits),
      cmocka_unit_test(the_form_fp8_halves_experts_gives_the_formulas_logits),
      cmocka_unit_test(the_form_fp8_block_halves_experts_gives_the_formulas_logits),
      cmocka_unit_test(the_form_fp8_dbrx_experts_gives_the_formulas_logits),
      cmocka_unit_test(the_form_gptq_4bit_gives_the_formulas_logits),
      cmocka_unit_test(the_form_gptq_4bit_act_order_gives_the_formulas_logits),
      cmocka_unit_test(the_form_gptq_4bit_v2_asymmetric_gives_the_formulas_logits),
      cmocka_unit_test(the_form_gptq_8bit_whole_input_gives_the_formulas_logits),
      cmocka_unit_test(the_form_gptq_3bit_gives_the_formulas_logits),
      cmocka_unit_test(the_form_gptq_2bit_g16_gives_the_formulas_logits),
      cmocka_unit_test(the_form_awq_gives_the_formulas_logits),
      cmocka_unit_test(the_form_awq_first_tools_gives_the_formulas_logits),
      cmocka_unit_test(the_form_packed_int4_gives_the_formulas_logits),
      cmocka_unit_test(the_form_packed_int4_asymmetric_gives_the_formulas_logits),
      cmocka_unit_test(the_form_packed_int4_act_order_gives_the_formulas_logits),
      cmocka_unit_test(the_form_packed_int8_channel_gives_the_formulas_logits),
      cmocka_unit_test(the_form_packed_int5_gives_the_formulas_logits),
      cmocka_unit_test(the_form_int8_channel_gives_the_formulas_logits),
      cmocka_unit_test(the_form_int8_channel_asymmetric_gives_the_formulas_logits),
      cmocka_unit_test(the_form_int8_tensor_asymmetric_gives_the_formulas_logits),
      cmocka_unit_test(the_form_float8_tensor_gives_the_formulas_logits),
      cmocka_unit_test(the_form_float8_channel_gives_the_formulas_logits),
      cmocka_unit_test(the_form_fp8_block_gives_the_formulas_logits),
      cmocka_unit_test(the_form_fp8_default_blocks_gives_the_formulas_logits),
      cmocka_unit_test(the_form_fp8_scalar_e5m2_gives_the_formulas_logits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
