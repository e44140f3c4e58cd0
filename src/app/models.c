/* models: `plinth models` lists what a models folder holds, looks at it again, renames and removes. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "app/about.h"
#include "app/app.h"
#include "app/interrupt.h"
#include "app/paths.h"
#include "app/verdict.h"
#include "base/jsonw.h"
#include "intake/intake.h"

struct models_args {
  bool json, check;
  const char *models_dir;
};

static const struct options_row rows[] = {
    {.name = "json", OPTION_BOOL_TO(struct models_args, json), .help = "Print a JSON array."},
    PATHS_MODELS_DIR_ROW(struct models_args, models_dir, "The folder to list."),
    {.name = "check",
     OPTION_BOOL_TO(struct models_args, check),
     .help =
         "Read every byte and compare it with the hashes that the import wrote down. A model that was put there by hand is examined as an "
         "import would, and gets its plinth.json."},
};

/* One line of the list. */
struct entry {
  const struct paths_model *model;
  struct about about; /* empty when it did not open */
  struct error broken;
  const char *trouble; /* NULL: ready */
  bool adapter, has_manifest;
  struct manifest manifest;
  const char *changed; /* the first file that is not as the manifest says */
  char *found;         /* by --check: what differs, owned */
};

static bool cancelled(void *arg) {
  (void)arg;
  return interrupt_pending();
}

/* What the manifest says: looked at quickly (size and time), or every byte. */
static void read_verdict(struct entry *e, bool check) {
  struct error err = {0};
  if (check && e->about.file) {
    int result = intake_recheck(e->model->path, 0, cancelled, NULL, &e->manifest, &e->found, &err);
    e->has_manifest = result >= 0 && e->manifest.n_files > 0;
    if (result == 0 && e->has_manifest) e->changed = e->found;
    else if (result == 0 && !e->trouble) e->trouble = e->found;
  } else {
    e->has_manifest = manifest_read(e->model->path, &e->manifest, &err) == 1;
    e->changed = e->has_manifest ? manifest_changed(&e->manifest, e->model->path) : NULL;
  }
  if (!err.code || e->trouble) return;
  e->broken = err;
  e->trouble = e->broken.message;
}

/* An adapter is no model of its own: its base has the figures. */
static bool read_adapter(struct entry *e) {
  if (!file_is_adapter(e->model->path)) return false;
  struct file_adapter *file = file_adapter_open(e->model->path, &e->broken);
  if (!file) e->trouble = e->broken.message;
  file_adapter_close(file);
  return true;
}

static void read_entry(struct entry *e, const struct paths_models *models, size_t i, bool check) {
  *e = (struct entry){.model = &models->items[i]};
  bool twice = (i > 0 && strcmp(e->model->name, models->items[i - 1].name) == 0) ||
               (i + 1 < models->n && strcmp(e->model->name, models->items[i + 1].name) == 0);
  if (read_adapter(e)) {
    e->adapter = true;
  } else if (about_open(&e->about, e->model->path, &e->broken) < 0) {
    e->trouble = e->broken.message;
  } else if (twice) {
    error_set(&e->broken, ERROR_INVALID, "Another file or folder has the same name; rename one of them.");
    e->trouble = e->broken.message;
  } else {
    e->trouble = about_trouble(&e->about);
  }
  read_verdict(e, check);
}

static void free_entry(struct entry *e) {
  about_close(&e->about);
  manifest_free(&e->manifest);
  free(e->found);
}

static const char *task_of(const struct entry *e) { return e->adapter ? "adapter" : e->about.file ? about_task(&e->about) : "-"; }

static void add_line(struct buf *out, const struct entry *e, int width) {
  struct buf name = {0}, size = {0}, window = {0};
  about_add_text(&name, slice_cstr(e->model->name));
  if (e->about.file) about_add_bytes(&size, e->about.file_bytes);
  else buf_add_cstr(&size, "-");
  if (e->about.known) about_add_count(&window, e->about.info.context_tokens);
  else buf_add_cstr(&window, "-");
  buf_printf(out, "%-*s  %-11s  %10s  %9s  %-10s  ", width, name.data ? name.data : "", task_of(e), size.data, window.data,
             verdict_word(e->has_manifest ? &e->manifest : NULL, e->changed));
  about_add_text(out, e->trouble ? slice_cstr(e->trouble) : SLICE("ready"));
  if (e->changed) {
    buf_add_cstr(out, " (not as it was imported: ");
    about_add_text(out, slice_cstr(e->changed));
    buf_add_byte(out, ')');
  }
  buf_add_byte(out, '\n');
  buf_free(&name);
  buf_free(&size);
  buf_free(&window);
}

static void write_entry(struct jsonw *w, const struct entry *e) {
  jsonw_object_begin(w);
  jsonw_key_cstr(w, "name", e->model->name);
  jsonw_key_cstr(w, "path", e->model->path);
  jsonw_key_cstr(w, "state", e->trouble ? "unusable" : "ready");
  if (e->trouble) jsonw_key_cstr(w, "trouble", e->trouble);
  if (e->about.known) {
    jsonw_key_cstr(w, "task", about_task(&e->about));
    jsonw_key_int(w, "context_tokens", (int64_t)e->about.info.context_tokens);
  }
  if (e->adapter) jsonw_key_cstr(w, "task", "adapter");
  if (e->about.file) jsonw_key_int(w, "file_bytes", (int64_t)e->about.file_bytes);
  if (e->has_manifest) verdict_write(w, &e->manifest, e->changed);
  jsonw_object_end(w);
}

static int list(const char *dir, const struct paths_models *models, bool json, bool check) {
  bool differs = false;
  struct buf text = {0};
  struct jsonw w = {.out = &text};
  int width = 4;
  for (size_t i = 0; i < models->n; i++)
    if ((int)strlen(models->items[i].name) > width) width = (int)strlen(models->items[i].name);
  if (json) jsonw_array_begin(&w);
  else if (models->n) buf_printf(&text, "%-*s  %-11s  %10s  %9s  %-10s  %s\n", width, "NAME", "TASK", "SIZE", "WINDOW", "VERDICT", "STATE");
  else buf_printf(&text, "There is no model in %s.\n", dir);
  for (size_t i = 0; i < models->n; i++) {
    struct entry e;
    read_entry(&e, models, i, check);
    if (json) write_entry(&w, &e);
    else add_line(&text, &e, width);
    differs |= check && (e.changed || e.trouble);
    free_entry(&e);
  }
  if (json) jsonw_array_end(&w), buf_add_byte(&text, '\n');
  int code = app_print(&text);
  buf_free(&text);
  return code == APP_OK && differs ? APP_FAILED : code;
}

/* ---- rm and rename ---- */

static int change(const char *dir, const struct options *o) {
  struct error err = {0};
  bool renames = strcmp(o->operands[0], "rename") == 0;
  size_t wanted = renames ? 3 : 2;
  if (!renames && strcmp(o->operands[0], "rm") != 0) {
    error_set(&err, ERROR_INVALID, "There is no \"plinth models %s\"; there are rm NAME and rename NAME NEW.", o->operands[0]);
    return app_usage("models", &err);
  }
  if (o->n_operands != wanted) {
    error_set(&err, ERROR_INVALID, "Write \"plinth models %s\".", renames ? "rename NAME NEW" : "rm NAME");
    return app_usage("models", &err);
  }
  char *path = paths_find_in(dir, o->operands[1], &err);
  int result = !path ? -1 : renames ? intake_rename(path, dir, o->operands[2], &err) : intake_remove(dir, path, &err);
  free(path);
  return result < 0 ? app_fail(&err) : APP_OK;
}

static int run(const struct options *o) {
  const struct models_args *a = o->args;
  char *dir = a->models_dir ? NULL : paths_models_dir();
  const char *path = dir ? dir : a->models_dir;
  struct paths_models models;
  struct error err;
  int code;
  if (a->check) interrupt_catch();
  if (o->n_operands) {
    code = change(path, o);
  } else if (paths_list(path, &models, &err) < 0) {
    code = app_fail(&err);
  } else {
    code = list(path, &models, a->json, a->check);
    paths_list_free(&models);
  }
  free(dir);
  return code;
}

const struct app_command models_command = {
    .spec = {.command = "models",
             .operands = "rm NAME | rename NAME NEW",
             .operands_max = 3,
             .summary = "List, check, rename or remove installed models",
             .description = "Lists the models of a folder: name of the endpoint, task, size on disk, window in tokens, verdict of the "
                            "import, and whether the "
                            "model can be served. A folder holds one folder for each model, or .gguf files; an endpoint is named as the "
                            "folder, or as the file "
                            "without .gguf.\n\n"
                            "The verdict is \"verified\" when reference vectors matched or the catalogue knows every byte, else "
                            "\"unverified\"; \"changed\" when a "
                            "file is not as it was then (by size and time; --check reads every byte, and the exit code is 1 when something "
                            "differs); \"-\" for a "
                            "model that was put there by hand.\n\n"
                            "\"rm\" removes a model for good; \"rename\" gives it another name. A running server keeps what it has opened "
                            "until it is started again.",
             .examples = "plinth models\nplinth models --models-dir /srv/models --json\nplinth models --check\nplinth models rm old-model",
             OPTIONS_ROWS(rows),
             .args_bytes = sizeof(struct models_args)},
    .run = run,
};
