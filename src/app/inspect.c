/* inspect: `plinth inspect` tells what a model file holds. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "app/about.h"
#include "app/app.h"
#include "app/paths.h"
#include "app/plan.h"
#include "app/verdict.h"
#include "base/jsonw.h"

struct inspect_args {
  bool json, tensors, plan;
  double memory_gib;
  int64_t plan_tokens;
  const char *models_dir, *kv;
};

static const struct options_row rows[] = {
    {.name = "json", OPTION_BOOL_TO(struct inspect_args, json), .help = "Print one JSON object."},
    {.name = "tensors",
     .letter = 't',
     OPTION_BOOL_TO(struct inspect_args, tensors),
     .help = "List every tensor with type, shape and size."},
    {.name = "plan",
     OPTION_BOOL_TO(struct inspect_args, plan),
     .help = "Tell the memory that the model needs in each type and compute mode. A folder with only config.json will do."},
    {.name = "memory-gib",
     OPTION_REAL_TO(struct inspect_args, memory_gib),
     .metavar = "GIB",
     .ranged = true,
     .min = 0,
     .max = 1 << 20,
     .help = "With --plan: how many nodes with so much memory for the model it takes, layer by layer."},
    {.name = "plan-tokens",
     OPTION_INT_TO(struct inspect_args, plan_tokens),
     .metavar = "N",
     .fallback_note = "one full context",
     .ranged = true,
     .min = 0,
     .max = 1 << 30,
     .help = "With --plan: the tokens whose keys and values are held at once."},
    OPTIONS_KV_ROW(struct inspect_args, kv),
    PATHS_MODELS_DIR_ROW(struct inspect_args, models_dir, PATHS_SOUGHT),
};

/* ---- text ---- */

static void label(struct buf *out, const char *name) { buf_printf(out, "  %-15s", name); }

static void line(struct buf *out, const char *name, struct slice text) {
  label(out, name);
  about_add_text(out, text);
  buf_add_byte(out, '\n');
}

static void add_file(struct buf *out, const struct about *a) {
  label(out, "file");
  about_add_text(out, slice_cstr(a->file->path));
  if (a->file->gguf) buf_printf(out, " (GGUF version %u, ", gguf_version(a->file->gguf));
  else buf_add_cstr(out, " (safetensors, ");
  about_add_bytes(out, a->file_bytes);
  buf_add_cstr(out, ")\n");
}

static void add_architecture(struct buf *out, const struct model_info *i) {
  label(out, "architecture");
  buf_printf(out, "%s: %zu layers, width ", i->architecture, i->n_layers);
  about_add_count(out, i->n_embd);
  buf_printf(out, ", %zu heads of %zu", i->n_heads, i->head_dim);
  if (i->n_kv_heads != i->n_heads) buf_printf(out, " (%zu for keys and values)", i->n_kv_heads);
  buf_add_cstr(out, ", feed-forward ");
  about_add_count(out, i->n_ff);
  if (i->n_experts) buf_printf(out, ", %zu experts (%zu for a token)", i->n_experts, i->n_experts_used);
  if (i->window_tokens) {
    buf_add_cstr(out, ", sliding window of ");
    about_add_count(out, i->window_tokens);
  }
  buf_add_byte(out, '\n');
}

/* The types in the order of their bytes. */
static void add_quantization(struct buf *out, const struct about *a) {
  bool done[DTYPE_COUNT] = {false};
  label(out, "quantization");
  if (a->known) buf_printf(out, "%s (", a->info.quantization);
  for (int n = 0;; n++) {
    int most = -1;
    for (int t = 0; t < DTYPE_COUNT; t++)
      if (!done[t] && a->bytes_of[t] && (most < 0 || a->bytes_of[t] > a->bytes_of[most])) most = t;
    if (most < 0) break;
    done[most] = true;
    buf_printf(out, "%s%s %.1f %%", n ? ", " : "", dtype_info((enum dtype)most)->name,
               100.0 * (double)a->bytes_of[most] / (double)a->tensor_bytes);
  }
  buf_add_cstr(out, a->known ? " of the bytes)\n" : " of the bytes\n");
}

static void add_text_parts(struct buf *out, const struct about *a) {
  label(out, "tokenizer");
  if (a->tokenizer) {
    buf_printf(out, "%s, ", tokenizer_kind(a->tokenizer));
    about_add_count(out, (uint64_t)tokenizer_n_vocab(a->tokenizer));
    buf_add_cstr(out, " tokens\n");
  } else {
    about_add_text(out, slice_cstr(a->no_tokenizer.message));
    buf_add_byte(out, '\n');
  }
  if (a->chat_template == ABOUT_TEMPLATE_BROKEN) line(out, "chat template", slice_cstr(a->broken_template.message));
  else line(out, "chat template", a->chat_template == ABOUT_TEMPLATE_OK ? SLICE("yes") : SLICE("no"));
}

static void add_memory(struct buf *out, const struct about *a) {
  label(out, "memory");
  buf_add_cstr(out, "weights ");
  about_add_bytes(out, a->packed_bytes);
  if (a->kv_bytes_per_token) {
    buf_add_cstr(out, ", KV ");
    about_add_bytes(out, 1000 * a->kv_bytes_per_token);
    buf_add_cstr(out, " for 1,000 tokens; at least ");
    about_add_bytes(out, a->packed_bytes + a->context_kv_bytes);
    buf_add_cstr(out, " with one full context");
  }
  buf_add_cstr(out, " (compute mode fast");
  if (a->kv_bytes_per_token) buf_printf(out, ", KV in %s", kv_type_name(a->kv));
  buf_add_cstr(out, ")\n");
}

static void add_known(struct buf *out, const struct about *a) {
  const struct model_info *i = &a->info;
  if (i->name[0]) line(out, "name", slice_cstr(i->name));
  add_architecture(out, i);
  label(out, "task");
  buf_add_cstr(out, about_task(a));
  if (i->task == MODEL_EMBED)
    buf_printf(out, " (%s pooling%s)", i->pooling == MODEL_POOL_CLS ? "CLS" : "mean", i->normalize ? ", normalized" : "");
  buf_add_byte(out, '\n');
  label(out, "context");
  about_add_count(out, i->context_tokens);
  buf_add_cstr(out, " tokens\n");
}

static void add_tensor(struct buf *out, const struct file_tensor *t) {
  buf_add_cstr(out, "    ");
  about_add_text(out, t->name);
  buf_printf(out, "%*s  %-7s [", t->name.len < 40 ? (int)(40 - t->name.len) : 0, "", dtype_info(t->dtype)->name);
  for (unsigned i = 0; i < t->rank; i++) buf_printf(out, "%s%llu", i ? ", " : "", (unsigned long long)t->shape[i]);
  buf_add_cstr(out, "]  ");
  about_add_bytes(out, t->n_bytes);
  buf_add_byte(out, '\n');
}

static void add_manifest(struct buf *out, const struct manifest *m, const char *changed) {
  const struct {
    const char *name, *text;
  } prints[] = {{"weights", m->weights}, {"tokenizer", m->tokenizer}, {"template", m->chat_template}};
  label(out, "verdict");
  buf_add_cstr(out, verdict_word(m, changed));
  if (changed) buf_add_cstr(out, ": not as it was imported: ");
  else if (m->verified_by) buf_add_cstr(out, ", by ");
  about_add_text(out, slice_cstr(changed ? changed : m->verified_by ? m->verified_by : ""));
  buf_add_byte(out, '\n');
  if (m->source) {
    label(out, "source");
    about_add_text(out, slice_cstr(m->source));
    if (m->commit) buf_printf(out, " at %.12s", m->commit);
    buf_add_byte(out, '\n');
  }
  for (size_t i = 0; i < sizeof prints / sizeof prints[0]; i++)
    if (prints[i].text) {
      label(out, "fingerprint");
      buf_printf(out, "%s %s\n", prints[i].name, prints[i].text);
    }
}

static void add_text(struct buf *out, const struct about *a, bool tensors, const struct manifest *m, const char *changed) {
  about_add_text(out, slice_cstr(a->name));
  buf_add_byte(out, '\n');
  add_file(out, a);
  if (a->known) add_known(out, a);
  else line(out, "not supported", slice_cstr(a->unknown.message));
  label(out, "parameters");
  about_add_count(out, a->n_parameters);
  buf_add_byte(out, '\n');
  if (a->n_tensors) add_quantization(out, a);
  add_text_parts(out, a);
  if (a->known) add_memory(out, a);
  if (m) add_manifest(out, m, changed);
  label(out, "tensors");
  about_add_count(out, a->n_tensors);
  buf_add_byte(out, '\n');
  for (size_t i = 0; tensors && i < a->n_tensors; i++) add_tensor(out, about_tensor_at(a, i));
}

/* ---- JSON ---- */

static int64_t json_count(uint64_t n) { return n > INT64_MAX ? INT64_MAX : (int64_t)n; }

static void write_known(struct jsonw *w, const struct about *a) {
  const struct model_info *i = &a->info;
  jsonw_key_cstr(w, "architecture", i->architecture);
  jsonw_key_cstr(w, "general_name", i->name);
  jsonw_key_cstr(w, "task", about_task(a));
  jsonw_key_int(w, "context_tokens", json_count(i->context_tokens));
  jsonw_key_int(w, "layers", json_count(i->n_layers));
  jsonw_key_int(w, "width", json_count(i->n_embd));
  jsonw_key_int(w, "heads", json_count(i->n_heads));
  jsonw_key_int(w, "kv_heads", json_count(i->n_kv_heads));
  jsonw_key_int(w, "head_dim", json_count(i->head_dim));
  jsonw_key_int(w, "feed_forward", json_count(i->n_ff));
  if (i->n_experts) jsonw_key_int(w, "experts", json_count(i->n_experts));
  if (i->n_experts) jsonw_key_int(w, "experts_per_token", json_count(i->n_experts_used));
  if (i->window_tokens) jsonw_key_int(w, "sliding_window", json_count(i->window_tokens));
  jsonw_key_int(w, "vocabulary", json_count(i->n_vocab));
  jsonw_key_cstr(w, "quantization", i->quantization);
  if (i->task == MODEL_EMBED) {
    jsonw_key_cstr(w, "pooling", i->pooling == MODEL_POOL_CLS ? "cls" : "mean");
    jsonw_key_bool(w, "normalize", i->normalize);
  }
  jsonw_key(w, "memory");
  jsonw_object_begin(w);
  jsonw_key_cstr(w, "compute", compute_mode_name(COMPUTE_FAST));
  jsonw_key_cstr(w, "kv", kv_type_name(a->kv));
  jsonw_key_int(w, "weight_bytes", json_count(a->packed_bytes));
  jsonw_key_int(w, "kv_bytes_per_token", json_count(a->kv_bytes_per_token));
  jsonw_key_int(w, "full_context_kv_bytes", json_count(a->context_kv_bytes));
  jsonw_object_end(w);
}

static void write_tensor(struct jsonw *w, const struct file_tensor *t) {
  jsonw_object_begin(w);
  jsonw_key_str(w, "name", t->name);
  jsonw_key_cstr(w, "type", dtype_info(t->dtype)->name);
  jsonw_key(w, "shape");
  jsonw_array_begin(w);
  for (unsigned i = 0; i < t->rank; i++) jsonw_int(w, json_count(t->shape[i]));
  jsonw_array_end(w);
  jsonw_key_int(w, "bytes", json_count(t->n_bytes));
  jsonw_object_end(w);
}

static void write_files(struct jsonw *w, const struct about *a) {
  jsonw_key_cstr(w, "name", a->name);
  jsonw_key_cstr(w, "path", a->file->path);
  jsonw_key_cstr(w, "container", a->file->gguf ? "gguf" : "safetensors");
  if (a->file->gguf) jsonw_key_int(w, "gguf_version", gguf_version(a->file->gguf));
  jsonw_key_int(w, "file_bytes", json_count(a->file_bytes));
  jsonw_key_int(w, "parameters", json_count(a->n_parameters));
  jsonw_key_int(w, "tensor_count", json_count(a->n_tensors));
  jsonw_key(w, "bytes_by_type");
  jsonw_object_begin(w);
  for (int t = 0; t < DTYPE_COUNT; t++)
    if (a->bytes_of[t]) jsonw_key_int(w, dtype_info((enum dtype)t)->name, json_count(a->bytes_of[t]));
  jsonw_object_end(w);
}

static void write_text_parts(struct jsonw *w, const struct about *a) {
  jsonw_key(w, "tokenizer");
  if (a->tokenizer) {
    jsonw_object_begin(w);
    jsonw_key_cstr(w, "kind", tokenizer_kind(a->tokenizer));
    jsonw_key_int(w, "tokens", tokenizer_n_vocab(a->tokenizer));
    jsonw_object_end(w);
  } else {
    jsonw_null(w);
  }
  jsonw_key_bool(w, "chat_template", a->chat_template != ABOUT_TEMPLATE_NONE);
}

static void add_json(struct buf *out, const struct about *a, bool tensors, const struct manifest *m, const char *changed) {
  struct jsonw w = {.out = out};
  jsonw_object_begin(&w);
  write_files(&w, a);
  jsonw_key_bool(&w, "supported", !about_trouble(a));
  if (about_trouble(a)) jsonw_key_cstr(&w, "trouble", about_trouble(a));
  if (a->known) write_known(&w, a);
  write_text_parts(&w, a);
  if (m) {
    jsonw_key(&w, "manifest");
    jsonw_object_begin(&w);
    verdict_write(&w, m, changed);
    jsonw_object_end(&w);
  }
  if (tensors) {
    jsonw_key(&w, "tensors");
    jsonw_array_begin(&w);
    for (size_t i = 0; i < a->n_tensors; i++) write_tensor(&w, about_tensor_at(a, i));
    jsonw_array_end(&w);
  }
  jsonw_object_end(&w);
  buf_add_byte(out, '\n');
}

static int run_plan(const struct inspect_args *args, const char *model) {
  struct plan_options o = {.memory_gib = args->memory_gib,
                           .context_tokens = (size_t)args->plan_tokens,
                           .kv = (enum kv_type)kv_type_parse(args->kv),
                           .json = args->json};
  struct error err = {0};
  struct buf text = {0};
  char *path = paths_find_model(args->models_dir, model, &err);
  int code = path && plan_make(path, &o, &text, &err) == 0 ? app_print(&text) : app_fail(&err);
  buf_free(&text);
  free(path);
  return code;
}

static int run(const struct options *o) {
  const struct inspect_args *args = o->args;
  if (args->plan) return run_plan(args, o->operands[0]);
  struct error err = {0};
  struct about a;
  char *path = paths_find_model(args->models_dir, o->operands[0], &err);
  int opened = path ? about_open(&a, path, (enum kv_type)kv_type_parse(args->kv), &err) : -1;
  if (opened < 0) {
    free(path);
    return app_fail(&err);
  }
  struct manifest m;
  struct error broken; /* a broken manifest is no reason to say nothing of the model: `plinth models` tells about it */
  bool has_manifest = manifest_read(path, &m, &broken) == 1;
  const char *changed = has_manifest ? manifest_changed(&m, path) : NULL;
  struct buf text = {0};
  if (args->json) add_json(&text, &a, args->tensors, has_manifest ? &m : NULL, changed);
  else add_text(&text, &a, args->tensors, has_manifest ? &m : NULL, changed);
  int code = app_print(&text);
  buf_free(&text);
  manifest_free(&m);
  free(path);
  about_close(&a);
  return code;
}

const struct app_command inspect_command = {
    .spec =
        {.command = "inspect",
         .operands = "FILE|DIR|NAME",
         .operands_min = 1,
         .operands_max = 1,
         .summary = "Tell what a model file holds",
         .description =
             "Tells what a model holds without loading it: architecture and task, sizes, quantization, tokenizer, chat template and the "
             "memory it needs.\n\n"
             "A model is a .gguf file, a folder with one (or with the parts of one), a folder with config.json and safetensors, or the "
             "name of an "
             "installed model. A file that Plinth cannot run is told about all the same, with the reason; a broken one is an error.",
         .examples = "plinth inspect smollm2-135m-instruct\nplinth inspect --json --tensors model.gguf\nplinth inspect --plan --memory-gib "
                     "24 ./dbrx-instruct",
         OPTIONS_ROWS(rows),
         .args_bytes = sizeof(struct inspect_args)},
    .run = run,
};
