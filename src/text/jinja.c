/* jinja: the door of the interpreter: parse, render, free. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "text/jinja_call.h"
#include "text/jinja_chat.h"
#include "text/jinja_private.h"

enum {
  SOURCE_BYTES_MAX = 4 << 20,
  STEPS_MAX = 10000000,
  CALLS_MAX = 200,
  OUTPUT_BYTES_MAX = 64 << 20,
};

/* "\r\n" and "\r" become "\n"; one newline at the end is dropped. */
static struct slice normalize(struct arena *arena, struct slice source) {
  char *out = arena_alloc(arena, source.len + 1);
  size_t n = 0;
  for (size_t i = 0; i < source.len; i++) {
    if (source.data[i] == '\r') {
      out[n++] = '\n';
      if (i + 1 < source.len && source.data[i + 1] == '\n') i++;
    } else {
      out[n++] = source.data[i];
    }
  }
  if (n && out[n - 1] == '\n') n--;
  return slice_make(out, n);
}

struct jinja *jinja_parse(struct slice source, struct error *err) {
  struct jinja_tokens tokens = {0};
  if (source.len > SOURCE_BYTES_MAX) {
    error_set(err, ERROR_TOO_LARGE, "The template has %zu bytes; at most %d are read.", source.len, SOURCE_BYTES_MAX);
    return NULL;
  }
  if (!utf8_valid(source)) {
    error_set(err, ERROR_INVALID, "The template is not valid UTF-8.");
    return NULL;
  }
  struct jinja *j = mem_zalloc(1, sizeof *j);
  if (jinja_lex(normalize(&j->arena, source), &j->arena, &tokens, err) < 0 || jinja_parse_template(j, &tokens, err) < 0 ||
      jinja_scope_resolve(j, err) < 0) {
    jinja_free(j);
    return NULL;
  }
  return j;
}

void jinja_free(struct jinja *j) {
  if (!j) return;
  struct arena arena = j->arena;
  free(j);
  arena_free(&arena);
}

void jinja_marks_free(struct jinja_marks *m) {
  free(m->spans);
  *m = (struct jinja_marks){0};
}

static bool from_outside(struct slice name) {
  return slice_eq(name, SLICE("messages")) || slice_eq(name, SLICE("tools")) || slice_eq(name, SLICE("documents"));
}

static void load_context(struct jinja_run *r, const struct jinja_job *job) {
  r->context = jinja_val_dict(r);
  r->vars = r->jinja->blocks ? jinja_val_dict(r) : NULL;
  if (job->chat) jinja_chat_defaults(r);
  for (size_t i = 0; i < job->n_defaults; i++)
    jinja_val_setn(r, r->context, job->defaults[i].name, jv_str(jinja_str_borrow(&r->arena, job->defaults[i].value)));
  for (void *it = js_iter(job->context); it; it = js_iter_next(job->context, it)) {
    struct slice name;
    const struct js *value;
    js_iter_get(it, &name, &value);
    jinja_val_setn(r, r->context, name, jinja_val_from_js(r, value, job->marks && (job->chat || from_outside(name))));
  }
  if (job->chat) jinja_chat_messages(r);
  if (job->continue_final) jinja_chat_open(r);
}

static void hand_over(const struct jinja_job *job, const struct jinja_sb *sb) {
  size_t base = job->out->len;
  buf_add(job->out, sb->buf.data, sb->buf.len);
  if (!job->marks) return;
  job->marks->n = 0;
  if (sb->n_marks > job->marks->cap) {
    job->marks->cap = sb->n_marks;
    job->marks->spans = mem_realloc(job->marks->spans, sb->n_marks, sizeof *job->marks->spans);
  }
  for (size_t i = 0; i < sb->n_marks; i++)
    job->marks->spans[job->marks->n++] = (struct jinja_span){base + sb->marks[i].begin, base + sb->marks[i].end};
}

int jinja_run_job(const struct jinja *j, const struct jinja_job *job, struct error *err) {
  const struct jinja_limits *limits = job->limits;
  if (js_type(job->context) != JS_OBJECT)
    return error_set(err, ERROR_INVALID, "The context of a template must be a JSON object, not %s.", js_type_name(job->context));
  struct jinja_run r = {.jinja = j, .err = err, .now_s = job->now_s};
  r.steps_max = limits && limits->steps_max ? limits->steps_max : STEPS_MAX;
  r.calls_max = limits && limits->depth_max ? limits->depth_max : CALLS_MAX;
  r.output_max = limits && limits->output_bytes_max ? limits->output_bytes_max : OUTPUT_BYTES_MAX;
  r.memory_max = r.output_max > SIZE_MAX / 8 ? SIZE_MAX / 2 : 4 * r.output_max + (16 << 20);
  r.seed = r.random = clock_ns() ^ (uintptr_t)&r;
  struct jinja_sb out = {.max = r.output_max};
  r.out = &out;
  load_context(&r, job);
  jinja_exec_template(&r);
  if (job->continue_final) jinja_chat_cut(&r);
  if (!r.failed) hand_over(job, &out);
  jinja_sb_free(&out);
  arena_free(&r.arena);
  return r.failed ? -1 : 0;
}

int jinja_render(const struct jinja *j, const struct js *context, int64_t now_s, const struct jinja_limits *limits, struct buf *out,
                 struct error *err) {
  struct jinja_job job = {.context = context, .now_s = now_s, .limits = limits, .out = out};
  return jinja_run_job(j, &job, err);
}

int jinja_render_marked(const struct jinja *j, const struct js *context, int64_t now_s, const struct jinja_limits *limits, struct buf *out,
                        struct jinja_marks *marks, struct error *err) {
  struct jinja_job job = {.context = context, .now_s = now_s, .limits = limits, .out = out, .marks = marks};
  return jinja_run_job(j, &job, err);
}
