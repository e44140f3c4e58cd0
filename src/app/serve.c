/* serve: `plinth serve`, the gateway: wires the rooms, says how to reach them, ends in good order. SPDX-License-Identifier: Apache-2.0
 *
 *     running --SIGTERM, SIGINT--> draining --all replies ended, or --drain-s--> stopped
 *
 * While draining, connections are still taken: new requests get 503, streams go on. A second SIGINT ends the process at once; the kernel takes
 * the engine process with it. */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "api/api.h"
#include "app/app.h"
#include "app/banner.h"
#include "app/data_dir.h"
#include "app/variants.h"
#include "app/weight_cache.h"
#include "app/models_watch.h"
#include "app/notify.h"
#include "app/paths.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "tensor/tensor.h"

struct serve_args {
  const char *host, *data_dir, *models_dir, *weight_cache, *compute, *kv, *kernels, *speculate, *log_level, *log_format;
  int64_t port, threads, kv_mib, drain_s, request_timeout_s, stall_s;
  bool no_auth, show_token, metrics_vllm;
  struct options_list cors_origins, drafts;
};

#define TO_STRING(member) OPTION_STRING_TO(struct serve_args, member)
#define TO_INT(member) OPTION_INT_TO(struct serve_args, member)
#define RANGE(min_, max_) .ranged = true, .min = (min_), .max = (max_)

static const struct options_row rows[] = {
    {.name = "host",
     TO_STRING(host),
     .metavar = "ADDRESS",
     .fallback = "127.0.0.1",
     .env = "PLINTH_HOST",
     .key = "host",
     .help = "Address to listen on. 0.0.0.0 or :: for all."},
    {.name = "port",
     .letter = 'p',
     TO_INT(port),
     .metavar = "PORT",
     .fallback = "8080",
     .env = "PLINTH_PORT",
     .key = "port",
     RANGE(0, 65535),
     .help = "Port to listen on; 0 picks a free one."},
    {.name = "data-dir",
     TO_STRING(data_dir),
     .metavar = "DIR",
     .fallback_note = "${XDG_DATA_HOME:-~/.local/share}/plinth/data",
     .env = "PLINTH_DATA_DIR",
     .key = "data_dir",
     .help = "Folder for what outlives the server: the store and the admin token."},
    {.name = "models-dir",
     TO_STRING(models_dir),
     .metavar = "DIR",
     .fallback_note = "${XDG_DATA_HOME:-~/.local/share}/plinth/models",
     .env = "PLINTH_MODELS_DIR",
     .key = "models_dir",
     .help = "Every model in this folder is served under the name of its folder or .gguf file; those that come, go or change while it is "
             "served too."},
    {.name = "weight-cache",
     TO_STRING(weight_cache),
     .metavar = "DIR",
     .fallback_note = "DATA/cache",
     .env = "PLINTH_WEIGHT_CACHE",
     .key = "weight_cache",
     .help = "Folder where weights are kept in the form that the kernels read, and tokenizers' tables, so that the next start is quick; it "
             "takes about as much room as "
             "the models. \"off\": they are packed at every start."},
    {.name = "threads",
     TO_INT(threads),
     .metavar = "N",
     .fallback = "0",
     .env = "PLINTH_THREADS",
     .key = "threads",
     RANGE(0, 1024),
     .help = "Compute threads; 0 takes the cores that may be used."},
    {.name = "compute",
     TO_STRING(compute),
     .metavar = "MODE",
     .fallback = "fast",
     .env = "PLINTH_COMPUTE",
     .key = "compute",
     .choices = COMPUTE_MODE_CHOICES,
     .help = "fast: integer dot products with 8-bit activations. precise: with 16-bit ones. f32: everything in fp32, for comparison."},
    {.name = "kv",
     TO_STRING(kv),
     .metavar = "TYPE",
     .fallback = "f16",
     .env = "PLINTH_KV",
     .key = "kv",
     .choices = KV_TYPE_CHOICES,
     .help = OPTIONS_KV_HELP},
    {.name = "kernels",
     TO_STRING(kernels),
     .metavar = "NAME",
     .fallback = "auto",
     .env = "PLINTH_KERNELS",
     .key = "kernels",
     .choices = VARIANTS_CHOICES,
     .help = VARIANTS_HELP},
    {.name = "speculate",
     TO_STRING(speculate),
     .metavar = "on|off",
     .fallback = "on",
     .env = "PLINTH_SPECULATE",
     .key = "speculate",
     .choices = "on|off",
     .help = "Draft tokens from what the text holds already, where that pays. It makes texts that repeat themselves come faster and never "
             "changes one."},
    {.name = "draft",
     OPTION_LIST_TO(struct serve_args, drafts),
     .metavar = "MODEL=DRAFT",
     .env = "PLINTH_DRAFT",
     .key = "draft",
     .help = "Lets the small model DRAFT guess ahead for MODEL, where that pays; may be given for several models. Both lie in the models "
             "folder "
             "and have the same vocabulary. It makes single streams come faster and never changes one."},
    {.name = "kv-mib",
     TO_INT(kv_mib),
     .metavar = "MIB",
     .fallback = "0",
     .fallback_note = "a quarter of the free memory, or what one context needs",
     .env = "PLINTH_KV_MIB",
     .key = "kv_mib",
     RANGE(0, 1 << 30),
     .help = "Memory for the KV cache of all models together. A model is served with as much of its context as this can hold. 0: a quarter "
             "of the free memory, more where one context needs it, and never more than there is."},
    {.name = "no-auth",
     OPTION_BOOL_TO(struct serve_args, no_auth),
     .env = "PLINTH_NO_AUTH",
     .key = "no_auth",
     .help = "Ask for no token. Only with a loopback address; pages of other sites are refused, unless --cors-origin names them."},
    {.name = "show-token",
     OPTION_BOOL_TO(struct serve_args, show_token),
     .env = "PLINTH_SHOW_TOKEN",
     .key = "show_token",
     .help = "Print the admin token at the start. Done anyway when standard output is a terminal."},
    {.name = "drain-s",
     TO_INT(drain_s),
     .metavar = "SECONDS",
     .fallback = "30",
     .env = "PLINTH_DRAIN_S",
     .key = "drain_s",
     RANGE(0, 86400),
     .help = "How long streams may go on after SIGTERM, or when their model is removed or unloaded."},
    {.name = "request-timeout-s",
     TO_INT(request_timeout_s),
     .metavar = "SECONDS",
     .fallback = "600",
     .env = "PLINTH_REQUEST_TIMEOUT_S",
     .key = "request_timeout_s",
     RANGE(1, 86400),
     .help = "Time limit of a request, waiting included."},
    {.name = "engine-stall-s",
     TO_INT(stall_s),
     .metavar = "SECONDS",
     .fallback = "120",
     .env = "PLINTH_ENGINE_STALL_S",
     .key = "engine_stall_s",
     RANGE(1, 86400),
     .help = "An engine process that has work and gives no sign for so long is started again."},
    {.name = "cors-origin",
     OPTION_LIST_TO(struct serve_args, cors_origins),
     .metavar = "ORIGIN",
     .env = "PLINTH_CORS_ORIGIN",
     .key = "cors_origin",
     .help = "Origin whose web pages may call the server, or *; may be given several times. Default: none."},
    {.name = "metrics-vllm",
     OPTION_BOOL_TO(struct serve_args, metrics_vllm),
     .env = "PLINTH_METRICS_VLLM",
     .key = "metrics_vllm",
     .help = "Give /metrics the names of vLLM (vllm:...) beside our own, for dashboards and autoscalers that were made for it."},
    {.name = "log-level",
     TO_STRING(log_level),
     .metavar = "LEVEL",
     .fallback = "info",
     .env = "PLINTH_LOG_LEVEL",
     .key = "log_level",
     .choices = "error|warn|info|debug",
     .help = "The least important lines that are logged."},
    {.name = "log-format",
     TO_STRING(log_format),
     .metavar = "FORMAT",
     .fallback = "text",
     .env = "PLINTH_LOG_FORMAT",
     .key = "log_format",
     .choices = "text|json",
     .help = "How lines are logged."},
};

enum { LOOK_MS = 25, FLUSH_MS = 1000, DESCRIPTORS = 8192 };

struct server {
  const struct serve_args *args;
  char *data_dir, *models_dir;
  int lock_fd, signal_fd;
  struct store *store;
  struct api *api;
  struct net *net;
  struct serving *serving;
  struct models_watch *models_watch;
  char *cache_dir; /* for packed weights; NULL: none */
  struct loop_watch *signal_watch;
  struct loop_timer *look;
  uint64_t begin_ns, drain_until_ns, flush_until_ns; /* 0: not yet */
  bool told_ready;
};

/* ---- the end ---- */

/* All replies have ended, or time is up: then what is left gets an error, and a moment to read it. */
static void look_at_drain(struct server *v) {
  uint64_t now = clock_ns();
  bool time_is_up = v->flush_until_ns ? now > v->flush_until_ns : now > v->drain_until_ns;
  if (net_n_exchanges(v->net) == 0 || (v->flush_until_ns && time_is_up)) {
    net_stop(v->net);
  } else if (time_is_up) {
    struct error why;
    error_set(&why, ERROR_UNAVAILABLE, "The server is shutting down, and the time for requests under way is over.");
    log_line(LOG_WARN, "app", "The time for streams is over; %u are ended.", net_n_exchanges(v->net));
    v->flush_until_ns = now + FLUSH_MS * 1000000ull;
    serving_abort(v->serving, &why);
  }
}

static void look_at_ready(struct server *v) {
  if (v->told_ready || !serving_ready(v->serving)) return;
  v->told_ready = true;
  log_line(LOG_INFO, "app", "Every endpoint is ready, %.1f s after the start.", (double)(clock_ns() - v->begin_ns) / 1e9);
  notify_send("READY=1");
}

static void on_look(void *arg) {
  struct server *v = arg;
  if (v->drain_until_ns) look_at_drain(v);
  else look_at_ready(v);
}

static void begin_drain(struct server *v, const char *signal_name) {
  log_line(LOG_INFO, "app", "%s: new requests are refused; streams get %lld s.", signal_name, (long long)v->args->drain_s);
  notify_send("STOPPING=1");
  v->drain_until_ns = clock_ns() + (uint64_t)v->args->drain_s * 1000000000u;
  api_drain(v->api);
  serving_drain(v->serving, NULL, NULL);
}

static void on_signal(void *arg, bool readable, bool writable) {
  (void)writable;
  struct server *v = arg;
  struct signalfd_siginfo info;
  if (!readable || read(v->signal_fd, &info, sizeof info) != (ssize_t)sizeof info) return;
  if (!v->drain_until_ns) begin_drain(v, info.ssi_signo == SIGINT ? "SIGINT" : info.ssi_signo == SIGHUP ? "SIGHUP" : "SIGTERM");
  else if (info.ssi_signo == SIGINT) _exit(128 + SIGINT);
}

/* ---- the start ---- */

/* One that the caller has us ignore (nohup, a script's background job) stays ignored. */
static void add_signal(sigset_t *set, int number) {
  struct sigaction action;
  if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_IGN) sigaddset(set, number);
}

/* Before any thread exists, so that all inherit it: signals are read from a descriptor. */
static int take_signals(struct server *v, struct error *err) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  add_signal(&set, SIGINT);
  add_signal(&set, SIGHUP);
  sigprocmask(SIG_BLOCK, &set, NULL);
  v->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  return v->signal_fd < 0 ? error_set(err, ERROR_IO, "Cannot take signals: %s.", strerror(errno)) : 0;
}

/* A name that begins with "127." may stand for any address. */
static bool is_loopback(const char *host) {
  struct in_addr address;
  if (inet_pton(AF_INET, host, &address) == 1) return ntohl(address.s_addr) >> 24 == 127;
  return strcmp(host, "::1") == 0 || strcmp(host, "localhost") == 0;
}

/* Every connection is a descriptor, and the usual soft limit of 1,024 is just what net takes at most. */
static void raise_descriptor_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= DESCRIPTORS) return;
  limit.rlim_cur = limit.rlim_max < DESCRIPTORS ? limit.rlim_max : DESCRIPTORS;
  (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* "*", "null" (pages without an origin), or scheme://host[:port] as browsers send it: what is written otherwise would never match. */
static bool is_origin(const char *text) {
  if (strcmp(text, "*") == 0 || strcmp(text, "null") == 0) return true;
  const char *host = strstr(text, "://");
  return host && host > text && host[3] && !strpbrk(host + 3, "/?#@") && !strpbrk(text, " \t\r\n,ABCDEFGHIJKLMNOPQRSTUVWXYZ");
}

static int check_args(const struct serve_args *a, struct error *err) {
  for (size_t i = 0; i < a->cors_origins.n; i++)
    if (!is_origin(a->cors_origins.items[i]))
      return error_set(err, ERROR_INVALID,
                       "--cors-origin \"%.100s\" is no origin: it is * or scheme://host[:port] in small letters, without a path; "
                       "for example https://example.org.",
                       a->cors_origins.items[i]);
  if (!a->no_auth || is_loopback(a->host)) return 0;
  return error_set(err, ERROR_INVALID,
                   "--no-auth is only for a loopback address, and %.100s is none: anybody who reaches it could use the server.", a->host);
}

static int open_data(struct server *v, struct error *err) {
  v->data_dir = data_dir_path(v->args->data_dir);
  if (data_dir_make(v->data_dir, err) < 0) return -1;
  v->lock_fd = data_dir_lock(v->data_dir, err);
  if (v->lock_fd < 0) return -1;
  v->store = store_open(v->data_dir, err);
  if (!v->store) return -1;
  return v->args->no_auth ? 0 : data_dir_token_ensure(v->data_dir, v->store, err);
}

static int open_net(struct server *v, struct error *err) {
  const struct serve_args *a = v->args;
  struct api_config config = {
      .version = PLINTH_VERSION, .request_timeout_ms = (unsigned)a->request_timeout_s * 1000, .metrics_vllm = a->metrics_vllm};
  struct net_config net = {
      .host = a->host, .port = (int)a->port, .cors_origins = a->cors_origins.items, .n_cors_origins = a->cors_origins.n};
  v->api = api_create(&config);
  api_hook(v->api, &net);
  v->net = net_create(&net, err);
  return v->net ? 0 : -1;
}

/* The folder for packed weights, in new memory; NULL when there shall be none. */
static char *weight_cache_dir(const struct server *v) {
  const char *asked = v->args->weight_cache;
  if (!asked) return fs_join(v->data_dir, "cache");
  return strcmp(asked, "off") == 0 ? NULL : mem_strdup(asked);
}

/* The names of each --draft; free_drafts them, also after an error. */
static int read_drafts(const struct options_list *list, struct serving_draft *out, struct error *err) {
  for (size_t i = 0; i < list->n; i++) {
    const char *text = list->items[i], *sign = strchr(text, '=');
    if (!sign || sign == text || !sign[1] || strchr(sign + 1, '='))
      return error_set(err, ERROR_INVALID, "--draft \"%.100s\" is not MODEL=DRAFT, two names of models.", text);
    out[i] = (struct serving_draft){mem_dup(text, (size_t)(sign - text)), sign + 1};
  }
  return 0;
}

static void free_drafts(struct serving_draft *drafts, size_t n) {
  for (size_t i = 0; i < n; i++) free((char *)drafts[i].model);
  free(drafts);
}

static int open_serving(struct server *v, const struct paths_models *models, struct error *err) {
  const struct serve_args *a = v->args;
  const char *cache = v->cache_dir = weight_cache_dir(v);
  char *record = fs_join(v->data_dir, "cache");
  if (cache) weight_cache_tidy(cache, models);
  const char *const engine_args[] = {"--kv",
                                     a->kv,
                                     "--kernels",
                                     a->kernels,
                                     "--kernel-record",
                                     record,
                                     "--speculate",
                                     a->speculate,
                                     "--log-level",
                                     a->log_level,
                                     "--log-format",
                                     a->log_format,
                                     cache ? "--weight-cache" : NULL,
                                     cache,
                                     NULL};
  uint64_t *stamps = models_watch_stamps(v->models_dir, models);
  struct serving_model *specs = models_watch_specs(models, stamps, cache);
  struct serving_draft *drafts = mem_zalloc(a->drafts.n + 1, sizeof *drafts);
  struct serving_config config = {.models = specs,
                                  .n_models = models->n,
                                  .drafts = drafts,
                                  .n_drafts = a->drafts.n,
                                  .engine_program = "/proc/self/exe",
                                  .engine_args = engine_args,
                                  .compute = a->compute,
                                  .threads = (int)a->threads,
                                  .kv_mib = (uint64_t)a->kv_mib,
                                  .request_timeout_ms = (unsigned)a->request_timeout_s * 1000,
                                  .stall_ms = (unsigned)a->stall_s * 1000,
                                  .leave_ms = a->drain_s ? (unsigned)a->drain_s * 1000 : 1,
                                  .no_auth = a->no_auth,
                                  .loop = net_loop(v->net),
                                  .store = v->store};
  if (read_drafts(&a->drafts, drafts, err) == 0) v->serving = serving_create(&config, err);
  free_drafts(drafts, a->drafts.n);
  models_watch_specs_free(specs, models->n);
  free(stamps);
  free(record);
  return v->serving ? 0 : -1;
}

static int open_models(struct server *v, struct error *err) {
  struct paths_models models;
  v->models_dir = v->args->models_dir ? mem_strdup(v->args->models_dir) : paths_models_dir();
  if (paths_list(v->models_dir, &models, err) < 0) return -1;
  int result = open_serving(v, &models, err);
  if (result < 0 && err->code == ERROR_NOT_FOUND) error_prefix(err, "%s", v->models_dir);
  paths_list_free(&models);
  return result;
}

static int start(struct server *v, struct error *err) {
  v->begin_ns = clock_ns();
  raise_descriptor_limit();
  if (check_args(v->args, err) < 0 || take_signals(v, err) < 0 || open_data(v, err) < 0 || open_net(v, err) < 0 || open_models(v, err) < 0)
    return -1;
  api_attach(v->api, v->net, v->serving);
  v->signal_watch = loop_watch_start(net_loop(v->net), v->signal_fd, on_signal, v);
  v->models_watch = models_watch_start(net_loop(v->net), v->serving, v->models_dir, v->cache_dir);
  v->look = loop_timer_start(net_loop(v->net), LOOK_MS, true, on_look, v);
  return 0;
}

static void close_all(struct server *v) {
  if (v->net) {
    loop_watch_stop(net_loop(v->net), v->signal_watch);
    loop_timer_cancel(net_loop(v->net), v->look);
  }
  models_watch_stop(v->models_watch);
  if (v->serving) serving_stop(v->serving);
  if (v->net) net_destroy(v->net);
  serving_destroy(v->serving);
  api_destroy(v->api);
  store_close(v->store);
  if (v->signal_fd >= 0) close(v->signal_fd);
  if (v->lock_fd >= 0) close(v->lock_fd);
  free(v->data_dir);
  free(v->models_dir);
  free(v->cache_dir);
}

/* A server whose output nobody takes serves all the same; app_print says why it is not seen. */
static void say_hello(const struct server *v) {
  struct buf text = {0};
  struct banner b = {.host = v->args->host,
                     .port = net_port(v->net),
                     .data_dir = v->data_dir,
                     .store = v->store,
                     .serving = v->serving,
                     .auth = !v->args->no_auth,
                     .show_token = v->args->show_token || isatty(STDOUT_FILENO)};
  banner_write(&b, &text);
  (void)app_print(&text);
  buf_free(&text);
}

static int run(const struct options *o) {
  const struct serve_args *a = o->args;
  struct server v = {.args = a, .lock_fd = -1, .signal_fd = -1};
  struct error err = {0};
  log_setup((enum log_level)log_level_parse(a->log_level), strcmp(a->log_format, "json") == 0 ? LOG_JSON : LOG_TEXT);
  int code = start(&v, &err) < 0 ? app_fail(&err) : APP_OK;
  if (code == APP_OK) {
    say_hello(&v);
    net_run(v.net);
  }
  close_all(&v);
  if (code == APP_OK) log_line(LOG_INFO, "app", "Ended.");
  return code;
}

const struct app_command serve_command = {
    .spec =
        {.command = "serve",
         .summary = "Serve models over HTTP",
         .description =
             "Serves every model of the models folder over HTTP, in the dialects of OpenAI (/v1) and Databricks (/serving-endpoints).\n\n"
             "The first start writes the admin token to DATA/admin-token. A second process, the engine, computes; it is started again when "
             "it "
             "dies. SIGTERM and SIGINT end both: new requests are refused, streams get --drain-s; a second SIGINT ends at once.",
         .examples =
             "plinth serve\nplinth serve --host 0.0.0.0 --port 9000 --models-dir /srv/models\nplinth serve --print-config > plinth.yaml",
         OPTIONS_ROWS(rows),
         .args_bytes = sizeof(struct serve_args),
         .has_config = true},
    .run = run,
};
