/* An engine process without models: the real loop over engines that count. SPDX-License-Identifier: Apache-2.0
 *
 * Called as the real one is (engine --fd 3 …), with more arguments from the test: --delay-ms N (per step), --exit-if FILE (ends at once with
 * code 7 while FILE exists), --cut (half of the context is served), --no-load TEXT (models whose path holds TEXT cannot be loaded),
 * --die-load TEXT (loading them ends the process), --hold-load TEXT --hold-file FILE (loading them waits while FILE exists), --parrot FILE (writes its
 * process id there).
 *
 * A generating model has 1,000 tokens; the answer to a prompt is last + 1, last + 2, … modulo 900. What the last token of a prompt asks for: */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "app/engine_loop.h"
#include "base/fs.h"
#include "base/mem.h"

enum { DIE_AT_ONCE = 901, DIE_AFTER_3, NONSENSE_AFTER_3, HANG, REFUSE, BAD_TOKEN, TELL_SAMPLING, EXPIRE };
enum { N_VOCAB = 1000, N_EMBD = 4, CONTEXT = 128, RUNNING_MAX = 64 };

/* KV_BYTES are told with the first model, and what was still to be loaded then. */
static const uint64_t KV_BYTES = 5 << 20, LOAD_BYTES = 1 << 20;
static uint64_t still_to_load;
static unsigned n_told;
enum { N_TOLD = 18 };

struct sequence {
  uint64_t id;
  int32_t told[N_TOLD]; /* the sampling that came, for TELL_SAMPLING */
  int32_t last;
  size_t n_prompt, n_tokens, max_tokens;
};

struct engine {
  bool embeds;
  struct sequence running[RUNNING_MAX];
  size_t n;
  struct engine_event events[RUNNING_MAX];
  struct engine_stats stats;
};

static const char *die_load, *exit_if, *no_load, *parrot, *hold_load, *hold_file;
static unsigned delay_ms;
static bool cut; /* half of the context is served */
static int fd = 3;

void engine_destroy(struct engine *e) { (void)e; /* it is what was loaded */ }

void engine_forget_adapter(struct engine *e, const struct adapter *a) { (void)e, (void)a; }

/* Each value as a token id. */
static void tell(int32_t told[N_TOLD], const struct engine_request *r) {
  const struct engine_sampling *g = &r->sampling;
  const double values[N_TOLD] = {(double)g->temperature * 100,
                                 (double)g->top_p * 100,
                                 (double)g->min_p * 100,
                                 (double)g->top_k,
                                 (double)g->repetition_penalty * 100,
                                 (double)g->presence_penalty * 100 + 200,
                                 (double)g->frequency_penalty * 100 + 200,
                                 (double)(g->seed % 900),
                                 (double)r->min_tokens,
                                 r->ignore_eos,
                                 (double)r->n_stop_ids,
                                 r->n_stop_ids ? r->stop_ids[r->n_stop_ids - 1] : 0,
                                 (double)g->n_biases,
                                 g->n_biases ? g->biases[0].id : 0,
                                 g->n_biases ? (double)g->biases[0].bias * 2 + 200 : 0,
                                 (double)r->n_stops,
                                 r->n_stops ? (double)r->stops[0].len : 0,
                                 (double)r->max_tokens};
  for (int i = 0; i < N_TOLD; i++) told[i] = (int32_t)(values[i] + 0.5);
}

int engine_submit(struct engine *e, const struct engine_request *r, struct error *err) {
  int32_t last = r->prompt[r->n_prompt - r->n_done - 1];
  if (last == REFUSE) return error_set(err, ERROR_TOO_LARGE, "This prompt needs 9 pages, but there are 8.");
  if (e->n == RUNNING_MAX) return error_set(err, ERROR_TOO_LARGE, "Full.");
  if (last == DIE_AT_ONCE) abort();
  if (last == HANG) pause();
  size_t most = CONTEXT - (r->n_prompt - r->n_done);
  e->running[e->n++] = (struct sequence){.id = r->id,
                                         .last = last,
                                         .n_prompt = r->n_prompt - r->n_done,
                                         .n_tokens = r->n_done,
                                         .max_tokens = r->max_tokens && r->max_tokens < most ? r->max_tokens : most};
  tell(e->running[e->n - 1].told, r);
  return 0;
}

void engine_cancel(struct engine *e, uint64_t id) {
  for (size_t i = 0; i < e->n; i++)
    if (e->running[i].id == id) e->running[i] = e->running[--e->n];
}

bool engine_busy(const struct engine *e) { return e->n > 0; }

static void misbehave(const struct sequence *s) {
  if (s->n_tokens < 3) return;
  if (s->last == DIE_AFTER_3) abort();
  if (s->last == NONSENSE_AFTER_3) {
    ssize_t n = write(fd, "This is no frame at all.", 24);
    (void)n;
    pause();
  }
}

static struct engine_event step_one(const struct engine *e, struct sequence *s) {
  static const float embedding[N_EMBD] = {0.5f, 0.5f, 0.5f, 0.5f};
  if (e->embeds) return (struct engine_event){.id = s->id, .kind = ENGINE_EMBEDDING, .finish = ENGINE_STOP, .embedding = embedding};
  if (s->last == EXPIRE) return (struct engine_event){.id = s->id, .kind = ENGINE_END, .finish = ENGINE_EXPIRED};
  misbehave(s);
  s->n_tokens++;
  bool ends = s->n_tokens == s->max_tokens;
  int32_t token = s->last == BAD_TOKEN ? N_VOCAB : (int32_t)((size_t)s->last + s->n_tokens) % 900;
  if (s->last == TELL_SAMPLING) token = s->told[(s->n_tokens - 1) % N_TOLD];
  return (struct engine_event){.id = s->id, .token = token, .finish = ends ? ENGINE_LENGTH : ENGINE_RUNNING, .logprob = -1};
}

void engine_step(struct engine *e, const struct engine_event **ret_events, size_t *ret_n) {
  size_t n = 0, kept = 0;
  if (delay_ms) nanosleep(&(struct timespec){.tv_nsec = delay_ms * 1000000L}, NULL);
  for (size_t i = 0; i < e->n; i++) {
    struct sequence s = e->running[i];
    e->events[n++] = step_one(e, &s);
    if (e->events[n - 1].finish == ENGINE_RUNNING) e->running[kept++] = s;
  }
  e->n = kept;
  e->stats.steps++;
  e->stats.decode_tokens += n;
  e->stats.step_tokens = e->stats.step_sequences = n;
  *ret_events = e->events;
  *ret_n = n;
}

void engine_stats(const struct engine *e, struct engine_stats *out) {
  *out = e->stats;
  out->running = e->n;
}

/* Waits while a file of this name exists, if the load is wanted that long. */
static void wait_for_removal(const char *file, const struct engine_job *job) {
  while (file && fs_exists(file) && !atomic_load(&job->cancelled)) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void plan(void *ctx, struct engine_job *job) {
  (void)ctx;
  job->bytes = LOAD_BYTES;
}

static void fit(void *ctx, uint64_t bytes) {
  (void)ctx;
  still_to_load = bytes;
}

static void load(void *ctx, struct engine_job *job) {
  (void)ctx;
  char *path = mem_dup(job->load.path.data, job->load.path.len);
  if (hold_load && strstr(path, hold_load)) wait_for_removal(hold_file, job);
  if (die_load && strstr(path, die_load)) abort();
  bool refused = no_load && strstr(path, no_load), embeds = strstr(path, "embed") != NULL;
  free(path);
  if (refused) {
    error_set(&job->error, ERROR_NO_MEMORY, "This model needs 9 GiB, but 1 GiB is free.");
    return;
  }
  struct engine *e = mem_zalloc(1, sizeof *e);
  e->embeds = embeds;
  job->loaded = e;
}

static int begin(void *ctx, const struct wire_load *request, void *loaded, struct engine_loop_model *ret, struct error *err) {
  (void)ctx, (void)request, (void)err;
  struct engine *e = loaded;
  ret->engine = e;
  ret->figures = (struct wire_model){.embeds = e->embeds,
                                     .context_tokens = cut ? CONTEXT / 2 : CONTEXT,
                                     .whole_context_tokens = CONTEXT,
                                     .kv_bytes = n_told++ ? 0 : KV_BYTES + still_to_load,
                                     .n_embd = N_EMBD,
                                     .n_vocab = N_VOCAB,
                                     .n_parameters = 12345,
                                     .architecture = SLICE("fake"),
                                     .quantization = SLICE("F0")};
  return 0;
}

static void unload(void *ctx, void *loaded) {
  (void)ctx;
  free(loaded);
}

static void read_args(int argc, char **argv) {
  static const struct option longs[] = {{"fd", 1, NULL, 'f'},
                                        {"compute", 1, NULL, 'c'},
                                        {"threads", 1, NULL, 't'},
                                        {"delay-ms", 1, NULL, 'd'},
                                        {"die-load", 1, NULL, 'l'},
                                        {"exit-if", 1, NULL, 'e'},
                                        {"no-load", 1, NULL, 'n'},
                                        {"parrot", 1, NULL, 'p'},
                                        {"hold-load", 1, NULL, 'h'},
                                        {"hold-file", 1, NULL, 'w'},
                                        {"kv-mib", 1, NULL, 'k'},
                                        {"cut", 0, NULL, 'x'},
                                        {0}};
  for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
    if (c == 'f') fd = atoi(optarg);
    if (c == 'd') delay_ms = (unsigned)atoi(optarg);
    if (c == 'e') exit_if = optarg;
    if (c == 'l') die_load = optarg;
    if (c == 'n') no_load = optarg;
    if (c == 'p') parrot = optarg;
    if (c == 'x') cut = true;
    if (c == 'h') hold_load = optarg;
    if (c == 'w') hold_file = optarg;
  }
}

int main(int argc, char **argv) {
  read_args(argc, argv);
  if (exit_if && fs_exists(exit_if)) return 7;
  if (parrot) {
    char text[32];
    snprintf(text, sizeof text, "%d", (int)getpid());
    fs_write_atomic(parrot, slice_cstr(text), 0600, NULL);
  }
  struct engine_loop_config config = {.fd = fd, .plan = plan, .fit = fit, .load = load, .begin = begin, .unload = unload};
  return engine_loop_run(&config, NULL) < 0;
}
