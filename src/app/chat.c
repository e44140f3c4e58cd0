/* chat: `plinth chat`, a conversation in the terminal. SPDX-License-Identifier: Apache-2.0
 *
 * Each line of standard input is a message; the answer is streamed. Ctrl-C stops an answer and keeps what was said of it. Prompts go to
 * standard error and only to a terminal, so that answers can be piped. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/input.h"
#include "app/interrupt.h"
#include "app/line.h"
#include "app/remote.h"
#include "base/mem.h"

struct chat_args {
  struct generate_source source;
  struct generate_sampling sampling;
  const char *system;
};

static const struct options_row rows[] = {
    GENERATE_SOURCE_ROWS(struct chat_args, source),
    {.name = "system",
     .letter = 's',
     OPTION_STRING_TO(struct chat_args, system),
     .metavar = "TEXT",
     .help = "What the model is told in front of the conversation."},
    GENERATE_SAMPLING_ROWS(struct chat_args, sampling),
};

struct message {
  const char *role; /* a literal */
  char *content;    /* owned, with a NUL behind it */
  size_t len;
};

struct chat {
  const struct chat_args *args;
  struct local local; /* without --url */
  struct engine *engine;
  struct message *messages;
  size_t n, cap;
  bool terminal; /* a person types */
};

/* ---- the conversation ---- */

static void add(struct chat *c, const char *role, struct slice content) {
  if (c->n == c->cap) {
    c->cap = c->cap ? 2 * c->cap : 16;
    c->messages = mem_realloc(c->messages, c->cap, sizeof *c->messages);
  }
  c->messages[c->n++] = (struct message){role, mem_dup(content.data ? content.data : "", content.len), content.len};
}

static void drop(struct chat *c, size_t n) {
  while (c->n > n) free(c->messages[--c->n].content);
}

static void begin(struct chat *c) {
  drop(c, 0);
  if (c->args->system) add(c, "system", slice_cstr(c->args->system));
}

static void write_messages(const struct chat *c, struct jsonw *w) {
  jsonw_key(w, "messages");
  jsonw_array_begin(w);
  for (size_t i = 0; i < c->n; i++) {
    jsonw_object_begin(w);
    jsonw_key_cstr(w, "role", c->messages[i].role);
    jsonw_key_str(w, "content", slice_make(c->messages[i].content, c->messages[i].len));
    jsonw_object_end(w);
  }
  jsonw_array_end(w);
}

/* ---- answers ---- */

static int answer_remote(struct chat *c, struct generate_printer *p, enum generate_end *end, struct error *err) {
  struct buf body = {0};
  struct jsonw w = {.out = &body};
  remote_begin_body(&w, c->args->source.model, &c->args->sampling);
  write_messages(c, &w);
  jsonw_object_end(&w);
  int rc = remote_stream(c->args->source.url, "chat/completions", buf_view(&body), p, end, err);
  buf_free(&body);
  return rc;
}

/* The conversation as the model's prompt. */
static int encode(struct chat *c, struct ids *ids, struct error *err) {
  struct buf json = {0};
  struct jsonw w = {.out = &json};
  jsonw_object_begin(&w);
  write_messages(c, &w);
  jsonw_key_bool(&w, "add_generation_prompt", true);
  jsonw_object_end(&w);
  struct js *context = js_parse(buf_view(&json), err);
  int rc = context ? chat_template_encode(c->local.chat_template, context, 0, ids, err) : -1;
  if (rc == 0 && ids->len >= c->local.context_tokens)
    rc = error_set(
        err, ERROR_TOO_LARGE,
        "The conversation has %zu tokens; the model's context of %zu%s leaves no room for an answer. Begin a new one with /clear.",
        ids->len, c->local.context_tokens, local_context_note(&c->local));
  js_free(context);
  buf_free(&json);
  return rc;
}

static int answer_local(struct chat *c, struct generate_printer *p, enum generate_end *end, struct error *err) {
  struct ids ids = {0};
  int rc = encode(c, &ids, err);
  if (rc == 0) rc = generate_run(&c->local, c->engine, &ids, &c->args->sampling, p, end, err);
  ids_free(&ids);
  return rc;
}

/* Answers the last message. A turn that fails is forgotten. */
static int answer(struct chat *c) {
  struct buf text = {0};
  struct generate_printer p;
  struct error err = {0};
  enum generate_end end = GENERATE_STOP;
  generate_printer_init(&p, &text);
  interrupt_take();
  int rc = c->args->source.url ? answer_remote(c, &p, &end, &err) : answer_local(c, &p, &end, &err);
  if (!p.at_newline && (p.any || rc == 0)) fputs("\n", stdout);
  fflush(stdout);
  if (rc == 0 && ferror(stdout)) rc = error_set(&err, ERROR_IO, "Cannot write to standard output: %s.", strerror(errno));
  if (rc < 0) drop(c, c->n - 1);
  else add(c, "assistant", buf_view(&text));
  buf_free(&text);
  if (rc < 0) app_fail(&err);
  else if (end == GENERATE_INTERRUPTED && c->terminal) fputs("[stopped]\n", stderr);
  else if (end == GENERATE_LENGTH && c->terminal) fputs("[cut off: --max-tokens or the context is used up]\n", stderr);
  return rc;
}

/* ---- the terminal ---- */

/* A slash and one word is meant as a command; "/etc/passwd" and "/ is division" are messages. */
static bool is_command(struct slice line) {
  if (line.len < 2 || line.data[0] != '/') return false;
  for (size_t i = 1; i < line.len; i++)
    if (line.data[i] < 'a' || line.data[i] > 'z') return false;
  return true;
}

/* Handles "/…"; false: it is a message like any other. */
static bool command(struct chat *c, struct slice line, bool *ret_leave) {
  if (slice_eq(line, SLICE("/exit")) || slice_eq(line, SLICE("/quit"))) {
    *ret_leave = true;
  } else if (slice_eq(line, SLICE("/clear"))) {
    begin(c);
    if (c->terminal) fputs("[a new conversation]\n", stderr);
  } else if (slice_eq(line, SLICE("/help"))) {
    fputs("/clear  begin a new conversation\n/exit   leave (so does Ctrl-D)\nCtrl-C  stop an answer\n", stderr);
  } else if (is_command(line)) {
    fprintf(stderr, "[there is no command %.*s; /help lists them]\n", SLICE_ARG(line));
  } else {
    return false;
  }
  return true;
}

static bool is_blank(struct slice line) {
  for (size_t i = 0; i < line.len; i++)
    if (line.data[i] != ' ' && line.data[i] != '\t') return false;
  return true;
}

static int take_message(struct chat *c, struct slice text) {
  struct error err;
  if (input_check(text, &err) < 0) {
    app_fail(&err);
    return -1;
  }
  add(c, "user", text);
  return answer(c);
}

static int converse(struct chat *c) {
  struct line_reader *reader = line_open(c->terminal);
  struct slice line;
  enum line_got got;
  int code = APP_OK;
  bool leave = false;
  begin(c);
  while (!leave && (got = line_read(reader, &line)) != LINE_END) {
    if (got == LINE_INTERRUPTED) {
      interrupt_take();
      if (!c->terminal) break;
      fputs("\n[/exit leaves]\n", stderr);
    } else if (!is_blank(line) && !command(c, line, &leave) && take_message(c, line) < 0 && !c->terminal) {
      code = APP_FAILED;
    }
  }
  int why = errno; /* of an input that cannot be read */
  if (!leave && c->terminal) fputs("\n", stderr);
  line_close(reader);
  struct error err;
  if (!ferror(stdin)) return code;
  error_set(&err, ERROR_IO, "Cannot read standard input: %s.", strerror(why));
  return app_fail(&err);
}

static int prepare(struct chat *c, struct error *err) {
  const struct generate_source *s = &c->args->source;
  if (s->url) return s->model ? 0 : error_set(err, ERROR_INVALID, "Name the server's endpoint with --model.");
  if (generate_open(&c->local, s, MODEL_GENERATE, err) < 0) return -1;
  if (!c->local.chat_template)
    return error_set(err, ERROR_UNSUPPORTED, "%s Without a chat template only plinth complete works.", c->local.no_template.message);
  return (c->engine = local_engine(&c->local, 1, err)) ? 0 : -1;
}

static int run(const struct options *o) {
  struct chat_args *args = o->args;
  struct chat c = {.args = args, .terminal = isatty(STDIN_FILENO) && isatty(STDERR_FILENO)};
  struct error err = {0};
  int code = APP_FAILED;
  if (generate_settle(o, &args->sampling, &err) < 0) return app_usage("chat", &err);
  if (prepare(&c, &err) < 0) {
    app_fail(&err);
  } else {
    interrupt_catch();
    if (c.terminal) fprintf(stderr, "%s. Type a message; /help tells more.\n", args->source.url ? args->source.model : c.local.name);
    code = converse(&c);
  }
  drop(&c, 0);
  free(c.messages);
  engine_destroy(c.engine);
  local_close(&c.local);
  return code;
}

const struct app_command chat_command = {
    .spec = {.command = "chat",
             .summary = "Talk with a model",
             .description =
                 "Reads messages from standard input, one a line, and streams the answers. The whole conversation is kept; /clear begins a "
                 "new one, /exit leaves. Ctrl-C stops an answer and not the program. At a terminal lines are edited, and arrows bring back "
                 "earlier ones.\n\n"
                 "The model is loaded into this process, or asked from a server with --url.",
             .examples = "plinth chat\n"
                         "plinth chat --model smollm2-135m-instruct --system 'Answer in one sentence.'\n"
                         "PLINTH_TOKEN=… plinth chat --url http://localhost:8080 --model smollm2-135m-instruct",
             OPTIONS_ROWS(rows),
             .args_bytes = sizeof(struct chat_args)},
    .run = run,
};
