/* fields: see fields.h. SPDX-License-Identifier: Apache-2.0 */
#include "api/fields.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonw.h"

enum { IGNORED_BYTES_MAX = 1024 };

/* ---- plain values ---- */

static int wrong_type(struct reader *r, const char *name, const char *wanted, const struct js *v) {
  return fault_field(r->fault, "invalid_type", name, "`%s` must be %s, not %s.", name, wanted, js_type_name(v));
}

static int read_string(struct reader *r, const char *name, const struct js *v, struct slice *out) {
  struct slice s;
  if (!js_str(v, &s)) return wrong_type(r, name, "a string", v);
  *out = arena_copy(&r->out->arena, s);
  return 0;
}

static int read_bool(struct reader *r, const char *name, const struct js *v, bool *out) {
  return js_bool(v, out) ? 0 : wrong_type(r, name, "true or false", v);
}

static int read_int(struct reader *r, const char *name, const struct js *v, int64_t min, int64_t max, int64_t *out) {
  int64_t n = 0;
  double wide;
  if (!js_int(v, &n)) {
    if (js_real(v, &wide) && !(wide > -0x1p63 && wide < 0x1p63))
      return fault_field(r->fault, "invalid_value", name, "`%s` must be from %lld to %lld, not %.12g.", name, (long long)min,
                         (long long)max, wide);
    return wrong_type(r, name, "an integer", v);
  }
  if (n < min && max == INT64_MAX)
    return fault_field(r->fault, "invalid_value", name, "`%s` must be at least %lld, not %lld.", name, (long long)min, (long long)n);
  if (n < min || n > max)
    return fault_field(r->fault, "invalid_value", name, "`%s` must be from %lld to %lld, not %lld.", name, (long long)min, (long long)max,
                       (long long)n);
  *out = n;
  return 0;
}

/* range: the words for the fault, e.g. "from 0 to 2". */
static int read_real(struct reader *r, const char *name, const struct js *v, bool (*fits)(double), const char *range, double *out) {
  double x;
  if (!js_real(v, &x)) return wrong_type(r, name, "a number", v);
  if (!fits(x)) return fault_field(r->fault, "invalid_value", name, "`%s` must be %s, not %.12g.", name, range, x);
  *out = x;
  return 0;
}

/* ---- fields without effect ---- */

static void add_header_safe(struct buf *out, struct slice s) {
  for (size_t i = 0; i < s.len; i++) {
    unsigned char c = (unsigned char)s.data[i];
    bool plain = c > ' ' && c < 0x7f && c != ',' && c != '%';
    if (plain) buf_add_byte(out, c);
    else buf_printf(out, "%%%02X", c);
  }
}

static void note(struct reader *r, struct slice path) {
  enum { NAME_BYTES_MAX = 64 };
  if (slice_ends(buf_view(&r->ignored), SLICE(", ..."))) return; /* full */
  if (path.len > NAME_BYTES_MAX) path.len = NAME_BYTES_MAX;
  struct buf name = {0};
  add_header_safe(&name, path);
  if (path.len == 0) buf_add_cstr(&name, "\"\"");
  /* The same field of many messages is named once. */
  size_t at = 0;
  struct slice list = buf_view(&r->ignored);
  while (at < list.len) {
    const char *comma = memchr(list.data + at, ',', list.len - at);
    size_t end = comma ? (size_t)(comma - list.data) : list.len;
    if (slice_eq(slice_make(list.data + at, end - at), buf_view(&name))) goto done;
    at = end + 2;
  }
  if (list.len + name.len > IGNORED_BYTES_MAX) {
    buf_add_cstr(&r->ignored, ", ...");
    goto done;
  }
  if (list.len) buf_add_cstr(&r->ignored, ", ");
  buf_add(&r->ignored, name.data, name.len);
done:
  buf_free(&name);
}

int fields_unknown(struct reader *r, struct slice name, struct slice path) {
  if (r->strict) {
    char param[64];
    snprintf(param, sizeof param, "%.*s", (int)(path.len < 60 ? path.len : 60), path.data);
    return fault_field(r->fault, "unknown_parameter", param, "Bad request: json: unknown field \"%.*s\"",
                       (int)(name.len < 200 ? name.len : 200), name.data);
  }
  note(r, path);
  return 0;
}

/* ---- all kinds ---- */

int fields_model(struct reader *r, const char *name, const struct js *v) {
  struct slice model;
  if (!js_str(v, &model)) return wrong_type(r, name, "a string", v);
  /* On invocations the path names the endpoint; another name in the body has no effect. */
  if (!slice_eq(model, r->rules->endpoint)) note(r, slice_cstr(name));
  return 0;
}

int fields_strict(struct reader *r, const char *name, const struct js *v) { return read_bool(r, name, v, &r->strict); }

/* Opaque by definition: nothing depends on it. */
int fields_user(struct reader *r, const char *name, const struct js *v) {
  return js_type(v) == JS_STRING ? 0 : wrong_type(r, name, "a string", v);
}

int fields_noted_string(struct reader *r, const char *name, const struct js *v) {
  if (js_type(v) != JS_STRING) return wrong_type(r, name, "a string", v);
  note(r, slice_cstr(name));
  return 0;
}

int fields_noted_map(struct reader *r, const char *name, const struct js *v) {
  if (js_type(v) != JS_OBJECT) return wrong_type(r, name, "an object", v);
  note(r, slice_cstr(name));
  return 0;
}

int fields_stream(struct reader *r, const char *name, const struct js *v) {
  if (read_bool(r, name, v, &r->out->stream) != 0) return -1;
  if (r->out->stream && r->out->kind == REQUEST_EMBEDDING)
    return fault_field(r->fault, "unsupported_value", name, "Embeddings cannot be streamed. Leave `stream` out.");
  return 0;
}

/* ---- generation ---- */

int fields_stream_options(struct reader *r, const char *name, const struct js *v) {
  if (js_type(v) != JS_OBJECT) return wrong_type(r, name, "an object", v);
  r->stream_options = true;
  for (void *it = js_iter(v); it; it = js_iter_next(v, it)) {
    struct slice key;
    const struct js *value;
    js_iter_get(it, &key, &value);
    if (!slice_eq(key, SLICE("include_usage"))) {
      char path[96];
      int n = snprintf(path, sizeof path, "%s.%.*s", name, (int)(key.len < 60 ? key.len : 60), key.data);
      if (fields_unknown(r, key, slice_make(path, (size_t)n)) != 0) return -1;
    } else if (js_type(value) != JS_NULL && read_bool(r, "stream_options.include_usage", value, &r->out->include_usage) != 0) {
      return -1;
    }
  }
  return 0;
}

int fields_n(struct reader *r, const char *name, const struct js *v) {
  int64_t n = 0;
  if (read_int(r, name, v, 1, REQUEST_N_MAX, &n) != 0) return -1;
  r->out->n = (size_t)n;
  return 0;
}

static bool fits_temperature(double x) { return x >= 0 && x <= 2; }
static bool fits_top_p(double x) { return x > 0 && x <= 1; }

int fields_temperature(struct reader *r, const char *name, const struct js *v) {
  return read_real(r, name, v, fits_temperature, "from 0 to 2", &r->out->temperature);
}

int fields_top_p(struct reader *r, const char *name, const struct js *v) {
  return read_real(r, name, v, fits_top_p, "above 0 and at most 1", &r->out->top_p);
}

/* Databricks takes 1 and more; clients of vLLM, which speak OpenAI's dialect, send 0 or -1 for all tokens. */
int fields_top_k(struct reader *r, const char *name, const struct js *v) {
  int64_t k = 0;
  if (read_int(r, name, v, r->rules->dialect == DIALECT_OPENAI ? -1 : 1, INT32_MAX, &k) != 0) return -1;
  r->out->top_k = k > 0 ? k : 0;
  return 0;
}

static bool fits_share(double x) { return x >= 0 && x <= 1; }
static bool fits_penalty(double x) { return x >= -2 && x <= 2; }
/* Above 0 by its meaning; the limits keep every logit finite. */
static bool fits_repetition(double x) { return x >= 0.01 && x <= 100; }
static bool fits_bias(double x) { return x >= -100 && x <= 100; }

int fields_min_p(struct reader *r, const char *name, const struct js *v) {
  return read_real(r, name, v, fits_share, "from 0 to 1", &r->out->min_p);
}

int fields_presence_penalty(struct reader *r, const char *name, const struct js *v) {
  return read_real(r, name, v, fits_penalty, "from -2 to 2", &r->out->presence_penalty);
}

int fields_frequency_penalty(struct reader *r, const char *name, const struct js *v) {
  return read_real(r, name, v, fits_penalty, "from -2 to 2", &r->out->frequency_penalty);
}

int fields_repetition_penalty(struct reader *r, const char *name, const struct js *v) {
  return read_real(r, name, v, fits_repetition, "from 0.01 to 100", &r->out->repetition_penalty);
}

/* A token id as the key of an object: decimal digits without a sign or a leading zero, so that each id has one spelling. */
static bool read_id_key(struct slice key, int64_t *out) {
  int64_t id = 0;
  if (key.len == 0 || key.len > 10 || (key.data[0] == '0' && key.len > 1)) return false;
  for (size_t i = 0; i < key.len; i++) {
    if (key.data[i] < '0' || key.data[i] > '9') return false;
    id = id * 10 + (key.data[i] - '0');
  }
  *out = id;
  return true;
}

static int read_bias(struct reader *r, const char *name, struct slice key, const struct js *v, struct serving_bias *out) {
  int64_t id = 0;
  double bias = 0;
  int shown = (int)(key.len < 40 ? key.len : 40);
  if (!read_id_key(key, &id))
    return fault_field(r->fault, "invalid_value", name, "`%s` must have token ids as its keys, not '%.*s'.", name, shown, key.data);
  if (id >= r->rules->n_vocab)
    return fault_field(r->fault, "invalid_value", name, "`%s` names the token id %lld, which is not in the vocabulary (0 to %d).", name,
                       (long long)id, (int)r->rules->n_vocab - 1);
  if (!js_real(v, &bias))
    return fault_field(r->fault, "invalid_type", name, "`%s` must give a number for the token id %lld, not %s.", name, (long long)id,
                       js_type_name(v));
  if (!fits_bias(bias))
    return fault_field(r->fault, "invalid_value", name, "`%s` must be from -100 to 100 for the token id %lld, not %.12g.", name,
                       (long long)id, bias);
  *out = (struct serving_bias){(int32_t)id, (float)bias};
  return 0;
}

static int by_id(const void *a, const void *b) {
  int32_t x = ((const struct serving_bias *)a)->id, y = ((const struct serving_bias *)b)->id;
  return (x > y) - (x < y);
}

int fields_logit_bias(struct reader *r, const char *name, const struct js *v) {
  if (js_type(v) != JS_OBJECT) return wrong_type(r, name, "an object", v);
  size_t n = js_len(v), at = 0;
  if (n > REQUEST_BIASES_MAX)
    return fault_field(r->fault, "invalid_value", name, "`%s` may name at most %d tokens, not %zu.", name, (int)REQUEST_BIASES_MAX, n);
  struct serving_bias *biases = arena_array(&r->out->arena, n, sizeof *biases);
  for (void *it = js_iter(v); it; it = js_iter_next(v, it)) {
    struct slice key;
    const struct js *value;
    js_iter_get(it, &key, &value);
    if (read_bias(r, name, key, value, &biases[at++]) != 0) return -1;
  }
  if (n) qsort(biases, n, sizeof *biases, by_id);
  r->out->biases = biases;
  r->out->n_biases = n;
  return 0;
}

int fields_min_tokens(struct reader *r, const char *name, const struct js *v) {
  int64_t n = 0;
  if (read_int(r, name, v, 0, INT32_MAX, &n) != 0) return -1;
  r->out->min_tokens = (size_t)n;
  return 0;
}

int fields_stop_token_ids(struct reader *r, const char *name, const struct js *v) {
  if (js_type(v) != JS_ARRAY) return wrong_type(r, name, "a list of token ids", v);
  size_t n = js_len(v);
  if (n > REQUEST_STOP_IDS_MAX)
    return fault_field(r->fault, "invalid_value", name, "`%s` may hold at most %d ids, not %zu.", name, (int)REQUEST_STOP_IDS_MAX, n);
  int32_t *ids = arena_array(&r->out->arena, n, sizeof *ids);
  for (size_t i = 0; i < n; i++) {
    int64_t id = 0;
    char param[64];
    snprintf(param, sizeof param, "%s[%zu]", name, i);
    if (read_int(r, param, js_at(v, i), 0, (int64_t)r->rules->n_vocab - 1, &id) != 0) return -1;
    ids[i] = (int32_t)id;
  }
  r->out->stop_ids = ids;
  r->out->n_stop_ids = n;
  return 0;
}

int fields_return_sampling(struct reader *r, const char *name, const struct js *v) {
  return read_bool(r, name, v, &r->out->return_sampling);
}

int fields_max_tokens(struct reader *r, const char *name, const struct js *v) {
  int64_t n = 0;
  int64_t min = r->out->kind == REQUEST_COMPLETION ? 0 : 1; /* 0 is for echo; looked at when all fields are read */
  if (read_int(r, name, v, min, INT32_MAX, &n) != 0) return -1;
  if (r->has_max_tokens && n != r->max_tokens)
    return fault_field(r->fault, "invalid_value", name, "`max_tokens` and `max_completion_tokens` differ. Send one of them.");
  if (!r->has_max_tokens) r->max_tokens_name = name;
  r->has_max_tokens = true;
  r->max_tokens = n;
  return 0;
}

static int check_stop(struct reader *r, const char *name, struct slice s) {
  if (s.len == 0) return fault_field(r->fault, "invalid_value", name, "A `stop` string must not be empty.");
  if (s.len > REQUEST_STOP_BYTES_MAX)
    return fault_field(r->fault, "invalid_value", name, "A `stop` string may have at most %d bytes, not %zu.", (int)REQUEST_STOP_BYTES_MAX,
                       s.len);
  return 0;
}

int fields_stop(struct reader *r, const char *name, const struct js *v) {
  enum js_type type = js_type(v);
  if (type != JS_STRING && type != JS_ARRAY) return wrong_type(r, name, "a string or a list of strings", v);
  size_t n = type == JS_STRING ? 1 : js_len(v);
  if (n > REQUEST_STOPS_MAX)
    return fault_field(r->fault, "invalid_value", name, "`stop` may hold at most %d strings, not %zu.", (int)REQUEST_STOPS_MAX, n);
  struct slice *stops = arena_array(&r->out->arena, n, sizeof *stops);
  for (size_t i = 0; i < n; i++) {
    if (read_string(r, name, type == JS_STRING ? v : js_at(v, i), &stops[i]) != 0 || check_stop(r, name, stops[i]) != 0) return -1;
  }
  r->out->stops = stops;
  r->out->n_stops = n;
  return 0;
}

int fields_seed(struct reader *r, const char *name, const struct js *v) {
  int64_t seed = 0;
  if (read_int(r, name, v, INT64_MIN, INT64_MAX, &seed) != 0) return -1;
  r->out->seed = (uint64_t)seed;
  r->out->has_seed = true;
  return 0;
}

int fields_ignore_eos(struct reader *r, const char *name, const struct js *v) { return read_bool(r, name, v, &r->out->ignore_eos); }

int fields_response_format(struct reader *r, const char *name, const struct js *v) {
  if (js_type(v) != JS_OBJECT) return wrong_type(r, name, "an object", v);
  struct slice type;
  const struct js *t = js_get(v, "type");
  if (!js_str(t, &type)) return wrong_type(r, "response_format.type", "a string", t);
  if (slice_eq(type, SLICE("text"))) return 0;
  return fault_field(r->fault, "unsupported_value", name,
                     "`response_format` of type '%.*s' is not supported; this server answers with type 'text' only.",
                     (int)(type.len < 60 ? type.len : 60), type.data);
}

int fields_chat_logprobs(struct reader *r, const char *name, const struct js *v) {
  bool on = false;
  if (read_bool(r, name, v, &on) != 0) return -1;
  if (on) r->out->top_logprobs = 0;
  return 0;
}

int fields_top_logprobs(struct reader *r, const char *name, const struct js *v) {
  return read_int(r, name, v, 0, SERVING_TOP_LOGPROBS_MAX, &r->top_logprobs);
}

int fields_completion_logprobs(struct reader *r, const char *name, const struct js *v) {
  int64_t n = 0;
  if (read_int(r, name, v, 0, SERVING_TOP_LOGPROBS_MAX, &n) != 0) return -1;
  r->out->top_logprobs = (int)n;
  return 0;
}

int fields_tools(struct reader *r, const char *name, const struct js *v) {
  if (js_type(v) != JS_ARRAY) return wrong_type(r, name, "a list", v);
  if (js_len(v) == 0) return 0;
  return fault_field(r->fault, "unsupported_parameter", name,
                     "`%s` is not supported: this server does not call functions yet. Leave it out.", name);
}

int fields_tool_choice(struct reader *r, const char *name, const struct js *v) {
  struct slice s;
  if (js_str(v, &s) && (slice_eq(s, SLICE("none")) || slice_eq(s, SLICE("auto")))) return 0;
  return fault_field(r->fault, "unsupported_parameter", name,
                     "`%s` is not supported: this server does not call functions yet. Leave it out.", name);
}

/* ---- completions ---- */

int fields_suffix(struct reader *r, const char *name, const struct js *v) { return read_string(r, name, v, &r->out->suffix); }
int fields_echo(struct reader *r, const char *name, const struct js *v) { return read_bool(r, name, v, &r->out->echo); }
int fields_raw_prompt(struct reader *r, const char *name, const struct js *v) { return read_bool(r, name, v, &r->out->raw_prompt); }

int fields_trust_content(struct reader *r, const char *name, const struct js *v) { return read_bool(r, name, v, &r->out->trust_content); }
int fields_continue_final(struct reader *r, const char *name, const struct js *v) { return read_bool(r, name, v, &r->out->continue_final); }

int fields_generation_prompt(struct reader *r, const char *name, const struct js *v) {
  r->has_generation_prompt = true;
  return read_bool(r, name, v, &r->generation_prompt);
}

int fields_error_behavior(struct reader *r, const char *name, const struct js *v) {
  struct slice s;
  if (!js_str(v, &s)) return wrong_type(r, name, "a string", v);
  r->out->truncate = slice_eq(s, SLICE("truncate"));
  if (r->out->truncate || slice_eq(s, SLICE("error"))) return 0;
  return fault_field(r->fault, "invalid_value", name, "`%s` must be 'truncate' or 'error'.", name);
}

/* ---- embeddings ---- */

int fields_instruction(struct reader *r, const char *name, const struct js *v) { return read_string(r, name, v, &r->out->instruction); }

int fields_encoding_format(struct reader *r, const char *name, const struct js *v) {
  struct slice s;
  if (!js_str(v, &s)) return wrong_type(r, name, "a string", v);
  r->out->base64 = slice_eq(s, SLICE("base64"));
  if (r->out->base64 || slice_eq(s, SLICE("float"))) return 0;
  return fault_field(r->fault, "invalid_value", name, "`%s` must be 'float' or 'base64'.", name);
}

int fields_dimensions(struct reader *r, const char *name, const struct js *v) {
  int64_t n = 0;
  if (read_int(r, name, v, 1, INT32_MAX, &n) != 0) return -1;
  if ((size_t)n == r->rules->n_embd) return 0;
  return fault_field(r->fault, "invalid_value", name,
                     "`%s` must be %zu, the width of endpoint '%.*s'; its embeddings cannot be shortened to %lld.", name, r->rules->n_embd,
                     SLICE_ARG(r->rules->endpoint), (long long)n);
}

int fields_truncate_tokens(struct reader *r, const char *name, const struct js *v) {
  int64_t n = 0;
  if (!js_int(v, &n)) return wrong_type(r, name, "an integer", v);
  if (n != -1 && (n < 1 || n > INT32_MAX))
    return fault_field(r->fault, "invalid_value", name, "`%s` must be at least 1, or -1 for the window of the model; not %lld.", name,
                       (long long)n);
  r->out->truncate_tokens = n;
  return 0;
}
