/* hub_select: which files of a repository a model needs; see hub.h. SPDX-License-Identifier: Apache-2.0
 *
 * A repository holds more than a model: other formats of the same weights, pictures, code. Fetched are safetensors with what lies beside
 * them by name, or the .gguf that was named (all its parts); never a pickle and never code. */
#include <ctype.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "intake/hub.h"

/* Beside the weights, in the root of the repository; patterns of fnmatch. */
static const char *const companions[] = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "*.tiktoken",
    "tiktoken.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/*.jinja",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "[0-9]_*/config.json",
    "[0-9]_*/model.safetensors",
    "quantize_config.json",
    "quant_config.json",
    "adapter_config.json",
    "plinth-vectors.json",
    "LICENSE*",
    "NOTICE*",
};

static bool is_companion(const char *path) {
  for (size_t i = 0; i < sizeof companions / sizeof companions[0]; i++)
    if (fnmatch(companions[i], path, FNM_PATHNAME) == 0) return true;
  return false;
}

static bool ends_with(const char *text, const char *suffix) { return slice_ends(slice_cstr(text), slice_cstr(suffix)); }
static bool is_gguf(const char *path) { return ends_with(path, ".gguf"); }
static bool in_root(const char *path) { return !strchr(path, '/'); }

static const struct hub_file *find(const struct hub_tree *t, const char *path) {
  for (size_t i = 0; i < t->n; i++)
    if (strcmp(t->files[i].path, path) == 0) return &t->files[i];
  return NULL;
}

/* The path without "-00001-of-00003.gguf", when it is a part; else all of it. */
static struct slice stem_of(const char *path) {
  struct slice s = slice_cstr(path);
  const char *tail = s.len > 20 ? s.data + s.len - 20 : "";
  return fnmatch("-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9].gguf", tail, 0) == 0 ? slice_make(s.data, s.len - 20) : s;
}

/* ---- GGUF ---- */

static bool contains(const char *text, const char *part) { return strcasestr(text, part) != NULL; }

static bool is_wanted(const char *path, const char *const *wanted, size_t n_wanted) {
  for (size_t i = 0; i < n_wanted; i++) {
    if (strcmp(path, wanted[i]) == 0 || fnmatch(wanted[i], path, 0) == 0) return true;
    if (!is_gguf(wanted[i]) && !strpbrk(wanted[i], "*?[") && contains(path, wanted[i])) return true;
  }
  return n_wanted == 0;
}

static void add_choices(const struct hub_tree *t, struct buf *out) {
  for (size_t i = 0, n = 0; i < t->n; i++) {
    if (!is_gguf(t->files[i].path) ||
        (i && is_gguf(t->files[i - 1].path) && slice_eq(stem_of(t->files[i].path), stem_of(t->files[i - 1].path))))
      continue;
    if (out->len > 220) {
      buf_add_cstr(out, ", …");
      return;
    }
    buf_printf(out, "%s%s", n++ ? ", " : "", t->files[i].path);
  }
}

/* Picks the one .gguf, or the one set of parts, that is wanted. */
static int select_gguf(const struct hub_tree *t, const char *const *wanted, size_t n_wanted, bool *picked, struct error *err) {
  struct slice stem = {0};
  size_t n_stems = 0;
  for (size_t i = 0; i < t->n; i++) {
    const char *path = t->files[i].path;
    bool helper = !n_wanted && (contains(path, "mmproj") || contains(path, "imatrix")); /* not a model by itself */
    if (!is_gguf(path) || helper || !is_wanted(path, wanted, n_wanted)) continue;
    if (!n_stems || !slice_eq(stem, stem_of(path))) n_stems++;
    stem = stem_of(path);
  }
  struct buf choices = {0};
  add_choices(t, &choices);
  int result = 0;
  if (n_stems == 0 && !n_wanted)
    result = error_set(err, ERROR_NOT_FOUND, "No .gguf file is a model by itself (mmproj and imatrix files are parts of others): %s.",
                       choices.data);
  if (n_stems == 0 && n_wanted)
    result = error_set(err, ERROR_NOT_FOUND, "There is no .gguf file that fits \"%.60s\"; there are: %s.", wanted[0],
                       choices.len ? choices.data : "none");
  if (n_stems > 1)
    result = error_set(err, ERROR_INVALID, "Several .gguf files fit. Name one with --include, or behind a colon (hf:ORG/REPO:Q4_K_M): %s.",
                       choices.data);
  buf_free(&choices);
  if (result < 0) return -1;
  /* A part that was named brings the others; vectors belong to the only model of a folder. */
  for (size_t i = 0; i < t->n; i++) {
    bool vectors = !n_wanted && strcmp(t->files[i].path, "plinth-vectors.json") == 0;
    picked[i] = vectors || (is_gguf(t->files[i].path) && slice_eq(stem_of(t->files[i].path), stem));
  }
  return 0;
}

/* ---- safetensors ---- */

/* Shards by name when there is an index; else model.safetensors; else an adapter's; else whatever lies in the root. */
static const char *weights_pattern(const struct hub_tree *t) {
  if (find(t, "adapter_config.json") && find(t, "adapter_model.safetensors")) return "adapter_model.safetensors";
  if (find(t, "model.safetensors.index.json")) return "model-*-of-*.safetensors";
  return find(t, "model.safetensors") ? "model.safetensors" : "*.safetensors";
}

static size_t select_safetensors(const struct hub_tree *t, bool *picked) {
  const char *pattern = weights_pattern(t);
  size_t n = 0;
  for (size_t i = 0; i < t->n; i++) {
    const char *path = t->files[i].path;
    bool consolidated = slice_starts(slice_cstr(path), SLICE("consolidated"));
    bool weights = in_root(path) && !consolidated && fnmatch(pattern, path, 0) == 0;
    n += weights;
    picked[i] = weights || is_companion(path) || strcmp(path, "model.safetensors.index.json") == 0;
  }
  return n;
}

static bool is_pickle(const char *path) {
  static const char *const endings[] = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"};
  for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
    if (ends_with(path, endings[i])) return true;
  return false;
}

static int refuse(const struct hub_tree *t, struct error *err) {
  for (size_t i = 0; i < t->n; i++) {
    if (!is_pickle(t->files[i].path)) continue;
    bool adapter = contains(t->files[i].path, "adapter_model");
    return error_set(
        err, ERROR_UNSUPPORTED,
        "The weights are there only in Python's pickle format (%.80s), which can run any program when it is read, and is not taken. "
        "Look for a safetensors or GGUF version, or convert it where you trust it: %s.",
        t->files[i].path,
        adapter ? "PeftModel.from_pretrained(BASE, DIR).save_pretrained(NEW_DIR)"
                : "AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW_DIR), with AutoModel for an embedding model");
  }
  return error_set(err, ERROR_NOT_FOUND, "There is no model: neither safetensors nor a .gguf file.");
}

int hub_select(const struct hub_tree *t, const char *const *wanted, size_t n_wanted, bool *ret_picked, struct error *err) {
  size_t n_gguf = 0;
  for (size_t i = 0; i < t->n; i++) {
    n_gguf += is_gguf(t->files[i].path);
    ret_picked[i] = false;
  }
  if (n_wanted) return select_gguf(t, wanted, n_wanted, ret_picked, err);
  if (select_safetensors(t, ret_picked) > 0) return 0;
  return n_gguf ? select_gguf(t, wanted, n_wanted, ret_picked, err) : refuse(t, err);
}
