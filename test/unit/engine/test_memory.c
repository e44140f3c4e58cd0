/* test_memory: models that share KV memory, come and go, and give back what they do not need; simulated (sim.h).
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "engine/memory.h"
#include "sim.h"

enum { UNIT = KV_PAGE_TOKENS * sizeof(uint64_t), SECOND = 1000000000 };

/* ---- several models on one memory ---- */

enum { MODELS = 4, EVENTS = 400000, PROMPT_MAX = 150, NEW_MAX = 60, ALIVE_MAX = 40 };

struct house {
  struct engine_memory *memory;
  bool moves; /* the machine has room now for more, now for less */
  bool fell;  /* the number did, and no plan was made since */
  struct sim models[MODELS];
  bool open[MODELS];
  uint64_t random, n_opened, n_ended, longest_steps, n_preempted, n_hits;
};

/* Page sizes differ, as they do between models; each can hold one full context (8 pages). */
static void open_model(struct house *h, int i) {
  static const size_t units[MODELS] = {1, 2, 1, 3};
  sim_open(&h->models[i], &(struct sim_options){.memory = h->memory,
                                                .page_bytes = units[i] * UNIT,
                                                .context_bytes = 8 * units[i] * UNIT,
                                                .whole_context_bytes = 8 * units[i] * UNIT,
                                                .running_max = 5,
                                                .rows_max = 40,
                                                .speculation = i == 2 ? ENGINE_SPECULATE_OFF : ENGINE_SPECULATE_ALWAYS,
                                                .window = i == 2 ? 40 : 0});
  h->models[i].random = ++h->n_opened;
  h->models[i].stop_one_in = 80;
  h->open[i] = true;
}

static void close_model(struct house *h, int i) {
  struct sim *m = &h->models[i];
  h->n_ended += m->n_ended;
  h->n_preempted += m->sched.stats.preemptions;
  h->n_hits += m->sched.stats.prefix_hit_tokens;
  if (m->longest_steps > h->longest_steps) h->longest_steps = m->longest_steps;
  sim_close(m);
  h->open[i] = false;
}

static void submit_random(struct sim *m) {
  int32_t prompt[PROMPT_MAX];
  size_t n = 1 + sim_random(m, sim_random(m, 4) ? 60 : PROMPT_MAX), alike = sim_random(m, n + 1);
  uint64_t family = sim_random(m, 6);
  for (size_t i = 0; i < n; i++) prompt[i] = (int32_t)(i < alike ? (family * 31 + i * i) % 50 : 50 + sim_random(m, 50));
  sim_submit(m, &(struct engine_request){.prompt = prompt,
                                         .n_prompt = n,
                                         .max_tokens = 1 + sim_random(m, NEW_MAX),
                                         .principal = sim_random(m, 3),
                                         .class = sim_random(m, 10) ? 0 : (unsigned)sim_random(m, ENGINE_CLASSES)});
}

/* Everything is accounted for, over all models. */
static void check(struct house *h) {
  uint64_t held = 0, growing = 0, needless = 0;
  for (int i = 0; i < MODELS; i++) {
    if (!h->open[i]) continue;
    struct sim *m = &h->models[i];
    sim_check(m);
    held += (m->pages.n_pages - m->pages.n_free + m->pages.n_spare) * (uint64_t)m->pages.page_bytes;
    growing += m->sched.running.n * (uint64_t)m->pages.page_bytes;
    needless += (m->sched.prefix.n_unused + m->pages.n_spare) * (uint64_t)m->pages.page_bytes;
  }
  assert_int_equal(held, h->memory->bytes_held);
  if (h->fell) { /* until the next plan preempts, what runs may hold more */
    assert_true(held <= h->memory->bytes_max || needless == 0);
    return;
  }
  assert_true(held <= h->memory->bytes_max);
  assert_true(memory_promised(h->memory) <= h->memory->bytes_max + /* a step later the youngest gives way */ growing);
}

static void one_clock(struct house *h) {
  uint64_t now = h->memory->now_ns;
  for (int i = 0; i < MODELS; i++)
    if (h->open[i] && h->models[i].now_ns > now) now = h->models[i].now_ns;
  for (int i = 0; i < MODELS; i++) h->models[i].now_ns = now;
}

static uint64_t draw(struct house *h, uint64_t below) {
  h->random = h->random * 6364136223846793005u + 1442695040888963407u;
  return (h->random >> 33) % below;
}

/* Room for at least the largest context beside what cannot be given back at once. */
static void fit(struct house *h) {
  uint64_t before = h->memory->bytes_max, fit = (24 + draw(h, 40)) * UNIT;
  engine_memory_fit(h->memory, fit > h->memory->bytes_held ? fit - h->memory->bytes_held : 0);
  assert_true(h->memory->bytes_max >= 8 * UNIT);
  h->fell |= h->memory->bytes_max < before;
}

static void step(struct house *h, struct sim *m) {
  bool busy = sched_busy(&m->sched);
  sim_step(m);
  if (!busy) return;
  h->fell = false;
  engine_memory_tidy(h->memory, m->now_ns); /* as the engine's loop does */
}

static void event(struct house *h) {
  int i = (int)draw(h, MODELS);
  uint64_t kind = draw(h, 10000);
  if (!h->open[i]) {
    if (kind < 100) open_model(h, i);
    return;
  }
  struct sim *m = &h->models[i];
  one_clock(h);
  if (kind < 3) close_model(h, i); /* unloaded in the middle of everything */
  else if (kind < 2500 && m->n_submitted - m->n_ended < ALIVE_MAX) submit_random(m);
  else if (kind < 2600 && m->n_submitted) sim_cancel(m, m->n_submitted - 1 - draw(h, m->n_submitted < 50 ? m->n_submitted : 50));
  else if (kind < 2700) engine_memory_tidy(h->memory, m->now_ns + draw(h, 100) * SECOND);
  else if (h->moves && kind < 2800) fit(h);
  else step(h, m);
}

static bool is_any_busy(struct house *h) {
  bool busy = false;
  for (int i = 0; i < MODELS; i++) busy |= h->open[i] && sched_busy(&h->models[i].sched);
  return busy;
}

static void run_house(struct house *h) {
  for (int i = 0; i < MODELS; i++) open_model(h, i);
  for (int i = 0; i < EVENTS; i++) {
    event(h);
    check(h);
  }
  for (int rounds = 0; is_any_busy(h); rounds++) {
    assert_true(rounds < 20000); /* no two wait for each other */
    for (int i = 0; i < MODELS; i++)
      if (h->open[i]) step(h, &h->models[i]);
    one_clock(h);
    check(h);
  }
  for (int i = 0; i < MODELS; i++)
    if (h->open[i]) close_model(h, i);
  assert_true(h->n_opened > 20 && h->n_ended > 5000 && h->n_preempted > 500 && h->n_hits > 5000);
  assert_true(h->longest_steps < 4000); /* nobody starves */
  engine_memory_destroy(h->memory);
}

static void models_that_come_and_go_share_memory_without_breaking_an_invariant(void **state) {
  (void)state;
  run_house(&(struct house){.memory = engine_memory_create(30 * UNIT)});
}

static struct engine_memory *memory_that_moves(uint64_t usual, uint64_t fit) {
  struct engine_memory *m = engine_memory_create(0);
  m->bytes_max = m->bytes_usual = usual;
  m->bytes_fit = fit;
  return m;
}

static void a_memory_that_shrinks_and_grows_under_its_models_breaks_no_invariant(void **state) {
  (void)state;
  run_house(&(struct house){.memory = memory_that_moves(40 * UNIT, 60 * UNIT), .moves = true});
}

/* ---- who gives way ---- */

static uint64_t submit(struct sim *m, int kind, size_t n, struct engine_request r) {
  int32_t prompt[SIM_CONTEXT];
  for (size_t i = 0; i < n; i++) prompt[i] = (int32_t)(kind * 1000 + (int)i);
  r.prompt = prompt;
  r.n_prompt = n;
  if (!r.max_tokens) r.max_tokens = 1;
  return sim_submit(m, &r);
}

static void drain(struct sim *m) {
  while (sim_step(m)) sim_check(m);
}

struct pair {
  struct engine_memory *memory;
  struct sim a, b;
};

static void pair_open(struct pair *p, size_t n_pages) {
  struct sim_options o = {.memory = p->memory = engine_memory_create(n_pages * UNIT), .running_max = 8, .rows_max = 64};
  sim_open(&p->a, &o);
  sim_open(&p->b, &o);
}

static void pair_close(struct pair *p) {
  sim_close(&p->a);
  sim_close(&p->b);
  engine_memory_destroy(p->memory);
}

static void prefixes_of_an_idle_model_go_before_anything_that_runs(void **state) {
  (void)state;
  struct pair p;
  pair_open(&p, 12);
  submit(&p.a, 1, 250, (struct engine_request){0});
  drain(&p.a);
  assert_int_equal(p.a.sched.prefix.n_pages, 7);
  p.b.now_ns = p.a.now_ns;
  for (int i = 0; i < 2; i++) submit(&p.b, i, 150, (struct engine_request){.max_tokens = 8});
  drain(&p.b);
  assert_int_equal(p.b.sched.stats.preemptions, 0);
  assert_true(p.a.sched.prefix.n_pages < 7);
  assert_int_equal(p.memory->bytes_held, 12 * UNIT);
  pair_close(&p);
}

static void the_least_recently_used_prefix_of_all_models_goes_first(void **state) {
  (void)state;
  struct pair p;
  pair_open(&p, 10);
  submit(&p.b, 1, 100, (struct engine_request){0}); /* the busy model's own, but older */
  drain(&p.b);
  p.a.now_ns = p.b.now_ns + SECOND;
  submit(&p.a, 1, 100, (struct engine_request){0});
  drain(&p.a);
  p.b.now_ns = p.a.now_ns + SECOND;
  submit(&p.b, 2, 200, (struct engine_request){0}); /* seven pages, and four are free */
  drain(&p.b);
  assert_int_equal(p.a.sched.prefix.n_pages, 3);
  assert_int_equal(p.b.sched.prefix.n_pages, 6);
  pair_close(&p);
}

static void the_youngest_of_all_models_gives_way(void **state) {
  (void)state;
  struct pair p;
  pair_open(&p, 10);
  uint64_t old = submit(&p.a, 1, 60, (struct engine_request){.max_tokens = 180});
  sim_step(&p.a);
  uint64_t young = submit(&p.b, 1, 60, (struct engine_request){.max_tokens = 180});
  sim_step(&p.b);
  while (sim_alive(&p.a, old)) { /* 8 pages each in the end */
    sim_step(&p.a);
    sim_step(&p.b);
  }
  assert_true(sim_alive(&p.b, young));
  assert_int_equal(p.a.sched.stats.preemptions, 0);
  assert_true(p.b.sched.stats.preemptions > 0);
  drain(&p.b);
  pair_close(&p);
}

static void a_higher_class_of_one_model_takes_the_place_of_a_lower_one_of_another(void **state) {
  (void)state;
  struct pair p;
  pair_open(&p, 10);
  uint64_t low = submit(&p.a, 1, 220, (struct engine_request){.max_tokens = 20});
  sim_step(&p.a);
  uint64_t high = submit(&p.b, 1, 120, (struct engine_request){.class = 1});
  sim_step(&p.b);
  assert_int_equal(sched_find(&p.a.sched, low)->place, SEQUENCE_WAITS);
  drain(&p.b);
  assert_false(sim_alive(&p.b, high));
  drain(&p.a);
  pair_close(&p);
}

static void a_model_that_always_has_work_does_not_starve_another_of_memory(void **state) {
  (void)state;
  struct pair p;
  pair_open(&p, 9);
  for (int i = 0; i < 6; i++) submit(&p.a, i, 30, (struct engine_request){.principal = (uint64_t)i, .max_tokens = 30});
  sim_step(&p.a);
  uint64_t big = submit(&p.b, 500, 240, (struct engine_request){0});
  for (int i = 0; i < 400 && sim_alive(&p.b, big); i++) {
    p.a.now_ns = p.b.now_ns = p.a.now_ns > p.b.now_ns ? p.a.now_ns : p.b.now_ns;
    submit(&p.a, 10 + i, 30, (struct engine_request){.principal = (uint64_t)i % 6, .max_tokens = 20});
    sim_step(&p.a);
    sim_step(&p.b);
    sim_check(&p.a);
    sim_check(&p.b);
  }
  assert_false(sim_alive(&p.b, big));
  pair_close(&p);
}

/* ---- the number ---- */

static void without_a_given_size_the_memory_is_what_models_need_and_the_machine_has(void **state) {
  (void)state;
  enum { RESERVE = 8 };
  struct engine_memory *m = memory_that_moves(100, 1000);
  assert_int_equal(memory_grow(m, 70), 100);
  assert_int_equal(memory_grow(m, 700), 700);   /* a context that needs more than usual */
  assert_int_equal(memory_grow(m, 7000), 1000); /* and one that the machine has no room for */
  engine_memory_fit(m, 64 * RESERVE);
  assert_int_equal(m->bytes_max, 100);
  engine_memory_fit(m, 8 * RESERVE); /* others take the rest */
  assert_int_equal(m->bytes_max, 7 * RESERVE);
  engine_memory_fit(m, (uint64_t)100 << 30);
  assert_int_equal(m->bytes_fit, (uint64_t)99 << 30);
  engine_memory_destroy(m);
}

static void a_given_size_holds_whatever_the_machine_has(void **state) {
  (void)state;
  struct engine_memory *m = engine_memory_create(500);
  assert_int_equal(memory_grow(m, 7000), 500);
  engine_memory_fit(m, 10);
  assert_int_equal(m->bytes_max, 500);
  engine_memory_destroy(m);
}

static void a_memory_that_shrinks_gives_back_prefixes_at_once_and_leaves_room_for_a_context(void **state) {
  (void)state;
  struct engine_memory *memory = memory_that_moves(40 * UNIT, 40 * UNIT);
  struct sim m;
  sim_open(&m, &(struct sim_options){
                   .memory = memory, .running_max = 4, .rows_max = 64, .context_bytes = 8 * UNIT, .whole_context_bytes = 9 * UNIT});
  for (int kind = 0; kind < 4; kind++) submit(&m, kind, 230, (struct engine_request){0});
  drain(&m);
  assert_true(memory->bytes_held >= 28 * UNIT);
  engine_memory_fit(memory, 0); /* what it holds may stay, but for the reserve: none of nothing */
  assert_true(memory->bytes_held <= memory->bytes_max && memory->bytes_max >= 28 * UNIT);
  memory->bytes_fit = 3 * UNIT;
  memory_grow(memory, 0);
  assert_int_equal(memory->bytes_max, 8 * UNIT);
  assert_true(memory->bytes_held <= 8 * UNIT);
  uint64_t id = submit(&m, 9, 250, (struct engine_request){0});
  drain(&m);
  assert_false(sim_alive(&m, id));
  sim_close(&m);
  engine_memory_destroy(memory);
}

/* ---- what goes back to the system ---- */

static void pages_that_nothing_needed_for_a_while_go_back(void **state) {
  (void)state;
  struct sim m;
  sim_open(&m, &(struct sim_options){.n_pages = 40, .running_max = 4, .rows_max = 64});
  uint64_t id = submit(&m, 1, 200, (struct engine_request){.max_tokens = 50});
  for (int i = 0; i < 3; i++) sim_step(&m);
  sim_cancel(&m, id);
  sched_flush(&m.sched);
  assert_true(m.pages.n_spare >= 4 && m.memory->bytes_held == m.pages.n_spare * UNIT);
  assert_true(engine_memory_tidy(m.memory, m.now_ns + 3ull * SECOND) > 0); /* they may be needed at once */
  assert_true(m.pages.n_spare >= 4);
  assert_int_equal(engine_memory_tidy(m.memory, m.now_ns + 6ull * SECOND), 0);
  assert_int_equal(m.memory->bytes_held, 0);
  sim_close(&m);
}

static void prefixes_within_a_quarter_of_the_memory_outlive_any_idle_time(void **state) {
  (void)state;
  struct sim m;
  sim_open(&m, &(struct sim_options){.n_pages = 40, .running_max = 4, .rows_max = 64});
  submit(&m, 1, 250, (struct engine_request){0});
  drain(&m);
  for (uint64_t s = 0; s < 100000; s += 1000) engine_memory_tidy(m.memory, m.now_ns + s * SECOND);
  assert_int_equal(engine_memory_tidy(m.memory, m.now_ns + 200000ull * SECOND), 0);
  assert_int_equal(m.sched.prefix.n_pages, 7);
  sim_close(&m);
}

static void what_prefixes_keep_beyond_that_goes_a_minute_after_its_last_use(void **state) {
  (void)state;
  struct sim m;
  sim_open(&m, &(struct sim_options){.n_pages = 40, .running_max = 4, .rows_max = 64});
  for (int kind = 0; kind < 5; kind++) submit(&m, kind, 230, (struct engine_request){0});
  drain(&m);
  assert_int_equal(m.sched.prefix.n_pages, 35);
  uint64_t end = m.now_ns;
  for (uint64_t s = 0; s < 50; s += 2) assert_true(engine_memory_tidy(m.memory, end + s * SECOND) > 0);
  assert_int_equal(m.sched.prefix.n_pages, 35);
  for (uint64_t s = 50; s < 70; s += 2) engine_memory_tidy(m.memory, end + s * SECOND);
  assert_int_equal(m.sched.prefix.n_pages, 10);
  assert_int_equal(m.memory->bytes_held, 10 * UNIT);
  assert_int_equal(engine_memory_tidy(m.memory, end + 80ull * SECOND), 0);
  sim_close(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(models_that_come_and_go_share_memory_without_breaking_an_invariant),
      cmocka_unit_test(a_memory_that_shrinks_and_grows_under_its_models_breaks_no_invariant),
      cmocka_unit_test(without_a_given_size_the_memory_is_what_models_need_and_the_machine_has),
      cmocka_unit_test(a_given_size_holds_whatever_the_machine_has),
      cmocka_unit_test(a_memory_that_shrinks_gives_back_prefixes_at_once_and_leaves_room_for_a_context),
      cmocka_unit_test(prefixes_of_an_idle_model_go_before_anything_that_runs),
      cmocka_unit_test(the_least_recently_used_prefix_of_all_models_goes_first),
      cmocka_unit_test(the_youngest_of_all_models_gives_way),
      cmocka_unit_test(a_higher_class_of_one_model_takes_the_place_of_a_lower_one_of_another),
      cmocka_unit_test(a_model_that_always_has_work_does_not_starve_another_of_memory),
      cmocka_unit_test(pages_that_nothing_needed_for_a_while_go_back),
      cmocka_unit_test(prefixes_within_a_quarter_of_the_memory_outlive_any_idle_time),
      cmocka_unit_test(what_prefixes_keep_beyond_that_goes_a_minute_after_its_last_use),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
