/* engine: `plinth engine`, the process that owns weights, KV memory and compute. SPDX-License-Identifier: Apache-2.0
 *
 * The gateway starts it with a socket and says over it which models to load. It ends when the gateway says so or is gone: the socket tells,
 * and where the gateway dies without a word the kernel does. Signals of the terminal and of service managers are the gateway's business: it
 * lets streams end first. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "app/app.h"
#include "app/engine_loop.h"
#include "app/variants.h"
#include "app/weight_cache.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "text/text.h"

struct engine_args {
  int64_t fd, threads, kv_mib;
  const char *compute, *kv, *speculate, *log_level, *log_format, *kept_dir, *kernels, *kernel_record;
};

static const struct options_row rows[] = {
    {.name = "fd",
     OPTION_INT_TO(struct engine_args, fd),
     .metavar = "N",
     .fallback = "3",
     .ranged = true,
     .min = 0,
     .max = 1e6,
     .help = "The socket to the gateway."},
    {.name = "threads",
     OPTION_INT_TO(struct engine_args, threads),
     .metavar = "N",
     .fallback = "0",
     .ranged = true,
     .min = 0,
     .max = 1024,
     .help = "Compute threads; 0: the cores that may be used."},
    {.name = "compute",
     OPTION_STRING_TO(struct engine_args, compute),
     .metavar = "MODE",
     .fallback = "fast",
     .choices = COMPUTE_MODE_CHOICES,
     .help = "How models compute."},
    {.name = "kv",
     OPTION_STRING_TO(struct engine_args, kv),
     .metavar = "TYPE",
     .fallback = "f16",
     .choices = KV_TYPE_CHOICES,
     .help = "What keys and values are held in."},
    {.name = "kernels",
     OPTION_STRING_TO(struct engine_args, kernels),
     .metavar = "NAME",
     .fallback = "auto",
     .choices = VARIANTS_CHOICES,
     .help = VARIANTS_HELP},
    {.name = "kernel-record",
     OPTION_STRING_TO(struct engine_args, kernel_record),
     .metavar = "DIR",
     .help = "Folder with the record of which kernels were measured to be fastest."},
    {.name = "weight-cache",
     OPTION_STRING_TO(struct engine_args, kept_dir),
     .metavar = "DIR",
     .help = "Folder where packed weights are kept for the next start."},
    {.name = "kv-mib",
     OPTION_INT_TO(struct engine_args, kv_mib),
     .metavar = "MIB",
     .fallback = "0",
     .ranged = true,
     .min = 0,
     .max = 1 << 30,
     .help = "Memory for the KV cache of all models; 0: a quarter of the free memory, or what one context needs."},
    {.name = "speculate",
     OPTION_STRING_TO(struct engine_args, speculate),
     .metavar = "on|off",
     .fallback = "on",
     .choices = "on|off",
     .help = "Whether tokens are drafted from the text so far."},
    {.name = "log-level",
     OPTION_STRING_TO(struct engine_args, log_level),
     .metavar = "LEVEL",
     .fallback = "info",
     .choices = "error|warn|info|debug",
     .help = "The least important lines that are logged."},
    {.name = "log-format",
     OPTION_STRING_TO(struct engine_args, log_format),
     .metavar = "FORMAT",
     .fallback = "text",
     .choices = "text|json",
     .help = "How lines are logged."},
};

/* A model or an adapter, and what a model needs beside its engine. */
struct loaded {
  struct model *model;     /* NULL: an adapter of another one */
  struct model *draft;     /* its draft model; NULL: none */
  struct adapter *adapter; /* or NULL */
  uint64_t begin_ns;
  size_t context_tokens;     /* of a model: what is served of its context */
  const struct loaded *base; /* of an adapter */
  struct buf bytes;          /* of all tokens, one after the other; none for a special token */
  uint32_t *begin;           /* [n_vocab + 1] offsets into bytes */
  int32_t n_vocab;
  int32_t *stop_ids;
  size_t n_stop_ids;
};

struct host {
  struct compute *compute;
  enum kv_type kv;
  const char *kernel_record; /* NULL: the kernels are not chosen by measurement */
  const char *kept_dir;
  enum engine_speculation speculation;
  struct engine_memory *memory; /* the loop's */
  atomic_ullong kv_unheld;      /* bytes of it that no page holds yet, for the loader */
  struct model_mapped mapped;   /* of all models that are loaded or being loaded */
};

/* ---- what stop strings need of a tokenizer ---- */

static struct slice token_bytes(void *ctx, int32_t id) {
  const struct loaded *l = ctx;
  if (id < 0 || id >= l->n_vocab) return (struct slice){0};
  return slice_make(l->bytes.data + l->begin[id], l->begin[id + 1] - l->begin[id]);
}

/* Copies what is needed and lets the rest of the tokenizer go. */
static int read_tokens(struct loaded *l, const struct file_model *file, const char *kept_dir, struct error *err) {
  struct tokenizer *t = tokenizer_open_kept(file, kept_dir, false, err); /* the gateway keeps them */
  if (!t) return -1;
  size_t n_stop;
  const int32_t *stop = tokenizer_stop_ids(t, &n_stop);
  l->stop_ids = mem_dup(stop, n_stop * sizeof *stop);
  l->n_stop_ids = n_stop;
  l->n_vocab = tokenizer_n_vocab(t);
  l->begin = mem_zalloc((size_t)l->n_vocab + 1, sizeof *l->begin);
  buf_add_cstr(&l->bytes, "");
  for (int32_t id = 0; id < l->n_vocab; id++) {
    if (!tokenizer_is_special(t, id)) buf_add_slice(&l->bytes, tokenizer_token_bytes(t, id));
    l->begin[id + 1] = (uint32_t)l->bytes.len;
  }
  tokenizer_close(t);
  return 0;
}

/* ---- loading ---- */

static void loaded_free(struct loaded *l) {
  adapter_free(l->adapter);
  model_free(l->draft);
  model_free(l->model);
  buf_free(&l->bytes);
  free(l->begin);
  free(l->stop_ids);
  free(l);
}

/* Weights that no product of the mode takes as they are stored: 8-bit floats, mostly. */
static void warn_of_growth(const char *path, const struct model *m) {
  uint64_t stored = model_info(m)->weight_bytes, taken = model_weight_bytes(m);
  if (compute_mode_of(model_compute(m)) == COMPUTE_F32 || taken / 2 < stored) return;
  log_line(LOG_WARN, "engine",
           "%s: the weights (%s) take %llu MiB in memory, %llu MiB in the file: no product reads them as they are stored. plinth quantize "
           "--to q8_0 makes a file that stays small.",
           path, model_info(m)->quantization, (unsigned long long)(taken >> 20), (unsigned long long)(stored >> 20));
}

/* Pages of mapped files, which the system calls free although kept weights are read from them all the time; those of weights that nobody has
 * read yet too. */
static uint64_t mapped_bytes(const struct host *h) {
  FILE *f = fopen("/proc/self/status", "re");
  char line[128];
  unsigned long long kib = 0;
  while (f && fgets(line, sizeof line, f))
    if (sscanf(line, "RssFile: %llu", &kib) == 1) break;
  if (f) fclose(f);
  uint64_t resident = kib << 10, weights = atomic_load(&h->mapped.bytes);
  return resident > weights ? resident : weights;
}

/* ---- how much memory a load will take ---- */

static int add_model(const struct host *h, struct slice at, struct engine_job *job) {
  if (at.len == 0) return 0;
  char *path = mem_dup(at.data, at.len);
  struct file_model *file = file_model_open(path, &job->error);
  struct model_info info;
  uint64_t bytes = 0;
  int result = file ? model_inspect(file, &info, &job->error) : -1;
  if (result == 0) result = model_memory(file, &info, compute_mode_of(h->compute), &bytes, &job->error);
  if (__builtin_add_overflow(job->bytes, bytes, &job->bytes)) job->bytes = UINT64_MAX;
  file_model_close(file);
  free(path);
  return result;
}

/* On the loader's thread. What is wrong with the files is told here already; an adapter takes little. */
static void plan(void *ctx, struct engine_job *job) {
  const struct host *h = ctx;
  if (job->load.is_adapter || add_model(h, job->load.path, job) < 0) return;
  if (add_model(h, job->load.draft, job) < 0) error_prefix(&job->error, "The draft model");
}

/* ---- a load ---- */

/* Beside models that are served a load takes half of the cores, at a low priority (engine_loader.c); its threads end with it. */
static struct compute *packer_create(const struct host *h, const struct engine_job *job, struct error *err) {
  int threads = pool_threads(compute_pool(h->compute));
  struct pool *pool = pool_create(job->beside && threads > 1 ? threads / 2 : threads, err);
  return pool ? compute_create(compute_mode_of(h->compute), pool, COMPUTE_ISA_ALL, err) : NULL;
}

static void packer_destroy(struct compute *packer) {
  struct pool *pool = packer ? compute_pool(packer) : NULL;
  compute_destroy(packer);
  pool_destroy(pool);
}

static struct model *load_weights(struct host *h, struct engine_job *job, const struct file_model *file, const char *kept_dir,
                                  struct compute *packer) {
  struct model_options options = {.kv = h->kv,
                                  .kept_dir = kept_dir,
                                  .packer = packer,
                                  .cancelled = &job->cancelled,
                                  .reserved_bytes = atomic_load(&h->kv_unheld) + mapped_bytes(h),
                                  .mapped = &h->mapped};
  return model_load(file, h->compute, &options, &job->error);
}

static int open_draft(struct loaded *l, struct host *h, struct engine_job *job, struct compute *packer) {
  if (job->load.draft.len == 0) return 0;
  char *path = mem_dup(job->load.draft.data, job->load.draft.len);
  char *kept_dir = h->kept_dir ? weight_cache_path(h->kept_dir, path) : NULL;
  struct file_model *file = file_model_open(path, &job->error);
  l->draft = file ? load_weights(h, job, file, kept_dir, packer) : NULL;
  file_model_close(file);
  free(kept_dir);
  free(path);
  return l->draft ? 0 : error_prefix(&job->error, "The draft model");
}

static int open_model(struct loaded *l, struct host *h, struct engine_job *job, const char *path, struct compute *packer) {
  struct file_model *file = file_model_open(path, &job->error);
  int result = file ? 0 : -1;
  char *kept_dir = h->kept_dir ? weight_cache_path(h->kept_dir, path) : NULL;
  if (result == 0 && !(l->model = load_weights(h, job, file, kept_dir, packer))) result = -1;
  if (result == 0 && model_info(l->model)->task == MODEL_GENERATE) result = read_tokens(l, file, kept_dir, &job->error);
  free(kept_dir);
  file_model_close(file);
  return result < 0 ? -1 : open_draft(l, h, job, packer);
}

static int open_adapter(struct loaded *l, struct engine_job *job, const char *path, struct compute *packer) {
  const struct loaded *base = l->base = job->base;
  struct file_adapter *file = file_adapter_open(path, &job->error);
  l->adapter = file ? adapter_load(file, base->model, packer, &job->error) : NULL;
  file_adapter_close(file);
  return l->adapter ? 0 : -1;
}

/* On the loader's thread. */
static void load(void *ctx, struct engine_job *job) {
  struct host *h = ctx;
  struct loaded *l = mem_zalloc(1, sizeof *l);
  l->begin_ns = clock_ns();
  char *path = mem_dup(job->load.path.data, job->load.path.len);
  struct compute *packer = packer_create(h, job, &job->error);
  int result = !packer ? -1 : job->load.is_adapter ? open_adapter(l, job, path, packer) : open_model(l, h, job, path, packer);
  packer_destroy(packer);
  if (result == 0 && l->model) warn_of_growth(path, l->model);
  free(path);
  if (result < 0) loaded_free(l);
  else job->loaded = l;
  malloc_trim(0); /* the tokenizer's and the repacking's memory goes back to the system */
}

static void unload(void *ctx, void *loaded) {
  (void)ctx;
  loaded_free(loaded);
  malloc_trim(0);
}

/* ---- on the loop's thread ---- */

static void note_memory(struct host *h) {
  struct engine_memory_stats stats;
  engine_memory_stats(h->memory, &stats);
  atomic_store(&h->kv_unheld, stats.bytes_max > stats.bytes_held ? stats.bytes_max - stats.bytes_held : 0);
}

static void fit(void *ctx, uint64_t still_to_load) {
  struct host *h = ctx;
  uint64_t free_bytes = mem_available_bytes(), taken = mapped_bytes(h);
  if (__builtin_add_overflow(taken, still_to_load, &taken)) taken = UINT64_MAX;
  engine_memory_fit(h->memory, free_bytes > taken ? free_bytes - taken : 0);
  note_memory(h);
}

static unsigned tidy(void *ctx) {
  struct host *h = ctx;
  unsigned again_ms = engine_memory_tidy(h->memory, clock_ns());
  note_memory(h);
  return again_ms;
}

static struct engine *make_engine(const struct host *h, struct loaded *l, struct error *err) {
  struct engine_config config = {.model = l->model,
                                 .draft = l->draft,
                                 .memory = h->memory,
                                 .speculation = h->speculation,
                                 .token_bytes = token_bytes,
                                 .token_bytes_ctx = l,
                                 .stop_ids = l->stop_ids,
                                 .n_stop_ids = l->n_stop_ids};
  return engine_create(&config, err);
}

static uint64_t all_weight_bytes(const struct loaded *l) {
  if (l->adapter) return adapter_weight_bytes(l->adapter);
  return model_weight_bytes(l->model) + (l->draft ? model_weight_bytes(l->draft) : 0);
}

static void tell(const struct loaded *l, const struct model *m, size_t context_tokens, uint64_t kv_bytes, struct wire_model *out) {
  const struct model_info *info = model_info(m);
  *out = (struct wire_model){.embeds = info->task == MODEL_EMBED,
                             .context_tokens = (uint32_t)context_tokens,
                             .whole_context_tokens = (uint32_t)info->context_tokens,
                             .n_embd = (uint32_t)info->n_embd,
                             .n_vocab = (uint32_t)info->n_vocab,
                             .n_parameters = info->n_parameters,
                             .weight_bytes = all_weight_bytes(l),
                             .kv_bytes = kv_bytes,
                             .load_ms = (clock_ns() - l->begin_ns) / 1000000,
                             .architecture = slice_cstr(info->architecture),
                             .quantization = slice_cstr(info->quantization)};
}

static int begin(void *ctx, const struct wire_load *request, void *loaded, struct engine_loop_model *ret, struct error *err) {
  struct host *h = ctx;
  struct loaded *l = loaded;
  (void)request;
  if (l->adapter) {
    ret->adapter = l->adapter;
    tell(l, adapter_model(l->adapter), l->base->context_tokens, 0, &ret->figures);
    return 0;
  }
  ret->engine = make_engine(h, l, err);
  if (!ret->engine) return -1;
  struct engine_stats stats;
  engine_stats(ret->engine, &stats);
  l->context_tokens = engine_context_tokens(ret->engine);
  tell(l, l->model, l->context_tokens, stats.kv_bytes, &ret->figures);
  note_memory(h);
  return 0;
}

/* Short enough that a request which comes meanwhile hardly notices; and not where the memory that it takes for a moment may be missing. */
static bool measure(void *ctx, struct wire_machine *ret) {
  static const double SECONDS = 0.015;
  enum { AVAILABLE_BYTES_MIN = 1 << 30 };
  const struct host *h = ctx;
  if (atomic_load(&h->mapped.copying)) return false; /* it takes bandwidth */
  if (mem_available_bytes() < AVAILABLE_BYTES_MIN) return true;
  if (h->kernel_record) variants_settle(h->compute, h->kernel_record);
  uint64_t begin_ns = clock_ns();
  ret->read_bytes_s = (uint64_t)tensor_read_bandwidth(compute_pool(h->compute), SECONDS);
  ret->operations_s = (uint64_t)tensor_dot_peak(h->compute, SECONDS);
  log_line(LOG_DEBUG, "engine", "This machine reads %.1f GB/s and makes %.0f GOP/s of dot products; measured in %.0f ms.",
           (double)ret->read_bytes_s * 1e-9, (double)ret->operations_s * 1e-9, (double)(clock_ns() - begin_ns) * 1e-6);
  return true;
}

/* ---- the process ---- */

/* The kernel's killer takes the engine first: it holds the memory, and the gateway can start another. */
static void prefer_as_victim(void) {
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  ssize_t ignored = write(fd, "300", 3);
  (void)ignored;
  close(fd);
}

static void settle(void) {
  static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
  for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++) signal(ignored[i], SIG_IGN);
  prctl(PR_SET_PDEATHSIG, SIGKILL); /* a gateway that died before this line is seen by the closed socket */
  prctl(PR_SET_NAME, "plinth-engine");
  prefer_as_victim();
}

static void tell_kernels(const struct host *h, const char *mode) {
  const char *source = h->kernel_record ? variants_read(h->compute, h->kernel_record) ? "as recorded" : "to be measured" : "as asked for";
  struct buf kernels = {0};
  compute_choice_tell(h->compute, &kernels);
  log_line(LOG_INFO, "engine", "Computing with %d threads, mode %s, KV in %s, kernels %s (%s).", pool_threads(compute_pool(h->compute)),
           mode, kv_type_name(h->kv), kernels.data, source);
  buf_free(&kernels);
}

static int run_host(struct host *h, const struct engine_args *a, struct error *err) {
  struct pool *pool = pool_create((int)a->threads, err);
  if (!pool) return -1;
  int result = -1;
  h->compute = variants_compute((enum compute_mode)compute_mode_parse(a->compute), pool, a->kernels, err);
  h->kv = (enum kv_type)kv_type_parse(a->kv);
  if (h->compute) {
    if (strcmp(a->kernels, "auto") == 0) h->kernel_record = a->kernel_record;
    tell_kernels(h, a->compute);
    h->memory = engine_memory_create((uint64_t)a->kv_mib << 20);
    note_memory(h);
    struct engine_loop_config config = {.fd = (int)a->fd,
                                        .plan = plan,
                                        .fit = fit,
                                        .load = load,
                                        .begin = begin,
                                        .unload = unload,
                                        .tidy = tidy,
                                        .measure = measure,
                                        .ctx = h};
    result = engine_loop_run(&config, err);
    engine_memory_destroy(h->memory);
  }
  compute_destroy(h->compute);
  pool_destroy(pool);
  return result;
}

static int run(const struct options *o) {
  const struct engine_args *a = o->args;
  struct error err = {0};
  log_setup((enum log_level)log_level_parse(a->log_level), strcmp(a->log_format, "json") == 0 ? LOG_JSON : LOG_TEXT);
  if (fcntl((int)a->fd, F_SETFD, FD_CLOEXEC) < 0) {
    error_set(&err, ERROR_INVALID, "The engine is started by `plinth serve`, with a socket as descriptor %d: %s.", (int)a->fd,
              strerror(errno));
    return app_fail(&err);
  }
  settle();
  struct host *h = mem_zalloc(1, sizeof *h);
  h->kept_dir = a->kept_dir;
  if (strcmp(a->speculate, "off") == 0) h->speculation = ENGINE_SPECULATE_OFF;
  int result = run_host(h, a, &err);
  free(h);
  if (result == 0) return APP_OK;
  log_line(LOG_ERROR, "engine", "%s", err.message);
  return APP_FAILED;
}

const struct app_command engine_command = {
    .spec = {.command = "engine",
             .summary = "The engine process; started by serve",
             .description = "The process that loads models and computes. `plinth serve` starts it; there is no reason to call it.",
             OPTIONS_ROWS(rows),
             .args_bytes = sizeof(struct engine_args)},
    .run = run,
    .hidden = true,
};
