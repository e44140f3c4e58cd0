/* serving: endpoints, principals, and the requests that run on the engine process. The door of the room.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The gateway's heart: it knows people, names and text, and owns the link to the engine process, which it starts, watches and
 * starts again. Everything here is for the loop thread unless it says otherwise; text work runs on worker threads. */
#ifndef SERVING_SERVING_H
#define SERVING_SERVING_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/histogram.h"
#include "base/loop.h"
#include "base/slice.h"
#include "store/store.h"
#include "text/text.h"

struct serving;

/* A model to serve: the name of its endpoint, and its folder or .gguf file. stamp: another number when its files are others; 0: not told, or they
 * are being written at the moment. */
struct serving_model {
  const char *name, *path;
  const char *kept_dir; /* folder of its own for what is kept of it between starts; NULL: nothing is */
  uint64_t stamp;
};

/* A model and the small one that drafts for it, by name; their tokens must be the same. */
struct serving_draft {
  const char *model, *draft;
};

/* Everything is copied but what is said to be borrowed. */
struct serving_config {
  const struct serving_model *models; /* in the order of the endpoints */
  size_t n_models;
  const struct serving_draft *drafts;
  size_t n_drafts;
  const char *engine_program;     /* the program to start as engine ("/proc/self/exe"), with the argument "engine" */
  const char *const *engine_args; /* further arguments for it, NULL-terminated; NULL: none */
  const char *compute;            /* "fast", "precise" or "f32" */
  int threads;                    /* compute threads; 0: the cores that may be used */
  uint64_t kv_mib;                /* shared by the generating models; 0: the engine's default */
  unsigned request_timeout_ms;    /* from submission to the last token; 0: 600,000 */
  unsigned stall_ms;              /* an engine that has work and gives no sign for so long is killed and started again; 0: 120,000 */
  unsigned restart_delay_ms;      /* before the second restart in a row; doubles up to ten times; 0: 500 */
  unsigned leave_ms;              /* how long requests of a model that is removed or unloaded may go on; 0: 30,000 */
  size_t waiting_max;             /* generations alive at once; over it 503; 0: 1,024 */
  bool no_auth;
  struct loop *loop;   /* borrowed until serving_stop */
  struct store *store; /* borrowed */
};

/* Reads the models' texts (config, tokenizer, template) and starts the engine process. A folder without a model is left out; a model
 * that cannot be read is an endpoint in SERVING_FAILED, named in the log; no readable model at all is an error. An engine that
 * cannot be started is none: it is tried again. */
struct serving *serving_create(const struct serving_config *config, struct error *err);
/* New generations, but those of a call that goes on, are refused with ERROR_UNAVAILABLE; on_idle(arg) from the loop when none is left. */
void serving_drain(struct serving *s, void (*on_idle)(void *arg), void *arg);
/* Every generation ends now with this error; new ones are refused. */
void serving_abort(struct serving *s, const struct error *why);
/* The last thing on the loop: generations end with ERROR_UNAVAILABLE, work that was given to workers is completed, the engine process
 * ends. Afterwards the loop is not used any more, and every function here still may be called; then destroy net, then serving. */
void serving_stop(struct serving *s);
void serving_destroy(struct serving *s); /* stops first when that was not done; NULL is fine */

/* ---- principals ---- */

/* Whether token (from Bearer or Basic "token:") is known. Compares hashes in constant time. A token that is changed in the store counts
 * within a second. Always true with no_auth. */
bool serving_authenticate(struct serving *s, struct slice token);
bool serving_auth_required(const struct serving *s);

/* ---- endpoints ---- */

enum serving_task { SERVING_CHAT, SERVING_COMPLETIONS, SERVING_EMBEDDINGS }; /* SERVING_COMPLETIONS: generates, has no chat template */
enum serving_state { SERVING_LOADING, SERVING_READY, SERVING_FAILED, SERVING_STOPPED /* by serving_unload */ };

/* What the import of a model found (plinth.json), as texts; NULL where it says nothing. */
struct endpoint_origin {
  const char *verdict;           /* "verified", "unverified"; "changed": a file is not as it was imported, by size or time */
  const char *verified_by;       /* "catalogue", "vectors" */
  const char *source;            /* "hf:org/repo", "path" */
  const char *revision, *commit; /* of a hub */
  const char *weights, *tokenizer, *chat_template; /* fingerprints: "sha256:…" */
  int64_t imported_s;
};

struct endpoint {
  const char *name; /* catalogue name, the {name} of the path and the `model` of a body */
  enum serving_task task;
  enum serving_state state; /* READY once the engine decoded or embedded with it */
  const char *failure;      /* a sentence, when SERVING_FAILED */
  const char *architecture, *quantization;
  size_t
      context_tokens; /* window; 0 while unknown: some files tell only the engine. Once loaded: what is served of it, as the KV memory allows */
  size_t whole_context_tokens; /* the model's own; 0 until the engine has loaded it */
  size_t n_embd;               /* 0 while unknown */
  uint64_t n_parameters;       /* 0 until the engine has loaded the model; so is quantization "" */
  int64_t created_s;
  const struct tokenizer *tokenizer;
  const struct chat_template *chat_template; /* NULL when it has none */
  const struct endpoint_origin *origin;      /* NULL: it was not imported */
  int index;                                 /* the model's number on the wire, which another one may have when this one is gone */
};

/* In the order of their names. Endpoints come and go; one that is used over a return to the loop must be held. */
size_t serving_n_endpoints(const struct serving *s);
const struct endpoint *serving_endpoint_at(const struct serving *s, size_t i);
const struct endpoint *serving_endpoint(const struct serving *s, struct slice name); /* NULL when unknown */
const char *serving_task_name(enum serving_task task);                               /* "llm/v1/chat", … */
/* While it is held an endpoint stays in memory, with its tokenizer and template, also when it was removed. */
void serving_hold(const struct endpoint *e);
void serving_release(struct serving *s, const struct endpoint *e);
/* Every endpoint that was there from the start, or was ready before, has decoded or embedded since the engine's start, and the engine lives; false with
 * such an endpoint in SERVING_FAILED, and while draining. One that was added later does not count before it is ready, nor one that is stopped. */
bool serving_ready(const struct serving *s);

/* ---- models that come and go ---- */

/* What the models folder holds now. New models are read by a worker and loaded; those that are not in the list any more, or whose stamp is another one,
 * are removed: the endpoint is gone at once, requests under way may end within leave_ms, then its memory is free. */
void serving_update(struct serving *s, const struct serving_model *models, size_t n);
/* Loads what was unloaded or failed, with the base of an adapter and the adapters of a base. Returns at once; the state tells. */
int serving_load(struct serving *s, const struct endpoint *e, struct error *err);
/* The endpoint stays, in SERVING_STOPPED, and with it those of its adapters; the memory is given back as when it is removed. */
int serving_unload(struct serving *s, const struct endpoint *e, struct error *err);
bool serving_engine_alive(const struct serving *s);

/* ---- text work off the loop ---- */

/* work(arg) on a worker thread, then done(arg) on the loop thread (or within serving_stop), even when what started it is gone by then. */
void serving_work(struct serving *s, void (*work)(void *arg), void (*done)(void *arg), void *arg);

/* ---- generations ---- */

enum { SERVING_TOP_LOGPROBS_MAX = 20, SERVING_STOP_IDS_MAX = 128, SERVING_BIASES_MAX = 300 };

struct serving_logprob {
  int32_t id;
  float logprob;
};

enum serving_event_kind { SERVING_TOKEN, SERVING_PROMPT_TOKEN, SERVING_EMBEDDING, SERVING_ERROR };
enum serving_finish { SERVING_RUNNING, SERVING_STOP, SERVING_LENGTH };

struct serving_event {
  enum serving_event_kind kind;
  int32_t token;
  bool is_eos;                /* an end-of-generation or stop id that ended the sequence: no text */
  enum serving_finish finish; /* not SERVING_RUNNING on the last event */
  float logprob;              /* under the model's own distribution; NAN for the first prompt token */
  int n_top;
  const struct serving_logprob *top; /* borrowed for the call */
  const float *embedding;            /* n_embd values, borrowed for the call */
  bool timed;                        /* the first token or the embedding: its times are there */
  uint64_t queue_ns, prefill_ns;     /* timed: until it was computed first; from there to this event */
  const struct error *error; /* SERVING_ERROR: the last event; ERROR_UNAVAILABLE: the engine died; ERROR_TIMEOUT; what the engine says */
};

struct serving_bias {
  int32_t id;
  float bias;
};

/* What is asked of the engine. Everything is copied. doc/design/engine.md says what the sampling does, and in which order. */
struct serving_request {
  const struct endpoint *endpoint;
  const int32_t *prompt;
  size_t n_prompt;
  double temperature, top_p, min_p;
  int64_t top_k;                              /* 0: off */
  double repetition_penalty;                  /* above 0; 1: off, and so is 0, which nobody set */
  double presence_penalty, frequency_penalty; /* 0: off */
  const struct serving_bias *biases;          /* finite, at most SERVING_BIASES_MAX */
  size_t n_biases;
  uint64_t seed;
  size_t max_tokens; /* 0: up to the context */
  size_t min_tokens; /* so many tokens end nothing */
  bool ignore_eos;
  const int32_t *stop_ids; /* at most SERVING_STOP_IDS_MAX */
  size_t n_stop_ids;
  const struct slice *stops;
  size_t n_stops;
  int top_logprobs; /* -1: none */
  bool prompt_logprobs;
  unsigned timeout_ms; /* 0: the configured one */
  /* When the engine dies, the next one goes on from the token that was reached, and nobody notices: for replies of which the client has
   * seen nothing. Not with prompt_logprobs (asserted). */
  bool resumes;
  /* One more sequence of a call that has had one: neither a drain nor the number of those under way refuses it. The caller bounds how many of
   * a call are alive at once. */
  bool goes_on;
};

struct generation; /* one sequence under way: keeps prompt, sampling, seed and tokens so far */

/* on_event is called on the loop thread, never from inside serving_generate; events of one engine step come one after the other. The
 * last one has a finish or is an error; then the generation is gone. A request waits while the engine starts or restarts, up to its
 * time limit; one that had begun to answer ends with SERVING_ERROR when the engine dies, unless it resumes. NULL with ERROR_UNAVAILABLE when draining,
 * too many wait, or the engine cannot be restarted; ERROR_INVALID for what can be refused at once. */
struct generation *serving_generate(struct serving *s, const struct serving_request *request,
                                    void (*on_event)(void *arg, const struct serving_event *event), void *arg, struct error *err);
/* Whether a new request for e would be taken now; else -1 with the error of serving_generate. */
int serving_check(struct serving *s, const struct endpoint *e, struct error *err);
/* No further event; the engine stops within a step. Not after the last event, and not while it is being delivered. */
void serving_cancel(struct generation *g);

/* ---- figures for /metrics ---- */

struct serving_stats {
  bool engine_alive;
  int engine_pid; /* 0 while there is none */
  uint64_t engine_restarts;
  size_t generations;                  /* alive */
  uint64_t kv_bytes;                   /* that the KV memory of all models may take, last known; 0: none */
  uint64_t read_bytes_s, operations_s; /* what the machine can do at most: reads of memory, dot products; 0: not measured yet */
};
void serving_stats(const struct serving *s, struct serving_stats *out);

struct serving_drafts {
  uint64_t n, drafted, accepted; /* drafts, their tokens, and of these those that came out */
};

/* What an endpoint's model does, last known; counts go on when the engine is started again. */
struct serving_model_stats {
  bool shares_engine;  /* an adapter: all but waiting_here is counted at its base */
  size_t waiting_here; /* not yet with the engine */
  size_t waiting, running;
  size_t pages_used, pages_cached, page_bytes;
  double kv_usage; /* what its running sequences hold of the KV memory that all models share */
  uint64_t steps, prefill_tokens, decode_tokens, embed_tokens, preemptions;
  uint64_t prefix_query_tokens, prefix_hit_tokens, started, expired, queue_ns;
  struct serving_drafts text_drafts, model_drafts;
  uint64_t decode_ns, decode_bytes, prefill_ns, prefill_operations; /* steps without and with rows of prompts (engine.h) */
  double decode_bytes_s, prefill_operations_s;                      /* in about the last 10 s of these; 0: none */
  const struct histogram *step_tokens, *step_sequences;             /* borrowed */
};
void serving_model_stats(const struct serving *s, const struct endpoint *e, struct serving_model_stats *out);

#endif
