/* embed: `plinth embed` turns texts into vectors. SPDX-License-Identifier: Apache-2.0
 *
 * Texts are the arguments, or the lines of standard input; each gives one line with a JSON array of numbers, in the same order.
 * Lines are answered as they come: what one read brings is one batch. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/input.h"
#include "app/remote.h"
#include "base/arena.h"

enum { BATCH_MAX = 64, READ_BYTES = 64 << 10, LINE_BYTES_MAX = 16 << 20 };

struct embed_args {
  struct generate_source source;
};

static const struct options_row rows[] = {GENERATE_SOURCE_ROWS(struct embed_args, source)};

struct embedder {
  const struct generate_source *source;
  struct local local; /* without --url */
  struct engine *engine;
  uint64_t texts; /* answered so far */
};

/* ---- in this process ---- */

static int submit(struct embedder *m, uint64_t id, struct slice text, struct error *err) {
  struct ids ids = {0};
  int rc = tokenizer_encode(m->local.tokenizer, text, TOKENIZER_ADD_SPECIAL | TOKENIZER_MATCH_SPECIAL, &ids, err);
  if (rc == 0 && ids.len > m->local.info->context_tokens)
    rc = error_set(err, ERROR_TOO_LARGE, "It has %zu tokens; the model takes %zu.", ids.len, m->local.info->context_tokens);
  struct engine_request request = {.id = id, .prompt = ids.data, .n_prompt = ids.len, .top_logprobs = -1};
  if (rc == 0) rc = engine_submit(m->engine, &request, err);
  if (rc < 0) error_prefix(err, "Text %llu", (unsigned long long)(m->texts + id));
  ids_free(&ids);
  return rc;
}

static void write_floats(struct buf *out, const float *values, size_t n) {
  struct jsonw w = {.out = out};
  jsonw_array_begin(&w);
  for (size_t i = 0; i < n; i++) jsonw_float(&w, values[i]);
  jsonw_array_end(&w);
  buf_add_byte(out, '\n');
}

static int embed_local(struct embedder *m, const struct slice *texts, size_t n, struct buf lines[], struct error *err) {
  for (size_t i = 0; i < n; i++) {
    if (submit(m, i + 1, texts[i], err) == 0) continue;
    while (i-- > 0) engine_cancel(m->engine, i + 1);
    return -1;
  }
  while (engine_busy(m->engine)) {
    const struct engine_event *events;
    size_t n_events;
    engine_step(m->engine, &events, &n_events);
    for (size_t i = 0; i < n_events; i++)
      if (events[i].kind == ENGINE_EMBEDDING) write_floats(&lines[events[i].id - 1], events[i].embedding, m->local.info->n_embd);
  }
  return 0;
}

/* ---- at a server ---- */

static int take_answer(const struct js *data, size_t n, struct buf lines[], struct error *err) {
  int64_t index;
  for (size_t i = 0; i < js_len(data); i++) {
    const struct js *item = js_at(data, i), *vector = js_get(item, "embedding");
    if (!js_int(js_get(item, "index"), &index) || index < 0 || (size_t)index >= n || js_type(vector) != JS_ARRAY) continue;
    buf_clear(&lines[index]);
    struct jsonw w = {.out = &lines[index]};
    jsonw_value(&w, vector);
    buf_add_byte(&lines[index], '\n');
  }
  for (size_t i = 0; i < n; i++)
    if (!lines[i].len) return error_set(err, ERROR_UNAVAILABLE, "The server's answer lacks an embedding.");
  return 0;
}

static int embed_remote(struct embedder *m, const struct slice *texts, size_t n, struct buf lines[], struct error *err) {
  struct buf body = {0};
  struct jsonw w = {.out = &body};
  remote_begin_body(&w, m->source->model, NULL);
  jsonw_key(&w, "input");
  jsonw_array_begin(&w);
  for (size_t i = 0; i < n; i++) jsonw_str(&w, texts[i]);
  jsonw_array_end(&w);
  jsonw_object_end(&w);
  struct js *answer = remote_call(m->source->url, "embeddings", buf_view(&body), err);
  int rc = answer ? take_answer(js_get(answer, "data"), n, lines, err) : -1;
  js_free(answer);
  buf_free(&body);
  return rc;
}

/* ---- input and output ---- */

static int embed_batch(struct embedder *m, const struct slice *texts, size_t n, struct error *err) {
  struct buf lines[BATCH_MAX] = {0};
  int rc = 0;
  for (size_t i = 0; rc == 0 && i < n; i++)
    if ((rc = input_check(texts[i], err)) < 0) error_prefix(err, "Text %llu", (unsigned long long)(m->texts + i + 1));
  if (rc == 0) rc = m->source->url ? embed_remote(m, texts, n, lines, err) : embed_local(m, texts, n, lines, err);
  for (size_t i = 0; i < n; i++) {
    if (rc == 0 && fwrite(lines[i].data, 1, lines[i].len, stdout) != lines[i].len)
      rc = error_set(err, ERROR_IO, "Cannot write to standard output: %s.", strerror(errno));
    buf_free(&lines[i]);
  }
  if (rc == 0 && fflush(stdout) != 0) rc = error_set(err, ERROR_IO, "Cannot write to standard output: %s.", strerror(errno));
  m->texts += n;
  return rc;
}

static int embed_operands(struct embedder *m, char **operands, size_t n, struct error *err) {
  struct slice texts[BATCH_MAX];
  int rc = 0;
  for (size_t from = 0; rc == 0 && from < n; from += BATCH_MAX) {
    size_t count = n - from < BATCH_MAX ? n - from : BATCH_MAX;
    for (size_t i = 0; i < count; i++) texts[i] = slice_cstr(operands[from + i]);
    rc = embed_batch(m, texts, count, err);
  }
  return rc;
}

/* The complete lines at the front of in, in batches; at the end of the input what is left is a line too. */
static int embed_buffered(struct embedder *m, struct buf *in, bool ended, struct error *err) {
  struct slice texts[BATCH_MAX], rest = buf_view(in);
  int rc = 0;
  for (size_t n = 1; rc == 0 && n;) {
    for (n = 0; n < BATCH_MAX && rest.len; n++) {
      const char *end = memchr(rest.data, '\n', rest.len);
      if (!end && !ended) break;
      texts[n] = slice_make(rest.data, end ? (size_t)(end - rest.data) : rest.len);
      rest = slice_from(rest, texts[n].len + 1);
      if (slice_ends(texts[n], SLICE("\r"))) texts[n].len--;
    }
    if (n) rc = embed_batch(m, texts, n, err);
  }
  buf_drop_front(in, in->len - rest.len);
  return rc;
}

static int embed_stdin(struct embedder *m, struct error *err) {
  struct buf in = {0};
  int rc = 0;
  for (ssize_t n = 1; rc == 0 && n > 0;) {
    do n = read(STDIN_FILENO, buf_reserve(&in, READ_BYTES), READ_BYTES);
    while (n < 0 && errno == EINTR);
    if (n < 0) rc = error_set(err, ERROR_IO, "Cannot read standard input: %s.", strerror(errno));
    else if (n > 0) buf_advance(&in, (size_t)n);
    if (rc == 0) rc = embed_buffered(m, &in, n == 0, err);
    if (rc == 0 && in.len > LINE_BYTES_MAX) rc = error_set(err, ERROR_TOO_LARGE, "A line is longer than %d bytes.", LINE_BYTES_MAX);
  }
  buf_free(&in);
  return rc;
}

static int run(const struct options *o) {
  const struct embed_args *a = o->args;
  struct embedder m = {.source = &a->source};
  struct error err = {0};
  int rc = 0;
  if (a->source.url && !a->source.model) rc = error_set(&err, ERROR_INVALID, "Name the server's endpoint with --model.");
  if (rc == 0 && !a->source.url) {
    rc = generate_open(&m.local, &a->source, MODEL_EMBED, &err);
    if (rc == 0 && !(m.engine = local_engine(&m.local, 0, &err))) rc = -1;
  }
  if (rc == 0) rc = o->n_operands ? embed_operands(&m, o->operands, o->n_operands, &err) : embed_stdin(&m, &err);
  engine_destroy(m.engine);
  local_close(&m.local);
  return rc < 0 ? app_fail(&err) : APP_OK;
}

const struct app_command embed_command = {
    .spec = {.command = "embed",
             .operands = "TEXT...",
             .operands_max = SIZE_MAX,
             .summary = "Turn texts into vectors",
             .description =
                 "Prints the embedding of each text as a JSON array in a line of its own. The texts are the arguments or, without any, the "
                 "lines of standard input, which are answered as they come. A text that is longer than the model's window is an error.",
             .examples = "plinth embed 'a text' 'another one'\n"
                         "plinth embed --model all-minilm-l6-v2 < lines.txt > vectors.jsonl",
             OPTIONS_ROWS(rows),
             .args_bytes = sizeof(struct embed_args)},
    .run = run,
};
