/* place: see place.h. SPDX-License-Identifier: Apache-2.0 */
#include "place.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

enum { PATIENCE_MS = 20000 }; /* only bounds a test that fails */

static const char llama_config[] = "{\"model_type\":\"llama\",\"max_position_embeddings\":128,\"hidden_size\":4}";
const char place_llama_tokenizer[] =
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

void write_file(const char *dir, const char *name, const char *text) {
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

int setup(void **state) {
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
  make_model(p->chat, llama_config, place_llama_tokenizer);
  make_model(p->embed, bert_config, bert_tokenizer);
  make_model(p->broken, llama_config, "{\"model\":");
  p->net = net_create(&(struct net_config){.host = "127.0.0.1", .on_request = on_request}, &err);
  if (!p->net) fail_msg("%s", err.message);
  p->store = store_open(p->dir, &err);
  if (!p->store) fail_msg("%s", err.message);
  *state = p;
  return 0;
}

int teardown(void **state) {
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
void begin_with(struct place *p, const char *models, const char *const *args, struct serving_config extra) {
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

void begin(struct place *p, const char *models, const char *const *args) { begin_with(p, models, args, (struct serving_config){0}); }

static void look(void *arg) {
  struct place *p = arg;
  p->late = clock_ns() > p->deadline_ns;
  if (p->late || p->until(p)) net_stop(p->net);
}

void run_until(struct place *p, bool (*until)(struct place *p)) {
  p->until = until;
  p->deadline_ns = clock_ns() + PATIENCE_MS * 1000000ull;
  struct loop_timer *t = loop_timer_start(net_loop(p->net), 1, true, look, p);
  net_run(p->net);
  loop_timer_cancel(net_loop(p->net), t);
  assert_false(p->late);
}

bool is_ready(struct place *p) { return serving_ready(p->s); }
bool is_not_alive(struct place *p) { return !serving_engine_alive(p->s); }
static bool are_done(struct place *p) { return p->n_done >= p->wanted; }

pid_t engine_pid(const struct place *p) {
  struct buf text = {0};
  assert_int_equal(fs_read(p->pid_file, 100, &text, NULL), 0);
  pid_t pid = atoi(text.data);
  buf_free(&text);
  return pid;
}

/* ---- requests ---- */

void on_event(void *arg, const struct serving_event *e) {
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

struct serving_request request_of(struct place *p, const char *endpoint, const int32_t *last, size_t max_tokens) {
  return (struct serving_request){.endpoint = serving_endpoint(p->s, slice_cstr(endpoint)),
                                  .prompt = last,
                                  .n_prompt = 1,
                                  .top_p = 1,
                                  .max_tokens = max_tokens,
                                  .top_logprobs = -1};
}

void ask(struct place *p, struct asked *a, const char *endpoint, int32_t last, size_t max_tokens) {
  struct serving_request r = request_of(p, endpoint, &last, max_tokens);
  struct error err = {0};
  r.resumes = a->resumes;
  r.goes_on = a->goes_on;
  a->p = p;
  a->g = serving_generate(p->s, &r, on_event, a, &err);
  if (!a->g) fail_msg("%s", err.message);
}

void run_until_n_done(struct place *p, size_t n) {
  p->wanted = n;
  run_until(p, are_done);
}

void assert_counted(const struct asked *a, int32_t last, size_t n) {
  assert_true(a->done);
  if (a->finish != SERVING_LENGTH) fail_msg("%s", a->error.message);
  assert_int_equal(a->n, n);
  for (size_t i = 0; i < n; i++) assert_int_equal(a->tokens[i], (last + 1 + (int)i) % 900);
}
