/* wire: messages to bytes and back. SPDX-License-Identifier: Apache-2.0
 *
 * Invariants: (1) the decoder reads through `struct reader` only, which never passes the end of the body; (2) a count is compared with
 * the bytes that are left before anything is allocated for it; (3) a body is used up exactly, so that both ends agree on the layout.
 * Layouts: doc/design/wire.md. */
#include "wire/wire.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { LOGPROB_BYTES = 8, EVENT_BYTES = 24 }; /* an event without alternatives and embedding */

const char *wire_type_name(enum wire_type type) {
  switch (type) {
    case WIRE_LOAD: return "load";
    case WIRE_SUBMIT: return "submit";
    case WIRE_CANCEL: return "cancel";
    case WIRE_STOP: return "stop";
    case WIRE_UNLOAD: return "unload";
    case WIRE_MODEL_READY: return "model ready";
    case WIRE_MODEL_FAILED: return "model failed";
    case WIRE_STEP: return "step";
    case WIRE_REJECT: return "reject";
    case WIRE_MACHINE: return "machine";
    case WIRE_MODEL_GONE: return "model gone";
  }
  return "unknown";
}

/* ---- encoding ---- */

/* Stores the low n bytes of v at to. */
static void store(char *to, uint64_t v, size_t n) {
  for (size_t i = 0; i < n; i++) to[i] = (char)(v >> (8 * i));
}

static void put(struct buf *out, uint64_t v, size_t n) {
  store(buf_reserve(out, n), v, n);
  buf_advance(out, n);
}

static void put_f32(struct buf *out, float v) {
  uint32_t bits;
  memcpy(&bits, &v, 4);
  put(out, bits, 4);
}

static void put_i32s(struct buf *out, const int32_t *v, size_t n) {
  char *to = buf_reserve(out, n * 4);
  for (size_t i = 0; i < n; i++) store(to + 4 * i, (uint32_t)v[i], 4);
  buf_advance(out, n * 4);
}

static void put_f32s(struct buf *out, const float *v, size_t n) {
  char *to = buf_reserve(out, n * 4);
  for (size_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, &v[i], 4);
    store(to + 4 * i, bits, 4);
  }
  buf_advance(out, n * 4);
}

static void put_text(struct buf *out, struct slice s) {
  assert(s.len <= WIRE_TEXT_MAX);
  put(out, s.len, 4);
  buf_add_slice(out, s);
}

static size_t frame_begin(struct buf *out, enum wire_type type) {
  size_t begin = out->len;
  put(out, 0, 4);
  put(out, type, 1);
  put(out, WIRE_VERSION, 1);
  put(out, 0, 2);
  return begin;
}

static void frame_end(struct buf *out, size_t begin) {
  size_t body = out->len - begin - WIRE_HEADER_BYTES;
  assert(body <= WIRE_BODY_BYTES_MAX);
  store(out->data + begin, body, 4);
}

void wire_put_load(struct buf *out, const struct wire_load *m) {
  assert(m->model < WIRE_MODELS_MAX);
  size_t begin = frame_begin(out, WIRE_LOAD);
  put(out, m->model, 4);
  put(out, m->is_adapter, 4);
  put(out, m->is_adapter ? m->base : 0, 4);
  put_text(out, m->path);
  put_text(out, m->is_adapter ? SLICE("") : m->draft);
  frame_end(out, begin);
}

/* A frame that is a model's number. */
static void put_model(struct buf *out, enum wire_type type, uint32_t model) {
  assert(model < WIRE_MODELS_MAX);
  size_t begin = frame_begin(out, type);
  put(out, model, 4);
  frame_end(out, begin);
}

void wire_put_unload(struct buf *out, uint32_t model) { put_model(out, WIRE_UNLOAD, model); }
void wire_put_gone(struct buf *out, uint32_t model) { put_model(out, WIRE_MODEL_GONE, model); }

void wire_put_submit(struct buf *out, const struct wire_submit *m) {
  assert(m->n_prompt > 0 && m->n_prompt <= WIRE_PROMPT_MAX && m->n_done <= m->n_prompt && m->n_stops <= WIRE_STOPS_MAX);
  assert(m->top_logprobs >= -1 && m->top_logprobs <= WIRE_TOP_MAX);
  assert(m->class < WIRE_CLASSES && m->n_stop_ids <= WIRE_STOP_IDS_MAX && m->n_biases <= WIRE_BIASES_MAX);
  size_t begin = frame_begin(out, WIRE_SUBMIT);
  put(out, m->id, 8);
  put(out, m->model, 4);
  put(out, m->class, 4);
  put(out, m->tenant, 8);
  put(out, m->principal, 8);
  put(out, m->deadline_ns, 8);
  put_f32(out, m->temperature);
  put_f32(out, m->top_p);
  put_f32(out, m->min_p);
  put(out, (uint32_t)m->top_k, 4);
  put_f32(out, m->repetition_penalty);
  put_f32(out, m->presence_penalty);
  put_f32(out, m->frequency_penalty);
  put(out, m->seed, 8);
  put(out, m->max_tokens, 4);
  put(out, m->min_tokens, 4);
  put(out, m->n_done, 4);
  put(out, (uint64_t)(m->top_logprobs + 1), 1);
  put(out, (m->ignore_eos ? 1u : 0) | (m->prompt_logprobs ? 2u : 0), 1);
  put(out, m->n_stops, 2);
  put(out, m->n_stop_ids, 2);
  put(out, m->n_biases, 2);
  put(out, m->n_prompt, 4);
  put_i32s(out, m->prompt, m->n_prompt);
  put_i32s(out, m->stop_ids, m->n_stop_ids);
  for (size_t i = 0; i < m->n_biases; i++) {
    put(out, (uint32_t)m->biases[i].id, 4);
    put_f32(out, m->biases[i].bias);
  }
  for (size_t i = 0; i < m->n_stops; i++) {
    assert(m->stops[i].len > 0 && m->stops[i].len <= WIRE_STOP_BYTES_MAX);
    put_text(out, m->stops[i]);
  }
  frame_end(out, begin);
}

void wire_put_cancel(struct buf *out, uint64_t id) {
  size_t begin = frame_begin(out, WIRE_CANCEL);
  put(out, id, 8);
  frame_end(out, begin);
}

void wire_put_stop(struct buf *out) { frame_end(out, frame_begin(out, WIRE_STOP)); }

void wire_put_ready(struct buf *out, const struct wire_model *m) {
  size_t begin = frame_begin(out, WIRE_MODEL_READY);
  put(out, m->model, 4);
  put(out, m->embeds, 4);
  put(out, m->context_tokens, 4);
  put(out, m->whole_context_tokens, 4);
  put(out, m->n_embd, 4);
  put(out, m->n_vocab, 4);
  put(out, m->n_parameters, 8);
  put(out, m->weight_bytes, 8);
  put(out, m->kv_bytes, 8);
  put(out, m->load_ms, 8);
  put_text(out, m->architecture);
  put_text(out, m->quantization);
  frame_end(out, begin);
}

void wire_put_failed(struct buf *out, uint32_t model, const struct error *why) {
  size_t begin = frame_begin(out, WIRE_MODEL_FAILED);
  put(out, model, 4);
  put(out, why->code ? why->code : ERROR_INTERNAL, 4);
  put_text(out, slice_cstr(why->message));
  frame_end(out, begin);
}

void wire_put_reject(struct buf *out, uint64_t id, const struct error *why) {
  size_t begin = frame_begin(out, WIRE_REJECT);
  put(out, id, 8);
  put(out, why->code ? why->code : ERROR_INTERNAL, 4);
  put_text(out, slice_cstr(why->message));
  frame_end(out, begin);
}

void wire_put_machine(struct buf *out, const struct wire_machine *m) {
  size_t begin = frame_begin(out, WIRE_MACHINE);
  put(out, m->read_bytes_s, 8);
  put(out, m->operations_s, 8);
  frame_end(out, begin);
}

/* The count of events stands behind the model's number, at this offset of the frame. */
enum { STEP_COUNT_AT = WIRE_HEADER_BYTES + 4 };

static void step_frame_begin(struct wire_step_writer *w) {
  w->n_events = 0;
  w->frame_begin = frame_begin(w->out, WIRE_STEP);
  put(w->out, w->model, 4);
  put(w->out, 0, 4);
  const struct wire_stats *s = &w->stats;
  const uint32_t now[] = {s->waiting, s->running, s->pages_used, s->pages_cached, s->page_bytes, s->step_tokens, s->step_sequences};
  for (size_t i = 0; i < sizeof now / sizeof now[0]; i++) put(w->out, now[i], 4);
  put(w->out, s->kv_bytes, 8);
  for (size_t i = 0; i < WIRE_COUNTS; i++) put(w->out, s->counts[i], 8);
  w->stats.step_tokens = w->stats.step_sequences = 0; /* a further frame is of the same step */
}

void wire_step_begin(struct wire_step_writer *w, struct buf *out, uint32_t model, const struct wire_stats *stats) {
  *w = (struct wire_step_writer){.out = out, .model = model, .stats = *stats};
  step_frame_begin(w);
}

void wire_step_end(struct wire_step_writer *w) {
  store(w->out->data + w->frame_begin + STEP_COUNT_AT, w->n_events, 4);
  frame_end(w->out, w->frame_begin);
}

void wire_step_add(struct wire_step_writer *w, const struct wire_event *e) {
  assert(e->n_top <= WIRE_TOP_MAX && e->n_embd <= WIRE_EMBD_MAX && (e->kind == WIRE_EMBEDDING) == (e->n_embd > 0));
  assert((e->kind == WIRE_END) == (e->finish == WIRE_EXPIRED));
  if (w->n_events && w->out->len - w->frame_begin > WIRE_STEP_BYTES_SOFT) {
    wire_step_end(w);
    step_frame_begin(w);
  }
  put(w->out, e->id, 8);
  put(w->out, e->kind, 1);
  put(w->out, e->finish, 1);
  put(w->out, (e->is_eos ? 1u : 0) | (e->timed ? 2u : 0), 1);
  put(w->out, e->n_top, 1);
  put(w->out, (uint32_t)e->token, 4);
  put_f32(w->out, e->logprob);
  put(w->out, e->n_embd, 4);
  if (e->timed) {
    put(w->out, e->queue_us, 8);
    put(w->out, e->prefill_us, 8);
  }
  for (uint32_t i = 0; i < e->n_top; i++) {
    put(w->out, (uint32_t)e->top[i].id, 4);
    put_f32(w->out, e->top[i].logprob);
  }
  put_f32s(w->out, e->embedding, e->n_embd);
  w->n_events++;
}

/* ---- decoding ---- */

struct reader {
  struct slice left;
  bool failed; /* sticky: something was asked for that is not there; every value since is 0 */
};

static uint64_t load(const char *from, size_t n) {
  uint64_t v = 0;
  for (size_t i = 0; i < n; i++) v |= (uint64_t)(unsigned char)from[i] << (8 * i);
  return v;
}

static struct slice take(struct reader *r, size_t n) {
  if (r->failed || n > r->left.len) {
    r->failed = true;
    return (struct slice){0};
  }
  struct slice taken = slice_make(r->left.data, n);
  r->left = slice_from(r->left, n);
  return taken;
}

static uint64_t get(struct reader *r, size_t n) {
  struct slice s = take(r, n);
  return s.len ? load(s.data, n) : 0;
}

static uint32_t get_u32(struct reader *r) { return (uint32_t)get(r, 4); }

static float get_f32(struct reader *r) {
  uint32_t bits = get_u32(r);
  float v;
  memcpy(&v, &bits, 4);
  return v;
}

static struct slice get_text(struct reader *r, size_t len_max) {
  uint32_t len = get_u32(r);
  if (len > len_max) r->failed = true;
  return take(r, len);
}

/* A count that r's remaining bytes can pay for, each element taking at least element_bytes; 0 and failed otherwise. */
static size_t get_count(struct reader *r, size_t element_bytes) {
  uint32_t n = get_u32(r);
  if (n > r->left.len / element_bytes) r->failed = true;
  return r->failed ? 0 : n;
}

static int bad_value(const char *what, uint64_t value, struct error *err) {
  return error_set(err, ERROR_CORRUPT, "The frame's %s cannot be %llu.", what, (unsigned long long)value);
}

static int check_model(uint32_t model, struct error *err) { return model < WIRE_MODELS_MAX ? 0 : bad_value("model", model, err); }

static bool has_zero(struct slice text) { return text.len && memchr(text.data, '\0', text.len); }

static int decode_load(struct reader *r, struct wire_load *m, struct error *err) {
  m->model = get_u32(r);
  uint32_t is_adapter = get_u32(r);
  m->is_adapter = is_adapter == 1;
  m->base = get_u32(r);
  m->path = get_text(r, WIRE_TEXT_MAX);
  m->draft = get_text(r, WIRE_TEXT_MAX);
  if (is_adapter > 1) return bad_value("adapter mark", is_adapter, err);
  if (check_model(m->base, err) < 0) return -1;
  if (has_zero(m->path) || has_zero(m->draft)) return error_set(err, ERROR_CORRUPT, "A path in the frame holds a zero byte.");
  if (m->is_adapter && m->draft.len) return error_set(err, ERROR_CORRUPT, "The frame gives an adapter a draft model.");
  return check_model(m->model, err);
}

static int decode_model(struct reader *r, uint32_t *ret_model, struct error *err) {
  *ret_model = get_u32(r);
  return check_model(*ret_model, err);
}

static int bad_real(const char *what, float value, struct error *err) {
  return error_set(err, ERROR_CORRUPT, "The frame's %s is %g.", what, (double)value);
}

static int check_sampling(const struct wire_submit *m, struct error *err) {
  if (!(m->temperature >= 0) || isinf(m->temperature)) return bad_real("temperature", m->temperature, err);
  if (!(m->top_p > 0 && m->top_p <= 1)) return bad_real("top_p", m->top_p, err);
  if (!(m->min_p >= 0 && m->min_p <= 1)) return bad_real("min_p", m->min_p, err);
  if (!(m->repetition_penalty > 0) || isinf(m->repetition_penalty)) return bad_real("repetition penalty", m->repetition_penalty, err);
  if (!isfinite(m->presence_penalty)) return bad_real("presence penalty", m->presence_penalty, err);
  if (!isfinite(m->frequency_penalty)) return bad_real("frequency penalty", m->frequency_penalty, err);
  if (m->top_k < 0) return error_set(err, ERROR_CORRUPT, "The frame's top_k is %d.", m->top_k);
  return 0;
}

static int check_submit(const struct wire_submit *m, struct error *err) {
  if (m->class >= WIRE_CLASSES) return bad_value("class", m->class, err);
  if (check_sampling(m, err) < 0) return -1;
  if (m->top_logprobs > WIRE_TOP_MAX) return bad_value("number of logprobs", (uint64_t)m->top_logprobs, err);
  if (m->n_stops > WIRE_STOPS_MAX) return bad_value("number of stop strings", m->n_stops, err);
  if (m->n_stop_ids > WIRE_STOP_IDS_MAX) return bad_value("number of stop ids", m->n_stop_ids, err);
  if (m->n_biases > WIRE_BIASES_MAX) return bad_value("number of biases", m->n_biases, err);
  if (m->n_prompt == 0 || m->n_prompt > WIRE_PROMPT_MAX) return bad_value("prompt length", m->n_prompt, err);
  if (m->n_done > m->n_prompt) return bad_value("number of tokens done", m->n_done, err);
  return check_model(m->model, err);
}

static const int32_t *get_i32s(struct reader *r, struct arena *scratch, size_t n) {
  int32_t *v = arena_array(scratch, n, sizeof *v);
  for (size_t i = 0; i < n; i++) v[i] = (int32_t)get_u32(r);
  return v;
}

/* The lists behind the numbers, whose counts were checked. */
static int decode_lists(struct reader *r, struct arena *scratch, struct wire_submit *m, struct error *err) {
  m->prompt = get_i32s(r, scratch, m->n_prompt);
  m->stop_ids = get_i32s(r, scratch, m->n_stop_ids);
  struct wire_bias *biases = arena_array(scratch, m->n_biases, sizeof *biases);
  for (size_t i = 0; i < m->n_biases; i++) {
    biases[i].id = (int32_t)get_u32(r);
    biases[i].bias = get_f32(r);
    if (!isfinite(biases[i].bias)) return bad_real("bias of a token", biases[i].bias, err);
  }
  m->biases = biases;
  struct slice *stops = arena_array(scratch, m->n_stops, sizeof *stops);
  for (size_t i = 0; i < m->n_stops; i++) {
    stops[i] = get_text(r, WIRE_STOP_BYTES_MAX);
    if (!r->failed && stops[i].len == 0) return error_set(err, ERROR_CORRUPT, "The frame holds an empty stop string.");
  }
  m->stops = stops;
  return 0;
}

static int decode_submit(struct reader *r, struct arena *scratch, struct wire_submit *m, struct error *err) {
  m->id = get(r, 8);
  m->model = get_u32(r);
  m->class = get_u32(r);
  m->tenant = get(r, 8);
  m->principal = get(r, 8);
  m->deadline_ns = get(r, 8);
  m->temperature = get_f32(r);
  m->top_p = get_f32(r);
  m->min_p = get_f32(r);
  m->top_k = (int32_t)get_u32(r);
  m->repetition_penalty = get_f32(r);
  m->presence_penalty = get_f32(r);
  m->frequency_penalty = get_f32(r);
  m->seed = get(r, 8);
  m->max_tokens = get_u32(r);
  m->min_tokens = get_u32(r);
  m->n_done = get_u32(r);
  m->top_logprobs = (int)get(r, 1) - 1;
  unsigned flags = (unsigned)get(r, 1);
  m->ignore_eos = flags & 1;
  m->prompt_logprobs = flags & 2;
  m->n_stops = (size_t)get(r, 2);
  m->n_stop_ids = (size_t)get(r, 2);
  m->n_biases = (size_t)get(r, 2);
  m->n_prompt = get_count(r, 4);
  if (r->failed) return 0; /* the caller says that the body is too short */
  if (flags > 3) return bad_value("flags", flags, err);
  return check_submit(m, err) < 0 ? -1 : decode_lists(r, scratch, m, err);
}

static int decode_ready(struct reader *r, struct wire_model *m, struct error *err) {
  m->model = get_u32(r);
  uint32_t embeds = get_u32(r);
  m->embeds = embeds;
  m->context_tokens = get_u32(r);
  m->whole_context_tokens = get_u32(r);
  m->n_embd = get_u32(r);
  m->n_vocab = get_u32(r);
  m->n_parameters = get(r, 8);
  m->weight_bytes = get(r, 8);
  m->kv_bytes = get(r, 8);
  m->load_ms = get(r, 8);
  m->architecture = get_text(r, WIRE_TEXT_MAX);
  m->quantization = get_text(r, WIRE_TEXT_MAX);
  if (r->failed) return 0;
  if (embeds > 1) return bad_value("task", embeds, err);
  if (m->whole_context_tokens > INT32_MAX) return bad_value("whole context", m->whole_context_tokens, err);
  if (m->context_tokens == 0 || m->context_tokens > m->whole_context_tokens) return bad_value("context", m->context_tokens, err);
  if (m->n_embd == 0 || m->n_embd > WIRE_EMBD_MAX) return bad_value("width", m->n_embd, err);
  if (m->n_vocab == 0 || m->n_vocab > INT32_MAX) return bad_value("vocabulary", m->n_vocab, err);
  return check_model(m->model, err);
}

static int check_code(uint32_t code, enum error_code *out, struct error *err) {
  if (code == ERROR_NONE || code > ERROR_INTERNAL) return bad_value("error code", code, err);
  *out = (enum error_code)code;
  return 0;
}

static int decode_failed(struct reader *r, struct wire_failed *m, struct error *err) {
  m->model = get_u32(r);
  uint32_t code = get_u32(r);
  m->message = get_text(r, WIRE_TEXT_MAX);
  if (r->failed) return 0;
  return check_code(code, &m->code, err) < 0 ? -1 : check_model(m->model, err);
}

static int decode_reject(struct reader *r, struct wire_reject *m, struct error *err) {
  m->id = get(r, 8);
  uint32_t code = get_u32(r);
  m->message = get_text(r, WIRE_TEXT_MAX);
  return r->failed ? 0 : check_code(code, &m->code, err);
}

static int decode_event(struct reader *r, struct arena *scratch, struct wire_event *e, struct error *err) {
  e->id = get(r, 8);
  unsigned kind = (unsigned)get(r, 1), finish = (unsigned)get(r, 1), flags = (unsigned)get(r, 1);
  e->n_top = (uint32_t)get(r, 1);
  e->token = (int32_t)get_u32(r);
  e->logprob = get_f32(r);
  e->n_embd = get_u32(r);
  e->is_eos = flags & 1;
  e->timed = flags & 2;
  if (e->timed) e->queue_us = get(r, 8);
  if (e->timed) e->prefill_us = get(r, 8);
  if (r->failed) return 0;
  if (kind > WIRE_END) return bad_value("kind of event", kind, err);
  if (finish > WIRE_EXPIRED || (finish == WIRE_EXPIRED) != (kind == WIRE_END)) return bad_value("way to finish", finish, err);
  if (flags > 3) return bad_value("marks", flags, err);
  if (e->n_top > WIRE_TOP_MAX) return bad_value("number of alternatives", e->n_top, err);
  if (e->n_embd > WIRE_EMBD_MAX || (e->n_embd > 0) != (kind == WIRE_EMBEDDING)) return bad_value("width of an embedding", e->n_embd, err);
  e->kind = (enum wire_kind)kind;
  e->finish = (enum wire_finish)finish;
  if (e->n_top * (size_t)LOGPROB_BYTES + e->n_embd * (size_t)4 > r->left.len) {
    r->failed = true;
    return 0;
  }
  struct wire_logprob *top = e->n_top ? arena_array(scratch, e->n_top, sizeof *top) : NULL;
  for (uint32_t i = 0; i < e->n_top; i++) {
    top[i].id = (int32_t)get_u32(r);
    top[i].logprob = get_f32(r);
  }
  float *embedding = e->n_embd ? arena_array(scratch, e->n_embd, sizeof *embedding) : NULL;
  for (uint32_t i = 0; i < e->n_embd; i++) embedding[i] = get_f32(r);
  e->top = top;
  e->embedding = embedding;
  return 0;
}

static int decode_step(struct reader *r, struct arena *scratch, struct wire_step *m, struct error *err) {
  m->model = get_u32(r);
  uint32_t n_events = get_u32(r);
  struct wire_stats *s = &m->stats;
  uint32_t *const now[] = {&s->waiting, &s->running, &s->pages_used, &s->pages_cached, &s->page_bytes, &s->step_tokens, &s->step_sequences};
  for (size_t i = 0; i < sizeof now / sizeof now[0]; i++) *now[i] = get_u32(r);
  s->kv_bytes = get(r, 8);
  for (size_t i = 0; i < WIRE_COUNTS; i++) s->counts[i] = get(r, 8);
  if (n_events > r->left.len / EVENT_BYTES) r->failed = true;
  if (r->failed) return 0;
  m->n_events = n_events;
  struct wire_event *events = n_events ? arena_array(scratch, n_events, sizeof *events) : NULL;
  m->events = events;
  for (uint32_t i = 0; i < n_events && !r->failed; i++)
    if (decode_event(r, scratch, &events[i], err) < 0) return -1;
  return check_model(m->model, err);
}

static int decode_body(struct reader *r, struct arena *scratch, struct wire_message *m, struct error *err) {
  switch (m->type) {
    case WIRE_LOAD: return decode_load(r, &m->load, err);
    case WIRE_SUBMIT: return decode_submit(r, scratch, &m->submit, err);
    case WIRE_CANCEL: m->cancel.id = get(r, 8); return 0;
    case WIRE_STOP: return 0;
    case WIRE_UNLOAD: return decode_model(r, &m->unload.model, err);
    case WIRE_MODEL_GONE: return decode_model(r, &m->gone.model, err);
    case WIRE_MODEL_READY: return decode_ready(r, &m->ready, err);
    case WIRE_MODEL_FAILED: return decode_failed(r, &m->failed, err);
    case WIRE_STEP: return decode_step(r, scratch, &m->step, err);
    case WIRE_REJECT: return decode_reject(r, &m->reject, err);
    case WIRE_MACHINE:
      m->machine.read_bytes_s = get(r, 8);
      m->machine.operations_s = get(r, 8);
      return 0;
  }
  return error_set(err, ERROR_CORRUPT, "There is no frame of type %u.", (unsigned)m->type);
}

int wire_decode(const struct wire_frame *frame, struct arena *scratch, struct wire_message *ret_message, struct error *err) {
  struct wire_message m = {.type = frame->type};
  struct reader r = {.left = frame->body};
  if (decode_body(&r, scratch, &m, err) < 0) return error_prefix(err, "Frame \"%s\"", wire_type_name(frame->type));
  if (r.failed)
    return error_set(err, ERROR_CORRUPT, "Frame \"%s\": its %zu bytes are too few, or a length in it is over its limit.",
                     wire_type_name(frame->type), frame->body.len);
  if (r.left.len)
    return error_set(err, ERROR_CORRUPT, "Frame \"%s\": %zu bytes stand behind its end.", wire_type_name(frame->type), r.left.len);
  *ret_message = m;
  return 0;
}

int wire_frame_get(struct slice bytes, struct wire_frame *ret_frame, size_t *ret_used, struct error *err) {
  if (bytes.len < WIRE_HEADER_BYTES) return 0;
  uint32_t body = (uint32_t)load(bytes.data, 4);
  unsigned type = (unsigned char)bytes.data[4], version = (unsigned char)bytes.data[5];
  if (version != WIRE_VERSION || load(bytes.data + 6, 2) != 0)
    return error_set(err, ERROR_CORRUPT, "A frame has version %u; this program speaks version %u.", version, WIRE_VERSION);
  if (body > WIRE_BODY_BYTES_MAX)
    return error_set(err, ERROR_CORRUPT, "A frame claims %u bytes; %u are the most.", body, (unsigned)WIRE_BODY_BYTES_MAX);
  if (bytes.len - WIRE_HEADER_BYTES < body) return 0;
  *ret_frame = (struct wire_frame){(enum wire_type)type, slice_make(bytes.data + WIRE_HEADER_BYTES, body)};
  *ret_used = WIRE_HEADER_BYTES + (size_t)body;
  return 1;
}
