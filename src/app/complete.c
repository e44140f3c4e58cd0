/* complete: `plinth complete` goes on with a text, without any template. SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "app/input.h"
#include "app/interrupt.h"
#include "app/remote.h"

enum { PROMPT_BYTES_MAX = 64 << 20, EXIT_INTERRUPTED = 130 };

struct complete_args {
  struct generate_source source;
  struct generate_sampling sampling;
  bool echo;
};

static const struct options_row rows[] = {
    GENERATE_SOURCE_ROWS(struct complete_args, source),
    GENERATE_SAMPLING_ROWS(struct complete_args, sampling),
    {.name = "echo", OPTION_BOOL_TO(struct complete_args, echo), .help = "Print the prompt in front of what follows it."},
};

static int complete_remote(const struct complete_args *a, struct slice prompt, struct generate_printer *p, enum generate_end *end,
                           struct error *err) {
  struct buf body = {0};
  struct jsonw w = {.out = &body};
  if (!a->source.model) return error_set(err, ERROR_INVALID, "Name the server's endpoint with --model.");
  remote_begin_body(&w, a->source.model, &a->sampling);
  jsonw_key_str(&w, "prompt", prompt);
  jsonw_object_end(&w);
  int rc = remote_stream(a->source.url, "completions", buf_view(&body), p, end, err);
  buf_free(&body);
  return rc;
}

static int complete_local(const struct complete_args *a, struct slice prompt, struct generate_printer *p, enum generate_end *end,
                          struct error *err) {
  struct local local = {0};
  struct engine *engine = NULL;
  struct ids ids = {0};
  int rc = generate_open(&local, &a->source, MODEL_GENERATE, err);
  if (rc == 0) rc = tokenizer_encode(local.tokenizer, prompt, TOKENIZER_ADD_SPECIAL | TOKENIZER_MATCH_SPECIAL, &ids, err);
  if (rc == 0 && ids.len == 0) rc = error_set(err, ERROR_INVALID, "The prompt is empty, and this model needs at least one token.");
  if (rc == 0 && !(engine = local_engine(&local, 1, err))) rc = -1;
  if (rc == 0) {
    interrupt_catch();
    rc = generate_run(&local, engine, &ids, &a->sampling, p, end, err);
  }
  engine_destroy(engine);
  ids_free(&ids);
  local_close(&local);
  return rc;
}

static int complete(const struct complete_args *a, struct slice prompt) {
  struct error err = {0};
  struct generate_printer p;
  enum generate_end end = GENERATE_STOP;
  generate_printer_init(&p, NULL);
  if (a->echo) generate_print(&p, prompt);
  if (a->source.url) interrupt_catch();
  int rc = a->source.url ? complete_remote(a, prompt, &p, &end, &err) : complete_local(a, prompt, &p, &end, &err);
  if (p.terminal && p.any && !p.at_newline) fputs("\n", stdout);
  if (rc < 0) return app_fail(&err);
  if (fflush(stdout) != 0 || ferror(stdout)) {
    error_set(&err, ERROR_IO, "Cannot write to standard output: %s.", strerror(errno));
    return app_fail(&err);
  }
  return end == GENERATE_INTERRUPTED ? EXIT_INTERRUPTED : APP_OK;
}

static int run(const struct options *o) {
  struct complete_args *a = o->args;
  struct error err = {0};
  struct buf prompt = {0};
  if (generate_settle(o, &a->sampling, &err) < 0) return app_usage("complete", &err);
  if (o->n_operands) buf_add_cstr(&prompt, o->operands[0]);
  int rc = o->n_operands ? 0 : input_read(PROMPT_BYTES_MAX, &prompt, &err);
  if (rc == 0) rc = input_check(buf_view(&prompt), &err);
  int code = rc < 0 ? app_fail(&err) : complete(a, buf_view(&prompt));
  buf_free(&prompt);
  return code;
}

const struct app_command complete_command = {
    .spec =
        {.command = "complete",
         .operands = "PROMPT",
         .operands_max = 1,
         .summary = "Go on with a text",
         .description =
             "Streams what the model writes behind the prompt: the argument, or all of standard input. The prompt is taken as it is; no "
             "chat template is applied, and BOS is added only where the tokenizer does so. Nothing but the text is printed.",
         .examples = "plinth complete 'Once upon a time' --max-tokens 50\n"
                     "plinth complete --temperature 0 --stop Question: < prompt.txt",
         OPTIONS_ROWS(rows),
         .args_bytes = sizeof(struct complete_args)},
    .run = run,
};
