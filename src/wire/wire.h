/* wire: the frames between gateway and engine. The door of the room. SPDX-License-Identifier: Apache-2.0
 *
 * Both ends of a socket pair speak it. A frame is a header of 8 bytes and a body (doc/design/wire.md has the layouts):
 *
 *     body_bytes u32 | type u8 | version u8 | zero u16 | body …            all numbers little-endian
 *
 * Decoding is total: any bytes give a message or an error, never a crash, and no allocation beyond what the body's bytes pay for. The
 * other process may be broken; its frames are outside input. Encoding takes values within the limits below (asserted): the callers
 * check what comes from people first.
 *
 * Gateway to engine: LOAD, UNLOAD, SUBMIT, CANCEL, STOP. Engine to gateway: MODEL_READY, MODEL_FAILED, MODEL_GONE, STEP, REJECT, MACHINE. */
#ifndef WIRE_WIRE_H
#define WIRE_WIRE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"

enum {
  WIRE_VERSION = 5,
  WIRE_HEADER_BYTES = 8,
  WIRE_BODY_BYTES_MAX = 32 << 20,
  WIRE_STEP_BYTES_SOFT = 4 << 20, /* a step with more goes out in several frames */
  WIRE_MODELS_MAX = 1024,
  WIRE_PROMPT_MAX = 4 << 20, /* token ids */
  WIRE_STOPS_MAX = 16,
  WIRE_STOP_BYTES_MAX = 4096,
  WIRE_STOP_IDS_MAX = 128,
  WIRE_BIASES_MAX = 300,
  WIRE_TOP_MAX = 20,
  WIRE_CLASSES = 4,
  WIRE_EMBD_MAX = 65536,
  WIRE_TEXT_MAX = 4096, /* bytes of a path or a sentence */
};

enum wire_type {
  WIRE_LOAD = 1,
  WIRE_SUBMIT,
  WIRE_CANCEL,
  WIRE_STOP,
  WIRE_UNLOAD,
  WIRE_MODEL_READY = 16,
  WIRE_MODEL_FAILED,
  WIRE_STEP,
  WIRE_REJECT,
  WIRE_MACHINE,
  WIRE_MODEL_GONE,
};

/* Load the model at path under this number, which is free; the engine loads in the order of these frames, while it serves, and answers READY or
 * FAILED. */
struct wire_load {
  uint32_t model;  /* < WIRE_MODELS_MAX */
  bool is_adapter; /* path holds an adapter of the model `base`, which was asked for earlier and shares weights and KV pages */
  uint32_t base;   /* < WIRE_MODELS_MAX */
  struct slice path;
  struct slice draft; /* of a draft model for it; empty: none */
};

/* Free the model's memory: what it still computes ends without a word, and a load that is asked for or under way is given up. Adapters go before
 * their bases. The engine answers GONE, then the number is free; also when it is free already. */
struct wire_unload {
  uint32_t model; /* < WIRE_MODELS_MAX */
};

struct wire_bias {
  int32_t id;
  float bias; /* finite */
};

struct wire_submit {
  uint64_t id; /* unique among those alive */
  uint32_t model;
  uint32_t class;                            /* < WIRE_CLASSES */
  uint64_t tenant;                           /* KV pages of equal beginnings are shared within one */
  uint64_t principal;                        /* principals of a class get equal shares of the work */
  uint64_t deadline_ns;                      /* CLOCK_MONOTONIC: what still waits then ends with WIRE_EXPIRED; 0: none */
  float temperature;                         /* finite, >= 0 */
  float top_p;                               /* (0, 1] */
  float min_p;                               /* [0, 1] */
  int32_t top_k;                             /* >= 0 */
  float repetition_penalty;                  /* finite, > 0 */
  float presence_penalty, frequency_penalty; /* finite */
  uint64_t seed;
  uint32_t max_tokens; /* 0: up to the context */
  uint32_t min_tokens;
  uint32_t n_done;  /* <= n_prompt */
  int top_logprobs; /* -1 … WIRE_TOP_MAX */
  bool ignore_eos, prompt_logprobs;
  const int32_t *prompt;
  size_t n_prompt;
  const struct slice *stops; /* none empty */
  size_t n_stops;
  const int32_t *stop_ids;
  size_t n_stop_ids;
  const struct wire_bias *biases;
  size_t n_biases;
};

struct wire_cancel {
  uint64_t id;
};

/* The figures of a model that the engine has loaded. */
struct wire_model {
  uint32_t model;
  bool embeds;             /* else it generates */
  uint32_t context_tokens; /* that are served: the model's own, or as many of them as the KV memory can hold */
  uint32_t whole_context_tokens, n_embd, n_vocab;
  uint64_t n_parameters, weight_bytes, kv_bytes, load_ms; /* kv_bytes: of the memory that all models share */
  struct slice architecture, quantization;
};

struct wire_failed {
  uint32_t model;
  enum error_code code;
  struct slice message;
};

struct wire_gone {
  uint32_t model;
};

/* The submitted id was not taken; no event of it follows. */
struct wire_reject {
  uint64_t id;
  enum error_code code;
  struct slice message;
};

enum wire_kind { WIRE_TOKEN, WIRE_PROMPT_TOKEN, WIRE_EMBEDDING, WIRE_END }; /* END: nothing but the finish, which it has */
enum wire_finish { WIRE_RUNNING, WIRE_STOPPED, WIRE_LENGTH, WIRE_EXPIRED };

struct wire_logprob {
  int32_t id;
  float logprob;
};

struct wire_event {
  uint64_t id;
  enum wire_kind kind;
  enum wire_finish finish;
  bool is_eos;
  bool timed; /* the first token of a generation, or its embedding: its times are there */
  int32_t token;
  float logprob;                 /* any bits, NAN too */
  uint64_t queue_us, prefill_us; /* timed: waited for its turn; then computed until this event */
  uint32_t n_top;
  const struct wire_logprob *top;
  uint32_t n_embd; /* WIRE_EMBEDDING; else 0 */
  const float *embedding;
};

/* What one model's engine counts, since its start. */
enum wire_count {
  WIRE_COUNT_STEPS,
  WIRE_COUNT_PREFILL_TOKENS, /* prompt rows, computed again after a preemption too */
  WIRE_COUNT_DECODE_TOKENS,
  WIRE_COUNT_EMBED_TOKENS,
  WIRE_COUNT_PREEMPTIONS,
  WIRE_COUNT_FINISHED,
  WIRE_COUNT_PREFIX_QUERY_TOKENS, /* of prompts that were looked up in the prefix tree */
  WIRE_COUNT_PREFIX_HIT_TOKENS,   /* and of these found there */
  WIRE_COUNT_STARTED,
  WIRE_COUNT_EXPIRED,
  WIRE_COUNT_QUEUE_NS,
  WIRE_COUNT_TEXT_DRAFTS, /* drafts from the text so far; their tokens; of these those that came out */
  WIRE_COUNT_TEXT_DRAFTED,
  WIRE_COUNT_TEXT_ACCEPTED,
  WIRE_COUNT_MODEL_DRAFTS, /* drafts of a draft model */
  WIRE_COUNT_MODEL_DRAFTED,
  WIRE_COUNT_MODEL_ACCEPTED,
  WIRE_COUNT_DECODE_NS, /* steps without prompt rows: their time, and the bytes of weights and KV pages that they read */
  WIRE_COUNT_DECODE_BYTES,
  WIRE_COUNT_PREFILL_NS, /* steps with prompt rows or texts: their time, and the operations of their products with weights */
  WIRE_COUNT_PREFILL_OPERATIONS,
  WIRE_COUNTS,
};

struct wire_stats {
  uint32_t waiting, running, pages_used, pages_cached, page_bytes;
  uint32_t step_tokens, step_sequences; /* of the step that this frame begins to tell; 0: none */
  uint64_t kv_bytes;                    /* of the KV memory that all models share */
  uint64_t counts[WIRE_COUNTS];
};

/* All that one step of one model gave. Without events it only carries the counters. */
struct wire_step {
  uint32_t model;
  struct wire_stats stats;
  size_t n_events;
  const struct wire_event *events;
};

/* What the machine could do at most, measured once. */
struct wire_machine {
  uint64_t read_bytes_s; /* from memory */
  uint64_t operations_s; /* dot products of the compute mode */
};

struct wire_message {
  enum wire_type type;
  union {
    struct wire_load load;
    struct wire_unload unload;
    struct wire_submit submit;
    struct wire_cancel cancel;
    struct wire_model ready;
    struct wire_failed failed;
    struct wire_gone gone;
    struct wire_step step;
    struct wire_reject reject;
    struct wire_machine machine;
  };
};

/* ---- encoding: each appends one frame to out ---- */

void wire_put_load(struct buf *out, const struct wire_load *m);
void wire_put_unload(struct buf *out, uint32_t model);
void wire_put_submit(struct buf *out, const struct wire_submit *m);
void wire_put_cancel(struct buf *out, uint64_t id);
void wire_put_stop(struct buf *out);
void wire_put_ready(struct buf *out, const struct wire_model *m);
void wire_put_failed(struct buf *out, uint32_t model, const struct error *why);
void wire_put_gone(struct buf *out, uint32_t model);
void wire_put_reject(struct buf *out, uint64_t id, const struct error *why);
void wire_put_machine(struct buf *out, const struct wire_machine *m);

/* A step is written event by event: begin, add …, end. More than WIRE_STEP_BYTES_SOFT of events begin a further frame. */
struct wire_step_writer {
  struct buf *out;
  uint32_t model;
  struct wire_stats stats;
  size_t frame_begin; /* offset of the frame in out */
  uint32_t n_events;  /* in this frame */
};
void wire_step_begin(struct wire_step_writer *w, struct buf *out, uint32_t model, const struct wire_stats *stats);
void wire_step_add(struct wire_step_writer *w, const struct wire_event *e);
void wire_step_end(struct wire_step_writer *w);

/* ---- decoding ---- */

struct wire_frame {
  enum wire_type type;
  struct slice body; /* borrowed */
};

/* Looks at the front of bytes: 1: a whole frame is there, *ret_frame views it and *ret_used bytes are its own; 0: more bytes are
 * needed; -1: this is no frame of this version (ERROR_CORRUPT), and nothing after it can be trusted. */
int wire_frame_get(struct slice bytes, struct wire_frame *ret_frame, size_t *ret_used, struct error *err);

/* Checks and unpacks. Slices view the frame, arrays lie in scratch. ERROR_CORRUPT says what is wrong. */
int wire_decode(const struct wire_frame *frame, struct arena *scratch, struct wire_message *ret_message, struct error *err);

const char *wire_type_name(enum wire_type type); /* "step" */

/* ---- a socket with its buffers; never blocks, never raises SIGPIPE ---- */

struct wire_io {
  int fd; /* a stream socket; the caller closes it */
  struct buf in;
  size_t in_used; /* bytes of in that were handed out as frames */
  struct buf out; /* the writers above append here */
  size_t out_sent;
};

void wire_io_free(struct wire_io *io);
/* Takes in what lies in the socket, at most about a megabyte a call. 1: something came; 0: nothing is there now; -1: the other end is
 * gone (ERROR_UNAVAILABLE) or the socket failed (ERROR_IO). */
int wire_io_read(struct wire_io *io, struct error *err);
/* The next whole frame, as wire_frame_get; the view is good until the next wire_io_read. */
int wire_io_next(struct wire_io *io, struct wire_frame *ret_frame, struct error *err);
/* Sends what the socket takes. 0, or -1 when the other end is gone. */
int wire_io_flush(struct wire_io *io, struct error *err);
size_t wire_io_unsent(const struct wire_io *io);

#endif
