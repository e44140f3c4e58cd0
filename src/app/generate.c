/* generate: see generate.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/generate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "app/interrupt.h"
#include "app/paths.h"
#include "base/utf8.h"

/* Digits alone; at most nine, so that any fits. */
static bool read_id(struct slice text, int32_t *out) {
  int32_t id = 0;
  if (text.len == 0 || text.len > 9) return false;
  for (size_t i = 0; i < text.len; i++) {
    if (text.data[i] < '0' || text.data[i] > '9') return false;
    id = id * 10 + (text.data[i] - '0');
  }
  *out = id;
  return true;
}

static int read_bias(const char *text, struct engine_bias *out, struct error *err) {
  const char *mark = strchr(text, '=');
  char *end = NULL;
  double x = mark ? strtod(mark + 1, &end) : NAN;
  bool whole = mark && end > mark + 1 && *end == '\0' && read_id(slice_make(text, (size_t)(mark - text)), &out->id);
  if (!whole) return error_set(err, ERROR_INVALID, "\"%.60s\" is no bias; write the id of a token and a number, like 1234=-5.", text);
  if (!(x >= -100 && x <= 100)) return error_set(err, ERROR_INVALID, "The bias in \"%.60s\" must be from -100 to 100.", text);
  out->bias = (float)x;
  return 0;
}

static int settle_biases(struct generate_sampling *s, struct error *err) {
  if (s->bias_texts.n > ENGINE_BIASES_MAX) return error_set(err, ERROR_INVALID, "At most %d biases are possible.", ENGINE_BIASES_MAX);
  for (size_t i = 0; i < s->bias_texts.n; i++) {
    if (read_bias(s->bias_texts.items[i], &s->biases[i], err) < 0) return -1;
    for (size_t k = 0; k < i; k++)
      if (s->biases[k].id == s->biases[i].id) return error_set(err, ERROR_INVALID, "The token %d has two biases.", (int)s->biases[i].id);
  }
  s->n_biases = s->bias_texts.n;
  return 0;
}

static int settle_stops(struct generate_sampling *s, struct error *err) {
  if (s->stops.n > ENGINE_STOPS_MAX) return error_set(err, ERROR_INVALID, "At most %d stop strings are possible.", ENGINE_STOPS_MAX);
  for (size_t i = 0; i < s->stops.n; i++)
    if (!s->stops.items[i][0]) return error_set(err, ERROR_INVALID, "A stop string cannot be empty.");
  if (s->stop_id_texts.n > ENGINE_STOP_IDS_MAX)
    return error_set(err, ERROR_INVALID, "At most %d stop ids are possible.", ENGINE_STOP_IDS_MAX);
  for (size_t i = 0; i < s->stop_id_texts.n; i++)
    if (!read_id(slice_cstr(s->stop_id_texts.items[i]), &s->stop_ids[i]))
      return error_set(err, ERROR_INVALID, "\"%.60s\" is no id of a token; plinth tokenize shows them.", s->stop_id_texts.items[i]);
  s->n_stop_ids = s->stop_id_texts.n;
  return 0;
}

int generate_settle(const struct options *o, struct generate_sampling *s, struct error *err) {
  s->seeded = options_source(o, "seed") != OPTIONS_NOWHERE;
  if (!s->seeded) {
    if (getrandom(&s->seed, sizeof s->seed, 0) != sizeof s->seed) s->seed = (int64_t)getpid();
    s->seed &= INT64_MAX;
  }
  if (s->max_tokens && s->min_tokens > s->max_tokens)
    return error_set(err, ERROR_INVALID, "--min-tokens (%lld) must be at most --max-tokens (%lld).", (long long)s->min_tokens,
                     (long long)s->max_tokens);
  return settle_biases(s, err) < 0 ? -1 : settle_stops(s, err);
}

/* ---- the model ---- */

static bool fits(const char *path, enum model_task task, struct error *err) {
  struct model_info info;
  struct file_model *m = file_model_open(path, err);
  bool fine = m && model_inspect(m, &info, err) == 0 && info.task == task;
  file_model_close(m);
  return fine;
}

/* The first installed model of the task. */
static char *first_model(const char *models_dir, enum model_task task, struct error *err) {
  struct paths_models list;
  char *dir = models_dir ? strdup(models_dir) : paths_models_dir(), *found = NULL;
  if (paths_list(dir, &list, err) == 0) {
    struct error why = {0}; /* of the last one that cannot be read */
    for (size_t i = 0; i < list.n && !found; i++)
      if (fits(list.items[i].path, task, &why)) found = strdup(list.items[i].path);
    paths_list_free(&list);
    if (!found)
      error_set(err, ERROR_NOT_FOUND, "There is no model in %s that %s; name one with --model.%s%.400s", dir,
                task == MODEL_EMBED ? "makes embeddings" : "generates text", why.message[0] ? " Not readable: " : "", why.message);
  }
  free(dir);
  return found;
}

int generate_open(struct local *l, const struct generate_source *s, enum model_task task, struct error *err) {
  char *path = s->model ? strdup(s->model) : first_model(s->models_dir, task, err);
  if (!path) return -1;
  struct local_options options = {
      .model = path, .models_dir = s->models_dir, .compute = s->compute, .kv = s->kv, .kernels = s->kernels, .threads = (int)s->threads};
  int rc = local_open(l, &options, err);
  if (rc == 0 && l->info->task != task) {
    rc = error_set(err, ERROR_INVALID, "%s %s.", path,
                   task == MODEL_EMBED ? "generates text and makes no embeddings; use plinth chat or plinth complete"
                                       : "makes embeddings and generates no text; use plinth embed");
    local_close(l);
  }
  free(path);
  return rc;
}

/* ---- output ---- */

void generate_printer_init(struct generate_printer *p, struct buf *copy) {
  *p = (struct generate_printer){.terminal = isatty(STDOUT_FILENO), .copy = copy};
}

static bool disturbs(uint32_t c) { return (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7F && c < 0xA0); }

void generate_print(struct generate_printer *p, struct slice text) {
  if (!text.len) return;
  if (p->copy) buf_add_slice(p->copy, text);
  p->any = true;
  p->at_newline = text.data[text.len - 1] == '\n';
  for (struct slice rest = text; p->terminal && rest.len;) {
    uint32_t c = UTF8_REPLACEMENT;
    size_t n = utf8_get(rest, &c);
    if (n && !disturbs(c)) fwrite(rest.data, 1, n, stdout);
    else fputs("\xEF\xBF\xBD", stdout);
    rest = slice_from(rest, n ? n : 1);
  }
  if (!p->terminal) fwrite(text.data, 1, text.len, stdout);
  fflush(stdout);
}

/* ---- one generation ---- */

struct stream {
  struct detok detok;
  struct stop_filter filter;
  struct buf text, certain;
  struct generate_printer *printer;
};

/* Prints what is certain of the text that has come. */
static void pass_on(struct stream *s) {
  stop_filter_push(&s->filter, buf_view(&s->text), &s->certain);
  buf_clear(&s->text);
  generate_print(s->printer, buf_view(&s->certain));
  buf_clear(&s->certain);
}

static void finish(struct stream *s) {
  detok_finish(&s->detok, &s->text);
  pass_on(s);
  stop_filter_finish(&s->filter, &s->certain);
  generate_print(s->printer, buf_view(&s->certain));
}

static enum generate_end drive(struct engine *e, struct stream *s, size_t min_tokens) {
  enum generate_end end = GENERATE_STOP;
  size_t n_tokens = 0;
  while (engine_busy(e)) {
    const struct engine_event *events;
    size_t n;
    if (interrupt_take()) {
      engine_cancel(e, 1);
      end = GENERATE_INTERRUPTED;
    }
    engine_step(e, &events, &n);
    for (size_t i = 0; i < n; i++) {
      if (events[i].kind != ENGINE_TOKEN) continue;
      s->filter.dormant = ++n_tokens <= min_tokens;
      if (!events[i].is_eos) detok_push(&s->detok, events[i].token, &s->text);
      if (events[i].finish == ENGINE_LENGTH) end = GENERATE_LENGTH;
    }
    pass_on(s);
  }
  return end;
}

int generate_run(struct local *l, struct engine *e, const struct ids *prompt, const struct generate_sampling *s, struct generate_printer *p,
                 enum generate_end *ret_end, struct error *err) {
  struct slice stops[ENGINE_STOPS_MAX];
  for (size_t i = 0; i < s->stops.n; i++) stops[i] = slice_cstr(s->stops.items[i]);
  if (prompt->len >= l->context_tokens)
    return error_set(err, ERROR_TOO_LARGE, "The prompt has %zu tokens; the model's context of %zu%s leaves no room for an answer.",
                     prompt->len, l->context_tokens, local_context_note(l));
  struct engine_request request = {
      .id = 1,
      .prompt = prompt->data,
      .n_prompt = prompt->len,
      .adapter = l->adapter,
      .sampling = {.temperature = (float)s->temperature,
                   .top_p = (float)s->top_p,
                   .min_p = (float)s->min_p,
                   .top_k = (int32_t)s->top_k,
                   .repetition_penalty = (float)s->repetition_penalty,
                   .presence_penalty = (float)s->presence_penalty,
                   .frequency_penalty = (float)s->frequency_penalty,
                   .biases = s->biases,
                   .n_biases = s->n_biases,
                   .seed = (uint64_t)s->seed},
      .max_tokens = (size_t)s->max_tokens,
      .min_tokens = (size_t)s->min_tokens,
      .ignore_eos = s->ignore_eos,
      .stop_ids = s->stop_ids,
      .n_stop_ids = s->n_stop_ids,
      .stops = stops,
      .n_stops = s->stops.n,
      .top_logprobs = -1,
  };
  if (engine_submit(e, &request, err) < 0) return -1;
  struct stream stream = {.printer = p};
  detok_init(&stream.detok, l->tokenizer, true);
  stop_filter_init(&stream.filter, stops, s->stops.n);
  *ret_end = drive(e, &stream, request.min_tokens);
  finish(&stream);
  stop_filter_free(&stream.filter);
  buf_free(&stream.text);
  buf_free(&stream.certain);
  return 0;
}
