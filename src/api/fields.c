/* fields: see fields.h. SPDX-License-Identifier: Apache-2.0 */
#include "api/fields.h"

#include <stdio.h>
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

int fields_top_k(struct reader *r, const char *name, const struct js *v) { return read_int(r, name, v, 1, INT32_MAX, &r->out->top_k); }

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
