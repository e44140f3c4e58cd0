/* test_sched: which rows make a step, with a simulated model and clock (sim.h). SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "sim.h"

/* ---- 1,000,000 random events ---- */

enum { PRINCIPALS = 8, FAMILIES = 6, EVENTS = 1000000, ALIVE_MAX = 120, PROMPT_MAX = 150, NEW_MAX = 60 };

static const struct sim_options small = {.n_pages = 20, .running_max = 6, .rows_max = 40, .speculation = ENGINE_SPECULATE_ALWAYS};

/* Prompts of a family begin alike; principals ask at different rates. */
static void submit_random(struct sim *m) {
  int32_t prompt[PROMPT_MAX];
  uint64_t family = sim_random(m, FAMILIES);
  size_t n = 1 + sim_random(m, sim_random(m, 4) ? 60 : PROMPT_MAX), alike = sim_random(m, n + 1);
  for (size_t i = 0; i < n; i++) prompt[i] = (int32_t)(i < alike ? (family * 31 + i * i) % 50 : 50 + sim_random(m, 50));
  uint64_t principal = sim_random(m, PRINCIPALS);
  struct engine_request r = {.prompt = prompt,
                             .n_prompt = n,
                             .max_tokens = 1 + sim_random(m, NEW_MAX),
                             .tenant = principal / 4,
                             .principal = principal < 4 ? 0 : principal, /* half of all comes from one */
                             .class = sim_random(m, 10) ? 0 : (unsigned)sim_random(m, ENGINE_CLASSES),
                             .adapter = sim_random(m, 8) ? NULL : (struct adapter *)&small,
                             .prompt_logprobs = sim_random(m, 20) == 0};
  if (sim_random(m, 10) == 0) r.deadline_ns = m->now_ns + sim_random(m, 4000000000);
  sim_submit(m, &r);
}

/* Counters of flows that wait differ by no more than what one flow can be given before the choice is made again: the prompts that may pass one that
 * finds no room, and the output of all that runs (Sheng et al., lemma 4.3). */
static void check_fairness(const struct sched *c) {
  double least = 0, most = 0;
  for (size_t i = 0; i < c->fair.queue.n; i++) {
    double counter = heap_of(c->fair.queue.items[i], struct flow, queued)->counter;
    if (i == 0 || counter < least) least = counter;
    if (i == 0 || counter > most) most = counter;
  }
  double prompts = (double)(SCHED_OVERTAKEN_MAX + 1) * PROMPT_MAX * SCHED_PROMPT_WORK;
  double output = (double)c->config.running_max * NEW_MAX * SCHED_OUTPUT_WORK;
  assert_true(most - least <= prompts + output);
}

/* Times of little load and of too much take turns. */
static void event(struct sim *m, int i) {
  uint64_t kind = sim_random(m, 1000), submits = i / 20000 % 2 ? 500 : 150;
  if (kind < submits && m->n_submitted - m->n_ended < ALIVE_MAX) submit_random(m);
  else if (kind >= 980 && m->n_submitted) sim_cancel(m, m->n_submitted - 1 - sim_random(m, m->n_submitted < 150 ? m->n_submitted : 150));
  else if (kind == 979) sched_flush(&m->sched);
  else sim_step(m);
}

/* A window of 40 positions, and no more pages than it takes. */
static void random_events_never_break_an_invariant_with_a_sliding_window(void **state) {
  (void)state;
  struct sim m;
  sim_open(&m, &(struct sim_options){.n_pages = 5, .running_max = 6, .rows_max = 40, .speculation = ENGINE_SPECULATE_ALWAYS, .window = 40});
  m.stop_one_in = 80;
  for (int i = 0; i < EVENTS / 4; i++) {
    event(&m, i);
    sim_check(&m);
  }
  while (sim_step(&m)) sim_check(&m);
  assert_int_equal(m.n_submitted, m.n_ended);
  assert_true(m.sched.stats.preemptions > 100 && m.sched.stats.prefix_hit_tokens > 1000);
  sim_close(&m);
}

static void random_events_never_break_an_invariant(void **state) {
  (void)state;
  struct sim m;
  sim_open(&m, &small);
  m.stop_one_in = 80;
  for (int i = 0; i < EVENTS; i++) {
    event(&m, i);
    sim_check(&m);
    check_fairness(&m.sched);
  }
  while (sim_step(&m)) sim_check(&m);
  const struct engine_stats *s = &m.sched.stats;
  assert_int_equal(m.n_submitted, m.n_ended);
  assert_true(m.n_cancelled > 1000 && m.n_expired > 1000);
  assert_true(m.longest_steps < 4000); /* nobody starves: 120 requests of at most 210 tokens, six at once */
  assert_true(s->preemptions > 1000 && s->prefix_hit_tokens > 100000 && s->drafts[0].accepted > 1000 &&
              s->drafts[0].drafted > s->drafts[0].accepted);
  sim_close(&m);
}

/* Its keys and values lie in the pages of the sequences: shared, preempted, freed and behind at times. */
static void random_events_never_break_an_invariant_with_a_draft_model(void **state) {
  (void)state;
  for (int kind = 0; kind < 2; kind++) {
    struct sim_options o = small;
    struct sim m;
    o.drafts = true;
    if (kind == 1) o.speculation = ENGINE_SPECULATE_AUTO;
    sim_open(&m, &o);
    m.stop_one_in = 80;
    for (int i = 0; i < EVENTS / 4; i++) {
      event(&m, i);
      sim_check(&m);
    }
    while (sim_step(&m)) sim_check(&m);
    const struct engine_drafts *d = &m.sched.stats.drafts[ENGINE_DRAFT_MODEL];
    assert_int_equal(m.n_submitted, m.n_ended);
    assert_int_equal(d->drafted, m.n_guessed);
    if (kind == 0) assert_true(d->n > 1000 && d->accepted > 1000 && d->drafted > d->accepted);
    assert_true(m.sched.stats.preemptions > 100);
    sim_close(&m);
  }
}

/* ---- prefixes ---- */

/* n tokens that depend on `kind` from the first on. */
static uint64_t submit(struct sim *m, int kind, size_t n, struct engine_request r) {
  int32_t prompt[SIM_CONTEXT];
  for (size_t i = 0; i < n; i++) prompt[i] = (int32_t)(kind * 1000 + (int)i);
  r.prompt = prompt;
  r.n_prompt = n;
  if (!r.max_tokens) r.max_tokens = 4;
  return sim_submit(m, &r);
}

static void drain(struct sim *m) {
  while (sim_step(m)) sim_check(m);
}

static void open_roomy(struct sim *m) {
  sim_open(m, &(struct sim_options){.n_pages = 200, .running_max = 16, .rows_max = 40, .speculation = ENGINE_SPECULATE_OFF});
}

static void equal_prompts_at_once_are_computed_once(void **state) {
  (void)state;
  struct sim m;
  open_roomy(&m);
  for (int i = 0; i < 8; i++) submit(&m, 1, 100, (struct engine_request){0});
  drain(&m);
  assert_int_equal(m.sched.stats.prefill_tokens, 100 + 7 * (100 - 96));
  assert_int_equal(m.sched.stats.prefix_hit_tokens, 7 * 96);
  sim_close(&m);
}

static void those_that_wait_for_a_page_go_on_when_its_owner_is_cancelled(void **state) {
  (void)state;
  struct sim m;
  open_roomy(&m);
  uint64_t first = submit(&m, 1, 200, (struct engine_request){0});
  for (int i = 0; i < 3; i++) submit(&m, 1, 200, (struct engine_request){0});
  sim_step(&m); /* 40 rows: the second page is begun */
  sim_cancel(&m, first);
  sim_check(&m);
  drain(&m);
  assert_int_equal(m.n_ended, 4);
  assert_int_equal(m.sched.stats.prefill_tokens, 40 + (200 - 32) + 2 * (200 - 192));
  sim_close(&m);
}

static void a_prefix_outlives_idle_times_and_is_not_shared_across_tenants_and_adapters(void **state) {
  (void)state;
  struct sim m;
  open_roomy(&m);
  submit(&m, 1, 100, (struct engine_request){0});
  drain(&m);
  submit(&m, 1, 100, (struct engine_request){.tenant = 1});
  submit(&m, 1, 100, (struct engine_request){.adapter = (struct adapter *)&m});
  drain(&m);
  assert_int_equal(m.sched.stats.prefix_hit_tokens, 0);
  submit(&m, 1, 100, (struct engine_request){.principal = 7}); /* another of the tenant */
  drain(&m);
  assert_int_equal(m.sched.stats.prefix_hit_tokens, 96);
  sim_close(&m);
}

static void many_tenants_have_trees_of_their_own(void **state) {
  (void)state;
  struct sim m;
  open_roomy(&m);
  for (uint64_t tenant = 0; tenant < 190; tenant++) {
    submit(&m, 1, 40, (struct engine_request){.tenant = tenant, .max_tokens = 1});
    drain(&m);
  }
  assert_int_equal(m.sched.prefix.n_pages, 190);
  assert_int_equal(m.sched.stats.prefix_hit_tokens, 0);
  sim_close(&m);
}

static void one_row_is_left_to_compute_when_all_pages_are_there(void **state) {
  (void)state;
  struct sim m;
  open_roomy(&m);
  for (int i = 0; i < 2; i++) {
    submit(&m, 1, 96, (struct engine_request){0});
    drain(&m);
  }
  assert_int_equal(m.sched.stats.prefix_hit_tokens, 64);
  assert_int_equal(m.n_ended, 2);
  sim_close(&m);
}

static void what_was_generated_is_a_prefix_too(void **state) {
  (void)state;
  struct sim m;
  open_roomy(&m);
  uint64_t id = submit(&m, 1, 60, (struct engine_request){.max_tokens = 50});
  int32_t talk[SIM_CONTEXT];
  struct sequence *s = sched_find(&m.sched, id);
  while (s->n_tokens < 105) sim_step(&m);
  memcpy(talk, s->tokens, 105 * sizeof *talk);
  sim_submit(&m, &(struct engine_request){.prompt = talk, .n_prompt = 105, .max_tokens = 1});
  drain(&m);
  assert_int_equal(m.sched.stats.prefix_hit_tokens, 96);
  sim_close(&m);
}

static void prompt_logprobs_compute_every_row(void **state) {
  (void)state;
  struct sim m;
  open_roomy(&m);
  submit(&m, 1, 100, (struct engine_request){0});
  drain(&m);
  submit(&m, 1, 100, (struct engine_request){.prompt_logprobs = true});
  drain(&m);
  assert_int_equal(m.sched.stats.prefill_tokens, 200);
  sim_close(&m);
}

static void prefixes_make_room_the_least_recently_used_first(void **state) {
  (void)state;
  struct sim m;
  sim_open(&m, &(struct sim_options){.n_pages = 12, .running_max = 4, .rows_max = 64});
  for (int kind = 1; kind <= 3; kind++) {
    submit(&m, kind, 120, (struct engine_request){.max_tokens = 1});
    drain(&m);
  }
  submit(&m, 1, 120, (struct engine_request){.max_tokens = 1}); /* used again */
  drain(&m);
  assert_int_equal(m.sched.prefix.n_pages, 9);
  submit(&m, 4, 180, (struct engine_request){.max_tokens = 1}); /* six pages: three of them from kind 2 */
  drain(&m);
  uint64_t before = m.sched.stats.prefix_hit_tokens;
  submit(&m, 1, 120, (struct engine_request){.max_tokens = 1});
  drain(&m);
  assert_int_equal(m.sched.stats.prefix_hit_tokens, before + 96);
  submit(&m, 2, 120, (struct engine_request){.max_tokens = 1});
  drain(&m);
  assert_int_equal(m.sched.stats.prefix_hit_tokens, before + 96);
  sched_flush(&m.sched);
  assert_int_equal(m.pages.n_free, 12);
  sim_close(&m);
}

/* ---- rows ---- */

static void a_short_prompt_is_not_held_up_by_a_long_one(void **state) {
  (void)state;
  struct sim m;
  open_roomy(&m);
  submit(&m, 1, 250, (struct engine_request){0});
  submit(&m, 2, 250, (struct engine_request){0});
  sim_step(&m);
  uint64_t id = submit(&m, 3, 15, (struct engine_request){.max_tokens = 1});
  sim_step(&m);
  assert_false(sim_alive(&m, id));
  sim_close(&m);
}

static void a_long_prompt_goes_on_however_many_short_ones_come(void **state) {
  (void)state;
  struct sim m;
  open_roomy(&m);
  uint64_t id = submit(&m, 1, 250, (struct engine_request){.max_tokens = 1});
  for (int i = 0; i < 13; i++) {
    for (int k = 0; k < 2; k++) submit(&m, 2 + 2 * i + k, 20, (struct engine_request){.max_tokens = 1});
    sim_step(&m);
  }
  assert_false(sim_alive(&m, id)); /* half of 40 rows each step */
  sim_close(&m);
}

static void prompt_rows_keep_a_step_within_twice_its_time_and_never_stop(void **state) {
  (void)state;
  struct sim m;
  sim_open(&m, &(struct sim_options){.n_pages = 200, .running_max = 16, .rows_max = 200});
  m.ns_fixed = 20000000;
  submit(&m, 1, 10, (struct engine_request){.max_tokens = 200});
  for (int i = 0; i < 10; i++) sim_step(&m);
  uint64_t idle_ns = m.last_ns, worst = 0, n_steps = m.n_steps;
  uint64_t id = submit(&m, 2, 250, (struct engine_request){.max_tokens = 1});
  while (sim_alive(&m, id)) {
    sim_step(&m);
    if (m.last_ns > worst) worst = m.last_ns;
  }
  assert_true(worst <= 2 * idle_ns);
  assert_true(m.n_steps - n_steps <= 250 / 2 + 1);
  m.ns_row = 100000000; /* prompt rows became dear: a few go on all the same */
  id = submit(&m, 3, 250, (struct engine_request){.max_tokens = 1});
  for (int i = 0; i < 250 / 2 + 1; i++) sim_step(&m);
  assert_false(sim_alive(&m, id));
  sim_close(&m);
}

static void without_streams_a_prompt_takes_all_rows(void **state) {
  (void)state;
  struct sim m;
  open_roomy(&m);
  uint64_t id = submit(&m, 1, 200, (struct engine_request){.max_tokens = 1});
  for (int i = 0; i < 5; i++) sim_step(&m);
  assert_false(sim_alive(&m, id));
  sim_close(&m);
}

/* ---- fair share ---- */

enum { FLOOD = 1500 };

/* Both ask for more than they can get, one with long and one with short requests; who is first changes nothing. */
static double ratio_of_work(const struct engine_request *a, const struct engine_request *b) {
  double work[2] = {0};
  struct sim m;
  sim_open(&m, &(struct sim_options){.n_pages = 40, .running_max = 4, .rows_max = 40});
  m.work = work;
  for (int i = 0; i < FLOOD; i++) submit(&m, 2 * i, 20, *a);
  for (int i = 0; i < FLOOD; i++) submit(&m, 2 * i + 1, 90, *b);
  for (int i = 0; i < 4000; i++) sim_step(&m);
  assert_true(m.sched.fair.queue.n == 2);
  sim_close(&m);
  return work[1] / work[0];
}

static void principals_get_equal_work_whatever_they_ask_for(void **state) {
  (void)state;
  double ratio =
      ratio_of_work(&(struct engine_request){.principal = 0, .max_tokens = 10}, &(struct engine_request){.principal = 1, .max_tokens = 40});
  assert_true(ratio > 0.97 && ratio < 1.03);
}

static void classes_get_work_by_weight(void **state) {
  (void)state;
  double ratio = ratio_of_work(&(struct engine_request){.principal = 0, .max_tokens = 10},
                               &(struct engine_request){.principal = 1, .max_tokens = 40, .class = 2});
  assert_true(ratio > 3.8 && ratio < 4.2);
}

static void nobody_saves_up_a_claim_while_idle(void **state) {
  (void)state;
  double work[2] = {0}, at_return[2];
  struct sim m;
  sim_open(&m, &(struct sim_options){.n_pages = 40, .running_max = 4, .rows_max = 40});
  m.work = work;
  for (int i = 0; i < FLOOD; i++) submit(&m, 2 * i, 20, (struct engine_request){.principal = 0, .max_tokens = 10});
  submit(&m, 1, 20, (struct engine_request){.principal = 1});
  for (int i = 0; i < 2000; i++) sim_step(&m);
  memcpy(at_return, work, sizeof work);
  for (int i = 0; i < FLOOD; i++) submit(&m, 2 * i + 1, 20, (struct engine_request){.principal = 1, .max_tokens = 10});
  for (int i = 0; i < 1000; i++) sim_step(&m);
  double a = work[0] - at_return[0], b = work[1] - at_return[1];
  assert_true(b / a > 0.95 && b / a < 1.05);
  sim_close(&m);
}

static void what_was_not_computed_is_not_charged(void **state) {
  (void)state;
  struct sim m;
  open_roomy(&m);
  uint64_t id = submit(&m, 1, 250, (struct engine_request){.max_tokens = 1});
  sim_step(&m);
  const struct flow *flow = sched_find(&m.sched, id)->flow;
  sim_cancel(&m, id);
  assert_true(flow->counter == 40 * SCHED_PROMPT_WORK);
  submit(&m, 1, 34, (struct engine_request){.max_tokens = 1}); /* of which a page is there */
  drain(&m);
  assert_true(flow->counter == (40 + 2) * SCHED_PROMPT_WORK + SCHED_OUTPUT_WORK);
  sim_close(&m);
}

static void a_big_request_is_not_starved_by_small_ones(void **state) {
  (void)state;
  struct sim m;
  sim_open(&m, &(struct sim_options){.n_pages = 9, .running_max = 8, .rows_max = 40});
  for (int i = 0; i < 6; i++) submit(&m, i, 30, (struct engine_request){.principal = 2 + (uint64_t)i, .max_tokens = 30});
  sim_step(&m);
  uint64_t id = submit(&m, 500, 250, (struct engine_request){.principal = 1, .max_tokens = 1});
  for (int i = 0; i < 400 && sim_alive(&m, id); i++) {
    submit(&m, 10 + i, 30, (struct engine_request){.principal = 2 + (uint64_t)i % 6, .max_tokens = 20});
    sim_step(&m);
    sim_check(&m);
  }
  assert_false(sim_alive(&m, id));
  sim_close(&m);
}

static void a_higher_class_takes_the_place_of_the_youngest_of_a_lower_one(void **state) {
  (void)state;
  struct sim m;
  sim_open(&m, &(struct sim_options){.n_pages = 40, .running_max = 2, .rows_max = 40});
  uint64_t low[2];
  for (int i = 0; i < 2; i++) low[i] = submit(&m, i, 40, (struct engine_request){.principal = 0, .max_tokens = 100});
  sim_step(&m);
  uint64_t high = submit(&m, 2, 40, (struct engine_request){.principal = 1, .class = 1, .max_tokens = 3});
  sim_step(&m);
  assert_int_equal(sched_find(&m.sched, low[0])->place, SEQUENCE_RUNS);
  assert_int_equal(sched_find(&m.sched, low[1])->place, SEQUENCE_WAITS);
  assert_int_equal(sched_find(&m.sched, high)->place, SEQUENCE_RUNS);
  drain(&m);
  assert_int_equal(m.n_ended, 3);
  sim_close(&m);
}

static void a_deadline_ends_what_waits_and_not_what_runs(void **state) {
  (void)state;
  struct sim m;
  sim_open(&m, &(struct sim_options){.n_pages = 40, .running_max = 1, .rows_max = 40});
  uint64_t soon = m.now_ns + 30000000;
  uint64_t runs = submit(&m, 1, 10, (struct engine_request){.max_tokens = 50, .deadline_ns = soon});
  sim_step(&m);
  uint64_t waits = submit(&m, 2, 10, (struct engine_request){.deadline_ns = soon}), patient = submit(&m, 3, 10, (struct engine_request){0});
  while (m.now_ns < soon) sim_step(&m);
  sim_step(&m);
  assert_true(sim_alive(&m, runs) && !sim_alive(&m, waits) && sim_alive(&m, patient));
  assert_int_equal(m.sched.stats.expired, 1);
  drain(&m);
  sim_close(&m);
}

static void thousands_may_wait_and_be_cancelled(void **state) {
  (void)state;
  struct sim m;
  sim_open(&m, &(struct sim_options){.n_pages = 40, .running_max = 4, .rows_max = 40});
  for (int i = 0; i < 8000; i++) submit(&m, i, 20, (struct engine_request){.principal = (uint64_t)i % 3000});
  for (uint64_t i = 0; i < 100; i++) sim_step(&m);
  for (uint64_t id = 8000; id-- > 0;) sim_cancel(&m, id);
  sim_check(&m);
  assert_false(sim_step(&m));
  assert_true(m.sched.fair.n_idle <= FAIR_IDLE_MAX);
  sim_close(&m);
}

/* ---- texts to embed ---- */

static void short_texts_pass_a_long_one_but_not_for_ever(void **state) {
  (void)state;
  struct sim m;
  sim_open(&m, &(struct sim_options){.embeds = true, .running_max = 64, .rows_max = 8192});
  uint64_t last_long = submit(&m, 1, 250, (struct engine_request){0});
  for (int i = 0; i < 20; i++) last_long = submit(&m, 1, 250, (struct engine_request){0});
  uint64_t brief = submit(&m, 2, 8, (struct engine_request){0});
  sim_step(&m);
  assert_false(sim_alive(&m, brief));
  for (int i = 0; i < 80 && sim_alive(&m, last_long); i++) {
    for (int k = 0; k < 60; k++) submit(&m, 2, 8, (struct engine_request){0});
    sim_step(&m);
    assert_true(m.sched.plan.n_rows <= 512);
  }
  assert_false(sim_alive(&m, last_long));
  while (sim_step(&m)) continue;
  assert_int_equal(m.n_submitted, m.n_ended);
  sim_close(&m);
}

static void texts_are_shared_fairly_too(void **state) {
  (void)state;
  double work[2] = {0};
  struct sim m;
  sim_open(&m, &(struct sim_options){.embeds = true, .running_max = 64, .rows_max = 512});
  m.work = work;
  for (int i = 0; i < 4000; i++) submit(&m, 1, 20, (struct engine_request){.principal = 0});
  for (int i = 0; i < 4000; i++) submit(&m, 1, 100, (struct engine_request){.principal = 1});
  for (int i = 0; i < 100; i++) sim_step(&m);
  assert_true(work[1] / work[0] > 0.8 && work[1] / work[0] < 1.25);
  sim_close(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_events_never_break_an_invariant),
      cmocka_unit_test(random_events_never_break_an_invariant_with_a_draft_model),
      cmocka_unit_test(random_events_never_break_an_invariant_with_a_sliding_window),
      cmocka_unit_test(equal_prompts_at_once_are_computed_once),
      cmocka_unit_test(those_that_wait_for_a_page_go_on_when_its_owner_is_cancelled),
      cmocka_unit_test(a_prefix_outlives_idle_times_and_is_not_shared_across_tenants_and_adapters),
      cmocka_unit_test(many_tenants_have_trees_of_their_own),
      cmocka_unit_test(one_row_is_left_to_compute_when_all_pages_are_there),
      cmocka_unit_test(what_was_generated_is_a_prefix_too),
      cmocka_unit_test(prompt_logprobs_compute_every_row),
      cmocka_unit_test(prefixes_make_room_the_least_recently_used_first),
      cmocka_unit_test(a_short_prompt_is_not_held_up_by_a_long_one),
      cmocka_unit_test(a_long_prompt_goes_on_however_many_short_ones_come),
      cmocka_unit_test(prompt_rows_keep_a_step_within_twice_its_time_and_never_stop),
      cmocka_unit_test(without_streams_a_prompt_takes_all_rows),
      cmocka_unit_test(principals_get_equal_work_whatever_they_ask_for),
      cmocka_unit_test(classes_get_work_by_weight),
      cmocka_unit_test(nobody_saves_up_a_claim_while_idle),
      cmocka_unit_test(what_was_not_computed_is_not_charged),
      cmocka_unit_test(a_big_request_is_not_starved_by_small_ones),
      cmocka_unit_test(a_higher_class_takes_the_place_of_the_youngest_of_a_lower_one),
      cmocka_unit_test(a_deadline_ends_what_waits_and_not_what_runs),
      cmocka_unit_test(thousands_may_wait_and_be_cancelled),
      cmocka_unit_test(short_texts_pass_a_long_one_but_not_for_ever),
      cmocka_unit_test(texts_are_shared_fairly_too),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
