/* test_engine: scheduling, limits and, above all, that a sequence gets the same bits whatever happens around it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "engine/engine.h"
#include "tiny_model.h"

enum { SEQUENCES = 17, PAGES_MIN = TINY_CONTEXT / KV_PAGE_TOKENS };

struct rig {
  struct pool *pool;
  struct compute *compute;
  struct model *model, *draft;
  struct engine *engine;
};

struct rig_options {
  enum compute_mode mode;
  enum kv_type kv;
  int threads;
  unsigned isa;
  size_t pages, prefill_rows_max, rows_max;
  enum engine_speculation speculation;
  bool warm; /* everything is asked for twice, and the second answers count */
  bool windowed;
  enum { DRAFT_NONE, DRAFT_SELF, DRAFT_LIKE, DRAFT_OTHER } draft; /* the model itself, one that thinks much alike, a stranger */
  size_t n;                                                       /* sequences; 0: all */
  uint64_t (*clock_ns)(void *ctx);
};

enum { WINDOW = 40 };
static char *path, *windowed_path, *like_path, *other_path, *wider_path;

static struct slice token_text(void *ctx, int32_t id) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
  (void)ctx;
  return slice_make(letters + id % 26, 1);
}

static struct model *load(const char *from, struct compute *compute, size_t rows_max, enum kv_type kv) {
  struct error err;
  struct file_model *file = file_model_open(from, &err);
  if (!file) fail_msg("%s", err.message);
  struct model *m = model_load(file, compute, &(struct model_options){.rows_max = rows_max, .kv = kv}, &err);
  if (!m) fail_msg("%s", err.message);
  file_model_close(file);
  return m;
}

static struct rig rig_open(struct rig_options o) {
  struct error err;
  struct rig r = {0};
  r.pool = pool_create(o.threads ? o.threads : 2, &err);
  r.compute = compute_create(o.mode, r.pool, o.isa ? o.isa : COMPUTE_ISA_ALL, &err);
  r.model = load(o.windowed ? windowed_path : path, r.compute, o.rows_max, o.kv);
  if (o.draft) r.draft = load(o.draft == DRAFT_SELF ? path : o.draft == DRAFT_LIKE ? like_path : other_path, r.compute, 0, o.kv);
  struct kv_layout kv = model_kv_layout(r.model);
  struct engine_config config = {.model = r.model,
                                 .kv_bytes_max = (o.pages ? o.pages : 400) * kv.page_bytes * (o.draft ? 2 : 1),
                                 .draft = r.draft,
                                 .prefill_rows_max = o.prefill_rows_max,
                                 .speculation = o.speculation,
                                 .clock_ns = o.clock_ns,
                                 .token_bytes = token_text};
  r.engine = engine_create(&config, &err);
  if (!r.engine) fail_msg("%s", err.message);
  return r;
}

static void rig_close(struct rig *r) {
  engine_destroy(r->engine);
  model_free(r->draft);
  model_free(r->model);
  compute_destroy(r->compute);
  pool_destroy(r->pool);
}

/* What a sequence got, with the exact log-probabilities. */
struct outcome {
  int32_t tokens[TINY_CONTEXT];
  float logprobs[TINY_CONTEXT];
  size_t n;
  enum engine_finish finish;
};

static size_t prompt_of(uint64_t id, int32_t *prompt) {
  size_t n = 3 + (size_t)id * 11 % 90;
  for (size_t i = 0; i < n; i++) prompt[i] = (int32_t)((id * 31 + i * i * 7 + 3) % TINY_VOCAB);
  return n;
}

/* Every third request has penalties, every fourth a bias, some must go on for a while. */
static void add_extras(uint64_t id, struct engine_request *r) {
  static const struct engine_bias biases[] = {{7, 2.5f}, {11, -100}, {300, 1.25f}};
  static const struct engine_bias narrow[] = {{7, 31}, {11, 30}, {300, 30}}; /* a text that repeats */
  static const int32_t stop_ids[] = {41, 42, 43};
  struct engine_sampling *g = &r->sampling;
  if (id % 3 == 1) g->repetition_penalty = 1.15f;
  if (id % 3 == 2) g->presence_penalty = 0.4f;
  if (id % 6 == 3) g->frequency_penalty = 0.3f;
  if (id % 7 == 5) g->min_p = 0.02f;
  if (id % 4 == 0) g->biases = id % 8 ? narrow : biases, g->n_biases = 3;
  r->min_tokens = id % 5 == 2 ? 70 : 0;
  if (r->min_tokens) r->stop_ids = stop_ids, r->n_stop_ids = 3;
}

static struct engine_request request_of(uint64_t id, int32_t *prompt) {
  struct engine_request r = {.id = id, .prompt = prompt, .max_tokens = 70, .top_logprobs = 2};
  r.n_prompt = prompt_of(id, prompt);
  r.sampling = (struct engine_sampling){.temperature = id % 3 ? 0.9f : 0, .top_p = id % 2 ? 0.9f : 1, .top_k = id % 5 ? 0 : 40, .seed = id};
  add_extras(id, &r);
  return r;
}

static void submit(struct rig *rig, const struct engine_request *r) {
  struct error err;
  if (engine_submit(rig->engine, r, &err) < 0) fail_msg("%s", err.message);
}

static void collect(struct rig *rig, struct outcome *outcomes) {
  const struct engine_event *events;
  size_t n;
  while (engine_busy(rig->engine)) {
    engine_step(rig->engine, &events, &n);
    for (size_t i = 0; i < n; i++) {
      if (events[i].kind != ENGINE_TOKEN) continue;
      struct outcome *o = &outcomes[events[i].id];
      assert_int_equal(o->finish, ENGINE_RUNNING);
      o->tokens[o->n] = events[i].token;
      o->logprobs[o->n++] = events[i].logprob;
      o->finish = events[i].finish;
    }
  }
}

static void ask_for(struct rig *rig, struct outcome *outcomes, size_t n) {
  memset(outcomes, 0, SEQUENCES * sizeof *outcomes);
  for (uint64_t id = 0; id < n; id++) {
    int32_t prompt[TINY_CONTEXT];
    struct engine_request r = request_of(id, prompt);
    submit(rig, &r);
  }
  collect(rig, outcomes);
}

static struct outcome *run_all(struct rig_options options, struct engine_stats *ret_stats) {
  struct rig rig = rig_open(options);
  struct outcome *outcomes = mem_zalloc(SEQUENCES, sizeof *outcomes);
  struct engine_stats stats;
  size_t n = options.n ? options.n : SEQUENCES;
  ask_for(&rig, outcomes, n);
  if (options.warm) ask_for(&rig, outcomes, n);
  engine_stats(rig.engine, &stats);
  assert_int_equal(stats.pages_used, 0);
  assert_int_equal(stats.finished, options.warm ? 2 * n : n);
  if (ret_stats) *ret_stats = stats;
  rig_close(&rig);
  return outcomes;
}

/* One after the other, from cold, without drafts. */
static struct outcome *run_alone(struct rig_options options) {
  options.speculation = ENGINE_SPECULATE_OFF;
  struct rig rig = rig_open(options);
  struct outcome *outcomes = mem_zalloc(SEQUENCES, sizeof *outcomes);
  for (uint64_t id = 0; id < SEQUENCES; id++) {
    int32_t prompt[TINY_CONTEXT];
    struct engine_request r = request_of(id, prompt);
    submit(&rig, &r);
    collect(&rig, outcomes);
    engine_flush(rig.engine);
  }
  rig_close(&rig);
  return outcomes;
}

static void same_of(const struct outcome *a, const struct outcome *b, size_t n) {
  for (size_t id = 0; id < n; id++) {
    assert_int_equal(a[id].n, 70);
    assert_int_equal(b[id].n, 70);
    assert_memory_equal(a[id].tokens, b[id].tokens, 70 * sizeof(int32_t));
    assert_memory_equal(a[id].logprobs, b[id].logprobs, 70 * sizeof(float));
  }
}

static void same(const struct outcome *a, const struct outcome *b) { same_of(a, b, SEQUENCES); }

/* ---- the same bits ---- */

static void check_same_bits(enum compute_mode mode, enum kv_type kv) {
  struct outcome *alone = run_alone((struct rig_options){.mode = mode, .kv = kv});
  const struct rig_options others[] = {
      {.mode = mode},
      {.mode = mode, .speculation = ENGINE_SPECULATE_ALWAYS},
      {.mode = mode, .speculation = ENGINE_SPECULATE_OFF, .warm = true},
      {.mode = mode, .speculation = ENGINE_SPECULATE_ALWAYS, .warm = true, .rows_max = 40, .threads = 3},
      {.mode = mode, .prefill_rows_max = 5},
      {.mode = mode, .rows_max = 19},
      {.mode = mode, .threads = 1, .speculation = ENGINE_SPECULATE_ALWAYS},
      {.mode = mode, .threads = 5},
      {.mode = mode, .isa = COMPUTE_ISA_REF},
      {.mode = mode, .isa = COMPUTE_ISA_REF | COMPUTE_ISA_AVX2 | COMPUTE_ISA_NEON},
  };
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
    struct rig_options o = others[i];
    o.kv = kv;
    struct outcome *other = run_all(o, NULL);
    same(alone, other);
    free(other);
  }
  free(alone);
}

static void fast_gives_the_same_bits_alone_in_a_batch_in_chunks_with_any_threads_instructions_prefixes_and_drafts(void **state) {
  (void)state;
  check_same_bits(COMPUTE_FAST, KV_F16);
}

static void precise_gives_the_same_bits_alone_in_a_batch_in_chunks_with_any_threads_instructions_prefixes_and_drafts(void **state) {
  (void)state;
  check_same_bits(COMPUTE_PRECISE, KV_F16);
}

static void f32_gives_the_same_bits_alone_in_a_batch_in_chunks_with_any_threads_instructions_prefixes_and_drafts(void **state) {
  (void)state;
  check_same_bits(COMPUTE_F32, KV_F16);
}

static void q8_gives_the_same_bits_alone_in_a_batch_in_chunks_with_any_threads_instructions_prefixes_and_drafts(void **state) {
  (void)state;
  check_same_bits(COMPUTE_FAST, KV_Q8);
}

static void bf16_gives_the_same_bits_alone_in_a_batch_in_chunks_with_any_threads_instructions_prefixes_and_drafts(void **state) {
  (void)state;
  check_same_bits(COMPUTE_FAST, KV_BF16);
}

static void check_preemption(enum kv_type kv) {
  struct outcome *alone = run_alone((struct rig_options){.mode = COMPUTE_FAST, .kv = kv});
  for (int drafts = 0; drafts < 2; drafts++) {
    struct engine_stats stats;
    struct rig_options options = {.mode = COMPUTE_FAST, .kv = kv, .pages = PAGES_MIN + 2};
    options.speculation = drafts ? ENGINE_SPECULATE_ALWAYS : ENGINE_SPECULATE_OFF;
    struct outcome *tight = run_all(options, &stats);
    assert_true(stats.preemptions > 0);
    same(alone, tight);
    free(tight);
  }
  free(alone);
}

static void a_preempted_sequence_is_recomputed_with_the_same_result(void **state) {
  (void)state;
  check_preemption(KV_F16);
  check_preemption(KV_Q8);
}

/* What the suite above would not show if it never happened. */
static void prefixes_are_hit_and_drafts_accepted_in_these_comparisons(void **state) {
  (void)state;
  struct engine_stats stats;
  free(run_all((struct rig_options){.mode = COMPUTE_FAST, .speculation = ENGINE_SPECULATE_ALWAYS, .warm = true}, &stats));
  assert_true(stats.prefix_hit_tokens >= 500);
  assert_true(stats.drafts[0].accepted >= 100 && stats.drafts[0].drafted > stats.drafts[0].accepted);
  assert_true(stats.decode_tokens >= 2 * SEQUENCES * 69);
}

/* ---- a draft model ---- */

/* Few enough that it guesses for all that decode. */
enum { DRAFTED = 13 };

static void check_draft_models(enum kv_type kv) {
  struct outcome *alone = run_alone((struct rig_options){.mode = COMPUTE_FAST, .kv = kv});
  const struct rig_options others[] = {
      {.speculation = ENGINE_SPECULATE_ALWAYS},
      {.speculation = ENGINE_SPECULATE_ALWAYS, .n = DRAFTED},
      {.speculation = ENGINE_SPECULATE_ALWAYS, .n = DRAFTED, .warm = true, .rows_max = 40, .threads = 3},
      {.speculation = ENGINE_SPECULATE_ALWAYS, .n = DRAFTED, .pages = PAGES_MIN + 2},
      {.speculation = ENGINE_SPECULATE_ALWAYS, .n = 1},
      {.n = DRAFTED},
      {.n = 2, .threads = 1},
  };
  for (int draft = DRAFT_SELF; draft <= DRAFT_OTHER; draft++) {
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
      struct rig_options o = others[i];
      struct engine_stats stats;
      o.mode = COMPUTE_FAST;
      o.kv = kv;
      o.draft = draft;
      struct outcome *other = run_all(o, &stats);
      same_of(alone, other, o.n ? o.n : SEQUENCES);
      if (o.pages) assert_true(stats.preemptions > 0);
      if (o.speculation == ENGINE_SPECULATE_ALWAYS && o.n) assert_true(stats.drafts[ENGINE_DRAFT_MODEL].n > 10 * o.n);
      free(other);
    }
  }
  free(alone);
}

static void a_draft_model_changes_no_bit_however_well_it_guesses(void **state) {
  (void)state;
  check_draft_models(KV_F16);
  check_draft_models(KV_Q8);
}

static double share_accepted(int draft, bool warm) {
  struct engine_stats stats;
  free(
      run_all((struct rig_options){.mode = COMPUTE_F32, .speculation = ENGINE_SPECULATE_ALWAYS, .n = DRAFTED, .draft = draft, .warm = warm},
              &stats));
  const struct engine_drafts *d = &stats.drafts[ENGINE_DRAFT_MODEL];
  assert_true(d->drafted > 500);
  return (double)d->accepted / (double)d->drafted;
}

/* It draws as the model draws, so one that thinks alike says the same at any temperature. */
static void a_draft_model_is_right_as_often_as_it_thinks_alike(void **state) {
  (void)state;
  double self = share_accepted(DRAFT_SELF, false), like = share_accepted(DRAFT_LIKE, false), other = share_accepted(DRAFT_OTHER, false);
  assert_true(self > 0.8); /* penalties count guesses only once they came */
  assert_true(self > like && like > 0.2 && other < 0.1);
  assert_true(share_accepted(DRAFT_SELF, true) > 0.8); /* what it knows of shared pages is right */
}

static void only_tokens_that_came_are_told_when_a_draft_is_cancelled_or_ends(void **state) {
  (void)state;
  struct rig rig = rig_open((struct rig_options){.mode = COMPUTE_FAST, .speculation = ENGINE_SPECULATE_ALWAYS, .draft = DRAFT_SELF});
  const struct engine_event *events;
  struct engine_stats stats;
  size_t n, told = 0;
  for (uint64_t id = 0; id < 2; id++)
    submit(&rig, &(struct engine_request){.id = id, .prompt = (int32_t[]){1, 2}, .n_prompt = 2, .max_tokens = 50, .top_logprobs = -1});
  for (int i = 0; i < 5; i++) engine_step(rig.engine, &events, &n);
  engine_cancel(rig.engine, 0);
  while (engine_busy(rig.engine)) {
    engine_step(rig.engine, &events, &n);
    for (size_t i = 0; i < n; i++) assert_int_equal(events[i].id, 1);
    told += n;
  }
  assert_true(told < 50 && told > 25);
  engine_stats(rig.engine, &stats);
  assert_int_equal(stats.pages_used, 0);
  assert_true(stats.drafts[ENGINE_DRAFT_MODEL].accepted > 10);
  assert_int_equal(stats.page_bytes, model_kv_layout(rig.model).page_bytes + model_kv_layout(rig.draft).page_bytes);
  rig_close(&rig);
}

static void expect_no_draft(struct rig *rig, struct model *draft, struct model *model, const char *words) {
  struct error err = {0};
  struct engine_config config = {.model = model, .draft = draft, .kv_bytes_max = 1 << 30};
  (void)rig;
  assert_null(engine_create(&config, &err));
  if (!strstr(err.message, words)) fail_msg("%s", err.message);
}

static void a_draft_model_that_does_not_fit_is_refused_with_the_reason(void **state) {
  (void)state;
  struct rig rig = rig_open((struct rig_options){.mode = COMPUTE_FAST});
  struct model *wider = load(wider_path, rig.compute, 0, KV_F16), *windowed = load(windowed_path, rig.compute, 0, KV_F16);
  expect_no_draft(&rig, wider, rig.model, "352 tokens and the model 320");
  expect_no_draft(&rig, rig.model, windowed, "sliding window of 40");
  model_free(wider);
  model_free(windowed);
  rig_close(&rig);
}

static void choices_of_one_prompt_share_it_and_stay_themselves(void **state) {
  (void)state;
  enum { CHOICES = 6, LENGTH = 100, MADE = 40 };
  struct outcome alone[CHOICES] = {0}, together[CHOICES] = {0};
  struct rig rig = rig_open((struct rig_options){.mode = COMPUTE_FAST, .rows_max = 48});
  struct engine_stats before, after;
  int32_t prompt[LENGTH];
  for (int i = 0; i < LENGTH; i++) prompt[i] = (i * i + 5) % TINY_VOCAB;
  struct engine_request r = {.prompt = prompt, .n_prompt = LENGTH, .max_tokens = MADE, .sampling = {.temperature = 1, .top_p = 1}};
  for (uint64_t id = 0; id < CHOICES; id++) {
    r.id = r.sampling.seed = id;
    submit(&rig, &r);
    collect(&rig, alone);
    engine_flush(rig.engine);
  }
  engine_stats(rig.engine, &before);
  for (uint64_t id = 0; id < CHOICES; id++) {
    r.id = r.sampling.seed = id;
    submit(&rig, &r);
  }
  collect(&rig, together);
  engine_stats(rig.engine, &after);
  assert_int_equal(after.prefix_hit_tokens - before.prefix_hit_tokens, (CHOICES - 1) * 96);
  for (int i = 0; i < CHOICES; i++) {
    assert_int_equal(together[i].n, MADE);
    assert_memory_equal(together[i].tokens, alone[i].tokens, MADE * sizeof(int32_t));
    assert_memory_equal(together[i].logprobs, alone[i].logprobs, MADE * sizeof(float));
  }
  rig_close(&rig);
}

static void a_resumed_request_goes_on_as_if_nothing_had_happened(void **state) {
  (void)state;
  struct outcome *whole = run_alone((struct rig_options){.mode = COMPUTE_FAST}), *rest = mem_zalloc(SEQUENCES, sizeof *rest);
  struct rig rig = rig_open((struct rig_options){.mode = COMPUTE_FAST});
  for (uint64_t id = 0; id < SEQUENCES; id++) {
    int32_t prompt[TINY_CONTEXT];
    struct engine_request r = request_of(id, prompt);
    r.n_done = 1 + id;
    memcpy(prompt + r.n_prompt, whole[id].tokens, r.n_done * sizeof *prompt);
    r.n_prompt += r.n_done;
    submit(&rig, &r);
  }
  collect(&rig, rest);
  for (size_t id = 0; id < SEQUENCES; id++) {
    assert_int_equal(rest[id].n, 70 - 1 - id);
    assert_memory_equal(rest[id].tokens, whole[id].tokens + 1 + id, rest[id].n * sizeof(int32_t));
  }
  rig_close(&rig);
  free(whole);
  free(rest);
}

/* ---- a sliding window ---- */

/* Pages that a sequence holds at most: the window, the rows of a step, and where they begin within a page. */
static size_t window_pages(size_t rows_max) { return (WINDOW + rows_max + 2 * KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS; }

static void pages_behind_a_window_are_given_back_with_the_same_result(void **state) {
  (void)state;
  /* In one pass of 256 rows next to nothing is given back before it is read. */
  struct outcome *alone = run_alone((struct rig_options){.mode = COMPUTE_FAST, .windowed = true, .rows_max = 256});
  struct outcome *plain = run_alone((struct rig_options){.mode = COMPUTE_FAST});
  assert_memory_not_equal(alone[8].tokens, plain[8].tokens, sizeof alone[8].tokens); /* the window is felt */
  const struct rig_options others[] = {
      {.mode = COMPUTE_FAST, .windowed = true, .warm = true},
      {.mode = COMPUTE_FAST, .windowed = true, .rows_max = 19, .prefill_rows_max = 5},
      {.mode = COMPUTE_FAST, .windowed = true, .rows_max = 19, .pages = window_pages(19)},
      {.mode = COMPUTE_FAST, .windowed = true, .rows_max = 19, .pages = window_pages(19) + 3, .warm = true},
      {.mode = COMPUTE_FAST, .windowed = true, .rows_max = 19, .isa = COMPUTE_ISA_REF, .pages = 12},
  };
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
    struct outcome *other = run_all(others[i], NULL);
    same(alone, other);
    free(other);
  }
  free(alone);
  free(plain);
}

static void a_windowed_sequence_holds_no_more_pages_than_its_window_and_a_step_need(void **state) {
  (void)state;
  enum { ROWS = 16 };
  struct rig rig = rig_open((struct rig_options){.mode = COMPUTE_FAST, .windowed = true, .rows_max = ROWS, .pages = window_pages(ROWS)});
  int32_t prompt[200];
  for (int i = 0; i < 200; i++) prompt[i] = i;
  struct outcome o[1] = {0};
  submit(&rig, &(struct engine_request){.prompt = prompt, .n_prompt = 200, .top_logprobs = -1});
  size_t most = 0;
  while (engine_busy(rig.engine)) {
    const struct engine_event *events;
    struct engine_stats stats;
    size_t n;
    engine_step(rig.engine, &events, &n);
    engine_stats(rig.engine, &stats);
    if (stats.pages_used > most) most = stats.pages_used;
    for (size_t i = 0; i < n; i++) o[0].n++, o[0].finish = events[i].finish;
  }
  assert_int_equal(o[0].n, TINY_CONTEXT - 200);
  assert_int_equal(o[0].finish, ENGINE_LENGTH);
  assert_true(most <= window_pages(ROWS) && most < PAGES_MIN);
  rig_close(&rig);
}

/* ---- ends ---- */

static void max_tokens_ends_with_length(void **state) {
  (void)state;
  struct rig rig = rig_open((struct rig_options){.mode = COMPUTE_FAST});
  struct outcome o[1] = {0};
  submit(&rig, &(struct engine_request){.prompt = (int32_t[]){1, 2}, .n_prompt = 2, .max_tokens = 3, .top_logprobs = -1});
  collect(&rig, o);
  assert_int_equal(o[0].n, 3);
  assert_int_equal(o[0].finish, ENGINE_LENGTH);
  rig_close(&rig);
}

static void without_max_tokens_the_context_ends_it_with_length(void **state) {
  (void)state;
  struct rig rig = rig_open((struct rig_options){.mode = COMPUTE_FAST, .pages = PAGES_MIN});
  struct outcome o[1] = {0};
  submit(&rig, &(struct engine_request){.prompt = (int32_t[]){1, 2}, .n_prompt = 2, .top_logprobs = -1});
  collect(&rig, o);
  assert_int_equal(o[0].n, TINY_CONTEXT - 2);
  assert_int_equal(o[0].finish, ENGINE_LENGTH);
  rig_close(&rig);
}

static void a_stop_string_ends_the_sequence_with_the_token_that_completes_it(void **state) {
  (void)state;
  struct outcome *whole = run_alone((struct rig_options){.mode = COMPUTE_FAST}), cut[1] = {0};
  struct rig rig = rig_open((struct rig_options){.mode = COMPUTE_FAST});
  int32_t prompt[TINY_CONTEXT];
  struct engine_request r = request_of(0, prompt);
  char stop[4];
  for (int i = 0; i < 4; i++) stop[i] = token_text(NULL, whole[0].tokens[20 + i]).data[0];
  struct slice stops = slice_make(stop, 4);
  r.stops = &stops;
  r.n_stops = 1;
  submit(&rig, &r);
  collect(&rig, cut);
  assert_int_equal(cut[0].finish, ENGINE_STOP);
  assert_true(cut[0].n <= 24 && cut[0].n >= 4);
  for (size_t i = 0; i < 4; i++) assert_int_equal(token_text(NULL, cut[0].tokens[cut[0].n - 4 + i]).data[0], stop[i]);
  rig_close(&rig);
  free(whole);
}

static void end_of_generation_ids_stop_unless_ignored(void **state) {
  (void)state;
  struct error err;
  struct rig rig = rig_open((struct rig_options){.mode = COMPUTE_FAST});
  struct outcome o[2] = {0};
  submit(&rig, &(struct engine_request){.prompt = (int32_t[]){1, 2}, .n_prompt = 2, .max_tokens = 9, .top_logprobs = -1});
  collect(&rig, o);
  engine_destroy(rig.engine);
  struct engine_config config = {.model = rig.model, .kv_bytes_max = 1 << 24, .stop_ids = &o[0].tokens[4], .n_stop_ids = 1};
  rig.engine = engine_create(&config, &err);
  assert_non_null(rig.engine);
  struct outcome stopped[2] = {0};
  submit(&rig, &(struct engine_request){.id = 0, .prompt = (int32_t[]){1, 2}, .n_prompt = 2, .max_tokens = 9, .top_logprobs = -1});
  submit(&rig, &(struct engine_request){
                   .id = 1, .prompt = (int32_t[]){1, 2}, .n_prompt = 2, .max_tokens = 9, .top_logprobs = -1, .ignore_eos = true});
  collect(&rig, stopped);
  assert_int_equal(stopped[0].finish, ENGINE_STOP);
  assert_true(stopped[0].n <= 5);
  assert_int_equal(stopped[1].n, 9);
  rig_close(&rig);
}

static void ids_of_the_request_end_it_too(void **state) {
  (void)state;
  struct rig rig = rig_open((struct rig_options){.mode = COMPUTE_FAST});
  struct outcome whole[1] = {0}, cut[1] = {0};
  struct engine_request r = {.prompt = (int32_t[]){1, 2}, .n_prompt = 2, .max_tokens = 9, .top_logprobs = -1};
  submit(&rig, &r);
  collect(&rig, whole);
  r.stop_ids = &whole[0].tokens[4];
  r.n_stop_ids = 1;
  r.ignore_eos = true;
  submit(&rig, &r);
  collect(&rig, cut);
  assert_int_equal(cut[0].finish, ENGINE_STOP);
  assert_true(cut[0].n <= 5 && cut[0].tokens[cut[0].n - 1] == whole[0].tokens[4]);
  rig_close(&rig);
}

static void before_min_tokens_nothing_ends_and_what_would_end_does_not_come(void **state) {
  (void)state;
  struct rig rig = rig_open((struct rig_options){.mode = COMPUTE_FAST});
  struct outcome o[2] = {0};
  int32_t stop_ids[ENGINE_STOP_IDS_MAX];
  for (int i = 0; i < ENGINE_STOP_IDS_MAX; i++) stop_ids[i] = i; /* a good part of the vocabulary */
  struct engine_request r = {.prompt = (int32_t[]){1, 2},
                             .n_prompt = 2,
                             .max_tokens = 60,
                             .min_tokens = 20,
                             .top_logprobs = -1,
                             .sampling = {.temperature = 1, .top_p = 1, .seed = 3},
                             .stop_ids = stop_ids,
                             .n_stop_ids = ENGINE_STOP_IDS_MAX};
  submit(&rig, &r);
  r.id = 1;
  r.n_stop_ids = 0;
  struct slice stops[] = {SLICE("a"), SLICE("e"), SLICE("i"), SLICE("o"), SLICE("u")};
  r.stops = stops;
  r.n_stops = 5;
  submit(&rig, &r);
  collect(&rig, o);
  assert_true(o[0].finish == ENGINE_STOP && o[0].n > 20 && o[0].tokens[o[0].n - 1] < ENGINE_STOP_IDS_MAX);
  for (size_t i = 0; i < 20; i++) assert_true(o[0].tokens[i] >= ENGINE_STOP_IDS_MAX);
  assert_true(o[1].finish == ENGINE_STOP && o[1].n > 20);
  rig_close(&rig);
}

/* Greedy text of a small model repeats itself; a penalty ends that, and the logprobs stay the model's own. */
static void penalties_bias_and_bans_do_not_touch_logprobs(void **state) {
  (void)state;
  struct rig rig = rig_open((struct rig_options){.mode = COMPUTE_FAST});
  struct outcome plain[2] = {0}, penalized[2] = {0};
  struct engine_request r = {.prompt = (int32_t[]){1, 2, 3}, .n_prompt = 3, .max_tokens = 1, .top_logprobs = 0};
  submit(&rig, &r);
  collect(&rig, plain);
  const struct engine_bias bias = {plain[0].tokens[0], 100};
  r.sampling = (struct engine_sampling){.repetition_penalty = 1.5f, .presence_penalty = 2, .biases = &bias, .n_biases = 1};
  submit(&rig, &r);
  collect(&rig, penalized);
  assert_int_equal(penalized[0].tokens[0], plain[0].tokens[0]);
  assert_memory_equal(&penalized[0].logprobs[0], &plain[0].logprobs[0], sizeof(float));
  const struct engine_bias ban = {plain[0].tokens[0], -100};
  r.sampling.biases = &ban;
  r.id = 1;
  submit(&rig, &r);
  collect(&rig, penalized);
  assert_int_not_equal(penalized[1].tokens[0], plain[0].tokens[0]);
  assert_true(penalized[1].logprobs[0] < plain[0].logprobs[0]);
  rig_close(&rig);
}

static void a_frequency_penalty_ends_repetition(void **state) {
  (void)state;
  struct rig rig = rig_open((struct rig_options){.mode = COMPUTE_FAST});
  struct outcome o[2] = {0};
  for (uint64_t id = 0; id < 2; id++) {
    struct engine_request r = {.id = id, .prompt = (int32_t[]){1, 2, 3}, .n_prompt = 3, .max_tokens = 100, .top_logprobs = -1};
    r.sampling = (struct engine_sampling){.frequency_penalty = id ? 2 : 0, .biases = &(struct engine_bias){9, 4}, .n_biases = 1};
    submit(&rig, &r);
  }
  collect(&rig, o);
  int most[2] = {0};
  for (int id = 0; id < 2; id++) {
    int count[TINY_VOCAB] = {0};
    for (size_t i = 0; i < o[id].n; i++)
      if (++count[o[id].tokens[i]] > most[id]) most[id] = count[o[id].tokens[i]];
  }
  assert_true(most[1] * 3 < most[0]);
  rig_close(&rig);
}

/* ---- logprobs ---- */

static void prompt_logprobs_equal_those_of_generation(void **state) {
  (void)state;
  struct rig rig = rig_open((struct rig_options){.mode = COMPUTE_FAST, .prefill_rows_max = 7});
  struct outcome made[1] = {0};
  int32_t text[40] = {5, 6, 7};
  submit(&rig, &(struct engine_request){.prompt = text, .n_prompt = 3, .max_tokens = 37, .top_logprobs = 1});
  collect(&rig, made);
  memcpy(text + 3, made[0].tokens, 37 * sizeof *text);
  submit(&rig, &(struct engine_request){.prompt = text, .n_prompt = 40, .max_tokens = 1, .top_logprobs = 5, .prompt_logprobs = true});
  size_t at = 0;
  while (engine_busy(rig.engine)) {
    const struct engine_event *events;
    size_t n;
    engine_step(rig.engine, &events, &n);
    for (size_t i = 0; i < n; i++) {
      if (events[i].kind != ENGINE_PROMPT_TOKEN) continue;
      assert_int_equal(events[i].token, text[at]);
      if (at == 0) assert_true(isnan(events[i].logprob));
      if (at >= 3) assert_memory_equal(&events[i].logprob, &made[0].logprobs[at - 3], sizeof(float));
      if (at >= 3) assert_int_equal(events[i].top[0].id, text[at]); /* greedy text */
      at++;
    }
  }
  assert_int_equal(at, 40);
  rig_close(&rig);
}

/* ---- admission and cancelling ---- */

static void waiting_sequences_start_in_order_when_pages_are_free(void **state) {
  (void)state;
  struct rig rig = rig_open((struct rig_options){.mode = COMPUTE_FAST, .pages = PAGES_MIN});
  int32_t prompt[200];
  for (int i = 0; i < 200; i++) prompt[i] = i;
  for (uint64_t id = 0; id < 3; id++)
    submit(&rig, &(struct engine_request){.id = id, .prompt = prompt, .n_prompt = 200, .max_tokens = 2, .top_logprobs = -1});
  uint64_t order[3];
  size_t finished = 0;
  while (engine_busy(rig.engine)) {
    const struct engine_event *events;
    struct engine_stats stats;
    size_t n;
    engine_step(rig.engine, &events, &n);
    engine_stats(rig.engine, &stats);
    assert_true(stats.pages_used <= PAGES_MIN);
    for (size_t i = 0; i < n; i++)
      if (events[i].finish) order[finished++] = events[i].id;
  }
  assert_int_equal(finished, 3);
  for (uint64_t i = 0; i < 3; i++) assert_int_equal(order[i], i);
  rig_close(&rig);
}

static void cancel_takes_effect_within_one_step_and_frees_pages(void **state) {
  (void)state;
  struct rig rig = rig_open((struct rig_options){.mode = COMPUTE_FAST});
  const struct engine_event *events;
  struct engine_stats stats;
  size_t n;
  for (uint64_t id = 0; id < 2; id++)
    submit(&rig, &(struct engine_request){.id = id, .prompt = (int32_t[]){1, 2}, .n_prompt = 2, .max_tokens = 50, .top_logprobs = -1});
  engine_step(rig.engine, &events, &n);
  assert_int_equal(n, 2);
  engine_cancel(rig.engine, 0);
  engine_cancel(rig.engine, 99);
  engine_step(rig.engine, &events, &n);
  assert_int_equal(n, 1);
  assert_int_equal(events[0].id, 1);
  engine_cancel(rig.engine, 1);
  assert_false(engine_busy(rig.engine));
  engine_stats(rig.engine, &stats);
  assert_int_equal(stats.pages_used, 0);
  rig_close(&rig);
}

static uint64_t fake_ns;
static uint64_t fake_clock(void *ctx) {
  (void)ctx;
  return fake_ns += 1000;
}

static void a_request_that_waits_past_its_deadline_ends_and_says_so(void **state) {
  (void)state;
  struct rig rig = rig_open((struct rig_options){.mode = COMPUTE_FAST, .pages = PAGES_MIN, .clock_ns = fake_clock});
  int32_t prompt[200] = {0};
  struct engine_request r = {.prompt = prompt, .n_prompt = 200, .max_tokens = 50, .top_logprobs = -1};
  for (r.id = 0; r.id < 2; r.id++) {
    r.deadline_ns = r.id ? fake_ns + 500000 : 0;
    prompt[0] = (int32_t)r.id;
    submit(&rig, &r);
  }
  const struct engine_event *events;
  struct engine_stats stats;
  size_t n;
  engine_step(rig.engine, &events, &n);
  fake_ns += 1000000;
  engine_step(rig.engine, &events, &n);
  assert_true(n >= 1 && events[0].id == 1 && events[0].kind == ENGINE_END && events[0].finish == ENGINE_EXPIRED);
  engine_stats(rig.engine, &stats);
  assert_int_equal(stats.expired, 1);
  assert_int_equal(stats.waiting, 0);
  assert_int_equal(stats.running, 1);
  rig_close(&rig);
}

/* The first to come has the pages; the other waits for its end. */
static void the_first_token_says_what_a_sequence_waited_and_took(void **state) {
  (void)state;
  struct rig rig = rig_open((struct rig_options){.mode = COMPUTE_FAST, .pages = PAGES_MIN, .clock_ns = fake_clock});
  int32_t prompt[200] = {0};
  uint64_t submitted[2], first[2] = {0}, end_of_one = 0;
  for (uint64_t id = 0; id < 2; id++) {
    prompt[0] = (int32_t)id;
    submitted[id] = fake_ns;
    submit(&rig, &(struct engine_request){.id = id, .prompt = prompt, .n_prompt = 200, .max_tokens = 8, .top_logprobs = -1});
  }
  while (engine_busy(rig.engine)) {
    const struct engine_event *events;
    size_t n;
    fake_ns += 1000000;
    engine_step(rig.engine, &events, &n);
    for (size_t i = 0; i < n; i++) {
      const struct engine_event *e = &events[i];
      assert_int_equal(e->timed, first[e->id] == 0);
      if (!e->timed) continue;
      first[e->id] = fake_ns;
      uint64_t known = e->queue_ns + e->prefill_ns, most = fake_ns - submitted[e->id];
      assert_true(known <= most && known + 10000 > most); /* what a look at the clock takes is 1,000 */
      if (e->id == 0) assert_true(e->queue_ns < 1010000);
      else assert_true(submitted[1] + e->queue_ns > end_of_one && e->prefill_ns < 3000000);
    }
    if (n && events[n - 1].id == 0 && events[n - 1].finish) end_of_one = fake_ns;
  }
  assert_true(first[0] && first[1] > end_of_one);
  rig_close(&rig);
}

static void steps_are_counted_in_rows_bytes_and_operations(void **state) {
  (void)state;
  struct rig rig = rig_open((struct rig_options){.mode = COMPUTE_FAST});
  const struct engine_event *events;
  struct engine_stats s;
  size_t n;
  for (uint64_t id = 0; id < 2; id++)
    submit(&rig, &(struct engine_request){
                     .id = id, .prompt = (int32_t[]){1, 2, (int32_t)id}, .n_prompt = 3, .max_tokens = 3, .top_logprobs = -1});
  engine_step(rig.engine, &events, &n);
  engine_stats(rig.engine, &s);
  assert_true(s.step_tokens == 6 && s.step_sequences == 2 && s.prefix_query_tokens == 6 && s.prefix_hit_tokens == 0);
  /* 64 x 64 q and o, 64 x 32 k and v, 64 x 96 three times, in three layers; the head for two rows */
  uint64_t row = 2 * 3 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96), head = 2 * TINY_VOCAB * 64;
  assert_int_equal(s.prefill_operations, 6 * row + 2 * head);
  assert_true(s.decode_bytes == 0 && s.prefill_ns > 0 && s.decode_ns == 0);
  engine_step(rig.engine, &events, &n);
  engine_stats(rig.engine, &s);
  assert_true(s.step_tokens == 2 && s.step_sequences == 2 && s.decode_ns > 0);
  size_t kv = 2 * 4 * model_kv_layout(rig.model).page_bytes / KV_PAGE_TOKENS; /* two sequences see four positions each */
  assert_int_equal(s.decode_bytes, model_stream_bytes(rig.model) + kv);
  assert_int_equal(s.prefill_operations, 6 * row + 2 * head);
  rig_close(&rig);
}

static void bad_requests_are_refused_with_the_numbers(void **state) {
  (void)state;
  struct rig rig = rig_open((struct rig_options){.mode = COMPUTE_FAST});
  int32_t prompt[TINY_CONTEXT + 1] = {0};
  struct error err;
  assert_int_equal(engine_submit(rig.engine, &(struct engine_request){.prompt = prompt, .n_prompt = 0}, &err), -1);
  assert_int_equal(engine_submit(rig.engine, &(struct engine_request){.prompt = prompt, .n_prompt = TINY_CONTEXT + 1}, &err), -1);
  assert_non_null(strstr(err.message, "257"));
  assert_non_null(strstr(err.message, "256"));
  prompt[1] = TINY_VOCAB;
  assert_int_equal(engine_submit(rig.engine, &(struct engine_request){.prompt = prompt, .n_prompt = 2}, &err), -1);
  assert_non_null(strstr(err.message, "320"));
  assert_int_equal(
      engine_submit(rig.engine, &(struct engine_request){.prompt = prompt, .n_prompt = 1, .stops = &SLICE(""), .n_stops = 1}, &err), -1);
  assert_int_equal(engine_submit(rig.engine, &(struct engine_request){.prompt = prompt, .n_prompt = 1, .class = ENGINE_CLASSES}, &err), -1);
  assert_false(engine_busy(rig.engine));
  submit(&rig, &(struct engine_request){.id = 5, .prompt = prompt, .n_prompt = 1, .top_logprobs = -1});
  assert_int_equal(engine_submit(rig.engine, &(struct engine_request){.id = 5, .prompt = prompt, .n_prompt = 1}, &err), -1);
  rig_close(&rig);
}

static void sampling_refused(struct rig *rig, struct engine_request r, const char *words) {
  struct error err;
  r.prompt = (int32_t[]){1};
  r.n_prompt = 1;
  assert_int_equal(engine_submit(rig->engine, &r, &err), -1);
  assert_int_equal(err.code, ERROR_INVALID);
  if (!strstr(err.message, words)) fail_msg("%s", err.message);
}

static void sampling_that_cannot_be_computed_is_refused(void **state) {
  (void)state;
  struct rig rig = rig_open((struct rig_options){.mode = COMPUTE_FAST});
  static const struct engine_bias many[ENGINE_BIASES_MAX + 1], far[] = {{TINY_VOCAB, 1}}, odd[] = {{1, INFINITY}};
  static const int32_t ids[ENGINE_STOP_IDS_MAX + 1], below[] = {-1};
  sampling_refused(&rig, (struct engine_request){.sampling = {.min_p = NAN}}, "no number");
  sampling_refused(&rig, (struct engine_request){.sampling = {.presence_penalty = INFINITY}}, "no number");
  sampling_refused(&rig, (struct engine_request){.sampling = {.repetition_penalty = -1}}, "above 0");
  sampling_refused(&rig, (struct engine_request){.sampling = {.biases = many, .n_biases = ENGINE_BIASES_MAX + 1}}, "at most 300");
  sampling_refused(&rig, (struct engine_request){.sampling = {.biases = far, .n_biases = 1}}, "320 tokens");
  sampling_refused(&rig, (struct engine_request){.sampling = {.biases = odd, .n_biases = 1}}, "inf");
  sampling_refused(&rig, (struct engine_request){.stop_ids = ids, .n_stop_ids = ENGINE_STOP_IDS_MAX + 1}, "at most 128");
  sampling_refused(&rig, (struct engine_request){.stop_ids = below, .n_stop_ids = 1}, "token -1");
  assert_false(engine_busy(rig.engine));
  rig_close(&rig);
}

int main(void) {
  path = tiny_model_write(1, 0);
  windowed_path = tiny_model_write(1, WINDOW);
  like_path = tiny_model_write_like(1, 0.01f, TINY_VOCAB);
  other_path = tiny_model_write(2, 0);
  wider_path = tiny_model_write_like(1, 0, TINY_VOCAB + 32);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fast_gives_the_same_bits_alone_in_a_batch_in_chunks_with_any_threads_instructions_prefixes_and_drafts),
      cmocka_unit_test(precise_gives_the_same_bits_alone_in_a_batch_in_chunks_with_any_threads_instructions_prefixes_and_drafts),
      cmocka_unit_test(f32_gives_the_same_bits_alone_in_a_batch_in_chunks_with_any_threads_instructions_prefixes_and_drafts),
      cmocka_unit_test(bf16_gives_the_same_bits_alone_in_a_batch_in_chunks_with_any_threads_instructions_prefixes_and_drafts),
      cmocka_unit_test(q8_gives_the_same_bits_alone_in_a_batch_in_chunks_with_any_threads_instructions_prefixes_and_drafts),
      cmocka_unit_test(a_preempted_sequence_is_recomputed_with_the_same_result),
      cmocka_unit_test(prefixes_are_hit_and_drafts_accepted_in_these_comparisons),
      cmocka_unit_test(a_draft_model_changes_no_bit_however_well_it_guesses),
      cmocka_unit_test(a_draft_model_is_right_as_often_as_it_thinks_alike),
      cmocka_unit_test(only_tokens_that_came_are_told_when_a_draft_is_cancelled_or_ends),
      cmocka_unit_test(a_draft_model_that_does_not_fit_is_refused_with_the_reason),
      cmocka_unit_test(choices_of_one_prompt_share_it_and_stay_themselves),
      cmocka_unit_test(a_request_that_waits_past_its_deadline_ends_and_says_so),
      cmocka_unit_test(a_resumed_request_goes_on_as_if_nothing_had_happened),
      cmocka_unit_test(pages_behind_a_window_are_given_back_with_the_same_result),
      cmocka_unit_test(a_windowed_sequence_holds_no_more_pages_than_its_window_and_a_step_need),
      cmocka_unit_test(max_tokens_ends_with_length),
      cmocka_unit_test(without_max_tokens_the_context_ends_it_with_length),
      cmocka_unit_test(a_stop_string_ends_the_sequence_with_the_token_that_completes_it),
      cmocka_unit_test(end_of_generation_ids_stop_unless_ignored),
      cmocka_unit_test(ids_of_the_request_end_it_too),
      cmocka_unit_test(before_min_tokens_nothing_ends_and_what_would_end_does_not_come),
      cmocka_unit_test(penalties_bias_and_bans_do_not_touch_logprobs),
      cmocka_unit_test(a_frequency_penalty_ends_repetition),
      cmocka_unit_test(prompt_logprobs_equal_those_of_generation),
      cmocka_unit_test(waiting_sequences_start_in_order_when_pages_are_free),
      cmocka_unit_test(cancel_takes_effect_within_one_step_and_frees_pages),
      cmocka_unit_test(the_first_token_says_what_a_sequence_waited_and_took),
      cmocka_unit_test(steps_are_counted_in_rows_bytes_and_operations),
      cmocka_unit_test(bad_requests_are_refused_with_the_numbers),
      cmocka_unit_test(sampling_that_cannot_be_computed_is_refused),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  char *const written[] = {path, windowed_path, like_path, other_path, wider_path};
  for (size_t i = 0; i < sizeof written / sizeof written[0]; i++) {
    unlink(written[i]);
    free(written[i]);
  }
  return failed;
}
