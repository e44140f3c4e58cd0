/* test_tiny_models: random checkpoints of several shapes against Hugging Face code (make_tiny.py), in fp32. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "../reference.h"
#include "base/mem.h"
#include "model/arch.h"

enum { IDS_MAX = 256 };

static const char *vectors;

enum { CASES_MAX = 8 };

/* file: within the folder, or NULL for the folder itself. */
static struct reference open_kv(const char *name, const char *file_name, enum compute_mode mode, enum kv_type kv, unsigned isa_mask,
                                int threads) {
  struct buf folder = {0}, path = {0};
  buf_printf(&folder, "%s/tiny/%s", vectors, name);
  buf_printf(&path, "%s/%s", folder.data, file_name ? file_name : "");
  struct reference r = reference_open(folder.data, path.data, mode, kv, isa_mask, threads);
  buf_free(&folder);
  buf_free(&path);
  return r;
}

static struct reference open_checkpoint(const char *name, const char *file_name, enum compute_mode mode, unsigned isa_mask, int threads) {
  return open_kv(name, file_name, mode, KV_F16, isa_mask, threads);
}

/* One prompt of the cases, its pages and what came of it. */
struct prompt {
  int32_t ids[IDS_MAX];
  size_t n;
  void *pages[IDS_MAX / KV_PAGE_TOKENS];
  float *logits, *hidden; /* of the last token */
};

static size_t read_prompts(const struct reference *c, struct prompt prompts[CASES_MAX]) {
  const struct model_info *info = model_info(c->model);
  struct kv_layout kv = model_kv_layout(c->model);
  size_t n = js_len(c->cases);
  assert_true(n <= CASES_MAX);
  for (size_t i = 0; i < n; i++) {
    struct prompt *p = &prompts[i];
    p->n = reference_ids(js_get(js_at(c->cases, i), "ids"), p->ids, IDS_MAX);
    p->logits = mem_zalloc(info->n_vocab, sizeof(float));
    p->hidden = mem_zalloc(info->n_embd, sizeof(float));
    for (size_t j = 0; j < IDS_MAX / KV_PAGE_TOKENS; j++) p->pages[j] = mem_aligned(64, kv.page_bytes);
  }
  return n;
}

static void free_prompts(struct prompt *prompts, size_t n) {
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < IDS_MAX / KV_PAGE_TOKENS; j++) free(prompts[i].pages[j]);
    free(prompts[i].logits);
    free(prompts[i].hidden);
  }
}

/* Rows begin[i] … end[i] − 1 of every prompt in one pass; the last row of each is scored. */
static void forward(const struct reference *c, struct prompt *prompts, size_t n, const size_t *begin, const size_t *end) {
  const struct model_info *info = model_info(c->model);
  int32_t tokens[CASES_MAX * IDS_MAX], last[CASES_MAX];
  struct kv_segment segments[CASES_MAX];
  size_t rows = 0, n_segments = 0, of[CASES_MAX];
  for (size_t i = 0; i < n; i++) {
    if (begin[i] == end[i]) continue;
    memcpy(tokens + rows, prompts[i].ids + begin[i], (end[i] - begin[i]) * sizeof *tokens);
    segments[n_segments] = (struct kv_segment){rows, end[i] - begin[i], begin[i], prompts[i].pages};
    rows += end[i] - begin[i];
    of[n_segments] = i;
    last[n_segments++] = (int32_t)rows - 1;
  }
  float *logits = mem_alloc(n_segments * info->n_vocab * sizeof *logits);
  model_forward(c->model, &(struct model_batch){.n_rows = rows,
                                                .tokens = tokens,
                                                .segments = segments,
                                                .n_segments = n_segments,
                                                .out_rows = last,
                                                .n_out_rows = n_segments,
                                                .logits = logits});
  for (size_t i = 0; i < n_segments; i++) {
    memcpy(prompts[of[i]].logits, logits + i * info->n_vocab, info->n_vocab * sizeof *logits);
    memcpy(prompts[of[i]].hidden, model__hidden(c->model) + (size_t)last[i] * info->n_embd, info->n_embd * sizeof *logits);
  }
  free(logits);
}

/* Each prompt by itself, in two chunks, the border anywhere. */
static void run_alone(const struct reference *c, struct prompt *prompts, size_t n) {
  for (size_t i = 0; i < n; i++) {
    size_t zero = 0, third = prompts[i].n / 3;
    if (third) forward(c, &prompts[i], 1, &zero, &third);
    forward(c, &prompts[i], 1, &third, &prompts[i].n);
  }
}

/* All prompts in one pass, each but its last token; then all last tokens in another. */
static void run_together(const struct reference *c, struct prompt *prompts, size_t n) {
  size_t zero[CASES_MAX] = {0}, most[CASES_MAX], all[CASES_MAX];
  for (size_t i = 0; i < n; i++) most[i] = prompts[i].n - 1, all[i] = prompts[i].n;
  forward(c, prompts, n, zero, most);
  forward(c, prompts, n, most, all);
}

/* What the plan says from the tensor list is what loading comes to. */
static void check_plan(const char *name, const char *file_name) {
  struct reference c = open_checkpoint(name, file_name, COMPUTE_FAST, COMPUTE_ISA_ALL, 1);
  print_message("%s: planned %llu bytes of weights\n", name, (unsigned long long)c.planned_bytes);
  assert_int_equal(c.planned_bytes, model_weight_bytes(c.model));
  reference_close(&c);
}

static void check_file(const char *name, const char *file_name) {
  check_plan(name, file_name);
  struct reference c = open_checkpoint(name, file_name, COMPUTE_F32, COMPUTE_ISA_ALL, 2);
  struct prompt prompts[CASES_MAX];
  size_t n = read_prompts(&c, prompts);
  for (int together = 0; together < 2; together++) {
    float logits = 0, hidden = 0;
    if (together) run_together(&c, prompts, n);
    else run_alone(&c, prompts, n);
    for (size_t i = 0; i < n; i++) {
      const struct js *want = js_at(c.cases, i), *want_hidden = js_get(want, "hidden");
      logits = fmaxf(logits, reference_difference(prompts[i].logits, js_get(want, "logits")));
      if (want_hidden) hidden = fmaxf(hidden, reference_difference(prompts[i].hidden, want_hidden));
    }
    print_message("%s %s: max abs error of logits %g, of hidden states %g\n", name, file_name ? file_name : "safetensors", (double)logits,
                  (double)hidden);
    assert_true(logits <= 1e-4f && hidden <= 1e-4f);
  }
  free_prompts(prompts, n);
  reference_close(&c);
}

/* Both containers, where there are two. */
static void check_both(const char *name, const char *gguf) {
  check_file(name, NULL);
  check_file(name, gguf);
}

/* Under fast, whatever the instruction set, the threads and the neighbours. */
static void check_bits_of(const char *name, const char *file_name, enum kv_type kv) {
  static const unsigned masks[] = {COMPUTE_ISA_REF, COMPUTE_ISA_REF | COMPUTE_ISA_AVX2 | COMPUTE_ISA_NEON, COMPUTE_ISA_ALL};
  struct reference truth = open_kv(name, file_name, COMPUTE_FAST, kv, COMPUTE_ISA_REF, 1);
  struct prompt expected[CASES_MAX], prompts[CASES_MAX];
  size_t n = read_prompts(&truth, expected), bytes = model_info(truth.model)->n_vocab * sizeof(float);
  run_alone(&truth, expected, n);
  for (size_t i = 0; i < sizeof masks / sizeof masks[0]; i++) {
    struct reference c = open_kv(name, file_name, COMPUTE_FAST, kv, masks[i], 3);
    read_prompts(&c, prompts);
    for (int together = 0; together < 2; together++) {
      if (together) run_together(&c, prompts, n);
      else run_alone(&c, prompts, n);
      for (size_t k = 0; k < n; k++) assert_memory_equal(prompts[k].logits, expected[k].logits, bytes);
    }
    free_prompts(prompts, n);
    reference_close(&c);
  }
  free_prompts(expected, n);
  reference_close(&truth);
}

static void check_bits(const char *name, const char *file_name) {
  for (int kv = 0; kv < KV_TYPES; kv++) check_bits_of(name, file_name, (enum kv_type)kv);
}

/* In fp32 but for keys and values in 8 bits: the last logits are off by no more than a small share of the largest. */
static void check_q8_is_close(const char *name) {
  struct reference c = open_kv(name, NULL, COMPUTE_F32, KV_Q8, COMPUTE_ISA_ALL, 2);
  struct prompt prompts[CASES_MAX];
  size_t n = read_prompts(&c, prompts), n_vocab = model_info(c.model)->n_vocab;
  float worst = 0, largest = 0;
  run_alone(&c, prompts, n);
  for (size_t i = 0; i < n; i++) {
    worst = fmaxf(worst, reference_difference(prompts[i].logits, js_get(js_at(c.cases, i), "logits")));
    for (size_t k = 0; k < n_vocab; k++) largest = fmaxf(largest, fabsf(prompts[i].logits[k]));
  }
  print_message("%s, KV in q8: max abs error of logits %g of %g\n", name, (double)worst, (double)largest);
  assert_true(worst > 1e-5f && worst <= largest * 0.06f);
  free_prompts(prompts, n);
  reference_close(&c);
}

static void check_encoder(const char *name) {
  check_plan(name, NULL);
  struct reference c = open_checkpoint(name, NULL, COMPUTE_F32, COMPUTE_ISA_ALL, 2);
  int32_t ids[2 * IDS_MAX];
  size_t offsets[CASES_MAX + 1] = {0}, n = js_len(c.cases), width = model_info(c.model)->n_embd;
  for (size_t i = 0; i < n; i++) offsets[i + 1] = offsets[i] + reference_ids(js_get(js_at(c.cases, i), "ids"), ids + offsets[i], IDS_MAX);
  float *out = mem_alloc(n * width * sizeof *out), worst = 0, hidden = 0;
  model_embed(c.model, ids, offsets, n, out); /* all texts in one pass */
  for (size_t i = 0; i < n; i++) {
    const struct js *want = js_at(c.cases, i), *want_hidden = js_get(want, "hidden");
    worst = fmaxf(worst, reference_difference(out + i * width, js_get(want, "embedding")));
    if (want_hidden) hidden = fmaxf(hidden, reference_difference(model__hidden(c.model) + (offsets[i + 1] - 1) * width, want_hidden));
  }
  print_message("%s: max abs error of embeddings %g, of hidden states %g\n", name, (double)worst, (double)hidden);
  assert_true(worst <= 1e-4f && hidden <= 1e-4f);
  free(out);
  reference_close(&c);
}

static void an_untied_llama_in_bf16_shards_matches(void **state) { (void)state, check_file("llama-untied-bf16-shards", NULL); }
static void a_tied_llama_in_f16_matches(void **state) { (void)state, check_file("llama-tied-f16", NULL); }
static void the_llama3_rope_rule_matches(void **state) { (void)state, check_file("llama-llama3-rope", NULL); }
static void the_linear_rope_rule_matches(void **state) { (void)state, check_file("llama-linear-rope", NULL); }
static void attention_biases_and_a_free_head_size_match(void **state) { (void)state, check_file("llama-bias-head-dim", NULL); }
static void llama_31_matches_from_an_old_config_and_gguf(void **state) { (void)state, check_both("llama-31-old-config", "model.gguf"); }
static void mistral_with_a_window_matches(void **state) { (void)state, check_file("mistral-window", NULL); }
static void mistral_with_a_window_over_pages_matches(void **state) { (void)state, check_file("mistral-window-head-dim", NULL); }
static void mistral_without_a_window_matches(void **state) { (void)state, check_both("mistral-no-window", "model.gguf"); }
static void mixtral_matches_with_experts_one_by_one(void **state) { (void)state, check_both("mixtral", "one-by-one.gguf"); }
static void mixtral_matches_with_fused_experts_and_a_window(void **state) { (void)state, check_file("mixtral-fused-window", NULL); }
static void mixtral_matches_with_stacked_experts_in_q8_0(void **state) { (void)state, check_file("mixtral-q8", "model.gguf"); }
static void mpt_matches(void **state) { (void)state, check_both("mpt", "model.gguf"); }
static void mpt_with_heads_that_are_no_power_of_two_matches(void **state) { (void)state, check_file("mpt-6-heads", NULL); }
static void mpt_matches_in_all_its_settings(void **state) { (void)state, check_file("mpt-all-settings", NULL); }
static void mpt_with_learned_positions_matches(void **state) { (void)state, check_file("mpt-learned-positions", NULL); }
static void mpt_with_a_head_of_its_own_matches(void **state) { (void)state, check_file("mpt-untied", NULL); }
static void mpt_matches_in_q8_0(void **state) { (void)state, check_file("mpt-q8", "model.gguf"); }
static void dbrx_matches(void **state) { (void)state, check_both("dbrx", "model.gguf"); }
static void dbrx_without_normalized_weights_matches(void **state) { (void)state, check_file("dbrx-no-norm", NULL); }
static void dbrx_matches_in_q8_0(void **state) { (void)state, check_file("dbrx-q8", "model.gguf"); }
static void bert_with_cls_pooling_and_prefix_matches(void **state) { (void)state, check_encoder("bert-cls-normalized"); }
static void bert_with_mean_pooling_matches_for_texts_of_mixed_lengths(void **state) { (void)state, check_encoder("bert-mean"); }
static void gte_matches_under_its_own_names(void **state) { (void)state, check_encoder("gte-new-prefix"); }
static void gte_without_token_types_and_packing_matches(void **state) { (void)state, check_encoder("gte-new-unpacked"); }
static void gte_matches_under_the_names_of_transformers(void **state) { (void)state, check_encoder("gte-native"); }

static void fast_gives_equal_bits_with_experts(void **state) {
  (void)state;
  check_bits("mixtral-q8", "model.gguf");
  check_bits("mixtral-fused-window", NULL);
  check_bits("dbrx-q8", "model.gguf");
}

static void fast_gives_equal_bits_with_alibi(void **state) {
  (void)state;
  check_bits("mpt-q8", "model.gguf");
  check_bits("mpt-all-settings", NULL);
}

static void fast_gives_equal_bits_with_a_window(void **state) { (void)state, check_bits("mistral-window-head-dim", NULL); }

static void keys_and_values_in_8_bits_are_close_enough(void **state) {
  (void)state;
  static const char *const names[] = {
      "llama-tied-f16", "llama-bias-head-dim", "mistral-window-head-dim", "mixtral-fused-window", "mpt", "dbrx"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) check_q8_is_close(names[i]);
}

int main(int argc, char **argv) {
  vectors = argc > 1 ? argv[1] : "test/vector/model";
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_untied_llama_in_bf16_shards_matches),
      cmocka_unit_test(a_tied_llama_in_f16_matches),
      cmocka_unit_test(the_llama3_rope_rule_matches),
      cmocka_unit_test(the_linear_rope_rule_matches),
      cmocka_unit_test(attention_biases_and_a_free_head_size_match),
      cmocka_unit_test(llama_31_matches_from_an_old_config_and_gguf),
      cmocka_unit_test(mistral_with_a_window_matches),
      cmocka_unit_test(mistral_with_a_window_over_pages_matches),
      cmocka_unit_test(mistral_without_a_window_matches),
      cmocka_unit_test(mixtral_matches_with_experts_one_by_one),
      cmocka_unit_test(mixtral_matches_with_fused_experts_and_a_window),
      cmocka_unit_test(mixtral_matches_with_stacked_experts_in_q8_0),
      cmocka_unit_test(mpt_matches),
      cmocka_unit_test(mpt_with_heads_that_are_no_power_of_two_matches),
      cmocka_unit_test(mpt_matches_in_all_its_settings),
      cmocka_unit_test(mpt_with_learned_positions_matches),
      cmocka_unit_test(mpt_with_a_head_of_its_own_matches),
      cmocka_unit_test(mpt_matches_in_q8_0),
      cmocka_unit_test(dbrx_matches),
      cmocka_unit_test(dbrx_without_normalized_weights_matches),
      cmocka_unit_test(dbrx_matches_in_q8_0),
      cmocka_unit_test(bert_with_cls_pooling_and_prefix_matches),
      cmocka_unit_test(bert_with_mean_pooling_matches_for_texts_of_mixed_lengths),
      cmocka_unit_test(gte_matches_under_its_own_names),
      cmocka_unit_test(gte_without_token_types_and_packing_matches),
      cmocka_unit_test(gte_matches_under_the_names_of_transformers),
      cmocka_unit_test(fast_gives_equal_bits_with_experts),
      cmocka_unit_test(fast_gives_equal_bits_with_alibi),
      cmocka_unit_test(fast_gives_equal_bits_with_a_window),
      cmocka_unit_test(keys_and_values_in_8_bits_are_close_enough),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
