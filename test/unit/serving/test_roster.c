/* Models that come and go while others are served. SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "place.h"

static void update(struct place *p, const char *models, uint64_t stamp) {
  struct serving_model specs[3];
  size_t n = 0;
  if (strstr(models, "words")) specs[n++] = (struct serving_model){.name = "words", .path = p->chat, .stamp = 1};
  if (strstr(models, "embed")) specs[n++] = (struct serving_model){.name = "embed", .path = p->embed, .stamp = stamp};
  if (strstr(models, "broken")) specs[n++] = (struct serving_model){.name = "broken", .path = p->broken, .stamp = stamp};
  serving_update(p->s, specs, n);
}

static const struct endpoint *find(const struct place *p, const char *name) { return serving_endpoint(p->s, slice_cstr(name)); }
static bool embed_is(const struct place *p, enum serving_state state) { return find(p, "embed") && find(p, "embed")->state == state; }
static bool embed_is_ready(struct place *p) { return embed_is(p, SERVING_READY); }
static bool embed_is_stopped(struct place *p) { return embed_is(p, SERVING_STOPPED); }
static bool embed_is_failed(struct place *p) { return embed_is(p, SERVING_FAILED); }
static bool embed_is_there(struct place *p) { return find(p, "embed") != NULL; }
static bool broken_is_there(struct place *p) { return find(p, "broken") != NULL; }

static void a_model_that_is_added_answers_and_one_that_is_removed_is_gone(void **state) {
  struct place *p = *state;
  struct asked a = {0}, b = {0};
  struct error err;
  begin(p, "words", NULL);
  run_until(p, is_ready);
  update(p, "words embed", 0); /* it is being written */
  assert_false(broken_is_there(p) || embed_is_there(p));
  update(p, "words embed", 7);
  run_until(p, embed_is_there);
  assert_int_equal(serving_n_endpoints(p->s), 2);
  assert_string_equal(serving_endpoint_at(p->s, 0)->name, "embed"); /* by name */
  assert_true(serving_ready(p->s));                                 /* one that was added later does not take readiness away */
  ask(p, &a, "embed", 1, 0);
  run_until_n_done(p, 1);
  assert_int_equal(a.finish, SERVING_STOP);
  const struct endpoint *e = find(p, "embed");
  serving_hold(e);
  update(p, "words", 0);
  assert_null(find(p, "embed"));
  assert_int_equal(serving_n_endpoints(p->s), 1);
  assert_int_equal(serving_check(p->s, e, &err), -1);
  assert_non_null(strstr(err.message, "removed"));
  assert_non_null(e->tokenizer); /* somebody may still read with it */
  serving_release(p->s, e);
  ask(p, &b, "words", 1, 10);
  run_until_n_done(p, 2);
  assert_counted(&b, 1, 10);
  assert_true(serving_ready(p->s));
}

static void streams_go_on_while_a_model_is_loaded(void **state) {
  struct place *p = *state;
  const char *const args[] = {"--hold-load", "embed", "--hold-file", p->flag, NULL};
  struct asked a[3] = {0}, waits = {0};
  write_file(p->dir, "flag", "");
  begin(p, "words", args);
  run_until(p, is_ready);
  update(p, "words embed", 7);
  run_until(p, embed_is_there);
  ask(p, &waits, "embed", 1, 0);
  for (int i = 0; i < 3; i++) ask(p, &a[i], "words", i * 5, 100);
  run_until_n_done(p, 3);
  for (int i = 0; i < 3; i++) assert_counted(&a[i], i * 5, 100);
  assert_true(embed_is(p, SERVING_LOADING) && !waits.done);
  unlink(p->flag);
  run_until_n_done(p, 4);
  assert_int_equal(waits.finish, SERVING_STOP);
}

static void a_model_that_is_removed_while_it_is_loaded_never_appears(void **state) {
  struct place *p = *state;
  const char *const args[] = {"--hold-load", "embed", "--hold-file", p->flag, NULL};
  struct asked waits = {0};
  write_file(p->dir, "flag", "");
  begin(p, "words", args);
  run_until(p, is_ready);
  update(p, "words embed", 7);
  run_until(p, embed_is_there);
  ask(p, &waits, "embed", 1, 0);
  update(p, "words", 0);
  run_until_n_done(p, 1);
  assert_non_null(strstr(waits.error.message, "removed"));
  unlink(p->flag);
  update(p, "words embed", 8); /* and may come again */
  run_until(p, embed_is_ready);
}

static void requests_of_a_removed_model_may_end_and_no_longer_than_the_limit(void **state) {
  struct place *p = *state;
  const char *const args[] = {"--delay-ms", "5", NULL};
  struct asked quick = {0}, slow = {0};
  begin_with(p, "words embed", args, (struct serving_config){.leave_ms = 250});
  run_until(p, is_ready);
  ask(p, &quick, "words", 1, 10);
  ask(p, &slow, "words", 2, 126);
  run_until(p, is_ready); /* both are with the engine */
  update(p, "embed", 1);
  run_until_n_done(p, 2);
  assert_counted(&quick, 1, 10);
  assert_int_equal(slow.error.code, ERROR_UNAVAILABLE);
  assert_non_null(strstr(slow.error.message, "removed"));
  assert_true(slow.n > 10);
}

static void a_model_whose_files_change_is_read_and_loaded_anew(void **state) {
  struct place *p = *state;
  begin(p, "words", NULL);
  run_until(p, is_ready);
  update(p, "words broken", 7);
  run_until(p, broken_is_there);
  assert_int_equal(find(p, "broken")->state, SERVING_FAILED);
  assert_true(serving_ready(p->s));
  update(p, "words broken", 7);
  assert_non_null(find(p, "broken"));
  write_file(p->broken, "tokenizer.json", place_llama_tokenizer);
  update(p, "words broken", 8);
  run_until(p, broken_is_there);
  struct asked a = {0};
  ask(p, &a, "broken", 4, 10);
  run_until_n_done(p, 1);
  assert_counted(&a, 4, 10);
}

static void a_model_is_unloaded_and_loaded_on_demand(void **state) {
  struct place *p = *state;
  struct asked a = {0}, b = {0};
  struct error err = {0};
  const int32_t last = 5;
  begin(p, "words embed", NULL);
  run_until(p, is_ready);
  assert_int_equal(serving_unload(p->s, find(p, "embed"), &err), 0);
  run_until(p, embed_is_stopped);
  struct serving_request r = request_of(p, "embed", &last, 0);
  assert_null(serving_generate(p->s, &r, on_event, NULL, &err));
  assert_int_equal(err.code, ERROR_INVALID);
  assert_non_null(strstr(err.message, "plinth models load embed"));
  assert_true(serving_ready(p->s)); /* that is as it was asked for */
  ask(p, &a, "words", 1, 10);
  run_until_n_done(p, 1);
  update(p, "words embed", 0);
  assert_true(embed_is_stopped(p));
  assert_int_equal(serving_load(p->s, find(p, "embed"), &err), 0);
  run_until(p, embed_is_ready);
  ask(p, &b, "embed", 1, 0);
  run_until_n_done(p, 2);
  assert_int_equal(b.finish, SERVING_STOP);
  assert_int_equal(serving_unload(p->s, find(p, "embed"), &err), 0); /* and both at once: the last word counts */
  assert_int_equal(serving_load(p->s, find(p, "embed"), &err), 0);
  run_until(p, embed_is_ready);
}

static bool was_restarted(struct place *p) {
  struct serving_stats stats;
  serving_stats(p->s, &stats);
  return stats.engine_restarts > 0;
}

static void a_new_engine_loads_what_was_loaded_and_leaves_what_was_stopped(void **state) {
  struct place *p = *state;
  const char *const args[] = {"--parrot", p->pid_file, NULL};
  struct asked a = {0};
  struct error err;
  begin(p, "words", args);
  run_until(p, is_ready);
  update(p, "words broken embed", 7);
  run_until(p, embed_is_ready);
  assert_int_equal(serving_unload(p->s, find(p, "words"), &err), 0);
  kill(engine_pid(p), SIGKILL);
  run_until(p, was_restarted);
  ask(p, &a, "embed", 1, 0);
  run_until_n_done(p, 1);
  assert_int_equal(a.finish, SERVING_STOP);
  struct serving_stats stats;
  serving_stats(p->s, &stats);
  assert_int_equal(stats.engine_restarts, 1);
  assert_int_equal(find(p, "words")->state, SERVING_STOPPED);
  assert_int_equal(find(p, "broken")->state, SERVING_FAILED);
}

static void an_added_model_that_ends_engines_is_left_out_until_it_is_asked_for(void **state) {
  struct place *p = *state;
  const char *const args[] = {"--die-load", "embed", NULL};
  struct asked good = {.resumes = true};
  struct error err = {0};
  begin(p, "words", args);
  run_until(p, is_ready);
  update(p, "words embed", 7);
  run_until(p, embed_is_failed);
  assert_non_null(strstr(find(p, "embed")->failure, "left out"));
  ask(p, &good, "words", 1, 10);
  run_until_n_done(p, 1);
  assert_counted(&good, 1, 10);
  struct serving_stats stats;
  serving_stats(p->s, &stats);
  assert_int_equal(stats.engine_restarts, 2);
  assert_int_equal(serving_load(p->s, find(p, "embed"), &err), 0);
  assert_true(embed_is(p, SERVING_LOADING));
  run_until(p, embed_is_failed);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(a_model_that_is_added_answers_and_one_that_is_removed_is_gone),
      CASE(streams_go_on_while_a_model_is_loaded),
      CASE(a_model_that_is_removed_while_it_is_loaded_never_appears),
      CASE(requests_of_a_removed_model_may_end_and_no_longer_than_the_limit),
      CASE(a_model_whose_files_change_is_read_and_loaded_anew),
      CASE(a_model_is_unloaded_and_loaded_on_demand),
      CASE(a_new_engine_loads_what_was_loaded_and_leaves_what_was_stopped),
      CASE(an_added_model_that_ends_engines_is_left_out_until_it_is_asked_for),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
