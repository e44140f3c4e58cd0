/* Requests on an engine process that lives, dies, lies and cannot be started. SPDX-License-Identifier: Apache-2.0
 *
 * The engine is fake_engine.c: the real loop over engines that count. What it does is chosen by the last token of a prompt. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/net.h"
#include "serving/serving.h"

enum { DIE_AT_ONCE = 901, DIE_AFTER_3, NONSENSE_AFTER_3, HANG, REFUSE, BAD_TOKEN };
enum { PATIENCE_MS = 20000 }; /* only bounds a test that fails */

static const char llama_config[] = "{\"model_type\":\"llama\",\"max_position_embeddings\":128,\"hidden_size\":4}";
static const char llama_tokenizer[] =
    "{\"version\":\"1.0\",\"added_tokens\":[],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
    "\"trim_offsets\":true,\"use_regex\":true},\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\"},"
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}}";
static const char bert_config[] = "{\"model_type\":\"bert\",\"max_position_embeddings\":512,\"hidden_size\":4}";
static const char bert_tokenizer[] =
    "{\"version\":\"1.0\",\"added_tokens\":[],\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":"
    "true,"
    "\"strip_accents\":null,\"lowercase\":true},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},\"post_processor\":null,\"decoder\":{"
    "\"type\":\"WordPiece\","
    "\"prefix\":\"##\",\"cleanup\":true},\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\","
    "\"max_input_chars_per_word\":100,\"vocab\":{\"[UNK]\":0,\"a\":1}}}";

/* ---- the place of a test ---- */

struct place {
  char dir[64], chat[96], embed[96], broken[96], flag[96], pid_file[96];
  struct net *net;
  struct store *store;
  struct serving *s;
  bool (*until)(struct place *p);
  uint64_t deadline_ns;
  bool late;
  size_t n_done; /* for conditions */
  unsigned idle_calls;
  size_t wanted;
};

static void write_file(const char *dir, const char *name, const char *text) {
  char *path = fs_join(dir, name);
  struct error err;
  if (fs_write_atomic(path, slice_cstr(text), 0600, &err) < 0) fail_msg("%s", err.message);
  free(path);
}

static void make_model(const char *dir, const char *config, const char *tokenizer) {
  assert_int_equal(mkdir(dir, 0700), 0);
  write_file(dir, "config.json", config);
  write_file(dir, "tokenizer.json", tokenizer);
  write_file(dir, "model.safetensors", "");
}

/* Nobody connects; net is here for its loop. */
static void on_request(void *ctx, struct exchange *x) {
  (void)ctx;
  exchange_reply(x, 404, "text/plain", SLICE(""));
}

static int setup(void **state) {
  struct place *p = mem_zalloc(1, sizeof *p);
  struct error err = {0};
  log_setup(LOG_ERROR, LOG_TEXT);
  snprintf(p->dir, sizeof p->dir, "/tmp/plinth-serving-XXXXXX");
  assert_non_null(mkdtemp(p->dir));
  snprintf(p->chat, sizeof p->chat, "%s/words", p->dir);
  snprintf(p->embed, sizeof p->embed, "%s/embed", p->dir);
  snprintf(p->broken, sizeof p->broken, "%s/broken", p->dir);
  snprintf(p->flag, sizeof p->flag, "%s/flag", p->dir);
  snprintf(p->pid_file, sizeof p->pid_file, "%s/pid", p->dir);
  make_model(p->chat, llama_config, llama_tokenizer);
  make_model(p->embed, bert_config, bert_tokenizer);
  make_model(p->broken, llama_config, "{\"model\":");
  p->net = net_create(&(struct net_config){.host = "127.0.0.1", .on_request = on_request}, &err);
  if (!p->net) fail_msg("%s", err.message);
  p->store = store_open(p->dir, &err);
  if (!p->store) fail_msg("%s", err.message);
  *state = p;
  return 0;
}

static int teardown(void **state) {
  struct place *p = *state;
  serving_stop(p->s);
  net_destroy(p->net);
  serving_destroy(p->s);
  store_close(p->store);
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", p->dir);
  int code = system(command);
  free(p);
  return code;
}

/* Starts serving with these models (words, embed, broken) and arguments for the engine. */
static void begin_with(struct place *p, const char *models, const char *const *args, struct serving_config extra) {
  struct serving_model specs[3];
  size_t n = 0;
  struct error err = {0};
  if (strstr(models, "words")) specs[n++] = (struct serving_model){"words", p->chat};
  if (strstr(models, "embed")) specs[n++] = (struct serving_model){"embed", p->embed};
  if (strstr(models, "broken")) specs[n++] = (struct serving_model){"broken", p->broken};
  extra.models = specs;
  extra.restart_delay_ms = 20;
  extra.n_models = n;
  if (!extra.engine_program) extra.engine_program = FAKE_ENGINE;
  extra.engine_args = args;
  extra.loop = net_loop(p->net);
  extra.store = p->store;
  p->s = serving_create(&extra, &err);
  if (!p->s) fail_msg("%s", err.message);
}

static void begin(struct place *p, const char *models, const char *const *args) { begin_with(p, models, args, (struct serving_config){0}); }

static void look(void *arg) {
  struct place *p = arg;
  p->late = clock_ns() > p->deadline_ns;
  if (p->late || p->until(p)) net_stop(p->net);
}

static void run_until(struct place *p, bool (*until)(struct place *p)) {
  p->until = until;
  p->deadline_ns = clock_ns() + PATIENCE_MS * 1000000ull;
  struct loop_timer *t = loop_timer_start(net_loop(p->net), 1, true, look, p);
  net_run(p->net);
  loop_timer_cancel(net_loop(p->net), t);
  assert_false(p->late);
}

static bool is_ready(struct place *p) { return serving_ready(p->s); }
static bool is_not_alive(struct place *p) { return !serving_engine_alive(p->s); }
static bool are_done(struct place *p) { return p->n_done >= p->wanted; }

static pid_t engine_pid(const struct place *p) {
  struct buf text = {0};
  assert_int_equal(fs_read(p->pid_file, 100, &text, NULL), 0);
  pid_t pid = atoi(text.data);
  buf_free(&text);
  return pid;
}

/* ---- requests ---- */

struct asked {
  struct place *p;
  struct generation *g;
  int32_t tokens[256];
  size_t n;
  float embedding[4];
  enum serving_finish finish;
  struct error error;
  bool done;
  void (*on_token)(struct asked *a);
  struct asked *other;
  bool resumes, goes_on;
};

static void on_event(void *arg, const struct serving_event *e) {
  struct asked *a = arg;
  assert_false(a->done);
  if (e->kind == SERVING_TOKEN) a->tokens[a->n++] = e->token;
  if (e->kind == SERVING_EMBEDDING) memcpy(a->embedding, e->embedding, sizeof a->embedding);
  if (e->kind == SERVING_ERROR) a->error = *e->error;
  a->finish = e->finish;
  a->done = e->kind == SERVING_ERROR || e->finish != SERVING_RUNNING;
  a->p->n_done += a->done;
  if (!a->done && a->on_token) a->on_token(a);
}

static struct serving_request request_of(struct place *p, const char *endpoint, const int32_t *last, size_t max_tokens) {
  return (struct serving_request){.endpoint = serving_endpoint(p->s, slice_cstr(endpoint)),
                                  .prompt = last,
                                  .n_prompt = 1,
                                  .top_p = 1,
                                  .max_tokens = max_tokens,
                                  .top_logprobs = -1};
}

static void ask(struct place *p, struct asked *a, const char *endpoint, int32_t last, size_t max_tokens) {
  struct serving_request r = request_of(p, endpoint, &last, max_tokens);
  struct error err = {0};
  r.resumes = a->resumes;
  r.goes_on = a->goes_on;
  a->p = p;
  a->g = serving_generate(p->s, &r, on_event, a, &err);
  if (!a->g) fail_msg("%s", err.message);
}

static void run_until_n_done(struct place *p, size_t n) {
  p->wanted = n;
  run_until(p, are_done);
}

static void assert_counted(const struct asked *a, int32_t last, size_t n) {
  assert_true(a->done);
  if (a->finish != SERVING_LENGTH) fail_msg("%s", a->error.message);
  assert_int_equal(a->n, n);
  for (size_t i = 0; i < n; i++) assert_int_equal(a->tokens[i], (last + 1 + (int)i) % 900);
}

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

/* ---- models that come and go ---- */

static void update(struct place *p, const char *models, uint64_t stamp) {
  struct serving_model specs[3];
  size_t n = 0;
  if (strstr(models, "words")) specs[n++] = (struct serving_model){"words", p->chat, 1};
  if (strstr(models, "embed")) specs[n++] = (struct serving_model){"embed", p->embed, stamp};
  if (strstr(models, "broken")) specs[n++] = (struct serving_model){"broken", p->broken, stamp};
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
  write_file(p->broken, "tokenizer.json", llama_tokenizer);
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

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(task_and_window_are_told_by_the_configuration_before_a_model_is_loaded),
      CASE(endpoints_become_ready_when_they_have_answered_once),
      CASE(a_request_gets_its_tokens_and_one_end),
      CASE(many_requests_at_once_each_get_their_own_tokens),
      CASE(a_cancelled_request_gets_no_further_event),
      CASE(a_callback_may_cancel_itself_and_its_neighbours),
      CASE(a_request_past_its_time_limit_ends_with_a_timeout),
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
      CASE(a_model_that_is_added_answers_and_one_that_is_removed_is_gone),
      CASE(streams_go_on_while_a_model_is_loaded),
      CASE(a_model_that_is_removed_while_it_is_loaded_never_appears),
      CASE(requests_of_a_removed_model_may_end_and_no_longer_than_the_limit),
      CASE(a_model_whose_files_change_is_read_and_loaded_anew),
      CASE(a_model_is_unloaded_and_loaded_on_demand),
      CASE(a_new_engine_loads_what_was_loaded_and_leaves_what_was_stopped),
      CASE(an_added_model_that_ends_engines_is_left_out_until_it_is_asked_for),
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
