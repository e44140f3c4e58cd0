/* test_checkpoints: quantized checkpoints of every form against Hugging Face code on the formulas' weights (make.py), in fp32. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/fs.h"
#include "base/js.h"
#include "base/mem.h"
#include "model/model.h"

enum { IDS_MAX = 256 };

static const char *vectors;

struct checkpoint {
  struct pool *pool;
  struct compute *compute;
  struct model *model;
  struct js *cases;
};

static struct checkpoint open_checkpoint(const char *name) {
  struct error err;
  struct checkpoint c;
  struct buf text = {0}, tiny = {0};
  buf_printf(&tiny, "%s/%s", vectors, name);
  char *expected = fs_join(tiny.data, "expected.json");
  if (fs_read(expected, 1 << 20, &text, &err) < 0 || !(c.cases = js_parse(buf_view(&text), &err))) fail_msg("%s", err.message);
  struct file_model *file = file_model_open(tiny.data, &err);
  if (!file) fail_msg("%s", err.message);
  c.pool = pool_create(2, &err);
  c.compute = compute_create(COMPUTE_F32, c.pool, COMPUTE_ISA_ALL, &err);
  c.model = model_load(file, c.compute, NULL, &err);
  if (!c.model) fail_msg("%s", err.message);
  file_model_close(file);
  free(expected);
  buf_free(&text);
  buf_free(&tiny);
  return c;
}

static void close_checkpoint(struct checkpoint *c) {
  model_free(c->model);
  compute_destroy(c->compute);
  pool_destroy(c->pool);
  js_free(c->cases);
}

static size_t ids_of(const struct js *v, int32_t *out) {
  size_t n = js_len(v);
  assert_true(n <= IDS_MAX);
  for (size_t i = 0; i < n; i++) {
    int64_t id = 0;
    assert_true(js_int(js_at(v, i), &id));
    out[i] = (int32_t)id;
  }
  return n;
}

static float worst_difference(const float *got, const struct js *want) {
  float worst = 0;
  for (size_t i = 0; i < js_len(want); i++) {
    double w = 0;
    assert_true(js_real(js_at(want, i), &w));
    worst = fmaxf(worst, fabsf(got[i] - (float)w));
  }
  return worst;
}

static void check(const char *name) {
  struct checkpoint c = open_checkpoint(name);
  struct kv_layout kv = model_kv_layout(c.model);
  void *pages[IDS_MAX / KV_PAGE_TOKENS];
  for (size_t i = 0; i < IDS_MAX / KV_PAGE_TOKENS; i++) pages[i] = mem_aligned(64, kv.page_bytes);
  float *logits = mem_alloc(model_info(c.model)->n_vocab * sizeof *logits), worst = 0;
  for (size_t i = 0; i < js_len(c.cases); i++) {
    int32_t ids[IDS_MAX];
    size_t n = ids_of(js_get(js_at(c.cases, i), "ids"), ids), first = n / 3;
    /* In two chunks, the border anywhere. */
    for (size_t begin = 0; begin < n; begin = begin ? n : (first ? first : n)) {
      size_t end = begin == 0 && first ? first : n;
      struct kv_segment segment = {.n_rows = end - begin, .pos_begin = begin, .pages = pages};
      int32_t last = (int32_t)(end - begin) - 1;
      model_forward(c.model, &(struct model_batch){.n_rows = end - begin,
                                                   .tokens = ids + begin,
                                                   .segments = &segment,
                                                   .n_segments = 1,
                                                   .out_rows = &last,
                                                   .n_out_rows = end == n ? 1 : 0,
                                                   .logits = logits});
      if (end == n) break;
    }
    worst = fmaxf(worst, worst_difference(logits, js_get(js_at(c.cases, i), "logits")));
  }
  print_message("%s: max abs error of logits %g\n", name, (double)worst);
  assert_true(worst <= 1e-4f);
  for (size_t i = 0; i < IDS_MAX / KV_PAGE_TOKENS; i++) free(pages[i]);
  free(logits);
  close_checkpoint(&c);
}

static void the_form_gptq_4bit_gives_the_formulas_logits(void **state) { (void)state, check("gptq-4bit"); }
static void the_form_gptq_4bit_act_order_gives_the_formulas_logits(void **state) { (void)state, check("gptq-4bit-act-order"); }
static void the_form_gptq_4bit_v2_asymmetric_gives_the_formulas_logits(void **state) { (void)state, check("gptq-4bit-v2-asymmetric"); }
static void the_form_gptq_8bit_whole_input_gives_the_formulas_logits(void **state) { (void)state, check("gptq-8bit-whole-input"); }
static void the_form_gptq_3bit_gives_the_formulas_logits(void **state) { (void)state, check("gptq-3bit"); }
static void the_form_gptq_2bit_g16_gives_the_formulas_logits(void **state) { (void)state, check("gptq-2bit-g16"); }
static void the_form_awq_gives_the_formulas_logits(void **state) { (void)state, check("awq"); }
static void the_form_packed_int4_gives_the_formulas_logits(void **state) { (void)state, check("packed-int4"); }
static void the_form_packed_int4_asymmetric_gives_the_formulas_logits(void **state) { (void)state, check("packed-int4-asymmetric"); }
static void the_form_packed_int4_act_order_gives_the_formulas_logits(void **state) { (void)state, check("packed-int4-act-order"); }
static void the_form_packed_int8_channel_gives_the_formulas_logits(void **state) { (void)state, check("packed-int8-channel"); }
static void the_form_packed_int5_gives_the_formulas_logits(void **state) { (void)state, check("packed-int5"); }
static void the_form_int8_channel_gives_the_formulas_logits(void **state) { (void)state, check("int8-channel"); }
static void the_form_int8_channel_asymmetric_gives_the_formulas_logits(void **state) { (void)state, check("int8-channel-asymmetric"); }
static void the_form_float8_tensor_gives_the_formulas_logits(void **state) { (void)state, check("float8-tensor"); }
static void the_form_float8_channel_gives_the_formulas_logits(void **state) { (void)state, check("float8-channel"); }
static void the_form_fp8_block_gives_the_formulas_logits(void **state) { (void)state, check("fp8-block"); }
static void the_form_fp8_scalar_e5m2_gives_the_formulas_logits(void **state) { (void)state, check("fp8-scalar-e5m2"); }

int main(int argc, char **argv) {
  vectors = argc > 1 ? argv[1] : "test/vector/checkpoint";
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_form_gptq_4bit_gives_the_formulas_logits),
      cmocka_unit_test(the_form_gptq_4bit_act_order_gives_the_formulas_logits),
      cmocka_unit_test(the_form_gptq_4bit_v2_asymmetric_gives_the_formulas_logits),
      cmocka_unit_test(the_form_gptq_8bit_whole_input_gives_the_formulas_logits),
      cmocka_unit_test(the_form_gptq_3bit_gives_the_formulas_logits),
      cmocka_unit_test(the_form_gptq_2bit_g16_gives_the_formulas_logits),
      cmocka_unit_test(the_form_awq_gives_the_formulas_logits),
      cmocka_unit_test(the_form_packed_int4_gives_the_formulas_logits),
      cmocka_unit_test(the_form_packed_int4_asymmetric_gives_the_formulas_logits),
      cmocka_unit_test(the_form_packed_int4_act_order_gives_the_formulas_logits),
      cmocka_unit_test(the_form_packed_int8_channel_gives_the_formulas_logits),
      cmocka_unit_test(the_form_packed_int5_gives_the_formulas_logits),
      cmocka_unit_test(the_form_int8_channel_gives_the_formulas_logits),
      cmocka_unit_test(the_form_int8_channel_asymmetric_gives_the_formulas_logits),
      cmocka_unit_test(the_form_float8_tensor_gives_the_formulas_logits),
      cmocka_unit_test(the_form_float8_channel_gives_the_formulas_logits),
      cmocka_unit_test(the_form_fp8_block_gives_the_formulas_logits),
      cmocka_unit_test(the_form_fp8_scalar_e5m2_gives_the_formulas_logits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
