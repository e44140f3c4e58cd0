/* test_model_vectors: the default models against Hugging Face code on the same weights (make.py). SPDX-License-Identifier: Apache-2.0
 * The models lie where the set-up puts them; the vectors' folder is the first argument. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/fs.h"
#include "base/js.h"
#include "base/mem.h"
#include "engine/engine.h"

static const char *vectors;

static char *models_path(const char *name) {
  const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
  struct buf path = {0};
  if (data && *data) buf_printf(&path, "%s/plinth/models/%s", data, name);
  else buf_printf(&path, "%s/.local/share/plinth/models/%s", home ? home : "", name);
  return path.data;
}

struct loaded {
  struct pool *pool;
  struct compute *compute;
  struct model *model;
};

static struct loaded load(const char *name, enum compute_mode mode) {
  struct error err;
  struct loaded l;
  char *path = models_path(name);
  struct file_model *file = file_model_open(path, &err);
  if (!file) fail_msg("%s", err.message);
  l.pool = pool_create(0, &err);
  l.compute = compute_create(mode, l.pool, COMPUTE_ISA_ALL, &err);
  l.model = model_load(file, l.compute, &(struct model_options){.rows_max = 4096}, &err);
  if (!l.model) fail_msg("%s", err.message);
  file_model_close(file);
  free(path);
  return l;
}

static void unload(struct loaded *l) {
  model_free(l->model);
  compute_destroy(l->compute);
  pool_destroy(l->pool);
}

static struct buf read_vectors(const char *name) {
  struct error err;
  struct buf bytes = {0};
  char *path = fs_join(vectors, name);
  if (fs_read(path, 64 << 20, &bytes, &err) < 0) fail_msg("%s", err.message);
  free(path);
  return bytes;
}

/* ---- chat ---- */

struct prompt {
  uint32_t n_ids, n_next;
  const int32_t *ids, *next;
  const float *logits; /* every 64th */
};

enum { PROMPTS_MAX = 64, LOGIT_STRIDE = 64 };

static uint32_t parse_prompts(const struct buf *bytes, struct prompt *prompts, uint32_t *n_vocab) {
  const char *p = bytes->data;
  uint32_t n;
  assert_memory_equal(p, "PLV1", 4);
  memcpy(&n, p + 4, 4);
  memcpy(n_vocab, p + 8, 4);
  assert_true(n <= PROMPTS_MAX);
  p += 12;
  for (uint32_t i = 0; i < n; i++) {
    memcpy(&prompts[i].n_ids, p, 4);
    prompts[i].ids = (const int32_t *)(const void *)(p + 4);
    p += 4 + 4 * prompts[i].n_ids;
    memcpy(&prompts[i].n_next, p, 4);
    prompts[i].next = (const int32_t *)(const void *)(p + 4);
    p += 4 + 4 * prompts[i].n_next;
    prompts[i].logits = (const float *)(const void *)p;
    p += 4 * (*n_vocab / LOGIT_STRIDE);
  }
  assert_int_equal(p - bytes->data, bytes->len);
  return n;
}

/* Logits behind the prompt, by chunks of at most the model's rows. */
static void forward(struct model *m, const struct prompt *p, float *logits) {
  struct kv_layout kv = model_kv_layout(m);
  size_t n_pages = (p->n_ids + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
  void *pages[64];
  for (size_t i = 0; i < n_pages; i++) pages[i] = mem_aligned(64, kv.page_bytes);
  for (size_t begin = 0; begin < p->n_ids; begin += model_rows_max(m)) {
    size_t rows = p->n_ids - begin < model_rows_max(m) ? p->n_ids - begin : model_rows_max(m);
    struct kv_segment segment = {.n_rows = rows, .pos_begin = begin, .pages = pages};
    int32_t last = (int32_t)rows - 1;
    bool end = begin + rows == p->n_ids;
    model_forward(m, &(struct model_batch){.n_rows = rows,
                                           .tokens = p->ids + begin,
                                           .segments = &segment,
                                           .n_segments = 1,
                                           .out_rows = &last,
                                           .n_out_rows = end ? 1 : 0,
                                           .logits = logits});
  }
  for (size_t i = 0; i < n_pages; i++) free(pages[i]);
}

static void logits_in_f32_match_transformers_within_2e_3(void **state) {
  (void)state;
  struct loaded l = load("smollm2-135m-instruct", COMPUTE_F32);
  struct buf bytes = read_vectors("chat.bin");
  struct prompt prompts[PROMPTS_MAX];
  uint32_t n_vocab, n = parse_prompts(&bytes, prompts, &n_vocab);
  assert_int_equal(n_vocab, model_info(l.model)->n_vocab);
  float *logits = mem_alloc(n_vocab * sizeof *logits), worst = 0;
  for (uint32_t i = 0; i < n; i++) {
    forward(l.model, &prompts[i], logits);
    for (uint32_t k = 0; k < n_vocab / LOGIT_STRIDE; k++) worst = fmaxf(worst, fabsf(logits[k * LOGIT_STRIDE] - prompts[i].logits[k]));
  }
  print_message("max abs error of logits: %g\n", (double)worst);
  assert_true(worst <= 2e-3f);
  free(logits);
  buf_free(&bytes);
  unload(&l);
}

/* All prompts at once, so that the batch is mixed in every step. */
static void greedy_continuations_in_f32_equal_transformers(void **state) {
  (void)state;
  struct error err;
  struct loaded l = load("smollm2-135m-instruct", COMPUTE_F32);
  struct buf bytes = read_vectors("chat.bin");
  struct prompt prompts[PROMPTS_MAX];
  size_t done[PROMPTS_MAX] = {0};
  uint32_t n_vocab, n = parse_prompts(&bytes, prompts, &n_vocab);
  struct engine *e = engine_create(&(struct engine_config){.model = l.model, .kv_bytes_max = (uint64_t)1 << 30}, &err);
  if (!e) fail_msg("%s", err.message);
  for (uint32_t i = 0; i < n; i++) {
    struct engine_request r = {
        .id = i, .prompt = prompts[i].ids, .n_prompt = prompts[i].n_ids, .max_tokens = prompts[i].n_next, .top_logprobs = -1};
    if (engine_submit(e, &r, &err) < 0) fail_msg("%s", err.message);
  }
  while (engine_busy(e)) {
    const struct engine_event *events;
    size_t n_events;
    engine_step(e, &events, &n_events);
    for (size_t k = 0; k < n_events; k++) {
      const struct prompt *p = &prompts[events[k].id];
      size_t *at = &done[events[k].id];
      if (events[k].token != p->next[*at])
        fail_msg("prompt %u, token %zu: %d, not %d", (unsigned)events[k].id, *at, events[k].token, p->next[*at]);
      ++*at;
    }
  }
  for (uint32_t i = 0; i < n; i++) assert_int_equal(done[i], prompts[i].n_next);
  engine_destroy(e);
  buf_free(&bytes);
  unload(&l);
}

/* ---- embeddings ---- */

static double cosine(const float *a, const struct js *b) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < js_len(b); i++) {
    double v = 0;
    assert_true(js_real(js_at(b, i), &v));
    ab += (double)a[i] * v;
    aa += (double)a[i] * (double)a[i];
    bb += v * v;
  }
  return ab / sqrt(aa * bb);
}

static void check_embeddings(enum compute_mode mode, double cosine_min) {
  struct error err;
  struct loaded l = load("all-minilm-l6-v2", mode);
  struct buf bytes = read_vectors("embed.json");
  struct js *cases = js_parse(buf_view(&bytes), &err);
  assert_non_null(cases);
  size_t n = js_len(cases), width = model_info(l.model)->n_embd;
  int32_t *tokens = mem_alloc(n * 512 * sizeof *tokens);
  float *out = mem_alloc(n * width * sizeof *out);
  double worst = 1;
  for (size_t i = 0; i < n; i++) {
    const struct js *ids = js_get(js_at(cases, i), "ids");
    size_t offset[2] = {0, js_len(ids)};
    for (size_t k = 0; k < js_len(ids); k++) {
      int64_t id = 0;
      js_int(js_at(ids, k), &id);
      tokens[k] = (int32_t)id;
    }
    model_embed(l.model, tokens, offset, 1, out);
    worst = fmin(worst, cosine(out, js_get(js_at(cases, i), "embedding")));
  }
  print_message("lowest cosine: %.9f\n", worst);
  assert_true(worst >= cosine_min);
  free(tokens);
  free(out);
  js_free(cases);
  buf_free(&bytes);
  unload(&l);
}

static void embeddings_in_f32_match_transformers(void **state) {
  (void)state;
  check_embeddings(COMPUTE_F32, 0.99999);
}

static void embeddings_in_fast_stay_within_one_in_ten_thousand(void **state) {
  (void)state;
  check_embeddings(COMPUTE_FAST, 0.9999);
}

/* More texts and rows than go through the layers together: 90 of 1 to 40 tokens, one of 256, one of 9. */
static void a_text_among_many_has_the_embedding_that_it_has_alone(void **state) {
  (void)state;
  enum { TEXTS = 92 };
  struct loaded l = load("all-minilm-l6-v2", COMPUTE_FAST);
  size_t width = model_info(l.model)->n_embd, offset[TEXTS + 1] = {0};
  for (size_t i = 0; i < TEXTS; i++) offset[i + 1] = offset[i] + (i == 90 ? 256 : i == 91 ? 9 : 1 + i * 7 % 40);
  int32_t *tokens = mem_alloc(offset[TEXTS] * sizeof *tokens);
  for (size_t i = 0; i < offset[TEXTS]; i++) tokens[i] = (int32_t)(1000 + i * 7919 % 20000);
  float *together = mem_alloc(TEXTS * width * sizeof *together), *alone = mem_alloc(width * sizeof *alone);
  model_embed(l.model, tokens, offset, TEXTS, together);
  for (size_t i = 0; i < TEXTS; i++) {
    model_embed(l.model, tokens + offset[i], (size_t[]){0, offset[i + 1] - offset[i]}, 1, alone);
    assert_memory_equal(alone, together + i * width, width * sizeof *alone);
  }
  free(alone);
  free(together);
  free(tokens);
  unload(&l);
}

int main(int argc, char **argv) {
  vectors = argc > 1 ? argv[1] : "test/vector/model";
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(logits_in_f32_match_transformers_within_2e_3),
      cmocka_unit_test(greedy_continuations_in_f32_equal_transformers),
      cmocka_unit_test(embeddings_in_f32_match_transformers),
      cmocka_unit_test(embeddings_in_fast_stay_within_one_in_ten_thousand),
      cmocka_unit_test(a_text_among_many_has_the_embedding_that_it_has_alone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
