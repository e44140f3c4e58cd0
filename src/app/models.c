/* models: `plinth models` lists what a models folder holds. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "app/about.h"
#include "app/app.h"
#include "app/paths.h"
#include "base/jsonw.h"

struct models_args {
  bool json;
  const char *models_dir;
};

static const struct options_row rows[] = {
    {.name = "json", OPTION_BOOL_TO(struct models_args, json), .help = "Print a JSON array."},
    {.name = "models-dir",
     OPTION_STRING_TO(struct models_args, models_dir),
     .metavar = "DIR",
     .fallback_note = "${XDG_DATA_HOME:-~/.local/share}/plinth/models",
     .env = "PLINTH_MODELS_DIR",
     .help = "The folder to list."},
};

/* One line of the list. */
struct entry {
  const struct paths_model *model;
  struct about about; /* empty when it did not open */
  struct error broken;
  const char *trouble; /* NULL: ready */
};

static void read_entry(struct entry *e, const struct paths_models *models, size_t i) {
  *e = (struct entry){.model = &models->items[i]};
  bool twice = (i > 0 && strcmp(e->model->name, models->items[i - 1].name) == 0) ||
               (i + 1 < models->n && strcmp(e->model->name, models->items[i + 1].name) == 0);
  if (about_open(&e->about, e->model->path, &e->broken) < 0) {
    e->trouble = e->broken.message;
  } else if (twice) {
    error_set(&e->broken, ERROR_INVALID, "Another file or folder has the same name; rename one of them.");
    e->trouble = e->broken.message;
  } else {
    e->trouble = about_trouble(&e->about);
  }
}

static void add_line(struct buf *out, const struct entry *e, int width) {
  struct buf name = {0}, size = {0}, window = {0};
  about_add_text(&name, slice_cstr(e->model->name));
  if (e->about.file) about_add_bytes(&size, e->about.file_bytes);
  else buf_add_cstr(&size, "-");
  if (e->about.known) about_add_count(&window, e->about.info.context_tokens);
  else buf_add_cstr(&window, "-");
  buf_printf(out, "%-*s  %-11s  %10s  %9s  ", width, name.data ? name.data : "", e->about.file ? about_task(&e->about) : "-", size.data,
             window.data);
  about_add_text(out, e->trouble ? slice_cstr(e->trouble) : SLICE("ready"));
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
  if (e->about.file) jsonw_key_int(w, "file_bytes", (int64_t)e->about.file_bytes);
  jsonw_object_end(w);
}

static int list(const char *dir, const struct paths_models *models, bool json) {
  struct buf text = {0};
  struct jsonw w = {.out = &text};
  int width = 4;
  for (size_t i = 0; i < models->n; i++)
    if ((int)strlen(models->items[i].name) > width) width = (int)strlen(models->items[i].name);
  if (json) jsonw_array_begin(&w);
  else if (models->n) buf_printf(&text, "%-*s  %-11s  %10s  %9s  %s\n", width, "NAME", "TASK", "SIZE", "WINDOW", "STATE");
  else buf_printf(&text, "There is no model in %s.\n", dir);
  for (size_t i = 0; i < models->n; i++) {
    struct entry e;
    read_entry(&e, models, i);
    if (json) write_entry(&w, &e);
    else add_line(&text, &e, width);
    about_close(&e.about);
  }
  if (json) jsonw_array_end(&w), buf_add_byte(&text, '\n');
  int code = app_print(&text);
  buf_free(&text);
  return code;
}

static int run(const struct options *o) {
  const struct models_args *a = o->args;
  char *dir = a->models_dir ? NULL : paths_models_dir();
  const char *path = dir ? dir : a->models_dir;
  struct paths_models models;
  struct error err;
  int code;
  if (paths_list(path, &models, &err) < 0) {
    code = app_fail(&err);
  } else {
    code = list(path, &models, a->json);
    paths_list_free(&models);
  }
  free(dir);
  return code;
}

const struct app_command models_command = {
    .spec =
        {.command = "models",
         .summary = "List the models of a folder",
         .description =
             "Lists the models of a folder: name of the endpoint, task, size on disk, window in tokens, and whether the model can be "
             "served. "
             "A folder holds one folder for each model, or .gguf files; an endpoint is named as the folder, or as the file without .gguf.",
         .examples = "plinth models\nplinth models --models-dir /srv/models --json",
         OPTIONS_ROWS(rows),
         .args_bytes = sizeof(struct models_args)},
    .run = run,
};
