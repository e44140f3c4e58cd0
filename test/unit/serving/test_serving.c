/* Requests on an engine process that lives, dies, lies and cannot be started. SPDX-License-Identifier: Apache-2.0
 *
 * The engine is fake_engine.c: the real loop over engines that count. What it does is chosen by the last token of a prompt. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/fs.h"
#include "base/mem.h"
#include "place.h"

/* ---- life ---- */

static void task_and_window_are_told_by_the_configuration_before_a_model_is_loaded(void **state) {
  struct place *p = *state;
  write_file(p->chat, "config.json", "{\"model_type\":\"mpt\",\"max_seq_len\":2048,\"d_model\":64}");
  write_file(p->embed, "config.json", "{\"model_type\":\"new\",\"max_position_embeddings\":8192,\"hidden_size\":4}");
  begin(p, "words embed", NULL);
  const struct endpoint *words = serving_endpoint(p->s, SLICE("words")), *embed = serving_endpoint(p->s, SLICE("embed"));
  assert_true(words->task == SERVING_COMPLETIONS && words->context_tokens == 2048 && words->n_embd == 64);
  assert_true(embed->task == SERVING_EMBEDDINGS && embed->context_tokens == 8192);
  run_until(p, is_ready);
}

static void endpoints_become_ready_when_they_have_answered_once(void **state) {
  struct place *p = *state;
  begin(p, "words embed", NULL);
  assert_false(serving_ready(p->s));
  run_until(p, is_ready);
  const struct endpoint *words = serving_endpoint(p->s, SLICE("words")), *embed = serving_endpoint(p->s, SLICE("embed"));
  assert_true(words->task == SERVING_COMPLETIONS && words->context_tokens == 128 && words->n_parameters == 12345);
  assert_true(embed->task == SERVING_EMBEDDINGS && embed->n_embd == 4);
  assert_string_equal(words->architecture, "fake");
  assert_string_equal(serving_task_name(embed->task), "llm/v1/embeddings");
  assert_null(serving_endpoint(p->s, SLICE("word")));
}

static void a_request_gets_its_tokens_and_one_end(void **state) {
  struct place *p = *state;
  struct asked a = {0}, b = {0};
  begin(p, "words embed", NULL);
  ask(p, &a, "words", 10, 20); /* before the engine is ready: it waits */
  ask(p, &b, "embed", 10, 0);
  run_until_n_done(p, 2);
  assert_counted(&a, 10, 20);
  assert_int_equal(b.finish, SERVING_STOP);
  assert_true(b.embedding[3] == 0.5f);
}

static void a_context_that_the_engine_cut_refuses_what_waited_and_is_longer(void **state) {
  struct place *p = *state;
  const char *const args[] = {"--cut", NULL};
  struct asked fits = {0}, longer = {0};
  begin(p, "words", args);
  ask(p, &fits, "words", 10, 20); /* before the engine is ready */
  ask(p, &longer, "words", 11, 100);
  run_until_n_done(p, 2);
  assert_counted(&fits, 10, 20);
  assert_int_equal(longer.n, 0);
  assert_int_equal(longer.error.code, ERROR_TOO_LARGE);
  assert_non_null(strstr(longer.error.message, "64 of the model's context of 128"));
  assert_non_null(strstr(longer.error.message, "--kv-mib"));
  const struct endpoint *words = serving_endpoint(p->s, SLICE("words"));
  assert_true(words->context_tokens == 64 && words->whole_context_tokens == 128);
}

static void the_first_load_knows_what_the_others_are_going_to_take(void **state) {
  struct place *p = *state;
  struct serving_stats stats;
  begin(p, "words embed", NULL);
  run_until(p, is_ready);
  serving_stats(p->s, &stats);
  assert_int_equal(stats.kv_bytes, (5 + 1) << 20); /* when the second was still to come */
}

static void many_requests_at_once_each_get_their_own_tokens(void **state) {
  struct place *p = *state;
  enum { N = 40 };
  struct asked a[N] = {0};
  begin(p, "words", NULL);
  for (int i = 0; i < N; i++) ask(p, &a[i], "words", i * 3, 30);
  run_until_n_done(p, N);
  for (int i = 0; i < N; i++) assert_counted(&a[i], i * 3, 30);
}

static void a_cancelled_request_gets_no_further_event(void **state) {
  struct place *p = *state;
  const char *const args[] = {"--delay-ms", "1", NULL};
  struct asked a = {0}, b = {0};
  begin(p, "words", args);
  ask(p, &a, "words", 1, 100);
  ask(p, &b, "words", 2, 50);
  serving_cancel(a.g);
  run_until_n_done(p, 1);
  assert_counted(&b, 2, 50);
  assert_int_equal(a.n, 0);
}

static void cancel_from_callback(struct asked *a) {
  if (a->n == 2) serving_cancel(a->g);
  if (a->n == 2 && a->other) serving_cancel(a->other->g);
}

static void a_callback_may_cancel_itself_and_its_neighbours(void **state) {
  struct place *p = *state;
  const char *const args[] = {"--delay-ms", "1", NULL};
  struct asked a = {0}, b = {0}, c = {0};
  begin(p, "words", args);
  a.on_token = cancel_from_callback;
  a.other = &b;
  ask(p, &a, "words", 1, 100);
  ask(p, &b, "words", 2, 100);
  ask(p, &c, "words", 3, 100);
  run_until_n_done(p, 1);
  assert_counted(&c, 3, 100);
  assert_int_equal(a.n, 2);
  assert_true(b.n <= 2);
}

static void a_request_past_its_time_limit_ends_with_a_timeout(void **state) {
  struct place *p = *state;
  const char *const args[] = {"--delay-ms", "20", NULL};
  struct asked a = {.p = p};
  struct error err;
  const int32_t last = 5;
  begin(p, "words", args);
  struct serving_request r = request_of(p, "words", &last, 0);
  r.timeout_ms = 300;
  assert_non_null(serving_generate(p->s, &r, on_event, &a, &err));
  run_until_n_done(p, 1);
  assert_int_equal(a.error.code, ERROR_TIMEOUT);
  assert_non_null(strstr(a.error.message, "0.3 s"));
}

static void a_wait_for_a_model_that_is_loading_ends_with_the_time_limit_or_the_caller(void **state) {
  struct place *p = *state;
  const char *const args[] = {"--hold-load", "words", "--hold-file", p->flag, NULL};
  struct asked late = {.p = p}, gone = {.p = p};
  struct error err;
  struct serving_stats stats;
  const int32_t last = 5;
  write_file(p->dir, "flag", "");
  begin(p, "words", args);
  ask(p, &gone, "words", 1, 10);
  struct serving_request r = request_of(p, "words", &last, 0);
  r.timeout_ms = 300;
  assert_non_null(serving_generate(p->s, &r, on_event, &late, &err));
  serving_cancel(gone.g); /* the client left */
  run_until_n_done(p, 1);
  assert_int_equal(late.error.code, ERROR_TIMEOUT);
  assert_false(gone.done || serving_ready(p->s));
  serving_stats(p->s, &stats);
  assert_int_equal(stats.generations, 0);
  unlink(p->flag);
  run_until(p, is_ready);
  assert_int_equal(gone.n + late.n, 0);
}

static void a_request_whose_time_is_over_while_the_engine_lets_it_wait_ends_with_the_same_timeout(void **state) {
  enum { EXPIRE = 908 };
  struct place *p = *state;
  struct asked a = {.p = p};
  struct error err;
  const int32_t last = EXPIRE;
  begin(p, "words", NULL);
  struct serving_request r = request_of(p, "words", &last, 0);
  r.timeout_ms = 60000;
  assert_non_null(serving_generate(p->s, &r, on_event, &a, &err));
  run_until_n_done(p, 1);
  assert_int_equal(a.error.code, ERROR_TIMEOUT);
  assert_non_null(strstr(a.error.message, "60 s"));
}

static void what_the_engine_refuses_is_told_in_its_words(void **state) {
  struct place *p = *state;
  struct asked a = {0};
  begin(p, "words", NULL);
  ask(p, &a, "words", REFUSE, 3);
  run_until_n_done(p, 1);
  assert_int_equal(a.error.code, ERROR_TOO_LARGE);
  assert_non_null(strstr(a.error.message, "9 pages"));
}

static void requests_that_no_engine_could_take_are_refused_at_once(void **state) {
  struct place *p = *state;
  struct error err = {0};
  const int32_t last = 5;
  const struct slice empty[1] = {{"", 0}};
  begin_with(p, "words", NULL, (struct serving_config){.waiting_max = 1});
  struct serving_request good = request_of(p, "words", &last, 1), r = good;
  r.n_prompt = 0;
  assert_null(serving_generate(p->s, &r, on_event, NULL, &err));
  r = good;
  r.temperature = -1;
  assert_null(serving_generate(p->s, &r, on_event, NULL, &err));
  r = good;
  r.top_p = 0;
  assert_null(serving_generate(p->s, &r, on_event, NULL, &err));
  for (int i = 0; i < 6; i++) {
    const struct serving_bias bias = {1, INFINITY};
    r = good;
    if (i == 0) r.min_p = 1.5;
    if (i == 1) r.repetition_penalty = -1;
    if (i == 2) r.presence_penalty = INFINITY;
    if (i == 3) r.frequency_penalty = NAN;
    if (i == 4) r.biases = &bias, r.n_biases = 1;
    if (i == 5) r.stop_ids = &last, r.n_stop_ids = SERVING_STOP_IDS_MAX + 1;
    err = (struct error){0};
    assert_null(serving_generate(p->s, &r, on_event, NULL, &err));
    assert_int_equal(err.code, ERROR_INVALID);
  }
  r = good;
  r.stops = empty;
  r.n_stops = 1;
  assert_null(serving_generate(p->s, &r, on_event, NULL, &err));
  assert_int_equal(err.code, ERROR_INVALID);
  struct asked a = {0};
  ask(p, &a, "words", 5, 1);
  assert_null(serving_generate(p->s, &good, on_event, NULL, &err));
  assert_int_equal(err.code, ERROR_UNAVAILABLE);
  run_until_n_done(p, 1);
}

/* ---- death ---- */

static void kill_engine(struct asked *a) {
  if (a->n == 2) kill(engine_pid(a->p), SIGKILL);
}

static void after_a_kill_the_begun_end_with_an_error_and_the_waiting_are_served(void **state) {
  struct place *p = *state;
  const char *const args[] = {"--delay-ms", "5", "--parrot", p->pid_file, NULL};
  struct asked a = {.on_token = kill_engine}, b = {0};
  begin(p, "words", args);
  ask(p, &a, "words", 1, 100);
  run_until_n_done(p, 1);
  assert_int_equal(a.error.code, ERROR_UNAVAILABLE);
  assert_true(a.n >= 2);
  assert_false(serving_ready(p->s));
  ask(p, &b, "words", 7, 9); /* while there is no engine */
  run_until_n_done(p, 2);
  assert_counted(&b, 7, 9);
  struct serving_stats stats;
  serving_stats(p->s, &stats);
  assert_int_equal(stats.engine_restarts, 1);
}

/* Queries of Prometheus take a count that goes back for one that began anew. */
static void counts_go_on_when_the_engine_is_started_again(void **state) {
  struct place *p = *state;
  const char *const args[] = {"--delay-ms", "5", "--parrot", p->pid_file, NULL};
  struct asked a = {.on_token = kill_engine}, b = {0};
  struct serving_model_stats before, after;
  begin(p, "words", args);
  ask(p, &a, "words", 1, 100);
  run_until_n_done(p, 1);
  serving_model_stats(p->s, serving_endpoint(p->s, SLICE("words")), &before);
  assert_true(before.steps >= 3 && before.decode_tokens >= 3 && before.running == 0); /* the proof, and two tokens */
  ask(p, &b, "words", 7, 9);
  run_until_n_done(p, 2);
  serving_model_stats(p->s, serving_endpoint(p->s, SLICE("words")), &after);
  assert_int_equal(after.steps, before.steps + 10);
  assert_int_equal(after.decode_tokens, before.decode_tokens + 10);
  assert_int_equal(after.step_tokens->count, after.steps);
  assert_int_equal(histogram_up_to(after.step_tokens, 1), after.steps); /* one token in each */
}

static void kill_engine_twice(struct asked *a) {
  if (a->n == 2 || a->n == 5) kill(engine_pid(a->p), SIGKILL);
}

static void one_that_resumes_goes_on_after_every_death_as_if_nothing_had_happened(void **state) {
  struct place *p = *state;
  const char *const args[] = {"--delay-ms", "5", "--parrot", p->pid_file, NULL};
  struct asked a = {.on_token = kill_engine_twice, .resumes = true}, b = {.resumes = true};
  begin(p, "words", args);
  ask(p, &a, "words", 1, 40);
  ask(p, &b, "words", 500, 30);
  run_until_n_done(p, 2);
  assert_counted(&a, 1, 40);
  assert_counted(&b, 500, 30);
  struct serving_stats stats;
  serving_stats(p->s, &stats);
  assert_true(stats.engine_restarts >= 1);
}

/* The engine that goes on is asked the very same: the seed, too, which a request without one was given. */
static void all_of_the_sampling_reaches_every_engine(void **state) {
  struct place *p = *state;
  enum { TELL_SAMPLING = 907 };
  const char *const args[] = {"--delay-ms", "5", "--parrot", p->pid_file, NULL};
  const int32_t prompt[] = {TELL_SAMPLING}, stop_ids[] = {4, 77};
  const struct serving_bias biases[] = {{55, -12.5f}, {56, 1}};
  const struct slice stops[] = {{"abc", 3}};
  const int32_t told[] = {70, 90, 5, 40, 110, 150, 225, 123, 6, 1, 2, 77, 2, 55, 175, 1, 3, 36};
  begin(p, "words", args);
  struct asked a = {.p = p, .on_token = kill_engine_twice};
  struct serving_request r = request_of(p, "words", prompt, 36);
  r.temperature = 0.7;
  r.top_p = 0.9;
  r.min_p = 0.05;
  r.top_k = 40;
  r.repetition_penalty = 1.1;
  r.presence_penalty = -0.5;
  r.frequency_penalty = 0.25;
  r.seed = 900000000123u;
  r.min_tokens = 6;
  r.ignore_eos = true;
  r.stop_ids = stop_ids;
  r.n_stop_ids = 2;
  r.biases = biases;
  r.n_biases = 2;
  r.stops = stops;
  r.n_stops = 1;
  r.resumes = true;
  assert_non_null(serving_generate(p->s, &r, on_event, &a, NULL));
  run_until_n_done(p, 1);
  assert_int_equal(a.n, 36);
  for (size_t i = 0; i < 36; i++) assert_int_equal(a.tokens[i], told[i % 18]);
  struct serving_stats stats;
  serving_stats(p->s, &stats);
  assert_true(stats.engine_restarts >= 1);
}

static void requests_that_had_not_begun_survive_the_death_of_the_engine(void **state) {
  struct place *p = *state;
  const char *const args[] = {"--parrot", p->pid_file, NULL};
  struct asked a[5] = {0};
  begin(p, "words", args);
  run_until(p, is_ready);
  kill(engine_pid(p), SIGSTOP); /* so that it takes none of them up */
  for (int i = 0; i < 5; i++) ask(p, &a[i], "words", i, 10);
  kill(engine_pid(p), SIGKILL);
  run_until_n_done(p, 5);
  for (int i = 0; i < 5; i++) assert_counted(&a[i], i, 10);
}

static void a_request_that_kills_every_engine_is_given_up_and_the_others_go_on(void **state) {
  struct place *p = *state;
  struct asked poison = {0}, good = {0};
  begin(p, "words", NULL);
  ask(p, &poison, "words", DIE_AT_ONCE, 10);
  run_until_n_done(p, 1);
  assert_int_equal(poison.error.code, ERROR_INTERNAL);
  ask(p, &good, "words", 3, 10);
  run_until_n_done(p, 2);
  assert_counted(&good, 3, 10);
}

static void an_engine_that_sends_nonsense_is_replaced(void **state) {
  static const int32_t kinds[] = {NONSENSE_AFTER_3, BAD_TOKEN, DIE_AFTER_3};
  struct place *p = *state;
  begin(p, "words", NULL);
  for (size_t i = 0; i < 3; i++) {
    struct asked a = {0}, b = {0};
    p->n_done = 0;
    ask(p, &a, "words", kinds[i], 10);
    run_until_n_done(p, 1);
    assert_true(a.error.code == ERROR_UNAVAILABLE || a.error.code == ERROR_INTERNAL);
    ask(p, &b, "words", 4, 10);
    run_until_n_done(p, 2);
    assert_counted(&b, 4, 10);
  }
}

static void an_engine_that_hangs_is_replaced(void **state) {
  struct place *p = *state;
  struct asked a = {0}, b = {0};
  begin_with(p, "words", NULL, (struct serving_config){.stall_ms = 500});
  run_until(p, is_ready);
  ask(p, &a, "words", HANG, 10);
  run_until_n_done(p, 1); /* given up after it hung every engine */
  ask(p, &b, "words", 4, 10);
  run_until_n_done(p, 2);
  assert_counted(&b, 4, 10);
}

static void an_idle_engine_that_was_held_up_is_not_replaced(void **state) {
  struct place *p = *state;
  const char *const args[] = {"--parrot", p->pid_file, NULL};
  struct asked a = {0};
  begin(p, "words", args);
  run_until(p, is_ready);
  kill(engine_pid(p), SIGSTOP);
  ask(p, &a, "words", 4, 10);
  kill(engine_pid(p), SIGCONT);
  run_until_n_done(p, 1);
  assert_counted(&a, 4, 10);
  struct serving_stats stats;
  serving_stats(p->s, &stats);
  assert_int_equal(stats.engine_restarts, 0);
}

static bool refuses(struct place *p) {
  const int32_t last = 5;
  struct error err;
  struct serving_request r = request_of(p, "words", &last, 1);
  struct generation *g = serving_generate(p->s, &r, on_event, NULL, &err);
  if (g) serving_cancel(g);
  else assert_int_equal(err.code, ERROR_UNAVAILABLE);
  return !g;
}

static void an_engine_that_cannot_start_is_told_and_comes_back_when_it_can(void **state) {
  struct place *p = *state;
  const char *const args[] = {"--exit-if", p->flag, NULL};
  struct asked a = {0}, b = {0};
  write_file(p->dir, "flag", "");
  begin(p, "words", args);
  ask(p, &a, "words", 1, 10); /* waits, until the engine is given up for now */
  run_until_n_done(p, 1);
  assert_int_equal(a.error.code, ERROR_UNAVAILABLE);
  run_until(p, refuses);
  assert_false(serving_ready(p->s));
  unlink(p->flag);
  run_until(p, is_ready);
  ask(p, &b, "words", 1, 10);
  run_until_n_done(p, 2);
  assert_counted(&b, 1, 10);
}

static void a_program_that_is_not_there_is_no_end_of_the_server(void **state) {
  struct place *p = *state;
  begin_with(p, "words", NULL, (struct serving_config){.engine_program = "/nonexistent/plinth"});
  run_until(p, refuses);
  assert_true(is_not_alive(p));
}

/* ---- models ---- */

static void a_model_that_cannot_be_read_fails_alone(void **state) {
  struct place *p = *state;
  struct asked a = {0};
  struct error err;
  const int32_t last = 5;
  begin(p, "words broken", NULL);
  ask(p, &a, "words", 1, 10);
  run_until_n_done(p, 1);
  assert_counted(&a, 1, 10);
  const struct endpoint *broken = serving_endpoint(p->s, SLICE("broken"));
  assert_int_equal(broken->state, SERVING_FAILED);
  assert_non_null(strstr(broken->failure, "tokenizer.json"));
  struct serving_request r = request_of(p, "broken", &last, 1);
  assert_null(serving_generate(p->s, &r, on_event, NULL, &err));
  assert_int_equal(err.code, ERROR_UNAVAILABLE);
  assert_false(serving_ready(p->s));
}

static void no_model_that_can_be_read_is_an_error(void **state) {
  struct place *p = *state;
  struct error err = {0};
  const struct serving_model specs[] = {{"broken", p->broken}};
  struct serving_config config = {
      .models = specs, .n_models = 1, .engine_program = FAKE_ENGINE, .loop = net_loop(p->net), .store = p->store};
  assert_null(serving_create(&config, &err));
  assert_non_null(strstr(err.message, "broken"));
  config.n_models = 0;
  assert_null(serving_create(&config, &err));
  assert_non_null(strstr(err.message, "no model"));
  begin(p, "words", NULL);
}

static bool embed_failed(struct place *p) { return serving_endpoint(p->s, SLICE("embed"))->state == SERVING_FAILED; }

static void a_model_that_the_engine_cannot_load_fails_its_requests_with_the_reason(void **state) {
  struct place *p = *state;
  const char *const args[] = {"--no-load", "embed", NULL};
  struct asked a = {0}, b = {0};
  begin(p, "words embed", args);
  ask(p, &a, "embed", 1, 0);
  ask(p, &b, "words", 1, 10);
  run_until_n_done(p, 2);
  assert_int_equal(a.error.code, ERROR_UNAVAILABLE);
  assert_non_null(strstr(a.error.message, "9 GiB"));
  assert_counted(&b, 1, 10);
  assert_true(embed_failed(p));
}

static void expect_left_out(struct place *p, const char *deadly, const char *other) {
  const char *const args[] = {"--die-load", deadly, NULL};
  struct asked good = {.resumes = true}, bad = {.resumes = true};
  begin(p, "words embed", args);
  ask(p, &good, other, 1, 10);
  ask(p, &bad, deadly, 1, 10);
  run_until_n_done(p, 2);
  if (good.error.code) fail_msg("%s", good.error.message);
  assert_int_equal(bad.error.code, ERROR_UNAVAILABLE);
  if (!strstr(bad.error.message, "left out")) fail_msg("%s", bad.error.message);
}

static void the_last_model_is_left_out_when_it_ends_every_engine(void **state) { expect_left_out(*state, "embed", "words"); }
static void the_first_model_is_left_out_when_it_ends_every_engine(void **state) { expect_left_out(*state, "words", "embed"); }

/* ---- the end ---- */

static void on_idle(void *arg) { ((struct place *)arg)->idle_calls++; }
static bool was_idle(struct place *p) { return p->idle_calls > 0; }

static void draining_refuses_the_new_and_finishes_the_old(void **state) {
  struct place *p = *state;
  const char *const args[] = {"--delay-ms", "2", NULL};
  struct asked a = {0};
  begin(p, "words", args);
  run_until(p, is_ready);
  ask(p, &a, "words", 1, 50);
  serving_drain(p->s, on_idle, p);
  assert_true(refuses(p));
  assert_false(serving_ready(p->s));
  run_until(p, was_idle);
  assert_counted(&a, 1, 50);
  assert_int_equal(p->idle_calls, 1);
}

static void ask_on(struct asked *a) {
  if (a->n == 1) ask(a->p, a->other, "words", 1, 20);
}

static void a_call_goes_on_through_a_drain_and_a_crowd(void **state) {
  struct place *p = *state;
  const char *const args[] = {"--delay-ms", "2", NULL};
  struct asked b = {.goes_on = true}, a = {.on_token = ask_on, .other = &b};
  begin_with(p, "words", args, (struct serving_config){.waiting_max = 1});
  run_until(p, is_ready);
  ask(p, &a, "words", 1, 2);
  serving_drain(p->s, on_idle, p);
  assert_true(refuses(p));
  run_until(p, was_idle);
  assert_counted(&a, 1, 2);
  assert_counted(&b, 1, 20);
  assert_int_equal(p->idle_calls, 1);
}

static void after_an_abort_no_call_goes_on(void **state) {
  struct place *p = *state;
  struct error why = {ERROR_UNAVAILABLE, "Time is up."}, err;
  const int32_t last = 5;
  begin(p, "words", NULL);
  run_until(p, is_ready);
  serving_abort(p->s, &why);
  struct serving_request r = request_of(p, "words", &last, 1);
  r.goes_on = true;
  assert_null(serving_generate(p->s, &r, on_event, NULL, &err));
  assert_int_equal(err.code, ERROR_UNAVAILABLE);
}

static void abort_and_stop_end_what_is_left_with_an_error(void **state) {
  struct place *p = *state;
  struct error why = {ERROR_UNAVAILABLE, "Time is up."};
  const char *const args[] = {"--delay-ms", "50", NULL};
  struct asked a = {0};
  begin(p, "words", args);
  run_until(p, is_ready);
  ask(p, &a, "words", 1, 50);
  serving_abort(p->s, &why);
  assert_true(a.done);
  assert_string_equal(a.error.message, "Time is up.");
  serving_stop(p->s);
  assert_true(refuses(p));
}

static void the_engine_ends_with_the_server(void **state) {
  struct place *p = *state;
  const char *const args[] = {"--parrot", p->pid_file, NULL};
  begin(p, "words", args);
  run_until(p, is_ready);
  pid_t pid = engine_pid(p);
  assert_int_equal(kill(pid, 0), 0);
  serving_stop(p->s);
  assert_int_equal(kill(pid, 0), -1);
  assert_int_equal(errno, ESRCH);
}

/* ---- work ---- */

struct errand {
  struct place *p;
  int value;
};

static void work(void *arg) { ((struct errand *)arg)->value *= 2; }
static void work_done(void *arg) {
  struct errand *e = arg;
  e->value++;
  e->p->n_done++;
}

static void work_is_done_on_another_thread_and_completed_on_the_loop(void **state) {
  struct place *p = *state;
  struct errand e[100];
  begin(p, "words", NULL);
  for (int i = 0; i < 100; i++) {
    e[i] = (struct errand){p, i};
    serving_work(p->s, work, work_done, &e[i]);
  }
  assert_int_equal(p->n_done, 0);
  run_until_n_done(p, 100);
  for (int i = 0; i < 100; i++) assert_int_equal(e[i].value, 2 * i + 1);
}

static void work_that_is_under_way_is_completed_by_stop(void **state) {
  struct place *p = *state;
  struct errand e[50];
  begin(p, "words", NULL);
  for (int i = 0; i < 50; i++) {
    e[i] = (struct errand){p, i};
    serving_work(p->s, work, work_done, &e[i]);
  }
  serving_stop(p->s);
  assert_int_equal(p->n_done, 50);
}

/* ---- principals ---- */

static void put_token(struct place *p, const char *name, struct slice text) {
  struct store_token token = {.created_s = 1};
  snprintf(token.name, sizeof token.name, "%s", name);
  EVP_Digest(text.data, text.len, token.hash, NULL, EVP_sha256(), NULL);
  assert_int_equal(store_token_put(p->store, &token, NULL), 0);
}

static bool knows_new(struct place *p) { return serving_authenticate(p->s, SLICE("plinth_new")); }

static void only_tokens_of_the_store_come_in(void **state) {
  struct place *p = *state;
  put_token(p, "admin", SLICE("plinth_secret"));
  begin(p, "words", NULL);
  assert_true(serving_auth_required(p->s));
  assert_true(serving_authenticate(p->s, SLICE("plinth_secret")));
  assert_false(serving_authenticate(p->s, SLICE("plinth_secres")));
  assert_false(serving_authenticate(p->s, SLICE("plinth_secre")));
  assert_false(serving_authenticate(p->s, SLICE("")));
  assert_false(serving_authenticate(p->s, (struct slice){0}));
  put_token(p, "admin", SLICE("plinth_new")); /* as another process would */
  run_until(p, knows_new);
  assert_false(serving_authenticate(p->s, SLICE("plinth_secret")));
}

static void without_auth_everybody_comes_in(void **state) {
  struct place *p = *state;
  begin_with(p, "words", NULL, (struct serving_config){.no_auth = true});
  assert_false(serving_auth_required(p->s));
  assert_true(serving_authenticate(p->s, SLICE("")));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(task_and_window_are_told_by_the_configuration_before_a_model_is_loaded),
      CASE(endpoints_become_ready_when_they_have_answered_once),
      CASE(a_request_gets_its_tokens_and_one_end),
      CASE(a_context_that_the_engine_cut_refuses_what_waited_and_is_longer),
      CASE(the_first_load_knows_what_the_others_are_going_to_take),
      CASE(many_requests_at_once_each_get_their_own_tokens),
      CASE(a_cancelled_request_gets_no_further_event),
      CASE(a_callback_may_cancel_itself_and_its_neighbours),
      CASE(a_request_past_its_time_limit_ends_with_a_timeout),
      CASE(a_wait_for_a_model_that_is_loading_ends_with_the_time_limit_or_the_caller),
      CASE(a_request_whose_time_is_over_while_the_engine_lets_it_wait_ends_with_the_same_timeout),
      CASE(what_the_engine_refuses_is_told_in_its_words),
      CASE(requests_that_no_engine_could_take_are_refused_at_once),
      CASE(after_a_kill_the_begun_end_with_an_error_and_the_waiting_are_served),
      CASE(counts_go_on_when_the_engine_is_started_again),
      CASE(one_that_resumes_goes_on_after_every_death_as_if_nothing_had_happened),
      CASE(all_of_the_sampling_reaches_every_engine),
      CASE(requests_that_had_not_begun_survive_the_death_of_the_engine),
      CASE(a_request_that_kills_every_engine_is_given_up_and_the_others_go_on),
      CASE(an_engine_that_sends_nonsense_is_replaced),
      CASE(an_engine_that_hangs_is_replaced),
      CASE(an_idle_engine_that_was_held_up_is_not_replaced),
      CASE(an_engine_that_cannot_start_is_told_and_comes_back_when_it_can),
      CASE(a_program_that_is_not_there_is_no_end_of_the_server),
      CASE(a_model_that_cannot_be_read_fails_alone),
      CASE(no_model_that_can_be_read_is_an_error),
      CASE(the_last_model_is_left_out_when_it_ends_every_engine),
      CASE(the_first_model_is_left_out_when_it_ends_every_engine),
      CASE(a_model_that_the_engine_cannot_load_fails_its_requests_with_the_reason),
      CASE(draining_refuses_the_new_and_finishes_the_old),
      CASE(a_call_goes_on_through_a_drain_and_a_crowd),
      CASE(after_an_abort_no_call_goes_on),
      CASE(abort_and_stop_end_what_is_left_with_an_error),
      CASE(the_engine_ends_with_the_server),
      CASE(work_is_done_on_another_thread_and_completed_on_the_loop),
      CASE(work_that_is_under_way_is_completed_by_stop),
      CASE(only_tokens_of_the_store_come_in),
      CASE(without_auth_everybody_comes_in),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
