/* render: `plinth render` prints what a chat template makes of a context. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"
#include "app/input.h"
#include "app/paths.h"
#include "base/fs.h"
#include "base/js.h"
#include "text/text.h"

enum { INPUT_BYTES_MAX = 256 << 20, TEMPLATE_BYTES_MAX = 16 << 20 };

struct render_args {
  const char *model, *template, *input, *models_dir;
};

static const struct options_row rows[] = {
    {.name = "model",
     .letter = 'm',
     OPTION_STRING_TO(struct render_args, model),
     .metavar = "FILE|DIR|NAME",
     .help = "The model whose chat template to use: a GGUF file, a Hugging Face directory, or the name of an installed model. Its special "
             "tokens (bos_token, eos_token, …) are variables where the context has none of the name; tools and documents are none and "
             "add_generation_prompt is false unless the context says otherwise."},
    {.name = "template",
     OPTION_STRING_TO(struct render_args, template),
     .metavar = "FILE.jinja",
     .help = "A template in a file of its own. Its variables are the context's and nothing else."},
    {.name = "input",
     .letter = 'i',
     OPTION_STRING_TO(struct render_args, input),
     .metavar = "CONTEXT.json",
     .fallback = "-",
     .help = "A JSON object whose members are the template's variables (messages, tools, add_generation_prompt, …); - for standard input."},
    PATHS_MODELS_DIR_ROW(struct render_args, models_dir, PATHS_SOUGHT),
};

static struct js *read_context(const char *input, struct error *err) {
  struct buf text = {0};
  bool from_stdin = strcmp(input, "-") == 0;
  int rc = from_stdin ? input_read(INPUT_BYTES_MAX, &text, err) : fs_read_any(input, INPUT_BYTES_MAX, &text, err);
  struct js *context = rc == 0 ? js_parse(buf_view(&text), err) : NULL;
  if (rc == 0 && !context) error_prefix(err, "%s", from_stdin ? "Standard input" : input);
  buf_free(&text);
  return context;
}

static int render_template(const char *path, const struct js *context, struct buf *out, struct error *err) {
  struct buf source = {0};
  struct jinja *j = NULL;
  int rc = fs_read_any(path, TEMPLATE_BYTES_MAX, &source, err);
  if (rc == 0 && (rc = input_check(buf_view(&source), err)) < 0) error_prefix(err, "%s", path);
  if (rc == 0) rc = (j = jinja_parse(buf_view(&source), err)) ? jinja_render(j, context, -1, NULL, out, err) : -1;
  jinja_free(j);
  buf_free(&source);
  return rc;
}

static int render_model(const struct render_args *a, const struct js *context, struct buf *out, struct error *err) {
  char *path = paths_find_model(a->models_dir, a->model, err);
  struct file_model *model = path ? file_model_open_text(path, err) : NULL;
  struct tokenizer *tokenizer = model ? tokenizer_open(model, err) : NULL;
  struct chat_template *template = tokenizer ? chat_template_open(model, tokenizer, err) : NULL;
  int rc = template ? chat_template_render(template, context, out, err) : -1;
  chat_template_close(template);
  tokenizer_close(tokenizer);
  file_model_close(model);
  free(path);
  return rc;
}

static int run(const struct options *o) {
  const struct render_args *a = o->args;
  struct error err = {0};
  struct buf out = {0};
  if (!a->model == !a->template) {
    error_set(&err, ERROR_INVALID, "Name either a model with --model or a template with --template.");
    return app_usage("render", &err);
  }
  struct js *context = read_context(a->input, &err);
  int rc = !context ? -1 : a->template ? render_template(a->template, context, &out, &err) : render_model(a, context, &out, &err);
  int code = rc < 0 ? app_fail(&err) : app_print(&out);
  js_free(context);
  buf_free(&out);
  return code;
}

const struct app_command render_command = {
    .spec = {.command = "render",
             .summary = "Print what a chat template makes of a conversation",
             .description =
                 "Renders a Jinja chat template as transformers does and prints the text and nothing else: no newline is added. The "
                 "variables of the template are the members of the context, a JSON object.",
             .examples = "plinth render --model smollm2-135m-instruct --input context.json\n"
                         "echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}' | plinth render --template chat.jinja",
             OPTIONS_ROWS(rows),
             .args_bytes = sizeof(struct render_args)},
    .run = run,
};
