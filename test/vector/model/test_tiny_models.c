/* test_tiny_models: random checkpoints of several shapes against Hugging Face code (make_tiny.py), in fp32. SPDX-License-Identifier: Apache-2.0 */
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
  buf_printf(&tiny, "%s/tiny/%s", vectors, name);
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

static void check_llama(const char *name) {
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

static void check_bert(const char *name) {
  struct checkpoint c = open_checkpoint(name);
  int32_t ids[IDS_MAX];
  size_t offsets[16] = {0}, n = js_len(c.cases), width = model_info(c.model)->n_embd;
  for (size_t i = 0; i < n; i++) offsets[i + 1] = offsets[i] + ids_of(js_get(js_at(c.cases, i), "ids"), ids + offsets[i]);
  float *out = mem_alloc(n * width * sizeof *out), worst = 0;
  model_embed(c.model, ids, offsets, n, out); /* all texts in one pass */
  for (size_t i = 0; i < n; i++) worst = fmaxf(worst, worst_difference(out + i * width, js_get(js_at(c.cases, i), "embedding")));
  print_message("%s: max abs error of embeddings %g\n", name, (double)worst);
  assert_true(worst <= 1e-4f);
  free(out);
  close_checkpoint(&c);
}

static void an_untied_llama_in_bf16_shards_matches(void **state) { (void)state, check_llama("llama-untied-bf16-shards"); }
static void a_tied_llama_in_f16_matches(void **state) { (void)state, check_llama("llama-tied-f16"); }
static void the_llama3_rope_rule_matches(void **state) { (void)state, check_llama("llama-llama3-rope"); }
static void the_linear_rope_rule_matches(void **state) { (void)state, check_llama("llama-linear-rope"); }
static void attention_biases_and_a_free_head_size_match(void **state) { (void)state, check_llama("llama-bias-head-dim"); }
static void bert_with_cls_pooling_and_prefix_matches(void **state) { (void)state, check_bert("bert-cls-normalized"); }
static void bert_with_mean_pooling_matches_for_texts_of_mixed_lengths(void **state) { (void)state, check_bert("bert-mean"); }

int main(int argc, char **argv) {
  vectors = argc > 1 ? argv[1] : "test/vector/model";
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_untied_llama_in_bf16_shards_matches),
      cmocka_unit_test(a_tied_llama_in_f16_matches),
      cmocka_unit_test(the_llama3_rope_rule_matches),
      cmocka_unit_test(the_linear_rope_rule_matches),
      cmocka_unit_test(attention_biases_and_a_free_head_size_match),
      cmocka_unit_test(bert_with_cls_pooling_and_prefix_matches),
      cmocka_unit_test(bert_with_mean_pooling_matches_for_texts_of_mixed_lengths),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
