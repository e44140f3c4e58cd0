/* test_adapters: LoRA adapters on a tiny checkpoint against PEFT (make_lora.py). SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fs.h"
#include "base/js.h"
#include "base/mem.h"
#include "model/model.h"

enum { IDS_MAX = 128, PAGES = IDS_MAX / KV_PAGE_TOKENS, VOCAB_MAX = 90, N_CASES = 4 };

static const char *vectors;

struct setup {
  struct pool *pool;
  struct compute *compute;
  struct model *model;
  struct adapter *every, *few;
  struct js *every_cases, *few_cases;
};

static char *path_of(const char *name) { return fs_join(vectors, name); }

static struct adapter *open_adapter(const struct model *m, const char *name, struct js **ret_cases) {
  struct error err;
  struct buf text = {0};
  char *dir = path_of(name), *expected = fs_join(dir, "expected.json");
  struct file_adapter *file = file_adapter_open(dir, &err);
  if (!file) fail_msg("%s", err.message);
  struct adapter *a = adapter_load(file, m, NULL, &err);
  if (!a) fail_msg("%s", err.message);
  if (fs_read(expected, 1 << 20, &text, &err) < 0 || !(*ret_cases = js_parse(buf_view(&text), &err))) fail_msg("%s", err.message);
  file_adapter_close(file);
  buf_free(&text);
  free(expected);
  free(dir);
  return a;
}

static struct setup set_up_base(enum compute_mode mode, const char *base_name) {
  struct error err;
  struct setup s = {0};
  char *base = path_of(base_name);
  struct file_model *file = file_model_open(base, &err);
  if (!file) fail_msg("%s", err.message);
  s.pool = pool_create(2, &err);
  s.compute = compute_create(mode, s.pool, COMPUTE_ISA_ALL, &err);
  s.model = model_load(file, s.compute, NULL, &err);
  if (!s.model) fail_msg("%s", err.message);
  file_model_close(file);
  free(base);
  return s;
}

static struct setup set_up(enum compute_mode mode) {
  struct setup s = set_up_base(mode, "tiny/llama-untied-bf16-shards");
  s.every = open_adapter(s.model, "lora/every", &s.every_cases);
  s.few = open_adapter(s.model, "lora/few", &s.few_cases);
  return s;
}

static void tear_down(struct setup *s) {
  adapter_free(s->every);
  adapter_free(s->few);
  js_free(s->every_cases);
  js_free(s->few_cases);
  model_free(s->model);
  compute_destroy(s->compute);
  pool_destroy(s->pool);
}

/* One sequence of a batch. */
struct run {
  const struct js *test; /* its ids and its logits */
  struct adapter *adapter;
  void *pages[PAGES];
  float logits[VOCAB_MAX];
};

static size_t add_ids(const struct js *v, int32_t *out) {
  for (size_t i = 0; i < js_len(v); i++) {
    int64_t id = 0;
    assert_true(js_int(js_at(v, i), &id));
    out[i] = (int32_t)id;
  }
  return js_len(v);
}

/* All runs in one forward pass. */
static void forward(struct setup *s, struct run *runs, size_t n) {
  static int32_t ids[16 * IDS_MAX];
  struct kv_segment segments[16];
  struct adapter *adapters[16];
  int32_t out_rows[16];
  size_t V = model_info(s->model)->n_vocab;
  float *logits = mem_alloc(n * V * sizeof *logits);
  size_t rows = 0, page_bytes = model_kv_layout(s->model).page_bytes;
  assert_true(n <= 16);
  for (size_t i = 0; i < n; i++) {
    size_t len = add_ids(js_get(runs[i].test, "ids"), ids + rows);
    for (size_t p = 0; p < PAGES; p++) runs[i].pages[p] = mem_aligned(64, page_bytes);
    segments[i] = (struct kv_segment){.row_begin = rows, .n_rows = len, .pages = runs[i].pages};
    adapters[i] = runs[i].adapter;
    rows += len;
    out_rows[i] = (int32_t)rows - 1;
  }
  model_forward(s->model, &(struct model_batch){.n_rows = rows,
                                                .tokens = ids,
                                                .segments = segments,
                                                .n_segments = n,
                                                .adapters = adapters,
                                                .out_rows = out_rows,
                                                .n_out_rows = n,
                                                .logits = logits});
  for (size_t i = 0; i < n; i++) {
    memset(runs[i].logits, 0, sizeof runs[i].logits);
    memcpy(runs[i].logits, logits + i * V, V * sizeof *logits);
    for (size_t p = 0; p < PAGES; p++) free(runs[i].pages[p]);
  }
  free(logits);
}

static float worst_difference(const struct run *r) {
  const struct js *want = js_get(r->test, "logits");
  float worst = 0;
  assert_true(js_len(want) > 0 && js_len(want) <= VOCAB_MAX);
  for (size_t i = 0; i < js_len(want); i++) {
    double w = 0;
    assert_true(js_real(js_at(want, i), &w));
    worst = fmaxf(worst, fabsf(r->logits[i] - (float)w));
  }
  return worst;
}

static void adapters_of_several_sequences_in_one_batch_match_peft(void **state) {
  (void)state;
  struct setup s = set_up(COMPUTE_F32);
  struct run runs[2 * N_CASES];
  for (size_t i = 0; i < N_CASES; i++) {
    runs[2 * i] = (struct run){.test = js_at(s.every_cases, i), .adapter = s.every};
    runs[2 * i + 1] = (struct run){.test = js_at(s.few_cases, i), .adapter = s.few};
  }
  forward(&s, runs, 2 * N_CASES);
  for (size_t i = 0; i < 2 * N_CASES; i++)
    if (worst_difference(&runs[i]) > 1e-4f) fail_msg("run %zu is %g off", i, (double)worst_difference(&runs[i]));
  tear_down(&s);
}

/* In both modes: what a sequence gets depends on its own adapter only. */
static void a_sequence_gets_the_same_bits_alone_and_among_other_adapters(void **state) {
  (void)state;
  for (int mode = 0; mode < COMPUTE_MODES; mode++) {
    struct setup s = set_up((enum compute_mode)mode);
    struct adapter *const mix[] = {NULL, s.every, s.every, s.few, NULL, s.few, s.every, NULL};
    struct run together[8], plain;
    for (size_t i = 0; i < 8; i++) together[i] = (struct run){.test = js_at(s.every_cases, i % N_CASES), .adapter = mix[i]};
    forward(&s, together, 8);
    for (size_t i = 0; i < 8; i++) {
      struct run alone = {.test = together[i].test, .adapter = mix[i]};
      forward(&s, &alone, 1);
      assert_memory_equal(alone.logits, together[i].logits, sizeof alone.logits);
    }
    plain = (struct run){.test = together[1].test};
    forward(&s, &plain, 1);
    assert_memory_not_equal(plain.logits, together[1].logits, sizeof plain.logits);
    tear_down(&s);
  }
}

/* ---- merging ---- */

static void copy_config(const char *from_name, const char *to_dir) {
  struct error err;
  struct buf text = {0};
  char *from_dir = path_of(from_name), *from = fs_join(from_dir, "config.json"), *to = fs_join(to_dir, "config.json");
  assert_int_equal(fs_read(from, 1 << 20, &text, &err), 0);
  assert_int_equal(fs_write_atomic(to, buf_view(&text), 0600, &err), 0);
  buf_free(&text);
  free(from_dir);
  free(from);
  free(to);
}

/* The logits of `test` with what lies in dir, maybe through an adapter. */
static struct run run_model(struct setup *s, const char *dir, bool adapts, const struct js *test) {
  struct error err;
  struct file_model *file = file_model_open(dir, &err);
  if (!file) fail_msg("%s", err.message);
  struct model *own = s->model, *m = model_load(file, s->compute, NULL, &err);
  if (!m) fail_msg("%s", err.message);
  char *adapter_dir = path_of("lora/every");
  struct file_adapter *adapter = file_adapter_open(adapter_dir, &err);
  struct run r = {.test = test, .adapter = adapts ? adapter_load(adapter, m, NULL, &err) : NULL};
  s->model = m;
  forward(s, &r, 1);
  s->model = own;
  adapter_free(r.adapter);
  file_adapter_close(adapter);
  model_free(m);
  file_model_close(file);
  free(adapter_dir);
  return r;
}

static void a_merged_checkpoint_computes_what_base_and_adapter_do(void **state) {
  (void)state;
  struct error err;
  struct setup s = set_up(COMPUTE_F32);
  char dir[] = "/tmp/plinth-merge-XXXXXX";
  assert_non_null(mkdtemp(dir));
  char *base_dir = path_of("tiny/llama-llama3-rope"), *adapter_dir = path_of("lora/every"), *weights = fs_join(dir, "model.safetensors");
  struct file_model *base = file_model_open(base_dir, &err); /* fp32: rounding hides nothing */
  struct file_adapter *adapter = file_adapter_open(adapter_dir, &err);
  if (adapter_merge(adapter, base, weights, &err) < 0) fail_msg("%s", err.message);
  copy_config("tiny/llama-llama3-rope", dir);
  for (size_t i = 0; i < N_CASES; i++) {
    struct run merged = run_model(&s, dir, false, js_at(s.every_cases, i)), apart = run_model(&s, base_dir, true, js_at(s.every_cases, i));
    struct run plain = run_model(&s, base_dir, false, js_at(s.every_cases, i));
    float worst = 0, share = 0;
    for (size_t j = 0; j < VOCAB_MAX; j++) {
      worst = fmaxf(worst, fabsf(merged.logits[j] - apart.logits[j]));
      share = fmaxf(share, fabsf(merged.logits[j] - plain.logits[j]));
    }
    if (worst > 1e-4f || share < 0.1f) fail_msg("case %zu is %g off; the adapter makes %g", i, (double)worst, (double)share);
  }
  file_adapter_close(adapter);
  file_model_close(base);
  char *config = fs_join(dir, "config.json");
  assert_int_equal(unlink(weights), 0);
  assert_int_equal(unlink(config), 0);
  assert_int_equal(rmdir(dir), 0); /* nothing else was left */
  char *made[] = {base_dir, adapter_dir, weights, config};
  for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) free(made[i]);
  tear_down(&s);
}

static void merging_into_another_model_is_refused_and_leaves_nothing(void **state) {
  (void)state;
  struct error err;
  char dir[] = "/tmp/plinth-merge-XXXXXX";
  assert_non_null(mkdtemp(dir));
  char *base_dir = path_of("tiny/bert-mean"), *adapter_dir = path_of("lora/every"), *weights = fs_join(dir, "model.safetensors");
  struct file_model *base = file_model_open(base_dir, &err);
  struct file_adapter *adapter = file_adapter_open(adapter_dir, &err);
  assert_int_equal(adapter_merge(adapter, base, weights, &err), -1);
  assert_non_null(strstr(err.message, "another base model"));
  assert_int_equal(rmdir(dir), 0);
  file_adapter_close(adapter);
  file_model_close(base);
  char *made[] = {base_dir, adapter_dir, weights};
  for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) free(made[i]);
}

/* ---- experts ---- */

static const char *const EXPERTS[] = {"lora/experts", "lora/experts-down", "lora/experts-parameters", "lora/experts-old"};
enum { N_EXPERTS = 4 };

struct expert_setup {
  struct setup s;
  struct adapter *adapters[N_EXPERTS];
  struct js *cases[N_EXPERTS];
};

static struct expert_setup set_up_experts(enum compute_mode mode, const char *base) {
  struct expert_setup x = {.s = set_up_base(mode, base)};
  for (size_t i = 0; i < N_EXPERTS; i++) x.adapters[i] = open_adapter(x.s.model, EXPERTS[i], &x.cases[i]);
  return x;
}

static void tear_down_experts(struct expert_setup *x) {
  for (size_t i = 0; i < N_EXPERTS; i++) {
    adapter_free(x->adapters[i]);
    js_free(x->cases[i]);
  }
  tear_down(&x->s);
}

static void check_experts(const char *base) {
  struct expert_setup x = set_up_experts(COMPUTE_F32, base);
  struct run runs[N_EXPERTS * N_CASES];
  for (size_t i = 0; i < N_EXPERTS * N_CASES; i++)
    runs[i] = (struct run){.test = js_at(x.cases[i % N_EXPERTS], i / N_EXPERTS), .adapter = x.adapters[i % N_EXPERTS]};
  forward(&x.s, runs, N_EXPERTS * N_CASES);
  for (size_t i = 0; i < N_EXPERTS * N_CASES; i++)
    if (worst_difference(&runs[i]) > 1e-4f)
      fail_msg("%s, run %zu is %g off", EXPERTS[i % N_EXPERTS], i, (double)worst_difference(&runs[i]));
  tear_down_experts(&x);
}

/* Both spellings of the adapters on both spellings of the base. */
static void adapters_on_experts_match_peft(void **state) {
  (void)state;
  check_experts("tiny/mixtral");
  check_experts("lora/mixtral-fused");
}

static void experts_give_the_same_bits_alone_and_among_other_adapters(void **state) {
  (void)state;
  for (int mode = COMPUTE_F32; mode <= COMPUTE_FAST; mode++) {
    struct expert_setup x = set_up_experts((enum compute_mode)mode, "tiny/mixtral");
    struct run together[8];
    for (size_t i = 0; i < 8; i++)
      together[i] = (struct run){.test = js_at(x.cases[0], i % N_CASES), .adapter = i % 3 == 2 ? NULL : x.adapters[i % N_EXPERTS]};
    forward(&x.s, together, 8);
    for (size_t i = 0; i < 8; i++) {
      struct run alone = {.test = together[i].test, .adapter = together[i].adapter};
      forward(&x.s, &alone, 1);
      assert_memory_equal(alone.logits, together[i].logits, sizeof alone.logits);
    }
    tear_down_experts(&x);
  }
}

/* Merged into base, each gives the logits that PEFT computes. */
static void check_merged(const char *base_name, const char *adapter_name) {
  struct error err;
  char dir[] = "/tmp/plinth-merge-XXXXXX";
  assert_non_null(mkdtemp(dir));
  char *base_dir = path_of(base_name), *adapter_dir = path_of(adapter_name), *weights = fs_join(dir, "model.safetensors");
  char *config = fs_join(dir, "config.json");
  struct file_model *base = file_model_open(base_dir, &err);
  struct file_adapter *adapter = file_adapter_open(adapter_dir, &err);
  if (adapter_merge(adapter, base, weights, &err) < 0) fail_msg("%s", err.message);
  copy_config(base_name, dir);
  struct setup s = {.pool = pool_create(2, &err)};
  s.compute = compute_create(COMPUTE_F32, s.pool, COMPUTE_ISA_ALL, &err);
  struct file_model *file = file_model_open(dir, &err);
  if (!(s.model = model_load(file, s.compute, NULL, &err))) fail_msg("%s", err.message);
  struct js *cases;
  adapter_free(open_adapter(s.model, adapter_name, &cases));
  for (size_t i = 0; i < N_CASES; i++) {
    struct run r = {.test = js_at(cases, i)};
    forward(&s, &r, 1);
    if (worst_difference(&r) > 1e-4f) fail_msg("%s in %s, case %zu is %g off", adapter_name, base_name, i, (double)worst_difference(&r));
  }
  js_free(cases);
  tear_down(&s);
  file_model_close(file);
  file_adapter_close(adapter);
  file_model_close(base);
  assert_int_equal(unlink(weights), 0);
  assert_int_equal(unlink(config), 0);
  assert_int_equal(rmdir(dir), 0);
  char *made[] = {base_dir, adapter_dir, weights, config};
  for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) free(made[i]);
}

static void adapters_on_experts_are_merged_into_either_spelling(void **state) {
  (void)state;
  for (size_t i = 0; i < N_EXPERTS; i++) check_merged("lora/mixtral-fused", EXPERTS[i]); /* fp32: rounding hides nothing */
  check_merged("lora/mixtral-single", EXPERTS[0]);
  check_merged("lora/mixtral-single", EXPERTS[3]);
}

static void a_tensor_for_experts_that_target_parameters_does_not_explain_is_refused(void **state) {
  (void)state;
  struct setup s = set_up_base(COMPUTE_F32, "tiny/mixtral");
  struct error err = {0};
  char *dir = path_of("lora/experts");
  struct file_adapter *file = file_adapter_open(dir, &err);
  js_free(file->config);
  file->config = js_parse(SLICE("{\"peft_type\": \"LORA\", \"lora_alpha\": 6, \"target_parameters\": [\"down_proj\"]}"), &err);
  assert_null(adapter_load(file, s.model, NULL, &err));
  if (!strstr(err.message, "experts.base_layer.lora_")) fail_msg("%s", err.message);
  file_adapter_close(file);
  free(dir);
  tear_down(&s);
}

/* ---- what is refused ---- */

/* The adapter "every" with one setting changed. */
static void refused(const struct model *m, const char *key, const char *value, const char *part) {
  struct error err = {0};
  char *dir = path_of("lora/every");
  struct file_adapter *file = file_adapter_open(dir, &err);
  assert_non_null(file);
  struct buf text = {0};
  buf_printf(&text, "{\"peft_type\": \"LORA\", \"lora_alpha\": 6, \"r\": 4, \"%s\": %s}", key, value);
  js_free(file->config);
  file->config = js_parse(buf_view(&text), &err);
  if (!file->config) fail_msg("%s", err.message);
  assert_null(adapter_load(file, m, NULL, &err));
  if (!strstr(err.message, part)) fail_msg("%s = %s: %s", key, value, err.message);
  buf_free(&text);
  file_adapter_close(file);
  free(dir);
}

static void settings_that_are_not_plain_lora_are_refused_by_key(void **state) {
  (void)state;
  struct setup s = set_up(COMPUTE_F32);
  static const char *const cases[][3] = {
      {"use_dora", "true", "use_dora"},
      {"modules_to_save", "[\"lm_head\"]", "modules_to_save"},
      {"bias", "\"all\"", "bias"},
      {"init_lora_weights", "\"pissa_niter_4\"", "init_lora_weights"},
      {"alpha_pattern", "{\"layers\\\\.[01]\": 3}", "alpha_pattern"},
      {"alpha_pattern", "{\"q_proj\": \"three\"}", "lora_alpha"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) refused(s.model, cases[i][0], cases[i][1], cases[i][2]);
  tear_down(&s);
}

static void an_adapter_of_another_model_is_refused_by_its_tensor(void **state) {
  (void)state;
  struct setup s = set_up(COMPUTE_F32);
  struct error err = {0};
  char *base = path_of("tiny/llama-bias-head-dim"), *dir = path_of("lora/every");
  struct file_model *file = file_model_open(base, &err);
  struct model *other = model_load(file, s.compute, NULL, &err);
  struct file_adapter *adapter = file_adapter_open(dir, &err);
  assert_null(adapter_load(adapter, other, NULL, &err));
  assert_non_null(strstr(err.message, "another base model"));
  file_adapter_close(adapter);
  model_free(other);
  file_model_close(file);
  free(base);
  free(dir);
  tear_down(&s);
}

int main(int argc, char **argv) {
  vectors = argc > 1 ? argv[1] : "test/vector/model";
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(adapters_of_several_sequences_in_one_batch_match_peft),
      cmocka_unit_test(a_sequence_gets_the_same_bits_alone_and_among_other_adapters),
      cmocka_unit_test(a_merged_checkpoint_computes_what_base_and_adapter_do),
      cmocka_unit_test(merging_into_another_model_is_refused_and_leaves_nothing),
      cmocka_unit_test(adapters_on_experts_match_peft),
      cmocka_unit_test(experts_give_the_same_bits_alone_and_among_other_adapters),
      cmocka_unit_test(adapters_on_experts_are_merged_into_either_spelling),
      cmocka_unit_test(a_tensor_for_experts_that_target_parameters_does_not_explain_is_refused),
      cmocka_unit_test(settings_that_are_not_plain_lora_are_refused_by_key),
      cmocka_unit_test(an_adapter_of_another_model_is_refused_by_its_tensor),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
