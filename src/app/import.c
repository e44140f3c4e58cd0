/* import: `plinth import` brings a model from a path or a hub into the models folder. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/about.h"
#include "app/app.h"
#include "app/interrupt.h"
#include "app/paths.h"
#include "app/verdict.h"
#include "base/clock.h"
#include "base/jsonw.h"
#include "intake/intake.h"

enum { LINE_S = 10 };

struct import_args {
  const char *name, *revision, *base, *models_dir;
  struct options_list include;
  bool link, merge, replace, no_load, json;
  int64_t threads;
};

static const struct options_row rows[] = {
    {.name = "name",
     OPTION_STRING_TO(struct import_args, name),
     .metavar = "NAME",
     .fallback_note = "made from the source, in lower case",
     .help = "What the model, and so its endpoint, is called: letters, digits, '.', '-' and '_'."},
    {.name = "revision",
     OPTION_STRING_TO(struct import_args, revision),
     .metavar = "REV",
     .fallback_note = "main",
     .help = "Branch, tag or commit of a hub's repository; the same as @REV behind its name."},
    {.name = "include",
     OPTION_LIST_TO(struct import_args, include),
     .metavar = "PATTERN",
     .help = "Which .gguf file to take, where there are several: its name, a pattern, or a part of the name (Q4_K_M). All parts of a split "
             "file come with one of them."},
    {.name = "base",
     OPTION_STRING_TO(struct import_args, base),
     .metavar = "NAME",
     .fallback_note = "what the adapter says it was trained on",
     .help = "For an adapter: the installed model that it belongs to."},
    {.name = "merge",
     OPTION_BOOL_TO(struct import_args, merge),
     .help =
         "For an adapter's folder: write a model of its own, the adapter merged into its base, which must be plain safetensors. Without it "
         "the adapter is served beside its base and shares its weights."},
    {.name = "link",
     OPTION_BOOL_TO(struct import_args, link),
     .help =
         "Link the files of a path (hard links, symbolic ones across file systems) in place of copying them. A later change of the source "
         "changes the model; \"plinth models --check\" notices."},
    {.name = "replace", OPTION_BOOL_TO(struct import_args, replace), .help = "Put the model in the place of one with the same name."},
    {.name = "no-load",
     OPTION_BOOL_TO(struct import_args, no_load),
     .help = "Do not load the weights: no first forward and no check against vectors. For a model that is to run on a bigger machine."},
    OPTIONS_THREADS_ROW(struct import_args, threads),
    PATHS_MODELS_DIR_ROW(struct import_args, models_dir, "The folder that gets the model."),
    {.name = "json", OPTION_BOOL_TO(struct import_args, json), .help = "Print one JSON object with the result and every check."},
};

/* ---- what happens, on standard error ---- */

struct teller {
  bool terminal, line_open;
  uint64_t told_ns, first_ns, first_bytes;
};

static void close_line(struct teller *t) {
  if (t->line_open) fputc('\n', stderr);
  t->line_open = false;
}

static void print_text(const char *text) {
  struct buf clean = {0};
  about_add_text(&clean, slice_cstr(text)); /* it may quote a server */
  fputs(clean.data ? clean.data : "", stderr);
  buf_free(&clean);
}

static void on_note(void *arg, const char *sentence) {
  struct teller *t = arg;
  close_line(t);
  print_text(sentence);
  fputc('\n', stderr);
}

static void on_progress(void *arg, const char *file, uint64_t done, uint64_t total) {
  struct teller *t = arg;
  uint64_t now = clock_ns();
  if (!t->first_ns) t->first_ns = now, t->first_bytes = done;
  if (!t->told_ns) t->told_ns = now;
  if (!t->terminal && now - t->told_ns < (uint64_t)LINE_S * 1000000000) return;
  t->told_ns = now;
  struct buf line = {0};
  buf_printf(&line, "%3.0f %%  ", total ? 100.0 * (double)done / (double)total : 100.0);
  about_add_bytes(&line, done);
  buf_add_cstr(&line, " of ");
  about_add_bytes(&line, total);
  double seconds = (double)(now - t->first_ns) / 1e9;
  if (seconds > 1 && done > t->first_bytes) {
    buf_add_cstr(&line, "  ");
    about_add_bytes(&line, (uint64_t)((double)(done - t->first_bytes) / seconds));
    buf_add_cstr(&line, "/s");
  }
  buf_add_cstr(&line, "  ");
  about_add_text(&line, slice_cstr(file));
  if (t->terminal) fprintf(stderr, "\r\033[K%s", line.data);
  else fprintf(stderr, "%s\n", line.data);
  t->line_open = t->terminal;
  buf_free(&line);
}

static bool cancelled(void *arg) {
  (void)arg;
  return interrupt_pending();
}

/* ---- the result ---- */

static void write_json(const struct intake_report *r, int result, const struct error *err, struct buf *out) {
  struct jsonw w = {.out = out};
  jsonw_object_begin(&w);
  jsonw_key_cstr(&w, "name", r->name);
  jsonw_key_cstr(&w, "result", result == 0 ? "imported" : r->checks.n_failed ? "refused" : "failed");
  if (result < 0) jsonw_key_cstr(&w, "trouble", err->message);
  if (result == 0) {
    jsonw_key_cstr(&w, "path", r->path);
    jsonw_key_int(&w, "bytes", (int64_t)r->bytes);
    verdict_write(&w, &r->manifest, NULL);
  }
  jsonw_key(&w, "checks");
  jsonw_array_begin(&w);
  for (size_t i = 0; i < r->checks.n; i++) {
    jsonw_object_begin(&w);
    jsonw_key_cstr(&w, "name", r->checks.items[i].name);
    jsonw_key_cstr(&w, "result", intake_result_name(r->checks.items[i].result));
    jsonw_key_cstr(&w, "detail", r->checks.items[i].detail);
    jsonw_object_end(&w);
  }
  jsonw_array_end(&w);
  jsonw_object_end(&w);
  buf_add_byte(out, '\n');
}

static void add_checks(const struct intake_report *r, bool failed, struct buf *out) {
  for (size_t i = 0; i < r->checks.n; i++) {
    const struct intake_check *c = &r->checks.items[i];
    if ((c->result == INTAKE_FAILED) != failed) continue;
    buf_printf(out, "  %-14s ", c->name);
    about_add_text(out, slice_cstr(c->detail));
    buf_add_byte(out, '\n');
  }
}

static void add_text(const struct intake_report *r, struct buf *out) {
  buf_printf(out, "%s is imported: %s\n", r->name, r->path);
  add_checks(r, false, out);
  buf_printf(out, "  %-14s %s%s%s\n", "verdict", manifest_verdict_name(r->manifest.verdict), r->manifest.verified_by ? ", by " : "",
             r->manifest.verified_by ? r->manifest.verified_by : "");
}

static int finish(const struct intake_report *r, int result, const struct error *err, bool json) {
  struct buf text = {0};
  int code = APP_OK;
  if (json) write_json(r, result, err, &text);
  else if (result == 0) add_text(r, &text);
  if (text.len) code = app_print(&text);
  buf_clear(&text);
  if (result < 0) code = app_fail(err);
  if (result < 0 && r->checks.n_failed && !json) {
    add_checks(r, true, &text);
    fputs(text.data, stderr);
  }
  buf_free(&text);
  return code;
}

static int run(const struct options *o) {
  const struct import_args *a = o->args;
  char *own = a->models_dir ? NULL : paths_models_dir();
  struct teller teller = {.terminal = isatty(STDERR_FILENO) && !a->json};
  struct intake_config config = {.source = o->operands[0],
                                 .name = a->name,
                                 .revision = a->revision,
                                 .include = a->include.items,
                                 .n_include = a->include.n,
                                 .base = a->base,
                                 .models_dir = own ? own : a->models_dir,
                                 .link = a->link,
                                 .replace = a->replace,
                                 .no_load = a->no_load,
                                 .threads = (int)a->threads,
                                 .cancelled = cancelled,
                                 .on_note = on_note,
                                 .on_progress = on_progress,
                                 .arg = &teller};
  struct intake_report report;
  struct error err = {0};
  interrupt_catch();
  int result = a->merge ? intake_merge(&config, &report, &err) : intake_import(&config, &report, &err);
  close_line(&teller);
  int code = finish(&report, result, &err, a->json);
  intake_report_free(&report);
  free(own);
  return code;
}

const struct app_command import_command = {
    .spec =
        {.command = "import",
         .operands = "SOURCE",
         .operands_min = 1,
         .operands_max = 1,
         .summary = "Bring a model from a path or a hub into the models folder",
         .description =
             "Brings a model into the models folder, after checking everything that can be checked: configuration, shape of every tensor, "
             "tokenizer against vocabulary, chat template, end-of-generation ids, a first forward, room on disk and in memory. It appears "
             "there whole or not at all; a refusal names all reasons at once.\n\n"
             "SOURCE is a Hugging Face folder, a .gguf file (of a split one any part), a LoRA adapter's folder (PEFT), an MLflow model of "
             "the "
             "flavor transformers, or a repository of the Hugging Face hub: hf:ORG/REPO, hf:ORG/REPO@REVISION, hf:ORG/REPO:FILE.gguf or "
             "hf:ORG/REPO:Q4_K_M. Weights in Python's pickle format are not taken, and nothing of a source is executed.\n\n"
             "A download that breaks, or is interrupted with Ctrl-C, goes on where it was when the same command is given again. Every file "
             "is "
             "compared with the hash that the hub lists. HF_TOKEN (or the token of \"hf auth login\"), HF_ENDPOINT, HF_HUB_OFFLINE, "
             "HF_HOME, "
             "HF_HUB_CACHE and the usual proxy variables are honoured; files of the hub's cache are not fetched again.\n\n"
             "What was found is kept beside the model in plinth.json, with fingerprints and a verdict: verified, when reference vectors "
             "matched (plinth-vectors.json of the source) or the catalogue knows every byte; else unverified.",
         .examples = "plinth import hf:HuggingFaceTB/SmolLM2-135M-Instruct\n"
                     "plinth import hf:bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M --name llama-3.2-1b\n"
                     "plinth import ./my-finetune --name support-bot --link\n"
                     "plinth import ./adapter --base llama-3.2-1b\n"
                     "plinth import ./adapter --merge --name llama-tuned",
         OPTIONS_ROWS(rows),
         .args_bytes = sizeof(struct import_args)},
    .run = run,
};
