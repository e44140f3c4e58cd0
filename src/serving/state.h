/* serving's own: what its files share. SPDX-License-Identifier: Apache-2.0
 *
 * Everything belongs to the loop thread; only workers.c has threads of its own. */
#ifndef SERVING_STATE_H
#define SERVING_STATE_H
#include <sys/types.h>

#include "file/manifest.h"
#include "serving/serving.h"
#include "wire/wire.h"

struct workers;

/* A speed that follows what is done. */
struct recent {
  double amount, ns; /* of which older ones count less */
};

/* What the engine counts of a model. */
struct figures {
  struct wire_stats now;      /* of this engine process */
  uint64_t past[WIRE_COUNTS]; /* of those before it */
  struct recent decode, prefill;
  struct histogram step_tokens, step_sequences;
};

/* An endpoint with what only this room needs of it. Its ways to come and go: roster.c. */
struct model {
  struct endpoint door; /* what the others see; the first member */
  char *name, *path;
  char failure[512];
  char architecture[64], quantization[64];
  struct tokenizer *tokenizer;
  struct chat_template *chat_template;
  struct manifest manifest; /* empty without one */
  struct endpoint_origin origin;
  struct model *base;          /* NULL, or the model that this one is an adapter of, whose tokenizer it uses */
  char *base_name;             /* of an adapter, until its base is found */
  uint64_t stamp;              /* of its files */
  bool unreadable;             /* the text could not be read: never sent to the engine */
  bool left_out;               /* unreadable because it ended engines */
  bool counts;                 /* for serving_ready: there from the start, or was ready */
  bool stopped;                /* unloaded on demand */
  bool removed;                /* no endpoint any more; it goes when nothing holds it */
  bool leaving;                /* removed or stopped, and still with the engine, or its requests are */
  bool lacked_memory;          /* the engine had too little for it */
  unsigned load_deaths;        /* engine processes in a row that ended while they loaded it */
  bool asked;                  /* this engine process was told to load it, and has not said that it failed or is gone … */
  bool loaded;                 /* … and has done so */
  bool unload_sent;            /* … and was told to free it */
  size_t n_generations;        /* alive, internal ones too */
  unsigned holds;              /* serving_hold, and adapters */
  struct serving *serving;     /* while it leaves … */
  struct loop_timer *deadline; /* … how long its requests may go on */
  uint32_t n_vocab;            /* as the engine says, when loaded */
  struct figures figures;
};

struct models {
  struct model *slots[WIRE_MODELS_MAX];  /* by number; pointers stay while the model is held */
  struct model *listed[WIRE_MODELS_MAX]; /* [n] the endpoints */
  size_t n;
  struct model *in_order[WIRE_MODELS_MAX]; /* [n_in_order] all, as they are loaded: adapters after their bases, what ended an engine last */
  size_t n_in_order;
};

/* Owns its strings. */
struct drafts {
  struct serving_draft *items;
  size_t n;
};

struct principals {
  struct store_token *tokens;
  size_t n, cap;
  uint64_t read_ns; /* when they were read from the store */
};

/* A process that was told to end and has not been collected yet. */
struct process {
  pid_t pid; /* 0: none */
  int fd;    /* our end of the socket pair, -1: closed */
};

/* The engine process and the conversation with it. */
struct supervisor {
  struct process process;
  struct wire_io io;
  struct loop_watch *watch;
  bool writing; /* the watch asks for writability */
  struct loop_timer *restart, *stall;
  bool running;           /* frames can be sent */
  bool down;              /* several starts in a row came to nothing */
  bool any_ready;         /* an endpoint became ready in this process */
  unsigned quick_deaths;  /* in a row, each soon after its start */
  unsigned failed_starts; /* in a row, without any endpoint ready */
  uint64_t n_starts, started_ns, heard_ns;
  unsigned stale_ticks;
  char last_error[512]; /* why the last process was given up */
};

enum generation_state {
  GENERATION_WAITING, /* not with the engine */
  GENERATION_SENT,    /* with the engine, no event yet: may be sent again to the next process */
  GENERATION_BEGUN,
};

struct generation {
  struct serving *serving;
  struct generation *next, *prev, *hash_next; /* list: in order of arrival */
  uint64_t id;
  uint64_t asked_ns, sent_ns; /* sent_ns: to the engine that has it now */
  struct model *model;
  enum generation_state state;
  bool resumes;           /* goes on in the next engine after it had begun */
  bool internal;          /* the proof of an endpoint; not counted and not refused */
  bool gone;              /* out of list and table; memory only waits for the end of a callback */
  unsigned deaths;        /* engine processes that ended while they had it */
  struct wire_submit ask; /* owns its lists: a later process can be asked the same */
  struct ids tokens;      /* generated so far; with ask all that is needed to go on elsewhere */
  struct loop_timer *timer;
  unsigned timeout_ms;
  void (*on_event)(void *arg, const struct serving_event *event);
  void *arg;
};

enum { GENERATION_BUCKETS = 1024 };

struct generations {
  struct generation *first, *last;
  struct generation *buckets[GENERATION_BUCKETS];
  size_t n, n_waiting;  /* n: without internal ones */
  size_t n_with_engine; /* sent or begun */
  uint64_t next_id;
  unsigned delivering; /* callbacks under way: memory of ended generations is kept until they return */
  struct generation *kept;
};

struct serving {
  struct serving_config config; /* its strings and lists are not kept, but these: */
  char *engine_program, *compute;
  char **engine_args; /* NULL-terminated */
  struct loop *loop;
  struct models models;
  struct principals principals;
  struct workers *workers;
  struct drafts drafts;
  struct supervisor engine;
  struct wire_machine machine; /* 0: not measured yet */
  uint64_t kv_bytes;           /* that the engine last spoke of */
  struct generations generations;
  size_t n_opening;         /* models that workers read */
  uint64_t passed_over[64]; /* what was read and is no endpoint, the last of them: it is not read again and again */
  size_t n_passed_over;
  bool sweep_posted;
  bool draining, aborted, stopped; /* draining: in all three */
  struct error refusal;            /* what new generations are told while draining */
  void (*on_idle)(void *arg);
  void *on_idle_arg;
  bool idle_posted;
};

/* ---- models.c ---- */

int models_open(struct models *m, const struct serving_model *specs, size_t n, struct error *err);
void models_close(struct models *m);
/* Figures that the engine found; they win over what the files seemed to say. */
void models_take_figures(struct model *m, const struct wire_model *figures);
void models_fail(struct model *m, const char *sentence, size_t len);
/* From now on m is loaded after all others, with the adapters of it behind it. */
void models_load_last(struct models *all, const struct model *m);
/* Reads what the files of a model tell, on any thread; NULL: there is nothing to serve. */
struct model *models_read(const struct serving_model *spec);
/* Makes it an endpoint. False: there is no number or the name is taken; the caller frees it. */
bool models_enter(struct models *all, struct model *m);
/* An adapter finds its base and takes its texts; else it fails. */
void models_join(struct models *all, struct model *m);
bool models_has_base(const struct models *all, const struct model *adapter); /* one that could serve */
void models_unlist(struct models *all, struct model *m);                     /* no endpoint any more */
void models_free(struct models *all, struct model *m);                       /* of no list, or after models_unlist */
bool models_is_name(const struct serving_model *spec);
struct model *models_find(const struct models *all, struct slice name); /* of an endpoint; NULL when unknown */

/* ---- roster.c ---- */

/* Its last request, holder or adapter is gone: the next look at the roster may free it. */
void roster_look_again(struct serving *s);
/* The engine has freed m. */
void roster_gone(struct serving *s, struct model *m);
/* Adapters that failed for want of m are loaded. */
void roster_base_is_loaded(struct serving *s, const struct model *m);
void roster_stop(struct serving *s);

/* ---- drafts.c ---- */

void drafts_copy(struct drafts *d, const struct serving_draft *from, size_t n);
void drafts_free(struct drafts *d);
/* Whether all pairs fit; the models are there. */
int drafts_check(const struct serving *s, struct error *err);
/* Where the draft model of m lies; NULL: it has none, or none that fits, which is logged. */
const char *drafts_path(const struct serving *s, const struct model *m);

/* ---- figures.c ---- */

void figures_init(struct figures *f);
void figures_take(struct figures *f, const struct wire_stats *stats);
/* The process has ended; its counts are kept. */
void figures_forget_engine(struct figures *f);

/* ---- principals.c ---- */

int principals_read(struct principals *p, struct store *store, struct error *err);
bool principals_know(struct principals *p, struct store *store, struct slice token);
void principals_free(struct principals *p);

/* ---- workers.c ---- */

struct workers *workers_create(struct loop *loop, unsigned n_threads);
void workers_add(struct workers *w, void (*work)(void *arg), void (*done)(void *arg), void *arg);
/* Completes all that was added, on this thread's behalf too; then the loop is not used any more. */
void workers_stop(struct workers *w);
void workers_destroy(struct workers *w);

/* ---- process.c ---- */

/* Starts program with argv; it finds its end of a new socket pair as descriptor 3. */
int process_start(struct process *p, const char *program, char *const argv[], struct error *err);
void process_kill(struct process *p); /* closes the socket and kills; collect afterwards */
/* True when the process is gone; *ret_how then says how it ended ("ended with exit code 1"). */
bool process_collect(struct process *p, char *ret_how, size_t how_size);
/* Kills and waits. */
void process_end(struct process *p);

/* ---- supervisor.c ---- */

void supervisor_start(struct serving *s);
void supervisor_stop(struct serving *s);
/* Sends waiting generations whose model is ready, as far as the socket's queue has room. */
void supervisor_pump(struct serving *s);
/* Asks the engine to load or free m, when one runs. */
void supervisor_load(struct serving *s, struct model *m);
void supervisor_unload(struct serving *s, struct model *m);
/* Tells the engine to forget g. */
void supervisor_forget(struct serving *s, const struct generation *g);

/* ---- generations.c ---- */

/* A new one at the end of the list, waiting. Values were checked. */
struct generation *generations_add(struct serving *s, struct model *model, const struct wire_submit *ask, unsigned timeout_ms);
struct generation *generations_find(struct serving *s, uint64_t id);
/* Takes g out and frees it, at once or after the callback that is under way. */
void generations_remove(struct generation *g);
void generations_set_state(struct generation *g, enum generation_state state);
/* Waits again: to be sent to the next engine as it stood, the tokens so far behind its prompt. */
void generations_rewind(struct generation *g);
/* One event of the engine for g; removes g with its last event. */
void generations_deliver(struct generation *g, const struct wire_event *event);
/* Posts on_idle when draining and none is left; once. */
void generations_tell_if_idle(struct serving *s);
/* Ends g with an error. */
void generations_fail(struct generation *g, const struct error *why);
/* Ends those of model (NULL: of all), internal ones too, that are in state or an earlier one. */
/* Those that wait for m and may take more than what is served of its context, which was not known when they came. */
void generations_refuse_longer(struct serving *s, const struct model *m);
void generations_fail_all(struct serving *s, const struct model *model, enum generation_state state, const struct error *why);

#endif
