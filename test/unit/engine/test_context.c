/* test_context: how much of a model's context is served, by the KV memory that there is. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/engine.h"
#include "tiny_model.h"

static struct pool *pool;
static struct compute *compute;
static struct model *model;

static int set_up(void **state) {
  (void)state;
  struct error err;
  char *path = tiny_model_write(1, 0);
  struct file_model *file = file_model_open(path, &err);
  pool = pool_create(2, &err);
  compute = compute_create(COMPUTE_FAST, pool, COMPUTE_ISA_ALL, &err);
  model = file ? model_load(file, compute, NULL, &err) : NULL;
  file_model_close(file);
  unlink(path);
  free(path);
  return model ? 0 : -1;
}

static int tear_down(void **state) {
  (void)state;
  model_free(model);
  compute_destroy(compute);
  pool_destroy(pool);
  return 0;
}

static struct engine *engine_with_pages(size_t pages, struct error *err) {
  struct engine_config config = {.model = model, .kv_bytes_max = pages * model_kv_layout(model).page_bytes};
  return engine_create(&config, err);
}

/* The tokens of the one sequence, and how it ended. */
static size_t run(struct engine *e, const struct engine_request *r, int32_t *tokens, enum engine_finish *ret_finish) {
  const struct engine_event *events;
  struct error err;
  size_t n_events, n = 0;
  assert_int_equal(engine_submit(e, r, &err), 0);
  while (engine_busy(e)) {
    engine_step(e, &events, &n_events);
    for (size_t i = 0; i < n_events; i++) {
      tokens[n++] = events[i].token;
      *ret_finish = events[i].finish;
    }
  }
  return n;
}

static void too_little_kv_memory_is_an_error_with_the_numbers(void **state) {
  (void)state;
  struct error err;
  assert_null(engine_with_pages(1, &err));
  assert_int_equal(err.code, ERROR_NO_MEMORY);
  assert_non_null(strstr(err.message, "128 tokens"));
  assert_non_null(strstr(err.message, "whole context of 256 tokens"));
  assert_non_null(strstr(err.message, "--kv-mib"));
}

static void a_context_that_the_kv_memory_cannot_hold_is_cut_and_a_longer_prompt_refused_with_the_numbers(void **state) {
  (void)state;
  struct error err;
  int32_t prompt[TINY_CONTEXT], some[TINY_CONTEXT], same[TINY_CONTEXT];
  enum engine_finish finish;
  for (int i = 0; i < TINY_CONTEXT; i++) prompt[i] = i;
  struct engine *whole = engine_with_pages(400, &err), *cut = engine_with_pages(5, &err);
  assert_true(whole && cut);
  assert_int_equal(engine_context_tokens(whole), TINY_CONTEXT);
  assert_int_equal(engine_context_tokens(cut), 5 * KV_PAGE_TOKENS);
  assert_int_equal(engine_submit(cut, &(struct engine_request){.prompt = prompt, .n_prompt = 160}, &err), -1);
  assert_int_equal(err.code, ERROR_TOO_LARGE);
  assert_non_null(strstr(err.message, "The prompt has 160 tokens, but the KV memory holds 160 of the model's context of 256 tokens"));
  assert_non_null(strstr(err.message, "--kv-mib"));
  struct engine_request longest = {.prompt = prompt, .n_prompt = 100, .ignore_eos = true, .top_logprobs = -1};
  assert_int_equal(run(cut, &longest, some, &finish), 60);
  assert_int_equal(finish, ENGINE_LENGTH);
  longest.max_tokens = 60;
  assert_int_equal(run(whole, &longest, same, &finish), 60);
  assert_memory_equal(some, same, 60 * sizeof *some);
  engine_destroy(cut);
  engine_destroy(whole);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(too_little_kv_memory_is_an_error_with_the_numbers),
      cmocka_unit_test(a_context_that_the_kv_memory_cannot_hold_is_cut_and_a_longer_prompt_refused_with_the_numbers),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
